//! Text for who looks after a program.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::{Int, MemInOrNull, SizeOrZero, Text};
use crate::helpers::print::{format_all, numbers};

helper! {
    /// Prints to one of the program's streams: 1 or 2. Here both are where `bpf_trace_printk` prints
    /// to. `-ENOENT` for any other.
    0x7ffe_005f Any => fn bpf_stream_vprintk_impl(cx, stream_id: i32, fmt: Text<'a>, args: MemInOrNull<'a>, _len: SizeOrZero) -> Int {
        if !matches!(stream_id, 1 | 2) {
            return Err(Errno::ENOENT);
        }
        let line = format_all(cx, &fmt.copy(), &numbers(args)?)?;
        cx.env().shared.print(&line);
        Ok(0)
    }
}
