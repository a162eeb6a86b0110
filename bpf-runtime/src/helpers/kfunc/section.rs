//! Sections in which the kernel is not interrupted, or frees nothing that a program looks at.
//!
//! There is nothing to do here: a program has its CPU to itself while it runs, and what it can reach
//! stays until then.

use super::helper;

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
