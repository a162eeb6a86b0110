//! Machine code beside the BPF it came from.

use std::fmt::Write as _;

use bpf_abi::image::Image;
use bpf_isa::Pc;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction};

use crate::jit::{Compiled, Part, Piece};
use crate::slot;

impl Compiled {
    /// Its machine code, function by function, each BPF instruction before the code made of it
    /// and each source line before its instructions.
    ///
    /// ```text
    /// prog:
    ///       ; return XDP_PASS;
    ///    0: r0 = 2
    ///    0:   movl $2,%eax
    /// ```
    pub fn listing(&self, image: &Image) -> String {
        let mut text = String::new();
        let bytes = self.chunk().bytes();
        for piece in self.pieces() {
            if !text.is_empty() {
                text.push('\n');
            }
            let name = self.name(piece.part.function());
            let name = if name.is_empty() { "function" } else { name };
            // Writing to a string does not fail.
            let _ = match piece.part {
                Part::Function(number) => writeln!(text, "{name}:  # function {number}"),
                Part::Callback(number) => {
                    writeln!(text, "{name}:  # function {number}, as helpers call it")
                }
            };
            let code = bytes.get(piece.start..piece.end).unwrap_or_default();
            let address = self.chunk().address() + piece.start as u64;
            Listing { image, piece, address }.write(code, &mut text);
        }
        text
    }
}

struct Listing<'a> {
    image: &'a Image,
    piece: &'a Piece,
    address: u64,
}

impl Listing<'_> {
    fn write(&self, code: &[u8], text: &mut String) {
        let mut decoder = Decoder::with_ip(64, code, self.address, DecoderOptions::NONE);
        let mut formatter = GasFormatter::new();
        let mut instruction = Instruction::default();
        let mut places = self.piece.places.iter().peekable();
        let body = match self.piece.part {
            Part::Function(_) => slot::SIZE as u64,
            Part::Callback(_) => 0,
        };
        let mut line = String::new();
        let mut before = None;
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let at = instruction.ip() - self.address;
            while let Some((_, pc)) = places.next_if(|(start, _)| u64::from(*start) + body <= at) {
                if before != Some(*pc) {
                    self.write_insn(Pc(*pc), text);
                }
                before = Some(*pc);
            }
            line.clear();
            formatter.format(&instruction, &mut line);
            let _ = writeln!(text, "{at:>5x}:   {line}");
        }
    }

    fn write_insn(&self, pc: Pc, text: &mut String) {
        if let Ok(at) = self.image.lines.binary_search_by_key(&pc, |line| line.pc) {
            let _ = writeln!(text, "         ; {}", self.image.lines[at].text.trim());
        }
        if let Some(insn) = self.image.program.get(pc) {
            let _ = writeln!(text, "{pc:>5}: {insn}");
        }
    }
}
