//! Code that is not in its place yet: the same for every load of a program.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bpf_abi::exec::ProgCounters;
use bpf_abi::image::Image;
use cranelift_codegen::binemit::Reloc;

use crate::abi::Name;
use crate::code::{Arena, Chunk};
use crate::error::CompileError;
use crate::finish::{BEFORE_LINE, FRAME, LINE};
use crate::jit::{Compiled, SlotMode};
use crate::slot;

/// What a piece of code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A function's body, with its slot.
    Function(usize),
    /// How helpers call a function.
    Callback(usize),
}

impl Part {
    pub(crate) const fn function(self) -> usize {
        match self {
            Self::Function(number) | Self::Callback(number) => number,
        }
    }

    /// The size of what is before its first instruction.
    pub(crate) const fn slot_size(self) -> usize {
        match self {
            Self::Function(_) => slot::SIZE,
            Self::Callback(_) => 0,
        }
    }

    pub(crate) fn odd_relocation(self, kind: Reloc) -> CompileError {
        let what = format!("a relocation of kind {kind:?}");
        CompileError::Codegen { function: self.function(), what }
    }
}

/// The code of a program before it has a place, with room for every address that depends on it.
///
/// Equal [inputs](crate::input::Input) make equal ones. Invariant: what [`flaw`](Self::flaw) looks
/// for is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unplaced {
    pub(crate) bytes: Vec<u8>,
    /// Its pieces in the order of their places, the main function's first.
    pub(crate) pieces: Arc<[Piece]>,
    pub(crate) fixups: Vec<Fixup>,
    /// How many arguments each function takes in registers.
    pub(crate) arities: Arc<[u8]>,
    /// Which functions are part of others too.
    pub(crate) inlined: Arc<[bool]>,
    /// Whether the main function is a C function.
    pub(crate) is_c: bool,
    pub(crate) slots: SlotMode,
}

/// A piece of code: where it is among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) part: Part,
    /// Its first byte; of a function, the slot's.
    pub(crate) start: usize,
    /// The byte after its last.
    pub(crate) end: usize,
    /// Where code of an instruction begins, counted from the body: offset and instruction.
    pub(crate) places: Vec<(u32, u32)>,
}

/// An address or a displacement to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixup {
    /// Where it is.
    pub(crate) at: usize,
    /// What it leads to.
    pub(crate) name: Name,
    pub(crate) addend: i64,
}

impl Fixup {
    /// How many bytes are filled in.
    pub(crate) const fn size(self) -> usize {
        match self.name {
            Name::Data(_) => 8,
            Name::Function(_) | Name::Callback(_) | Name::Helper(_) => 4,
        }
    }
}

/// Code in its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) chunk: Chunk,
    /// What the code has addresses of.
    pub(crate) keep: Vec<Arc<dyn Any + Send + Sync>>,
}

/// What a program's code belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home<'a> {
    pub(crate) image: &'a Image,
    /// Where functions look whether they were compiled apart.
    pub(crate) apart: &'a [AtomicU64],
    /// The code whose functions it calls, if not its own.
    pub(crate) callees: Option<&'a Compiled>,
}

impl Unplaced {
    /// Puts the code in its place, for a program that counts here.
    pub(crate) fn place(
        &self,
        arena: &Arc<Arena>,
        home: Home<'_>,
        counters: Option<Arc<ProgCounters>>,
    ) -> Result<Placed, CompileError> {
        let image = home.image;
        let mut chunk = arena.allocate(self.bytes.len())?;
        let mut bytes = self.bytes.clone();
        for fixup in &self.fixups {
            let failed = |what: &str| CompileError::Codegen {
                function: 0,
                what: format!("{:?} {what}", fixup.name),
            };
            let target = self.target(fixup.name, chunk.address(), home, counters.as_deref());
            let target = target.ok_or_else(|| failed("is not there"))?;
            let target = target.wrapping_add_signed(fixup.addend);
            let room = fixup.at.checked_add(fixup.size());
            let room = room.and_then(|end| bytes.get_mut(fixup.at..end));
            let room = room.ok_or_else(|| failed("has no room"))?;
            if matches!(fixup.name, Name::Data(_)) {
                room.copy_from_slice(&target.to_le_bytes());
                continue;
            }
            let from = chunk.address() + fixup.at as u64;
            let distance = i32::try_from(target.wrapping_sub(from).cast_signed());
            let distance = distance.map_err(|_| failed("is out of reach"))?;
            room.copy_from_slice(&distance.to_le_bytes());
        }
        chunk.fill(&bytes);
        let mut keep: Vec<Arc<dyn Any + Send + Sync>> = Vec::with_capacity(image.maps.len() + 1);
        keep.extend(image.maps.iter().map(|map| Arc::clone(&map.keep)));
        if let Some(counters) = counters {
            keep.push(counters);
        }
        Ok(Placed { chunk, keep })
    }

    /// The address of what a name stands for.
    fn target(
        &self,
        name: Name,
        address: u64,
        home: Home<'_>,
        counters: Option<&ProgCounters>,
    ) -> Option<u64> {
        let start_of = |part| {
            if let Some(callees) = home.callees {
                return callees.start_of(part);
            }
            let piece = self.pieces.iter().find(|piece| piece.part == part)?;
            Some(address + piece.start as u64)
        };
        match name {
            Name::Data(symbol) => symbol.resolve(home.image, counters, home.apart),
            Name::Function(number) => {
                let past = if self.slots == SlotMode::Absent { slot::SIZE } else { 0 };
                Some(start_of(Part::Function(number as usize))? + past as u64)
            }
            Name::Callback(number) => start_of(Part::Callback(number as usize)),
            Name::Helper(number) => {
                let helper = home.image.helpers.get(number as usize)?;
                Some(helper.entry as usize as u64)
            }
        }
    }

    /// What is wrong with it, if anything: of code that was kept nothing is believed.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        let mut before = 0;
        for piece in self.pieces.iter() {
            let body = piece.start.saturating_add(piece.part.slot_size());
            if piece.start < before || body >= piece.end || piece.end > self.bytes.len() {
                return Some("a piece that is not where pieces are");
            }
            before = piece.end;
            if let Part::Function(_) = piece.part {
                if !body.is_multiple_of(slot::SIZE) || body < slot::SIZE {
                    return Some("a slot that is not aligned");
                }
                if self.bytes.get(piece.start..body) != Some(&slot::idle(self.slots)) {
                    return Some("a slot that is not idle");
                }
            }
        }
        let functions = self.pieces.iter().map_while(|piece| match piece.part {
            Part::Function(number) => Some(number),
            Part::Callback(_) => None,
        });
        let count = self.arities.len();
        if count == 0 || !functions.eq(0..count) {
            return Some("functions that are not all there");
        }
        let callbacks = self.pieces.get(count..).unwrap_or_default();
        if !callbacks.iter().all(|piece| matches!(piece.part, Part::Callback(n) if n < count)) {
            return Some("a callback of no function");
        }
        let main = self.pieces.first().and_then(|main| self.bytes.get(main.start..main.end));
        if !main.is_some_and(|main| main[slot::SIZE..].starts_with(&FRAME)) {
            return Some("a main function that no tail call can enter");
        }
        if self.inlined.len() != count {
            return Some("functions of which not everything is known");
        }
        if !self.arities.iter().all(|arity| *arity <= 5) {
            return Some("too many arguments");
        }
        self.fixups.iter().find_map(|fixup| self.flaw_of(*fixup))
    }

    fn flaw_of(&self, fixup: Fixup) -> Option<&'static str> {
        // The pieces are in order: the last that begins before it is the one it is in.
        let piece = self.pieces.partition_point(|piece| piece.start <= fixup.at).checked_sub(1);
        let is_inside = piece.and_then(|at| self.pieces.get(at)).is_some_and(|piece| {
            let body = piece.start + piece.part.slot_size();
            fixup.at >= body && fixup.at.saturating_add(fixup.size()) <= piece.end
        });
        if !is_inside {
            return Some("an address outside of the code");
        }
        let is_there = match fixup.name {
            Name::Function(number) => (number as usize) < self.arities.len(),
            Name::Callback(number) => {
                let part = Part::Callback(number as usize);
                self.pieces.iter().any(|piece| piece.part == part)
            }
            // Only an image has these.
            Name::Helper(_) | Name::Data(_) => true,
        };
        (!is_there).then_some("an address of nothing")
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let places: usize = self.pieces.iter().map(|piece| size_of_val(&*piece.places)).sum();
        size_of::<Self>()
            + self.bytes.len()
            + size_of_val(&*self.pieces)
            + places
            + size_of_val(&*self.fixups)
            + 2 * self.arities.len()
    }
}

/// Code of which the pieces come one by one.
#[derive(Debug)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    pub(crate) fixups: Vec<Fixup>,
    slots: SlotMode,
    /// Where the main function's body is.
    main: usize,
}

impl Assembly {
    /// For a program that takes tail calls, or that takes none.
    pub(crate) const fn new(slots: SlotMode, takes_tail_calls: bool) -> Self {
        let main = if takes_tail_calls { BEFORE_LINE } else { slot::SIZE };
        Self { bytes: Vec::new(), pieces: Vec::new(), fixups: Vec::new(), slots, main }
    }

    /// Where the first instruction of the next piece will be: after a slot at the beginning of a
    /// line, so that a call meets one line; or where tail calls enter at the beginning of one.
    pub(crate) fn body(&self, part: Part) -> usize {
        if part == Part::Function(0) {
            return self.main;
        }
        self.bytes.len().next_multiple_of(LINE) + part.slot_size()
    }

    /// Appends a piece; returns where its first instruction is.
    pub(crate) fn add(&mut self, part: Part, code: &[u8], places: Vec<(u32, u32)>) -> usize {
        let (body, slot) = (self.body(part), part.slot_size());
        self.bytes.resize(body - slot, 0xcc);
        if slot > 0 {
            self.bytes.extend_from_slice(&slot::idle(self.slots));
        }
        self.bytes.extend_from_slice(code);
        let end = self.bytes.len();
        self.pieces.push(Piece { part, start: body - slot, end, places });
        body
    }

    /// All of it.
    pub(crate) fn finish(self, arities: Vec<u8>, inlined: Vec<bool>, is_c: bool) -> Unplaced {
        let Self { bytes, pieces, fixups, slots, .. } = self;
        let (pieces, arities, inlined) = (pieces.into(), arities.into(), inlined.into());
        Unplaced { bytes, pieces, fixups, arities, inlined, is_c, slots }
    }
}
