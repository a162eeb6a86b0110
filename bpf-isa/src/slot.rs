//! Eight bytes, split but not understood.

/// One instruction slot, its fields taken apart and nothing more.
///
/// ```text
///   byte 0    1            2 3   4 5 6 7
///  +--------+-----+-----+-----+---------+
///  | opcode | dst | src | off |   imm   |      dst: low four bits of byte 1
///  +--------+-----+-----+-----+---------+
/// ```
///
/// Linux: `struct bpf_insn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The opcode byte.
    pub opcode: u8,
    /// The destination register's number, 0 to 15.
    pub dst: u8,
    /// The source register's number, 0 to 15.
    pub src: u8,
    /// The offset, counted in bytes for memory and in slots for jumps.
    pub off: i16,
    /// The immediate.
    pub imm: i32,
}

impl Slot {
    /// The slot's size in bytes.
    pub const SIZE: usize = 8;

    /// Splits `bytes`, as they lie in a little-endian object.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        let [opcode, regs, off0, off1, imm0, imm1, imm2, imm3] = bytes;
        Self {
            opcode,
            dst: regs & 0xf,
            src: regs >> 4,
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
        }
    }

    /// The bytes of the slot, as they lie in a little-endian object.
    pub const fn to_bytes(self) -> [u8; 8] {
        let off = self.off.to_le_bytes();
        let imm = self.imm.to_le_bytes();
        let regs = (self.dst & 0xf) | (self.src << 4);
        [self.opcode, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }
}
