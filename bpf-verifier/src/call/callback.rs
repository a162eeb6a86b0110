//! Functions that helpers call: loops, timers, for-each.
//!
//! A function that is called before its helper returns is put aside as a branch, with a frame
//! above the caller's; when it returns, the path comes to the call again. One that is called at
//! another time is put aside as a path of its own.

use bpf_abi::map::MapType;
use bpf_isa::Reg;

use crate::call::helper::{Meta, id};
use crate::call::{CallError, function, global};
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::btf;
use crate::state::{
    DynptrKind, Frame, FrameRole, Pointer, PointerKind, ReturnRange, SubprogId, Value,
};

/// What a callback gets in its argument registers, and may return.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    /// The function.
    pub(crate) subprog: SubprogId,
    /// R1 to R5.
    pub(crate) args: [Option<Value>; 5],
    /// What it may return.
    pub(crate) range: ReturnRange,
}

const ZERO_OR_ONE: ReturnRange = ReturnRange { min: 0, max: 1 };
const ZERO: ReturnRange = ReturnRange { min: 0, max: 0 };

/// The callback of a helper.
pub(crate) fn of_helper(cx: &mut StepCx<'_, '_>, meta: &Meta) -> Result<(), Reason> {
    let Some(subprog) = meta.subprog else { return Ok(()) };
    let caller = function::arguments(cx.state.cur());
    let [r1, _, r3, r4, _] = caller;
    let map = meta.map.map(|(map, _)| map);
    let to = |kind| Some(Value::Pointer(Pointer::to(kind)));
    let (args, range) = match meta.proto.id {
        id::LOOP => return of_loop(cx, subprog),
        id::FOR_EACH_MAP_ELEM => {
            let Some(map) = map else { return Ok(()) };
            if !may_be_iterated(cx.env.map(map).map_type) {
                check_type(cx, subprog)?;
                return Err(CallError::NoCallbackForMap.into());
            }
            let key = to(PointerKind::MapKey { map, uid: None });
            let value = to(PointerKind::MapValue { map, uid: None });
            ([r1, key, value, r3, None], ZERO_OR_ONE)
        }
        id::TIMER_SET_CALLBACK => {
            let Some(map) = map else { return Ok(()) };
            let this = to(PointerKind::MapPtr { map, uid: None });
            let key = to(PointerKind::MapKey { map, uid: None });
            let value = to(PointerKind::MapValue { map, uid: None });
            let args = [this, key, value, None, None];
            return enter_later(cx, Callback { subprog, args, range: ZERO }, false);
        }
        id::FIND_VMA => {
            let name = "vm_area_struct";
            let ty = btf::find_struct(cx.env, name)
                .ok_or_else(|| CallError::NoObjectType { name: name.to_owned() })?;
            let vma = Pointer::to(PointerKind::Btf { ty });
            ([r1, Some(Value::Pointer(vma)), r4, None, None], ZERO_OR_ONE)
        }
        _ => {
            let mut sample = Pointer::to(PointerKind::Dynptr { kind: DynptrKind::Local });
            sample.id = Some(cx.fresh_id());
            ([Some(Value::Pointer(sample)), r3, None, None, None], ZERO_OR_ONE)
        }
    };
    enter_now(cx, Callback { subprog, args, range })
}

/// Which maps `bpf_for_each_map_elem` goes through.
const fn may_be_iterated(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::Hash
            | MapType::Array
            | MapType::PercpuHash
            | MapType::PercpuArray
            | MapType::LruHash
            | MapType::LruPercpuHash
    )
}

/// `bpf_loop`: as many rounds are walked as it may have, until they converge.
fn of_loop(cx: &mut StepCx<'_, '_>, subprog: SubprogId) -> Result<(), Reason> {
    let flags = cx.state.reg(Reg::R4).is_some_and(Value::is_null);
    if !matches!(cx.env.note(cx.pc).loop_callback, crate::env::Agreed::Several) {
        if flags {
            cx.mark_precise(Reg::R4)?;
        }
        let pc = cx.pc;
        cx.env.note_mut(pc).loop_callback.add(flags.then_some(subprog));
    }
    cx.mark_precise(Reg::R1)?;
    let rounds = cx.state.reg(Reg::R1).and_then(Value::as_scalar).map_or(0, |n| n.set.umax());
    let frame = cx.state.cur_mut();
    if u64::from(frame.callback_depth) >= rounds {
        frame.callback_depth = 0;
        if cx.env.log.shows_everything() {
            let depth = cx.state.depth().0;
            cx.env.log.print(format_args!("frame{depth} bpf_loop iteration limit reached\n"));
        }
        return Ok(());
    }
    let context = cx.state.reg(Reg::R3).copied();
    let args = [Some(Value::UNKNOWN), context, None, None, None];
    enter_now(cx, Callback { subprog, args, range: ZERO_OR_ONE })
}

/// A call made before the helper returns. Linux: `push_callback_call`.
pub(crate) fn enter_now(cx: &mut StepCx<'_, '_>, callback: Callback) -> Result<(), Reason> {
    check_type(cx, callback.subprog)?;
    let start = cx.env.subprog(callback.subprog).start;
    let callsite = cx.pc;
    function::check_depth(cx)?;
    cx.env.scratched.all();
    let branch = cx.push_branch(start)?;
    branch.callback_unroll_depth += 1;
    branch.cur_mut().callback_depth += 1;
    let frame = branch.push_frame(callsite, callback.subprog);
    fill(frame, callback, FrameRole::Callback);
    cx.state.cur_mut().callback_depth = 0;
    Ok(())
}

/// A call made at another time. Linux: the asynchronous part of `push_callback_call`.
pub(crate) fn enter_later(
    cx: &mut StepCx<'_, '_>,
    callback: Callback,
    sleepable: bool,
) -> Result<(), Reason> {
    check_type(cx, callback.subprog)?;
    cx.env.subprog_mut(callback.subprog).is_async_callback = true;
    let state = cx.push_async(callback.subprog, sleepable)?;
    fill(state.cur_mut(), callback, FrameRole::AsyncCallback);
    Ok(())
}

fn check_type(cx: &mut StepCx<'_, '_>, subprog: SubprogId) -> Result<(), Reason> {
    let checked = global::check_arguments(cx, subprog);
    global::note_static(cx, checked);
    cx.env.subprog_mut(subprog).is_callback = true;
    Ok(())
}

fn fill(frame: &mut Frame, callback: Callback, role: FrameRole) {
    for (reg, value) in Reg::ARGS.into_iter().zip(callback.args) {
        frame.set(reg, value);
    }
    frame.role = role;
    frame.callback_range = callback.range;
}
