//! The form programs are run in: one fixed-size operation a slot, operands ready to use.

use bpf_isa::{
    AluOp, AtomicOp, ByteOrder, Call, Endian, Extension, Imm64, Insn, JumpOp, Operand, Pc, Reg,
    Size, Width,
};

/// Gives every operation of arithmetic and every comparison a code of its own for each form:
/// 64 bits with a register, with an immediate, 32 bits with a register, with an immediate. Those
/// of arithmetic come once more, for a move and the operation on what it moved; some comparisons
/// with immediates come once more for the rows and trees of them that a `switch` becomes.
macro_rules! codes {
    (
        alu { $(
            $Alu:ident $Alu64R:ident $Alu64I:ident $Alu32R:ident $Alu32I:ident
            moved $Mov64R:ident $Mov64I:ident $Mov32R:ident $Mov32I:ident
        )+ }
        jump { $($Jump:ident $Jump64R:ident $Jump64I:ident $Jump32R:ident $Jump32I:ident)+ }
        search { $($Search:ident $Compare:ident)+ }
        straight { $($Straight:ident)+ }
        others { $($Other:ident)+ }
    ) => {
        /// What an operation does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Code {
            $($Alu64R, $Alu64I, $Alu32R, $Alu32I,)+
            $($Mov64R, $Mov64I, $Mov32R, $Mov32I,)+
            $($Jump64R, $Jump64I, $Jump32R, $Jump32I,)+
            $($Search,)+
            $($Straight,)+
            $($Other,)+
        }

        impl Code {
            const fn alu(op: AluOp, width: Width, src: Operand) -> Self {
                match (op, width, src) {
                    $(
                        (AluOp::$Alu, Width::W64, Operand::Reg(_)) => Self::$Alu64R,
                        (AluOp::$Alu, Width::W64, Operand::Imm(_)) => Self::$Alu64I,
                        (AluOp::$Alu, Width::W32, Operand::Reg(_)) => Self::$Alu32R,
                        (AluOp::$Alu, Width::W32, Operand::Imm(_)) => Self::$Alu32I,
                    )+
                }
            }

            /// The code for a move of 64 bits and this operation on its result.
            const fn after_move(self) -> Option<Self> {
                match self {
                    $(
                        Self::$Alu64R => Some(Self::$Mov64R),
                        Self::$Alu64I => Some(Self::$Mov64I),
                        Self::$Alu32R => Some(Self::$Mov32R),
                        Self::$Alu32I => Some(Self::$Mov32I),
                    )+
                    _ => None,
                }
            }

            /// The code for a comparison that others of its kind may follow.
            const fn search(self) -> Option<Self> {
                match self {
                    $(Self::$Compare => Some(Self::$Search),)+
                    _ => None,
                }
            }

            /// Whether one operation follows, which [`Op::to`] names.
            const fn is_straight(self) -> bool {
                match self {
                    $(Self::$Alu64R | Self::$Alu64I | Self::$Alu32R | Self::$Alu32I)|+ => true,
                    $(Self::$Mov64R | Self::$Mov64I | Self::$Mov32R | Self::$Mov32I)|+ => true,
                    $(Self::$Straight)|+ => true,
                    $(Self::$Jump64R | Self::$Jump64I | Self::$Jump32R | Self::$Jump32I)|+ => false,
                    $(Self::$Search)|+ => false,
                    $(Self::$Other)|+ => false,
                }
            }

            const fn jump(op: JumpOp, width: Width, src: Operand) -> Self {
                match (op, width, src) {
                    $(
                        (JumpOp::$Jump, Width::W64, Operand::Reg(_)) => Self::$Jump64R,
                        (JumpOp::$Jump, Width::W64, Operand::Imm(_)) => Self::$Jump64I,
                        (JumpOp::$Jump, Width::W32, Operand::Reg(_)) => Self::$Jump32R,
                        (JumpOp::$Jump, Width::W32, Operand::Imm(_)) => Self::$Jump32I,
                    )+
                }
            }
        }
    };
}

codes! {
    alu {
        Add Add64R Add64I Add32R Add32I
            moved MovedAdd64R MovedAdd64I MovedAdd32R MovedAdd32I
        Sub Sub64R Sub64I Sub32R Sub32I
            moved MovedSub64R MovedSub64I MovedSub32R MovedSub32I
        Mul Mul64R Mul64I Mul32R Mul32I
            moved MovedMul64R MovedMul64I MovedMul32R MovedMul32I
        Div Div64R Div64I Div32R Div32I
            moved MovedDiv64R MovedDiv64I MovedDiv32R MovedDiv32I
        Or Or64R Or64I Or32R Or32I
            moved MovedOr64R MovedOr64I MovedOr32R MovedOr32I
        And And64R And64I And32R And32I
            moved MovedAnd64R MovedAnd64I MovedAnd32R MovedAnd32I
        Lsh Lsh64R Lsh64I Lsh32R Lsh32I
            moved MovedLsh64R MovedLsh64I MovedLsh32R MovedLsh32I
        Rsh Rsh64R Rsh64I Rsh32R Rsh32I
            moved MovedRsh64R MovedRsh64I MovedRsh32R MovedRsh32I
        Mod Mod64R Mod64I Mod32R Mod32I
            moved MovedMod64R MovedMod64I MovedMod32R MovedMod32I
        Xor Xor64R Xor64I Xor32R Xor32I
            moved MovedXor64R MovedXor64I MovedXor32R MovedXor32I
        Mov Mov64R Mov64I Mov32R Mov32I
            moved MovedMov64R MovedMov64I MovedMov32R MovedMov32I
        Arsh Arsh64R Arsh64I Arsh32R Arsh32I
            moved MovedArsh64R MovedArsh64I MovedArsh32R MovedArsh32I
    }
    jump {
        Eq JEq64R JEq64I JEq32R JEq32I
        Gt JGt64R JGt64I JGt32R JGt32I
        Ge JGe64R JGe64I JGe32R JGe32I
        Set JSet64R JSet64I JSet32R JSet32I
        Ne JNe64R JNe64I JNe32R JNe32I
        Sgt JSgt64R JSgt64I JSgt32R JSgt32I
        Sge JSge64R JSge64I JSge32R JSge32I
        Lt JLt64R JLt64I JLt32R JLt32I
        Le JLe64R JLe64I JLe32R JLe32I
        Slt JSlt64R JSlt64I JSlt32R JSlt32I
        Sle JSle64R JSle64I JSle32R JSle32I
    }
    search {
        SearchEq64 JEq64I
        SearchEq32 JEq32I
        SearchGt64 JGt64I
        SearchGt32 JGt32I
        SearchSgt64 JSgt64I
        SearchSgt32 JSgt32I
    }
    straight {
        SDiv64R SDiv64I SDiv32R SDiv32I SMod64R SMod64I SMod32R SMod32I
        Neg64 Neg32
        MovSx8To64 MovSx16To64 MovSx32To64 MovSx8To32 MovSx16To32
        Low16 Low32 Swap16 Swap32 Swap64
        Load8 Load16 Load32 Load64 LoadSx8 LoadSx16 LoadSx32
        MayFault8 MayFault16 MayFault32 MayFault64 MayFaultSx8 MayFaultSx16 MayFaultSx32
        LoadAcquire8 LoadAcquire16 LoadAcquire32 LoadAcquire64
    }
    others {
        Nothing LoadImm64
        Store8R Store16R Store32R Store64R Store8I Store16I Store32I Store64I
        Atomic32 Atomic64
        StoreRelease8 StoreRelease16 StoreRelease32 StoreRelease64
        LoadPacketAbs LoadPacketInd
        Goto MayGoto
        CallHelper CallHelperReg CallLocal TailCall Throw Exit
        Trap
    }
}

impl Code {
    /// Whether it is an operation of 32 bits on what was moved.
    const fn is_narrow(self) -> bool {
        matches!(
            self,
            Self::MovedAdd32R
                | Self::MovedAdd32I
                | Self::MovedSub32R
                | Self::MovedSub32I
                | Self::MovedMul32R
                | Self::MovedMul32I
                | Self::MovedDiv32R
                | Self::MovedDiv32I
                | Self::MovedOr32R
                | Self::MovedOr32I
                | Self::MovedAnd32R
                | Self::MovedAnd32I
                | Self::MovedLsh32R
                | Self::MovedLsh32I
                | Self::MovedRsh32R
                | Self::MovedRsh32I
                | Self::MovedMod32R
                | Self::MovedMod32I
                | Self::MovedXor32R
                | Self::MovedXor32I
                | Self::MovedMov32R
                | Self::MovedMov32I
                | Self::MovedArsh32R
                | Self::MovedArsh32I
        )
    }
}

/// An operation.
///
/// Invariant: `to` of jumps, local calls and straight operations is the index of an operation of
/// the same program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    /// The immediate, extended to 64 bits; the offset of a load or store of a register.
    pub(crate) imm: u64,
    /// Where a jump goes, and what follows a straight operation; which helper, map, atomic
    /// operation; the offset of a store of an immediate.
    pub(crate) to: u32,
    pub(crate) code: Code,
    pub(crate) dst: Reg,
    pub(crate) src: Reg,
    /// The right operand of an operation on what was moved from `src`.
    pub(crate) right: Reg,
}

impl Op {
    pub(crate) const fn new(code: Code) -> Self {
        Self { imm: 0, to: 0, code, dst: Reg::R0, src: Reg::R0, right: Reg::R0 }
    }

    /// The offset of a store of an immediate.
    pub(crate) const fn store_offset(self) -> u64 {
        (self.to.cast_signed() as i64).cast_unsigned()
    }
}

/// What an operation that is never to be reached reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum TrapKind {
    /// The program ran past its end.
    End,
    /// A jump went to the second slot of a wide immediate.
    SecondSlot,
    /// A jump or call leaves the program.
    Outside,
    /// The instruction needs something that programs of this kind do not have.
    Unsupported,
}

impl TrapKind {
    pub(crate) const fn of(number: u32) -> Self {
        match number {
            0 => Self::End,
            1 => Self::SecondSlot,
            2 => Self::Outside,
            _ => Self::Unsupported,
        }
    }
}

/// The operations of [`Code::Atomic32`] and [`Code::Atomic64`].
pub(crate) const ATOMICS: [AtomicOp; 10] = [
    AtomicOp::Add { fetch: false },
    AtomicOp::Add { fetch: true },
    AtomicOp::Or { fetch: false },
    AtomicOp::Or { fetch: true },
    AtomicOp::And { fetch: false },
    AtomicOp::And { fetch: true },
    AtomicOp::Xor { fetch: false },
    AtomicOp::Xor { fetch: true },
    AtomicOp::Xchg,
    AtomicOp::CmpXchg,
];

/// What translation cannot know of a program by its instructions alone.
pub(crate) trait Links {
    /// How the program refuses to be translated.
    type Error;

    /// The value of a wide immediate that is no number.
    fn imm64(&mut self, at: Pc, imm: Imm64) -> Result<Op, Self::Error>;
    /// The operation for a call of a helper or a kernel function.
    fn call(&mut self, at: Pc, call: Call) -> Result<Op, Self::Error>;
    /// How much stack the function at `start` uses, in bytes, a multiple of 8.
    fn stack_depth(&self, start: Pc) -> u32;

    /// Which function begins there, counted in the order of their places.
    fn function(&self, start: Pc) -> u32;
    /// Whether the load at this place may fault, and then yields zero.
    fn may_fault(&self, at: Pc) -> bool;
    /// The operation for a load from the packet.
    fn packet(&mut self, at: Pc) -> Result<Op, Self::Error>;
    /// The operation for something that no program of this kind can have.
    fn unsupported(&mut self, at: Pc) -> Result<Op, Self::Error>;
}

/// The operations of a program, one a slot, and one more to catch what runs past the end.
pub(crate) fn translate<L: Links>(insns: &[Insn], links: &mut L) -> Result<Box<[Op]>, L::Error> {
    let mut ops = Vec::with_capacity(insns.len() + 1);
    for (index, insn) in insns.iter().enumerate() {
        let at = Pc(u32::try_from(index).unwrap_or(u32::MAX));
        let op = operation(*insn, at, insns.len(), links)?;
        ops.push(if op.code.is_straight() { Op { to: at.0.saturating_add(1), ..op } } else { op });
    }
    ops.push(trap(TrapKind::End));
    Ok(ops.into())
}

/// Takes fewer steps to the same end: joins moves and operations on what they moved,
/// `r2 = r1; r2 <<= 13`, into one step each; leads past every `goto`; marks comparisons of one
/// kind that follow each other.
///
/// Every operation keeps its place, so that jumps to the second of a pair find it.
pub(crate) fn join(ops: &[Op]) -> Box<[Op]> {
    let mut joined: Box<[Op]> = ops.into();
    for (op, pair) in joined.iter_mut().zip(ops.windows(2)) {
        let (first, second) = (pair[0], pair[1]);
        let moves = match (first.code, second.code.after_move()) {
            (Code::Mov64R, Some(code)) => Some(code),
            (Code::Mov32R, Some(code)) if code.is_narrow() => Some(code),
            _ => None,
        };
        if let Some(code) = moves.filter(|_| first.dst == second.dst) {
            // What was moved, if the right operand is where it was moved to.
            let right = if second.src == first.dst { first.src } else { second.src };
            *op = Op { code, src: first.src, right, ..second };
        }
    }
    for (index, op) in joined.iter_mut().enumerate() {
        if op.code.is_straight() || op.code.search().is_some() {
            op.to = past_gotos(ops, op.to);
        }
        let follows = |at: usize| ops.get(at).is_some_and(|next| next.code == op.code);
        if let Some(code) =
            op.code.search().filter(|_| follows(index + 1) || follows(op.to as usize))
        {
            op.code = code;
        }
    }
    joined
}

/// Where a path that comes to the operation `to` does something again.
fn past_gotos(ops: &[Op], to: u32) -> u32 {
    // A ring of them does nothing for ever, and may be entered anywhere.
    const FAR: usize = 8;
    (0..FAR).fold(to, |to, _| match ops.get(to as usize) {
        Some(op) if op.code == Code::Goto => op.to,
        _ => to,
    })
}

/// An operation that faults.
pub(crate) const fn trap(kind: TrapKind) -> Op {
    Op { to: kind as u32, ..Op::new(Code::Trap) }
}

fn extended(imm: i32) -> u64 {
    i64::from(imm).cast_unsigned()
}

fn offset(off: i16) -> u64 {
    i64::from(off).cast_unsigned()
}

/// An operation with this right operand.
fn with_operand(code: Code, dst: Reg, src: Operand) -> Op {
    match src {
        Operand::Reg(src) => Op { dst, src, ..Op::new(code) },
        Operand::Imm(imm) => Op { dst, imm: extended(imm), ..Op::new(code) },
    }
}

/// Gives the operation at `at` the target `off` slots behind the next one.
fn jumping(op: Op, at: Pc, off: i64, len: usize) -> Op {
    match at.offset(1 + off) {
        Some(to) if to.index() < len => Op { to: to.0, ..op },
        _ if op.code == Code::Goto || op.code == Code::CallLocal => trap(TrapKind::Outside),
        // The operation behind the last, which faults.
        _ => Op { to: u32::try_from(len).unwrap_or(u32::MAX), ..op },
    }
}

fn operation<L: Links>(insn: Insn, at: Pc, len: usize, links: &mut L) -> Result<Op, L::Error> {
    Ok(match insn {
        Insn::Alu { op, width, dst, src } => with_operand(Code::alu(op, width, src), dst, src),
        Insn::AluSigned { op, width, dst, src } => {
            with_operand(signed_code(op, width, src), dst, src)
        }
        Insn::Neg { width: Width::W64, dst } => Op { dst, ..Op::new(Code::Neg64) },
        Insn::Neg { width: Width::W32, dst } => Op { dst, ..Op::new(Code::Neg32) },
        Insn::MovSx { width, dst, src, from } => Op { dst, src, ..Op::new(move_code(width, from)) },
        Insn::Endian { kind, size, dst } => Op { dst, ..Op::new(endian_code(kind, size)) },
        Insn::AddrSpaceCast { .. } => return links.unsupported(at),
        Insn::LoadImm64 { dst, imm: Imm64::Value(imm) } => {
            Op { dst, imm, ..Op::new(Code::LoadImm64) }
        }
        Insn::LoadImm64 { dst, imm } => Op { dst, ..links.imm64(at, imm)? },
        Insn::SecondSlot => trap(TrapKind::SecondSlot),
        Insn::Load { size, ext, dst, base, off } => {
            let code = load_code(size, ext, links.may_fault(at));
            Op { dst, src: base, imm: offset(off), ..Op::new(code) }
        }
        Insn::Store { size, base, off, src: Operand::Reg(src) } => {
            Op { dst: base, src, imm: offset(off), ..Op::new(store_code(size, true)) }
        }
        Insn::Store { size, base, off, src: Operand::Imm(imm) } => {
            let to = i32::from(off).cast_unsigned();
            Op { dst: base, to, imm: extended(imm), ..Op::new(store_code(size, false)) }
        }
        Insn::Atomic { op, size, base, off, src } => {
            let code = if size == Size::DW { Code::Atomic64 } else { Code::Atomic32 };
            let to = ATOMICS.iter().position(|candidate| *candidate == op).unwrap_or(0);
            let to = u32::try_from(to).unwrap_or(0);
            Op { dst: base, src, to, imm: offset(off), ..Op::new(code) }
        }
        Insn::LoadAcquire { size, dst, base, off } => {
            Op { dst, src: base, imm: offset(off), ..Op::new(acquire_code(size)) }
        }
        Insn::StoreRelease { size, base, off, src } => {
            Op { dst: base, src, imm: offset(off), ..Op::new(release_code(size)) }
        }
        Insn::LoadAbs { size, imm } => {
            let op = links.packet(at)?;
            Op {
                code: packet_code(op, Code::LoadPacketAbs),
                imm: extended(imm),
                to: size.bytes(),
                ..op
            }
        }
        Insn::LoadInd { size, src, imm } => {
            let op = links.packet(at)?;
            let code = packet_code(op, Code::LoadPacketInd);
            Op { code, src, imm: extended(imm), to: size.bytes(), ..op }
        }
        Insn::Jump { off, .. } => jumping(Op::new(Code::Goto), at, i64::from(off), len),
        Insn::JumpIf { op, width, dst, src, off } => {
            let op = with_operand(Code::jump(op, width, src), dst, src);
            jumping(op, at, i64::from(off), len)
        }
        Insn::MayGoto { off } => jumping(Op::new(Code::MayGoto), at, i64::from(off), len),
        Insn::Call(Call::Local(off)) => {
            let op = jumping(Op::new(Code::CallLocal), at, i64::from(off), len);
            let (depth, function) = (links.stack_depth(Pc(op.to)), links.function(Pc(op.to)));
            // The lower half is read as a number of 32 bits.
            Op { imm: u64::from(function) << 32 | u64::from(depth), ..op }
        }
        Insn::Call(call) => links.call(at, call)?,
        Insn::Exit => Op::new(Code::Exit),
    })
}

/// The code of a load from the packet, unless the program has none.
fn packet_code(op: Op, code: Code) -> Code {
    if op.code == Code::Trap { Code::Trap } else { code }
}

const fn signed_code(op: AluOp, width: Width, src: Operand) -> Code {
    let is_div = matches!(op, AluOp::Div);
    match (is_div, width, src) {
        (true, Width::W64, Operand::Reg(_)) => Code::SDiv64R,
        (true, Width::W64, Operand::Imm(_)) => Code::SDiv64I,
        (true, Width::W32, Operand::Reg(_)) => Code::SDiv32R,
        (true, Width::W32, Operand::Imm(_)) => Code::SDiv32I,
        (false, Width::W64, Operand::Reg(_)) => Code::SMod64R,
        (false, Width::W64, Operand::Imm(_)) => Code::SMod64I,
        (false, Width::W32, Operand::Reg(_)) => Code::SMod32R,
        (false, Width::W32, Operand::Imm(_)) => Code::SMod32I,
    }
}

const fn move_code(width: Width, from: Size) -> Code {
    match (width, from) {
        (Width::W64, Size::B) => Code::MovSx8To64,
        (Width::W64, Size::H) => Code::MovSx16To64,
        (Width::W64, Size::W) => Code::MovSx32To64,
        (Width::W64, Size::DW) => Code::Mov64R,
        (Width::W32, Size::B) => Code::MovSx8To32,
        (Width::W32, Size::H) => Code::MovSx16To32,
        (Width::W32, Size::W | Size::DW) => Code::Mov32R,
    }
}

const fn endian_code(kind: Endian, size: Size) -> Code {
    match (kind, size) {
        (Endian::To(ByteOrder::Little), Size::B | Size::H) => Code::Low16,
        (Endian::To(ByteOrder::Little), Size::W) => Code::Low32,
        (Endian::To(ByteOrder::Little), Size::DW) => Code::Nothing,
        (Endian::To(ByteOrder::Big) | Endian::Swap, Size::B | Size::H) => Code::Swap16,
        (Endian::To(ByteOrder::Big) | Endian::Swap, Size::W) => Code::Swap32,
        (Endian::To(ByteOrder::Big) | Endian::Swap, Size::DW) => Code::Swap64,
    }
}

const fn load_code(size: Size, ext: Extension, may_fault: bool) -> Code {
    match (size, ext, may_fault) {
        (Size::B, Extension::Unsigned, false) => Code::Load8,
        (Size::H, Extension::Unsigned, false) => Code::Load16,
        (Size::W, Extension::Unsigned, false) => Code::Load32,
        (Size::DW, _, false) => Code::Load64,
        (Size::B, Extension::Signed, false) => Code::LoadSx8,
        (Size::H, Extension::Signed, false) => Code::LoadSx16,
        (Size::W, Extension::Signed, false) => Code::LoadSx32,
        (Size::B, Extension::Unsigned, true) => Code::MayFault8,
        (Size::H, Extension::Unsigned, true) => Code::MayFault16,
        (Size::W, Extension::Unsigned, true) => Code::MayFault32,
        (Size::DW, _, true) => Code::MayFault64,
        (Size::B, Extension::Signed, true) => Code::MayFaultSx8,
        (Size::H, Extension::Signed, true) => Code::MayFaultSx16,
        (Size::W, Extension::Signed, true) => Code::MayFaultSx32,
    }
}

const fn store_code(size: Size, of_register: bool) -> Code {
    match (size, of_register) {
        (Size::B, true) => Code::Store8R,
        (Size::H, true) => Code::Store16R,
        (Size::W, true) => Code::Store32R,
        (Size::DW, true) => Code::Store64R,
        (Size::B, false) => Code::Store8I,
        (Size::H, false) => Code::Store16I,
        (Size::W, false) => Code::Store32I,
        (Size::DW, false) => Code::Store64I,
    }
}

const fn acquire_code(size: Size) -> Code {
    match size {
        Size::B => Code::LoadAcquire8,
        Size::H => Code::LoadAcquire16,
        Size::W => Code::LoadAcquire32,
        Size::DW => Code::LoadAcquire64,
    }
}

const fn release_code(size: Size) -> Code {
    match size {
        Size::B => Code::StoreRelease8,
        Size::H => Code::StoreRelease16,
        Size::W => Code::StoreRelease32,
        Size::DW => Code::StoreRelease64,
    }
}
