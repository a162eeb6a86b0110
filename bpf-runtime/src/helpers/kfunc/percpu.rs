//! Objects that each CPU has its own of, and what maps have in sum.

use bpf_abi::map::MapType;

use super::helper;
use crate::helpers::args::MapRef;
use crate::helpers::args::object::{ObjectAt, ObjectOrNull};

helper! {
    /// Allocates an object of one of the program's types for each CPU; null if there is no memory.
    0x7ffe_0055 Any => fn bpf_percpu_obj_new_impl(cx, local_type_id: u64, types: u64) -> ObjectOrNull {
        let id = u32::try_from(local_type_id).ok();
        ObjectOrNull(id.and_then(|id| cx.env().shared.objects.allocate_percpu(types, id)))
    }
}

helper! {
    /// Lets such an object go, all CPUs' at once.
    0x7ffe_0056 Any => fn bpf_percpu_obj_drop_impl(cx, object: ObjectAt<'a>) -> () {
        cx.env().shared.objects.release(object.address());
    }
}

helper! {
    /// How many entries a hash map has; 0 for other maps.
    0x7ffe_0057 Any => fn bpf_map_sum_elem_count(_cx, map: MapRef<'a>) -> i64 {
        use MapType as M;
        let map = map.map();
        let counts = matches!(
            map.shape().map_type,
            M::Hash | M::PercpuHash | M::LruHash | M::LruPercpuHash | M::HashOfMaps
        );
        let mut count = 0;
        let mut key: Option<Vec<u8>> = None;
        // Keys that come and go meanwhile may be counted twice; not more often than there is room.
        while counts && count < i64::from(map.shape().max_entries) {
            let mut next = vec![0; map.shape().key_size as usize];
            if map.next_key(key.as_deref(), &mut next).is_err() {
                break;
            }
            key = Some(next);
            count += 1;
        }
        count
    }
}
