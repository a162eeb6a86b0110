//! Kernel functions that programs can call.
//!
//! Programs name them by their place in the kernel's types, and the verifier holds calls to what
//! those say; in an image they are helpers of numbers that no program can use.

mod section;
mod iter;
mod dynptr;
mod string;
mod object;
mod work;
mod res_lock;
mod cpumask;
mod percpu;
mod probe;
mod print;

use bpf_abi::exec::HelperFn;
use bpf_abi::helper::{HelperFlags, HelperProto};
use bpf_abi::prog::ProgType;

use super::define::{Helper, helper};

/// Every kernel function, in the order of their numbers.
static ALL: [&Helper; 96] = [
    &section::bpf_rcu_read_lock,
    &section::bpf_rcu_read_unlock,
    &section::bpf_preempt_disable,
    &section::bpf_preempt_enable,
    &section::bpf_local_irq_save,
    &section::bpf_local_irq_restore,
    &iter::bpf_iter_num_new,
    &iter::bpf_iter_num_next,
    &iter::bpf_iter_num_destroy,
    &iter::bpf_iter_bits_new,
    &iter::bpf_iter_bits_next,
    &iter::bpf_iter_bits_destroy,
    &dynptr::bpf_dynptr_from_skb,
    &dynptr::bpf_dynptr_from_skb_rdonly,
    &dynptr::bpf_dynptr_from_skb_meta,
    &dynptr::bpf_dynptr_from_xdp,
    &dynptr::bpf_dynptr_slice,
    &dynptr::bpf_dynptr_slice_rdwr,
    &dynptr::bpf_dynptr_adjust,
    &dynptr::bpf_dynptr_is_null,
    &dynptr::bpf_dynptr_is_rdonly,
    &dynptr::bpf_dynptr_size,
    &dynptr::bpf_dynptr_clone,
    &dynptr::bpf_dynptr_copy,
    &dynptr::bpf_dynptr_memset,
    &string::bpf_strcmp,
    &string::bpf_strcasecmp,
    &string::bpf_strchr,
    &string::bpf_strchrnul,
    &string::bpf_strnchr,
    &string::bpf_strrchr,
    &string::bpf_strlen,
    &string::bpf_strnlen,
    &string::bpf_strspn,
    &string::bpf_strcspn,
    &string::bpf_strstr,
    &string::bpf_strnstr,
    &object::bpf_obj_new_impl,
    &object::bpf_obj_drop_impl,
    &object::bpf_refcount_acquire_impl,
    &object::bpf_list_push_front_impl,
    &object::bpf_list_push_back_impl,
    &object::bpf_list_pop_front,
    &object::bpf_list_pop_back,
    &object::bpf_list_front,
    &object::bpf_list_back,
    &object::bpf_rbtree_add_impl,
    &object::bpf_rbtree_remove,
    &object::bpf_rbtree_first,
    &object::bpf_rbtree_root,
    &object::bpf_rbtree_left,
    &object::bpf_rbtree_right,
    &work::bpf_wq_init,
    &work::bpf_wq_set_callback_impl,
    &work::bpf_wq_start,
    &res_lock::bpf_res_spin_lock,
    &res_lock::bpf_res_spin_unlock,
    &res_lock::bpf_res_spin_lock_irqsave,
    &res_lock::bpf_res_spin_unlock_irqrestore,
    &cpumask::bpf_cpumask_create,
    &cpumask::bpf_cpumask_acquire,
    &cpumask::bpf_cpumask_release,
    &cpumask::bpf_cpumask_first,
    &cpumask::bpf_cpumask_first_zero,
    &cpumask::bpf_cpumask_first_and,
    &cpumask::bpf_cpumask_set_cpu,
    &cpumask::bpf_cpumask_clear_cpu,
    &cpumask::bpf_cpumask_test_cpu,
    &cpumask::bpf_cpumask_test_and_set_cpu,
    &cpumask::bpf_cpumask_test_and_clear_cpu,
    &cpumask::bpf_cpumask_setall,
    &cpumask::bpf_cpumask_clear,
    &cpumask::bpf_cpumask_and,
    &cpumask::bpf_cpumask_or,
    &cpumask::bpf_cpumask_xor,
    &cpumask::bpf_cpumask_equal,
    &cpumask::bpf_cpumask_intersects,
    &cpumask::bpf_cpumask_subset,
    &cpumask::bpf_cpumask_empty,
    &cpumask::bpf_cpumask_full,
    &cpumask::bpf_cpumask_copy,
    &cpumask::bpf_cpumask_any_distribute,
    &cpumask::bpf_cpumask_any_and_distribute,
    &cpumask::bpf_cpumask_weight,
    &cpumask::bpf_cpumask_populate,
    &percpu::bpf_percpu_obj_new_impl,
    &percpu::bpf_percpu_obj_drop_impl,
    &percpu::bpf_map_sum_elem_count,
    &probe::bpf_probe_read_kernel_dynptr,
    &probe::bpf_probe_read_user_dynptr,
    &probe::bpf_probe_read_kernel_str_dynptr,
    &probe::bpf_probe_read_user_str_dynptr,
    &probe::bpf_copy_from_user_dynptr,
    &probe::bpf_copy_from_user_str_dynptr,
    &probe::bpf_copy_from_user_str,
    &print::bpf_stream_vprintk_impl,
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

/// A kernel function's number and arity, and its code, if this runtime has it for programs of this
/// type.
pub(crate) fn find(name: &str, prog_type: ProgType) -> Option<(&'static HelperProto, HelperFn)> {
    let name = match name {
        "bpf_dynptr_from_skb" if !writes_packets(prog_type) => "bpf_dynptr_from_skb_rdonly",
        name => name,
    };
    let place = ALL.iter().position(|kfunc| kfunc.name == name)?;
    ALL[place].works_for(prog_type).then_some((&PROTOS[place], ALL[place].entry))
}

/// Whether a kernel function is about objects that programs allocate.
pub(crate) fn handles_objects(name: &str) -> bool {
    let families = ["bpf_obj_", "bpf_percpu_obj_", "bpf_refcount_", "bpf_list_", "bpf_rbtree_"];
    families.iter().any(|family| name.starts_with(family))
}

/// Whether programs of this type may write to packets of the network stack directly.
///
/// Linux: `may_access_direct_pkt_data`.
const fn writes_packets(prog_type: ProgType) -> bool {
    matches!(
        prog_type,
        ProgType::SchedCls | ProgType::SchedAct | ProgType::LwtXmit | ProgType::SkSkb
    )
}

#[cfg(test)]
mod tests {
    use bpf_abi::helper::FIRST_KFUNC;

    use super::*;

    #[test]
    fn numbers_are_those_of_kernel_functions_one_by_one() {
        for (n, kfunc) in (0..).zip(ALL) {
            assert_eq!(kfunc.id, FIRST_KFUNC + n, "{}", kfunc.name);
        }
        assert!(find("bpf_nothing", ProgType::Xdp).is_none());
    }

    #[test]
    fn code_is_found_for_the_programs_it_is_for() {
        let found = |name, prog_type| find(name, prog_type).map(|(proto, _)| proto.name);
        assert_eq!(found("bpf_iter_num_new", ProgType::Syscall), Some("bpf_iter_num_new"));
        assert_eq!(found("bpf_dynptr_from_xdp", ProgType::Xdp), Some("bpf_dynptr_from_xdp"));
        assert_eq!(found("bpf_dynptr_from_xdp", ProgType::SchedCls), None);
        let from_skb = |prog_type| found("bpf_dynptr_from_skb", prog_type);
        assert_eq!(from_skb(ProgType::SchedCls), Some("bpf_dynptr_from_skb"));
        assert_eq!(from_skb(ProgType::CgroupSkb), Some("bpf_dynptr_from_skb_rdonly"));
        assert_eq!(from_skb(ProgType::Tracing), None, "there is no packet");
    }
}
