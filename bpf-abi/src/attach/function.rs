//! Kernel functions, as probes attach to them.

/// Functions that may not be traced, since tracing runs through them.
///
/// Linux: `btf_id_deny`.
pub fn is_denied(name: &str) -> bool {
    const DENIED: &[&str] = &[
        "migrate_disable",
        "migrate_enable",
        "rcu_read_unlock_strict",
        "preempt_count_add",
        "preempt_count_sub",
        "__rcu_read_lock",
        "__rcu_read_unlock",
    ];
    DENIED.contains(&name)
}

/// Functions that do not return, so that nothing can run after them.
///
/// Linux: `noreturn_deny`.
pub fn never_returns(name: &str) -> bool {
    const NEVER: &[&str] = &[
        "__ia32_sys_exit",
        "__ia32_sys_exit_group",
        "__kunit_abort",
        "kunit_try_catch_throw",
        "__module_put_and_kthread_exit",
        "__x64_sys_exit",
        "__x64_sys_exit_group",
        "do_exit",
        "do_group_exit",
        "kthread_complete_and_exit",
        "kthread_exit",
        "make_task_dead",
    ];
    NEVER.contains(&name)
}

/// Whether a probe may replace what the function returns.
///
/// Linux: `check_attach_modify_return`, `btf_kfunc_is_modify_return`.
pub fn is_modifiable(name: &str) -> bool {
    is_error_injected(name) || name.starts_with("security_") || MODIFIED.contains(&name)
}

/// Whether the function's probes may sleep.
pub fn may_sleep(name: &str) -> bool {
    // These are called by what may sleep and by what may not.
    const DOUBTFUL: &[&str] = &["__filemap_add_folio", "should_fail_alloc_page", "should_failslab"];
    (is_error_injected(name) && !DOUBTFUL.contains(&name)) || name == "bpf_fentry_test1"
}

/// Whether the function's probes may call `bpf_d_path`.
///
/// Linux: `btf_allowlist_d_path`.
pub fn may_name_paths(name: &str) -> bool {
    const PATHS: &[&str] = &[
        "security_file_permission",
        "security_inode_getattr",
        "security_file_open",
        "security_path_truncate",
        "vfs_truncate",
        "vfs_fallocate",
        "dentry_open",
        "vfs_getattr",
        "filp_close",
    ];
    PATHS.contains(&name)
}

/// Functions whose result may be replaced besides those that errors are injected into.
///
/// Linux: what `register_btf_fmodret_id_set` is called with.
static MODIFIED: &[&str] = &[
    "bpf_fentry_test1",
    "bpf_modify_return_test",
    "bpf_modify_return_test2",
    "bpf_modify_return_test_tp",
    "update_socket_protocol",
];

/// Whether errors are injected into the function: its callers are ready for any. Every system
/// call is one.
///
/// Linux: `within_error_injection_list`.
fn is_error_injected(name: &str) -> bool {
    const INJECTED: &[&str] = &[
        "__filemap_add_folio",
        "btrfs_cow_block",
        "btrfs_should_cancel_balance",
        "io_ctl_init",
        "open_ctree",
        "should_fail_alloc_page",
        "should_fail_bio",
        "should_failslab",
    ];
    const SYSTEM_CALLS: &[&str] =
        &["__x64_sys_", "__x64_compat_sys_", "__ia32_sys_", "__ia32_compat_sys_"];
    INJECTED.contains(&name) || SYSTEM_CALLS.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_are_modifiable_and_sleep() {
        assert!(is_modifiable("__x64_sys_openat") && may_sleep("__x64_sys_openat"));
        assert!(is_modifiable("security_file_open") && !may_sleep("security_file_open"));
        assert!(is_modifiable("bpf_modify_return_test") && !is_modifiable("vfs_read"));
        assert!(!may_sleep("should_failslab"));
    }
}
