//! Which helper takes which map: a table.
//!
//! Read off a running kernel, by calling every helper with every type of map.

use bpf_abi::map::MapType;

/// Defines the table. The columns are: the helper's number, its name, the map types it takes.
macro_rules! rows {
    ($( $id:literal $name:literal [$($ty:ident)*]; )+) => {
        const ROWS: &[(u32, &[MapType])] = &[ $( ($id, &[$( MapType::$ty ),*]), )+ ];
    };
}

rows! {
    1 "map_lookup_elem" [
        Hash Array PercpuHash PercpuArray LruHash LruPercpuHash LpmTrie ArrayOfMaps HashOfMaps
        Devmap Sockmap Xskmap Sockhash DevmapHash
    ];
    2 "map_update_elem" [Hash Array PercpuHash PercpuArray LruHash LruPercpuHash LpmTrie];
    3 "map_delete_elem" [
        Hash Array PercpuHash PercpuArray LruHash LruPercpuHash LpmTrie Sockmap Sockhash
    ];
    12 "tail_call" [ProgArray];
    22 "perf_event_read" [PerfEventArray];
    25 "perf_event_output" [PerfEventArray];
    27 "get_stackid" [StackTrace];
    33 "skb_under_cgroup" [CgroupArray];
    37 "current_task_under_cgroup" [CgroupArray];
    51 "redirect_map" [Devmap Cpumap Xskmap DevmapHash];
    52 "sk_redirect_map" [Sockmap];
    53 "sock_map_update" [Sockmap];
    55 "perf_event_read_value" [PerfEventArray];
    60 "msg_redirect_map" [Sockmap];
    70 "sock_hash_update" [Sockhash];
    71 "msg_redirect_hash" [Sockhash];
    72 "sk_redirect_hash" [Sockhash];
    81 "get_local_storage" [CgroupStorage PercpuCgroupStorage];
    82 "sk_select_reuseport" [Sockmap Sockhash ReuseportSockarray];
    87 "map_push_elem" [Queue Stack BloomFilter];
    88 "map_pop_elem" [Queue Stack];
    89 "map_peek_elem" [Queue Stack BloomFilter];
    107 "sk_storage_get" [SkStorage];
    108 "sk_storage_delete" [SkStorage];
    111 "skb_output" [PerfEventArray];
    121 "xdp_output" [PerfEventArray];
    130 "ringbuf_output" [Ringbuf];
    131 "ringbuf_reserve" [Ringbuf];
    134 "ringbuf_query" [Ringbuf];
    145 "inode_storage_get" [InodeStorage];
    146 "inode_storage_delete" [InodeStorage];
    156 "task_storage_get" [TaskStorage];
    157 "task_storage_delete" [TaskStorage];
    164 "for_each_map_elem" [Hash Array PercpuHash PercpuArray LruHash LruPercpuHash];
    169 "timer_init" [Array Hash LruHash];
    195 "map_lookup_percpu_elem" [PercpuHash PercpuArray LruPercpuHash];
    198 "ringbuf_reserve_dynptr" [Ringbuf];
    209 "user_ringbuf_drain" [UserRingbuf];
    210 "cgrp_storage_get" [CgrpStorage];
    211 "cgrp_storage_delete" [CgrpStorage];
}

/// Whether the helper takes maps of this type. Helpers without a row take all.
///
/// Linux: `check_map_func_compatibility`.
pub(crate) fn takes(helper: u32, map: MapType) -> bool {
    match ROWS.binary_search_by_key(&helper, |(id, _)| *id) {
        Ok(row) => ROWS[row].1.contains(&map),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_call_takes_program_arrays_only() {
        assert!(takes(12, MapType::ProgArray));
        assert!(!takes(12, MapType::Array));
    }

    #[test]
    fn rows_are_in_the_order_of_their_numbers() {
        assert!(ROWS.is_sorted_by_key(|(id, _)| *id));
    }
}
