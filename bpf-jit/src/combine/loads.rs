//! Loads of single bytes that are put together to a number: one load.
//!
//! ```text
//! a = load8 p+1                     a = load16 p+1
//! b = load8 p+2         becomes     c = bswap16 a
//! c = a << 8 | b
//! ```

use std::collections::HashMap;

use cranelift_codegen::cursor::{Cursor as _, FuncCursor};
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder as _, Opcode, Value};

use super::bytes::{Byte, Bytes, Contents, maker};
use super::{Access, Base, Meeting, Uses, integer, stores};

/// How many loads one load must save.
const FEWEST: usize = 2;

/// Joins loads.
pub(super) fn join(func: &mut Function) {
    let contents = Contents::of(func);
    let mut uses = Uses::of(func);
    let blocks: Vec<Block> = func.layout.blocks().collect();
    for block in blocks {
        let insts: Vec<Inst> = func.layout.block_insts(block).collect();
        let order = Order::new(&insts);
        // What is put together last comes first: its parts are then gone.
        for &root in insts.iter().rev() {
            let is_sum =
                matches!(func.dfg.insts[root].opcode(), Opcode::Bor | Opcode::Bxor | Opcode::Iadd);
            if !is_sum || func.layout.inst_block(root).is_none() {
                continue;
            }
            let result = func.dfg.first_result(root);
            if let Some(bytes) = contents.bytes(func, result)
                && let Some(number) = Number::of(func, &order, &bytes)
            {
                number.load(func, &mut uses, root, result);
            }
        }
    }
}

/// The instructions of a block in their order.
pub(super) struct Order<'a> {
    insts: &'a [Inst],
    places: HashMap<Inst, usize>,
}

impl<'a> Order<'a> {
    pub(super) fn new(insts: &'a [Inst]) -> Self {
        let places = insts.iter().enumerate().map(|(place, inst)| (*inst, place)).collect();
        Self { insts, places }
    }

    /// The last of these loads, if they may all happen there.
    pub(super) fn meet(&self, func: &Function, loads: &[(Inst, Access)]) -> Option<(Inst, Access)> {
        let place = |load: &(Inst, Access)| self.places.get(&load.0).copied();
        let places: Option<Vec<usize>> = loads.iter().map(place).collect();
        let places = places?;
        let (first, last) = (places.iter().min().copied()?, places.iter().max().copied()?);
        let part = loads.first()?.1;
        let is_shared = part.is_shared(func);
        for at in first..last {
            let inst = self.insts[at];
            if places.contains(&at) || func.layout.inst_block(inst).is_none() {
                continue;
            }
            let is_fine = match Meeting::of(func, inst) {
                Meeting::None => true,
                Meeting::Everything => false,
                Meeting::Touches(region) => {
                    let apart = region.is_some()
                        && part.region(func).is_some()
                        && region != part.region(func);
                    let other = Access::of(func, inst);
                    let may_pass = !is_shared || other.is_some_and(|other| !other.is_shared(func));
                    may_pass && (apart || !stores(func, inst))
                }
            };
            if !is_fine {
                return None;
            }
        }
        let last = self.insts[last];
        loads.iter().find(|(inst, _)| *inst == last).copied()
    }
}

/// In which order bytes lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// The lowest first.
    Up,
    /// The highest first.
    Down,
}

/// A number that lies in memory.
struct Number {
    direction: Direction,
    /// How many bytes.
    len: usize,
    /// Which byte of the result its lowest is.
    shift: usize,
    /// Where it begins, counted from the base.
    start: i64,
    /// The load in whose place it is loaded.
    last: (Inst, Access),
}

impl Number {
    /// The number in memory that has these bytes and zeros, if there is one.
    fn of(func: &Function, order: &Order<'_>, bytes: &Bytes) -> Option<Self> {
        let is_part = |byte: &Byte| matches!(byte, Byte::Part { .. });
        let shift = bytes.iter().position(is_part)?;
        let len = bytes[shift..].iter().take_while(|byte| is_part(byte)).count();
        if !matches!(len, 2 | 4 | 8) || !bytes[shift + len..].iter().all(|b| *b == Byte::Known(0)) {
            return None;
        }
        if !bytes[..shift].iter().all(|byte| *byte == Byte::Known(0)) {
            return None;
        }
        let mut loads: Vec<(Inst, Access)> = Vec::new();
        let mut places = Vec::with_capacity(len);
        for byte in &bytes[shift..shift + len] {
            let Byte::Part { of, at } = *byte else { return None };
            let load = maker(func, of)?;
            let access = Access::of(func, load)?;
            let (_, first) = loads.first().copied().unwrap_or((load, access));
            let fits = !matches!(access.base, Base::Frame(_))
                && access.base == first.base
                && access.flags == first.flags
                && at < access.len;
            if !fits {
                return None;
            }
            places.push(access.at.checked_add(i64::from(at))?);
            if !loads.iter().any(|(known, _)| *known == load) {
                loads.push((load, access));
            }
        }
        let direction = if places.is_sorted_by(|a, b| a + 1 == *b) {
            Direction::Up
        } else if places.is_sorted_by(|a, b| *a == b + 1) {
            Direction::Down
        } else {
            return None;
        };
        let start = places.iter().copied().min()?;
        let last = order.meet(func, &loads)?;
        (loads.len() >= FEWEST).then_some(Self { direction, len, shift, start, last })
    }

    /// Loads it, if that saves loads, instead of putting it together.
    fn load(self, func: &mut Function, uses: &mut Uses, root: Inst, result: Value) {
        let (at, last) = self.last;
        let (Some(offset), Some(ty)) = (last.offset_to(self.start), integer(self.len)) else {
            return;
        };
        let full = func.dfg.value_type(result);
        if ty == I8 || ty.bits() > full.bits() || !matches!(full, I16 | I32 | I64) {
            return;
        }
        let address = func.dfg.resolve_aliases(last.address);
        uses.0[address] += 1;
        let dying = uses.dying(func, &[root]);
        let is_load = |inst: &&Inst| Access::of(func, **inst).is_some();
        if dying.iter().filter(is_load).count() < FEWEST {
            uses.0[address] -= 1;
            return;
        }
        let mut cursor = FuncCursor::new(func).after_inst(at);
        let place = cursor.func.srcloc(at);
        cursor.set_srcloc(place);
        let flags = cursor.func.dfg.mem_flags[last.flags];
        let mut number = cursor.ins().load(ty, flags, address, offset);
        if self.direction == Direction::Down {
            number = cursor.ins().bswap(number);
        }
        if ty != full {
            number = cursor.ins().uextend(full, number);
        }
        if self.shift > 0 {
            let by = i64::try_from(8 * self.shift).unwrap_or(0);
            let by = cursor.ins().iconst(full, by);
            number = cursor.ins().ishl(number, by);
        }
        uses.0[number] = uses.0[result];
        uses.remove(func, &dying);
        func.dfg.clear_results(root);
        func.dfg.change_to_alias(result, number);
    }
}
