//! Map types and what describes a map.

use bitflags::bitflags;

use crate::numbered::numbered;

numbered! {
    /// What kind of map it is. Linux: `enum bpf_map_type`.
    pub enum MapType {
        0 Unspec "unspec"
        1 Hash "hash"
        2 Array "array"
        3 ProgArray "prog_array"
        4 PerfEventArray "perf_event_array"
        5 PercpuHash "percpu_hash"
        6 PercpuArray "percpu_array"
        7 StackTrace "stack_trace"
        8 CgroupArray "cgroup_array"
        9 LruHash "lru_hash"
        10 LruPercpuHash "lru_percpu_hash"
        11 LpmTrie "lpm_trie"
        12 ArrayOfMaps "array_of_maps"
        13 HashOfMaps "hash_of_maps"
        14 Devmap "devmap"
        15 Sockmap "sockmap"
        16 Cpumap "cpumap"
        17 Xskmap "xskmap"
        18 Sockhash "sockhash"
        19 CgroupStorage "cgroup_storage"
        20 ReuseportSockarray "reuseport_sockarray"
        21 PercpuCgroupStorage "percpu_cgroup_storage"
        22 Queue "queue"
        23 Stack "stack"
        24 SkStorage "sk_storage"
        25 DevmapHash "devmap_hash"
        26 StructOps "struct_ops"
        27 Ringbuf "ringbuf"
        28 InodeStorage "inode_storage"
        29 TaskStorage "task_storage"
        30 BloomFilter "bloom_filter"
        31 UserRingbuf "user_ringbuf"
        32 CgrpStorage "cgrp_storage"
        33 Arena "arena"
    }
}

bitflags! {
    /// Flags of a map.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MapFlags: u32 {
        /// Elements are allocated when they are inserted. Linux: `BPF_F_NO_PREALLOC`.
        const NO_PREALLOC = 1 << 0;
        /// Linux: `BPF_F_NO_COMMON_LRU`.
        const NO_COMMON_LRU = 1 << 1;
        /// Linux: `BPF_F_NUMA_NODE`.
        const NUMA_NODE = 1 << 2;
        /// The host may not write. Linux: `BPF_F_RDONLY`.
        const RDONLY = 1 << 3;
        /// The host may not read. Linux: `BPF_F_WRONLY`.
        const WRONLY = 1 << 4;
        /// Linux: `BPF_F_STACK_BUILD_ID`.
        const STACK_BUILD_ID = 1 << 5;
        /// Linux: `BPF_F_ZERO_SEED`.
        const ZERO_SEED = 1 << 6;
        /// Programs may not write. Linux: `BPF_F_RDONLY_PROG`.
        const RDONLY_PROG = 1 << 7;
        /// Programs may not read. Linux: `BPF_F_WRONLY_PROG`.
        const WRONLY_PROG = 1 << 8;
        /// Linux: `BPF_F_CLONE`.
        const CLONE = 1 << 9;
        /// Linux: `BPF_F_MMAPABLE`.
        const MMAPABLE = 1 << 10;
        /// Linux: `BPF_F_PRESERVE_ELEMS`.
        const PRESERVE_ELEMS = 1 << 11;
        /// Inner maps may differ in `max_entries`. Linux: `BPF_F_INNER_MAP`.
        const INNER_MAP = 1 << 12;
        /// Linux: `BPF_F_LINK`.
        const LINK = 1 << 13;
        /// Linux: `BPF_F_VTYPE_BTF_OBJ_FD`.
        const VTYPE_BTF_OBJ_FD = 1 << 15;
        /// Linux: `BPF_F_TOKEN_FD`.
        const TOKEN_FD = 1 << 16;
        /// Linux: `BPF_F_SEGV_ON_FAULT`.
        const SEGV_ON_FAULT = 1 << 17;
        /// Linux: `BPF_F_NO_USER_CONV`.
        const NO_USER_CONV = 1 << 18;
        /// Bits that no kernel knows are kept, so that a map's making can refuse them.
        const _ = !0;
    }
}

bitflags! {
    /// Flags of an update or a lookup.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UpdateFlags: u64 {
        /// Only a new key. Linux: `BPF_NOEXIST`.
        const NOEXIST = 1;
        /// Only an old key. Linux: `BPF_EXIST`.
        const EXIST = 2;
        /// Under the value's spin lock. Linux: `BPF_F_LOCK`.
        const LOCK = 4;
        /// Bits that no kernel knows are kept, so that they can be refused.
        const _ = !0;
    }
}

/// A map, described: what `BPF_MAP_CREATE` is told, and what is put in before programs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// Its name.
    pub name: String,
    /// Its type.
    pub map_type: MapType,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
    /// How many entries it holds at most.
    pub max_entries: u32,
    /// Its flags.
    pub flags: MapFlags,
    /// The memory node it lies on; heeded with [`MapFlags::NUMA_NODE`].
    pub numa_node: u32,
    /// A further number whose meaning the type knows.
    pub map_extra: u64,
    /// The BTF type of a key in the object's BTF; 0 for none.
    pub btf_key_type_id: u32,
    /// The BTF type of a value in the object's BTF; 0 for none.
    pub btf_value_type_id: u32,
    /// What the maps inside look like, for maps of maps.
    pub inner: Option<Box<Self>>,
    /// What is in it at first, in the order in which it is put in.
    pub init: Vec<MapInit>,
    /// Whether the host may not change it once it is filled.
    pub frozen: bool,
    /// The path under which it asks to be pinned by name.
    pub pinning: Pinning,
}

impl MapSpec {
    /// A map of this type and these sizes; everything else empty.
    pub fn new(
        name: &str,
        map_type: MapType,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    ) -> Self {
        Self {
            name: name.to_owned(),
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: MapFlags::empty(),
            numa_node: 0,
            map_extra: 0,
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            inner: None,
            init: Vec::new(),
            frozen: false,
            pinning: Pinning::None,
        }
    }
}

/// An entry that a map begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInit {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: MapInitValue,
}

impl MapSpec {
    /// What the kernel calls a map of this name: what fits into its sixteen bytes with a zero.
    /// Linux: `BPF_OBJ_NAME_LEN`.
    pub fn kernel_name(name: &str) -> &str {
        const MOST: usize = 15;
        &name[..name.floor_char_boundary(MOST)]
    }
}

/// What an entry that a map begins with holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapInitValue {
    /// Bytes, as many as a value has.
    Bytes(Vec<u8>),
    /// A program of the object, by its function's name.
    Program(String),
    /// A map of the object, by its place among the object's maps.
    Map(usize),
}

/// Whether a map asks to be shared by name. Linux: `LIBBPF_PIN_BY_NAME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// It does not.
    #[default]
    None,
    /// It is shared under its name.
    ByName,
}

/// How a hash table lies, for code that looks at the first element of a key's bucket without a call.
///
/// ```text
///   a, b        the key as two words, padded with zeros
///   x           the halves of (a ^ seed) * (b ^ factor), which has 128 bits, each folded into the
///               other: low ^ high; of longer keys the next two words follow, x in place of seed
///   h           the low 32 bits of x ^ (x >> 32)
///   bucket      h & mask
///   its head    the word at buckets + 8 * bucket; the low half is a link
///   link l      if it is above 0, signed: element l - 1; otherwise the bucket is empty
///   element i   at elements + i * stride:
///               word 0      version (32) | hash (32)
///               word 2…     the key, padded with zeros to words, then the value, unless it is
///                           one a CPU: see percpu
///   its mark    bit i & 63 of the word at used + 8 * (i >> 6), if there are marks of use: what is
///               found and not marked is looked up by a call, which marks it
/// ```
///
/// An element may leave its bucket and be used again at any time. It has a key if word 0 has the
/// key's hash and an even version, and is the same after the key was read as before. If it has not,
/// nothing is known: others may follow in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLayout {
    /// The address of the buckets.
    pub buckets: u64,
    /// The number of buckets less one, which are a power of two.
    pub mask: u32,
    /// The address of the elements.
    pub elements: u64,
    /// The distance of two elements, in bytes.
    pub stride: u32,
    /// What the first word of a key is mixed with.
    pub seed: u64,
    /// What the second word of a key is mixed with.
    pub factor: u64,
    /// The address of the marks of use, in maps that make room for what is new.
    pub used: Option<u64>,
    /// Where the values are, in maps that have one a CPU.
    pub percpu: Option<PercpuValues>,
}

/// Values of which each CPU has its own: value `i` of CPU `c` is at
/// `values + c * cpu_stride + i * stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercpuValues {
    /// The address of the first value of the first CPU.
    pub values: u64,
    /// The distance of two values of one CPU, in bytes.
    pub stride: u32,
    /// The distance of two CPUs' values, in bytes.
    pub cpu_stride: u64,
}

impl HashLayout {
    /// The longest keys that are hashed so, in bytes.
    pub const LONGEST_KEY: u32 = 64;
    /// Where an element's key is, in bytes.
    pub const KEY: u32 = 16;
}

/// Where a map's values lie, for code that looks them up without a call.
///
/// All addresses are stable as long as the map lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapLayout {
    /// Only the map itself knows.
    Opaque,
    /// Value `i` is at `values + i * stride`.
    Array {
        /// The address of the first value.
        values: u64,
        /// The distance of two values, in bytes.
        stride: u32,
        /// How many there are.
        max_entries: u32,
    },
    /// Value `i` of CPU `c` is at `values + c * cpu_stride + i * stride`.
    PercpuArray {
        /// The address of the first value of the first CPU.
        values: u64,
        /// The distance of two values of one CPU, in bytes.
        stride: u32,
        /// The distance of two CPUs' values, in bytes.
        cpu_stride: u64,
        /// How many values a CPU has.
        max_entries: u32,
        /// How many CPUs there are.
        cpus: u32,
    },
    /// Values are in the elements of a hash table.
    Hash(HashLayout),
    /// Slot `i` is the word at `native + 8 * i` for compiled code. The interpreter reads the word at
    /// `interp + 8 * i` first, and that other one if this is 0; 0 in both is an empty slot.
    ProgArray {
        /// The address of the slots that compiled code jumps through.
        native: u64,
        /// The address of the slots that the interpreter goes through.
        interp: u64,
        /// How many slots there are.
        max_entries: u32,
    },
}
