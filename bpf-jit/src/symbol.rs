//! What code has addresses of: known only when it is put in its place.
//!
//! Code is made of a program and of what is the same whenever the program is loaded. The addresses
//! of maps, of counters and of the host's functions are not: code names them, and has room for
//! them, and they are filled in each time it is put in place.

use std::sync::atomic::AtomicU64;

use bpf_abi::exec::{Inline, ProgCounters};
use bpf_abi::image::{BoundHelper, Image};
use bpf_abi::map::MapLayout;
use cranelift_codegen::ir::UserExternalName;

use crate::lower;

/// Something that code has the address of. Maps and helpers are numbered as in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbol {
    /// A map's handle: what a register that holds the map holds.
    Map(u16),
    /// The only value of a map whose value programs address directly.
    MapValue(u16),
    /// The first value of an array; of an array with values for each CPU, the first CPU's.
    MapValues(u16),
    /// The slots of a program array that compiled code jumps through.
    ProgSlots(u16),
    /// The program's [`ProgCounters`].
    Counters,
    /// A helper's code, for calls that it is too far away for.
    Helper(u32),
    /// The function that looks at addresses that may be stale.
    Look,
    /// The buckets of a hash table.
    HashBuckets(u16),
    /// The elements of a hash table.
    HashElements(u16),
    /// What the first words of a hash table's keys are mixed with: a number.
    HashSeed(u16),
    /// What the second words are mixed with: a number.
    HashFactor(u16),
    /// The marks of use of a hash table.
    HashMarks(u16),
    /// The first value of a hash table that has values for each CPU, the first CPU's.
    HashValues(u16),
    /// The states of the rows of numbers that look random, the first CPU's.
    RandomStates,
    /// Where the address of a function's code is, once it was compiled apart.
    Apart(u32),
}

/// The first namespace of symbols, in the order of their declaration.
const FIRST: u32 = 3;

impl Symbol {
    /// As Cranelift knows it.
    pub(crate) const fn external(self) -> UserExternalName {
        let (number, index) = match self {
            Self::Map(map) => (0, map as u32),
            Self::MapValue(map) => (1, map as u32),
            Self::MapValues(map) => (2, map as u32),
            Self::ProgSlots(map) => (3, map as u32),
            Self::Counters => (4, 0),
            Self::Helper(helper) => (5, helper),
            Self::Look => (6, 0),
            Self::HashBuckets(map) => (7, map as u32),
            Self::HashElements(map) => (8, map as u32),
            Self::HashSeed(map) => (9, map as u32),
            Self::HashFactor(map) => (10, map as u32),
            Self::HashMarks(map) => (11, map as u32),
            Self::HashValues(map) => (12, map as u32),
            Self::RandomStates => (13, 0),
            Self::Apart(function) => (14, function),
        };
        UserExternalName { namespace: FIRST + number, index }
    }

    /// What Cranelift's name stands for; `None` if it is none of these.
    pub(crate) fn of(name: &UserExternalName) -> Option<Self> {
        let map = || u16::try_from(name.index).ok();
        match name.namespace.checked_sub(FIRST)? {
            0 => map().map(Self::Map),
            1 => map().map(Self::MapValue),
            2 => map().map(Self::MapValues),
            3 => map().map(Self::ProgSlots),
            4 => Some(Self::Counters),
            5 => Some(Self::Helper(name.index)),
            6 => Some(Self::Look),
            7 => map().map(Self::HashBuckets),
            8 => map().map(Self::HashElements),
            9 => map().map(Self::HashSeed),
            10 => map().map(Self::HashFactor),
            11 => map().map(Self::HashMarks),
            12 => map().map(Self::HashValues),
            13 => Some(Self::RandomStates),
            14 => Some(Self::Apart(name.index)),
            _ => None,
        }
    }

    /// The address, for a program of this image that counts here and looks there for functions that
    /// were compiled apart; `None` if there is no such thing.
    pub(crate) fn resolve(
        self,
        image: &Image,
        counters: Option<&ProgCounters>,
        apart: &[AtomicU64],
    ) -> Option<u64> {
        let map = |number: u16| image.maps.get(usize::from(number));
        let hash = |number: u16| match map(number)?.layout {
            MapLayout::Hash(hash) => Some(hash),
            MapLayout::Opaque
            | MapLayout::Array { .. }
            | MapLayout::PercpuArray { .. }
            | MapLayout::ProgArray { .. } => None,
        };
        match self {
            Self::Map(number) => Some(map(number)?.handle),
            Self::MapValue(number) => map(number)?.value,
            Self::MapValues(number) => match map(number)?.layout {
                MapLayout::Array { values, .. } | MapLayout::PercpuArray { values, .. } => {
                    Some(values)
                }
                MapLayout::Opaque | MapLayout::Hash(_) | MapLayout::ProgArray { .. } => None,
            },
            Self::ProgSlots(number) => match map(number)?.layout {
                MapLayout::ProgArray { native, .. } => Some(native),
                MapLayout::Opaque
                | MapLayout::Array { .. }
                | MapLayout::PercpuArray { .. }
                | MapLayout::Hash(_) => None,
            },
            Self::HashBuckets(number) => Some(hash(number)?.buckets),
            Self::HashElements(number) => Some(hash(number)?.elements),
            Self::HashSeed(number) => Some(hash(number)?.seed),
            Self::HashFactor(number) => Some(hash(number)?.factor),
            Self::HashMarks(number) => hash(number)?.used,
            Self::HashValues(number) => Some(hash(number)?.percpu?.values),
            Self::RandomStates => {
                let states =
                    |helper: &BoundHelper| helper.inline.map(|Inline::Random(rows)| rows.states);
                image.helpers.iter().find_map(states)
            }
            Self::Counters => {
                counters.map(|counters| std::ptr::from_ref(counters).expose_provenance() as u64)
            }
            Self::Helper(number) => {
                let number = usize::try_from(number).ok()?;
                image.helpers.get(number).map(|helper| helper.entry as usize as u64)
            }
            Self::Look => {
                let look: extern "C" fn(u64, u64, u64) -> u64 = lower::stale::look;
                Some(look as usize as u64)
            }
            Self::Apart(function) => {
                let cell = apart.get(usize::try_from(function).ok()?)?;
                Some(std::ptr::from_ref(cell).expose_provenance() as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbols_name_stands_for_it() {
        let symbols = [
            Symbol::Map(7),
            Symbol::MapValue(0),
            Symbol::MapValues(1),
            Symbol::ProgSlots(u16::MAX),
            Symbol::Counters,
            Symbol::Helper(9),
            Symbol::Look,
            Symbol::HashBuckets(3),
            Symbol::HashElements(3),
            Symbol::HashSeed(3),
            Symbol::HashFactor(3),
            Symbol::HashMarks(3),
            Symbol::HashValues(3),
            Symbol::RandomStates,
            Symbol::Apart(1 << 20),
        ];
        for symbol in symbols {
            assert_eq!(Symbol::of(&symbol.external()), Some(symbol));
        }
        assert_eq!(Symbol::of(&UserExternalName { namespace: FIRST - 1, index: 0 }), None);
        assert_eq!(Symbol::of(&UserExternalName { namespace: FIRST + 15, index: 0 }), None);
        assert_eq!(Symbol::of(&UserExternalName { namespace: FIRST, index: 1 << 16 }), None);
    }
}
