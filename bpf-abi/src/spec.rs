//! Blueprints: what an object asks for, before anything exists.

use std::sync::Arc;

use bpf_isa::{Pc, Slot};

use crate::map::MapSpec;
use crate::prog::{AttachType, ProgFlags, ProgType};

/// An object: programs and the maps they share.
///
/// Equal bytes make equal descriptions.
#[derive(Clone, Debug, Default)]
pub struct ObjectSpec {
    /// The object's name: the file's, without its last ending.
    pub name: String,
    /// The licence, as in the `license` section.
    pub license: String,
    /// The kernel version, as in the `version` section.
    pub kern_version: u32,
    /// Its maps, in libbpf's order.
    pub maps: Vec<MapSpec>,
    /// Its programs, in libbpf's order.
    pub programs: Vec<ProgramSpec>,
    /// The types of the object, as they are handed to the kernel.
    pub btf: Option<Arc<bpf_btf::Btf>>,
    /// What was left aside when it was read, for people.
    pub notes: Vec<String>,
}

/// A program: what `BPF_PROG_LOAD` is told.
#[derive(Clone, Debug)]
pub struct ProgramSpec {
    /// Its name: the function's.
    pub name: String,
    /// The ELF section it comes from.
    pub section: String,
    /// Its type.
    pub prog_type: ProgType,
    /// The attach type expected at load. `None` is a number that Linux does not know.
    pub expected_attach_type: Option<AttachType>,
    /// What it attaches to, as its section names it.
    pub attach_to: Option<AttachTo>,
    /// The type that it attaches to, by its id in the BTF of [`attach_prog`](Self::attach_prog)
    /// or else of the kernel; 0 if none is named.
    pub attach_btf_id: u32,
    /// The program that it attaches to, as a number that the host gives out, like a map's.
    ///
    /// Linux: `attach_prog_fd`.
    pub attach_prog: Option<i32>,
    /// The flags of the load.
    pub flags: ProgFlags,
    /// The licence.
    pub license: String,
    /// Its instructions: the main function, then the functions it calls.
    pub insns: Vec<Slot>,
    /// What instructions refer to.
    pub references: Vec<Reference>,
    /// The types that `func_info` and `line_info` refer to.
    pub btf: Option<Arc<bpf_btf::Btf>>,
    /// Which function begins where; raw, as it is handed to the kernel.
    pub func_info: InfoBlob,
    /// Which line an instruction comes from; raw, as it is handed to the kernel.
    pub line_info: InfoBlob,
    /// Whether libbpf would load it with its object: not with `SEC("?…")`.
    pub autoload: bool,
}

impl ProgramSpec {
    /// A program of this type and these instructions; everything else empty.
    pub fn new(name: &str, prog_type: ProgType, insns: Vec<Slot>) -> Self {
        Self {
            name: name.to_owned(),
            section: String::new(),
            prog_type,
            expected_attach_type: AttachType::new(0),
            attach_to: None,
            attach_btf_id: 0,
            attach_prog: None,
            flags: ProgFlags::empty(),
            license: "GPL".to_owned(),
            insns,
            references: Vec::new(),
            btf: None,
            func_info: InfoBlob::default(),
            line_info: InfoBlob::default(),
            autoload: true,
        }
    }
}

/// Records of debug information, as they are handed to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InfoBlob {
    /// The size of a record, in bytes.
    pub rec_size: u32,
    /// The records.
    pub bytes: Vec<u8>,
}

/// What an instruction refers to.
///
/// Where a reference fixes an immediate, the instruction already has its final source
/// register and offset; only the number is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The instruction.
    pub at: Pc,
    /// What it refers to.
    pub to: ReferenceTo,
}

/// What an instruction can refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceTo {
    /// A map, by its place among the object's maps. In `insns` the immediate already is that
    /// place.
    Map(usize),
    /// A byte of the only value of a map, by its place among the object's maps. In `insns`
    /// the immediate already is that place, and the second slot's the offset.
    MapValue(usize),
    /// A kernel function, by name.
    Kfunc {
        /// Its name.
        name: String,
        /// Whether the program can do without.
        weak: bool,
    },
    /// A kernel variable or symbol, by name.
    Ksym {
        /// Its name.
        name: String,
        /// Whether the program can do without.
        weak: bool,
    },
}

/// What a program attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachTo {
    /// A kernel type or function by name: `tp_btf/NAME`, `fentry/NAME`, `iter/NAME`.
    Kernel(String),
    /// A function of another program, by name: `freplace/NAME`, and probes of programs.
    Function(String),
    /// A member of a kernel structure of functions.
    StructOps {
        /// The structure.
        name: String,
        /// The member.
        member: String,
    },
    /// Any other name: a tracepoint, a probe's place.
    Other(String),
}
