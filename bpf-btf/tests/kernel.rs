//! The types of the running kernel, where there are any.

use bpf_btf::dump::{self, CStyle};
use bpf_btf::{Btf, KindCode, check};

#[test]
fn a_whole_kernel_is_read_checked_and_written() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: this kernel does not show its types");
        return;
    };
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.encode(), bytes);
    check::check(&bytes).unwrap();
    let task = btf.by_name_kind("task_struct", KindCode::Struct).unwrap();
    let pid = btf.member_by_name(task, "pid").unwrap();
    assert_eq!(btf.path_at(task, pid.bit_offset).unwrap().0, "pid");
    assert_eq!(btf.align_of(task).map(|align| btf.size_of(task).unwrap() % align), Some(0));
    let c = dump::c(&btf, CStyle::Vmlinux).unwrap();
    assert!(c.contains("\nstruct task_struct {\n"));
}
