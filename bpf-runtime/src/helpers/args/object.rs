//! Objects that programs allocate, their nodes, and what owns them.

use bpf_abi::helper::{ArgKind, ArgProto, RetKind, RetProto, TypeFlags};

use super::{Arg, Registers, Ret};
use crate::owned::memory::Words;

/// What the verifier measures objects by.
const DYNAMIC: Option<&str> = Some("(dynamic)");

/// Defines the ways in which objects are taken.
macro_rules! objects {
    ($( $(#[$meta:meta])* $Type:ident $kind:ident $flags:expr, $btf:expr; )+) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $Type<'a>(Words<'a>);

        impl<'a> Arg<'a> for $Type<'a> {
            const PROTO: ArgProto = ArgProto { kind: ArgKind::$kind, flags: $flags, size: 0, btf: $btf };

            unsafe fn read(registers: &mut Registers<'a>) -> Self {
                // SAFETY: [program-object] the verifier held the program to it.
                Self(unsafe { Words::new(registers.take()) })
            }
        }
    )+ };
}

objects! {
    /// An object.
    ObjectAt BtfId TypeFlags::empty(), DYNAMIC;
    /// A node in an object, or the list or tree that holds nodes.
    NodeAt BtfId TypeFlags::empty(), DYNAMIC;
    /// An object that the program gives away, or null.
    ObjectGiven BtfId TypeFlags::RELEASE.union(TypeFlags::MAYBE_NULL), DYNAMIC;
    /// A set of CPUs.
    MaskAt BtfId TypeFlags::empty(), DYNAMIC;
    /// An object that each CPU has its own of.
    PercpuAt PercpuBtfId TypeFlags::empty(), None;
    /// Where a pointer to an object is kept.
    PointerAt KptrXchgDest TypeFlags::empty(), None;
}

impl ObjectAt<'_> {
    /// Where it is.
    pub(crate) const fn address(self) -> u64 {
        self.0.address()
    }
}

impl<'a> MaskAt<'a> {
    /// Its words.
    pub(crate) const fn words(self) -> Words<'a> {
        self.0
    }
}

impl PercpuAt<'_> {
    /// Where that of the first CPU is.
    pub(crate) const fn address(self) -> u64 {
        self.0.address()
    }
}

impl ObjectGiven<'_> {
    /// Where it is; 0 for null.
    pub(crate) const fn address(self) -> u64 {
        self.0.address()
    }
}

impl<'a> NodeAt<'a> {
    /// Its words.
    pub(crate) const fn words(self) -> Words<'a> {
        self.0
    }
}

impl<'a> PointerAt<'a> {
    /// Its word.
    pub(crate) const fn words(self) -> Words<'a> {
        self.0
    }
}

/// The address of an object or of a node in one, or null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectOrNull(pub(crate) Option<u64>);

impl ObjectOrNull {
    /// The one at an address; 0 for none.
    pub(crate) fn at(address: u64) -> Self {
        Self((address != 0).then_some(address))
    }
}

impl Ret for ObjectOrNull {
    const PROTO: RetProto =
        RetProto { kind: RetKind::BtfId, flags: TypeFlags::MAYBE_NULL, btf: DYNAMIC };

    fn into_register(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

/// The address of one CPU's object, or null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnCpuOrNull(pub(crate) Option<u64>);

/// The address of this CPU's object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnThisCpu(pub(crate) u64);

impl Ret for OnCpuOrNull {
    const PROTO: RetProto = RetProto {
        kind: RetKind::MemOrBtfId,
        flags: TypeFlags::RDONLY.union(TypeFlags::MAYBE_NULL),
        btf: None,
    };

    fn into_register(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

impl Ret for OnThisCpu {
    const PROTO: RetProto =
        RetProto { kind: RetKind::MemOrBtfId, flags: TypeFlags::RDONLY, btf: None };

    fn into_register(self) -> u64 {
        self.0
    }
}
