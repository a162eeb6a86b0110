//! What can go wrong with a map, said in one line, and the error number Linux has for it.

use bpf_abi::Errno;
use bpf_abi::map::{MapFlags, MapType, UpdateFlags};
use thiserror::Error;

/// Why a map was not made, or an operation on one not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MapError {
    /// There is no such type of map here.
    #[error("maps of type {0} are not supported")]
    UnsupportedType(MapType),

    /// The size of a key is not one that the type allows.
    #[error("a key of {size} bytes, but in a map of type {map_type} it must have {wanted}")]
    KeySize {
        /// The type.
        map_type: MapType,
        /// The size asked for, in bytes.
        size: u32,
        /// The sizes allowed, in words.
        wanted: &'static str,
        /// The error number: it depends on the type.
        errno: Errno,
    },

    /// The size of a value is not one that the type allows.
    #[error("a value of {size} bytes, but in a map of type {map_type} it must have {wanted}")]
    ValueSize {
        /// The type.
        map_type: MapType,
        /// The size asked for, in bytes.
        size: u32,
        /// The sizes allowed, in words.
        wanted: &'static str,
        /// The error number: it depends on the type and the size.
        errno: Errno,
    },

    /// The number of entries is not one that the type allows.
    #[error("{max_entries} entries, but a map of type {map_type} must have {wanted}")]
    MaxEntries {
        /// The type.
        map_type: MapType,
        /// The number asked for.
        max_entries: u32,
        /// The numbers allowed, in words.
        wanted: &'static str,
        /// The error number: it depends on the type.
        errno: Errno,
    },

    /// The type has no such flags, or not together, or cannot do without them.
    #[error("flags {flags:#x} are not possible for a map of type {map_type}")]
    CreateFlags {
        /// The type.
        map_type: MapType,
        /// All the flags asked for.
        flags: MapFlags,
        /// The error number: it depends on the flag.
        errno: Errno,
    },

    /// The further number means nothing to the type.
    #[error("map_extra {extra:#x} means nothing to a map of type {map_type}")]
    Extra {
        /// The type.
        map_type: MapType,
        /// The number.
        extra: u64,
    },

    /// The memory node does not exist.
    #[error("there is no memory node {0}")]
    NumaNode(u32),

    /// A map of maps was asked for, but the maps inside were not described.
    #[error("a map of type {0} needs a description of the maps inside")]
    NoInner(MapType),

    /// Maps of this type cannot be in other maps.
    #[error("a map of type {map_type} cannot be inside another map")]
    InnerType {
        /// The type of the inner map.
        map_type: MapType,
        /// The error number: it depends on the type.
        errno: Errno,
    },

    /// A map was to be put into a map of maps whose inner maps look otherwise.
    #[error("the inner map's {0} is not that of the inner maps described when the map was made")]
    InnerMismatch(&'static str),

    /// Values of this type cannot have a spin lock.
    #[error("the spin lock at byte {offset} does not lie in a value that may have one")]
    SpinLock {
        /// Where it was said to be.
        offset: u32,
    },

    /// There is not enough memory.
    #[error("no memory for a map of {bytes} bytes")]
    NoMemory {
        /// How much was asked for, saturated.
        bytes: u64,
    },

    /// A key of another length than the map's.
    #[error("a key of {length} bytes for a map whose keys have {expected}")]
    KeyLength {
        /// Its length, in bytes.
        length: usize,
        /// The map's.
        expected: usize,
    },

    /// A value of another length than the map's.
    #[error("a value of {length} bytes where the map takes {expected}")]
    ValueLength {
        /// Its length, in bytes.
        length: usize,
        /// The map's.
        expected: usize,
    },

    /// A prefix longer than the data it is of.
    #[error("a prefix of more than the {bits} bits that there are")]
    PrefixLength {
        /// How many bits there are.
        bits: usize,
    },

    /// The flags of an operation are not possible.
    #[error("flags {0:#x} are not possible here")]
    OperationFlags(UpdateFlags),

    /// There is no entry with this key, or nothing to take.
    #[error("no such entry")]
    NotFound,

    /// There already is an entry with this key.
    #[error("the entry exists already")]
    Exists,

    /// The map is full.
    #[error("the map is full")]
    Full,

    /// The map is full, and has another error number for it.
    #[error("the map has no space for another entry")]
    NoSpace,

    /// The index lies beyond the end.
    #[error("index {index} in a map of {max_entries} entries")]
    OutOfRange {
        /// The index.
        index: u32,
        /// How many entries there are.
        max_entries: u32,
    },

    /// Maps of this type do not have this operation.
    #[error("a map of type {map_type} cannot {operation}")]
    UnsupportedOperation {
        /// The type.
        map_type: MapType,
        /// The operation.
        operation: &'static str,
        /// The error number: it depends on the type and the operation.
        errno: Errno,
    },

    /// The host may not write to this map.
    #[error("the host may not write to this map")]
    HostMayNotWrite,

    /// The host may not read this map.
    #[error("the host may not read this map")]
    HostMayNotRead,

    /// The map was frozen: the host may not change it any more.
    #[error("the map is frozen")]
    Frozen,

    /// The programs in a program array must be of one kind.
    #[error("the program's {0} is not that of the other programs of this program array")]
    OtherOwner(&'static str),

    /// The program may not be in a program array now.
    #[error("program {id} may not be in a program array now")]
    ProgramRefused {
        /// The program.
        id: bpf_abi::id::ProgId,
        /// The error number that it gives.
        errno: Errno,
    },

    /// The record is not one that was reserved in this ring buffer.
    #[error("not a record of this ring buffer")]
    NotARecord,

    /// The ring buffer has no room for the record now.
    #[error("no room in the ring buffer")]
    NoRoom,
}

impl MapError {
    /// The error number `bpf(2)` returns for it, and helpers return negated.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::UnsupportedType(_) => Errno::ENOTSUPP,
            Self::KeySize { errno, .. }
            | Self::ValueSize { errno, .. }
            | Self::MaxEntries { errno, .. }
            | Self::CreateFlags { errno, .. }
            | Self::InnerType { errno, .. }
            | Self::UnsupportedOperation { errno, .. }
            | Self::ProgramRefused { errno, .. } => *errno,
            Self::Extra { .. }
            | Self::NumaNode(_)
            | Self::NoInner(_)
            | Self::InnerMismatch(_)
            | Self::SpinLock { .. }
            | Self::KeyLength { .. }
            | Self::ValueLength { .. }
            | Self::PrefixLength { .. }
            | Self::OperationFlags(_)
            | Self::OtherOwner(_)
            | Self::NotARecord => Errno::EINVAL,
            Self::NoMemory { .. } => Errno::ENOMEM,
            Self::NotFound => Errno::ENOENT,
            Self::Exists => Errno::EEXIST,
            Self::Full | Self::OutOfRange { .. } => Errno::E2BIG,
            Self::NoSpace => Errno::ENOSPC,
            Self::NoRoom => Errno::EAGAIN,
            Self::HostMayNotWrite | Self::HostMayNotRead | Self::Frozen => Errno::EPERM,
        }
    }
}
