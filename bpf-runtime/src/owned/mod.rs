//! Objects that programs allocate, and what owns them: a program while it runs, a list, a tree, a
//! pointer in a map's value or in another object.
//!
//! ```text
//!   address - 16      address - 8         address
//!  +-----------------+-------------------+----------------------
//!  | its type        | address ^ secret  | the object …
//!  +-----------------+-------------------+----------------------
//! ```
//!
//! An object that nobody owns any more is taken apart at once: what it owns goes too. Its memory
//! stays until every program that runs has ended, since one may look at it still.
//!
//! Linux: `bpf_obj_new_impl`, `__bpf_obj_drop_impl`, `bpf_obj_free_fields`.

pub(crate) mod list;
pub(crate) mod memory;
pub(crate) mod tree;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bpf_abi::id::MapId;
use bpf_btf::record::{FieldKind, NamedField, PointerField, Record};
use bpf_btf::{Btf, KindCode, TypeId};
use bpf_maps::{Cpus, SharedBytes, ValueFields};

use self::memory::{Block, Words};
use crate::runtime::Shared;
use crate::timers::Timers;

/// The largest object. Linux: what `bpf_global_ma` has, less its link.
const MOST: u32 = 4096 - 8;
/// How far the objects of CPUs are from each other: the size of the largest. Linux:
/// `BPF_GLOBAL_PERCPU_MA_MAX_SIZE`.
const PERCPU_STRIDE: u32 = 512;
/// How many dead objects wait until their memory is given back together.
const TOGETHER: usize = 64;

/// What is special in an object or in a map's value.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    size: u32,
    /// What it owns.
    owned: Vec<Owned>,
    /// Where lists and trees hold on to it: the place of the word that says which, and the node's.
    nodes: Vec<(u32, u32)>,
    /// Where its owners are counted.
    refcount: Option<u32>,
    /// The lock of its lists and trees.
    lock: Option<u32>,
    /// A lock that notices deadlocks, of the same.
    res_lock: Option<u32>,
    /// Timers and work items, and how long they are.
    later: Vec<(u32, u32)>,
    /// Pointers to what nobody owns.
    loose: Vec<u32>,
}

/// A field that owns objects, and where it is.
#[derive(Clone, Copy, Debug)]
enum Owned {
    /// A list, and where in its elements the nodes are.
    List(u32, u32),
    /// A tree, and where in its elements the nodes are.
    Tree(u32, u32),
    /// A pointer to one object.
    Pointer(u32),
}

impl Shape {
    /// What this record says, if programs can be given all of it here.
    fn of(record: &Record, size: u32) -> Option<Self> {
        let mut shape = Self { size, ..Self::default() };
        for field in record.fields() {
            let at = field.offset;
            match field.kind {
                FieldKind::Graph { root: NamedField::ListHead, node_offset, .. } => {
                    shape.owned.push(Owned::List(at, node_offset));
                }
                FieldKind::Graph { node_offset, .. } => {
                    shape.owned.push(Owned::Tree(at, node_offset));
                }
                FieldKind::Pointer {
                    owner: PointerField::Owned | PointerField::PerCpu, ..
                } => {
                    shape.owned.push(Owned::Pointer(at));
                }
                FieldKind::Pointer { owner: PointerField::Untrusted, .. } => shape.loose.push(at),
                FieldKind::Named(NamedField::ListNode) => {
                    shape.nodes.push((at + list::OWNER, at));
                }
                FieldKind::Named(NamedField::RbNode) => shape.nodes.push((at + tree::OWNER, at)),
                FieldKind::Named(NamedField::Refcount) => shape.refcount = Some(at),
                FieldKind::Named(NamedField::SpinLock) => shape.lock = Some(at),
                FieldKind::Named(NamedField::ResSpinLock) => shape.res_lock = Some(at),
                FieldKind::Named(NamedField::Timer | NamedField::Workqueue) => {
                    shape.later.push((at, field.size()));
                }
                FieldKind::Named(
                    NamedField::TaskWork | NamedField::ListHead | NamedField::RbRoot,
                )
                | FieldKind::Pointer { owner: PointerField::User, .. } => return None,
            }
        }
        Some(shape)
    }
}

/// The shapes of types, by the place of the program's types and the type; nothing for those that
/// programs cannot be given here.
type Shapes = HashMap<(u64, u32), Option<Arc<Shape>>>;

/// The objects of a runtime's programs.
pub(crate) struct Pool {
    cpus: Cpus,
    /// What tells the address of an object from others.
    secret: u64,
    /// The types that programs name, by the places that their code is given.
    types: RwLock<Vec<Arc<Btf>>>,
    /// The shapes of those that were allocated.
    shapes: RwLock<Shapes>,
    /// The shape of objects that each CPU has its own of.
    percpu: OnceLock<Arc<Shape>>,
    /// That of sets of CPUs.
    cpumask: OnceLock<Option<Arc<Shape>>>,
    last_cpu: AtomicU32,
    /// Memory of objects that nobody owns.
    dead: Mutex<Vec<Block>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(cpus: Cpus) -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        Self {
            cpus,
            secret: RandomState::new().hash_one(0),
            types: RwLock::default(),
            shapes: RwLock::default(),
            percpu: OnceLock::new(),
            cpumask: OnceLock::new(),
            last_cpu: AtomicU32::new(0),
            dead: Mutex::default(),
        }
    }

    /// The place of a program's types, for its code.
    pub(crate) fn place_of(&self, btf: &Arc<Btf>) -> u64 {
        let mut types = self.types.write().unwrap_or_else(PoisonError::into_inner);
        let known = types.iter().position(|known| Arc::ptr_eq(known, btf));
        known.unwrap_or_else(|| {
            types.push(Arc::clone(btf));
            types.len() - 1
        }) as u64
    }

    fn shape(&self, place: u64, id: u32) -> Option<Arc<Shape>> {
        let shapes = self.shapes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shapes.get(&(place, id)) {
            return known.clone();
        }
        drop(shapes);
        let types = self.types.read().unwrap_or_else(PoisonError::into_inner);
        let btf = Arc::clone(types.get(usize::try_from(place).ok()?)?);
        drop(types);
        let size = btf.size_of(TypeId(id))?;
        let record = btf.object_record(TypeId(id), size).ok();
        let shape = record.and_then(|record| Shape::of(&record, size)).map(Arc::new);
        let mut shapes = self.shapes.write().unwrap_or_else(PoisonError::into_inner);
        shapes.insert((place, id), shape.clone());
        shape
    }

    /// A new object of zeros, its only owner the program: where it is, if there can be one.
    pub(crate) fn allocate(&self, place: u64, id: u32) -> Option<u64> {
        self.allocate_as(&self.shape(place, id).filter(|shape| shape.size <= MOST)?)
    }

    /// A new object that each CPU has its own of: where that of the first is.
    pub(crate) fn allocate_percpu(&self, place: u64, id: u32) -> Option<u64> {
        self.shape(place, id).filter(|shape| shape.size <= PERCPU_STRIDE)?;
        let shape = self.percpu.get_or_init(|| {
            let size = PERCPU_STRIDE.saturating_mul(self.cpus.count() + 1);
            Arc::new(Shape { size, ..Shape::default() })
        });
        self.allocate_as(shape)
    }

    /// Where a CPU has its own of such an object. There is one for all CPUs that are none, since the
    /// verifier lets programs use what they get without a look, as Linux's does.
    pub(crate) fn on_cpu(&self, object: u64, cpu: u32) -> u64 {
        object + u64::from(cpu.min(self.cpus.count())) * u64::from(PERCPU_STRIDE)
    }

    /// A new set of CPUs, as the kernel with these types has them.
    pub(crate) fn allocate_cpumask(&self, kernel: &Btf) -> Option<u64> {
        let shape = self.cpumask.get_or_init(|| cpumask(kernel).map(Arc::new));
        self.allocate_as(shape.as_ref()?)
    }

    /// How many bits such a set has.
    pub(crate) fn cpumask_bits(&self) -> u32 {
        let shape = self.cpumask.get().and_then(Option::as_ref);
        shape.and_then(|shape| shape.refcount).map_or(0, |bytes| 8 * (bytes & !7))
    }

    /// The CPU that was taken last when it did not matter which.
    pub(crate) const fn last_cpu(&self) -> &AtomicU32 {
        &self.last_cpu
    }

    fn allocate_as(&self, shape: &Arc<Shape>) -> Option<u64> {
        self.tidy();
        let block = Block::new(shape, self.secret)?;
        let object = block.object();
        if let Some(at) = shape.refcount {
            object.half(at).store(1, std::sync::atomic::Ordering::Relaxed);
        }
        for (owner, node) in &shape.nodes {
            object.word(*owner).set(memory::free_node(*node));
        }
        Some(block.keep())
    }

    /// One more owner of an object, which counts them; nothing if it is none.
    pub(crate) fn acquire(&self, object: u64) -> Option<u64> {
        let (shape, words) = Block::find(object, self.secret)?;
        let count = words.half(shape.refcount?);
        let more = |count: u32| count.checked_add(1).filter(|more| *more > 1);
        let ordering = std::sync::atomic::Ordering::AcqRel;
        count.fetch_update(ordering, std::sync::atomic::Ordering::Relaxed, more).ok()?;
        Some(object)
    }

    /// An owner lets an object go.
    pub(crate) fn release(&self, object: u64) {
        let mut pending = vec![object];
        while let Some(object) = pending.pop() {
            let Some((shape, words)) = Block::find(object, self.secret) else { continue };
            if let Some(at) = shape.refcount
                && words.half(at).fetch_sub(1, std::sync::atomic::Ordering::AcqRel) != 1
            {
                continue;
            }
            take_owned(&shape, words, &mut pending);
            let Some(block) = Block::take(object, self.secret) else { continue };
            self.dead.lock().unwrap_or_else(PoisonError::into_inner).push(block);
        }
    }

    /// Gives the memory of dead objects back, once no program can look at it any more.
    fn tidy(&self) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() < TOGETHER {
            return;
        }
        let dead = std::mem::take(&mut *dead);
        self.cpus.defer(move || drop(dead));
    }
}

/// The shape of the kernel's sets of CPUs: bits, and behind them a count of owners.
fn cpumask(kernel: &Btf) -> Option<Shape> {
    let id = kernel.by_name_kind("bpf_cpumask", KindCode::Struct)?;
    let size = kernel.size_of(id)?;
    let mut members = kernel.get(id)?.composite()?.members();
    let usage = members.find(|member| kernel.name(member.name_off) == "usage")?;
    let refcount = usage.bit_offset / 8;
    (refcount + 4 <= size).then(|| Shape { size, refcount: Some(refcount), ..Shape::default() })
}

/// Takes what fields own out of them.
fn take_owned(shape: &Shape, words: Words<'_>, objects: &mut Vec<u64>) {
    for owned in &shape.owned {
        match *owned {
            Owned::List(at, node) => list::take_all(words.at(at), node, objects),
            Owned::Tree(at, node) => tree::take_all(words.at(at), node, objects),
            Owned::Pointer(at) => {
                let object = words.word(at).swap(0);
                if object != 0 {
                    objects.push(object);
                }
            }
        }
    }
}

/// What a map's values own, and what runs for them.
#[derive(Debug)]
pub(crate) struct OwnedByValues {
    shape: Shape,
    bits: Vec<u64>,
    pool: Arc<Pool>,
    timers: Arc<Timers>,
}

impl OwnedByValues {
    /// What this record says of values, if they own something, and all that they have is known here.
    pub(crate) fn of(record: &Record, size: u32, shared: &Shared) -> Option<Self> {
        let shape = Shape::of(record, size)?;
        let owned = shape.owned.iter().map(|owned| match *owned {
            Owned::List(at, _) | Owned::Tree(at, _) => (at, 16),
            Owned::Pointer(at) => (at, 8),
        });
        let loose = shape.loose.iter().map(|at| (*at, 8));
        let locks = shape.res_lock.iter().map(|at| (*at, 4));
        let fields: Vec<(u32, u32)> =
            owned.chain(shape.later.iter().copied()).chain(loose).chain(locks).collect();
        if fields.is_empty() {
            return None;
        }
        let mut bits = vec![0; (size as usize).div_ceil(8)];
        for byte in fields.into_iter().flat_map(|(at, len)| at as usize..(at + len) as usize) {
            *bits.get_mut(byte / 8)? |= 0xff << (8 * (byte % 8));
        }
        let (pool, timers) = (Arc::clone(&shared.objects), Arc::clone(&shared.timers));
        Some(Self { shape, bits, pool, timers })
    }
}

impl ValueFields for OwnedByValues {
    fn bits(&self) -> &[u64] {
        &self.bits
    }

    fn release(&self, value: SharedBytes<'_>) {
        for (at, _) in &self.shape.later {
            self.timers.forget(value.addr() + u64::from(*at));
        }
        let mut objects = Vec::new();
        let words = Words::of_value(value);
        let locks = [self.shape.lock, self.shape.res_lock];
        let [lock, res_lock] = locks.map(|at| at.map(|at| words.half(at)));
        if let Some(lock) = lock {
            crate::helpers::lock::acquire(lock);
        }
        if let Some(lock) = res_lock.filter(|_| !self.shape.owned.is_empty()) {
            crate::locks::acquire_for_host(lock);
        }
        take_owned(&self.shape, words, &mut objects);
        for lock in [lock, res_lock.filter(|_| !self.shape.owned.is_empty())].into_iter().flatten()
        {
            crate::helpers::lock::release(lock);
        }
        objects.into_iter().for_each(|object| self.pool.release(object));
    }

    fn host_gone(&self, map: MapId) {
        self.timers.forget_map(map);
    }
}
