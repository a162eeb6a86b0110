//! Code that is kept in memory, up to a limit.

use std::collections::HashMap;
use std::sync::Arc;

use crate::key::Key;
use crate::unplaced::Unplaced;

/// Entries by their keys. What was not used for longest goes first.
#[derive(Debug)]
pub(crate) struct Memory {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    max_bytes: usize,
    /// How often something was used.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    code: Arc<Unplaced>,
    size: usize,
    used: u64,
}

impl Memory {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, max_bytes, now: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&mut self, key: &Key) -> Option<Arc<Unplaced>> {
        self.now += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.now;
        Some(Arc::clone(&entry.code))
    }

    /// Keeps an entry; returns whether there is room for it at all.
    pub(crate) fn put(&mut self, key: Key, code: Arc<Unplaced>) -> bool {
        let size = code.size() + size_of::<(Key, Entry)>();
        self.forget(&key);
        if size > self.max_bytes {
            return false;
        }
        while self.bytes + size > self.max_bytes {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            self.forget(&oldest);
        }
        self.now += 1;
        self.bytes += size;
        self.entries.insert(key, Entry { code, size, used: self.now });
        true
    }

    pub(crate) fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jit::SlotMode;
    use crate::unplaced::{Assembly, Part};

    fn code(bytes: usize) -> Arc<Unplaced> {
        let mut assembly = Assembly::new(SlotMode::Word, false);
        assembly.add(Part::Function(0), &vec![0x90; bytes], Vec::new());
        Arc::new(assembly.finish(vec![1], vec![false], true))
    }

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let each = code(1000).size() + size_of::<(Key, Entry)>();
        let mut memory = Memory::new(3 * each);
        for number in 0..3 {
            assert!(memory.put(key(number), code(1000)));
        }
        assert!(memory.get(&key(0)).is_some());
        assert!(memory.put(key(3), code(1000)));
        let kept = [0, 1, 2, 3].map(|number| memory.get(&key(number)).is_some());
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!((memory.len(), memory.bytes()), (3, 3 * each));
        // One that needs the room of two; one that is there already; one that is too large.
        assert!(memory.put(key(4), code(1900)));
        assert!(memory.put(key(4), code(1900)));
        assert_eq!(memory.len(), 2);
        assert!(!memory.put(key(5), code(4000)));
        assert!(memory.get(&key(4)).is_some());
    }
}
