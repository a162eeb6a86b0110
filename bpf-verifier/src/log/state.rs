//! Registers and stack slots, as the log shows them.
//!
//! Linux: `print_verifier_state`, `print_reg_state`.

use std::fmt::{self, Write as _};

use crate::env::{Env, Scratched};
use crate::scalar::{Scalar, Tnum};
use crate::state::{
    ByteKind, DynptrPart, FrameNo, FrameRole, Held, MapNo, Number, Pointer, PointerKind, PtrFlags,
    Slot, State, Value,
};

/// Which registers and slots are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// All.
    All,
    /// Those that were touched since they were shown last.
    Touched,
}

impl Env<'_> {
    /// Adds a frame's registers and slots to the log, and ends the line.
    ///
    /// Linux: `print_verifier_state`.
    pub fn print_state(&mut self, state: &State, frame: FrameNo, show: Show) {
        if !self.log.is_on() {
            return;
        }
        let text = self.state_text(state, frame, show);
        self.log.print(format_args!("{text}\n"));
        if show == Show::Touched {
            self.scratched.clear();
        }
    }

    /// A frame's registers and slots, as the log shows them, without a newline.
    pub fn state_text(&self, state: &State, frame: FrameNo, show: Show) -> String {
        let touched = match show {
            Show::All => Scratched { regs: u16::MAX, slots: u64::MAX },
            Show::Touched => self.scratched,
        };
        let mut text = String::new();
        // A String takes everything.
        let _ = frame_text(self, &mut text, state, frame, touched);
        text
    }

    /// Adds what the instruction at `pc` touched: after its text, where that is the log's last
    /// line, or on a line of its own.
    ///
    /// Linux: `print_insn_state`.
    pub fn print_insn_state(&mut self, state: &State, pc: bpf_isa::Pc) {
        if !self.log.is_on() {
            return;
        }
        if !self.log.continue_insn() {
            self.log.print(format_args!("{pc}:"));
        }
        self.print_state(state, state.depth(), Show::Touched);
    }
}

/// One frame's part of a state.
fn frame_text(
    env: &Env<'_>,
    out: &mut String,
    state: &State,
    frame: FrameNo,
    touched: Scratched,
) -> fmt::Result {
    let shown = state.frame(frame);
    if frame.0 > 0 {
        write!(out, " frame{}:", frame.0)?;
    }
    for (number, value) in shown.regs().iter().enumerate() {
        let Some(value) = value else { continue };
        if touched.regs & (1 << number) != 0 {
            write!(out, " R{number}={}", Shown { env, frame, value })?;
        }
    }
    let slots = shown.stack.slots();
    let mut at = 0;
    while at < slots.len() {
        if touched.slots & (1_u64 << at) != 0 {
            at = slot_text(env, out, frame, slots, at)?;
        }
        at += 1;
    }
    refs_text(out, state)?;
    match shown.role {
        FrameRole::Callback => out.push_str(" cb"),
        FrameRole::AsyncCallback => out.push_str(" async_cb"),
        FrameRole::Called | FrameRole::ExceptionCallback => {}
    }
    Ok(())
}

/// One slot, or the two of a dynptr; returns the last slot it showed.
fn slot_text(
    env: &Env<'_>,
    out: &mut String,
    frame: FrameNo,
    slots: &[Slot],
    at: usize,
) -> Result<usize, fmt::Error> {
    let slot = &slots[at];
    if !slot.is_written() {
        return Ok(at);
    }
    let off = (at + 1) * 8;
    match slot.kinds[7] {
        ByteKind::Spill => {
            write!(out, " fp-{off}=")?;
            for kind in slot.kinds.iter().take_while(|kind| **kind != ByteKind::Spill) {
                out.push(kind_char(*kind));
            }
            match &slot.held {
                Held::Value(value) => write!(out, "{}", Shown { env, frame, value })?,
                Held::Nothing | Held::Dynptr(_) | Held::Iter(_) | Held::Irq(_) => out.push('?'),
            }
        }
        ByteKind::Dynptr => return dynptr_text(out, slots, at),
        ByteKind::Iter => {
            if let Held::Iter(iter) = slot.held
                && let Some(ref_id) = iter.ref_id
            {
                let name = env.btf(iter.ty.btf).map_or("", |btf| btf.name_of(iter.ty.id));
                write!(
                    out,
                    " fp-{off}=iter_{}(ref_id={ref_id},state={},depth={})",
                    name.strip_prefix("bpf_iter_").unwrap_or(name),
                    iter.state.name(),
                    iter.depth
                )?;
            }
        }
        ByteKind::Misc | ByteKind::Zero | ByteKind::Invalid | ByteKind::IrqFlag => {
            write!(out, " fp-{off}=")?;
            out.extend(slot.kinds.iter().map(|kind| kind_char(*kind)));
        }
    }
    Ok(at)
}

/// The two slots of a dynptr, the one at the higher address being met first.
fn dynptr_text(out: &mut String, slots: &[Slot], at: usize) -> Result<usize, fmt::Error> {
    let Some(Slot { held: Held::Dynptr(first), .. }) = slots.get(at + 1) else {
        return Ok(at);
    };
    if first.part != DynptrPart::First {
        return Ok(at);
    }
    write!(out, " fp-{}=dynptr_{}(", (at + 2) * 8, first.kind.name())?;
    let mut sep = "";
    if let Some(id) = first.id {
        write!(out, "id={id}")?;
        sep = ",";
    }
    if let Some(id) = first.ref_id {
        write!(out, "{sep}ref_id={id}")?;
        sep = ",";
    }
    // Where the kernel keeps that this is the first slot, the log looks for an identity.
    write!(out, "{sep}dynptr_id=1)")?;
    Ok(at + 1)
}

fn refs_text(out: &mut String, state: &State) -> fmt::Result {
    let held = state.refs.held();
    let Some(Some(first)) = held.first().map(|held| held.id) else { return Ok(()) };
    write!(out, " refs={first}")?;
    for id in held[1..].iter().filter_map(|held| held.id) {
        write!(out, ",{id}")?;
    }
    Ok(())
}

/// Linux: `slot_type_char`.
const fn kind_char(kind: ByteKind) -> char {
    match kind {
        ByteKind::Invalid => '?',
        ByteKind::Spill => 'r',
        ByteKind::Misc => 'm',
        ByteKind::Zero => '0',
        ByteKind::Dynptr => 'd',
        ByteKind::Iter => 'i',
        ByteKind::IrqFlag => 'f',
    }
}

/// A value in a frame, as the log shows it.
struct Shown<'a, 'e> {
    env: &'a Env<'e>,
    frame: FrameNo,
    value: &'a Value,
}

impl fmt::Display for Shown<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Scalar(number) => number_text(f, number),
            Value::Pointer(pointer) => self.pointer(f, pointer),
        }
    }
}

fn number_text(f: &mut fmt::Formatter<'_>, number: &Number) -> fmt::Result {
    if number.precise {
        f.write_char('P')?;
    }
    if let Some(value) = number.set.const_value() {
        return write!(f, "{}", Signed(value.cast_signed()));
    }
    f.write_str("scalar(")?;
    let mut sep = "";
    if let Some(link) = number.link {
        write!(f, "id={}", link.id)?;
        if let Some(delta) = link.delta {
            write!(f, "{:+}", delta.by)?;
        }
        sep = ",";
    }
    set_text(f, &number.set, sep)?;
    f.write_char(')')
}

/// The ranges and bits of a set of more than one number.
fn set_text(f: &mut fmt::Formatter<'_>, set: &Scalar, sep: &'static str) -> fmt::Result {
    let sep = ranges_text(f, set, sep)?;
    if !set.bits.is_unknown() {
        write!(f, "{sep}var_off={}", Bits(set.bits))?;
    }
    Ok(())
}

impl Shown<'_, '_> {
    fn pointer(&self, f: &mut fmt::Formatter<'_>, pointer: &Pointer) -> fmt::Result {
        write!(f, "{}", TypeName::of(pointer))?;
        match pointer.kind {
            PointerKind::Arena => return Ok(()),
            PointerKind::Stack { frame } => {
                if frame != self.frame {
                    write!(f, "[{}]", frame.0)?;
                }
                if let Some(off) = pointer.constant_off() {
                    return write!(f, "{}", Signed(off));
                }
            }
            PointerKind::Btf { ty } => {
                let name = self.env.btf(ty.btf).map_or("", |btf| btf.name_of(ty.id));
                f.write_str(name)?;
            }
            PointerKind::Ctx
            | PointerKind::MapPtr { .. }
            | PointerKind::MapValue { .. }
            | PointerKind::MapKey { .. }
            | PointerKind::Packet { .. }
            | PointerKind::PacketMeta { .. }
            | PointerKind::PacketEnd
            | PointerKind::FlowKeys
            | PointerKind::Socket { .. }
            | PointerKind::SockCommon
            | PointerKind::TcpSock
            | PointerKind::XdpSock { .. }
            | PointerKind::TpBuffer
            | PointerKind::Mem { .. }
            | PointerKind::Buf
            | PointerKind::Func { .. }
            | PointerKind::Dynptr { .. } => {}
        }
        f.write_char('(')?;
        self.attributes(f, pointer)?;
        f.write_char(')')
    }

    fn attributes(&self, f: &mut fmt::Formatter<'_>, pointer: &Pointer) -> fmt::Result {
        let mut list = List { f, sep: "" };
        if let Some(id) = pointer.id {
            list.item(format_args!("id={id}"))?;
        }
        if let Some(id) = pointer.ref_id {
            list.item(format_args!("ref_obj_id={id}"))?;
        }
        if pointer.flags.contains(PtrFlags::NON_OWN_REF) {
            list.item(format_args!("non_own_ref"))?;
        }
        if let Some(map) = pointer.map() {
            self.map(&mut list, map)?;
        }
        if pointer.off != 0 {
            list.item(format_args!("off={}", Signed(pointer.off.into())))?;
        }
        if let PointerKind::Packet { range } | PointerKind::PacketMeta { range } = pointer.kind {
            list.item(format_args!("r={}", Unsigned(i64::from(range.0).cast_unsigned())))?;
        }
        if let PointerKind::Mem { size, .. } = pointer.kind {
            list.item(format_args!("sz={}", Unsigned(size.into())))?;
        }
        if let PointerKind::Dynptr { kind } = pointer.kind {
            list.item(format_args!("type={}", kind.name()))?;
        }
        match pointer.delta.const_value() {
            Some(0) => Ok(()),
            Some(delta) => list.item(format_args!("imm={}", Signed(delta.cast_signed()))),
            None => set_text(list.f, &pointer.delta, list.sep),
        }
    }

    fn map(&self, list: &mut List<'_, '_>, map: MapNo) -> fmt::Result {
        let facts = self.env.map(map);
        if !facts.name.is_empty() {
            list.item(format_args!("map={}", facts.name))?;
        }
        list.item(format_args!("ks={},vs={}", facts.key_size, facts.value_size))
    }
}

/// Items with commas between them.
struct List<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    sep: &'static str,
}

impl List<'_, '_> {
    fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        self.f.write_str(self.sep)?;
        self.sep = ",";
        self.f.write_fmt(item)
    }
}

/// The ranges that say something; equal ones share their number: `smax=umax=7`.
///
/// Returns the separator for what follows.
///
/// Linux: `print_scalar_ranges`.
fn ranges_text(
    f: &mut fmt::Formatter<'_>,
    set: &Scalar,
    sep: &'static str,
) -> Result<&'static str, fmt::Error> {
    let (whole, low) = (set.whole, set.low);
    let mut ranges = [
        (Bound::signed("smin", whole.smin), whole.smin == i64::MIN),
        (Bound::signed("smax", whole.smax), whole.smax == i64::MAX),
        (Bound::unsigned("umin", whole.umin), whole.umin == 0),
        (Bound::unsigned("umax", whole.umax), whole.umax == u64::MAX),
        (Bound::signed32("smin32", low.smin), low.smin == i32::MIN),
        (Bound::signed32("smax32", low.smax), low.smax == i32::MAX),
        (Bound::unsigned("umin32", low.umin.into()), low.umin == 0),
        (Bound::unsigned("umax32", low.umax.into()), low.umax == u32::MAX),
    ];
    let mut sep = sep;
    for first in 0..ranges.len() {
        let (bound, omit) = ranges[first];
        if omit {
            continue;
        }
        write!(f, "{sep}{}=", bound.name)?;
        sep = ",";
        for other in (first + 2..ranges.len()).step_by(2) {
            let (same, omit) = &mut ranges[other];
            if !*omit && same.value == bound.value && same.is_negative() == bound.is_negative() {
                *omit = true;
                write!(f, "{}=", same.name)?;
            }
        }
        match bound.sign {
            Sign::Signed => write!(f, "{}", Signed(bound.value.cast_signed()))?,
            Sign::Unsigned => write!(f, "{}", Unsigned(bound.value))?,
        }
    }
    Ok(sep)
}

/// One end of a range, under the name the log gives it.
#[derive(Clone, Copy)]
struct Bound {
    name: &'static str,
    value: u64,
    sign: Sign,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Signed,
    Unsigned,
}

impl Bound {
    const fn signed(name: &'static str, value: i64) -> Self {
        Self { name, value: value.cast_unsigned(), sign: Sign::Signed }
    }

    /// A half's bound: written in decimal it is the same number as a whole one; in hexadecimal
    /// only its 32 bits are shown.
    const fn signed32(name: &'static str, value: i32) -> Self {
        let value = value as i64;
        let shown = if is_small(value) { value } else { value & 0xffff_ffff };
        Self::signed(name, shown)
    }

    const fn unsigned(name: &'static str, value: u64) -> Self {
        Self { name, value, sign: Sign::Unsigned }
    }

    fn is_negative(self) -> bool {
        self.sign == Sign::Signed && self.value.cast_signed() < 0
    }
}

/// Whether a signed number is written in decimal. Linux: `is_snum_decimal`.
const fn is_small(number: i64) -> bool {
    number >= i16::MIN as i64 && number <= i16::MAX as i64
}

/// A signed number: decimal if it is small. Linux: `verbose_snum`.
#[derive(Clone, Copy, Debug)]
pub struct Signed(pub i64);

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_small(self.0) { write!(f, "{}", self.0) } else { write!(f, "{:#x}", self.0) }
    }
}

/// An unsigned number: decimal if it is small. Linux: `verbose_unum`.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned(pub u64);

impl fmt::Display for Unsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= u16::MAX.into() { write!(f, "{}", self.0) } else { write!(f, "{:#x}", self.0) }
    }
}

/// Known bits: `(0x8; 0x7)`. Linux: `tnum_strn`.
#[derive(Clone, Copy, Debug)]
pub struct Bits(pub Tnum);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.mask() == 0 {
            write!(f, "{}", Unsigned(self.0.value()))
        } else {
            write!(f, "({:#x}; {:#x})", self.0.value(), self.0.mask())
        }
    }
}

/// The kernel's name for a type of value: `map_value_or_null`.
///
/// Linux: `reg_type_str`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeName {
    /// Nothing was written.
    Unwritten,
    /// A number.
    Scalar,
    /// A pointer of this kind and these flags.
    Pointer(PointerKind, PtrFlags),
}

impl TypeName {
    /// The type of a pointer.
    pub const fn of(pointer: &Pointer) -> Self {
        Self::Pointer(pointer.kind, pointer.flags)
    }

    /// The type of what a register holds.
    pub const fn of_value(value: Option<&Value>) -> Self {
        match value {
            None => Self::Unwritten,
            Some(Value::Scalar(_)) => Self::Scalar,
            Some(Value::Pointer(pointer)) => Self::of(pointer),
        }
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, flags) = match self {
            Self::Unwritten => return f.write_str("?"),
            Self::Scalar => return f.write_str("scalar"),
            Self::Pointer(kind, flags) => (kind, *flags),
        };
        let prefixes = [
            (PtrFlags::RDONLY, "rdonly_"),
            (PtrFlags::RINGBUF, "ringbuf_"),
            (PtrFlags::USER, "user_"),
            (PtrFlags::PERCPU, "percpu_"),
            (PtrFlags::RCU, "rcu_"),
            (PtrFlags::UNTRUSTED, "untrusted_"),
            (PtrFlags::TRUSTED, "trusted_"),
        ];
        for (flag, prefix) in prefixes {
            if flags.contains(flag) {
                f.write_str(prefix)?;
            }
        }
        f.write_str(kind_name(kind))?;
        if flags.contains(PtrFlags::MAYBE_NULL) {
            let is_btf = matches!(kind, PointerKind::Btf { .. });
            f.write_str(if is_btf { "or_null_" } else { "_or_null" })?;
        }
        Ok(())
    }
}

/// The name of a kind, without its flags.
pub const fn kind_name(kind: &PointerKind) -> &'static str {
    match kind {
        PointerKind::Ctx => "ctx",
        PointerKind::MapPtr { .. } => "map_ptr",
        PointerKind::MapValue { .. } => "map_value",
        PointerKind::MapKey { .. } => "map_key",
        PointerKind::Stack { .. } => "fp",
        PointerKind::Packet { .. } => "pkt",
        PointerKind::PacketMeta { .. } => "pkt_meta",
        PointerKind::PacketEnd => "pkt_end",
        PointerKind::FlowKeys => "flow_keys",
        PointerKind::Socket { .. } => "sock",
        PointerKind::SockCommon => "sock_common",
        PointerKind::TcpSock => "tcp_sock",
        PointerKind::XdpSock { .. } => "xdp_sock",
        PointerKind::TpBuffer => "tp_buffer",
        PointerKind::Btf { .. } => "ptr_",
        PointerKind::Mem { .. } => "mem",
        PointerKind::Buf => "buf",
        PointerKind::Arena => "arena",
        PointerKind::Func { .. } => "func",
        PointerKind::Dynptr { .. } => "dynptr_ptr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(set: Scalar) -> String {
        struct Text(Number);
        impl fmt::Display for Text {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                number_text(f, &self.0)
            }
        }
        Text(Number::of(set)).to_string()
    }

    #[test]
    fn equal_bounds_share_a_number() {
        assert_eq!(
            scalar(Scalar::of_unsigned(0, 3)),
            "scalar(smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))"
        );
        assert_eq!(
            scalar(Scalar::of_unsigned(0, 0xffff_ffff)),
            "scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))"
        );
        assert_eq!(scalar(Scalar::UNKNOWN), "scalar()");
    }

    #[test]
    fn small_numbers_are_decimal() {
        assert_eq!(scalar(Scalar::imm(-1)), "-1");
        assert_eq!(scalar(Scalar::constant(0x8000)), "0x8000");
        assert_eq!(Unsigned(0x8000).to_string(), "32768");
    }
}
