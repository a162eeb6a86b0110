#![doc = include_str!("../README.md")]

mod memory;
mod plain;
mod data;
mod error;
mod runtime;
mod engine;
mod background;
mod packet;
mod env;
mod locks;
mod timers;
mod network;
mod enter;
pub mod helpers;
mod owned;
mod objects;
mod host;
mod load;
mod collection;
mod globals;
mod view;
mod run;
mod attach;
mod own;

pub use attach::Hook;
pub use background::CompilerHold;
pub use bpf_jit::{CacheError, CacheStats, CodeCache};
pub use collection::{Object, OpenObject, OpenProgram, ProgramSpecExt};
pub use data::Data;
pub use engine::{EngineChoice, EngineError, JitMode};
pub use error::{Error, LoadError, Place, Rejected};
pub use network::{Idle, Network, Route, RouteAnswer, RouteQuestion};
pub use objects::link::{Link, LinkInfo};
pub use objects::map::{Entry, Map, MapInfo, RawEntry};
pub use objects::program::{Counters, Program, ProgramInfo, Tag};
pub use own::{
    Bytes, Caller, FIRST_HELPER, HostArg, HostHelper, HostRet, OwnProgram, ProgramType, TypeBuilder,
};
pub use packet::Redirect;
pub use plain::{Plain, PlainField, align_up};
pub use run::{Packet, Runner, TestRun, TestRunOutput};
pub use runtime::{Builder, Clock, KernelBtf, ManualClock, Runtime};
pub use timers::TimerMode;
pub use view::{Array, Hash, PerCpuArray, PerCpuHash, PerfEvents, ProgArray, RingBuffer};
