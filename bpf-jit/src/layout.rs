//! What there is to compile: functions, and the basic blocks they are made of.

use std::collections::{BTreeMap, BTreeSet};

use bpf_abi::helper::THROW;
use bpf_abi::prog::ProgType;
use bpf_isa::{Call, Imm64, Insn, Pc, Reg, RegSet};

use crate::choice::Choices;
use crate::error::CompileError;
use crate::input::{Input, Subprog};

/// How many instructions a loop's latch may have to be copied to those who jump to it.
const LATCH_LENGTH: usize = 4;

/// How many instructions a loop of one block may have to be laid out twice.
const SHORT_LOOP: usize = 12;

/// The number of `bpf_tail_call`.
pub(crate) const TAIL_CALL: i32 = 12;

/// How many jumps to jumps are followed.
const THREADED_JUMPS: usize = 64;

/// The functions of a program, in the order of their places.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) functions: Vec<Function>,
    /// Whether one of them takes tail calls.
    pub(crate) takes_tail_calls: bool,
    by_start: BTreeMap<Pc, usize>,
}

/// A function.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its first instruction.
    pub(crate) start: Pc,
    /// How many of R1 to R5 it takes.
    pub(crate) arity: u8,
    /// Whether it takes the run as its last argument.
    pub(crate) wants_cx: bool,
    /// Whether its body is a C function: the main function's, if nobody takes tail calls.
    pub(crate) is_c: bool,
    /// Whether its address is taken.
    pub(crate) is_callback: bool,
    /// Whether it, or a function that it calls, may throw an exception.
    pub(crate) may_throw: bool,
    /// Whether it returns with other registers than C has a function keep: what it tail-calls
    /// returns in its place, and main functions that take tail calls keep none.
    pub(crate) keeps_nothing: bool,
    /// How much stack it is known to use, in bytes.
    pub(crate) stack_depth: u32,
    /// Its blocks, the first one being its entry.
    pub(crate) blocks: Vec<BasicBlock>,
}

/// A place in [`Function::blocks`].
pub(crate) type BlockNo = usize;

/// Instructions that run one after the other.
#[derive(Clone, Debug)]
pub(crate) struct BasicBlock {
    /// The first instruction.
    pub(crate) start: Pc,
    /// The instruction after the last, not counting the one that `exit` stands for.
    pub(crate) end: Pc,
    /// How it is left.
    pub(crate) exit: Exit,
    /// The jump that leaves it, if it is left by an unconditional one.
    jump: Option<Pc>,
}

/// How a block is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// To one other block.
    Goto(BlockNo),
    /// By the conditional jump at `at`.
    If { at: Pc, taken: BlockNo, fallen: BlockNo },
    /// By the `may_goto` at `at`.
    MayGoto { at: Pc, taken: BlockNo, fallen: BlockNo },
    /// By the `exit` at `at`.
    Return { at: Pc },
}

impl BasicBlock {
    /// Whether the instruction at `pc`, inside of the block, is what a conditional jump before it goes
    /// around: see [`choice`](crate::choice).
    pub(crate) fn is_optional(&self, image: &Input<'_>, pc: Pc) -> bool {
        let before = pc.0.checked_sub(1).map(Pc).filter(|before| *before >= self.start);
        let before = before.and_then(|before| image.program.get(before));
        matches!(before, Some(Insn::JumpIf { .. }))
    }
}

impl Exit {
    /// The blocks that may be next, one entry an edge.
    pub(crate) fn successors(self) -> impl Iterator<Item = BlockNo> {
        let (first, second) = match self {
            Self::Goto(to) => (Some(to), None),
            Self::If { taken, fallen, .. } | Self::MayGoto { taken, fallen, .. } => {
                (Some(taken), Some(fallen))
            }
            Self::Return { .. } => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl Layout {
    /// Finds the functions and blocks of `image`. Functions take the run if they have a use for it,
    /// or all do.
    pub(crate) fn new(image: &Input<'_>, all_want_cx: bool) -> Result<Self, CompileError> {
        let subprogs = subprogs(image)?;
        let by_start = subprogs.iter().enumerate().map(|(i, sub)| (sub.start, i)).collect();
        let mut functions = Vec::with_capacity(subprogs.len());
        for subprog in &subprogs {
            functions.push(Function {
                start: subprog.start,
                arity: 0,
                wants_cx: all_want_cx,
                is_c: false,
                is_callback: subprog.is_callback,
                may_throw: false,
                keeps_nothing: false,
                stack_depth: u32::from(subprog.stack_depth),
                blocks: Blocks::new(image, subprog).find()?,
            });
        }
        let tail_call = Insn::Call(Call::Helper(TAIL_CALL));
        for function in &mut functions {
            let mut places = function.blocks.iter().flat_map(|block| block.start.0..block.end.0);
            function.keeps_nothing = places.any(|pc| image.program.get(Pc(pc)) == Some(tail_call));
        }
        let takes_tail_calls = image.program.insns().contains(&tail_call);
        let mut layout = Self { functions, takes_tail_calls, by_start };
        layout.mark_callbacks(image)?;
        layout.find_throws(image)?;
        layout.find_arguments(image, &subprogs)?;
        for (number, function) in layout.functions.iter_mut().enumerate() {
            function.is_c = number == 0 && !takes_tail_calls;
            function.keeps_nothing |= number == 0 && takes_tail_calls;
            copy_latches(function);
            double_short_loops(image, function);
        }
        Ok(layout)
    }

    /// The function that begins where a call or an immediate at `pc` points to.
    pub(crate) fn function_at(&self, pc: Pc, off: i32) -> Result<usize, CompileError> {
        pc.offset(1 + i64::from(off))
            .and_then(|target| self.by_start.get(&target).copied())
            .ok_or(CompileError::Malformed { pc, what: "a call to where no function begins" })
    }

    /// The function that begins there.
    pub(crate) fn function_from(&self, start: Pc) -> Option<usize> {
        self.by_start.get(&start).copied()
    }

    /// Marks the functions whose address is taken.
    fn mark_callbacks(&mut self, image: &Input<'_>) -> Result<(), CompileError> {
        for (pc, insn) in image.program.iter() {
            if let Insn::LoadImm64 { imm: Imm64::Func { off }, .. } = insn {
                let target = self.function_at(pc, off)?;
                self.functions[target].is_callback = true;
            }
        }
        Ok(())
    }

    /// Finds which functions may throw an exception: until nothing is added.
    fn find_throws(&mut self, image: &Input<'_>) -> Result<(), CompileError> {
        if !image.program.insns().contains(&Insn::Call(Call::Helper(THROW))) {
            return Ok(());
        }
        loop {
            let mut changed = false;
            for i in 0..self.functions.len() {
                if !self.functions[i].may_throw && self.throws(image, &self.functions[i])? {
                    self.functions[i].may_throw = true;
                    changed = true;
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// Whether a function throws, as far as is known of those it calls.
    fn throws(&self, image: &Input<'_>, function: &Function) -> Result<bool, CompileError> {
        for block in &function.blocks {
            for pc in (block.start.0..block.end.0).map(Pc) {
                let Some(Insn::Call(call)) = image.program.get(pc) else { continue };
                let throws = match call {
                    Call::Helper(THROW) => true,
                    Call::Local(off) => self.functions[self.function_at(pc, off)?].may_throw,
                    Call::Helper(_) | Call::Kfunc { .. } => false,
                };
                if throws {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Finds what each function takes: the registers it reads before it writes them, and the run
    /// if it, or a function it calls, has a use for it.
    ///
    /// The least fixed point: a function that calls itself takes what it takes for other reasons.
    fn find_arguments(
        &mut self,
        image: &Input<'_>,
        subprogs: &[Subprog],
    ) -> Result<(), CompileError> {
        for (function, subprog) in self.functions.iter_mut().zip(subprogs) {
            // What can be replaced or probed takes what its type says, and the run.
            if subprog.is_global || subprog.has_type {
                function.arity = subprog.arity.min(5);
                function.wants_cx = true;
            }
        }
        loop {
            let mut changed = false;
            for i in 0..self.functions.len() {
                let function = &self.functions[i];
                let live = self.live_at_entry(image, function)?;
                let last = (1..=5).rev().find(|n| live.contains(Reg::ARGS[usize::from(n - 1)]));
                let is_entered = i == 0 && image.prog_type != ProgType::Ext;
                let arity = if is_entered { 1 } else { last.unwrap_or(0).max(function.arity) };
                let wants_cx = i == 0 || function.wants_cx || self.uses_cx(image, function)?;
                changed |= arity != function.arity || wants_cx != function.wants_cx;
                let function = &mut self.functions[i];
                function.arity = arity;
                function.wants_cx = wants_cx;
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// How many arguments the instruction at `pc` reads, if it is a call.
    pub(crate) fn call_arity(
        &self,
        image: &Input<'_>,
        pc: Pc,
        insn: Insn,
    ) -> Result<u8, CompileError> {
        let Insn::Call(call) = insn else { return Ok(0) };
        Ok(match call {
            Call::Local(off) => self.functions[self.function_at(pc, off)?].arity,
            // No image binds it, since engines do it themselves.
            Call::Helper(TAIL_CALL) => 3,
            Call::Helper(THROW) => 1,
            Call::Helper(id) => image.helper(id).map_or(5, |(_, helper)| helper.registers),
            Call::Kfunc { .. } => 5,
        })
    }

    fn live_at_entry(
        &self,
        image: &Input<'_>,
        function: &Function,
    ) -> Result<RegSet, CompileError> {
        let mut live = vec![RegSet::EMPTY; function.blocks.len()];
        loop {
            let mut changed = false;
            for (i, block) in function.blocks.iter().enumerate().rev() {
                let mut now =
                    block.exit.successors().fold(RegSet::EMPTY, |set, next| set.union(live[next]));
                if let Exit::If { at, .. } | Exit::Return { at } = block.exit
                    && let Some(insn) = image.program.get(at)
                {
                    now = now.minus(insn.writes()).union(insn.reads(0));
                }
                for pc in (block.start.0..block.end.0).rev().map(Pc) {
                    let Some(insn) = image.program.get(pc) else { continue };
                    let arity = self.call_arity(image, pc, insn)?;
                    if !block.is_optional(image, pc) {
                        now = now.minus(insn.writes());
                    }
                    now = now.union(insn.reads(arity));
                }
                changed |= now != live[i];
                live[i] = now;
            }
            if !changed {
                return Ok(live[0]);
            }
        }
    }

    fn uses_cx(&self, image: &Input<'_>, function: &Function) -> Result<bool, CompileError> {
        for block in &function.blocks {
            for pc in (block.start.0..block.end.0).map(Pc) {
                let Some(insn) = image.program.get(pc) else { continue };
                let uses = if let Insn::Call(Call::Local(off)) = insn {
                    self.functions[self.function_at(pc, off)?].wants_cx
                } else {
                    matches!(insn, Insn::Call(_) | Insn::LoadAbs { .. } | Insn::LoadInd { .. })
                };
                if uses {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The functions as the image tells them, or as the calls do if it tells of none.
fn subprogs(image: &Input<'_>) -> Result<Vec<Subprog>, CompileError> {
    let len = u32::try_from(image.program.len()).unwrap_or(u32::MAX);
    if len == 0 {
        return Err(CompileError::Malformed { pc: Pc(0), what: "a program of no instruction" });
    }
    if image.subprogs.is_empty() {
        let starts = image.program.functions();
        let ends = starts.iter().skip(1).copied().chain([Pc(len)]);
        let subprog = |(start, end)| Subprog {
            start,
            end,
            arity: 0,
            stack_depth: 0,
            tail_calls: true,
            is_callback: false,
            is_global: false,
            has_type: false,
        };
        return Ok(starts.iter().copied().zip(ends).map(subprog).collect());
    }
    let mut at = Pc(0);
    for subprog in &image.subprogs {
        if subprog.start != at || subprog.end <= at || subprog.end > Pc(len) {
            return Err(CompileError::Malformed { pc: at, what: "a function out of place" });
        }
        at = subprog.end;
    }
    Ok(image.subprogs.clone())
}

/// Finds the blocks of one function.
struct Blocks<'a> {
    image: &'a Input<'a>,
    subprog: &'a Subprog,
    choices: Choices<'a>,
}

impl<'a> Blocks<'a> {
    fn new(image: &'a Input<'a>, subprog: &'a Subprog) -> Self {
        Self { image, subprog, choices: Choices::new(image, subprog.start, subprog.end) }
    }

    fn find(&self) -> Result<Vec<BasicBlock>, CompileError> {
        let leaders = self.leaders()?;
        let numbers: BTreeMap<Pc, BlockNo> =
            leaders.iter().enumerate().map(|(number, pc)| (*pc, number)).collect();
        leaders.iter().map(|&leader| self.block(leader, &numbers)).collect()
    }

    /// The instructions that begin a block, of those that can be reached.
    fn leaders(&self) -> Result<BTreeSet<Pc>, CompileError> {
        let mut leaders = BTreeSet::from([self.subprog.start]);
        let mut seen = BTreeSet::new();
        let mut pending = vec![self.subprog.start];
        while let Some(mut pc) = pending.pop() {
            while seen.insert(pc) {
                let insn = self.insn(pc)?;
                let after = Pc(pc.0 + insn.slots());
                if insn == Insn::Exit {
                    break;
                }
                if !self.ends_block(insn, pc) {
                    pc = after;
                    continue;
                }
                let target = self.threaded(self.target(insn, pc)?)?;
                leaders.insert(target);
                pending.push(target);
                if insn.falls_through() {
                    let fallen = self.threaded(after)?;
                    leaders.insert(fallen);
                    pending.push(fallen);
                }
                break;
            }
        }
        Ok(leaders)
    }

    fn block(
        &self,
        leader: Pc,
        numbers: &BTreeMap<Pc, BlockNo>,
    ) -> Result<BasicBlock, CompileError> {
        let number = |pc: Pc| {
            numbers.get(&pc).copied().ok_or(CompileError::Malformed { pc, what: "a lost block" })
        };
        let mut pc = leader;
        loop {
            let insn = self.insn(pc)?;
            let after = Pc(pc.0 + insn.slots());
            if insn == Insn::Exit {
                let exit = Exit::Return { at: pc };
                return Ok(BasicBlock { start: leader, end: pc, exit, jump: None });
            }
            if self.ends_block(insn, pc) {
                let taken = number(self.threaded(self.target(insn, pc)?)?)?;
                let (exit, jump) = if insn.falls_through() {
                    let fallen = number(self.threaded(after)?)?;
                    let exit = if matches!(insn, Insn::MayGoto { .. }) {
                        Exit::MayGoto { at: pc, taken, fallen }
                    } else {
                        Exit::If { at: pc, taken, fallen }
                    };
                    (exit, None)
                } else {
                    (Exit::Goto(taken), Some(pc))
                };
                return Ok(BasicBlock { start: leader, end: pc, exit, jump });
            }
            pc = after;
            if numbers.contains_key(&pc) {
                let exit = Exit::Goto(number(pc)?);
                return Ok(BasicBlock { start: leader, end: pc, exit, jump: None });
            }
        }
    }

    /// Whether an instruction ends its block by going elsewhere in the function.
    fn ends_block(&self, insn: Insn, pc: Pc) -> bool {
        insn.jump_offset().is_some() && !self.choices.is_at(pc)
    }

    fn insn(&self, pc: Pc) -> Result<Insn, CompileError> {
        if pc < self.subprog.start || pc >= self.subprog.end {
            return Err(CompileError::Malformed { pc, what: "control leaves its function" });
        }
        match self.image.program.get(pc) {
            Some(Insn::SecondSlot) | None => {
                Err(CompileError::Malformed { pc, what: "no instruction" })
            }
            Some(insn) => Ok(insn),
        }
    }

    fn target(&self, insn: Insn, pc: Pc) -> Result<Pc, CompileError> {
        insn.jump_target(pc).ok_or(CompileError::Malformed { pc, what: "a jump to nowhere" })
    }

    /// Where one gets to by going to `pc` and doing nothing but jumping.
    fn threaded(&self, mut pc: Pc) -> Result<Pc, CompileError> {
        for _ in 0..THREADED_JUMPS {
            let insn = self.insn(pc)?;
            let Insn::Jump { .. } = insn else { break };
            pc = self.target(insn, pc)?;
        }
        Ok(pc)
    }
}

/// Copies the latch of a loop to the blocks that jump to it, if it is short.
///
/// A loop whose body jumps to a common latch takes two jumps an iteration; with a copy of the
/// latch at the end of each way through the body it takes one.
fn copy_latches(function: &mut Function) {
    for i in 0..function.blocks.len() {
        let (Exit::Goto(latch), Some(jump)) = (function.blocks[i].exit, function.blocks[i].jump)
        else {
            continue;
        };
        let latch = &function.blocks[latch];
        let length = (latch.end.0 - latch.start.0) as usize;
        let Exit::If { taken, fallen, .. } = latch.exit else { continue };
        let goes_back = [taken, fallen].into_iter().any(|next| function.blocks[next].start <= jump);
        if goes_back && (1..=LATCH_LENGTH).contains(&length) {
            let copy = latch.clone();
            function.blocks[i].exit = Exit::Goto(function.blocks.len());
            function.blocks.push(copy);
        }
    }
}

/// Lays the block of a short loop out twice, so that there is one jump for two iterations: a
/// processor takes at most one a cycle, and does four times as much in it.
fn double_short_loops(image: &Input<'_>, function: &mut Function) {
    for i in 0..function.blocks.len() {
        let block = &function.blocks[i];
        let Exit::If { at, taken, fallen } = block.exit else { continue };
        let pcs = (block.start.0..block.end.0).map(Pc);
        let calls = |pc| matches!(image.program.get(pc), Some(Insn::Call(_)));
        let is_short = (block.end.0 - block.start.0) as usize <= SHORT_LOOP;
        if (taken == i) == (fallen == i) || !is_short || pcs.clone().any(calls) {
            continue;
        }
        let copy = function.blocks.len();
        let copy_of = |next| if next == i { copy } else { next };
        let second = block.clone();
        function.blocks[i].exit = Exit::If { at, taken: copy_of(taken), fallen: copy_of(fallen) };
        function.blocks.push(second);
    }
}
