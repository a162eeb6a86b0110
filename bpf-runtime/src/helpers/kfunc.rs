//! Kernel functions that programs can call.
//!
//! Programs name them by their place in the kernel's types, and the verifier holds calls to what
//! those say; in an image they are helpers of numbers that no program can use.
//!
//! What keeps a kernel from interrupting a program, or from freeing what it looks at, has nothing to
//! do here: a program has its CPU to itself while it runs, and what it can reach stays until then.

use bpf_abi::exec::HelperFn;
use bpf_abi::helper::{HelperFlags, HelperProto};

use super::define::{Helper, helper};

helper! {
    /// Begins a section in which objects that the kernel protects so are not freed.
    0x7ffe_0000 Any => fn bpf_rcu_read_lock(_cx) -> () {}
}

helper! {
    /// Ends a section in which objects that the kernel protects so are not freed.
    0x7ffe_0001 Any => fn bpf_rcu_read_unlock(_cx) -> () {}
}

helper! {
    /// Begins a section in which no other task runs on this CPU.
    0x7ffe_0002 Any => fn bpf_preempt_disable(_cx) -> () {}
}

helper! {
    /// Ends a section in which no other task runs on this CPU.
    0x7ffe_0003 Any => fn bpf_preempt_enable(_cx) -> () {}
}

helper! {
    /// Begins a section that no interrupt interrupts, and keeps at `flags` whether this is one
    /// already.
    0x7ffe_0004 Any => fn bpf_local_irq_save(_cx, _flags: u64) -> () {}
}

helper! {
    /// Ends a section that no interrupt interrupts, as `flags` says.
    0x7ffe_0005 Any => fn bpf_local_irq_restore(_cx, _flags: u64) -> () {}
}

/// Every kernel function, in the order of their numbers.
static ALL: [&Helper; 6] = [
    &bpf_rcu_read_lock,
    &bpf_rcu_read_unlock,
    &bpf_preempt_disable,
    &bpf_preempt_enable,
    &bpf_local_irq_save,
    &bpf_local_irq_restore,
];

static PROTOS: [HelperProto; ALL.len()] = protos();

const fn protos() -> [HelperProto; ALL.len()] {
    let mut protos = [proto(ALL[0]); ALL.len()];
    let mut n = 0;
    while n < ALL.len() {
        protos[n] = proto(ALL[n]);
        n += 1;
    }
    protos
}

const fn proto(kfunc: &Helper) -> HelperProto {
    let Helper { id, name, ret, args, .. } = *kfunc;
    HelperProto { id, name, flags: HelperFlags::empty(), ret, args }
}

/// A kernel function's number and arity, and its code, if this runtime has it.
pub(crate) fn find(name: &str) -> Option<(&'static HelperProto, HelperFn)> {
    let place = ALL.iter().position(|kfunc| kfunc.name == name)?;
    Some((&PROTOS[place], ALL[place].entry))
}

#[cfg(test)]
mod tests {
    use bpf_abi::helper::FIRST_KFUNC;

    use super::*;

    #[test]
    fn numbers_are_those_of_kernel_functions_one_by_one() {
        for (n, kfunc) in (0..).zip(ALL) {
            assert_eq!(kfunc.id, FIRST_KFUNC + n, "{}", kfunc.name);
            assert_eq!(find(kfunc.name).unwrap().0.id, kfunc.id);
        }
        assert!(find("bpf_nothing").is_none());
    }
}
