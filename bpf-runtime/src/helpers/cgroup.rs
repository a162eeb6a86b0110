//! Control groups: here there is one, the root, and everything is in it.

use bpf_abi::errno::Errno;
use bpf_maps::MapError;

use super::args::{Ctx, MapRef};
use super::define::helper;

/// The number of the root.
pub(super) const ROOT: u64 = 1;

/// The number of the group at this level above the only one, 0 if there is none.
pub(super) const fn ancestor(level: u32) -> u64 {
    if level == 0 { ROOT } else { 0 }
}

helper! {
    /// Returns the class of network traffic that the process is put into: none.
    17 Any => fn get_cgroup_classid(_cx, _skb: Ctx) -> u64 {
        0
    }
}

helper! {
    /// Returns the class of network traffic that the packet's socket is put into: none.
    151 Skb => fn skb_cgroup_classid(_cx, _skb: Ctx) -> u64 {
        0
    }
}

helper! {
    /// Returns the realm of the packet's route: none.
    24 Skb => fn get_route_realm(_cx, _skb: Ctx) -> u64 {
        0
    }
}

helper! {
    /// Returns the number of the control group of the packet's socket: the root's.
    79 Skb => fn skb_cgroup_id(_cx, _skb: Ctx) -> u64 {
        ROOT
    }
}

helper! {
    /// Returns the number of the control group at this level above that of the packet's socket, 0 if
    /// there is none.
    83 Skb => fn skb_ancestor_cgroup_id(_cx, _skb: Ctx, ancestor_level: u32) -> u64 {
        ancestor(ancestor_level)
    }
}

helper! {
    /// Returns the number of the process' control group: the root's.
    80 Any => fn get_current_cgroup_id(_cx) -> u64 {
        ROOT
    }
}

helper! {
    /// Returns the number of the control group at this level above the process', 0 if there is none.
    123 Any => fn get_current_ancestor_cgroup_id(_cx, ancestor_level: u32) -> u64 {
        ancestor(ancestor_level)
    }
}

helper! {
    /// Says whether the packet's socket is below the control group at `index` of `map`. No group can
    /// be put there, so `EAGAIN`, as in Linux for empty slots.
    33 Skb => fn skb_under_cgroup(_cx, _skb: Ctx, map: MapRef<'a>, index: u32) -> Result<u64, Errno> {
        under(map, index)
    }
}

helper! {
    /// Says whether the process is below the control group at `index` of `map`, as
    /// `skb_under_cgroup` does.
    37 Any => fn current_task_under_cgroup(_cx, map: MapRef<'a>, index: u32) -> Result<u64, Errno> {
        under(map, index)
    }
}

fn under(map: MapRef<'_>, index: u32) -> Result<u64, Errno> {
    let max_entries = map.map().shape().max_entries;
    if index < max_entries {
        return Err(Errno::EAGAIN);
    }
    Err(MapError::OutOfRange { index, max_entries }.errno())
}
