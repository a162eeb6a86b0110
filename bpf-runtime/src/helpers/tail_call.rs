//! Tail calls.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MapRef};
use super::define::helper;

helper! {
    /// Goes on with the program in slot `index` of `prog_array_map`, and does not return.
    ///
    /// If the slot is empty, if there is no such slot, or if the run has taken 33 tail calls, the
    /// program goes on behind the call. Engines do this themselves and never call this code.
    12 Any => fn tail_call(_cx, _ctx: Ctx, _prog_array_map: MapRef<'a>, _index: u64) -> () {
        let _ = Errno::EINVAL;
    }
}
