//! Stores of pieces that lie next to each other: one store.
//!
//! ```text
//! store8 x, p                       store32 x, p
//! store8 x >> 8, p+1
//! store8 x >> 16, p+2   becomes     x = load128 q
//! store8 x >> 24, p+3               store128 x, p
//! a = load64 q
//! store64 a, p
//! b = load64 q+8
//! store64 b, p+8
//! ```

use cranelift_codegen::cursor::{Cursor as _, FuncCursor};
use cranelift_codegen::ir::types::I8X16;
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder as _, Value};

use super::bytes::{Byte, Contents, maker};
use super::loads::Order;
use super::{Access, Base, Meeting, Uses, integer, stores};

/// Joins stores.
pub(super) fn join(func: &mut Function) {
    let has_two =
        |block| func.layout.block_insts(block).filter(|inst| stores(func, *inst)).nth(1).is_some();
    let blocks: Vec<Block> = func.layout.blocks().filter(|block| has_two(*block)).collect();
    if blocks.is_empty() {
        return;
    }
    let contents = Contents::of(func);
    let mut uses = Uses::of(func);
    for block in blocks {
        let insts: Vec<Inst> = func.layout.block_insts(block).collect();
        let runs = Runs::of(func, &contents, &insts);
        let order = Order::new(&insts);
        for run in runs {
            run.join(func, &mut uses, &order);
        }
    }
}

/// A store.
#[derive(Clone, Debug)]
struct Store {
    inst: Inst,
    access: Access,
    bytes: Vec<Byte>,
}

/// Stores that may all happen where the last of them does: relative to one base, none over
/// another, and nothing between them that may meet them.
#[derive(Debug, Default)]
struct Run(Vec<Store>);

/// The runs of a block.
#[derive(Debug, Default)]
struct Runs {
    open: Vec<Run>,
    done: Vec<Run>,
}

impl Runs {
    fn of(func: &Function, contents: &Contents, insts: &[Inst]) -> Vec<Run> {
        let mut runs = Self::default();
        for &inst in insts {
            match Meeting::of(func, inst) {
                Meeting::None => {}
                Meeting::Everything => runs.done.append(&mut runs.open),
                Meeting::Touches(_) => runs.meet(func, contents, inst),
            }
        }
        runs.done.append(&mut runs.open);
        runs.done.retain(|run| run.0.len() > 1);
        runs.done
    }

    fn meet(&mut self, func: &Function, contents: &Contents, inst: Inst) {
        let Some(access) = Access::of(func, inst) else { return };
        let bytes = stored(func, contents, inst, &access);
        let mut joined = false;
        for mut run in std::mem::take(&mut self.open) {
            let Some(Store { access: first, .. }) = run.0.first().cloned() else { continue };
            let (ours, theirs) = (access.region(func), first.region(func));
            let is_apart = ours.is_some() && theirs.is_some() && ours != theirs;
            let is_ordered = access.is_shared(func) && first.is_shared(func);
            let is_beside = access.base == first.base
                && ours == theirs
                && !run.0.iter().any(|store| store.access.overlaps(&access));
            if is_apart && !is_ordered {
                self.open.push(run);
            } else if !is_beside {
                self.done.push(run);
            } else if let Some(bytes) = &bytes {
                // What is shared is stored in the order of the program: up or down.
                if access.flags == first.flags && (!is_ordered || run.goes_on(&access)) {
                    run.0.push(Store { inst, access, bytes: bytes.clone() });
                    joined = true;
                    self.open.push(run);
                } else {
                    self.done.push(run);
                }
            } else if is_ordered {
                self.done.push(run);
            } else {
                self.open.push(run);
            }
        }
        if let Some(bytes) = bytes
            && !joined
        {
            self.open.push(Run(vec![Store { inst, access, bytes }]));
        }
    }
}

/// The bytes that `inst` stores; nothing if it is no store of bytes.
fn stored(func: &Function, contents: &Contents, inst: Inst, access: &Access) -> Option<Vec<Byte>> {
    if !stores(func, inst) {
        return None;
    }
    let value = func.dfg.inst_args(inst).first().copied()?;
    let bytes = contents.bytes(func, value)?;
    Some(bytes.get(..usize::from(access.len))?.to_vec())
}

/// How a joined value comes about.
#[derive(Clone, Debug)]
enum Source {
    /// It is this number.
    Number(i64),
    /// It is these bytes of a value, from this one on; in reverse, if so.
    Part { of: Value, at: u8, reversed: bool },
    /// It is what lies from there on, as these loads read it.
    Copy { from: i64, loads: Vec<(Inst, Access)> },
    /// It is sixteen zeros.
    Zeros,
}

impl Run {
    /// Whether a store goes on where the last one ended, or before the last one began.
    fn goes_on(&self, access: &Access) -> bool {
        self.0.last().is_some_and(|last| {
            let last = last.access;
            last.at + i64::from(last.len) == access.at
                || access.at + i64::from(access.len) == last.at
        })
    }

    fn join(mut self, func: &mut Function, uses: &mut Uses, order: &Order<'_>) {
        let places: Vec<Inst> = self.0.iter().map(|store| store.inst).collect();
        self.0.sort_by_key(|store| store.access.at);
        let mut rest = &self.0[..];
        while let Some((_, others)) = rest.split_first() {
            let joined = [16, 8, 4, 2].into_iter().find_map(|len| {
                let group = adjacent(rest, len)?;
                let source = Source::of(func, uses, order, group)?;
                store(func, uses, order, &places, group, source)?;
                Some(group.len())
            });
            rest = joined.map_or(others, |count| &rest[count..]);
        }
    }
}

/// The first of these stores that have `len` bytes together, without a gap.
fn adjacent(stores: &[Store], len: usize) -> Option<&[Store]> {
    let start = stores.first()?.access.at;
    let mut end = start;
    for (count, store) in stores.iter().enumerate() {
        if store.access.at != end {
            return None;
        }
        end += i64::from(store.access.len);
        if end - start == i64::try_from(len).ok()? {
            return (count > 0).then_some(&stores[..=count]);
        }
    }
    None
}

impl Source {
    /// How what these stores store is made at once, if that is less work.
    fn of(func: &Function, uses: &Uses, order: &Order<'_>, group: &[Store]) -> Option<Self> {
        let bytes: Vec<Byte> = group.iter().flat_map(|store| store.bytes.clone()).collect();
        if bytes.iter().all(|byte| *byte == Byte::Known(0)) && bytes.len() == 16 {
            return Some(Self::Zeros);
        }
        if let Some(source) = Self::copy(func, uses, order, group, &bytes) {
            return Some(source);
        }
        if bytes.len() > 8 {
            return None;
        }
        Self::number(group, &bytes).or_else(|| Self::part(&bytes))
    }

    fn number(group: &[Store], bytes: &[Byte]) -> Option<Self> {
        let mut number = [0; 8];
        for (to, byte) in number.iter_mut().zip(bytes) {
            let Byte::Known(known) = *byte else { return None };
            *to = known;
        }
        let number = i64::from_le_bytes(number);
        // A number of eight bytes is an instruction of its own, unless it is a small one.
        (bytes.len() < 8 || group.len() > 2 || i32::try_from(number).is_ok())
            .then_some(Self::Number(number))
    }

    fn part(bytes: &[Byte]) -> Option<Self> {
        let (Byte::Part { of, at }, Byte::Part { of: other, at: last }) =
            (*bytes.first()?, *bytes.last()?)
        else {
            return None;
        };
        let reversed = last < at;
        let count = u8::try_from(bytes.len()).ok()?;
        let is_run = of == other
            && (0..count).zip(bytes).all(|(n, byte)| {
                let at = if reversed { at.checked_sub(n) } else { at.checked_add(n) };
                at.is_some_and(|at| *byte == Byte::Part { of, at })
            });
        is_run.then_some(Self::Part { of, at: at.min(last), reversed })
    }

    /// What was just loaded from one place, all of it, and for nothing else.
    fn copy(
        func: &Function,
        uses: &Uses,
        order: &Order<'_>,
        group: &[Store],
        bytes: &[Byte],
    ) -> Option<Self> {
        let mut loads: Vec<(Inst, Access)> = Vec::new();
        let mut from = None;
        for (n, byte) in (0..).zip(bytes) {
            let Byte::Part { of, at } = *byte else { return None };
            let load = maker(func, of)?;
            let access = Access::of(func, load)?;
            let (_, first) = loads.first().copied().unwrap_or((load, access));
            let place = access.at.checked_add(i64::from(at))?;
            let from = *from.get_or_insert(place);
            // What is in the frame was just stored, piece by piece: the processor would wait until
            // all of it has reached memory.
            let fits = !matches!(access.base, Base::Frame(_))
                && !access.is_shared(func)
                && access.base == first.base
                && access.flags == first.flags
                && place.checked_sub(n) == Some(from);
            if !fits {
                return None;
            }
            if !loads.iter().any(|(known, _)| *known == load) {
                loads.push((load, access));
            }
        }
        let all: Vec<Inst> = group.iter().map(|store| store.inst).collect();
        let dying = uses.dying(func, &all);
        let is_all = loads.len() > 1 && loads.iter().all(|(load, _)| dying.contains(load));
        (is_all && order.meet(func, &loads).is_some()).then_some(Self::Copy { from: from?, loads })
    }
}

/// Stores what comes from `source` in the place of the last of `group`.
fn store(
    func: &mut Function,
    uses: &mut Uses,
    order: &Order<'_>,
    places: &[Inst],
    group: &[Store],
    source: Source,
) -> Option<()> {
    let first = group.first()?;
    let len: usize = group.iter().map(|store| usize::from(store.access.len)).sum();
    let last = *places.iter().rev().find(|inst| group.iter().any(|store| store.inst == **inst))?;
    let last = group.iter().find(|store| store.inst == last)?;
    let offset = last.access.offset_to(first.access.at)?;
    let all: Vec<Inst> = group.iter().map(|store| store.inst).collect();
    let value = match source {
        Source::Number(number) => {
            let mut cursor = at(func, last.inst);
            let ty = integer(len)?;
            let bits = ty.bits();
            let number = if bits < 64 { number & ((1 << bits) - 1) } else { number };
            cursor.ins().iconst(ty, number)
        }
        Source::Zeros => {
            let zeros = func.dfg.constants.insert(vec![0; 16].into());
            at(func, last.inst).ins().vconst(I8X16, zeros)
        }
        Source::Part { of, at: from, reversed } => {
            uses.0[func.dfg.resolve_aliases(of)] += 1;
            let full = func.dfg.value_type(of);
            let ty = integer(len)?;
            let mut cursor = at(func, last.inst);
            let mut value = of;
            if from > 0 {
                let by = cursor.ins().iconst(full, 8 * i64::from(from));
                value = cursor.ins().ushr(value, by);
            }
            if ty != full {
                value = cursor.ins().ireduce(ty, value);
            }
            if reversed { cursor.ins().bswap(value) } else { value }
        }
        Source::Copy { from, loads } => {
            let (place, load) = order.meet(func, &loads)?;
            let offset = load.offset_to(from)?;
            let ty = if len == 16 { I8X16 } else { integer(len)? };
            let mut cursor = FuncCursor::new(func).after_inst(place);
            let line = cursor.func.srcloc(place);
            cursor.set_srcloc(line);
            uses.0[cursor.func.dfg.resolve_aliases(load.address)] += 1;
            let flags = cursor.func.dfg.mem_flags[load.flags];
            cursor.ins().load(ty, flags, load.address, offset)
        }
    };
    let Access { address, flags, .. } = last.access;
    let flags = func.dfg.mem_flags[flags];
    at(func, last.inst).ins().store(flags, value, address, offset);
    uses.0[func.dfg.resolve_aliases(address)] += 1;
    uses.0[value] += 1;
    let dying = uses.dying(func, &all);
    uses.remove(func, &dying);
    Some(())
}

/// Where to put what comes right before `inst`, and belongs to it.
fn at(func: &mut Function, inst: Inst) -> FuncCursor<'_> {
    let line = func.srcloc(inst);
    FuncCursor::new(func).at_inst(inst).with_srcloc(line)
}
