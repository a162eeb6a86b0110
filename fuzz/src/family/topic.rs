//! What a family is about besides what all are about.

use bpf_btf::{Btf, KindCode};

use super::Kind;
use crate::random::Random;

/// One more thing that the programs of a family do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Nothing more.
    None,
    /// Dynptrs of values, records and packets.
    Dynptrs,
    /// Loops over iterators.
    Iterators,
    /// Locks, and sections that nothing may interrupt.
    Sections,
    /// Objects that programs allocate: lists, trees, pointers in values.
    Objects,
    /// Exceptions.
    Exceptions,
    /// Functions that are called with memory, contexts and packets.
    Arguments,
    /// Parts of fields of the context, and sockets.
    Fields,
}

impl Topic {
    /// The topic of a family that is about this. Those that need kernel functions which this kernel
    /// has not are none.
    pub(super) fn of(seed: u64, kind: Kind, kernel: Option<&Btf>) -> Self {
        let mut random = Random::new(seed ^ 0x70_91c5);
        let topic = random.pick(&[
            Self::None,
            Self::None,
            Self::None,
            Self::Dynptrs,
            Self::Dynptrs,
            Self::Iterators,
            Self::Sections,
            Self::Objects,
            Self::Exceptions,
            Self::Arguments,
            Self::Arguments,
            Self::Fields,
        ]);
        let has = |name: &&str| {
            kernel.is_some_and(|btf| btf.by_name_kind(name, KindCode::Func).is_some())
        };
        // Locks and exceptions are not for every kind.
        let is_for_all = !matches!(topic, Self::Objects | Self::Exceptions);
        let is_possible =
            topic.functions(kind).iter().all(has) && (is_for_all || kind != Kind::SocketFilter);
        if is_possible { topic } else { Self::None }
    }

    /// The kernel functions that it needs.
    const fn functions(self, kind: Kind) -> &'static [&'static str] {
        match (self, kind) {
            (Self::None | Self::Arguments | Self::Fields, _) => &[],
            (Self::Dynptrs, Kind::Xdp) => &["bpf_dynptr_from_xdp", "bpf_dynptr_memset"],
            (Self::Dynptrs, _) => &["bpf_dynptr_from_skb", "bpf_dynptr_memset"],
            (Self::Iterators, _) => &["bpf_iter_num_new", "bpf_iter_bits_new"],
            (Self::Sections, _) => &["bpf_rcu_read_lock", "bpf_local_irq_save"],
            (Self::Objects, _) => &["bpf_obj_new_impl", "bpf_rbtree_add_impl"],
            (Self::Exceptions, _) => &["bpf_throw"],
        }
    }
}
