//! Why a call of a kernel function is refused.

use bpf_isa::Reg;

use crate::refusals::refusals;

refusals! {
    /// Why a call of a kernel function is refused.
    pub enum KfuncError {
        // What arguments point to.
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

        // Sections.
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
