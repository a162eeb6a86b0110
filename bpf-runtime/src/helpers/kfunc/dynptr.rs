//! Dynptrs of packets, and what is done with dynptrs of any kind.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::dynptr::{AnyDynptr, DynptrOut, Kind, SliceBuffer, View};
use crate::helpers::args::{Ctx, Cx, Int, MemOrNull, low};

helper! {
    /// Makes `ptr` a dynptr of the packet `s`. `flags` must be 0.
    0x7ffe_000c Skb => fn bpf_dynptr_from_skb(cx, _s: Ctx, flags: u64, ptr: DynptrOut<'a>) -> Int {
        ptr.set(of_skb(cx, flags, false))
    }
}

helper! {
    /// Makes `ptr` a dynptr of the packet `s`, which programs of this type may not write to.
    /// `flags` must be 0.
    0x7ffe_000d Skb => fn bpf_dynptr_from_skb_rdonly(cx, _s: Ctx, flags: u64, ptr: DynptrOut<'a>) -> Int {
        ptr.set(of_skb(cx, flags, true))
    }
}

helper! {
    /// Makes `ptr` a dynptr of the metadata before the packet `skb_`. `flags` must be 0.
    0x7ffe_000e Skb => fn bpf_dynptr_from_skb_meta(cx, _skb: Ctx, flags: u64, ptr: DynptrOut<'a>) -> Int {
        let frame = cx.env().skb().filter(|_| flags == 0).map(|skb| &skb.frame);
        let len = frame.map(|frame| frame.data() - frame.meta());
        ptr.set(len.ok_or(Errno::EINVAL).and_then(|len| View::packet(Kind::SkbMeta, len, false)))
    }
}

helper! {
    /// Makes `ptr` a dynptr of the packet `x`, fragments included. `flags` must be 0.
    0x7ffe_000f Xdp => fn bpf_dynptr_from_xdp(cx, _x: Ctx, flags: u64, ptr: DynptrOut<'a>) -> Int {
        let buff = cx.env().xdp().filter(|_| flags == 0).ok_or(Errno::EINVAL);
        ptr.set(buff.and_then(|buff| View::packet(Kind::Xdp, buff.frame.len(), false)))
    }
}

/// A dynptr of a packet in the network stack.
fn of_skb(cx: Cx<'_>, flags: u64, rdonly: bool) -> Result<View, Errno> {
    let skb = cx.env().skb().filter(|_| flags == 0).ok_or(Errno::EINVAL)?;
    View::packet(Kind::Skb, skb.frame.len(), rdonly)
}

helper! {
    /// Returns where `buffer__szk` bytes from `offset` of a dynptr on can be read: where they lie,
    /// or `buffer__opt`, to which they are copied if they do not lie in one piece. Null if there are
    /// not so many, or no buffer is given where one is needed.
    0x7ffe_0010 Any => fn bpf_dynptr_slice(cx, p: AnyDynptr<'a>, offset: u32, buffer: SliceBuffer<'a>, size: u32) -> MemOrNull {
        MemOrNull(slice(cx, &p.get(), offset, buffer, size))
    }
}

helper! {
    /// As `bpf_dynptr_slice`, where the program may write to what the result points to: to the
    /// memory itself, or to the copy of it. Null also if it may not write to the dynptr.
    0x7ffe_0011 Any => fn bpf_dynptr_slice_rdwr(cx, p: AnyDynptr<'a>, offset: u32, buffer: SliceBuffer<'a>, size: u32) -> MemOrNull {
        let view = p.get();
        MemOrNull(if view.is_rdonly() { None } else { slice(cx, &view, offset, buffer, size) })
    }
}

fn slice(cx: Cx<'_>, view: &View, off: u32, buffer: SliceBuffer<'_>, size: u32) -> Option<u64> {
    if let Some(found) = view.slice(cx, off, size) {
        return Some(found);
    }
    if !buffer.is_there() {
        return None;
    }
    buffer.fill(&view.read(cx, off, size).ok()?)
}

helper! {
    /// Cuts a dynptr to its bytes from `start` to before `end`.
    0x7ffe_0012 Any => fn bpf_dynptr_adjust(_cx, p: AnyDynptr<'a>, start: u32, end: u32) -> Int {
        p.set(p.get().adjusted(start, end)?);
        Ok(0)
    }
}

helper! {
    /// Whether a dynptr is of nothing: one that could not be made.
    0x7ffe_0013 Any => fn bpf_dynptr_is_null(_cx, p: AnyDynptr<'a>) -> u32 {
        u32::from(p.get().is_null())
    }
}

helper! {
    /// Whether a dynptr cannot be written to.
    0x7ffe_0014 Any => fn bpf_dynptr_is_rdonly(_cx, p: AnyDynptr<'a>) -> u32 {
        let view = p.get();
        u32::from(!view.is_null() && view.is_rdonly())
    }
}

helper! {
    /// How many bytes a dynptr is of, or `-EINVAL` as 32 bits if it is of nothing.
    0x7ffe_0015 Any => fn bpf_dynptr_size(_cx, p: AnyDynptr<'a>) -> u32 {
        let view = p.get();
        if view.is_null() { low(Errno::EINVAL.to_register()) } else { view.size() }
    }
}

helper! {
    /// Makes `clone__uninit` a dynptr of the same memory.
    0x7ffe_0016 Any => fn bpf_dynptr_clone(_cx, p: AnyDynptr<'a>, clone: DynptrOut<'a>) -> Int {
        let view = p.get();
        clone.set(if view.is_null() { Err(Errno::EINVAL) } else { Ok(view) })
    }
}

helper! {
    /// Copies `size` bytes from `src_off` of one dynptr to `dst_off` of another.
    0x7ffe_0017 Any => fn bpf_dynptr_copy(cx, dst_ptr: AnyDynptr<'a>, dst_off: u32, src_ptr: AnyDynptr<'a>, src_off: u32, size: u32) -> Int {
        dst_ptr.get().copy_from(cx, dst_off, &src_ptr.get(), src_off, size).map(|()| 0)
    }
}

helper! {
    /// Sets `size` bytes from `offset` of a dynptr on to `val`.
    0x7ffe_0018 Any => fn bpf_dynptr_memset(cx, p: AnyDynptr<'a>, offset: u32, size: u32, val: u32) -> Int {
        p.get().set_bytes(cx, offset, size, val.to_le_bytes()[0]).map(|()| 0)
    }
}
