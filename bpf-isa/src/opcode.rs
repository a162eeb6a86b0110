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
