//! Instructions, understood.

use std::fmt;

use crate::opcode::{AluOp, JumpOp};

/// The position of an instruction: its first slot, counted from the program's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pc(pub u32);

impl Pc {
    /// The position as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The position `slots` after (or before) this one, or `None` if that is no position.
    pub const fn offset(self, slots: i64) -> Option<Self> {
        let to = self.0 as i64 + slots;
        if to < 0 || to > u32::MAX as i64 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        Some(Self(to as u32))
    }
}

impl fmt::Display for Pc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reg {
    /// The result of calls and of the program.
    R0,
    /// The first argument; at the beginning of a program, its context.
    R1,
    /// The second argument.
    R2,
    /// The third argument.
    R3,
    /// The fourth argument.
    R4,
    /// The fifth argument.
    R5,
    /// Kept across calls.
    R6,
    /// Kept across calls.
    R7,
    /// Kept across calls.
    R8,
    /// Kept across calls.
    R9,
    /// The frame pointer: the upper end of this function's stack. Read only.
    R10,
}

impl Reg {
    /// All registers, in order.
    pub const ALL: [Self; 11] = [
        Self::R0,
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
    ];

    /// The frame pointer.
    pub const FP: Self = Self::R10;

    /// The registers that pass arguments, in order.
    pub const ARGS: [Self; 5] = [Self::R1, Self::R2, Self::R3, Self::R4, Self::R5];

    /// The register with this number.
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::ALL.len() { Some(Self::ALL[number as usize]) } else { None }
    }

    /// The register's number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The register's number, as an index.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}", self.number())
    }
}

/// How much of a register an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// The low half; the upper half of a result is zero.
    W32,
    /// The whole.
    W64,
}

impl Width {
    /// The width in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }
}

/// How many bytes a load, store or sign extension works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    DW,
}

impl Size {
    /// All sizes, smallest first.
    pub const ALL: [Self; 4] = [Self::B, Self::H, Self::W, Self::DW];

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B => 1,
            Self::H => 2,
            Self::W => 4,
            Self::DW => 8,
        }
    }

    /// The size in bits.
    pub const fn bits(self) -> u32 {
        self.bytes() * 8
    }

    /// The size of this many bytes.
    pub const fn of_bytes(bytes: u32) -> Option<Self> {
        match bytes {
            1 => Some(Self::B),
            2 => Some(Self::H),
            4 => Some(Self::W),
            8 => Some(Self::DW),
            _ => None,
        }
    }
}

/// The right operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate, sign-extended to the width of the operation.
    Imm(i32),
}

impl Operand {
    /// The register, if it is one.
    pub const fn reg(self) -> Option<Reg> {
        match self {
            Self::Reg(reg) => Some(reg),
            Self::Imm(_) => None,
        }
    }
}

/// Which byte order an [`Endian`] conversion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Little-endian.
    Little,
    /// Big-endian.
    Big,
}

/// What a byte-order instruction does to the low bits of a register. The rest becomes zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// From the host's order to this one (and back): a truncation where both are the same.
    To(ByteOrder),
    /// Always reverses the bytes.
    Swap,
}

/// Where a 64-bit immediate comes from.
///
/// The numbers are the raw immediates. In a program on its way to the kernel `MapFd` is a file
/// descriptor; in a description it is the index of a map of that description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm64 {
    /// The number itself.
    Value(u64),
    /// A map. Linux: `BPF_PSEUDO_MAP_FD`.
    MapFd(i32),
    /// The address of a byte of a map's only value. Linux: `BPF_PSEUDO_MAP_VALUE`.
    MapValue {
        /// The map.
        fd: i32,
        /// The byte's offset in the value.
        off: u32,
    },
    /// A map, by its place in the load's array of maps. Linux: `BPF_PSEUDO_MAP_IDX`.
    MapIdx(i32),
    /// The address of a byte of a map's only value. Linux: `BPF_PSEUDO_MAP_IDX_VALUE`.
    MapIdxValue {
        /// The map's place in the load's array of maps.
        idx: i32,
        /// The byte's offset in the value.
        off: u32,
    },
    /// The address of a kernel variable. Linux: `BPF_PSEUDO_BTF_ID`.
    BtfId {
        /// The variable's id.
        id: i32,
        /// The BTF object it is in; 0 for the kernel's own.
        btf_fd: i32,
    },
    /// A function of this program, to be called back. Linux: `BPF_PSEUDO_FUNC`.
    Func {
        /// Where it is, counted in slots from the slot after this instruction's first.
        off: i32,
    },
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A helper, by its number.
    Helper(i32),
    /// A function of this program, counted in slots from the next instruction.
    /// Linux: `BPF_PSEUDO_CALL`.
    Local(i32),
    /// A kernel function, by the BTF id of its prototype. Linux: `BPF_PSEUDO_KFUNC_CALL`.
    Kfunc {
        /// The id.
        btf_id: i32,
        /// Which of the load's BTF objects it is in; 0 for the kernel's own.
        btf_fd_idx: i16,
    },
}

/// What an atomic instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AtomicOp {
    /// `*ptr += src`; with `fetch`, `src` receives the old value.
    Add {
        /// Whether the old value is wanted.
        fetch: bool,
    },
    /// `*ptr |= src`; with `fetch`, `src` receives the old value.
    Or {
        /// Whether the old value is wanted.
        fetch: bool,
    },
    /// `*ptr &= src`; with `fetch`, `src` receives the old value.
    And {
        /// Whether the old value is wanted.
        fetch: bool,
    },
    /// `*ptr ^= src`; with `fetch`, `src` receives the old value.
    Xor {
        /// Whether the old value is wanted.
        fetch: bool,
    },
    /// Exchanges `*ptr` and `src`.
    Xchg,
    /// If `*ptr` is R0, stores `src`; R0 receives the old value.
    CmpXchg,
}

/// How a load fills the bits above what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// Fills the upper bits with zeros.
    Unsigned,
    /// Fills the upper bits with the sign.
    Signed,
}

/// An instruction.
///
/// Offsets of jumps are counted in slots from the slot after the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Insn {
    /// `dst op= src`.
    Alu {
        /// The operation.
        op: AluOp,
        /// On how many bits.
        width: Width,
        /// The left operand, and where the result goes.
        dst: Reg,
        /// The right operand.
        src: Operand,
    },
    /// Signed division or remainder: `op` is `Div` or `Mod`, truncating toward zero.
    AluSigned {
        /// `Div` or `Mod`.
        op: AluOp,
        /// On how many bits.
        width: Width,
        /// The left operand, and where the result goes.
        dst: Reg,
        /// The right operand.
        src: Operand,
    },
    /// `dst = -dst`.
    Neg {
        /// On how many bits.
        width: Width,
        /// The operand, and where the result goes.
        dst: Reg,
    },
    /// `dst = src`, sign-extended from `from` to `width`.
    MovSx {
        /// To how many bits.
        width: Width,
        /// Where the result goes.
        dst: Reg,
        /// The operand.
        src: Reg,
        /// From how many bits: fewer than `width`.
        from: Size,
    },
    /// Changes the byte order of the low `size` of `dst`.
    Endian {
        /// How.
        kind: Endian,
        /// `H`, `W` or `DW`.
        size: Size,
        /// The operand, and where the result goes.
        dst: Reg,
    },
    /// `dst = src`, moved between address spaces. Linux: `BPF_ADDR_SPACE_CAST`.
    AddrSpaceCast {
        /// Where the result goes.
        dst: Reg,
        /// The address.
        src: Reg,
        /// The address space of the result.
        to: u16,
        /// The address space of the operand.
        from: u16,
    },
    /// `dst = imm ll`. Takes two slots.
    LoadImm64 {
        /// Where it goes.
        dst: Reg,
        /// What it is.
        imm: Imm64,
    },
    /// The second slot of a [`LoadImm64`](Self::LoadImm64): no instruction, never executed.
    SecondSlot,
    /// `dst = *(size *)(base + off)`.
    Load {
        /// How many bytes.
        size: Size,
        /// How the upper bits are filled.
        ext: Extension,
        /// Where it goes.
        dst: Reg,
        /// The address.
        base: Reg,
        /// Added to the address.
        off: i16,
    },
    /// `*(size *)(base + off) = src`.
    Store {
        /// How many bytes.
        size: Size,
        /// The address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// What is stored.
        src: Operand,
    },
    /// A read-modify-write of `*(size *)(base + off)`.
    Atomic {
        /// What is done.
        op: AtomicOp,
        /// `W` or `DW`.
        size: Size,
        /// The address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// The operand.
        src: Reg,
    },
    /// `dst = load_acquire((size *)(base + off))`.
    LoadAcquire {
        /// How many bytes.
        size: Size,
        /// Where it goes.
        dst: Reg,
        /// The address.
        base: Reg,
        /// Added to the address.
        off: i16,
    },
    /// `store_release((size *)(base + off), src)`.
    StoreRelease {
        /// How many bytes.
        size: Size,
        /// The address.
        base: Reg,
        /// Added to the address.
        off: i16,
        /// What is stored.
        src: Reg,
    },
    /// `r0 = ntoh(*(size *)skb[imm])`, R6 being the context. Linux: `BPF_LD | BPF_ABS`.
    LoadAbs {
        /// `B`, `H` or `W`.
        size: Size,
        /// Where in the packet.
        imm: i32,
    },
    /// `r0 = ntoh(*(size *)skb[src + imm])`, R6 being the context. Linux: `BPF_LD | BPF_IND`.
    LoadInd {
        /// `B`, `H` or `W`.
        size: Size,
        /// Where in the packet.
        src: Reg,
        /// Added to `src`.
        imm: i32,
    },
    /// `goto +off`, in its short or long form.
    Jump {
        /// How far, in slots.
        off: i32,
        /// Whether it is the form with 32 bits of offset. Linux: `gotol`.
        long: bool,
    },
    /// `if dst op src goto +off`.
    JumpIf {
        /// When.
        op: JumpOp,
        /// On how many bits.
        width: Width,
        /// The left operand.
        dst: Reg,
        /// The right operand.
        src: Operand,
        /// How far, in slots.
        off: i16,
    },
    /// Jumps when the program's budget is used up. Linux: `BPF_JCOND`, `BPF_MAY_GOTO`.
    MayGoto {
        /// How far, in slots.
        off: i16,
    },
    /// Calls a helper, a function of this program, or a kernel function.
    Call(Call),
    /// Leaves the function; from the first function, the program.
    Exit,
}
