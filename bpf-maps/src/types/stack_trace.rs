//! Stack traces: each kept once, and known by a number.

use std::sync::Mutex;

use bpf_abi::Errno;
use bpf_abi::map::UpdateFlags;

use crate::cpu::CpuId;
use crate::error::MapError;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;
use crate::types::hash::hash;
use crate::world::World;

/// Traces at the hashes of themselves. Linux: `stack_trace_map_ops`.
#[derive(Debug)]
pub struct StackTrace {
    core: MapCore,
    traces: Mutex<Vec<Option<Vec<u64>>>>,
    /// How many numbers there are: a power of two.
    count: u32,
    seed: u64,
}

/// What to do when another trace has the number already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCollision {
    /// Keep the one that is there.
    Refuse,
    /// Put this one in its place. Linux: `BPF_F_REUSE_STACKID`.
    Replace,
}

impl StackTrace {
    /// No traces.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let most = 1_u32 << 31;
        if shape.max_entries > most {
            return Err(MapError::MaxEntries {
                map_type: shape.map_type,
                max_entries: shape.max_entries,
                wanted: "2147483648 at most",
                errno: Errno::E2BIG,
            });
        }
        let count = shape.max_entries.next_power_of_two();
        let (core, seed) = (MapCore::new(shape), world.seed());
        Ok(Self { core, traces: Mutex::default(), count, seed })
    }

    /// Program: keeps a trace, and returns its number. What does not fit into a value is cut
    /// off at the far end.
    ///
    /// # Errors
    ///
    /// Returns an error if another trace has that number and is not to be replaced.
    pub fn keep(&self, trace: &[u64], on_collision: OnCollision) -> Result<u32, MapError> {
        let most = self.shape().value_len() / 8;
        let trace = trace.get(..most).unwrap_or(trace);
        let bytes: Vec<u8> = trace.iter().flat_map(|addr| addr.to_le_bytes()).collect();
        let id = hash(self.seed, &bytes) & (self.count - 1);
        let mut traces = hold(&self.traces);
        if traces.len() <= id as usize {
            traces.resize(id as usize + 1, None);
        }
        let Some(slot) = traces.get_mut(id as usize) else { return Err(MapError::NotFound) };
        match slot {
            Some(other) if other == trace => {}
            Some(_) if on_collision == OnCollision::Refuse => return Err(MapError::Exists),
            _ => *slot = Some(trace.to_vec()),
        }
        Ok(id)
    }

    fn copy_out(trace: &[u64], out: &mut [u8]) {
        out.fill(0);
        for (out, addr) in out.chunks_mut(8).zip(trace) {
            out.copy_from_slice(&addr.to_le_bytes());
        }
    }
}

impl Map for StackTrace {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn update(&self, _: CpuId, _: &[u8], _: &[u8], _: UpdateFlags) -> Result<(), MapError> {
        Err(self.shape().cannot("be updated", Errno::EINVAL))
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let id = self.shape().index_within(key)? as usize;
        let removed = hold(&self.traces).get_mut(id).and_then(Option::take);
        removed.map(|_| ()).ok_or(MapError::NotFound)
    }

    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        let id = self.shape().index(key)? as usize;
        let traces = hold(&self.traces);
        let trace = traces.get(id).and_then(Option::as_ref).ok_or(MapError::NotFound)?;
        Self::copy_out(trace, out);
        Ok(())
    }

    fn take(&self, key: &[u8], out: &mut [u8]) -> Result<(), MapError> {
        let id = self.shape().index(key)? as usize;
        let removed = hold(&self.traces).get_mut(id).and_then(Option::take);
        Self::copy_out(&removed.ok_or(MapError::NotFound)?, out);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        let traces = hold(&self.traces);
        let is_there = |id: &usize| traces.get(*id).is_some_and(Option::is_some);
        let key = key.map(|key| self.shape().index(key)).transpose()?.map(|id| id as usize);
        let start = key.filter(is_there).map_or(0, |id| id + 1);
        let id = (start..traces.len()).find(is_there).ok_or(MapError::NotFound)?;
        let id = u32::try_from(id).map_err(|_| MapError::NotFound)?;
        next.copy_from_slice(&id.to_le_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::{MapSpec, MapType};

    use super::*;
    use crate::create;

    #[test]
    fn equal_traces_have_one_number_and_others_another() {
        let spec = MapSpec::new("s", MapType::StackTrace, 4, 24, 1024);
        let map = create(&spec, &World::with_cpus(1)).unwrap();
        let traces = map.as_type::<StackTrace>().unwrap();
        let a = traces.keep(&[1, 2], OnCollision::Refuse).unwrap();
        assert_eq!(traces.keep(&[1, 2], OnCollision::Refuse), Ok(a));
        let b = traces.keep(&[1, 2, 3, 4], OnCollision::Refuse).unwrap();
        assert_eq!(traces.keep(&[1, 2, 3], OnCollision::Refuse), Ok(b));
        assert_ne!(a, b);
        let seen = map.host().lookup(&a.to_le_bytes(), UpdateFlags::empty()).unwrap();
        assert_eq!(seen, [1_u64.to_le_bytes(), 2_u64.to_le_bytes(), [0; 8]].concat());
        assert_eq!(map.host().entries().unwrap().len(), 2);
        map.host().delete(&a.to_le_bytes()).unwrap();
        assert_eq!(map.host().entries().unwrap().len(), 1);
    }

    #[test]
    fn a_collision_refuses_or_replaces() {
        let spec = MapSpec::new("s", MapType::StackTrace, 4, 24, 1);
        let map = create(&spec, &World::with_cpus(1)).unwrap();
        let traces = map.as_type::<StackTrace>().unwrap();
        assert_eq!(traces.keep(&[1], OnCollision::Refuse), Ok(0));
        assert_eq!(traces.keep(&[2], OnCollision::Refuse), Err(MapError::Exists));
        assert_eq!(traces.keep(&[2], OnCollision::Replace), Ok(0));
        let seen = map.host().lookup(&[0; 4], UpdateFlags::empty()).unwrap();
        assert_eq!(seen[0], 2);
    }
}
