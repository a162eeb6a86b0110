//! The opcode byte, field by field.
//!
//! ```text
//!   7       4   3   2       0
//!  +---------+-----+---------+
//!  |   op    | src |  class  |      ALU, ALU64, JMP, JMP32
//!  +---------+-----+---------+
//!  |  mode   |size |  class  |      LD, LDX, ST, STX      (mode: 3 bits, size: 2)
//!  +---------+-----+---------+
//! ```
//!
//! Each field is one table below. Nothing outside this file knows a bit pattern.

/// Defines one field of the opcode byte from its table.
///
/// The columns are: the bits, the name, how the disassembler writes it, what it means.
macro_rules! opcode_field {
    (
        $(#[$meta:meta])*
        pub enum $Field:ident in $mask:literal {
            $( $bits:literal $Name:ident $symbol:literal $doc:literal )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $Field {
            $( #[doc = $doc] $Name = $bits, )+
        }

        impl $Field {
            /// The bits of the opcode byte that hold this field.
            pub const MASK: u8 = $mask;

            /// Every assigned value, in encoding order.
            pub const ALL: &'static [Self] = &[$( Self::$Name ),+];

            /// Reads the field out of `opcode`, or `None` if its bits are unassigned.
            pub const fn of(opcode: u8) -> Option<Self> {
                match opcode & Self::MASK {
                    $( $bits => Some(Self::$Name), )+
                    _ => None,
                }
            }

            /// The field's share of the opcode byte.
            pub const fn bits(self) -> u8 {
                self as u8
            }

            /// How the disassembler writes it.
            pub const fn symbol(self) -> &'static str {
                match self {
                    $( Self::$Name => $symbol, )+
                }
            }
        }

        const _: () = {
            $( assert!($bits & !$mask == 0, concat!(stringify!($Name), " leaves its field")); )+
        };
    };
}

opcode_field! {
    /// The family of an instruction.
    pub enum Class in 0x07 {
        0x00 Ld    "ld"    "Wide immediates and the legacy packet loads."
        0x01 Ldx   "ldx"   "Loads into a register."
        0x02 St    "st"    "Stores of an immediate."
        0x03 Stx   "stx"   "Stores of a register, and atomics."
        0x04 Alu32 "alu32" "Arithmetic on the low halves; the upper half of the result is zero."
        0x05 Jmp   "jmp"   "Jumps, calls, exit; comparisons of 64 bits."
        0x06 Jmp32 "jmp32" "Comparisons of the low halves; the long jump."
        0x07 Alu64 "alu64" "Arithmetic on whole registers."
    }
}

opcode_field! {
    /// What an arithmetic instruction computes.
    pub enum AluOp in 0xf0 {
        0x00 Add  "+="   "`dst + src`, wrapping."
        0x10 Sub  "-="   "`dst - src`, wrapping."
        0x20 Mul  "*="   "`dst * src`, wrapping."
        0x30 Div  "/="   "`dst / src`, or zero if `src` is zero."
        0x40 Or   "|="   "`dst | src`."
        0x50 And  "&="   "`dst & src`."
        0x60 Lsh  "<<="  "`dst << src`, the shift taken modulo the width."
        0x70 Rsh  ">>="  "`dst >> src`, filling with zeros."
        0x90 Mod  "%="   "`dst % src`, or `dst` if `src` is zero."
        0xa0 Xor  "^="   "`dst ^ src`."
        0xb0 Mov  "="    "`src`."
        0xc0 Arsh "s>>=" "`dst >> src`, filling with the sign."
    }
}

opcode_field! {
    /// When a conditional jump is taken.
    pub enum JumpOp in 0xf0 {
        0x10 Eq  "=="  "`dst == src`."
        0x20 Gt  ">"   "`dst > src`, unsigned."
        0x30 Ge  ">="  "`dst >= src`, unsigned."
        0x40 Set "&"   "`dst & src != 0`."
        0x50 Ne  "!="  "`dst != src`."
        0x60 Sgt "s>"  "`dst > src`, signed."
        0x70 Sge "s>=" "`dst >= src`, signed."
        0xa0 Lt  "<"   "`dst < src`, unsigned."
        0xb0 Le  "<="  "`dst <= src`, unsigned."
        0xc0 Slt "s<"  "`dst < src`, signed."
        0xd0 Sle "s<=" "`dst <= src`, signed."
    }
}

opcode_field! {
    /// How a load or store finds its memory.
    pub enum Mode in 0xe0 {
        0x00 Imm    "imm"    "No memory: the immediate itself, 64 bits wide."
        0x20 Abs    "abs"    "The packet, at an immediate offset."
        0x40 Ind    "ind"    "The packet, at a register's offset."
        0x60 Mem    "mem"    "A register plus an offset."
        0x80 MemSx  "memsx"  "The same, loading with the sign."
        0xc0 Atomic "atomic" "The same, atomically."
    }
}

opcode_field! {
    /// The size field of loads and stores.
    pub enum SizeField in 0x18 {
        0x00 W  "u32" "Four bytes."
        0x08 H  "u16" "Two bytes."
        0x10 B  "u8"  "One byte."
        0x18 DW "u64" "Eight bytes."
    }
}

/// The bit of an arithmetic or jump opcode that says the right operand is a register.
/// Linux: `BPF_X`.
pub const SOURCE_IS_REGISTER: u8 = 0x08;

/// The opcodes that are no row of a table above.
pub mod whole {
    /// `dst = imm ll`.
    pub const LOAD_IMM64: u8 = 0x18;
    /// `goto +off`, 16 bits.
    pub const JUMP: u8 = 0x05;
    /// `goto +imm`, 32 bits.
    pub const JUMP_LONG: u8 = 0x06;
    /// Calls.
    pub const CALL: u8 = 0x85;
    /// The end of a function.
    pub const EXIT: u8 = 0x95;
    /// `may_goto`. Linux: `BPF_JMP | BPF_JCOND`.
    pub const MAY_GOTO: u8 = 0xe5;
    /// `dst = -dst`, 32 bits.
    pub const NEG32: u8 = 0x84;
    /// `dst = -dst`.
    pub const NEG64: u8 = 0x87;
    /// To little-endian.
    pub const TO_LE: u8 = 0xd4;
    /// To big-endian.
    pub const TO_BE: u8 = 0xdc;
    /// Byte swap.
    pub const BSWAP: u8 = 0xd7;
}

/// The immediates of atomic instructions.
pub mod atomic {
    /// Added to the operation's bits: the old value is wanted. Linux: `BPF_FETCH`.
    pub const FETCH: i32 = 0x01;
    /// Exchange.
    pub const XCHG: i32 = 0xe1;
    /// Compare and exchange.
    pub const CMPXCHG: i32 = 0xf1;
    /// A load with acquire ordering.
    pub const LOAD_ACQUIRE: i32 = 0x100;
    /// A store with release ordering.
    pub const STORE_RELEASE: i32 = 0x110;
}

/// The source register of a wide immediate: what kind of thing it names.
pub mod imm_source {
    /// Nothing: the number itself.
    pub const VALUE: u8 = 0;
    /// Linux: `BPF_PSEUDO_MAP_FD`.
    pub const MAP_FD: u8 = 1;
    /// Linux: `BPF_PSEUDO_MAP_VALUE`.
    pub const MAP_VALUE: u8 = 2;
    /// Linux: `BPF_PSEUDO_BTF_ID`.
    pub const BTF_ID: u8 = 3;
    /// Linux: `BPF_PSEUDO_FUNC`.
    pub const FUNC: u8 = 4;
    /// Linux: `BPF_PSEUDO_MAP_IDX`.
    pub const MAP_IDX: u8 = 5;
    /// Linux: `BPF_PSEUDO_MAP_IDX_VALUE`.
    pub const MAP_IDX_VALUE: u8 = 6;
}

/// The source register of a call: what kind of thing is called.
pub mod callee {
    /// A helper.
    pub const HELPER: u8 = 0;
    /// Linux: `BPF_PSEUDO_CALL`.
    pub const LOCAL: u8 = 1;
    /// Linux: `BPF_PSEUDO_KFUNC_CALL`.
    pub const KFUNC: u8 = 2;
}

/// What the offset of a move with sign extension or of a signed division says.
pub mod variant {
    /// Signed division or remainder.
    pub const SIGNED: i16 = 1;
    /// A move between address spaces. Linux: `BPF_ADDR_SPACE_CAST`.
    pub const ADDR_SPACE_CAST: i16 = 1;
}
