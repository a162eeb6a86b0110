//! Why a call of a kernel function is refused.

use bpf_abi::errno::Errno;
use bpf_isa::Reg;

use crate::refusals::refusals;

refusals! {
    /// Why a call of a kernel function is refused.
    pub enum KfuncError {
        // Who may call what, and where.
        EACCES NotHere { name: String } "calling kernel function {name} is not allowed";
        EFAULT Trap "unexpected __bpf_trap() due to uninitialized variable?";
        EACCES MightSleep { function: &'static str }
            "program must be sleepable to call sleepable kfunc {function}";
        EACCES Sleeps { function: &'static str, place: &'static str }
            "kernel func {function} is sleepable within {place}";
        EACCES OutsideRcu { function: &'static str }
            "kernel func {function} requires RCU critical section protection";
        EINVAL PacketReadOnly "the prog does not allow writes to packet data";
        EINVAL Arity { function: &'static str, count: usize }
            "Function {function} has {count} > 5 args";
        EINVAL Result { function: &'static str, kind: &'static str, name: String }
            "kernel function {function} returns pointer type {kind} {name} is not supported";
        EINVAL CastNoStruct "kfunc bpf_rdonly_cast type ID argument must be of a struct or void";
        EINVAL CastUnknown { id: u32 } "Unknown type ID {id} passed to kfunc bpf_rdonly_cast";

        // Numbers.
        EINVAL NotScalar { reg: Reg } "{reg} is not a scalar";
        EINVAL NotConstant { reg: Reg } "{reg} must be a known constant";
        EINVAL SizeNotConstant { reg: Reg } "{reg} is not a const";

        // What arguments point to.
        EINVAL ArgumentKind { arg: usize, kind: &'static str }
            "Unrecognized arg#{arg} type {kind}";
        EACCES PossiblyNull { arg: usize } "Possibly NULL pointer passed to trusted arg{arg}";
        EINVAL PointerKind { function: &'static str, arg: usize, kind: &'static str, name: String }
            "kernel function {function} args#{arg} pointer type {kind} {name} is not supported";
        EINVAL NotPlain { arg: usize, kind: &'static str, name: String, more: &'static str }
            "arg#{arg} pointer type {kind} {name} must point to {more}scalar, or struct with scalar";
        EINVAL NotContext { arg: usize, ty: String }
            "arg#{arg} expected pointer to ctx, but got {ty}";
        EINVAL NotString { arg: usize } "arg#{arg} doesn't point to a const string";
        EINVAL NotMapValue { arg: usize } "arg#{arg} doesn't point to a map value";
        EINVAL NoLockThere { arg: usize }
            "arg#{arg} doesn't point to map value or allocated object";
        EINVAL NotFunction { arg: usize } "arg{arg} expected pointer to func";
        EINVAL Unsized { arg: usize, kind: &'static str, name: String }
            "arg#{arg} reference type('{kind} {name}') size cannot be determined: -22";
        NUMBER[errno] Memory { arg: usize, size: usize, errno: Errno }
            "arg#{arg} arg#{size} memory, len pair leads to invalid memory access";
        EINVAL NothingReleased { function: &'static str }
            "release kernel function {function} expects refcounted PTR_TO_BTF_ID";
        EINVAL NotAcquired { function: &'static str, id: i32 }
            "kfunc {function}#{id} reference has not been acquired before";
        EINVAL ContextNoStruct { id: u32 } "kern ctx type id {id} is not a struct";
        EINVAL NotMap { reg: Reg } "pointer in {reg} isn't map pointer";
        EINVAL OtherWorkqueueMap { work: u32, map: u32 }
            "workqueue pointer in R1 map_uid={work} doesn't match map pointer in R2 map_uid={map}";
        EINVAL OtherTaskWorkMap { work: u32, map: u32 }
            "bpf_task_work pointer in R2 map_uid={work} doesn't match map pointer in R3 map_uid={map}";
        EINVAL OtherObject {
            function: &'static str,
            arg: usize,
            expected_kind: &'static str,
            expected: String,
            reg: Reg,
            found_kind: &'static str,
            found: String,
        }
            "kernel function {function} args#{arg} expected pointer to {expected_kind} {expected} but {reg} has a pointer to {found_kind} {found}";
        EINVAL NoObject { arg: usize, held: String, wanted: String }
            "arg#{arg} is {held} expected {wanted} or socket";
        EINVAL Untrusted { reg: Reg } "{reg} must be referenced or trusted";
        EINVAL NotRcu { reg: Reg } "{reg} must be a rcu pointer";
        EINVAL NestedTooDeep "max struct nesting depth exceeded";

        // Iterators.
        EINVAL IteratorPlace { arg: u8 } "arg#{arg} expected pointer to an iterator on stack";
        EINVAL IteratorInUse { name: String, arg: u8 }
            "expected uninitialized iter_{name} as arg #{arg}";
        EINVAL NoIterator { name: String, arg: u8 }
            "expected an initialized iter_{name} as arg #{arg}";
        EPROTO IteratorStale { function: &'static str } "expected an RCU CS when using {function}";

        // Sections.
        EINVAL RcuUnmatched { function: &'static str }
            "unmatched rcu read unlock (kernel function {function})";
        EINVAL PreemptionUnmatched { function: &'static str }
            "unmatched attempt to enable preemption (kernel function {function})";
        EINVAL FlagsPlace { arg: u8 } "arg#{arg} doesn't point to an irq flag on stack";
        EINVAL FlagsInUse { arg: u8 } "expected uninitialized irq flag as arg#{arg}";
        EINVAL NoFlags { arg: u8 } "expected an initialized irq flag as arg#{arg}";
        EINVAL OtherFlags { by: &'static str, with: &'static str }
            "irq flag acquired by {by} kfuncs cannot be restored with {with} kfuncs";
        EACCES InterruptsOrder { id: u32, at: u32 }
            "cannot restore irq state out of order, expected id={id} acquired at insn_idx={at}";
        EINVAL RcuNested { function: &'static str }
            "nested rcu read lock (kernel function {function})";

        // Objects of the program's own.
        EINVAL NoOwnBtf "bpf_obj_new/bpf_percpu_obj_new requires prog BTF";
        EINVAL TypeIdRange "local type ID argument must be in range [0, U32_MAX]";
        EINVAL TypeIdNoStruct
            "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct";
        EINVAL PercpuTooLarge { size: u32 }
            "bpf_percpu_obj_new type size ({size}) is greater than 512";
        EINVAL PercpuNotPlain
            "bpf_percpu_obj_new type ID argument must be of a struct of scalars";
        EINVAL PercpuSpecial
            "bpf_percpu_obj_new type ID argument must not contain special fields";
        EFAULT NoRecord "verifier bug: Couldn't find btf_record";

        EINVAL PlainDropped { arg: usize } "arg#{arg} expected for bpf_obj_drop_impl()";
        EINVAL PercpuDropped { arg: usize } "arg#{arg} expected for bpf_percpu_obj_drop_impl()";

        // Lists and trees.
        EINVAL NoMapOrObject { arg: usize }
            "arg#{arg} expected pointer to map value or allocated object";
        EINVAL NoAllocated { arg: usize } "arg#{arg} expected pointer to allocated object";
        EINVAL Unreferenced "allocated object must be referenced";
        EINVAL NotLent { function: &'static str }
            "{function} can only take non-owning or refcounted bpf_rb_node pointer";
        EINVAL InTreeCallback { function: &'static str } "{function} not allowed in rbtree cb";
        EINVAL FieldVariable { reg: Reg, what: &'static str }
            "{reg} doesn't have constant offset. {what} has to be at the constant offset";
        EINVAL FieldMissing { what: &'static str, off: u32 } "{what} not found at offset={off}";
        EINVAL OtherAllocation "held lock and object are not in the same allocation";
        EINVAL Unlocked { at: i32, what: &'static str }
            "bpf_spin_lock at off={at} must be held for {what}";
        EINVAL OtherElement {
            root: &'static str,
            node: &'static str,
            at: u32,
            element: String,
            off: i64,
            held: String,
        }
            "operation on {root} expects arg#1 {node} at offset={at} in struct {element}, but arg is at offset={off} in struct {held}";
        EINVAL OtherNode { off: i64, node: &'static str, at: u32, element: String }
            "arg#1 offset={off}, but expected {node} at offset={at} in struct {element}";
        EINVAL NotCounted { arg: usize } "arg#{arg} is neither owning or non-owning ref";
        EINVAL NoRefcount { arg: usize }
            "arg#{arg} doesn't point to a type with bpf_refcount field";
    }
}
