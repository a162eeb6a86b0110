//! Security hooks: which of them programs may attach to, and what they may return.

/// What stands before the name of a hook's function.
pub const PREFIX: &str = "bpf_lsm_";

/// Whether the kernel's function of this name, without [`PREFIX`], is a hook and not a function
/// that serves them.
///
/// Linux: `bpf_lsm_hooks`.
pub fn is_hook(name: &str) -> bool {
    !SERVICES.contains(&name)
}

/// Whether programs may not attach to the hook.
///
/// Linux: `bpf_lsm_disabled_hooks`.
pub fn is_disabled(name: &str) -> bool {
    DISABLED.contains(&name)
}

/// Whether the hook's programs may sleep.
///
/// Linux: `sleepable_lsm_hooks`.
pub fn may_sleep(name: &str) -> bool {
    SLEEPABLE.contains(&name)
}

/// Whether the hook's arguments are whole objects, neither half made nor half gone.
///
/// Linux: `untrusted_lsm_hooks`.
pub fn is_trusted(name: &str) -> bool {
    !UNTRUSTED.contains(&name)
}

/// Whether the hook answers yes or no, and not with an error number.
///
/// Linux: `bool_lsm_hooks`.
pub fn is_bool(name: &str) -> bool {
    BOOL.contains(&name)
}

/// Functions that are named like hooks.
static SERVICES: &[&str] = &[
    "find_cgroup_shim",
    "func_proto",
    "get_retval_range",
    "has_d_inode_locked",
    "hook_returns_errno",
    "init",
    "is_sleepable_hook",
    "is_trusted",
    "verify_prog",
];

static DISABLED: &[&str] = &[
    "vm_enough_memory",
    "inode_need_killpriv",
    "inode_getsecurity",
    "inode_listsecurity",
    "inode_copy_up_xattr",
    "getselfattr",
    "getprocattr",
    "setprocattr",
    "key_getsecurity",
    "audit_rule_match",
    "xfrm_decode_session",
    "ismaclabel",
];

static UNTRUSTED: &[&str] = &[
    "bpf_map_free",
    "bpf_prog_free",
    "file_alloc_security",
    "file_free_security",
    "sk_alloc_security",
    "sk_free_security",
    "task_free",
];

static BOOL: &[&str] = &["xfrm_state_pol_flow_match", "audit_rule_known", "inode_xattr_skipcap"];

static SLEEPABLE: &[&str] = &[
    "bpf",
    "bpf_map",
    "bpf_map_create",
    "bpf_map_free",
    "bpf_prog",
    "bpf_prog_load",
    "bpf_token_create",
    "bpf_token_free",
    "bpf_token_cmd",
    "bpf_token_capable",
    "bprm_check_security",
    "bprm_committed_creds",
    "bprm_committing_creds",
    "bprm_creds_for_exec",
    "bprm_creds_from_file",
    "capget",
    "capset",
    "cred_prepare",
    "file_ioctl",
    "file_lock",
    "file_open",
    "file_post_open",
    "file_receive",
    "inode_create",
    "inode_free_security",
    "inode_getattr",
    "inode_getxattr",
    "inode_mknod",
    "inode_need_killpriv",
    "inode_post_setxattr",
    "inode_post_removexattr",
    "inode_readlink",
    "inode_removexattr",
    "inode_rename",
    "inode_rmdir",
    "inode_setattr",
    "inode_setxattr",
    "inode_symlink",
    "inode_unlink",
    "kernel_module_request",
    "kernel_read_file",
    "kernfs_init_security",
    "path_unlink",
    "path_mkdir",
    "path_rmdir",
    "path_truncate",
    "path_symlink",
    "path_link",
    "path_rename",
    "path_chmod",
    "path_chown",
    "mmap_file",
    "netlink_send",
    "path_notify",
    "release_secctx",
    "sb_alloc_security",
    "sb_eat_lsm_opts",
    "sb_kern_mount",
    "sb_mount",
    "sb_remount",
    "sb_set_mnt_opts",
    "sb_show_options",
    "sb_statfs",
    "sb_umount",
    "settime",
    "socket_accept",
    "socket_bind",
    "socket_connect",
    "socket_create",
    "socket_getpeername",
    "socket_getpeersec_dgram",
    "socket_getsockname",
    "socket_getsockopt",
    "socket_listen",
    "socket_post_create",
    "socket_recvmsg",
    "socket_sendmsg",
    "socket_shutdown",
    "socket_socketpair",
    "syslog",
    "task_alloc",
    "current_getlsmprop_subj",
    "current_getsecid_subj",
    "task_getlsmprop_obj",
    "task_getsecid_obj",
    "task_prctl",
    "task_setscheduler",
    "userns_create",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_told_from_what_serves_them() {
        assert!(is_hook("file_open") && may_sleep("file_open") && is_trusted("file_open"));
        assert!(!is_hook("verify_prog"));
        assert!(is_disabled("getprocattr") && !is_disabled("file_open"));
        assert!(is_bool("inode_xattr_skipcap") && !is_bool("file_open"));
        assert!(!is_trusted("task_free"));
    }
}
