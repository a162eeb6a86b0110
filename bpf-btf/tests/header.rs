//! The header of a kernel: what stands in it besides the types.

use bpf_btf::dump::{self, CStyle};
use bpf_btf::{Builder, FuncLinkage, TypeId};

#[test]
fn a_header_declares_the_functions_that_programs_may_call() {
    let mut b = Builder::new();
    let int = b.int("int", 4, true);
    let task = b.structure("task_struct", 4, &[("pid", int, 0)]);
    let to_task = b.ptr(task);
    let proto = b.proto(to_task, &[("p", to_task), ("flags", int)]);
    let kfunc = b.func("bpf_task_acquire", proto, FuncLinkage::Static);
    b.decl_tag("bpf_kfunc", kfunc, None);
    let other = b.func("do_exit", proto, FuncLinkage::Static);
    b.decl_tag("another", other, None);
    let nothing = b.proto(TypeId(0), &[]);
    let lock = b.func("bpf_rcu_read_lock", nothing, FuncLinkage::Static);
    b.decl_tag("bpf_kfunc", lock, None);
    let btf = b.finish().unwrap();
    let header = dump::c(&btf, CStyle::Vmlinux).unwrap();
    let (_, functions) = header.split_once("#ifndef BPF_NO_KFUNC_PROTOTYPES\n").unwrap();
    assert_eq!(
        functions,
        "\
#ifndef __ksym
#define __ksym __attribute__((section(\".ksyms\")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

extern struct task_struct *bpf_task_acquire(struct task_struct *p, int flags) __weak __ksym;
extern void bpf_rcu_read_lock(void) __weak __ksym;
#endif

#endif /* __VMLINUX_H__ */
"
    );
    assert!(!dump::c(&btf, CStyle::Bare).unwrap().contains("bpf_task_acquire"));
}

#[test]
fn a_header_without_such_functions_does_not_speak_of_them() {
    let mut b = Builder::new();
    b.int("int", 4, true);
    let header = dump::c(&b.finish().unwrap(), CStyle::Vmlinux).unwrap();
    assert!(!header.contains("KFUNC"), "{header}");
}
