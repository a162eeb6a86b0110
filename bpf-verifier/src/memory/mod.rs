//! May these bytes be touched? One file a kind of memory.
//!
//! Every access, of an instruction or of a helper on the program's behalf, comes through
//! [`access`]: the pointer's kind decides which file judges it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "rules name what they allow; all that they do not name is refused"
)]

mod error;
pub(crate) mod bounds;
pub(crate) mod stack;
pub(crate) mod map_value;
pub(crate) mod context;
pub(crate) mod arguments;
pub(crate) mod packet;
pub(crate) mod buffer;
pub(crate) mod btf;

use bpf_isa::{Extension, Operand, Reg, Size};

use crate::cx::StepCx;
use crate::error::Reason;
use crate::log;
use crate::scalar::Scalar;
use crate::state::{Number, Pointer, PointerKind, PtrFlags, Value};

pub use error::MemoryError;

/// An access through a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// The register that holds the address.
    pub(crate) base: Reg,
    /// Added to the address.
    pub(crate) off: i32,
    /// How many bytes.
    pub(crate) size: Size,
    /// What is done with them.
    pub(crate) what: What,
    /// Whether the address must be aligned, whatever the host can do.
    pub(crate) aligned: bool,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Reads into a register.
    Load(Reg, Extension),
    /// Reads, and the result is of no interest.
    Read,
    /// Writes a register or an immediate.
    Store(Operand),
    /// Writes what is not known.
    Write,
}

impl What {
    /// Whether it writes.
    pub(crate) const fn writes(self) -> bool {
        match self {
            Self::Store(_) | Self::Write => true,
            Self::Load(..) | Self::Read => false,
        }
    }

    /// The register that receives what was read.
    pub(crate) const fn into(self) -> Option<Reg> {
        match self {
            Self::Load(reg, _) => Some(reg),
            Self::Read | Self::Store(_) | Self::Write => None,
        }
    }
}

/// How the log names the type of what a register holds. Linux: `reg_type_str`.
pub(crate) fn type_name(value: Option<&Value>) -> String {
    match value {
        None => "?".to_owned(),
        Some(Value::Scalar(_)) => "scalar".to_owned(),
        Some(Value::Pointer(pointer)) => pointer_name(pointer),
    }
}

/// How the log names the type of a pointer. Linux: `reg_type_str`.
pub(crate) fn pointer_name(pointer: &Pointer) -> String {
    kind_name(&pointer.kind, pointer.flags)
}

/// How the log names a kind of pointer with these flags. Linux: `reg_type_str`.
pub(crate) fn kind_name(kind: &PointerKind, flags: PtrFlags) -> String {
    let mut name = String::new();
    for (flag, prefix) in [
        (PtrFlags::RDONLY, "rdonly_"),
        (PtrFlags::RINGBUF, "ringbuf_"),
        (PtrFlags::USER, "user_"),
        (PtrFlags::PERCPU, "percpu_"),
        (PtrFlags::RCU, "rcu_"),
        (PtrFlags::UNTRUSTED, "untrusted_"),
        (PtrFlags::TRUSTED, "trusted_"),
    ] {
        if flags.contains(flag) {
            name.push_str(prefix);
        }
    }
    name.push_str(log::kind_name(kind));
    if flags.contains(PtrFlags::MAYBE_NULL) {
        name.push_str(match kind {
            PointerKind::Btf { .. } => "or_null_",
            _ => "_or_null",
        });
    }
    name
}

/// Checks an access of the instruction and does what it does to the state.
///
/// Linux: `check_mem_access`.
pub(crate) fn access(cx: &mut StepCx<'_, '_>, access: Access) -> Result<(), Reason> {
    let value = cx.state.reg(access.base).copied();
    let Some(Value::Pointer(pointer)) = value else {
        bounds::check_scalar_alignment(cx, value.as_ref(), &access)?;
        return Err(not_memory(value.as_ref(), access.base).into());
    };
    bounds::check_alignment(cx, &pointer, &access)?;
    let off = i64::from(access.off) + i64::from(pointer.off);
    by_kind(cx, &pointer, &access, off)?;
    if let What::Load(into, ext) = access.what
        && access.size != Size::DW
        && let Some(Value::Scalar(number)) = cx.state.reg_mut(into)
    {
        narrow(number, access.size, ext);
    }
    Ok(())
}

/// Linux: the body of `check_mem_access`.
fn by_kind(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    let maybe_null = pointer.maybe_null();
    match pointer.kind {
        PointerKind::MapKey { .. } if !maybe_null => {
            if access.what.writes() {
                return Err(MemoryError::KeyWritten { reg: access.base }.into());
            }
            let room = bounds::room(cx, pointer);
            bounds::check_region(pointer, access.base, off, size_of(access), room, false)?;
            loaded_unknown(cx, access);
            Ok(())
        }
        PointerKind::MapValue { .. } if !maybe_null => map_value::access(cx, pointer, access, off),
        PointerKind::Mem { .. } => memory(cx, pointer, access, off),
        PointerKind::Ctx if !maybe_null => context::access(cx, pointer, access, off),
        PointerKind::Stack { .. } => stack::access(cx, pointer, access, off),
        PointerKind::Packet { .. } | PointerKind::PacketMeta { .. } => {
            packet::access(cx, pointer, access, off)
        }
        PointerKind::FlowKeys => {
            buffer::check_flow_keys(off, access.size)?;
            loaded_unknown(cx, access);
            Ok(())
        }
        PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
            if !maybe_null =>
        {
            buffer::socket(cx, pointer, access, off)
        }
        PointerKind::TpBuffer => buffer::tracepoint(cx, pointer, access, off),
        PointerKind::Btf { .. } if !maybe_null => btf::access(cx, pointer, access, off),
        PointerKind::MapPtr { .. } if !maybe_null => btf::map_access(cx, pointer, access, off),
        PointerKind::Buf if !maybe_null => buffer::buffer(cx, pointer, access, off),
        PointerKind::Arena => {
            loaded_unknown(cx, access);
            Ok(())
        }
        PointerKind::MapKey { .. }
        | PointerKind::MapValue { .. }
        | PointerKind::Ctx
        | PointerKind::Socket { .. }
        | PointerKind::SockCommon
        | PointerKind::TcpSock
        | PointerKind::XdpSock { .. }
        | PointerKind::Btf { .. }
        | PointerKind::MapPtr { .. }
        | PointerKind::Buf
        | PointerKind::PacketEnd
        | PointerKind::Func { .. }
        | PointerKind::Dynptr { .. } => {
            Err(not_memory(Some(&Value::Pointer(*pointer)), access.base).into())
        }
    }
}

/// Memory of known size.
fn memory(
    cx: &mut StepCx<'_, '_>,
    pointer: &Pointer,
    access: &Access,
    off: i64,
) -> Result<(), Reason> {
    if pointer.maybe_null() {
        return Err(not_memory(Some(&Value::Pointer(*pointer)), access.base).into());
    }
    let rdonly = pointer.flags.contains(PtrFlags::RDONLY);
    if access.what.writes() && rdonly {
        return Err(read_only(pointer, access.base).into());
    }
    // Reading through an untrusted read-only pointer cannot do harm: faults read zeros.
    if !(rdonly && pointer.flags.contains(PtrFlags::UNTRUSTED)) {
        let room = bounds::room(cx, pointer);
        bounds::check_region(pointer, access.base, off, size_of(access), room, false)?;
    }
    loaded_unknown(cx, access);
    Ok(())
}

pub(crate) const fn size_of(access: &Access) -> i64 {
    access.size.bytes() as i64
}

/// Whatever was read is any number.
pub(crate) fn loaded_unknown(cx: &mut StepCx<'_, '_>, access: &Access) {
    if let Some(into) = access.what.into() {
        cx.state.set(into, Some(Value::UNKNOWN));
    }
}

/// A number that is narrower than a register fills the rest as the load says.
pub(crate) fn narrow(number: &mut Number, size: Size, ext: Extension) {
    number.set = match ext {
        Extension::Unsigned => number.set.zero_extended(size),
        Extension::Signed => number.set.sign_extended(bpf_isa::Width::W64, size),
    };
}

pub(crate) fn not_memory(value: Option<&Value>, reg: Reg) -> MemoryError {
    MemoryError::NotMemory { reg, ty: type_name(value) }
}

pub(crate) fn read_only(pointer: &Pointer, reg: Reg) -> MemoryError {
    MemoryError::ReadOnly { reg, ty: pointer_name(pointer) }
}

/// The variable part of a value's offset, a scalar's being its number.
pub(crate) const fn variable_part(value: &Value) -> &Scalar {
    match value {
        Value::Scalar(number) => &number.set,
        Value::Pointer(pointer) => &pointer.delta,
    }
}
