//! What code is made of: all that the translation reads of a program, and nothing else.
//!
//! Code is kept and used again for every program of which it would have been made. So whatever
//! decides about a single instruction of it is in an [`Input`], all of which is hashed; and whatever
//! may differ between two loads of one program, above all addresses, is in none: see
//! [`Symbol`](crate::symbol::Symbol).

use bpf_abi::exec::Inline;
use bpf_abi::helper::RetKind;
use bpf_abi::image::{BoundHelper, BoundMap, Image, ImageSubprog, Note};
use bpf_abi::map::{HashLayout, MapLayout, PercpuValues};
use bpf_abi::prog::ProgType;
use bpf_isa::{Pc, Program};

use crate::code::Arena;
use crate::jit::SlotMode;
use crate::lower::Mode;

/// What code is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Input<'a> {
    /// The program's type.
    pub(crate) prog_type: ProgType,
    /// Its instructions.
    pub(crate) program: &'a Program,
    /// Its functions, if they are known.
    pub(crate) subprogs: Vec<Subprog>,
    /// The maps it uses.
    pub(crate) maps: Vec<Map>,
    /// The helpers it calls, in the order of their numbers.
    pub(crate) helpers: Vec<Helper>,
    /// What verification learnt.
    pub(crate) notes: &'a [Note],
    /// The function that is given the value of an exception, if there is one.
    pub(crate) exception_callback: Option<Pc>,
    /// What code does besides what the program says.
    pub(crate) mode: Mode,
    /// How entry slots are changed.
    pub(crate) slots: SlotMode,
    /// Whether functions may become part of others.
    pub(crate) inlines: bool,
}

/// A function: see [`ImageSubprog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subprog {
    /// Its first instruction.
    pub(crate) start: Pc,
    /// The instruction after its last.
    pub(crate) end: Pc,
    /// How many arguments it takes.
    pub(crate) arity: u8,
    /// How much of the stack it uses, in bytes.
    pub(crate) stack_depth: u16,
    /// Whether it, or a function it calls, takes tail calls.
    pub(crate) tail_calls: bool,
    /// Whether a helper calls it.
    pub(crate) is_callback: bool,
    /// Whether it is a global function.
    pub(crate) is_global: bool,
    /// Whether its type is known.
    pub(crate) has_type: bool,
}

/// A map: see [`BoundMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Map {
    /// The size of a key, in bytes.
    pub(crate) key_size: u32,
    /// Whether programs address its only value directly.
    pub(crate) has_value: bool,
    /// How its values lie.
    pub(crate) shape: Shape,
}

/// How a map's values lie: a [`MapLayout`] without its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Only the map itself knows.
    Opaque,
    /// Value `i` is `i * stride` bytes behind the first.
    Array {
        /// The distance of two values, in bytes.
        stride: u32,
        /// How many there are.
        max_entries: u32,
    },
    /// Value `i` of CPU `c` is `c * cpu_stride + i * stride` bytes behind the first.
    PercpuArray {
        /// The distance of two values of one CPU, in bytes.
        stride: u32,
        /// The distance of two CPUs' values, in bytes.
        cpu_stride: u64,
        /// How many values a CPU has.
        max_entries: u32,
        /// How many CPUs there are.
        cpus: u32,
    },
    /// Values are in elements of a hash table.
    Hash {
        /// The number of buckets less one.
        mask: u32,
        /// The distance of two elements, in bytes.
        stride: u32,
        /// Whether there are marks of use.
        marks: bool,
        /// How the values lie, if each CPU has its own.
        percpu: Option<Percpu>,
    },
    /// Slot `i` is `8 * i` bytes behind the first.
    ProgArray {
        /// How many slots there are.
        max_entries: u32,
    },
}

/// How values lie of which each CPU has its own: [`PercpuValues`] without the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Percpu {
    /// The distance of two values of one CPU, in bytes.
    pub(crate) stride: u32,
    /// The distance of two CPUs' values, in bytes.
    pub(crate) cpu_stride: u64,
}

/// A helper: see [`BoundHelper`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Helper {
    /// Its number.
    pub(crate) id: u32,
    /// How many of R1 to R5 it reads.
    pub(crate) registers: u8,
    /// What its result is.
    pub(crate) ret: RetKind,
    /// Whether it is in reach of a 32-bit displacement.
    pub(crate) is_near: bool,
    /// Which function of an iterator over numbers it is, if it is one.
    pub(crate) numbers: Option<Numbers>,
    /// Whether it returns the next number of a row that looks random.
    pub(crate) is_random: bool,
    /// What it calls a function again and again for, if it does.
    pub(crate) repeats: Option<Repeats>,
}

/// What a helper calls a function again and again for, which compiled code does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Repeats {
    /// For the numbers below R1: `bpf_loop`.
    Numbers,
    /// For the elements of a map: `bpf_for_each_map_elem`.
    Elements,
}

impl Repeats {
    /// The helper of this number and name.
    fn of(id: u32, name: &str) -> Option<Self> {
        match (id, name) {
            (181, "loop") => Some(Self::Numbers),
            (164, "for_each_map_elem") => Some(Self::Elements),
            _ => None,
        }
    }
}

/// A function of an iterator over numbers, which compiled code does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Numbers {
    /// `bpf_iter_num_new`.
    New,
    /// `bpf_iter_num_next`, whose result is the address of the iterator, or null.
    Next,
    /// `bpf_iter_num_destroy`.
    Destroy,
}

impl Numbers {
    /// The function of this name.
    fn of(name: &str) -> Option<Self> {
        match name {
            "bpf_iter_num_new" => Some(Self::New),
            "bpf_iter_num_next" => Some(Self::Next),
            "bpf_iter_num_destroy" => Some(Self::Destroy),
            _ => None,
        }
    }
}

impl<'a> Input<'a> {
    /// What code for `image` is made of.
    pub(crate) fn new(
        image: &'a Image,
        arena: &Arena,
        mode: Mode,
        slots: SlotMode,
        inlines: bool,
    ) -> Self {
        Self {
            prog_type: image.prog_type,
            program: &image.program,
            subprogs: image.subprogs.iter().map(Subprog::of).collect(),
            maps: image.maps.iter().map(Map::of).collect(),
            helpers: image.helpers.iter().map(|helper| Helper::of(helper, arena)).collect(),
            notes: &image.notes,
            exception_callback: image.exception_callback,
            mode,
            slots,
            inlines,
        }
    }

    /// The helper with this number and its place, if the program calls it.
    pub(crate) fn helper(&self, id: i32) -> Option<(usize, &Helper)> {
        let id = u32::try_from(id).ok()?;
        self.helpers.iter().enumerate().find(|(_, helper)| helper.id == id)
    }
}

impl Subprog {
    fn of(subprog: &ImageSubprog) -> Self {
        // All of it is named, so that nothing is forgotten.
        let ImageSubprog {
            name: _,
            start,
            end,
            arity,
            stack_depth,
            tail_calls,
            is_callback,
            is_global,
            btf_id,
        } = *subprog;
        let has_type = btf_id != 0;
        Self { start, end, arity, stack_depth, tail_calls, is_callback, is_global, has_type }
    }
}

impl Map {
    fn of(map: &BoundMap) -> Self {
        let BoundMap {
            name: _,
            map_type: _,
            handle: _,
            layout,
            value,
            key_size,
            value_size: _,
            keep: _,
        } = map;
        let shape = match *layout {
            MapLayout::Opaque => Shape::Opaque,
            MapLayout::Array { values: _, stride, max_entries } => {
                Shape::Array { stride, max_entries }
            }
            MapLayout::PercpuArray { values: _, stride, cpu_stride, max_entries, cpus } => {
                Shape::PercpuArray { stride, cpu_stride, max_entries, cpus }
            }
            MapLayout::Hash(HashLayout {
                buckets: _,
                mask,
                elements: _,
                stride,
                seed: _,
                factor: _,
                used,
                percpu,
            }) => {
                let of =
                    |PercpuValues { values: _, stride, cpu_stride }| Percpu { stride, cpu_stride };
                Shape::Hash { mask, stride, marks: used.is_some(), percpu: percpu.map(of) }
            }
            MapLayout::ProgArray { native: _, interp: _, max_entries } => {
                Shape::ProgArray { max_entries }
            }
        };
        Self { key_size: *key_size, has_value: value.is_some(), shape }
    }
}

impl Helper {
    fn of(helper: &BoundHelper, arena: &Arena) -> Self {
        let BoundHelper { proto, entry, inline } = *helper;
        Self {
            id: proto.id,
            registers: u8::try_from(proto.registers().min(5)).unwrap_or(5),
            ret: proto.ret.kind,
            is_near: arena.reaches(entry as usize as u64),
            numbers: Numbers::of(proto.name),
            is_random: matches!(inline, Some(Inline::Random(_))),
            repeats: Repeats::of(proto.id, proto.name),
        }
    }
}
