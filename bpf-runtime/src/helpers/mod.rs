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
mod redirect;
mod events;
mod packet;
mod fib;
mod callback;
mod lock;
mod dynptr;
mod probe;
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
    &skb::skb_vlan_push,
    &skb::skb_vlan_pop,
    &redirect::redirect,
    &events::perf_event_output,
    &skb::skb_load_bytes,
    &csum::csum_diff,
    &skb::skb_change_proto,
    &skb::skb_change_type,
    &skb::get_hash_recalc,
    &skb::skb_change_tail,
    &skb::skb_pull_data,
    &skb::set_hash_invalid,
    &task::get_numa_node_id,
    &skb::skb_change_head,
    &xdp::xdp_adjust_head,
    &known::probe_read_str,
    &skb::get_socket_cookie,
    &skb::set_hash,
    &skb::skb_adjust_room,
    &redirect::redirect_map,
    &xdp::xdp_adjust_meta,
    &xdp::xdp_adjust_tail,
    &skb::skb_load_bytes_relative,
    &fib::fib_lookup,
    &map::map_push_elem,
    &map::map_pop_elem,
    &map::map_peek_elem,
    &lock::spin_lock,
    &lock::spin_unlock,
    &string::strtol,
    &string::strtoul,
    &known::probe_read_kernel,
    &known::probe_read_kernel_str,
    &time::jiffies64,
    &time::ktime_get_boot_ns,
    &events::ringbuf_output,
    &events::ringbuf_reserve,
    &events::ringbuf_submit,
    &events::ringbuf_discard,
    &events::ringbuf_query,
    &time::ktime_get_coarse_ns,
    &callback::for_each_map_elem,
    &print::snprintf,
    &print::trace_vprintk,
    &callback::r#loop,
    &string::strncmp,
    &probe::get_func_arg,
    &probe::get_func_ret,
    &probe::get_func_arg_cnt,
    &xdp::xdp_get_buff_len,
    &xdp::xdp_load_bytes,
    &xdp::xdp_store_bytes,
    &map::map_lookup_percpu_elem,
    &dynptr::dynptr_from_mem,
    &dynptr::ringbuf_reserve_dynptr,
    &dynptr::ringbuf_submit_dynptr,
    &dynptr::ringbuf_discard_dynptr,
    &dynptr::dynptr_read,
    &dynptr::dynptr_write,
    &dynptr::dynptr_data,
    &time::ktime_get_tai_ns,
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
