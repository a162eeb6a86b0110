//! Routes.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MemWrite, Size};
use super::define::helper;

helper! {
    /// Looks up a route for the packet that `params` describes. This runtime has neither
    /// interfaces nor routes: where Linux would look up the interface, it is not found
    /// (`ENODEV`).
    69 Packet => fn fib_lookup(_cx, _ctx: Ctx, params: MemWrite<'a>, _plen: Size, flags: u32) -> Result<u64, Errno> {
        /// Linux: `struct bpf_fib_lookup`.
        const PARAMS_SIZE: usize = 64;
        const KNOWN_FLAGS: u32 = 0x3f;
        if params.len() < PARAMS_SIZE || flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        Err(Errno::ENODEV)
    }
}
