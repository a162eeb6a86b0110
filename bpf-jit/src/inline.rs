//! Whose code is part of whose: small functions are put into those that call them.
//!
//! A static function has an entry slot all the same, and code of its own behind it: somebody may
//! attach to it. Until then nobody needs to come through the slot. Who wants to attach first has
//! the code set apart ([`Jit::set_apart`](crate::Jit::set_apart)): what holds another function's
//! code is compiled again without it, and each such function looks, where it begins, whether that
//! has happened. So runs that begin from then on go through every slot.
//!
//! Global functions are not put into others: they are there to be replaced, and calls that a run is
//! still to make go to what has taken their place.
//!
//! The frames of the functions lie one below the other as they would on the stack, in the one frame
//! of the code they are part of.

use std::collections::{BTreeMap, VecDeque};

use bpf_isa::{Call, Insn, Pc, Reg};

use crate::error::CompileError;
use crate::input::{Input, Repeats, Shape};
use crate::layout::{BlockNo, Function, Layout};
use crate::lower::Mode;
use crate::origin::{self, Memory, Origin, Origins, Touches};

/// How many instructions a function may have that becomes part of another.
const LARGEST: usize = 80;

/// How many instructions of others a function's code may have in it.
const MOST: usize = 400;

/// How deep functions may lie in each other.
const DEEPEST: usize = 7;

/// How deep a frame may become, in bytes: no verified program's calls need more.
const DEEPEST_FRAME: u32 = 4096;

/// What the code of a function is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) memory: Memory,
    pub(crate) body: Body,
}

/// A function, as it is or as part of another.
#[derive(Debug)]
pub(crate) struct Body {
    /// Which function.
    pub(crate) function: usize,
    /// Where its R10 is, counted from that of the function whose code it is part of.
    pub(crate) fp: i32,
    /// The origins at the beginning of each block.
    pub(crate) entries: Vec<Origins>,
    /// The functions that are part of it, by the calls they are in the place of.
    inlined: BTreeMap<(BlockNo, Pc), Self>,
}

impl Body {
    /// What is in the place of the call at `pc`, if it is not a call.
    pub(crate) fn inlined(&self, block: BlockNo, pc: Pc) -> Option<&Self> {
        self.inlined.get(&(block, pc))
    }

    /// Whether other functions are part of it.
    pub(crate) fn has_others(&self) -> bool {
        !self.inlined.is_empty()
    }

    fn mark(&self, inlined: &mut [bool]) {
        for body in self.inlined.values() {
            inlined[body.function] = true;
            body.mark(inlined);
        }
    }
}

/// The plans of all functions.
pub(crate) fn plans(image: &Input<'_>, layout: &Layout) -> Result<Vec<Plan>, CompileError> {
    // Where nobody told of functions, nobody told how much stack they use.
    let inlines = image.inlines && image.mode != Mode::Checked && !image.subprogs.is_empty();
    let mut plans: Vec<Option<Plan>> = layout.functions.iter().map(|_| None).collect();
    let mut pending: VecDeque<usize> = (0..layout.functions.len())
        .filter(|number| *number == 0 || layout.functions[*number].is_callback)
        .chain((0..image.subprogs.len()).filter(|number| image.subprogs[*number].is_global))
        .chain(image.exception_callback.and_then(|start| layout.function_from(start)))
        .collect();
    // The code at most doubles.
    let mut room = image.program.len() + MOST;
    // What is called nowhere once its code is part of others waits to be attached to, which it may
    // do as it is.
    while let Some(number) = pending.pop_front() {
        if plans[number].is_none() {
            let mut planner = Planner::new(image, layout, inlines);
            planner.room = room.min(MOST);
            let before = planner.room;
            plans[number] = Some(planner.plan(number)?);
            room -= before - planner.room;
            pending.extend(planner.called);
        }
    }
    let mut all = Vec::with_capacity(plans.len());
    for (number, plan) in plans.into_iter().enumerate() {
        all.push(match plan {
            Some(plan) => plan,
            None => Planner::new(image, layout, false).plan(number)?,
        });
    }
    Ok(all)
}

/// Which functions are part of others.
pub(crate) fn inlined(plans: &[Plan]) -> Vec<bool> {
    let mut inlined = vec![false; plans.len()];
    for plan in plans {
        plan.body.mark(&mut inlined);
    }
    inlined
}

/// Who plans one function's code.
struct Planner<'a> {
    image: &'a Input<'a>,
    layout: &'a Layout,
    inlines: bool,
    /// What the code touches.
    touches: Touches,
    /// How many instructions of others may still become part of it.
    room: usize,
    /// The functions that lie in each other where the planner is.
    chain: Vec<usize>,
    /// The functions that it calls.
    called: Vec<usize>,
}

impl<'a> Planner<'a> {
    fn new(image: &'a Input<'a>, layout: &'a Layout, inlines: bool) -> Self {
        let (chain, called) = (Vec::new(), Vec::new());
        Self { image, layout, inlines, touches: Touches::default(), room: MOST, chain, called }
    }

    fn plan(&mut self, number: usize) -> Result<Plan, CompileError> {
        let function = &self.layout.functions[number];
        if self.image.mode == Mode::Checked {
            let entries = vec![Origins::unknown(); function.blocks.len()];
            let body = Body { function: number, fp: 0, entries, inlined: BTreeMap::new() };
            return Ok(Plan { memory: Memory::unknown(), body });
        }
        let body = self.body(number, [Origin::Elsewhere; 5], 0)?;
        Ok(Plan { memory: Memory::of(&self.touches), body })
    }

    /// Plans a function that is given such arguments and has its R10 there.
    fn body(&mut self, number: usize, args: [Origin; 5], fp: i32) -> Result<Body, CompileError> {
        let function = &self.layout.functions[number];
        let entries = origin::origins(self.image, function, Origins::with(args, fp));
        // Those that are part of it have their frames below its own, each where the others have
        // theirs: only one of them runs at a time.
        let around = self.touches.depth;
        self.touches.depth = fp.unsigned_abs() + function.stack_depth;
        self.touches.add(self.image, function, &entries);
        let own = self.touches.depth.next_multiple_of(8);
        self.touches.depth = own.max(around);
        let mut body = Body { function: number, fp, entries, inlined: BTreeMap::new() };
        self.chain.push(number);
        for block in 0..function.blocks.len() {
            self.calls_of(block, function, own, &mut body)?;
        }
        self.chain.pop();
        Ok(body)
    }

    /// Plans what is in the place of a block's calls.
    fn calls_of(
        &mut self,
        number: BlockNo,
        function: &Function,
        depth: u32,
        body: &mut Body,
    ) -> Result<(), CompileError> {
        let block = &function.blocks[number];
        let mut now = body.entries[number];
        for pc in (block.start.0..block.end.0).map(Pc) {
            let Some(insn) = self.image.program.get(pc) else { continue };
            if let Some((callee, args)) = self.callee(pc, insn, &now)? {
                if self.may_be_part(callee, depth) {
                    self.room -= length(&self.layout.functions[callee]);
                    let fp = i32::try_from(depth).map_or(0, |depth| -depth);
                    let part = self.body(callee, args, fp)?;
                    body.inlined.insert((number, pc), part);
                } else {
                    self.called.push(callee);
                }
            }
            now.pass(self.image, block, pc, insn);
        }
        Ok(())
    }

    /// The function that is called at `pc`, and the origins of what it is given.
    fn callee(
        &self,
        pc: Pc,
        insn: Insn,
        now: &Origins,
    ) -> Result<Option<(usize, [Origin; 5])>, CompileError> {
        let Insn::Call(call) = insn else { return Ok(None) };
        match call {
            Call::Local(off) => Ok(Some((self.layout.function_at(pc, off)?, now.args()))),
            Call::Helper(id) => Ok(repeated(self.image, self.layout, pc, id, now)
                .map(|repetition| (repetition.function, repetition.args(now)))),
            Call::Kfunc { .. } => Ok(None),
        }
    }

    /// Whether a function may be part of the code, with its frame this far down.
    fn may_be_part(&self, number: usize, depth: u32) -> bool {
        let Some(subprog) = self.image.subprogs.get(number) else { return false };
        let function = &self.layout.functions[number];
        let length = length(function);
        self.inlines
            && number != 0
            && !subprog.is_global
            && !subprog.tail_calls
            && length <= LARGEST.min(self.room)
            && self.chain.len() <= DEEPEST
            && !self.chain.contains(&number)
            && depth.saturating_add(function.stack_depth) <= DEEPEST_FRAME
    }
}

/// How many instructions a function has.
fn length(function: &Function) -> usize {
    let blocks = function.blocks.iter();
    blocks.map(|block| (block.end.0 - block.start.0) as usize + 1).sum()
}

/// A helper's calls of a function, which compiled code makes itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repetition {
    /// The function that is called.
    pub(crate) function: usize,
    /// What it is called for.
    pub(crate) what: Repeats,
}

impl Repetition {
    /// The origins of what the function is given.
    fn args(self, now: &Origins) -> [Origin; 5] {
        const OTHER: Origin = Origin::Elsewhere;
        let given = now.of(Reg::R3);
        match self.what {
            Repeats::Numbers => [OTHER, given, OTHER, OTHER, OTHER],
            Repeats::Elements => [OTHER, OTHER, OTHER, given, OTHER],
        }
    }
}

/// The calls that helper `id` makes at `pc`, if compiled code makes them itself.
///
/// The function neither takes tail calls, which count afresh where a helper calls, nor throws
/// exceptions, which would have to be seen to after each call.
pub(crate) fn repeated(
    image: &Input<'_>,
    layout: &Layout,
    pc: Pc,
    id: i32,
    now: &Origins,
) -> Option<Repetition> {
    let what = image.helper(id)?.1.repeats.filter(|_| image.inlines)?;
    let Origin::Function(start) = now.of(Reg::R2) else { return None };
    let function = layout.function_from(start)?;
    let subprog = image.subprogs.get(function)?;
    if image.mode == Mode::Checked || subprog.tail_calls || layout.functions[function].may_throw {
        return None;
    }
    let is_known = match what {
        Repeats::Numbers => true,
        Repeats::Elements => {
            let map = image.maps.get(usize::from(origin::note(image, pc).map?))?;
            match map.shape {
                Shape::Array { .. } | Shape::PercpuArray { .. } => map.key_size == 4,
                Shape::Opaque | Shape::Hash { .. } | Shape::ProgArray { .. } => false,
            }
        }
    };
    is_known.then_some(Repetition { function, what })
}
