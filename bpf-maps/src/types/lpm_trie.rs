//! Longest-prefix-match tries: entries at prefixes, found by the longest that fits.
//!
//! A key is a length in bits, 32-bit and in the machine's order, and data in the network's
//! order. The trie is binary and path-compressed: a node stands for a prefix, and its two
//! children for longer ones that go on with a 0 or a 1. A node without a value (*inner*) is
//! there only where two prefixes part.
//!
//! ```text
//!                 10.0.0.0/8
//!                 0 /    \ 1
//!      10.0.0.0/16        10.128.0.0/9 (inner)
//!                            0 /    \ 1
//!               10.160.0.0/16        10.200.0.0/16
//! ```
//!
//! Programs walk without a lock, the host and writers with one. A node taken out is used again
//! after a grace period, so a program that stands on one can go on: it keeps its links.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bpf_abi::map::UpdateFlags;

use crate::bytes::{Memory, SharedBytes, WORD, words_for};
use crate::cpu::{CpuId, Cpus};
use crate::error::MapError;
use crate::host::BatchKinds;
use crate::map::Map;
use crate::shape::{MapCore, MapShape};
use crate::sync::hold;
use crate::world::World;

/// Entries at prefixes. Linux: `trie_map_ops`.
#[derive(Debug)]
pub(crate) struct LpmTrie {
    core: MapCore,
    nodes: Nodes,
    root: AtomicU32,
    writer: Mutex<Writer>,
    free: Arc<Mutex<VecDeque<NodeId>>>,
    cpus: Cpus,
}

/// What whoever changes the trie holds.
#[derive(Debug, Default)]
struct Writer {
    /// How many entries there are.
    count: u32,
    /// Nodes out of the trie, which are given up together.
    retired: Vec<NodeId>,
}

/// How many nodes are given up together: what it takes to do so is shared by them.
const TOGETHER: usize = 64;

/// The number of a node, from 1; 0 is none.
type NodeId = u32;

/// Nodes at addresses that stay.
///
/// ```text
///   word 0   inner (1) | length of the prefix in bits
///   word 1   child 1 (32) | child 0 (32)
///   word 2…  the data of the prefix, then the value
/// ```
#[derive(Debug)]
struct Nodes {
    words: Memory,
    width: usize,
    data_len: usize,
    value_len: usize,
    fresh: AtomicU32,
    count: u32,
}

const LOW: u64 = 0xffff_ffff;
/// In word 0: the node has no value.
const INNER: u64 = 1 << 32;

impl Nodes {
    fn new(shape: &MapShape) -> Result<Self, MapError> {
        // A trie of n entries has fewer than n inner nodes; as many again may be waiting for a
        // grace period, or to be given up.
        let count = u64::from(shape.max_entries) * 3 + 64 + TOGETHER as u64;
        let data_len = shape.key_len() - 4;
        let width = 2 + words_for(data_len) + words_for(shape.value_len());
        let words = count.saturating_mul(width as u64);
        let count = u32::try_from(count).map_err(|_| MapError::NoMemory { bytes: u64::MAX })?;
        let fresh = AtomicU32::new(0);
        let words = Memory::new(words, 64)?;
        Ok(Self { words, width, data_len, value_len: shape.value_len(), fresh, count })
    }

    fn node(&self, id: NodeId) -> &[AtomicU64] {
        let start = (id as usize - 1) * self.width;
        &self.words[start..start + self.width]
    }

    fn length(&self, id: NodeId) -> u32 {
        (self.node(id)[0].load(Ordering::Relaxed) & LOW) as u32
    }

    fn is_inner(&self, id: NodeId) -> bool {
        self.node(id)[0].load(Ordering::Relaxed) & INNER != 0
    }

    fn child(&self, id: NodeId, side: Side) -> NodeId {
        (self.node(id)[1].load(Ordering::Acquire) >> (32 * side as u32) & LOW) as u32
    }

    fn children(&self, id: NodeId) -> [NodeId; 2] {
        [self.child(id, Side::Zero), self.child(id, Side::One)]
    }

    fn set_child(&self, id: NodeId, side: Side, child: NodeId) {
        let word = &self.node(id)[1];
        let shift = 32 * side as u32;
        let rest = word.load(Ordering::Relaxed) & !(LOW << shift);
        word.store(rest | u64::from(child) << shift, Ordering::Release);
    }

    fn data(&self, id: NodeId) -> SharedBytes<'_> {
        SharedBytes::new(&self.node(id)[2..2 + words_for(self.data_len)], self.data_len)
    }

    fn value(&self, id: NodeId) -> SharedBytes<'_> {
        SharedBytes::new(&self.node(id)[2 + words_for(self.data_len)..], self.value_len)
    }

    /// Fills a node that is in no trie.
    fn fill(&self, id: NodeId, inner: u64, prefix: Prefix<'_>) {
        let node = self.node(id);
        node[0].store(inner | u64::from(prefix.length), Ordering::Relaxed);
        node[1].store(0, Ordering::Relaxed);
        self.data(id).copy_from(prefix.data);
    }

    fn set_inner(&self, id: NodeId) {
        self.node(id)[0].fetch_or(INNER, Ordering::Relaxed);
    }
}

/// Which child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Zero = 0,
    One = 1,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

/// A key, taken apart.
#[derive(Clone, Copy)]
struct Prefix<'a> {
    length: u32,
    data: &'a [u8],
}

impl<'a> Prefix<'a> {
    fn of(key: &'a [u8]) -> Option<Self> {
        let (length, data) = key.split_first_chunk::<4>()?;
        Some(Self { length: u32::from_le_bytes(*length), data })
    }

    fn is_valid(self) -> bool {
        self.length as usize <= self.data.len() * 8
    }

    /// On which side of a node of this length it is.
    fn side_at(self, length: u32) -> Side {
        let byte = self.data.get(length as usize / 8).copied().unwrap_or(0);
        if byte >> (7 - length % 8) & 1 == 0 { Side::Zero } else { Side::One }
    }
}

/// Something in the trie that links to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Root,
    Child(NodeId, Side),
}

/// Where a prefix is, or would be.
#[derive(Clone, Copy, Debug)]
struct Found {
    slot: Slot,
    /// The slot of the node that `slot` is in.
    above: Option<Slot>,
    /// How many bits the node in `slot` has in common with the prefix.
    common: u32,
    /// Whether there is an entry of exactly this prefix.
    is_exact: bool,
}

impl LpmTrie {
    /// An empty trie.
    pub(crate) fn new(shape: MapShape, world: &World) -> Result<Self, MapError> {
        let nodes = Nodes::new(&shape)?;
        Ok(Self {
            core: MapCore::new(shape),
            nodes,
            root: AtomicU32::new(0),
            writer: Mutex::default(),
            free: Arc::default(),
            cpus: world.cpus().clone(),
        })
    }

    fn get(&self, slot: Slot) -> NodeId {
        match slot {
            Slot::Root => self.root.load(Ordering::Acquire),
            Slot::Child(node, side) => self.nodes.child(node, side),
        }
    }

    fn set(&self, slot: Slot, node: NodeId) {
        match slot {
            Slot::Root => self.root.store(node, Ordering::Release),
            Slot::Child(parent, side) => self.nodes.set_child(parent, side, node),
        }
    }

    /// How many bits a node's prefix and this one have in common.
    fn common(&self, node: NodeId, prefix: Prefix<'_>) -> u32 {
        let most = self.nodes.length(node).min(prefix.length);
        let mut bits = 0;
        for (word, chunk) in self.nodes.data(node).words().iter().zip(prefix.data.chunks(WORD)) {
            let differing = word.load(Ordering::Relaxed) ^ crate::bytes::word_of(chunk);
            // Data is in the network's order: its first bit is the highest of the first byte.
            bits += differing.swap_bytes().leading_zeros();
            if differing != 0 {
                break;
            }
        }
        bits.min(most)
    }

    /// The node of the longest prefix of this one.
    fn find(&self, prefix: Prefix<'_>) -> Option<NodeId> {
        if prefix.data.len() <= WORD {
            return self.find_in_words(prefix);
        }
        let mut best = None;
        let mut node = self.get(Slot::Root);
        while node != 0 {
            let length = self.nodes.length(node);
            if self.common(node, prefix) < length {
                break;
            }
            if !self.nodes.is_inner(node) {
                best = Some(node);
            }
            if length >= prefix.length {
                break;
            }
            node = self.nodes.child(node, prefix.side_at(length));
        }
        best
    }

    /// As [`find`](Self::find), if the data of a prefix is a word, as the addresses of IPv4 are.
    fn find_in_words(&self, prefix: Prefix<'_>) -> Option<NodeId> {
        let key = crate::bytes::word_of(prefix.data).swap_bytes();
        let mut best = None;
        let mut node = self.get(Slot::Root);
        while node != 0 {
            let [head, children, data, ..] = self.nodes.node(node) else { break };
            let head = head.load(Ordering::Relaxed);
            let length = (head & LOW) as u32;
            let common = (data.load(Ordering::Relaxed).swap_bytes() ^ key).leading_zeros();
            if length > prefix.length || common < length {
                break;
            }
            if head & INNER == 0 {
                best = Some(node);
            }
            if length == prefix.length {
                break;
            }
            let side = key >> (63 - length) & 1;
            node = (children.load(Ordering::Acquire) >> (32 * side) & LOW) as u32;
        }
        best
    }

    /// Goes down to where this prefix is or would be, and tells `pass` the slots on the way, its own
    /// the last. The lock is held.
    fn descend(&self, prefix: Prefix<'_>, mut pass: impl FnMut(Slot)) -> Found {
        let mut found = Found { slot: Slot::Root, above: None, common: 0, is_exact: false };
        loop {
            pass(found.slot);
            let node = self.get(found.slot);
            if node == 0 {
                found.common = 0;
                return found;
            }
            found.common = self.common(node, prefix);
            let length = self.nodes.length(node);
            if found.common != length || length == prefix.length {
                let is_as_long = found.common == prefix.length && length == prefix.length;
                found.is_exact = is_as_long && !self.nodes.is_inner(node);
                return found;
            }
            found.above = Some(found.slot);
            found.slot = Slot::Child(node, prefix.side_at(length));
        }
    }

    fn take_node(&self) -> Result<NodeId, MapError> {
        if let Some(node) = hold(&self.free).pop_front() {
            return Ok(node);
        }
        let next = |fresh| (fresh < self.nodes.count).then_some(fresh + 1);
        let fresh = self.nodes.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let bytes = self.nodes.words.len() as u64 * WORD as u64;
        fresh.map(|fresh| fresh + 1).map_err(|_| MapError::NoMemory { bytes })
    }

    /// Frees a node that is out of the trie, once no program stands on it.
    fn free_node(&self, writer: &mut Writer, node: NodeId) {
        writer.retired.push(node);
        if writer.retired.len() >= TOGETHER {
            let retired = std::mem::take(&mut writer.retired);
            let free = Arc::clone(&self.free);
            self.cpus.defer(move || hold(&free).extend(retired));
        }
    }

    fn prefix<'a>(&self, key: &'a [u8]) -> Result<Prefix<'a>, MapError> {
        let expected = self.shape().key_len();
        if key.len() != expected {
            return Err(MapError::KeyLength { length: key.len(), expected });
        }
        Prefix::of(key)
            .filter(|prefix| prefix.is_valid())
            .ok_or(MapError::PrefixLength { bits: self.nodes.data_len * 8 })
    }

    /// Puts a new node into the trie, in the slot where the descent ended.
    fn insert(
        &self,
        writer: &mut Writer,
        found: Found,
        prefix: Prefix<'_>,
        new: NodeId,
    ) -> Result<(), MapError> {
        let Found { slot, common, .. } = found;
        let there = self.get(slot);
        if there == 0 {
            self.set(slot, new);
            return Ok(());
        }
        let length = self.nodes.length(there);
        let mut data = vec![0; self.nodes.data_len];
        self.nodes.data(there).copy_to(&mut data);
        let old = Prefix { length, data: &data };
        if common == length {
            // The same prefix: the new node takes the old one's place.
            for (side, child) in [Side::Zero, Side::One].into_iter().zip(self.nodes.children(there))
            {
                self.nodes.set_child(new, side, child);
            }
            self.set(slot, new);
            self.free_node(writer, there);
        } else if common == prefix.length {
            // Shorter than what is there, which becomes its child.
            self.nodes.set_child(new, old.side_at(common), there);
            self.set(slot, new);
        } else {
            // They part: an inner node stands for what they have in common.
            let inner = self.take_node().inspect_err(|_| self.free_node(writer, new))?;
            self.nodes.fill(inner, INNER, Prefix { length: common, data: prefix.data });
            let side = prefix.side_at(common);
            self.nodes.set_child(inner, side, new);
            self.nodes.set_child(inner, side.other(), there);
            self.set(slot, inner);
        }
        Ok(())
    }

    /// Takes the node that was found out of the trie.
    fn remove(&self, writer: &mut Writer, found: Found) {
        let node = self.get(found.slot);
        match self.nodes.children(node) {
            [0, 0] => {
                // Its parent, if inner, has only one child left and is of no more use.
                if let Slot::Child(parent, side) = found.slot
                    && self.nodes.is_inner(parent)
                    && let Some(above) = found.above
                {
                    self.set(above, self.nodes.child(parent, side.other()));
                    self.free_node(writer, parent);
                } else {
                    self.set(found.slot, 0);
                }
                self.free_node(writer, node);
            }
            [child, 0] | [0, child] => {
                self.set(found.slot, child);
                self.free_node(writer, node);
            }
            [_, _] => self.nodes.set_inner(node),
        }
    }

    /// The first node below this one in the order of keys: longer prefixes come first.
    fn leftmost(&self, mut node: NodeId) -> NodeId {
        loop {
            node = match self.nodes.children(node) {
                [0, 0] => return node,
                [0, child] | [child, _] => child,
            };
        }
    }

    /// The node after the one at the end of this way.
    fn successor(&self, way: &[Slot]) -> Option<NodeId> {
        way.iter().rev().find_map(|slot| match *slot {
            Slot::Root => None,
            Slot::Child(parent, Side::Zero) if self.nodes.child(parent, Side::One) != 0 => {
                Some(self.leftmost(self.nodes.child(parent, Side::One)))
            }
            Slot::Child(parent, _) => (!self.nodes.is_inner(parent)).then_some(parent),
        })
    }
}

impl Map for LpmTrie {
    fn core(&self) -> &MapCore {
        &self.core
    }

    fn lookup(&self, _: CpuId, key: &[u8]) -> Option<SharedBytes<'_>> {
        let prefix = self.prefix(key).ok()?;
        self.find(prefix).map(|node| self.nodes.value(node))
    }

    fn update(
        &self,
        _: CpuId,
        key: &[u8],
        value: &[u8],
        flags: UpdateFlags,
    ) -> Result<(), MapError> {
        let flags_are_known =
            flags.is_empty() || flags == UpdateFlags::EXIST || flags == UpdateFlags::NOEXIST;
        if !flags_are_known {
            return Err(MapError::OperationFlags(flags));
        }
        let prefix = self.prefix(key)?;
        let writer = &mut *hold(&self.writer);
        let found = self.descend(prefix, |_| ());
        let is_old = found.is_exact;
        if is_old && flags == UpdateFlags::NOEXIST {
            return Err(MapError::Exists);
        }
        if !is_old && flags == UpdateFlags::EXIST {
            return Err(MapError::NotFound);
        }
        if !is_old && writer.count >= self.shape().max_entries {
            return Err(MapError::NoSpace);
        }
        let new = self.take_node()?;
        self.nodes.fill(new, 0, prefix);
        self.nodes.value(new).copy_from(value);
        self.insert(writer, found, prefix, new)?;
        writer.count += u32::from(!is_old);
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Result<(), MapError> {
        let prefix = self.prefix(key)?;
        let writer = &mut *hold(&self.writer);
        let found = self.descend(prefix, |_| ());
        if !found.is_exact {
            return Err(MapError::NotFound);
        }
        self.remove(writer, found);
        writer.count -= 1;
        Ok(())
    }

    fn read(&self, key: &[u8], out: &mut [u8], _: UpdateFlags) -> Result<(), MapError> {
        let prefix = self.prefix(key).map_err(|_| MapError::NotFound)?;
        // The host runs on no CPU, so nothing but the lock keeps nodes.
        let _guard = hold(&self.writer);
        let node = self.find(prefix).ok_or(MapError::NotFound)?;
        self.nodes.value(node).copy_to(out);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapError> {
        let _guard = hold(&self.writer);
        let root = self.get(Slot::Root);
        if root == 0 {
            return Err(MapError::NotFound);
        }
        let prefix = key.and_then(Prefix::of).filter(|prefix| prefix.is_valid());
        let mut way = Vec::new();
        let found = prefix.map(|prefix| self.descend(prefix, |slot| way.push(slot)));
        let node = if found.is_some_and(|found| found.is_exact) {
            self.successor(&way).ok_or(MapError::NotFound)?
        } else {
            self.leftmost(root)
        };
        let (length, data) = next.split_at_mut(4);
        length.copy_from_slice(&self.nodes.length(node).to_le_bytes());
        self.nodes.data(node).copy_to(data);
        Ok(())
    }

    fn batch_kinds(&self) -> BatchKinds {
        BatchKinds::LOOKUP | BatchKinds::UPDATE | BatchKinds::DELETE
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::thread;

    use bpf_abi::map::{MapFlags, MapSpec, MapType};

    use super::*;
    use crate::create;

    const NONE: UpdateFlags = UpdateFlags::empty();

    fn trie(max_entries: u32) -> (World, Arc<dyn Map>) {
        let world = World::with_cpus(2);
        let mut spec = MapSpec::new("t", MapType::LpmTrie, 8, 8, max_entries);
        spec.flags = MapFlags::NO_PREALLOC;
        let map = create(&spec, &world).unwrap();
        (world, map)
    }

    fn key(length: u32, addr: [u8; 4]) -> Vec<u8> {
        [length.to_le_bytes(), addr].concat()
    }

    fn found(map: &Arc<dyn Map>, addr: [u8; 4]) -> Option<u8> {
        map.lookup(CpuId(0), &key(32, addr)).map(|value| value.to_vec()[0])
    }

    #[test]
    fn the_longest_prefix_wins() {
        let (_, map) = trie(10);
        let entries =
            [(8, [10, 0, 0, 0]), (16, [10, 200, 0, 0]), (16, [10, 160, 0, 0]), (0, [0; 4])];
        for (value, (length, addr)) in (1_u8..).zip(entries) {
            map.update(CpuId(0), &key(length, addr), &[value; 8], NONE).unwrap();
        }
        assert_eq!(found(&map, [10, 1, 2, 3]), Some(1));
        assert_eq!(found(&map, [10, 200, 2, 3]), Some(2));
        assert_eq!(found(&map, [10, 160, 2, 3]), Some(3));
        assert_eq!(found(&map, [11, 0, 0, 0]), Some(4));
        map.delete(&key(8, [10, 0, 0, 0])).unwrap();
        assert_eq!(found(&map, [10, 1, 2, 3]), Some(4));
        assert_eq!(found(&map, [10, 160, 2, 3]), Some(3));
    }

    #[test]
    fn longer_prefixes_are_listed_before_those_they_lie_in() {
        let (_, map) = trie(10);
        for (length, addr) in [(8, [10, 0, 0, 0]), (24, [10, 1, 1, 0]), (9, [10, 128, 0, 0])] {
            map.update(CpuId(0), &key(length, addr), &[1; 8], NONE).unwrap();
        }
        let entries = map.host().entries().unwrap();
        let keys: Vec<_> = entries.into_iter().map(|(key, _)| key).collect();
        let wanted = [key(24, [10, 1, 1, 0]), key(9, [10, 128, 0, 0]), key(8, [10, 0, 0, 0])];
        assert_eq!(keys, wanted);
    }

    #[test]
    fn a_prefix_longer_than_the_data_is_refused() {
        let (_, map) = trie(10);
        let error = map.update(CpuId(0), &key(33, [0; 4]), &[1; 8], NONE).unwrap_err();
        assert_eq!(error.errno(), bpf_abi::Errno::EINVAL);
        assert!(map.lookup(CpuId(0), &key(33, [0; 4])).is_none());
        assert_eq!(map.host().lookup(&key(33, [0; 4]), NONE), Err(MapError::NotFound));
    }

    /// What the trie is to say, found by trying all prefixes.
    fn longest(plain: &BTreeMap<(u32, u32), u8>, addr: u32) -> Option<u8> {
        (0..=32).rev().find_map(|length| plain.get(&(length, mask(addr, length))).copied())
    }

    fn mask(addr: u32, length: u32) -> u32 {
        addr & u32::MAX.checked_shl(32 - length).unwrap_or(0)
    }

    #[test]
    fn it_finds_what_trying_all_prefixes_finds() {
        let (_, map) = trie(60);
        let mut plain = BTreeMap::new();
        let mut random = 7_u32;
        for step in 0..if cfg!(miri) { 100 } else { 6000_u32 } {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = (random >> 27) % 33;
            let addr = mask((random & 0x7).wrapping_mul(0x2491_4924), length);
            let bytes = key(length, addr.to_be_bytes());
            let value = (step % 251) as u8;
            if random >> 20 & 3 == 0 {
                let removed = plain.remove(&(length, addr)).is_some();
                assert_eq!(map.delete(&bytes).is_ok(), removed);
            } else {
                let fits = plain.len() < 60 || plain.contains_key(&(length, addr));
                let result = map.update(CpuId(0), &bytes, &[value; 8], NONE);
                assert_eq!(result, if fits { Ok(()) } else { Err(MapError::NoSpace) });
                if fits {
                    plain.insert((length, addr), value);
                }
            }
            let addr = (random >> 8 & 0xf).wrapping_mul(0x2491_4924);
            assert_eq!(found(&map, addr.to_be_bytes()), longest(&plain, addr));
            assert_eq!(map.host().entries().unwrap().len(), plain.len());
        }
    }

    #[test]
    fn programs_walk_while_others_write() {
        let (world, map) = trie(64);
        map.update(CpuId(0), &key(8, [10, 0, 0, 0]), &[1; 8], NONE).unwrap();
        let each = if cfg!(miri) { 30 } else { 3000_u32 };
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..each {
                    let below = key(24, [10, (n % 7) as u8, (n % 5) as u8, 0]);
                    let _ = map.update(CpuId(0), &below, &[2; 8], NONE);
                    let _ = map.delete(&key(24, [10, (n % 5) as u8, (n % 3) as u8, 0]));
                }
            });
            scope.spawn(|| {
                for n in 0..each {
                    let here = world.cpus().enter();
                    let addr = key(32, [10, (n % 7) as u8, (n % 5) as u8, 9]);
                    let value = map.lookup(here.cpu(), &addr).unwrap().to_vec();
                    assert!(value == [1; 8] || value == [2; 8], "{value:?}");
                }
            });
        });
    }
}
