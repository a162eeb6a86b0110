//! Code as it is kept in a file.
//!
//! ```text
//!   8  magic        "bpfcode\n"
//!   4  format       FORMAT
//!   4  length of what follows the header, in bytes
//!  32  key          of what the code was made
//!  32  checksum     SHA-256 of all of the file but this
//!      ...          the code: see `write`
//! ```
//!
//! All numbers are little-endian. An entry is looked at as a whole before anything of it is used:
//! the header, the key, the checksum; then every number in it must make sense, and nothing may
//! be left over.

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::abi::Name;
use crate::jit::SlotMode;
use crate::key::Key;
use crate::unplaced::{Fixup, Part, Piece, Unplaced};
use cranelift_codegen::ir::UserExternalName;

/// The form of entries: to be changed with whatever is written here, and with what instructions
/// mean to `bpf-isa`, the one room of the translation that keys do not have word for word.
pub(crate) const FORMAT: u32 = 2;

const MAGIC: [u8; 8] = *b"bpfcode\n";

/// How long the header is, in bytes.
pub(crate) const HEADER: usize = 80;

/// Where the checksum is in it.
const CHECKSUM: std::ops::Range<usize> = 48..80;

/// Why an entry is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Corrupt {
    #[error("no entry")]
    Header,
    #[error("an entry of another length")]
    Length,
    #[error("an entry of another key")]
    Key,
    #[error("an entry that was changed")]
    Checksum,
    #[error("an entry that makes no sense: {0}")]
    Content(&'static str),
}

/// The entry for this code.
pub(crate) fn write(key: &Key, code: &Unplaced) -> Option<Vec<u8>> {
    let mut out = vec![0; HEADER];
    let number = |out: &mut Vec<u8>, number: usize| {
        out.extend_from_slice(&u32::try_from(number).ok()?.to_le_bytes());
        Some(())
    };
    out.push(match code.slots {
        SlotMode::Word => 0,
        SlotMode::Displacement => 1,
        SlotMode::Absent => 2,
    });
    out.push(u8::from(code.is_c));
    number(&mut out, code.arities.len())?;
    out.extend_from_slice(&code.arities);
    out.extend(code.inlined.iter().map(|inlined| u8::from(*inlined)));
    number(&mut out, code.pieces.len())?;
    for piece in code.pieces.iter() {
        let Piece { part, start, end, places } = piece;
        out.push(match part {
            Part::Function(_) => 0,
            Part::Callback(_) => 1,
        });
        for value in [part.function(), *start, *end, places.len()] {
            number(&mut out, value)?;
        }
        for (at, insn) in places {
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&insn.to_le_bytes());
        }
    }
    number(&mut out, code.fixups.len())?;
    for Fixup { at, name, addend } in &code.fixups {
        let UserExternalName { namespace, index } = name.external();
        number(&mut out, *at)?;
        out.extend_from_slice(&namespace.to_le_bytes());
        out.extend_from_slice(&index.to_le_bytes());
        out.extend_from_slice(&addend.to_le_bytes());
    }
    number(&mut out, code.bytes.len())?;
    out.extend_from_slice(&code.bytes);

    let length = u32::try_from(out.len() - HEADER).ok()?;
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    out[12..16].copy_from_slice(&length.to_le_bytes());
    out[16..48].copy_from_slice(&key.0);
    let checksum = checksum(&out);
    out[CHECKSUM].copy_from_slice(&checksum);
    Some(out)
}

/// The code in an entry that is kept by this key.
pub(crate) fn read(key: &Key, entry: &[u8]) -> Result<Unplaced, Corrupt> {
    let Some((header, content)) = entry.split_at_checked(HEADER) else {
        return Err(Corrupt::Header);
    };
    if header[..8] != MAGIC || header[8..12] != FORMAT.to_le_bytes() {
        return Err(Corrupt::Header);
    }
    let length = u32::try_from(content.len()).map_err(|_| Corrupt::Length)?;
    if header[12..16] != length.to_le_bytes() {
        return Err(Corrupt::Length);
    }
    if header[16..48] != key.0 {
        return Err(Corrupt::Key);
    }
    if header[CHECKSUM] != checksum(entry) {
        return Err(Corrupt::Checksum);
    }
    let mut reader = Reader { rest: content };
    let code = reader.code().ok_or(Corrupt::Content("it ends too early"))?;
    if !reader.rest.is_empty() {
        return Err(Corrupt::Content("it ends too late"));
    }
    match code.flaw() {
        None => Ok(code),
        Some(flaw) => Err(Corrupt::Content(flaw)),
    }
}

/// Code as it is after it was kept.
///
/// # Panics
///
/// If it is not what it was.
#[cfg(debug_assertions)]
pub(crate) fn reread(code: &Unplaced) -> Unplaced {
    let key = Key([0; 32]);
    let entry = write(&key, code).expect("code is smaller than 4 GiB");
    let read = read(&key, &entry).expect("what is written can be read");
    assert_eq!(&read, code, "what is kept is what was made");
    read
}

/// The checksum of an entry, whatever checksum it has.
pub(crate) fn checksum(entry: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&entry[..CHECKSUM.start]);
    hash.update(&entry[CHECKSUM.end..]);
    hash.finalize().into()
}

/// What is still to be read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn code(&mut self) -> Option<Unplaced> {
        let slots = match self.byte()? {
            0 => SlotMode::Word,
            1 => SlotMode::Displacement,
            2 => SlotMode::Absent,
            _ => return None,
        };
        let is_c = self.bit()?;
        let functions = self.length()?;
        let arities = self.bytes(functions)?.into();
        let inlined = (0..functions).map(|_| self.bit()).collect::<Option<_>>()?;
        let pieces = (0..self.length()?).map(|_| self.piece()).collect::<Option<Vec<_>>>()?;
        let fixups = (0..self.length()?).map(|_| self.fixup()).collect::<Option<Vec<_>>>()?;
        let bytes = self.length()?;
        let bytes = self.bytes(bytes)?.to_vec();
        let pieces = pieces.into();
        Some(Unplaced { bytes, pieces, fixups, arities, inlined, is_c, slots })
    }

    fn piece(&mut self) -> Option<Piece> {
        let is_callback = self.bit()?;
        let number = self.length()?;
        let part = if is_callback { Part::Callback(number) } else { Part::Function(number) };
        let (start, end) = (self.length()?, self.length()?);
        let places = (0..self.length()?).map(|_| Some((self.number()?, self.number()?)));
        let places = places.collect::<Option<Vec<_>>>()?;
        Some(Piece { part, start, end, places })
    }

    fn fixup(&mut self) -> Option<Fixup> {
        let at = self.length()?;
        let name = UserExternalName { namespace: self.number()?, index: self.number()? };
        let addend = i64::from_le_bytes(*self.bytes(8)?.first_chunk()?);
        Some(Fixup { at, name: Name::of(&name)?, addend })
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn bit(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.bytes(4)?.first_chunk()?))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }
}
