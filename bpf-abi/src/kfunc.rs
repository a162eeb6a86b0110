//! Kernel functions: flags, and which programs may call them.
//!
//! Their arguments are described by the kernel's BTF; what is here is what BTF does not say. Read
//! off a running kernel.

use bitflags::bitflags;

use crate::prog::{AttachType, ProgType};

bitflags! {
    /// What a kernel function promises and demands.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct KfuncFlags: u32 {
        /// Its result must be released. Linux: `KF_ACQUIRE`.
        const ACQUIRE = 1 << 0;
        /// Releases its argument. Linux: `KF_RELEASE`.
        const RELEASE = 1 << 1;
        /// Its result may be null. Linux: `KF_RET_NULL`.
        const RET_NULL = 1 << 2;
        /// Its pointers must be trusted. Linux: `KF_TRUSTED_ARGS`.
        const TRUSTED_ARGS = 1 << 3;
        /// May sleep. Linux: `KF_SLEEPABLE`.
        const SLEEPABLE = 1 << 4;
        /// Its pointers must be trusted or protected by RCU. Linux: `KF_RCU`.
        const RCU = 1 << 5;
        /// Makes an iterator. Linux: `KF_ITER_NEW`.
        const ITER_NEW = 1 << 6;
        /// Advances an iterator. Linux: `KF_ITER_NEXT`.
        const ITER_NEXT = 1 << 7;
        /// Ends an iterator. Linux: `KF_ITER_DESTROY`.
        const ITER_DESTROY = 1 << 8;
        /// Only in an RCU section. Linux: `KF_RCU_PROTECTED`.
        const RCU_PROTECTED = 1 << 9;
        /// Leaves caller-saved registers alone. Linux: `KF_FASTCALL`.
        const FASTCALL = 1 << 10;
        /// Returns an arena's address. Linux: `KF_ARENA_RET`.
        const ARENA_RET = 1 << 11;
        /// Its second argument is an arena's address. Linux: `KF_ARENA_ARG2`.
        const ARENA_ARG2 = 1 << 12;
        /// Calls a function of the program before it returns. No flag of the kernel's.
        const SYNC_CALLBACK = 1 << 13;
        /// Has a function of the program called at another time. No flag of the kernel's.
        const ASYNC_CALLBACK = 1 << 14;
        /// May move the packet. Linux: `is_kfunc_pkt_changing`.
        const CHANGES_PKT_DATA = 1 << 15;
        /// May be called with a lock held. Linux: `kfunc_spin_allowed`.
        const UNDER_LOCK = 1 << 16;
    }
}

/// Which programs may call a kernel function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callers {
    /// All.
    All,
    /// Functions of kernel structures.
    StructOps,
    /// Those that handle objects: tracing, networking's main hooks, control groups.
    Objects,
    /// Tracing, and functions of kernel structures.
    Cpumask,
    /// Syscall programs.
    CryptoCtx,
    /// Classifiers and XDP, actions included.
    Crypto,
    /// Classifiers and XDP.
    Conntrack,
    /// Those that have a `__sk_buff`.
    SkbDynptr,
    /// Classifiers and actions.
    SkbMeta,
    /// XDP.
    Xdp,
    /// Security hooks and probes of kernel functions.
    Lsm,
    /// Classifiers, tracing, syscall programs.
    TestRelease,
    /// Probes with a session.
    Session,
    /// Classifiers.
    SchedCls,
    /// Programs of control groups.
    CgroupSock,
    /// Iterators.
    IterSock,
    /// Tracing.
    Rstat,
}

impl Callers {
    /// Whether programs of this type and attach type are among them.
    pub fn include(self, prog_type: ProgType, attach: Option<AttachType>) -> bool {
        use ProgType as P;
        let cgroup = matches!(
            prog_type,
            P::CgroupDevice
                | P::CgroupSkb
                | P::CgroupSock
                | P::CgroupSockAddr
                | P::CgroupSockopt
                | P::CgroupSysctl
                | P::SockOps
        );
        let tracing = matches!(prog_type, P::PerfEvent | P::Tracepoint | P::Tracing | P::Lsm);
        match self {
            Self::All => true,
            Self::StructOps => prog_type == P::StructOps,
            Self::Objects => {
                cgroup
                    || tracing
                    || matches!(prog_type, P::SchedCls | P::StructOps | P::Syscall | P::Xdp)
            }
            Self::Cpumask => tracing || matches!(prog_type, P::StructOps | P::Syscall),
            Self::CryptoCtx => prog_type == P::Syscall,
            Self::Crypto => matches!(prog_type, P::SchedAct | P::SchedCls | P::Xdp),
            Self::Conntrack => matches!(prog_type, P::SchedCls | P::Xdp),
            Self::SkbDynptr => {
                cgroup
                    || tracing
                    || matches!(
                        prog_type,
                        P::LwtIn
                            | P::LwtOut
                            | P::LwtSeg6local
                            | P::LwtXmit
                            | P::Netfilter
                            | P::SchedAct
                            | P::SchedCls
                            | P::SkSkb
                            | P::SocketFilter
                    )
            }
            Self::SkbMeta => matches!(prog_type, P::SchedAct | P::SchedCls),
            Self::Xdp => prog_type == P::Xdp,
            Self::Lsm => prog_type == P::Lsm,
            Self::TestRelease => tracing || matches!(prog_type, P::SchedCls | P::Syscall),
            Self::Session => {
                let session = [AttachType::TraceKprobeSession, AttachType::TraceUprobeSession];
                prog_type == P::Kprobe && attach.is_some_and(|attach| session.contains(&attach))
            }
            Self::SchedCls => prog_type == P::SchedCls,
            Self::CgroupSock => cgroup,
            Self::IterSock => prog_type == P::Tracing && attach == Some(AttachType::TraceIter),
            Self::Rstat => tracing,
        }
    }
}

/// A kernel function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kfunc {
    /// Its name.
    pub name: &'static str,
    /// Which programs may call it.
    pub callers: Callers,
    /// What it promises and demands.
    pub flags: KfuncFlags,
}

/// The kernel function of this name.
pub fn find(name: &str) -> Option<&'static Kfunc> {
    let at = KFUNCS.binary_search_by_key(&name, |kfunc| kfunc.name).ok()?;
    KFUNCS.get(at)
}

/// Defines the table. The columns are: the name, who may call it, the flags.
macro_rules! kfuncs {
    ($( $name:literal $callers:ident [$($flag:ident)*]; )+) => {
        /// Every kernel function, in the order of their names.
        pub static KFUNCS: &[Kfunc] = &[ $(
            Kfunc {
                name: $name,
                callers: Callers::$callers,
                flags: KfuncFlags::from_bits_retain(0 $(| KfuncFlags::$flag.bits())*),
            },
        )+ ];
    };
}

kfuncs! {
    "__bpf_trap" All [];
    "bbr_cwnd_event" StructOps [];
    "bbr_init" StructOps [];
    "bbr_main" StructOps [];
    "bbr_min_tso_segs" StructOps [];
    "bbr_set_state" StructOps [];
    "bbr_sndbuf_expand" StructOps [];
    "bbr_ssthresh" StructOps [];
    "bbr_undo_cwnd" StructOps [];
    "bpf_arena_alloc_pages" All [ARENA_ARG2 ARENA_RET SLEEPABLE TRUSTED_ARGS UNDER_LOCK];
    "bpf_arena_free_pages" All [ARENA_ARG2 SLEEPABLE TRUSTED_ARGS UNDER_LOCK];
    "bpf_arena_reserve_pages" All [ARENA_ARG2 SLEEPABLE TRUSTED_ARGS];
    "bpf_cast_to_kern_ctx" All [FASTCALL];
    "bpf_cgroup_acquire" Objects [ACQUIRE RCU RET_NULL];
    "bpf_cgroup_ancestor" Objects [ACQUIRE RCU RET_NULL];
    "bpf_cgroup_from_id" Objects [ACQUIRE RET_NULL];
    "bpf_cgroup_read_xattr" All [RCU];
    "bpf_cgroup_release" Objects [RELEASE];
    "bpf_copy_from_user_dynptr" All [SLEEPABLE];
    "bpf_copy_from_user_str" All [SLEEPABLE];
    "bpf_copy_from_user_str_dynptr" All [SLEEPABLE];
    "bpf_copy_from_user_task_dynptr" All [SLEEPABLE TRUSTED_ARGS];
    "bpf_copy_from_user_task_str" All [SLEEPABLE];
    "bpf_copy_from_user_task_str_dynptr" All [SLEEPABLE TRUSTED_ARGS];
    "bpf_cpumask_acquire" Cpumask [ACQUIRE TRUSTED_ARGS];
    "bpf_cpumask_and" Cpumask [RCU];
    "bpf_cpumask_any_and_distribute" Cpumask [RCU];
    "bpf_cpumask_any_distribute" Cpumask [RCU];
    "bpf_cpumask_clear" Cpumask [RCU];
    "bpf_cpumask_clear_cpu" Cpumask [RCU];
    "bpf_cpumask_copy" Cpumask [RCU];
    "bpf_cpumask_create" Cpumask [ACQUIRE RET_NULL];
    "bpf_cpumask_empty" Cpumask [RCU];
    "bpf_cpumask_equal" Cpumask [RCU];
    "bpf_cpumask_first" Cpumask [RCU];
    "bpf_cpumask_first_and" Cpumask [RCU];
    "bpf_cpumask_first_zero" Cpumask [RCU];
    "bpf_cpumask_full" Cpumask [RCU];
    "bpf_cpumask_intersects" Cpumask [RCU];
    "bpf_cpumask_or" Cpumask [RCU];
    "bpf_cpumask_populate" Cpumask [RCU];
    "bpf_cpumask_release" Cpumask [RELEASE];
    "bpf_cpumask_set_cpu" Cpumask [RCU];
    "bpf_cpumask_setall" Cpumask [RCU];
    "bpf_cpumask_subset" Cpumask [RCU];
    "bpf_cpumask_test_and_clear_cpu" Cpumask [RCU];
    "bpf_cpumask_test_and_set_cpu" Cpumask [RCU];
    "bpf_cpumask_test_cpu" Cpumask [RCU];
    "bpf_cpumask_weight" Cpumask [RCU];
    "bpf_cpumask_xor" Cpumask [RCU];
    "bpf_crypto_ctx_acquire" CryptoCtx [ACQUIRE RCU RET_NULL];
    "bpf_crypto_ctx_create" CryptoCtx [ACQUIRE RET_NULL SLEEPABLE];
    "bpf_crypto_ctx_release" CryptoCtx [RELEASE];
    "bpf_crypto_decrypt" Crypto [RCU];
    "bpf_crypto_encrypt" Crypto [RCU];
    "bpf_ct_change_status" Conntrack [TRUSTED_ARGS];
    "bpf_ct_change_timeout" Conntrack [TRUSTED_ARGS];
    "bpf_ct_insert_entry" Conntrack [ACQUIRE RELEASE RET_NULL];
    "bpf_ct_release" Conntrack [RELEASE];
    "bpf_ct_set_nat_info" Conntrack [TRUSTED_ARGS];
    "bpf_ct_set_status" Conntrack [TRUSTED_ARGS];
    "bpf_ct_set_timeout" Conntrack [TRUSTED_ARGS];
    "bpf_dynptr_adjust" All [];
    "bpf_dynptr_clone" All [];
    "bpf_dynptr_copy" All [];
    "bpf_dynptr_from_skb" SkbDynptr [TRUSTED_ARGS];
    "bpf_dynptr_from_skb_meta" SkbMeta [TRUSTED_ARGS];
    "bpf_dynptr_from_xdp" Xdp [];
    "bpf_dynptr_is_null" All [];
    "bpf_dynptr_is_rdonly" All [];
    "bpf_dynptr_memset" All [];
    "bpf_dynptr_size" All [];
    "bpf_dynptr_slice" All [RET_NULL];
    "bpf_dynptr_slice_rdwr" All [RET_NULL];
    "bpf_fentry_test1" Lsm [SLEEPABLE];
    "bpf_get_dentry_xattr" Lsm [SLEEPABLE TRUSTED_ARGS];
    "bpf_get_file_xattr" Lsm [SLEEPABLE TRUSTED_ARGS];
    "bpf_get_kmem_cache" All [];
    "bpf_get_task_exe_file" Lsm [ACQUIRE RET_NULL TRUSTED_ARGS];
    "bpf_iter_bits_destroy" All [ITER_DESTROY];
    "bpf_iter_bits_new" All [ITER_NEW];
    "bpf_iter_bits_next" All [ITER_NEXT RET_NULL];
    "bpf_iter_css_destroy" All [ITER_DESTROY];
    "bpf_iter_css_new" All [ITER_NEW RCU_PROTECTED TRUSTED_ARGS];
    "bpf_iter_css_next" All [ITER_NEXT RET_NULL];
    "bpf_iter_css_task_destroy" All [ITER_DESTROY];
    "bpf_iter_css_task_new" All [ITER_NEW TRUSTED_ARGS];
    "bpf_iter_css_task_next" All [ITER_NEXT RET_NULL];
    "bpf_iter_dmabuf_destroy" All [ITER_DESTROY SLEEPABLE];
    "bpf_iter_dmabuf_new" All [ITER_NEW SLEEPABLE];
    "bpf_iter_dmabuf_next" All [ITER_NEXT RET_NULL SLEEPABLE];
    "bpf_iter_kmem_cache_destroy" All [ITER_DESTROY SLEEPABLE];
    "bpf_iter_kmem_cache_new" All [ITER_NEW SLEEPABLE];
    "bpf_iter_kmem_cache_next" All [ITER_NEXT RET_NULL SLEEPABLE];
    "bpf_iter_num_destroy" All [ITER_DESTROY UNDER_LOCK];
    "bpf_iter_num_new" All [ITER_NEW UNDER_LOCK];
    "bpf_iter_num_next" All [ITER_NEXT RET_NULL UNDER_LOCK];
    "bpf_iter_task_destroy" All [ITER_DESTROY];
    "bpf_iter_task_new" All [ITER_NEW RCU_PROTECTED TRUSTED_ARGS];
    "bpf_iter_task_next" All [ITER_NEXT RET_NULL];
    "bpf_iter_task_vma_destroy" All [ITER_DESTROY];
    "bpf_iter_task_vma_new" All [ITER_NEW RCU];
    "bpf_iter_task_vma_next" All [ITER_NEXT RET_NULL];
    "bpf_key_put" Objects [RELEASE];
    "bpf_kfunc_call_memb_release" TestRelease [RELEASE];
    "bpf_kfunc_call_test_release" TestRelease [RELEASE];
    "bpf_list_back" Objects [RET_NULL UNDER_LOCK];
    "bpf_list_front" Objects [RET_NULL UNDER_LOCK];
    "bpf_list_pop_back" Objects [ACQUIRE RET_NULL UNDER_LOCK];
    "bpf_list_pop_front" Objects [ACQUIRE RET_NULL UNDER_LOCK];
    "bpf_list_push_back_impl" Objects [UNDER_LOCK];
    "bpf_list_push_front_impl" Objects [UNDER_LOCK];
    "bpf_local_irq_restore" All [];
    "bpf_local_irq_save" All [];
    "bpf_lookup_system_key" Objects [ACQUIRE RET_NULL];
    "bpf_lookup_user_key" Objects [ACQUIRE RET_NULL SLEEPABLE];
    "bpf_map_sum_elem_count" All [TRUSTED_ARGS];
    "bpf_modify_return_test" Lsm [];
    "bpf_modify_return_test2" Lsm [];
    "bpf_modify_return_test_tp" All [];
    "bpf_obj_drop_impl" Objects [RELEASE];
    "bpf_obj_new_impl" Objects [ACQUIRE RET_NULL];
    "bpf_path_d_path" Lsm [TRUSTED_ARGS];
    "bpf_percpu_obj_drop_impl" Objects [RELEASE];
    "bpf_percpu_obj_new_impl" Objects [ACQUIRE RET_NULL];
    "bpf_preempt_disable" All [];
    "bpf_preempt_enable" All [];
    "bpf_probe_read_kernel_dynptr" All [];
    "bpf_probe_read_kernel_str_dynptr" All [];
    "bpf_probe_read_user_dynptr" All [];
    "bpf_probe_read_user_str_dynptr" All [];
    "bpf_put_file" Lsm [RELEASE];
    "bpf_rbtree_add_impl" Objects [SYNC_CALLBACK UNDER_LOCK];
    "bpf_rbtree_first" Objects [RET_NULL UNDER_LOCK];
    "bpf_rbtree_left" Objects [RET_NULL UNDER_LOCK];
    "bpf_rbtree_remove" Objects [ACQUIRE RET_NULL UNDER_LOCK];
    "bpf_rbtree_right" Objects [RET_NULL UNDER_LOCK];
    "bpf_rbtree_root" Objects [RET_NULL UNDER_LOCK];
    "bpf_rcu_read_lock" All [];
    "bpf_rcu_read_unlock" All [];
    "bpf_rdonly_cast" All [FASTCALL];
    "bpf_refcount_acquire_impl" Objects [ACQUIRE RCU RET_NULL UNDER_LOCK];
    "bpf_remove_dentry_xattr" Lsm [SLEEPABLE TRUSTED_ARGS];
    "bpf_res_spin_lock" All [RET_NULL UNDER_LOCK];
    "bpf_res_spin_lock_irqsave" All [RET_NULL UNDER_LOCK];
    "bpf_res_spin_unlock" All [UNDER_LOCK];
    "bpf_res_spin_unlock_irqrestore" All [UNDER_LOCK];
    "bpf_send_signal_task" Objects [TRUSTED_ARGS];
    "bpf_session_cookie" Session [];
    "bpf_session_is_return" Session [];
    "bpf_set_dentry_xattr" Lsm [SLEEPABLE TRUSTED_ARGS];
    "bpf_sk_assign_tcp_reqsk" SchedCls [TRUSTED_ARGS];
    "bpf_skb_ct_alloc" Conntrack [ACQUIRE RET_NULL];
    "bpf_skb_ct_lookup" Conntrack [ACQUIRE RET_NULL];
    "bpf_sock_addr_set_sun_path" CgroupSock [];
    "bpf_sock_destroy" IterSock [TRUSTED_ARGS];
    "bpf_sock_ops_enable_tx_tstamp" CgroupSock [TRUSTED_ARGS];
    "bpf_strcasecmp" All [];
    "bpf_strchr" All [];
    "bpf_strchrnul" All [];
    "bpf_strcmp" All [];
    "bpf_strcspn" All [];
    "bpf_stream_vprintk_impl" All [TRUSTED_ARGS];
    "bpf_strlen" All [];
    "bpf_strnchr" All [];
    "bpf_strnlen" All [];
    "bpf_strnstr" All [];
    "bpf_strrchr" All [];
    "bpf_strspn" All [];
    "bpf_strstr" All [];
    "bpf_task_acquire" Objects [ACQUIRE RCU RET_NULL];
    "bpf_task_from_pid" Objects [ACQUIRE RET_NULL];
    "bpf_task_from_vpid" Objects [ACQUIRE RET_NULL];
    "bpf_task_get_cgroup1" Objects [ACQUIRE RCU RET_NULL];
    "bpf_task_release" Objects [RELEASE];
    "bpf_task_under_cgroup" Objects [RCU];
    "bpf_task_work_schedule_resume_impl" All [TRUSTED_ARGS ASYNC_CALLBACK];
    "bpf_task_work_schedule_signal_impl" All [TRUSTED_ARGS ASYNC_CALLBACK];
    "bpf_throw" Objects [];
    "bpf_wq_init" All [];
    "bpf_wq_set_callback_impl" All [ASYNC_CALLBACK];
    "bpf_wq_start" All [];
    "bpf_xdp_ct_alloc" Conntrack [ACQUIRE RET_NULL];
    "bpf_xdp_ct_lookup" Conntrack [ACQUIRE RET_NULL];
    "bpf_xdp_get_xfrm_state" Xdp [ACQUIRE RET_NULL];
    "bpf_xdp_metadata_rx_hash" All [TRUSTED_ARGS];
    "bpf_xdp_metadata_rx_timestamp" All [TRUSTED_ARGS];
    "bpf_xdp_metadata_rx_vlan_tag" All [TRUSTED_ARGS];
    "bpf_xdp_pull_data" Xdp [CHANGES_PKT_DATA];
    "bpf_xdp_xfrm_state_release" Xdp [RELEASE];
    "css_rstat_flush" Rstat [SLEEPABLE];
    "css_rstat_updated" Rstat [];
    "cubictcp_acked" StructOps [];
    "cubictcp_cong_avoid" StructOps [];
    "cubictcp_cwnd_event" StructOps [];
    "cubictcp_init" StructOps [];
    "cubictcp_recalc_ssthresh" StructOps [];
    "cubictcp_state" StructOps [];
    "tcp_cong_avoid_ai" StructOps [];
    "tcp_reno_cong_avoid" StructOps [];
    "tcp_reno_ssthresh" StructOps [];
    "tcp_reno_undo_cwnd" StructOps [];
    "tcp_slow_start" StructOps [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_name() {
        assert!(KFUNCS.is_sorted_by_key(|kfunc| kfunc.name));
        let new = find("bpf_iter_num_new").expect("there is such an iterator");
        assert_eq!(new.flags, KfuncFlags::ITER_NEW | KfuncFlags::UNDER_LOCK);
        assert!(find("no_such_function").is_none());
    }
}
