//! All that the verifier may ask of the world.
//!
//! A host answers from what it has loaded; the verifier keeps nothing between two programs and
//! changes nothing. Answers must not change while a program is verified.

use std::any::Any;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bpf_abi::ctx::Context;
use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, Inline};
use bpf_abi::helper::HelperProto;
use bpf_abi::image::BoundMap;
use bpf_abi::map::{MapFlags, MapType};
use bpf_abi::spec::ProgramSpec;
use bpf_btf::{Btf, TypeId};

pub use crate::facts::{FunctionFacts, ProgKind, ProgramFacts};

/// The world, as a program about to be loaded finds it.
pub trait Host: Debug {
    /// The map that a program's file descriptor (an index, in a description) stands for.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such map, or the number is no map's.
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno>;

    /// The loaded program that a number stands for, as a program finds it that is to attach to it.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such program, or the number is no program's.
    fn program(&self, fd: i32) -> Result<Arc<ProgramFacts>, Errno> {
        let _ = fd;
        Err(Errno::EBADF)
    }

    /// Whether the program will be compiled. What the kernel's interpreter cannot do is refused if
    /// not, in the kernel's words: it can do less than the kernel's compiler.
    ///
    /// Linux: `jit_requested`.
    fn compiles(&self) -> bool {
        true
    }

    /// Up to eight bytes of the only value of a map that no one can change any more, as a
    /// little-endian number; `None` if they may change.
    fn constant(&self, map: &MapFacts, off: u32, size: u32) -> Option<u64>;

    /// What an accepted program's reference to this map becomes.
    fn bind_map(&self, map: &MapFacts) -> BoundMap;

    /// What programs of a type of the host's own are given and may return; `None` if the program is
    /// of no such type. Their type is [`ProgType::Unspec`](bpf_abi::prog::ProgType::Unspec).
    fn own_type(&self, program: &ProgramSpec) -> Option<OwnType> {
        let _ = program;
        None
    }

    /// The contract of a helper beyond those that Linux defines, for program types of an
    /// embedder; `None` if there is none.
    fn extra_helper(&self, program: &ProgramSpec, id: u32) -> Option<&'static HelperProto> {
        let _ = (program, id);
        None
    }

    /// The code of a helper; `None` if this host has none.
    fn helper_code(&self, proto: &'static HelperProto) -> Option<HelperFn>;

    /// What a helper's code does, if compiled code may do that itself.
    fn helper_inline(&self, proto: &'static HelperProto) -> Option<Inline> {
        let _ = proto;
        None
    }

    /// The code of a kernel function, as a helper whose number is
    /// [`FIRST_KFUNC`](bpf_abi::helper::FIRST_KFUNC) or a little more; `None` if this host has
    /// none. It must keep to what the kernel's types say of the function. Engines may do what the
    /// functions of an iterator over numbers do themselves, where the iterator is as in the kernel.
    fn kfunc_code(&self, name: &str) -> Option<(&'static HelperProto, HelperFn)> {
        let _ = name;
        None
    }

    /// A number by which the code of `bpf_timer_set_callback` and `bpf_wq_set_callback_impl` knows
    /// the program that is about to be loaded: it is given in the register behind their arguments.
    fn program_number(&self) -> u64 {
        0
    }

    /// A number by which the code of `bpf_obj_new_impl` knows the types of a program: it is given in
    /// R2, beside the type in R1.
    fn object_types(&self, btf: &Arc<Btf>) -> u64 {
        let _ = btf;
        0
    }

    /// The types of the kernel, where they are known.
    fn kernel_btf(&self) -> Option<&Arc<Btf>>;

    /// How many CPUs there can be: `bpf_get_smp_processor_id` returns less. If a host does not say,
    /// as many as the kernel has that messages and counts are compared with.
    ///
    /// Linux: `nr_cpu_ids`.
    fn cpus(&self) -> u32 {
        2
    }

    /// Whether a map may be used by this program besides what the map's type says: the owner
    /// of a program array.
    ///
    /// # Errors
    ///
    /// Returns an error if the map belongs to programs of another kind.
    fn check_map_owner(&self, map: &MapFacts, program: &ProgramSpec) -> Result<(), Errno>;
}

/// A program type of the host's own, as the verifier sees it.
#[derive(Clone, Debug)]
pub struct OwnType {
    /// What R1 points to when a program begins.
    pub context: &'static Context,
    /// What a program may return; `None` if anything.
    pub returns: Option<RangeInclusive<i32>>,
}

/// A map, as the verifier sees it.
#[derive(Clone, Debug)]
pub struct MapFacts {
    /// Which map it is: equal numbers are the same map.
    pub id: u32,
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
    /// A further number whose meaning the type knows.
    pub map_extra: u64,
    /// Whether the host has given up changing it.
    pub frozen: bool,
    /// The types of its keys and values, if they are known.
    pub btf: Option<Arc<Btf>>,
    /// The type of a key; 0 if it is not known.
    pub btf_key_type_id: TypeId,
    /// The type of a value; 0 if it is not known.
    pub btf_value_type_id: TypeId,
    /// What the maps inside look like, for maps of maps.
    pub inner: Option<Arc<Self>>,
    /// The host's own part.
    pub host: Option<Arc<dyn HostPart>>,
}

/// What a host keeps with its [`MapFacts`] for itself.
pub trait HostPart: Any + Debug + Send + Sync {}
