//! Instructions, by what they do.

use bpf_isa::Slot;

/// The sizes of accesses in bytes, and their bits in the opcode.
pub(super) const SIZES: [(u32, u8); 4] = [(1, 0x10), (2, 0x08), (4, 0x00), (8, 0x18)];

const fn slot(opcode: u8, dst: u8, src: u8, off: i16, imm: i32) -> Slot {
    Slot { opcode, dst, src, off, imm }
}

/// `dst = src`.
pub(super) const fn mov(dst: u8, src: u8) -> Slot {
    slot(0xbf, dst, src, 0, 0)
}

/// `dst = imm`.
pub(super) const fn set(dst: u8, imm: i32) -> Slot {
    slot(0xb7, dst, 0, 0, imm)
}

/// `dst += imm`.
pub(super) const fn add(dst: u8, imm: i32) -> Slot {
    slot(0x07, dst, 0, 0, imm)
}

/// An operation of 64 bits with an immediate: `dst op= imm`.
pub(super) const fn alu(op: u8, dst: u8, imm: i32) -> Slot {
    slot(0x07 | op, dst, 0, 0, imm)
}

/// `dst = *(size *)(src + off)`.
pub(super) const fn load(size: u8, dst: u8, src: u8, off: i16) -> Slot {
    slot(0x61 | size, dst, src, off, 0)
}

/// The same, extending the sign.
pub(super) const fn load_signed(size: u8, dst: u8, src: u8, off: i16) -> Slot {
    slot(0x81 | size, dst, src, off, 0)
}

/// `*(size *)(dst + off) = src`.
pub(super) const fn store(size: u8, dst: u8, off: i16, src: u8) -> Slot {
    slot(0x63 | size, dst, src, off, 0)
}

/// `*(size *)(dst + off) = imm`.
pub(super) const fn store_imm(size: u8, dst: u8, off: i16, imm: i32) -> Slot {
    slot(0x62 | size, dst, 0, off, imm)
}

/// `lock *(u64 *)(dst + off) += src`.
pub(super) const fn atomic_add(dst: u8, off: i16, src: u8) -> Slot {
    slot(0xdb, dst, src, off, 0)
}

/// `R0 = *(size *)skb[imm]`, or `skb[src + imm]`.
pub(super) const fn packet_load(size: u8, indirect: bool, src: u8, imm: i32) -> Slot {
    slot(if indirect { 0x40 } else { 0x20 } | size, 0, src, 0, imm)
}

/// Calls a helper.
pub(super) const fn call(helper: i32) -> Slot {
    slot(0x85, 0, 0, 0, helper)
}

/// Calls a kernel function, whose number is still to come.
pub(super) const fn call_kernel() -> Slot {
    slot(0x85, 0, 2, 0, 0)
}

/// `if dst op src goto off`; `op` are the high bits of the opcode.
pub(super) const fn jump(op: u8, dst: u8, src: u8, off: i16) -> Slot {
    slot(0x0d | op, dst, src, off, 0)
}

/// `if dst op imm goto off`.
pub(super) const fn jump_imm(op: u8, dst: u8, imm: i32, off: i16) -> Slot {
    slot(0x05 | op, dst, 0, off, imm)
}

/// Loads a 64-bit immediate; the second slot is of zeros.
pub(super) const fn wide(dst: u8, src: u8, imm: i32) -> [Slot; 2] {
    [slot(0x18, dst, src, 0, imm), slot(0, 0, 0, 0, 0)]
}

/// Leaves.
pub(super) const EXIT: Slot = slot(0x95, 0, 0, 0, 0);
