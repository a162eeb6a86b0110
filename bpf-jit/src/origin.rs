//! Where the value of a register comes from, as far as it matters for memory.
//!
//! The code generator may keep a value that was stored and use it again instead of loading it,
//! if it knows that nothing else was stored there in between. It is told so in two ways: by
//! giving the same place in the frame the same address, and by *regions*: accesses in different
//! regions never meet.
//!
//! An origin is an element of the lattice
//!
//! ```text
//!            Anywhere
//!            /      \
//!     Frame(None)  Elsewhere       Frame: in the code's own frame
//!          |           |           Elsewhere: not in it
//!    Frame(Some(k)) Function(f)    Function: the address of a function
//! ```
//!
//! Functions whose code is part of another's have their frames below its: one frame, in which all
//! places are counted from the R10 of the function that the code is of.
//!
//! Soundness: a pointer into a frame comes from R10 by moves and additions, out of memory where
//! it was kept, or back from a call that was given one. Verified programs keep frame pointers only
//! in frames, and never one of a callee in its caller's.

use bpf_abi::helper::RetKind;
use bpf_abi::image::{MemoryClass, Note};
use bpf_isa::{AluOp, Call, Imm64, Insn, Operand, Pc, Reg, Size, Width};

use crate::input::{Input, Numbers};
use crate::layout::{BasicBlock, Function};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It points into the frame: if known, so many bytes above R10.
    Frame(Option<i32>),
    /// It does not point into the frame.
    Elsewhere,
    /// It is the address of the function that begins there.
    Function(Pc),
    /// Nothing is known.
    Anywhere,
}

impl Origin {
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Frame(_), Self::Frame(_)) => Self::Frame(None),
            (Self::Elsewhere | Self::Function(_), Self::Elsewhere | Self::Function(_)) => {
                Self::Elsewhere
            }
            _ => Self::Anywhere,
        }
    }

    const fn may_be_frame(self) -> bool {
        match self {
            Self::Frame(_) | Self::Anywhere => true,
            Self::Elsewhere | Self::Function(_) => false,
        }
    }

    fn moved(self, by: i32) -> Self {
        match self {
            Self::Frame(Some(at)) => Self::Frame(at.checked_add(by)),
            Self::Frame(None) | Self::Elsewhere | Self::Anywhere => self,
            Self::Function(_) => Self::Elsewhere,
        }
    }
}

/// The origins of all registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origins([Origin; 11]);

impl Origins {
    /// As a function begins.
    pub(crate) const fn at_entry() -> Self {
        Self::with([Origin::Elsewhere; 5], 0)
    }

    /// As a function begins that is given these arguments and whose R10 is there in the frame.
    pub(crate) const fn with(args: [Origin; 5], fp: i32) -> Self {
        let [r1, r2, r3, r4, r5] = args;
        let other = Origin::Elsewhere;
        let fp = Origin::Frame(Some(fp));
        Self([other, r1, r2, r3, r4, r5, other, other, other, other, fp])
    }

    /// Where nothing is known.
    pub(crate) const fn unknown() -> Self {
        Self([Origin::Anywhere; 11])
    }

    /// The origin of `reg`.
    pub(crate) const fn of(&self, reg: Reg) -> Origin {
        self.0[reg.index()]
    }

    pub(crate) fn join(&self, other: &Self) -> Self {
        let mut joined = *self;
        for (ours, theirs) in joined.0.iter_mut().zip(other.0) {
            *ours = ours.join(theirs);
        }
        joined
    }

    /// The origins of R1 to R5.
    pub(crate) fn args(&self) -> [Origin; 5] {
        Reg::ARGS.map(|reg| self.of(reg))
    }

    /// What they are after `insn`, which is at `pc`.
    pub(crate) fn step(&mut self, image: &Input<'_>, pc: Pc, insn: Insn) {
        let result = if let Insn::Alu { op, width: Width::W64, dst, src } = insn {
            self.alu(op, dst, src)
        } else if let Insn::LoadImm64 { imm: Imm64::Func { off }, .. } = insn {
            pc.offset(1 + i64::from(off)).map_or(Origin::Elsewhere, Origin::Function)
        } else if let Insn::Call(call) = insn {
            self.result(image, call)
        } else if let Some((base, Size::DW)) = loaded(insn)
            && self.of(base).may_be_frame()
        {
            Origin::Anywhere
        } else {
            Origin::Elsewhere
        };
        // Of what an instruction writes, only R0 of a call is more than a leftover.
        let leftover = if matches!(insn, Insn::Call(_)) { Origin::Elsewhere } else { result };
        for reg in insn.writes().iter() {
            self.0[reg.index()] = if reg == Reg::R0 { result } else { leftover };
        }
    }

    /// What they are after `insn`, which is at `pc` of this block and may be gone around.
    pub(crate) fn pass(&mut self, image: &Input<'_>, block: &BasicBlock, pc: Pc, insn: Insn) {
        let before = *self;
        self.step(image, pc, insn);
        if block.is_optional(image, pc) {
            *self = self.join(&before);
        }
    }

    fn alu(&self, op: AluOp, dst: Reg, src: Operand) -> Origin {
        let (a, b) = (self.of(dst), src.reg().map_or(Origin::Elsewhere, |reg| self.of(reg)));
        match (op, src) {
            (AluOp::Mov, _) => b,
            (AluOp::Add, Operand::Imm(imm)) => a.moved(imm),
            (AluOp::Add | AluOp::Sub, _) => match (a, b) {
                (Origin::Anywhere, _) | (_, Origin::Anywhere) => Origin::Anywhere,
                (Origin::Frame(_), Origin::Frame(_)) if op == AluOp::Sub => Origin::Elsewhere,
                (Origin::Frame(_), _) | (_, Origin::Frame(_)) => Origin::Frame(None),
                (
                    Origin::Elsewhere | Origin::Function(_),
                    Origin::Elsewhere | Origin::Function(_),
                ) => Origin::Elsewhere,
            },
            _ if a.may_be_frame() || b.may_be_frame() => Origin::Anywhere,
            _ => Origin::Elsewhere,
        }
    }

    fn result(&self, image: &Input<'_>, call: Call) -> Origin {
        let frame = self.of(Reg::R1);
        if let (Call::Helper(id), Origin::Frame(Some(_))) = (call, frame)
            && image.helper(id).is_some_and(|(_, helper)| helper.numbers == Some(Numbers::Next))
        {
            // What it returns is the iterator itself, or null.
            return frame;
        }
        let is_number_or_value = match call {
            Call::Helper(id) => image.helper(id).is_some_and(|(_, helper)| {
                matches!(helper.ret, RetKind::Integer | RetKind::Void | RetKind::MapValue)
            }),
            Call::Local(_) | Call::Kfunc { .. } => false,
        };
        let given_one = Reg::ARGS.iter().any(|reg| self.of(*reg).may_be_frame());
        if given_one && !is_number_or_value { Origin::Anywhere } else { Origin::Elsewhere }
    }
}

/// What a load, store or atomic touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// This function's frame: if known, so many bytes above R10.
    Frame(Option<i32>),
    /// Memory outside of this function's frame, of this class.
    Other(MemoryClass),
    /// A frame: this function's or a caller's.
    SomeFrame,
    /// Anything.
    Anything,
}

/// What the instruction with this base register and this note touches.
pub(crate) const fn touched(origin: Origin, off: i16, note: Note) -> Touched {
    match (origin, note.memory) {
        (Origin::Frame(Some(at)), _) => Touched::Frame(at.checked_add(off as i32)),
        (Origin::Frame(None), _) => Touched::Frame(None),
        (Origin::Elsewhere | Origin::Function(_), class) => Touched::Other(class),
        (Origin::Anywhere, MemoryClass::Unknown) => Touched::Anything,
        (Origin::Anywhere, MemoryClass::Stack) => Touched::SomeFrame,
        (Origin::Anywhere, class) => Touched::Other(class),
    }
}

/// Which accesses of one function may meet.
///
/// Invariant: accesses that may touch the same byte have the same region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partition {
    /// All may meet.
    One,
    /// Those in the frame meet no others.
    FrameAndRest,
    /// Those of different classes do not meet.
    Classes,
}

/// What is known of the memory that a function's code touches, and what is part of it.
#[derive(Debug)]
pub(crate) struct Memory {
    /// The depth of the frame, in bytes.
    pub(crate) depth: u32,
    partition: Partition,
}

/// A number for a set of accesses that meet no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// Everything else.
    Memory,
    /// Frames.
    Stack,
    /// The context.
    Context,
    /// The packet.
    Packet,
    /// Values of maps.
    MapValue,
    /// What programs never touch: counters kept beside them.
    Counters,
}

impl Memory {
    /// Of code that touches this.
    pub(crate) const fn of(touches: &Touches) -> Self {
        let Touches { depth, unknown, anything, some_frame } = *touches;
        let partition = match (unknown, anything, some_frame) {
            (_, true, _) | (true, _, true) => Partition::One,
            (true, false, false) => Partition::FrameAndRest,
            (false, false, _) => Partition::Classes,
        };
        Self { depth: depth.next_multiple_of(8), partition }
    }

    /// Nothing is known, and the function has no frame of its own.
    pub(crate) const fn unknown() -> Self {
        Self { depth: 0, partition: Partition::One }
    }

    /// The region of an access.
    pub(crate) const fn region(&self, touched: Touched) -> Region {
        match (self.partition, touched) {
            (Partition::One, _) | (_, Touched::Anything) => Region::Memory,
            (_, Touched::Frame(_) | Touched::SomeFrame) => Region::Stack,
            (Partition::FrameAndRest, Touched::Other(_)) => Region::Memory,
            (Partition::Classes, Touched::Other(class)) => match class {
                MemoryClass::Unknown => Region::Memory,
                MemoryClass::Stack => Region::Stack,
                MemoryClass::Context => Region::Context,
                MemoryClass::Packet => Region::Packet,
                MemoryClass::MapValue => Region::MapValue,
            },
        }
    }
}

/// The note of the instruction at `pc`.
pub(crate) fn note(image: &Input<'_>, pc: Pc) -> Note {
    image.notes.get(pc.index()).copied().unwrap_or_default()
}

/// The base register and the size of what an instruction loads into a register.
const fn loaded(insn: Insn) -> Option<(Reg, Size)> {
    if let Insn::Load { size, base, .. }
    | Insn::LoadAcquire { size, base, .. }
    | Insn::Atomic { size, base, .. } = insn
    {
        Some((base, size))
    } else {
        None
    }
}

/// The base register and the offset of what an instruction loads or stores.
pub(crate) const fn accessed(insn: Insn) -> Option<(Reg, i16)> {
    if let Insn::Load { base, off, .. }
    | Insn::Store { base, off, .. }
    | Insn::Atomic { base, off, .. }
    | Insn::LoadAcquire { base, off, .. }
    | Insn::StoreRelease { base, off, .. } = insn
    {
        Some((base, off))
    } else {
        None
    }
}

/// How far below R10 a place in the frame is.
fn below(at: Option<i32>) -> u32 {
    at.map_or(0, |at| if at < 0 { at.unsigned_abs() } else { 0 })
}

/// What code touches, all of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touches {
    /// How far below R10 it gets, in bytes.
    pub(crate) depth: u32,
    unknown: bool,
    anything: bool,
    some_frame: bool,
}

impl Touches {
    /// Adds what a function touches that begins its blocks with these origins.
    pub(crate) fn add(&mut self, image: &Input<'_>, function: &Function, entries: &[Origins]) {
        for (block, entry) in function.blocks.iter().zip(entries) {
            let mut now = *entry;
            for pc in (block.start.0..block.end.0).map(Pc) {
                let Some(insn) = image.program.get(pc) else { continue };
                if let Some((base, off)) = accessed(insn) {
                    match touched(now.of(base), off, note(image, pc)) {
                        Touched::Frame(at) => self.reach(at),
                        Touched::Other(MemoryClass::Unknown) => self.unknown = true,
                        Touched::Other(_) => {}
                        Touched::SomeFrame => self.some_frame = true,
                        Touched::Anything => self.anything = true,
                    }
                }
                now.pass(image, block, pc, insn);
                for origin in now.0 {
                    if let Origin::Frame(at) = origin {
                        self.reach(at);
                    }
                }
            }
        }
    }

    /// A place in the frame.
    fn reach(&mut self, at: Option<i32>) {
        self.depth = self.depth.max(below(at));
    }
}

/// The origins at the beginning of each block of a function that begins with `first`.
pub(crate) fn origins(image: &Input<'_>, function: &Function, first: Origins) -> Vec<Origins> {
    let mut entries: Vec<Option<Origins>> = vec![None; function.blocks.len()];
    let mut pending = vec![0];
    if let Some(entry) = entries.first_mut() {
        *entry = Some(first);
    }
    while let Some(number) = pending.pop() {
        let (Some(block), Some(mut now)) = (function.blocks.get(number), entries[number]) else {
            continue;
        };
        for pc in (block.start.0..block.end.0).map(Pc) {
            if let Some(insn) = image.program.get(pc) {
                now.pass(image, block, pc, insn);
            }
        }
        for next in block.exit.successors() {
            let joined = entries[next].map_or(now, |before| before.join(&now));
            if entries[next] != Some(joined) {
                entries[next] = Some(joined);
                pending.push(next);
            }
        }
    }
    entries.into_iter().map(|entry| entry.unwrap_or(first)).collect()
}
