//! Registers, arguments of tracepoints, samples.
//!
//! One row a field: name, offset, size, how it may be read and written, what it yields, and
//! for pointers of four bytes where the host keeps the eight. Fields that may not be touched
//! have no row.

use super::pattern::{NARROW8, NONE, POINTER_ARG, REGISTERS};
use super::{Context, Field, Yields};

context! {
    /// For kprobes and uprobes.
    pub static KPROBE = "pt_regs", 168 bytes, 168 in the host;
    "r15" 0 8 read NARROW8 write NONE yields Scalar;
    "r14" 8 8 read NARROW8 write NONE yields Scalar;
    "r13" 16 8 read NARROW8 write NONE yields Scalar;
    "r12" 24 8 read NARROW8 write NONE yields Scalar;
    "bp" 32 8 read NARROW8 write NONE yields Scalar;
    "bx" 40 8 read NARROW8 write NONE yields Scalar;
    "r11" 48 8 read NARROW8 write NONE yields Scalar;
    "r10" 56 8 read NARROW8 write NONE yields Scalar;
    "r9" 64 8 read NARROW8 write NONE yields Scalar;
    "r8" 72 8 read NARROW8 write NONE yields Scalar;
    "ax" 80 8 read NARROW8 write NONE yields Scalar;
    "cx" 88 8 read NARROW8 write NONE yields Scalar;
    "dx" 96 8 read NARROW8 write NONE yields Scalar;
    "si" 104 8 read NARROW8 write NONE yields Scalar;
    "di" 112 8 read NARROW8 write NONE yields Scalar;
    "orig_ax" 120 8 read NARROW8 write NONE yields Scalar;
    "ip" 128 8 read NARROW8 write NONE yields Scalar;
    "csx|fred_cs|cs" 136 8 read NARROW8 write NONE yields Scalar;
    "flags" 144 8 read NARROW8 write NONE yields Scalar;
    "sp" 152 8 read NARROW8 write NONE yields Scalar;
    "ssx|fred_ss|ss" 160 8 read NARROW8 write NONE yields Scalar;
}

context! {
    /// For perf events.
    pub static PERF_EVENT = "bpf_perf_event_data", 184 bytes, 184 in the host;
    "regs" 0 168 read REGISTERS write NONE yields Scalar;
    "sample_period" 168 8 read NARROW8 write NONE yields Scalar;
    "addr" 176 8 read NARROW8 write NONE yields Scalar;
}

context! {
    /// For raw tracepoints.
    pub static RAW_TRACEPOINT = "bpf_raw_tracepoint_args", 96 bytes, 96 in the host;
    "args[0]" 0 8 read NARROW8 write NONE yields Scalar;
    "args[1]" 8 8 read NARROW8 write NONE yields Scalar;
    "args[2]" 16 8 read NARROW8 write NONE yields Scalar;
    "args[3]" 24 8 read NARROW8 write NONE yields Scalar;
    "args[4]" 32 8 read NARROW8 write NONE yields Scalar;
    "args[5]" 40 8 read NARROW8 write NONE yields Scalar;
    "args[6]" 48 8 read NARROW8 write NONE yields Scalar;
    "args[7]" 56 8 read NARROW8 write NONE yields Scalar;
    "args[8]" 64 8 read NARROW8 write NONE yields Scalar;
    "args[9]" 72 8 read NARROW8 write NONE yields Scalar;
    "args[10]" 80 8 read NARROW8 write NONE yields Scalar;
    "args[11]" 88 8 read NARROW8 write NONE yields Scalar;
}

context! {
    /// For raw tracepoints whose first argument may be written through.
    pub static RAW_TRACEPOINT_WRITABLE = "bpf_raw_tracepoint_args", 96 bytes, 96 in the host;
    "args[0]" 0 8 read POINTER_ARG write NONE yields TpBuffer;
    "args[1]" 8 8 read NARROW8 write NONE yields Scalar;
    "args[2]" 16 8 read NARROW8 write NONE yields Scalar;
    "args[3]" 24 8 read NARROW8 write NONE yields Scalar;
    "args[4]" 32 8 read NARROW8 write NONE yields Scalar;
    "args[5]" 40 8 read NARROW8 write NONE yields Scalar;
    "args[6]" 48 8 read NARROW8 write NONE yields Scalar;
    "args[7]" 56 8 read NARROW8 write NONE yields Scalar;
    "args[8]" 64 8 read NARROW8 write NONE yields Scalar;
    "args[9]" 72 8 read NARROW8 write NONE yields Scalar;
    "args[10]" 80 8 read NARROW8 write NONE yields Scalar;
    "args[11]" 88 8 read NARROW8 write NONE yields Scalar;
}
