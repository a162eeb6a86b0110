//! A program that someone vouches for.

use std::any::Any;
use std::sync::Arc;

use bitflags::bitflags;
use bpf_isa::{Pc, Program};

use crate::exec::{HelperFn, Inline};
use crate::helper::HelperProto;
use crate::map::{MapLayout, MapType};
use crate::prog::ProgType;

/// A program, ready to run: verified, rewritten and bound.
///
/// Engines take nothing else, so running a program is safe and building an `Image` is not.
///
/// In its instructions
/// - the map of an [`Imm64::MapFd`](bpf_isa::Imm64::MapFd) or `MapValue` is an index into
///   [`maps`](ImageParts::maps);
/// - a helper's number names one of [`helpers`](ImageParts::helpers); number 12 is a tail call;
/// - loads and stores of the context are those of the host's structure;
/// - 32-bit operations clear the upper half of their result.
#[derive(Debug)]
pub struct Image {
    parts: ImageParts,
}

/// What an [`Image`] is made of.
#[derive(Debug)]
pub struct ImageParts {
    /// The program's name.
    pub name: String,
    /// Its type.
    pub prog_type: ProgType,
    /// Its instructions: the main function first.
    pub program: Program,
    /// Its functions, in the order of their places.
    pub subprogs: Vec<ImageSubprog>,
    /// The maps it uses.
    pub maps: Vec<BoundMap>,
    /// The helpers it calls, in the order of their numbers.
    pub helpers: Vec<BoundHelper>,
    /// What verification learnt, one entry a slot.
    pub notes: Vec<Note>,
    /// Where the function begins that is given the value of an exception, if it has one.
    pub exception_callback: Option<Pc>,
    /// Which source line an instruction comes from, in the order of the instructions.
    pub lines: Vec<SourceLine>,
}

impl Image {
    /// Vouches for these parts.
    ///
    /// The verifier does this for programs it accepts, and is the one caller outside of tests.
    ///
    /// # Safety
    ///
    /// Run from its first instruction with the context its type promises, the program must
    /// touch only memory it may touch, call only with arguments the callee asks for, and
    /// come to an end. What `notes` and `subprogs` say must be true of every run.
    #[expect(unsafe_code, reason = "declares an obligation, does nothing unsafe")]
    pub const unsafe fn vouch(parts: ImageParts) -> Self {
        Self { parts }
    }

    /// What it is made of.
    pub const fn parts(&self) -> &ImageParts {
        &self.parts
    }
}

impl std::ops::Deref for Image {
    type Target = ImageParts;

    fn deref(&self) -> &ImageParts {
        &self.parts
    }
}

impl ImageParts {
    /// The helper with this number, if the program calls it.
    pub fn helper(&self, id: i32) -> Option<&BoundHelper> {
        let id = u32::try_from(id).ok()?;
        let at = self.helpers.binary_search_by_key(&id, |helper| helper.proto.id).ok()?;
        self.helpers.get(at)
    }
}

/// A function of an [`Image`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSubprog {
    /// Its name; empty if none is known.
    pub name: String,
    /// Its first instruction.
    pub start: Pc,
    /// The instruction after its last.
    pub end: Pc,
    /// How many of R1 to R5 it reads before it writes them, counted to the last of them; for a
    /// function whose type describes its code, as many as its prototype has, since its replacement
    /// and its probes may read what it ignores.
    pub arity: u8,
    /// How much of the stack it uses, in bytes, a multiple of 8.
    pub stack_depth: u16,
    /// Whether it, or a function it calls, takes tail calls.
    pub tail_calls: bool,
    /// Whether a helper calls it.
    pub is_callback: bool,
    /// Whether it is a global function: verified by its type alone, and replaceable.
    pub is_global: bool,
    /// Its BTF id in the program's BTF; 0 if none is known.
    pub btf_id: u32,
}

/// A map that an [`Image`] uses.
#[derive(Clone)]
pub struct BoundMap {
    /// Its name.
    pub name: String,
    /// Its type.
    pub map_type: MapType,
    /// What a register that holds the map holds: helpers know what it points to.
    pub handle: u64,
    /// Where its values lie, for code that looks them up without a call.
    pub layout: MapLayout,
    /// The address of its only value, for maps whose value programs address directly.
    pub value: Option<u64>,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
    /// Keeps the map alive as long as the program.
    pub keep: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for BoundMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundMap")
            .field("name", &self.name)
            .field("map_type", &self.map_type)
            .finish_non_exhaustive()
    }
}

/// A helper that an [`Image`] calls.
#[derive(Clone, Copy, Debug)]
pub struct BoundHelper {
    /// Its contract.
    pub proto: &'static HelperProto,
    /// Its code.
    pub entry: HelperFn,
    /// What it does, if compiled code may do that without a call.
    pub inline: Option<Inline>,
}

/// What verification learnt about one instruction, true of every path that reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Note {
    /// What a load, store or atomic touches.
    pub memory: MemoryClass,
    /// Which map the call is about: an index into [`maps`](ImageParts::maps).
    pub map: Option<u16>,
    /// The key, where the call's key is a known 32-bit number.
    pub key: Option<u32>,
    /// What else is known.
    pub facts: Facts,
}

/// What a load, store or atomic touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MemoryClass {
    /// Anything.
    #[default]
    Unknown,
    /// This function's stack, or a caller's.
    Stack,
    /// The context.
    Context,
    /// The packet.
    Packet,
    /// A map's value.
    MapValue,
}

bitflags! {
    /// What is known of an instruction.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Facts: u8 {
        /// The divisor is never zero.
        const NONZERO_DIVISOR = 1 << 0;
        /// The address may be stale: a fault must yield zero.
        const MAY_FAULT = 1 << 1;
        /// The memory is this function's own stack, at a constant offset from R10.
        const OWN_FRAME = 1 << 2;
    }
}

/// The source line of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The first instruction of the line.
    pub pc: Pc,
    /// The file.
    pub file: String,
    /// The line's number.
    pub line: u32,
    /// The line.
    pub text: String,
}
