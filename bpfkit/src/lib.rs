#![doc = include_str!("../README.md")]

pub use bpf_runtime::plain;
pub use {
    bpf_abi as abi, bpf_btf as btf, bpf_interp as interp, bpf_isa as isa, bpf_jit as jit,
    bpf_maps as maps, bpf_object as object, bpf_runtime as runtime, bpf_trampoline as trampoline,
    bpf_verifier as verifier,
};

mod open;

pub use bpf_runtime::{
    Array, Builder, Bytes, CacheError, CacheStats, Caller, Clock, CodeCache, Data, EngineChoice,
    Entry, Error, Hash, Hook, JitMode, KernelBtf, Link, LinkInfo, LoadError, ManualClock, Map,
    MapInfo, Object, OpenObject, OpenProgram, OwnProgram, Packet, PerCpuArray, PerCpuHash,
    PerfEvents, Place, Plain, ProgArray, Program, ProgramInfo, ProgramType, Redirect, Rejected,
    RingBuffer, Runtime, TestRun, TestRunOutput, TimerMode,
};
pub use bpf_runtime::{Idle, Network, Route, RouteAnswer, RouteQuestion};
pub use open::{OpenElf, OpenError, btf_of, object_of, running_config};

/// What most users need, to be taken in whole: `use bpfkit::prelude::*;`.
pub mod prelude {
    pub use bpf_abi::id::{LinkId, MapId, ProgId};
    pub use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
    pub use bpf_abi::prog::{AttachType, ProgType};
    pub use bpf_abi::spec::{ObjectSpec, ProgramSpec};
    pub use bpf_runtime::{
        Array, Clock, CodeCache, Data, EngineChoice, Error, Hash, Hook, JitMode, KernelBtf, Link,
        LoadError, ManualClock, Map, Object, OpenObject, Packet, PerCpuArray, PerCpuHash, Plain,
        ProgArray, Program, ProgramSpecExt, Redirect, Runtime, TestRun, TestRunOutput, TimerMode,
    };

    pub use crate::{OpenElf, OpenError};

    /// The packet is dropped, and counted as a failure.
    pub const XDP_ABORTED: u32 = 0;
    /// The packet is dropped.
    pub const XDP_DROP: u32 = 1;
    /// The packet goes on.
    pub const XDP_PASS: u32 = 2;
    /// The packet goes back out of the interface that it came in at.
    pub const XDP_TX: u32 = 3;
    /// The packet goes elsewhere.
    pub const XDP_REDIRECT: u32 = 4;
}
