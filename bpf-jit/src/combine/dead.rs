//! Stores to the frame that nobody reads.
//!
//! The optimizer gives loads what was stored, so that many stores are left which no load asks for.
//! For each byte of the frame it is found out, backwards, whether it may be read before it is
//! written again:
//!
//! ```text
//! after a return                    no byte
//! a load of bytes                   those, besides what is read after it
//! a store of bytes                  not those
//! anything that may read the frame  all, if the frame's address is known to others
//! ```
//!
//! The address is known to others if it is used for anything but loads and stores at places known
//! now: it is passed to a function, added to, kept in memory. Then what calls, and what loads from a
//! place that is not known, reads everything.

use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, StackSlot, Value};

use super::{Access, Base};

/// The largest frame that is looked at, in bytes.
const LARGEST: u32 = 1024;

/// A set of bytes of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes([u64; LARGEST as usize / 64]);

impl Bytes {
    const NONE: Self = Self([0; LARGEST as usize / 64]);
    const ALL: Self = Self([u64::MAX; LARGEST as usize / 64]);

    fn places(access: &Access) -> impl Iterator<Item = usize> {
        let from = usize::try_from(access.at).unwrap_or(usize::MAX);
        (from..from.saturating_add(usize::from(access.len))).take_while(|at| *at < LARGEST as usize)
    }

    fn add(&mut self, access: &Access) {
        for at in Self::places(access) {
            self.0[at / 64] |= 1 << (at % 64);
        }
    }

    fn remove(&mut self, access: &Access) {
        for at in Self::places(access) {
            self.0[at / 64] &= !(1 << (at % 64));
        }
    }

    fn has_any_of(&self, access: &Access) -> bool {
        Self::places(access).any(|at| self.0[at / 64] & 1 << (at % 64) != 0)
    }

    fn join(&mut self, other: &Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            *ours |= theirs;
        }
    }
}

/// Removes the stores that nobody reads.
pub(super) fn remove(func: &mut Function) {
    let Some(slot) = frame(func) else { return };
    let frame = Frame { slot, is_known_to_others: is_known_to_others(func, slot) };
    let blocks: Vec<Block> = func.layout.blocks().collect();
    // What is read from the beginning of each block on.
    let mut read = vec![Bytes::NONE; func.dfg.num_blocks()];
    loop {
        let mut changed = false;
        for block in blocks.iter().rev() {
            let mut now = after(func, *block, &read);
            for inst in backwards(func, *block) {
                frame.step(func, inst, &mut now);
            }
            changed |= now != read[block.as_u32() as usize];
            read[block.as_u32() as usize] = now;
        }
        if !changed {
            break;
        }
    }
    for block in blocks {
        let mut now = after(func, block, &read);
        for inst in backwards(func, block) {
            if frame.stored(func, inst).is_some_and(|access| !now.has_any_of(&access)) {
                func.layout.remove_inst(inst);
            } else {
                frame.step(func, inst, &mut now);
            }
        }
    }
}

/// The function's one frame, if it is not too large.
fn frame(func: &Function) -> Option<StackSlot> {
    let mut slots = func.sized_stack_slots.iter();
    let (slot, data) = slots.next()?;
    (slots.next().is_none() && data.size <= LARGEST).then_some(slot)
}

/// What is read after a block.
fn after(func: &Function, block: Block, read: &[Bytes]) -> Bytes {
    let mut now = Bytes::NONE;
    let Some(last) = func.layout.last_inst(block) else { return Bytes::ALL };
    let (tables, exceptions) = (&func.dfg.jump_tables, &func.dfg.exception_tables);
    for next in func.dfg.insts[last].branch_destination(tables, exceptions) {
        now.join(&read[next.block(&func.dfg.value_lists).as_u32() as usize]);
    }
    now
}

fn backwards(func: &Function, block: Block) -> Vec<Inst> {
    let mut insts: Vec<Inst> = func.layout.block_insts(block).collect();
    insts.reverse();
    insts
}

/// Whether an address in the frame is used for more than loads and stores.
fn is_known_to_others(func: &Function, slot: StackSlot) -> bool {
    let is_ours = |value: Value| {
        let value = func.dfg.resolve_aliases(value);
        func.dfg.value_def(value).inst().is_some_and(|inst| {
            matches!(func.dfg.insts[inst], InstructionData::StackAddr { stack_slot, .. } if stack_slot == slot)
        })
    };
    func.layout.blocks().flat_map(|block| func.layout.block_insts(block)).any(|inst| {
        let address = Access::of(func, inst).map(|access| access.address);
        // A store of the address to a place in the frame has it twice.
        let mut others = func.dfg.inst_values(inst).filter(|value| is_ours(*value));
        let uses = others.by_ref().count();
        let as_address = usize::from(address.is_some_and(is_ours));
        uses > as_address
    })
}

struct Frame {
    slot: StackSlot,
    is_known_to_others: bool,
}

impl Frame {
    /// What is read before `inst`, given what is read after it.
    fn step(&self, func: &Function, inst: Inst, now: &mut Bytes) {
        if let Some(access) = self.stored(func, inst) {
            now.remove(&access);
            return;
        }
        let opcode = func.dfg.insts[inst].opcode();
        match Access::of(func, inst) {
            Some(access) if access.base == Base::Frame(self.slot) => now.add(&access),
            // A store elsewhere reads nothing.
            Some(_) if is_store(opcode) => {}
            _ => {
                let reads = opcode.can_load() || opcode.is_call() || opcode.other_side_effects();
                if reads && self.is_known_to_others && !opcode.is_return() {
                    *now = Bytes::ALL;
                }
            }
        }
    }

    /// What `inst` stores in the frame, at a place known now.
    fn stored(&self, func: &Function, inst: Inst) -> Option<Access> {
        let access = Access::of(func, inst)?;
        let is_ours = access.base == Base::Frame(self.slot) && access.at >= 0;
        (is_ours && is_store(func.dfg.insts[inst].opcode())).then_some(access)
    }
}

const fn is_store(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Store | Opcode::Istore8 | Opcode::Istore16 | Opcode::Istore32)
}
