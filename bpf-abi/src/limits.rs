//! Limits that programs and their makers count on.

/// The stack of one function, in bytes. Linux: `MAX_BPF_STACK`.
pub const MAX_STACK: u32 = 512;
/// How deep functions may call each other. Linux: `MAX_CALL_FRAMES`.
pub const MAX_CALL_FRAMES: usize = 8;
/// How many tail calls a run may take. Linux: `MAX_TAIL_CALL_CNT`.
pub const MAX_TAIL_CALLS: u32 = 33;
/// How many instructions a program may have. Linux: `BPF_COMPLEXITY_LIMIT_INSNS`.
pub const MAX_INSNS: usize = 1_000_000;
/// How many instructions the verifier walks. Linux: `BPF_COMPLEXITY_LIMIT_INSNS`.
pub const MAX_PROCESSED_INSNS: u32 = 1_000_000;
/// How many branches may wait to be walked. Linux: `BPF_COMPLEXITY_LIMIT_JMP_SEQ`.
pub const MAX_PENDING_BRANCHES: usize = 8192;
/// How many functions a program may have. Linux: `BPF_MAX_SUBPROGS`.
pub const MAX_SUBPROGS: usize = 256;
/// How many maps a program may use. Linux: `MAX_USED_MAPS`.
pub const MAX_USED_MAPS: usize = 64;
/// How often `may_goto` may fall through in one run. Linux: `BPF_MAX_LOOPS`.
pub const MAX_MAY_GOTO: u64 = 8 * 1024 * 1024;
/// How long a name may be, its end mark included. Linux: `BPF_OBJ_NAME_LEN`.
pub const OBJ_NAME_LEN: usize = 16;
