//! Verified programs: how they are prepared, entered, and reach helpers, functions and each other.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::exec::{ProgCounters, RunCx};
use bpf_abi::helper::{LOAD_PACKET, LOAD_PACKET_FAILED, THROW};
use bpf_abi::image::{Facts, Image};
use bpf_abi::limits::{MAX_STACK, MAX_TAIL_CALLS};
use bpf_abi::map::MapLayout;
use bpf_isa::{Call, Imm64, Pc};
use thiserror::Error;

use crate::atomic::pointer;
use crate::detour::{Detour, Entries};
use crate::fault::{Fault, FaultKind};
use crate::machine::{self, End, HelperEnd, Next, Start, World};
use crate::memory::host::{Host, StackRoom};
use crate::memory::{Checked, Memory};
use crate::native;
use crate::observe::{NoWitness, Witness};
use crate::ops::{Code, Links, Op, join, translate};

/// The helper that is no helper. Linux: `BPF_FUNC_tail_call`.
const TAIL_CALL: i32 = 12;

/// In a tail call: which map it is about is only known when it is taken.
const ANY_MAP: u32 = u32::MAX;

/// A verified program, prepared for the interpreter.
pub struct Interp {
    image: Arc<Image>,
    /// One operation an instruction, for runs that are watched.
    ops: Box<[Op]>,
    /// The same with pairs joined.
    joined: Box<[Op]>,
    /// How much stack its first function uses.
    stack_depth: u32,
    /// The functions whose address is taken. What a register holds is the address of one of
    /// these.
    #[expect(dead_code, reason = "keeps them where registers point")]
    functions: Box<[Function]>,
    /// Which helper loads from the packet.
    packet: Option<usize>,
    /// Where it counts what it does, if somebody asked for that.
    counters: Option<Arc<ProgCounters>>,
    /// Who stands at the entries of its functions.
    entries: Entries,
    /// The function that is given the value of an exception, and how much stack it uses.
    exception_callback: Option<(usize, u32)>,
}

/// A function whose address is taken.
struct Function {
    program: *const Interp,
    number: usize,
    start: Pc,
    stack_depth: u32,
}

#[expect(unsafe_code, reason = "a pointer to the program that holds it")]
// SAFETY: [callback-target] `Function::program` points to the `Interp` that owns it, which is immutable; nothing
// else in it is bound to a thread.
unsafe impl Send for Interp {}
#[expect(unsafe_code, reason = "a pointer to the program that holds it")]
// SAFETY: [callback-target] as above.
unsafe impl Sync for Interp {}

impl fmt::Debug for Interp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interp").field("name", &self.image.name).finish_non_exhaustive()
    }
}

/// A program that the interpreter cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("insn {at}: {kind}")]
pub struct PrepareError {
    /// The instruction.
    pub at: Pc,
    /// What is wrong with it.
    pub kind: PrepareErrorKind,
}

/// Why the interpreter cannot run an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrepareErrorKind {
    /// It names a map that the image does not have, or its only value where it has none.
    #[error("the image has no such map")]
    NoMap,
    /// It calls a helper that the image does not bind.
    #[error("the image does not bind helper {0}")]
    NoHelper(i32),
    /// It calls a kernel function, or uses an arena or a kernel variable.
    #[error("the interpreter does not have this instruction")]
    Unsupported,
}

impl Interp {
    /// Prepares a program.
    ///
    /// # Errors
    ///
    /// Returns an error if it names something that the image does not bind.
    pub fn new(image: Arc<Image>) -> Result<Arc<Self>, PrepareError> {
        Self::prepare(image, None)
    }

    /// Prepares a program that counts its runs and its tail calls in `counters`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn counted(
        image: Arc<Image>,
        counters: Arc<ProgCounters>,
    ) -> Result<Arc<Self>, PrepareError> {
        Self::prepare(image, Some(counters))
    }

    fn prepare(
        image: Arc<Image>,
        counters: Option<Arc<ProgCounters>>,
    ) -> Result<Arc<Self>, PrepareError> {
        let mut binding = Binding { image: &image, functions: Vec::new() };
        let mut ops = translate(image.program.insns(), &mut binding)?;
        let stack_depth = binding.stack_depth(Pc(0));
        let exception_callback =
            image.exception_callback.map(|start| (start.index(), binding.stack_depth(start)));
        let starts = binding.functions;
        let packet = image.helpers.iter().position(|helper| helper.proto.id == LOAD_PACKET);
        Ok(Arc::new_cyclic(|this| {
            let program = this.as_ptr();
            let functions: Box<[Function]> = starts
                .into_iter()
                .map(|(start, stack_depth)| {
                    let number = number_of(&image, start);
                    Function { program, number, start, stack_depth }
                })
                .collect();
            for op in &mut ops {
                if op.code == Code::LoadImm64 && op.to != 0 {
                    let function = &raw const functions[op.to as usize - 1];
                    op.imm = function.expose_provenance() as u64;
                }
            }
            let joined = join(&ops);
            let entries = Entries::new(image.subprogs.len().max(1));
            Self {
                image,
                ops,
                joined,
                stack_depth,
                functions,
                packet,
                counters,
                entries,
                exception_callback,
            }
        }))
    }

    /// The verified program.
    pub const fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// What goes into a program array's slot for the interpreter: see
    /// [`ProgEntry`](bpf_abi::exec::ProgEntry).
    ///
    /// `[prog-entry]`: it stays valid as long as this program lives; whoever puts it into a slot
    /// keeps the program alive until no run can reach it any more.
    pub fn entry(self: &Arc<Self>) -> u64 {
        Arc::as_ptr(self).expose_provenance() as u64
    }

    /// Runs the program and yields its R0.
    ///
    /// The tail calls it takes are counted in `cx`, from zero.
    ///
    /// # Errors
    ///
    /// Returns an error if the program does what no verified program can do; whoever vouched for
    /// it was wrong.
    ///
    /// # Safety
    ///
    /// `[run-context]`: `ctx` is the address of the context that the program's type promises, and
    /// `cx.env` is what the image's helpers expect, as long as the run lasts.
    #[expect(unsafe_code, reason = "enters a program with a context by its address")]
    pub unsafe fn run(&self, cx: &mut RunCx, ctx: u64) -> Result<u64, Fault> {
        cx.tail_calls = 0;
        cx.ctx = ctx;
        cx.callback = Some(call_back);
        // SAFETY: [run-context] by the caller; `cx` is borrowed for the run.
        unsafe { self.call_function(cx, 0, [ctx, 0, 0, 0, 0]) }
    }

    /// Runs the program, telling `witness` of each step. Functions that helpers call back are not
    /// watched.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    #[expect(unsafe_code, reason = "enters a program with a context by its address")]
    pub unsafe fn run_watched<O: Witness>(
        &self,
        cx: &mut RunCx,
        ctx: u64,
        witness: &mut O,
    ) -> Result<u64, Fault> {
        cx.tail_calls = 0;
        cx.ctx = ctx;
        cx.callback = Some(call_back);
        let start = self.enter([ctx, 0, 0, 0, 0]);
        // SAFETY: [run-context] by the caller; `cx` is borrowed for the run.
        unsafe { run_on_host(&start, cx, witness) }
    }

    /// The word that says where calls of a function go, by its place among the functions: zero, or
    /// the address of a [`Detour`](crate::Detour).
    ///
    /// `[entry-detour]`: whoever puts an address there keeps the detour for all runs that may have
    /// read it, and what the detour runs takes and returns what the function does.
    pub fn function_entry(&self, function: usize) -> Option<&AtomicU64> {
        self.entries.get(function)
    }

    /// Calls a function as the program itself does.
    ///
    /// # Safety
    ///
    /// `[run-context]`: the arguments are what it expects, and `cx` is that of a run that waits.
    #[inline]
    #[expect(unsafe_code, reason = "runs a function with arguments by their addresses")]
    pub(crate) unsafe fn call_function(
        &self,
        cx: *mut RunCx,
        function: usize,
        args: [u64; 5],
    ) -> Result<u64, Fault> {
        match self.entries.leads_to(function) {
            // SAFETY: [run-context] by the caller.
            0 => unsafe { self.call_body(cx, function, args) },
            // SAFETY: [entry-detour] it was just read; [run-context] by the caller.
            detour => unsafe { Detour::take(detour, cx, self, function, args) },
        }
    }

    /// Calls a function itself, whoever stands at its entry.
    ///
    /// # Safety
    ///
    /// As [`call_function`](Self::call_function).
    #[inline]
    #[expect(unsafe_code, reason = "runs a function with arguments by their addresses")]
    pub(crate) unsafe fn call_body(
        &self,
        cx: *mut RunCx,
        function: usize,
        args: [u64; 5],
    ) -> Result<u64, Fault> {
        let start = if function == 0 {
            self.enter(args)
        } else {
            let subprog = self.image.subprogs.get(function);
            let at = subprog.map_or(Pc(0), |subprog| subprog.start);
            let depth = subprog.map_or(MAX_STACK, |subprog| u32::from(subprog.stack_depth));
            let stack_depth = depth.next_multiple_of(8).min(MAX_STACK);
            Start { program: self, at, stack_depth, args }
        };
        // SAFETY: [run-context] by the caller.
        unsafe { run_on_host(&start, cx, &mut NoWitness) }
    }

    /// Runs the program in checked memory, telling `witness` of each step: the verifier's oracle.
    ///
    /// Everything the program may touch must be a region of `memory`. Helpers touch what they are
    /// handed as ever, unchecked; functions that helpers call back run unchecked as well.
    ///
    /// # Errors
    ///
    /// Returns an error if the program touches anything else.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    #[expect(unsafe_code, reason = "enters a program with a context by its address")]
    pub unsafe fn run_checked<O: Witness>(
        &self,
        cx: &mut RunCx,
        ctx: u64,
        memory: &mut Checked,
        witness: &mut O,
    ) -> Result<u64, Fault> {
        cx.tail_calls = 0;
        cx.ctx = ctx;
        cx.callback = Some(call_back);
        let start = self.enter([ctx, 0, 0, 0, 0]);
        let end = machine::run(&start, memory, &mut Bound::<true> { cx }, witness)?;
        // SAFETY: [run-context] by the caller.
        unsafe { to_the_end(end, &start, cx) }
    }

    /// Adds one to a counter, if somebody asked for counting.
    #[inline]
    fn count(&self, which: impl FnOnce(&ProgCounters) -> &AtomicU64) {
        if let Some(counters) = &self.counters {
            // No read-modify-write: what threads lose among each other is documented.
            let counter = which(counters);
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Where a run of the whole program begins; counts it.
    pub(crate) fn enter(&self, args: [u64; 5]) -> Start<'_, Self> {
        self.count(|counters| &counters.runs);
        Start { program: self, at: Pc(0), stack_depth: self.stack_depth, args }
    }
}

/// Runs a program in the memory of this process to its end, which compiled code may come to.
///
/// # Safety
///
/// As for [`run_until_left`].
#[expect(unsafe_code, reason = "runs a verified program")]
unsafe fn run_on_host<O: Witness>(
    start: &Start<'_, Interp>,
    cx: *mut RunCx,
    witness: &mut O,
) -> Result<u64, Fault> {
    // SAFETY: [run-context] by the caller.
    let end = unsafe { run_until_left(start, cx, witness) }?;
    // SAFETY: [run-context] by the caller.
    unsafe { to_the_end(end, start, cx) }
}

/// What a run comes to that ended so.
///
/// # Safety
///
/// `[run-context]`: it ended so just now, and `cx` is its own.
#[inline]
#[expect(unsafe_code, reason = "enters compiled code")]
unsafe fn to_the_end(end: End, start: &Start<'_, Interp>, cx: *mut RunCx) -> Result<u64, Fault> {
    match end {
        End::Returned(value) => Ok(value),
        End::Left { entry, ctx } => {
            // SAFETY: [prog-entry] the run has just found it in a slot.
            let result = unsafe { native::go_on(cx, entry, ctx) };
            result.map_err(|kind| Fault { pc: start.at, kind })
        }
    }
}

/// Runs a program in the memory of this process until it ends, or leaves for compiled code. Its
/// stack is given back then, so chains that go to and fro between engines need no more of it.
///
/// # Safety
///
/// `[run-context]`: the arguments are what the function expects, and `cx` is not used by anybody
/// else until this returns, but by the helpers that the program calls.
#[inline(never)]
#[expect(unsafe_code, reason = "the one place where verified programs run unchecked")]
pub(crate) unsafe fn run_until_left<O: Witness>(
    start: &Start<'_, Interp>,
    cx: *mut RunCx,
    witness: &mut O,
) -> Result<End, Fault> {
    let mut room: StackRoom = [const { MaybeUninit::uninit() }; _];
    // SAFETY: [verified-memory] the image was vouched for, and the context is what it expects.
    let mut memory = unsafe { Host::new(&mut room) };
    machine::run(start, &mut memory, &mut Bound::<false> { cx }, witness)
}

/// Calls a function of an interpreted program back: what `RunCx::callback` is set to.
///
/// # Safety
///
/// `[callback-target]`: `function` is what the helper got as an argument that is a function, the
/// program it is of still runs, and the arguments are what the helper promises to it.
#[expect(unsafe_code, reason = "called by helpers")]
pub(crate) unsafe extern "C" fn call_back(
    cx: *mut RunCx,
    function: u64,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    // SAFETY: [callback-target] a function in a register is the address of a `Function`, which
    // lives as long as its program.
    let function = unsafe { &*pointer::<Function>(function) };
    // SAFETY: [callback-target] the program owns its functions.
    let program = unsafe { &*function.program };
    let args = [r1, r2, r3, r4, r5];
    let detour = program.entries.leads_to(function.number);
    if detour != 0 {
        // SAFETY: [entry-detour] it was just read; [callback-target] by the caller.
        return unsafe { Detour::take(detour, cx, program, function.number, args) }.unwrap_or(0);
    }
    let stack_depth = function.stack_depth;
    let start = Start { program, at: function.start, stack_depth, args };
    // SAFETY: [callback-target] by the caller; the run that called the helper waits.
    unsafe { run_on_host(&start, cx, &mut NoWitness) }.unwrap_or(0)
}

/// Which function begins there, by its place; of none, a place where there is none.
fn number_of(image: &Image, start: Pc) -> usize {
    image.subprogs.iter().position(|subprog| subprog.start == start).unwrap_or(usize::MAX)
}

/// What translation asks of an image.
struct Binding<'a> {
    image: &'a Image,
    /// Where functions start whose address is taken, and their stack.
    functions: Vec<(Pc, u32)>,
}

impl Binding<'_> {
    fn map(&self, at: Pc, index: i32) -> Result<&bpf_abi::image::BoundMap, PrepareError> {
        let map = usize::try_from(index).ok().and_then(|index| self.image.maps.get(index));
        map.ok_or(PrepareError { at, kind: PrepareErrorKind::NoMap })
    }
}

impl Links for Binding<'_> {
    type Error = PrepareError;

    fn imm64(&mut self, at: Pc, imm: Imm64) -> Result<Op, PrepareError> {
        let op = Op::new(Code::LoadImm64);
        match imm {
            Imm64::Value(imm) => Ok(Op { imm, ..op }),
            Imm64::MapFd(index) | Imm64::MapIdx(index) => {
                Ok(Op { imm: self.map(at, index)?.handle, ..op })
            }
            Imm64::MapValue { fd: index, off } | Imm64::MapIdxValue { idx: index, off } => {
                let value = self.map(at, index)?.value;
                let value = value.ok_or(PrepareError { at, kind: PrepareErrorKind::NoMap })?;
                Ok(Op { imm: value.wrapping_add(u64::from(off)), ..op })
            }
            Imm64::Func { off } => {
                let start = at.offset(1 + i64::from(off));
                let Some(start) = start.filter(|start| start.index() < self.image.program.len())
                else {
                    return self.unsupported(at);
                };
                self.functions.push((start, self.stack_depth(start)));
                // The place in `functions`, from one; the address is known when they have theirs.
                Ok(Op { to: u32::try_from(self.functions.len()).unwrap_or(0), ..op })
            }
            Imm64::BtfId { .. } => self.unsupported(at),
        }
    }

    fn call(&mut self, at: Pc, call: Call) -> Result<Op, PrepareError> {
        let Call::Helper(id) = call else { return self.unsupported(at) };
        if id == THROW {
            return Ok(Op::new(Code::Throw));
        }
        if id == TAIL_CALL {
            let map = self.image.notes.get(at.index()).and_then(|note| note.map);
            return Ok(Op { to: map.map_or(ANY_MAP, u32::from), ..Op::new(Code::TailCall) });
        }
        let helper = self
            .image
            .helpers
            .iter()
            .position(|helper| i64::from(helper.proto.id) == i64::from(id));
        let helper = helper.and_then(|at| u32::try_from(at).ok());
        let to = helper.ok_or(PrepareError { at, kind: PrepareErrorKind::NoHelper(id) })?;
        Ok(Op { to, ..Op::new(Code::CallHelper) })
    }

    fn stack_depth(&self, start: Pc) -> u32 {
        let subprogs = &self.image.subprogs;
        let subprog = subprogs.iter().find(|subprog| subprog.start == start);
        let depth = subprog.map_or(MAX_STACK, |subprog| u32::from(subprog.stack_depth));
        depth.next_multiple_of(8).min(MAX_STACK)
    }

    fn function(&self, start: Pc) -> u32 {
        u32::try_from(number_of(self.image, start)).unwrap_or(u32::MAX)
    }

    fn may_fault(&self, at: Pc) -> bool {
        let note = self.image.notes.get(at.index());
        note.is_some_and(|note| note.facts.contains(Facts::MAY_FAULT))
    }

    fn packet(&mut self, at: Pc) -> Result<Op, PrepareError> {
        if self.image.helpers.iter().any(|helper| helper.proto.id == LOAD_PACKET) {
            return Ok(Op::new(Code::LoadPacketAbs));
        }
        Err(PrepareError { at, kind: PrepareErrorKind::Unsupported })
    }

    fn unsupported(&mut self, at: Pc) -> Result<Op, PrepareError> {
        Err(PrepareError { at, kind: PrepareErrorKind::Unsupported })
    }
}

/// What a verified program can reach. `WATCHED` runs go one instruction a step.
struct Bound<const WATCHED: bool> {
    cx: *mut RunCx,
}

impl<const WATCHED: bool> Bound<WATCHED> {
    /// Calls the helper in this place of the image's list.
    #[inline(always)]
    #[expect(unsafe_code, reason = "helpers are called by their address")]
    fn call(&self, program: &Interp, index: usize, args: [u64; 5]) -> Result<u64, FaultKind> {
        let Some(helper) = program.image.helpers.get(index) else {
            return Err(FaultKind::Unsupported);
        };
        let [r1, r2, r3, r4, r5] = args;
        // SAFETY: [helper-args] the verifier held the program to the helper's contract.
        Ok(unsafe { (helper.entry)(self.cx, r1, r2, r3, r4, r5) })
    }

    /// What is in a slot, if the tail call is taken; it is counted in the run.
    #[inline(always)]
    #[expect(unsafe_code, reason = "program arrays hold programs by their address")]
    fn next_program<'p>(
        &self,
        program: &Interp,
        op: Op,
        map: u64,
        index: u32,
    ) -> Option<Next<'p, Interp>> {
        let maps = &program.image.maps;
        let map = match op.to {
            ANY_MAP => maps.iter().find(|bound| bound.handle == map)?,
            known => maps.get(known as usize)?,
        };
        let MapLayout::ProgArray { native, interp, max_entries } = map.layout else { return None };
        // SAFETY: [run-context] `cx` is the run's; nobody else uses it while no helper runs.
        let taken = unsafe { &mut (*self.cx).tail_calls };
        if index >= max_entries || *taken >= MAX_TAIL_CALLS {
            return None;
        }
        let entry_in = |slots: u64| {
            let slot = pointer::<u64>(slots.wrapping_add(8 * u64::from(index)));
            // SAFETY: [prog-array-slots] the layout's slots live as long as the map, which the
            // image keeps; they are aligned words.
            let slot = unsafe { AtomicU64::from_ptr(slot) };
            slot.load(Ordering::Acquire)
        };
        let next = match entry_in(interp) {
            0 if native == 0 => return None,
            0 => match entry_in(native) {
                0 => return None,
                entry => Next::Native(entry),
            },
            // SAFETY: [prog-entry] a slot holds what `Interp::entry` gave, and whoever empties it
            // keeps the program alive until the runs that may have read it are over.
            entry => Next::Program(unsafe { &*pointer::<Interp>(entry) }),
        };
        *taken += 1;
        Some(next)
    }
}

impl<'p, M: Memory, const WATCHED: bool> World<'p, M> for Bound<WATCHED> {
    type Program = Interp;

    const COUNTS: bool = false;

    fn budget(&self) -> u64 {
        u64::MAX
    }

    #[inline(always)]
    fn ops(program: &'p Interp) -> &'p [Op] {
        if WATCHED { &program.ops } else { &program.joined }
    }

    fn stack_depth(program: &'p Interp) -> u32 {
        program.stack_depth
    }

    #[inline(always)]
    fn helper(
        &mut self,
        program: &'p Interp,
        op: Op,
        args: [u64; 5],
        _: &mut M,
    ) -> Result<HelperEnd, FaultKind> {
        self.call(program, op.to as usize, args).map(HelperEnd::Returned)
    }

    fn helper_by_number(&mut self, _: u64, _: [u64; 5], _: &mut M) -> Result<HelperEnd, FaultKind> {
        Err(FaultKind::Unsupported)
    }

    fn packet(
        &mut self,
        program: &'p Interp,
        ctx: u64,
        offset: u64,
        size: u32,
    ) -> Result<Option<u64>, FaultKind> {
        let index = program.packet.unwrap_or(usize::MAX);
        let value = self.call(program, index, [ctx, offset, u64::from(size), 0, 0])?;
        Ok((value != LOAD_PACKET_FAILED).then_some(value))
    }

    // Inlined, so that the operation stays in registers where it is read.
    #[inline(always)]
    fn tail_call(&mut self, program: &'p Interp, op: Op, map: u64, index: u32) -> Next<'p, Interp> {
        let next = self.next_program(program, op, map, index).unwrap_or(Next::Nowhere);
        match &next {
            Next::Nowhere => program.count(|counters| &counters.fallen_through),
            Next::Program(next) => {
                program.count(|counters| &counters.tail_calls);
                next.count(|counters| &counters.runs);
            }
            Next::Native(_) => program.count(|counters| &counters.tail_calls),
        }
        next
    }

    #[expect(unsafe_code, reason = "enters compiled code")]
    fn native(&mut self, entry: u64, ctx: u64) -> Result<u64, FaultKind> {
        // SAFETY: [prog-entry] the run has just found it in a slot; [run-context] and waits.
        unsafe { native::go_on(self.cx, entry, ctx) }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "entries hold detours by their address")]
    fn detour(
        &mut self,
        program: &'p Interp,
        op: Op,
        args: [u64; 5],
    ) -> Option<Result<u64, FaultKind>> {
        let function = (op.imm >> 32) as usize;
        let detour = program.entries.leads_to(function);
        if detour == 0 {
            return None;
        }
        // SAFETY: [entry-detour] it was just read; [run-context] this run waits, and the verifier
        // held its arguments to what the function expects.
        let result = unsafe { Detour::take(detour, self.cx, program, function, args) };
        Some(result.map_err(|fault| fault.kind))
    }

    fn exception_callback(program: &'p Interp) -> Option<(usize, u32)> {
        program.exception_callback
    }

    #[cold]
    #[expect(unsafe_code, reason = "the exception is in the run's context")]
    fn throw(&mut self, cookie: u64) {
        // SAFETY: [run-context] `cx` is the run's; nobody else uses it while no helper runs.
        let cx = unsafe { &mut *self.cx };
        (cx.cookie, cx.thrown) = (cookie, 1);
    }

    #[expect(unsafe_code, reason = "the exception is in the run's context")]
    fn thrown(&mut self) -> Option<u64> {
        // SAFETY: [run-context] `cx` is the run's; nobody else uses it while no helper runs.
        let cx = unsafe { &mut *self.cx };
        (std::mem::take(&mut cx.thrown) != 0).then_some(cx.cookie)
    }

    #[expect(unsafe_code, reason = "the count is in the run's context")]
    fn tail_calls(&self) -> u32 {
        // SAFETY: [run-context] `cx` is the run's; nobody else uses it while no helper runs.
        unsafe { (*self.cx).tail_calls }
    }
}
