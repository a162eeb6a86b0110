//! Why a call is refused.

use bpf_abi::errno::Errno;
use bpf_isa::Reg;

use crate::refusals::refusals;

refusals! {
    /// Why a call is refused.
    pub enum CallError {
        // Who may call what.
        EINVAL NoHelper { id: i32 } "invalid func unknown#{id}";
        EINVAL NotHere { name: &'static str, id: i32 }
            "program of this type cannot use helper bpf_{name}#{id}";
        EINVAL NotInProbe "helper call is not allowed in probe";
        ENOTSUPP OnlyTraced { name: &'static str, id: u32 }
            "func bpf_{name}#{id} supported only for fentry/fexit/fmod_ret programs";
        ENOTSUPP NotTraced { name: &'static str, id: u32, prog_type: u32 }
            "func bpf_{name}#{id} not supported for program type {prog_type}";
        EINVAL GplOnly "cannot call GPL-restricted function from non-GPL compatible program";
        EINVAL MightSleep "helper call might sleep in a non-sleepable prog";
        EINVAL SleepsInRcu { name: &'static str, id: i32 }
            "sleepable helper bpf_{name}#{id} in rcu_read_lock region";
        EINVAL SleepsUnpreemptible { name: &'static str, id: i32 }
            "sleepable helper bpf_{name}#{id} in non-preemptible region";
        EINVAL SleepsInIrq { name: &'static str, id: i32 }
            "sleepable helper bpf_{name}#{id} in IRQ-disabled region";
        EINVAL LockedCall "function calls are not allowed while holding a lock";

        // What interpreters cannot do.
        EINVAL KfuncInterpreted "calling kernel functions are not allowed in non-JITed programs";
        EINVAL CallbackInterpreted "callbacks are not allowed in non-JITed programs";

        // Arguments.
        EACCES WrongType { reg: Reg, ty: String, expected: &'static str }
            "{reg} type={ty} expected={expected}";
        EACCES PacketForbidden "helper access to the packet is not allowed";
        EACCES MayWriteObject { name: &'static str, reg: Reg, ty: String }
            "bpf_{name}() may write into memory pointed by {reg} type={ty}";
        EACCES PossiblyNull { reg: u8 } "Possibly NULL pointer passed to helper arg{reg}";
        EACCES OtherObject { reg: Reg, name: String, expected: String }
            "{reg} is of type {name} but {expected} is expected";
        EINVAL MovedRelease { reg: Reg }
            "{reg} must have zero offset when passed to release func or trusted arg to kfunc";
        EINVAL NotReferenced { reg: Reg }
            "{reg} must be referenced when passed to release function";
        EACCES TwoReferences { reg: Reg, second: u32, first: u32 }
            "more than one arg with ref_obj_id {reg} {second} {first}";
        EINVAL NotAcquired { name: &'static str, id: u32 }
            "func bpf_{name}#{id} reference has not been acquired before";
        EINVAL OtherMap { timer: u32, map: u32 }
            "timer pointer in R1 map_uid={timer} doesn't match map pointer in R2 map_uid={map}";
        EACCES NegativeSize { reg: Reg }
            "{reg} min value is negative, either use unsigned or 'var &= const'";
        EACCES ZeroSize { reg: Reg, min: i64, max: i64 }
            "{reg} invalid zero-sized read: u64=[{min},{max}]";
        EACCES UnboundedSize { reg: Reg }
            "{reg} unbounded memory access, use 'var &= const' or 'if (var < const)'";
        EACCES SizeUnknown { reg: Reg } "{reg} is not a known constant'";
        EINVAL SockmapArgument "invalid arg_type for sockmap/sockhash";
        EACCES NoVariable { reg: Reg } "Helper has invalid btf_id in {reg}";
        EINVAL UnresolvedSize { name: String }
            "unable to resolve the size of type '{name}': -22";
        EINVAL NoObjectType { name: String }
            "the kernel type {name} is not known: no BTF was given, or it has none";

        // Maps.
        EINVAL MapType { map_type: u32, name: &'static str, id: u32 }
            "cannot pass map_type {map_type} into func bpf_{name}#{id}";
        EINVAL SockmapHere { map_type: u32, name: &'static str, id: u32 }
            "cannot update sockmap in this context\ncannot pass map_type {map_type} into func bpf_{name}#{id}";
        EACCES MapReadOnly "write into map forbidden";
        EINVAL TailCallInterpreted
            "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls";
        EINVAL NotProgArray "expected prog array map for tail call" => open;
        EINVAL StorageFlags "get_local_storage() doesn't support non-zero flags";
        ENOTSUPP NoCallbackForMap "callback function not allowed for map";

        // Constant strings.
        EACCES StringNotReadOnly { reg: Reg } "{reg} does not point to a readonly map'";
        EACCES StringVariable { reg: Reg } "{reg} is not a constant address'";
        EACCES StringNoDirect "no direct value access support for this map type";
        EINVAL StringUnended "string is not zero-terminated";
        EINVAL FormatArguments "";
        EINVAL FormatInvalid "Invalid format string";
        EINVAL FormatSize "snprintf: data_len is invalid";
        EINVAL Format { text: String } "{text}";

        // Functions of the program.
        E2BIG TooManyFrames { frames: usize } "the call stack of {frames} frames is too deep";
        EFAULT NoSubprog { at: u32 } "verifier bug: No program starts at insn {at}";
        EFAULT NoFunction { at: u32 }
            "verifier bug: No program to jit at insn {at} (subprog < 0)";
        EINVAL GlobalLocked
            "global function calls are not allowed while holding a lock,\nuse static function instead";
        EINVAL GlobalSleeps
            "global functions that may sleep are not allowed in non-sleepable context,\ni.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context";
        EINVAL[errno] GlobalArgs { errno: Errno, cause: String, subprog: u32, name: String }
            "{cause}Caller passes invalid args into func#{subprog} ('{name}')";
        EINVAL NotScalar { reg: Reg } "{reg} is not a scalar";
        EINVAL NotContext { arg: u32 } "arg#{arg} expects pointer to ctx";
        EINVAL MaybeNullArg { arg: u32 } "arg#{arg} is expected to be non-NULL";
        EINVAL NotMemory { cause: String } "{cause}";
        EINVAL NotArena { reg: Reg } "{reg} is not a pointer to arena or scalar.";
        EINVAL ArgType { text: String } "{text}";
        ENOENT NoArgType { text: String } "{text}";
        ESRCH AmbiguousArgType { text: String } "{text}";
        EOPNOTSUPP ArgTags { arg: u32 } "arg#{arg} has unsupported set of tags";

        // Locks.
        EINVAL LockVariable { reg: Reg, place: &'static str }
            "{reg} doesn't have constant offset. {place} has to be at the constant offset";
        EINVAL LockNoBtf { map: String, what: &'static str }
            "map '{map}' has to have BTF in order to use {what}";
        EINVAL LockNone { kind: &'static str, name: String, what: &'static str }
            "{kind} '{name}' has no valid {what}";
        EINVAL LockOffset { off: i64, what: &'static str, at: u32 }
            "off {off} doesn't point to 'struct {what}' that is at {at}";
        EINVAL SameLock "Acquiring the same lock again, AA deadlock detected";
        EINVAL TwoLocks "Locking two bpf_spin_locks are not allowed";
        EINVAL UnlockWithout { what: &'static str } "{what} without taking a lock";
        EINVAL UnlockOther { what: &'static str } "{what} of different lock";
        EINVAL UnlockOrder { what: &'static str } "{what} cannot be out of order";
        EACCES LockInTree "can't spin_{{lock,unlock}} in rbtree cb";

        // Timers.
        EINVAL TimerPlace { reg: Reg } "{reg} doesn't point to a map value";
        EINVAL TimerVariable { reg: Reg, what: &'static str }
            "{reg} doesn't have constant offset. {what} has to be at the constant offset";
        EINVAL TimerNone { map: String, what: &'static str } "map '{map}' has no valid {what}";
        EINVAL TimerOffset { off: i64, what: &'static str, at: u32 }
            "off {off} doesn't point to 'struct {what}' that is at {at}";
        EINVAL TimerNoBtf { map: String, what: &'static str }
            "map '{map}' has to have BTF in order to use {what}";

        // Kptrs.
        EINVAL KptrVariable { reg: Reg }
            "{reg} doesn't have constant offset. kptr has to be at the constant offset";
        EINVAL KptrNoBtf { map: String } "map '{map}' has to have BTF in order to use bpf_kptr_xchg";
        EINVAL KptrMissing { reg: Reg } "{reg} has no valid kptr";
        EINVAL KptrNone { map: String } "map '{map}' has no valid kptr";
        EACCES KptrOffset { off: i64 } "off={off} doesn't point to kptr";
        EACCES KptrNotReferenced { off: i64 } "off={off} kptr isn't referenced kptr";
        EACCES KptrType { reg: Reg, ty: String, name: String, expected: String }
            "invalid kptr access, {reg} type={ty}{name} expected=ptr_{expected}";
        EACCES KptrTypeUntrusted { reg: Reg, ty: String, name: String, expected: String }
            "invalid kptr access, {reg} type={ty}{name} expected=ptr_{expected} or untrusted_ptr_{expected}";
        EACCES KptrNoName { reg: Reg, ty: String, expected: String }
            "invalid kptr access, {reg} type={ty} expected=ptr_{expected}";

        // Dynptrs.
        EINVAL ObjectVariable { what: &'static str } "{what} has to be at a constant offset";
        EINVAL ObjectOffset { what: &'static str, off: i64 }
            "cannot pass in {what} at an offset={off}";
        EINVAL After { cause: String, last: String } "{cause}\n{last}";
        EINVAL DynptrUninit "Dynptr has to be an uninitialized dynptr";
        EINVAL DynptrRdonly "cannot pass pointer to const bpf_dynptr, the helper mutates it";
        EINVAL DynptrInit { arg: u8 } "Expected an initialized dynptr as arg #{arg}";
        EINVAL DynptrKind { kind: &'static str, arg: u8 }
            "Expected a dynptr of type {kind} as arg #{arg}";
        EINVAL DynptrUnacquired { arg: u8 } "arg {arg} is an unacquired reference";
        EINVAL DynptrConst "cannot release unowned const bpf_dynptr";
        EINVAL DynptrArg { arg: u8 }
            "arg#{arg} expected pointer to stack or const struct bpf_dynptr";
        EACCES DynptrData { ty: String }
            "Unsupported reg type {ty} for bpf_dynptr_from_mem data";
        EINVAL ZeroDynptr "Dynptr has no slots";

        // Kernel functions.
        EINVAL NoKfunc "invalid kernel function call not eliminated in verifier pass";
    }
}
