//! Instructions as text, in the dialect of the kernel's verifier log.
//!
//! Text is made from slots, because the log shows instructions before it refuses them: whatever
//! its fields are, a slot has a text.

use std::borrow::Cow;
use std::fmt;

use crate::decode::atomic_op;
use crate::insn::{AtomicOp, Imm64, Insn, Width};
use crate::opcode::{
    AluOp, Class, JumpOp, Mode, SOURCE_IS_REGISTER, SizeField, atomic, callee, imm_source, variant,
    whole,
};
use crate::slot::Slot;

/// What the text says of things that have names outside the instruction.
///
/// Every method may answer `None`, and then the text shows numbers.
pub trait Symbols {
    /// The name of a helper, `bpf_map_lookup_elem` for 1; `unknown` if there is none.
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        let _ = id;
        None
    }

    /// The name of a kernel function; empty if there is none.
    fn kfunc(&self, btf_id: i32, btf_fd_idx: i16) -> Option<Cow<'_, str>> {
        let _ = (btf_id, btf_fd_idx);
        None
    }

    /// The text for a wide immediate: an address or a symbol.
    fn imm64(&self, imm: Imm64) -> Option<Cow<'_, str>> {
        let _ = imm;
        None
    }
}

/// Nothing has a name. What is printed can be assembled again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers;

impl Symbols for Numbers {
    fn helper(&self, _: i32) -> Option<Cow<'_, str>> {
        Some("helper".into())
    }

    fn kfunc(&self, _: i32, _: i16) -> Option<Cow<'_, str>> {
        Some("kfunc".into())
    }
}

/// An instruction as text: `(b7) r0 = 0`, or with `{:#}` without the opcode, `r0 = 0`.
pub struct Text<'a> {
    slot: Slot,
    next: Option<Slot>,
    symbols: &'a dyn Symbols,
}

impl<'a> Text<'a> {
    /// The text of the instruction in `slot`, which is followed by `next`.
    pub const fn new(slot: Slot, next: Option<Slot>, symbols: &'a dyn Symbols) -> Self {
        Self { slot, next, symbols }
    }

    /// The text of `insn`.
    pub fn of(insn: Insn, symbols: &'a dyn Symbols) -> Self {
        let encoded = insn.encode();
        Self { slot: encoded.first, next: encoded.second, symbols }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.to_string()).finish()
    }
}

/// The text without opcode and names.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", Text::of(*self, &Numbers))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot;
        if !has_text(slot) {
            return write!(f, "BUG_{:02x}", slot.opcode);
        }
        if !f.alternate() {
            write!(f, "({:02x}) ", slot.opcode)?;
        }
        match Class::of(slot.opcode) {
            Some(Class::Alu32) => arithmetic(f, slot, Width::W32),
            Some(Class::Alu64) => arithmetic(f, slot, Width::W64),
            Some(Class::Ld) => self.load_special(f),
            Some(Class::Ldx) => load(f, slot),
            Some(Class::St) => store_imm(f, slot),
            Some(Class::Stx) => store_reg(f, slot),
            Some(Class::Jmp) => self.jump(f, Width::W64),
            Some(Class::Jmp32) => self.jump(f, Width::W32),
            None => Ok(()),
        }
    }
}

/// Whether the slot is an instruction of some kind, even if its fields are wrong.
fn has_text(slot: Slot) -> bool {
    let opcode = slot.opcode;
    let mode = Mode::of(opcode);
    let size = SizeField::of(opcode);
    match Class::of(opcode) {
        Some(Class::Ld) => match mode {
            Some(Mode::Imm) => size == Some(SizeField::DW),
            Some(Mode::Abs | Mode::Ind) => size != Some(SizeField::DW),
            Some(Mode::Mem | Mode::MemSx | Mode::Atomic) | None => false,
        },
        Some(Class::Ldx) => match mode {
            Some(Mode::MemSx) => size != Some(SizeField::DW),
            Some(Mode::Mem) => true,
            Some(Mode::Imm | Mode::Abs | Mode::Ind | Mode::Atomic) | None => false,
        },
        Some(Class::St) => mode == Some(Mode::Mem),
        Some(Class::Stx) => match mode {
            Some(Mode::Mem) => true,
            Some(Mode::Atomic) => {
                matches!(slot.imm, atomic::LOAD_ACQUIRE | atomic::STORE_RELEASE)
                    || atomic_op(slot.imm).is_some()
            }
            Some(Mode::Imm | Mode::Abs | Mode::Ind | Mode::MemSx) | None => false,
        },
        Some(Class::Alu32 | Class::Alu64) => {
            AluOp::of(opcode).is_some()
                || matches!(
                    opcode,
                    whole::NEG32 | whole::NEG64 | whole::TO_LE | whole::TO_BE | whole::BSWAP
                )
        }
        Some(Class::Jmp) => {
            JumpOp::of(opcode).is_some()
                || matches!(opcode, whole::JUMP | whole::CALL | whole::EXIT | whole::MAY_GOTO)
        }
        Some(Class::Jmp32) => JumpOp::of(opcode).is_some() || opcode == whole::JUMP_LONG,
        None => false,
    }
}

/// The letter before a register's number.
const fn letter(width: Width) -> char {
    match width {
        Width::W32 => 'w',
        Width::W64 => 'r',
    }
}

/// The offset of a move that the kernel makes for itself: no program may have it, but it has a
/// text. Linux: `BPF_ADDR_PERCPU`.
const PERCPU_ADDRESS: i16 = -1;

fn arithmetic(f: &mut fmt::Formatter<'_>, slot: Slot, width: Width) -> fmt::Result {
    let Slot { dst, src, off, imm, .. } = slot;
    let r = letter(width);
    match slot.opcode {
        whole::NEG32 | whole::NEG64 => return write!(f, "{r}{dst} = -{r}{dst}"),
        whole::TO_LE => return write!(f, "r{dst} = le{imm} r{dst}"),
        whole::TO_BE => return write!(f, "r{dst} = be{imm} r{dst}"),
        whole::BSWAP => return write!(f, "r{dst} = bswap{imm} r{dst}"),
        _ => {}
    }
    let op = AluOp::of(slot.opcode).unwrap_or(AluOp::Mov);
    let from_register = slot.opcode & SOURCE_IS_REGISTER != 0;
    if op == AluOp::Mov && from_register {
        if off == variant::ADDR_SPACE_CAST && width == Width::W64 {
            let spaces = imm.cast_unsigned();
            let (to, from) = (spaces >> 16, spaces & 0xffff);
            return write!(f, "r{dst} = addr_space_cast(r{src}, {to}, {from})");
        }
        if off == PERCPU_ADDRESS && width == Width::W64 {
            return write!(f, "r{dst} = &(void __percpu *)(r{src})");
        }
        if matches!(off, 8 | 16 | 32) {
            return write!(f, "{r}{dst} = (s{off}){r}{src}");
        }
    }
    let signed = matches!(op, AluOp::Div | AluOp::Mod) && off == variant::SIGNED;
    let sign = if signed { "s" } else { "" };
    let symbol = op.symbol();
    if from_register {
        write!(f, "{r}{dst} {sign}{symbol} {r}{src}")
    } else {
        write!(f, "{r}{dst} {sign}{symbol} {imm}")
    }
}

/// `u32` and so on.
fn memory_type(opcode: u8) -> &'static str {
    SizeField::of(opcode).map_or("", SizeField::symbol)
}

fn load(f: &mut fmt::Formatter<'_>, slot: Slot) -> fmt::Result {
    let Slot { dst, src, off, .. } = slot;
    let unsigned = memory_type(slot.opcode);
    if Mode::of(slot.opcode) == Some(Mode::MemSx) {
        let bits = unsigned.trim_start_matches('u');
        return write!(f, "r{dst} = *(s{bits} *)(r{src} {off:+})");
    }
    write!(f, "r{dst} = *({unsigned} *)(r{src} {off:+})")
}

fn store_imm(f: &mut fmt::Formatter<'_>, slot: Slot) -> fmt::Result {
    let Slot { dst, off, imm, .. } = slot;
    write!(f, "*({} *)(r{dst} {off:+}) = {imm}", memory_type(slot.opcode))
}

fn store_reg(f: &mut fmt::Formatter<'_>, slot: Slot) -> fmt::Result {
    let Slot { dst, src, off, imm, .. } = slot;
    let ty = memory_type(slot.opcode);
    if Mode::of(slot.opcode) == Some(Mode::Mem) {
        return write!(f, "*({ty} *)(r{dst} {off:+}) = r{src}");
    }
    match imm {
        atomic::LOAD_ACQUIRE => {
            return write!(f, "r{dst} = load_acquire(({ty} *)(r{src} {off:+}))");
        }
        atomic::STORE_RELEASE => {
            return write!(f, "store_release(({ty} *)(r{dst} {off:+}), r{src})");
        }
        _ => {}
    }
    let wide = if ty == "u64" { "64" } else { "" };
    match atomic_op(imm).unwrap_or(AtomicOp::Xchg) {
        AtomicOp::Xchg => {
            write!(f, "r{src} = atomic{wide}_xchg(({ty} *)(r{dst} {off:+}), r{src})")
        }
        AtomicOp::CmpXchg => {
            write!(f, "r0 = atomic{wide}_cmpxchg(({ty} *)(r{dst} {off:+}), r0, r{src})")
        }
        AtomicOp::Add { fetch } => arith_atomic(f, slot, fetch, "add", "+="),
        AtomicOp::Or { fetch } => arith_atomic(f, slot, fetch, "or", "|="),
        AtomicOp::And { fetch } => arith_atomic(f, slot, fetch, "and", "&="),
        AtomicOp::Xor { fetch } => arith_atomic(f, slot, fetch, "xor", "^="),
    }
}

fn arith_atomic(
    f: &mut fmt::Formatter<'_>,
    slot: Slot,
    fetch: bool,
    name: &str,
    symbol: &str,
) -> fmt::Result {
    let Slot { dst, src, off, .. } = slot;
    let ty = memory_type(slot.opcode);
    let wide = if ty == "u64" { "64" } else { "" };
    if fetch {
        write!(f, "r{src} = atomic{wide}_fetch_{name}(({ty} *)(r{dst} {off:+}), r{src})")
    } else {
        write!(f, "lock *({ty} *)(r{dst} {off:+}) {symbol} r{src}")
    }
}

impl Text<'_> {
    /// Wide immediates and the packet loads.
    fn load_special(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Slot { dst, src, imm, .. } = self.slot;
        let ty = memory_type(self.slot.opcode);
        match Mode::of(self.slot.opcode) {
            Some(Mode::Abs) => write!(f, "r0 = *({ty} *)skb[{imm}]"),
            Some(Mode::Ind) => write!(f, "r0 = *({ty} *)skb[r{src} + {imm}]"),
            _ => {
                write!(f, "r{dst} = ")?;
                self.imm64(f)?;
                // The log shows a width by the opcode.
                f.write_str(if f.alternate() { " ll" } else { "" })
            }
        }
    }

    fn imm64(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self.slot.imm;
        let high = self.next.map_or(0, |next| next.imm);
        let off = high.cast_unsigned();
        let value = u64::from(off) << 32 | u64::from(low.cast_unsigned());
        let imm = match self.slot.src {
            imm_source::MAP_FD => Imm64::MapFd(low),
            imm_source::MAP_VALUE => Imm64::MapValue { fd: low, off },
            imm_source::BTF_ID => Imm64::BtfId { id: low, btf_fd: high },
            imm_source::FUNC => Imm64::Func { off: low },
            imm_source::MAP_IDX => Imm64::MapIdx(low),
            imm_source::MAP_IDX_VALUE => Imm64::MapIdxValue { idx: low, off },
            _ => Imm64::Value(value),
        };
        if let Some(text) = self.symbols.imm64(imm) {
            return f.write_str(&text);
        }
        match imm {
            Imm64::Value(value) => write!(f, "0x{value:x}"),
            Imm64::MapFd(fd) => write!(f, "map[fd:{fd}]"),
            Imm64::MapValue { fd, off } => write!(f, "map[fd:{fd}][0]+{off}"),
            Imm64::MapIdx(idx) => write!(f, "map[idx:{idx}]"),
            Imm64::MapIdxValue { idx, off } => write!(f, "map[idx:{idx}][0]+{off}"),
            Imm64::BtfId { id, btf_fd: 0 } => write!(f, "btf[id:{id}]"),
            Imm64::BtfId { id, btf_fd } => write!(f, "btf[id:{id}, fd:{btf_fd}]"),
            Imm64::Func { off } => write!(f, "subprog[{off:+}]"),
        }
    }

    fn jump(&self, f: &mut fmt::Formatter<'_>, width: Width) -> fmt::Result {
        let Slot { opcode, dst, src, off, imm } = self.slot;
        match opcode {
            whole::JUMP => return write!(f, "goto pc{off:+}"),
            whole::JUMP_LONG => return write!(f, "gotol pc{imm:+}"),
            whole::EXIT => return f.write_str("exit"),
            whole::CALL => return self.call(f),
            whole::MAY_GOTO if src == 0 => return write!(f, "may_goto pc{off:+}"),
            _ => {}
        }
        let r = letter(width);
        let op = JumpOp::of(opcode).map_or("(null)", JumpOp::symbol);
        if opcode & SOURCE_IS_REGISTER != 0 {
            write!(f, "if {r}{dst} {op} {r}{src} goto pc{off:+}")
        } else {
            write!(f, "if {r}{dst} {op} 0x{imm:x} goto pc{off:+}")
        }
    }

    fn call(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Slot { src, off, imm, .. } = self.slot;
        match src {
            callee::LOCAL => write!(f, "call pc{imm:+}"),
            callee::KFUNC => {
                let name = self.symbols.kfunc(imm, off).unwrap_or_default();
                write!(f, "call {name}#{imm}")?;
                // What stands there is the kernel's; the rest is for our own eyes.
                if f.alternate() && off != 0 { write!(f, ":{off}") } else { Ok(()) }
            }
            callee::HELPER => {
                let name = self.symbols.helper(imm).unwrap_or("unknown".into());
                write!(f, "call {name}#{imm}")
            }
            _ => write!(f, "call unknown#{imm}"),
        }
    }
}
