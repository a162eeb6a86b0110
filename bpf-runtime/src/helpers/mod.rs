//! What programs can call.
//!
//! Each helper is defined once, by [`helper!`](define::helper): its manual, its number and its
//! code. Its contract is read off the types of its parameters, and compared with the kernel's by
//! a test here.

pub(crate) mod args;
pub(crate) mod define;
mod map;
mod tail_call;
mod time;
mod task;
mod print;
mod string;
mod known;
mod csum;
mod xdp;
mod skb;
mod skb_state;
mod tunnel;
mod redirect;
mod socket;
mod cgroup;
pub(crate) mod storage;
mod syncookie;
mod events;
mod packet;
mod fib;
mod callback;
pub(crate) mod lock;
mod kptr;
mod timer;
mod percpu;
mod dynptr;
mod probe;
mod measure;
pub(crate) mod kfunc;

pub use define::Helper;

/// Every helper, in the order of their numbers.
pub fn all() -> &'static [&'static Helper] {
    ALL
}

/// The helper with this number.
pub fn find(id: u32) -> Option<&'static Helper> {
    if id == bpf_abi::helper::LOAD_PACKET {
        return Some(&packet::load_packet);
    }
    let at = ALL.binary_search_by_key(&id, |helper| helper.id).ok()?;
    ALL.get(at).copied()
}

static ALL: &[&Helper] = &[
    &map::map_lookup_elem,
    &map::map_update_elem,
    &map::map_delete_elem,
    &known::probe_read,
    &time::ktime_get_ns,
    &print::trace_printk,
    &task::get_prandom_u32,
    &task::get_smp_processor_id,
    &skb::skb_store_bytes,
    &csum::l3_csum_replace,
    &csum::l4_csum_replace,
    &tail_call::tail_call,
    &redirect::clone_redirect,
    &task::get_current_pid_tgid,
    &task::get_current_uid_gid,
    &task::get_current_comm,
    &cgroup::get_cgroup_classid,
    &skb::skb_vlan_push,
    &skb::skb_vlan_pop,
    &tunnel::skb_get_tunnel_key,
    &tunnel::skb_set_tunnel_key,
    &measure::perf_event_read,
    &redirect::redirect,
    &cgroup::get_route_realm,
    &events::perf_event_output,
    &skb::skb_load_bytes,
    &measure::get_stackid,
    &csum::csum_diff,
    &tunnel::skb_get_tunnel_opt,
    &tunnel::skb_set_tunnel_opt,
    &skb::skb_change_proto,
    &skb::skb_change_type,
    &cgroup::skb_under_cgroup,
    &skb::get_hash_recalc,
    &task::get_current_task,
    &cgroup::current_task_under_cgroup,
    &skb::skb_change_tail,
    &skb::skb_pull_data,
    &skb_state::csum_update,
    &skb::set_hash_invalid,
    &task::get_numa_node_id,
    &skb::skb_change_head,
    &xdp::xdp_adjust_head,
    &known::probe_read_str,
    &socket::get_socket_cookie,
    &socket::get_socket_uid,
    &skb::set_hash,
    &skb::skb_adjust_room,
    &redirect::redirect_map,
    &xdp::xdp_adjust_meta,
    &measure::perf_event_read_value,
    &xdp::xdp_adjust_tail,
    &skb_state::skb_get_xfrm_state,
    &measure::get_stack,
    &skb::skb_load_bytes_relative,
    &fib::fib_lookup,
    &skb::lwt_push_encap,
    &cgroup::skb_cgroup_id,
    &cgroup::get_current_cgroup_id,
    &storage::get_local_storage,
    &socket::sk_select_reuseport,
    &cgroup::skb_ancestor_cgroup_id,
    &socket::sk_lookup_tcp,
    &socket::sk_lookup_udp,
    &socket::sk_release,
    &map::map_push_elem,
    &map::map_pop_elem,
    &map::map_peek_elem,
    &lock::spin_lock,
    &lock::spin_unlock,
    &socket::sk_fullsock,
    &socket::tcp_sock,
    &skb_state::skb_ecn_set_ce,
    &socket::get_listener_sock,
    &socket::skc_lookup_tcp,
    &socket::tcp_check_syncookie,
    &string::strtol,
    &string::strtoul,
    &storage::sk_storage_get,
    &storage::sk_storage_delete,
    &task::send_signal,
    &socket::tcp_gen_syncookie,
    &known::probe_read_user,
    &known::probe_read_kernel,
    &known::probe_read_user_str,
    &known::probe_read_kernel_str,
    &task::send_signal_thread,
    &time::jiffies64,
    &task::get_ns_current_pid_tgid,
    &socket::get_netns_cookie,
    &cgroup::get_current_ancestor_cgroup_id,
    &socket::sk_assign,
    &time::ktime_get_boot_ns,
    &socket::sk_cgroup_id,
    &socket::sk_ancestor_cgroup_id,
    &events::ringbuf_output,
    &events::ringbuf_reserve,
    &events::ringbuf_submit,
    &events::ringbuf_discard,
    &events::ringbuf_query,
    &skb_state::csum_level,
    &socket::skc_to_tcp6_sock,
    &socket::skc_to_tcp_sock,
    &socket::skc_to_tcp_timewait_sock,
    &socket::skc_to_tcp_request_sock,
    &socket::skc_to_udp6_sock,
    &known::copy_from_user,
    &cgroup::skb_cgroup_classid,
    &redirect::redirect_neigh,
    &percpu::per_cpu_ptr,
    &percpu::this_cpu_ptr,
    &redirect::redirect_peer,
    &time::ktime_get_coarse_ns,
    &fib::check_mtu,
    &callback::for_each_map_elem,
    &print::snprintf,
    &timer::timer_init,
    &timer::timer_set_callback,
    &timer::timer_start,
    &timer::timer_cancel,
    &measure::get_attach_cookie,
    &measure::get_branch_snapshot,
    &print::trace_vprintk,
    &socket::skc_to_unix_sock,
    &callback::r#loop,
    &string::strncmp,
    &probe::get_func_arg,
    &probe::get_func_ret,
    &probe::get_func_arg_cnt,
    &xdp::xdp_get_buff_len,
    &xdp::xdp_load_bytes,
    &xdp::xdp_store_bytes,
    &skb_state::skb_set_tstamp,
    &kptr::kptr_xchg,
    &map::map_lookup_percpu_elem,
    &socket::skc_to_mptcp_sock,
    &dynptr::dynptr_from_mem,
    &dynptr::ringbuf_reserve_dynptr,
    &dynptr::ringbuf_submit_dynptr,
    &dynptr::ringbuf_discard_dynptr,
    &dynptr::dynptr_read,
    &dynptr::dynptr_write,
    &dynptr::dynptr_data,
    &syncookie::tcp_raw_gen_syncookie_ipv4,
    &syncookie::tcp_raw_gen_syncookie_ipv6,
    &syncookie::tcp_raw_check_syncookie_ipv4,
    &syncookie::tcp_raw_check_syncookie_ipv6,
    &time::ktime_get_tai_ns,
    &callback::user_ringbuf_drain,
];

#[cfg(test)]
mod tests {
    use bpf_abi::helper::protos::PROTOS;

    use super::*;

    #[test]
    fn helpers_stand_in_the_order_of_their_numbers() {
        assert!(ALL.is_sorted_by(|a, b| a.id < b.id));
    }

    #[test]
    fn contracts_are_those_of_linux() {
        for helper in ALL {
            let rows = PROTOS.iter().filter(|row| row.proto.id == helper.id);
            let known: Vec<_> = rows.map(|row| &row.proto).collect();
            assert!(!known.is_empty(), "Linux has no helper {}", helper.id);
            let agrees = |proto: &&bpf_abi::helper::HelperProto| {
                proto.name == helper.name && proto.args == helper.args && proto.ret == helper.ret
            };
            assert!(
                known.iter().any(agrees),
                "bpf_{}: {:#?} -> {:?}, but Linux has {:#?}",
                helper.name,
                helper.args,
                helper.ret,
                known,
            );
        }
    }

    #[test]
    fn every_helper_has_a_manual() {
        for helper in ALL {
            assert!(helper.doc.trim().len() > 20, "bpf_{}", helper.name);
        }
    }
}
