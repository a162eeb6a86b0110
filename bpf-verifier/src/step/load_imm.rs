//! 64-bit immediates: numbers, maps, variables of the kernel, functions.

use bpf_abi::map::MapType;
use bpf_isa::{Imm64, Reg};

use crate::cx::StepCx;
use crate::env::Loaded;
use crate::error::Reason;
use crate::scalar::Scalar;
use crate::state::{MapNo, Number, Pointer, PointerKind, SubprogId, Value};
use crate::step::StepError;

/// `dst = imm ll`. Linux: `check_ld_imm`.
pub(crate) fn insn(cx: &mut StepCx<'_, '_>, dst: Reg, imm: Imm64) -> Result<(), Reason> {
    cx.check_writable(dst)?;
    let value = match imm {
        Imm64::Value(value) => Value::Scalar(Number::of(Scalar::constant(value))),
        Imm64::MapFd(_)
        | Imm64::MapValue { .. }
        | Imm64::MapIdx(_)
        | Imm64::MapIdxValue { .. }
        | Imm64::BtfId { .. }
        | Imm64::Func { .. } => {
            let loaded = cx.env.note(cx.pc).load.ok_or(StepError::NoKernelVariable)?;
            if let Loaded::Func(subprog) = loaded {
                check_callback(cx, subprog)?;
            }
            resolved(cx, loaded)
        }
    };
    cx.state.set(dst, Some(value));
    Ok(())
}

/// A function whose address is taken must be static, and have a type that says so.
fn check_callback(cx: &StepCx<'_, '_>, subprog: SubprogId) -> Result<(), StepError> {
    let subprog = cx.env.subprog(subprog);
    if subprog.btf_id.is_none() {
        return Err(StepError::CallbackWithoutBtf);
    }
    if subprog.is_global {
        return Err(StepError::CallbackNotStatic);
    }
    Ok(())
}

fn resolved(cx: &mut StepCx<'_, '_>, loaded: Loaded) -> Value {
    match loaded {
        Loaded::Map(map) => {
            let kind = PointerKind::MapPtr { map, uid: None };
            Value::Pointer(Pointer::to(kind))
        }
        Loaded::MapValue { map, off } => value_of(cx, map, off),
        Loaded::Variable(ty) => Value::Pointer(Pointer::to(ty.kind).with(ty.flags)),
        Loaded::Func(subprog) => Value::Pointer(Pointer::to(PointerKind::Func { subprog })),
    }
}

/// A byte of a map's only value.
fn value_of(cx: &StepCx<'_, '_>, map: MapNo, off: u32) -> Value {
    if cx.env.map(map).map_type == MapType::Arena {
        // Arena addresses are numbers until they are cast.
        return Value::UNKNOWN;
    }
    let mut pointer = Pointer::to(PointerKind::MapValue { map, uid: None });
    pointer.off = i32::try_from(off).unwrap_or(i32::MAX);
    // There is one value only: locks in it need no identity to be told apart.
    Value::Pointer(pointer)
}
