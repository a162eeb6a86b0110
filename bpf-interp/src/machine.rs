//! Registers, frames and the loop.

use std::sync::atomic::{Ordering, compiler_fence};

use bpf_abi::limits::{MAX_CALL_FRAMES, MAX_MAY_GOTO};
use bpf_isa::{AluOp, AtomicOp, Endian, Extension, JumpOp, Pc, Reg, Size, Width};

use crate::alu::{alu, alu_signed, endian, extend, low, mov_sx, neg};
use crate::fault::{Fault, FaultKind};
use crate::jump::taken;
use crate::memory::Memory;
use crate::observe::{Step, Witness};
use crate::ops::{ATOMICS, Code, Op, TrapKind};

/// What a program can reach besides memory.
pub(crate) trait World<'p, M> {
    /// A program as this world knows it.
    type Program: 'p;

    /// Whether instructions are counted against [`budget`](Self::budget).
    const COUNTS: bool;

    /// How many instructions a run may take.
    fn budget(&self) -> u64;

    /// Its operations.
    fn ops(program: &'p Self::Program) -> &'p [Op];

    /// How much stack its first function uses.
    fn stack_depth(program: &'p Self::Program) -> u32;

    /// Calls the helper that `op` names.
    fn helper(
        &mut self,
        program: &'p Self::Program,
        op: Op,
        args: [u64; 5],
        memory: &mut M,
    ) -> Result<HelperEnd, FaultKind>;

    /// Calls the helper whose number a register holds, as `op` was translated for it.
    fn helper_by_number(
        &mut self,
        number: u64,
        args: [u64; 5],
        memory: &mut M,
    ) -> Result<HelperEnd, FaultKind>;

    /// Bytes of the packet as a number; nothing if they are not there.
    fn packet(
        &mut self,
        program: &'p Self::Program,
        ctx: u64,
        offset: u64,
        size: u32,
    ) -> Result<Option<u64>, FaultKind>;

    /// Where to go on, if the tail call is taken; it is counted.
    fn tail_call(
        &mut self,
        program: &'p Self::Program,
        op: Op,
        map: u64,
        index: u32,
    ) -> Next<'p, Self::Program>;

    /// Runs compiled code that a tail call from a function leads to, with this R1; its R0.
    fn native(&mut self, entry: u64, ctx: u64) -> Result<u64, FaultKind>;

    /// Calls what stands at the entry of the function that `op` calls, if anybody does.
    #[inline(always)]
    fn detour(
        &mut self,
        program: &'p Self::Program,
        op: Op,
        args: [u64; 5],
    ) -> Option<Result<u64, FaultKind>> {
        let _ = (program, op, args);
        None
    }

    /// The function that is given the value of an exception: its first operation, and how much
    /// stack it uses.
    fn exception_callback(program: &'p Self::Program) -> Option<(usize, u32)> {
        let _ = program;
        None
    }

    /// Leaves an exception to who called the function that the run began in.
    fn throw(&mut self, cookie: u64) {
        let _ = cookie;
    }

    /// The value of an exception that a function left to us, which is taken.
    fn thrown(&mut self) -> Option<u64> {
        None
    }

    /// How many tail calls were taken.
    fn tail_calls(&self) -> u32;
}

/// How a helper ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelperEnd {
    /// With this result.
    Returned(u64),
    /// With this result, which is that of the whole program.
    Ends(u64),
}

/// Where a tail call leads.
pub(crate) enum Next<'p, P> {
    /// It is not taken.
    Nowhere,
    /// To a program that is interpreted.
    Program(&'p P),
    /// To compiled code at this address.
    Native(u64),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With this R0.
    Returned(u64),
    /// By a tail call of its first function, or of one that took its place, into compiled code at
    /// this address with this R1.
    Left { entry: u64, ctx: u64 },
}

/// Where a run begins.
pub(crate) struct Start<'p, P> {
    pub(crate) program: &'p P,
    /// The first operation.
    pub(crate) at: Pc,
    /// How much stack the function there uses.
    pub(crate) stack_depth: u32,
    /// R1 to R5.
    pub(crate) args: [u64; 5],
}

/// A caller, waiting.
struct Frame<'p, P> {
    program: &'p P,
    /// Where it goes on.
    pc: usize,
    /// R6 to R9.
    kept: [u64; 4],
    /// Its R10.
    fp: u64,
    /// The lower end of its part of the stack.
    bottom: u64,
    /// How many callers its program has had before it, by tail calls from functions: each
    /// program counts its own.
    base: usize,
}

/// Registers that are indexed by [`Reg`], so that no index needs a check.
struct Regs([u64; 11]);

impl Regs {
    #[inline(always)]
    fn get(&self, reg: Reg) -> u64 {
        self.0[reg.index()]
    }

    #[inline(always)]
    fn set(&mut self, reg: Reg, value: u64) {
        self.0[reg.index()] = value;
    }

    fn args(&self) -> [u64; 5] {
        let [_, r1, r2, r3, r4, r5, ..] = self.0;
        [r1, r2, r3, r4, r5]
    }
}

/// What is left of a program that an exception ended.
enum Unwound {
    /// A callback that is given its value: its first operation, its frame and where that ends.
    Callback { first: usize, fp: u64, bottom: u64 },
    /// The value is the result.
    Result,
}

/// Leaves all frames of a program but those of its callers.
#[cold]
#[inline(never)]
fn unwind<'p, M: Memory, W: World<'p, M>>(
    program: &'p W::Program,
    frames: &mut Vec<Frame<'p, W::Program>>,
    base: usize,
    bottom: u64,
    memory: &mut M,
) -> Result<Unwound, FaultKind> {
    let fp = frames.get(base).map_or(bottom, |first| first.bottom);
    frames.truncate(base);
    let Some((first, depth)) = W::exception_callback(program) else { return Ok(Unwound::Result) };
    memory.open_frame(fp, depth)?;
    Ok(Unwound::Callback { first, fp, bottom: fp - u64::from(depth) })
}

/// Runs a program until it ends, or leaves for compiled code.
#[expect(clippy::too_many_lines, reason = "one arm an operation")]
pub(crate) fn run<'p, M, W, O>(
    start: &Start<'p, W::Program>,
    memory: &mut M,
    world: &mut W,
    witness: &mut O,
) -> Result<End, Fault>
where
    M: Memory,
    W: World<'p, M>,
    O: Witness,
{
    let mut program = start.program;
    let mut ops = W::ops(program);
    let mut pc = start.at.index();
    let mut regs = Regs([0; 11]);
    let [r1, r2, r3, r4, r5] = start.args;
    regs.0[1..6].copy_from_slice(&[r1, r2, r3, r4, r5]);
    let mut fp = memory.stack_top();
    let mut bottom = fp - u64::from(start.stack_depth);
    let mut frames: Vec<Frame<'p, W::Program>> = Vec::new();
    let mut base = 0;
    let mut may_goto = MAX_MAY_GOTO;
    let mut budget = world.budget();
    // Whether the first function of the running program is not in this run, but waits for it: it
    // called a function that somebody stands before.
    let mut is_inner = start.at != Pc(0);
    regs.set(Reg::R10, fp);
    memory.open_frame(fp, start.stack_depth).map_err(|kind| Fault { pc: start.at, kind })?;

    loop {
        let at = pc;
        // What `Op::to` promises: there is one.
        let Some(op) = ops.get(at).copied() else {
            return Err(fault(at, FaultKind::Outside));
        };
        if O::WATCHES {
            let pc = position(at);
            let tail_calls = world.tail_calls();
            witness.step(Step { pc, frame: frames.len(), tail_calls, regs: &regs.0 });
        }
        if W::COUNTS {
            if budget == 0 {
                return Err(fault(at, FaultKind::Budget(world.budget())));
            }
            budget -= 1;
        }
        pc = at + 1;

        macro_rules! dst {
            () => {
                regs.get(op.dst)
            };
        }
        macro_rules! src {
            () => {
                regs.get(op.src)
            };
        }
        macro_rules! right {
            () => {
                regs.get(op.right)
            };
        }
        // Ends a straight operation.
        macro_rules! set {
            ($value:expr) => {{
                let value = $value;
                regs.set(op.dst, value);
                pc = op.to as usize;
            }};
        }
        macro_rules! jump_if {
            ($condition:expr) => {
                jump_if!($condition, op)
            };
            ($condition:expr, $op:ident) => {
                if $condition {
                    // Keeps this a branch, which the processor predicts, where a selected `pc`
                    // would have to wait for the comparison. It makes no instruction.
                    compiler_fence(Ordering::SeqCst);
                    pc = $op.to as usize;
                }
            };
        }
        // Goes through comparisons of one kind, one step for all.
        macro_rules! search {
            ($jump:ident, $width:ident) => {{
                let mut op = op;
                loop {
                    jump_if!(taken(JumpOp::$jump, Width::$width, regs.get(op.dst), op.imm), op);
                    match ops.get(pc).copied() {
                        Some(next) if next.code == op.code => {
                            op = next;
                            pc += 1;
                        }
                        _ => break,
                    }
                }
            }};
        }
        macro_rules! attempt {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(wrong) => return Err(fault(at, wrong.into())),
                }
            };
        }
        macro_rules! load {
            ($size:ident) => {
                set!(attempt!(memory.load(Size::$size, src!().wrapping_add(op.imm))))
            };
        }
        macro_rules! load_signed {
            ($size:ident) => {{
                let value = attempt!(memory.load(Size::$size, src!().wrapping_add(op.imm)));
                set!(extend(Extension::Signed, Size::$size, value))
            }};
        }
        macro_rules! load_or_zero {
            ($size:ident, $ext:ident) => {{
                let value = memory.load_or_zero(Size::$size, src!().wrapping_add(op.imm));
                set!(extend(Extension::$ext, Size::$size, value))
            }};
        }
        macro_rules! store {
            ($size:ident) => {
                attempt!(memory.store(Size::$size, dst!().wrapping_add(op.imm), src!()))
            };
        }
        macro_rules! store_imm {
            ($size:ident) => {{
                let address = dst!().wrapping_add(op.store_offset());
                attempt!(memory.store(Size::$size, address, op.imm))
            }};
        }
        macro_rules! atomic {
            ($size:ident) => {{
                let action = ATOMICS[op.to as usize % ATOMICS.len()];
                let address = dst!().wrapping_add(op.imm);
                let expected = regs.get(Reg::R0);
                let found = memory.atomic(action, Size::$size, address, src!(), expected);
                let found = attempt!(found);
                match action {
                    AtomicOp::CmpXchg => regs.set(Reg::R0, found),
                    AtomicOp::Xchg
                    | AtomicOp::Add { fetch: true }
                    | AtomicOp::Or { fetch: true }
                    | AtomicOp::And { fetch: true }
                    | AtomicOp::Xor { fetch: true } => regs.set(op.src, found),
                    AtomicOp::Add { fetch: false }
                    | AtomicOp::Or { fetch: false }
                    | AtomicOp::And { fetch: false }
                    | AtomicOp::Xor { fetch: false } => {}
                }
            }};
        }
        macro_rules! acquire {
            ($size:ident) => {
                set!(attempt!(memory.load_acquire(Size::$size, src!().wrapping_add(op.imm))))
            };
        }
        macro_rules! release {
            ($size:ident) => {
                attempt!(memory.store_release(Size::$size, dst!().wrapping_add(op.imm), src!()))
            };
        }
        // Leaves the function with R0: the program's end, or back to the caller.
        macro_rules! leave {
            () => {{
                let Some(caller) = frames.pop() else {
                    return Ok(End::Returned(regs.get(Reg::R0)));
                };
                program = caller.program;
                ops = W::ops(program);
                pc = caller.pc;
                regs.0[6..10].copy_from_slice(&caller.kept);
                fp = caller.fp;
                bottom = caller.bottom;
                base = caller.base;
                regs.set(Reg::R10, fp);
            }};
        }
        // Ends the running program: its result is what its exception callback makes of the value.
        macro_rules! throw {
            ($cookie:expr) => {{
                let cookie = $cookie;
                if is_inner && base == 0 {
                    world.throw(cookie);
                    return Ok(End::Returned(0));
                }
                match attempt!(unwind::<M, W>(program, &mut frames, base, bottom, memory)) {
                    Unwound::Callback { first, fp: new, bottom: below } => {
                        (pc, fp, bottom) = (first, new, below);
                        regs.set(Reg::R10, fp);
                        regs.set(Reg::R1, cookie);
                    }
                    Unwound::Result => {
                        regs.set(Reg::R0, cookie);
                        leave!();
                    }
                }
            }};
        }
        macro_rules! packet {
            ($offset:expr) => {{
                let offset = i64::from(low($offset).cast_signed()).cast_unsigned();
                let ctx = regs.get(Reg::R6);
                match attempt!(world.packet(program, ctx, offset, op.to)) {
                    Some(value) => regs.set(Reg::R0, value),
                    None => {
                        regs.set(Reg::R0, 0);
                        leave!();
                    }
                }
            }};
        }

        match op.code {
            Code::Add64R => set!(alu(AluOp::Add, Width::W64, dst!(), src!())),
            Code::Add64I => set!(alu(AluOp::Add, Width::W64, dst!(), op.imm)),
            Code::Add32R => set!(alu(AluOp::Add, Width::W32, dst!(), src!())),
            Code::Add32I => set!(alu(AluOp::Add, Width::W32, dst!(), op.imm)),
            Code::Sub64R => set!(alu(AluOp::Sub, Width::W64, dst!(), src!())),
            Code::Sub64I => set!(alu(AluOp::Sub, Width::W64, dst!(), op.imm)),
            Code::Sub32R => set!(alu(AluOp::Sub, Width::W32, dst!(), src!())),
            Code::Sub32I => set!(alu(AluOp::Sub, Width::W32, dst!(), op.imm)),
            Code::Mul64R => set!(alu(AluOp::Mul, Width::W64, dst!(), src!())),
            Code::Mul64I => set!(alu(AluOp::Mul, Width::W64, dst!(), op.imm)),
            Code::Mul32R => set!(alu(AluOp::Mul, Width::W32, dst!(), src!())),
            Code::Mul32I => set!(alu(AluOp::Mul, Width::W32, dst!(), op.imm)),
            Code::Div64R => set!(alu(AluOp::Div, Width::W64, dst!(), src!())),
            Code::Div64I => set!(alu(AluOp::Div, Width::W64, dst!(), op.imm)),
            Code::Div32R => set!(alu(AluOp::Div, Width::W32, dst!(), src!())),
            Code::Div32I => set!(alu(AluOp::Div, Width::W32, dst!(), op.imm)),
            Code::Or64R => set!(alu(AluOp::Or, Width::W64, dst!(), src!())),
            Code::Or64I => set!(alu(AluOp::Or, Width::W64, dst!(), op.imm)),
            Code::Or32R => set!(alu(AluOp::Or, Width::W32, dst!(), src!())),
            Code::Or32I => set!(alu(AluOp::Or, Width::W32, dst!(), op.imm)),
            Code::And64R => set!(alu(AluOp::And, Width::W64, dst!(), src!())),
            Code::And64I => set!(alu(AluOp::And, Width::W64, dst!(), op.imm)),
            Code::And32R => set!(alu(AluOp::And, Width::W32, dst!(), src!())),
            Code::And32I => set!(alu(AluOp::And, Width::W32, dst!(), op.imm)),
            Code::Lsh64R => set!(alu(AluOp::Lsh, Width::W64, dst!(), src!())),
            Code::Lsh64I => set!(alu(AluOp::Lsh, Width::W64, dst!(), op.imm)),
            Code::Lsh32R => set!(alu(AluOp::Lsh, Width::W32, dst!(), src!())),
            Code::Lsh32I => set!(alu(AluOp::Lsh, Width::W32, dst!(), op.imm)),
            Code::Rsh64R => set!(alu(AluOp::Rsh, Width::W64, dst!(), src!())),
            Code::Rsh64I => set!(alu(AluOp::Rsh, Width::W64, dst!(), op.imm)),
            Code::Rsh32R => set!(alu(AluOp::Rsh, Width::W32, dst!(), src!())),
            Code::Rsh32I => set!(alu(AluOp::Rsh, Width::W32, dst!(), op.imm)),
            Code::Mod64R => set!(alu(AluOp::Mod, Width::W64, dst!(), src!())),
            Code::Mod64I => set!(alu(AluOp::Mod, Width::W64, dst!(), op.imm)),
            Code::Mod32R => set!(alu(AluOp::Mod, Width::W32, dst!(), src!())),
            Code::Mod32I => set!(alu(AluOp::Mod, Width::W32, dst!(), op.imm)),
            Code::Xor64R => set!(alu(AluOp::Xor, Width::W64, dst!(), src!())),
            Code::Xor64I => set!(alu(AluOp::Xor, Width::W64, dst!(), op.imm)),
            Code::Xor32R => set!(alu(AluOp::Xor, Width::W32, dst!(), src!())),
            Code::Xor32I => set!(alu(AluOp::Xor, Width::W32, dst!(), op.imm)),
            Code::Mov64R => set!(alu(AluOp::Mov, Width::W64, 0, src!())),
            Code::Mov64I => set!(alu(AluOp::Mov, Width::W64, 0, op.imm)),
            Code::Mov32R => set!(alu(AluOp::Mov, Width::W32, 0, src!())),
            Code::Mov32I => set!(alu(AluOp::Mov, Width::W32, 0, op.imm)),
            Code::Arsh64R => set!(alu(AluOp::Arsh, Width::W64, dst!(), src!())),
            Code::Arsh64I => set!(alu(AluOp::Arsh, Width::W64, dst!(), op.imm)),
            Code::Arsh32R => set!(alu(AluOp::Arsh, Width::W32, dst!(), src!())),
            Code::Arsh32I => set!(alu(AluOp::Arsh, Width::W32, dst!(), op.imm)),
            Code::SDiv64R => set!(alu_signed(AluOp::Div, Width::W64, dst!(), src!())),
            Code::SDiv64I => set!(alu_signed(AluOp::Div, Width::W64, dst!(), op.imm)),
            Code::SDiv32R => set!(alu_signed(AluOp::Div, Width::W32, dst!(), src!())),
            Code::SDiv32I => set!(alu_signed(AluOp::Div, Width::W32, dst!(), op.imm)),
            Code::SMod64R => set!(alu_signed(AluOp::Mod, Width::W64, dst!(), src!())),
            Code::SMod64I => set!(alu_signed(AluOp::Mod, Width::W64, dst!(), op.imm)),
            Code::SMod32R => set!(alu_signed(AluOp::Mod, Width::W32, dst!(), src!())),
            Code::SMod32I => set!(alu_signed(AluOp::Mod, Width::W32, dst!(), op.imm)),
            Code::JEq64R => jump_if!(taken(JumpOp::Eq, Width::W64, dst!(), src!())),
            Code::JEq64I => jump_if!(taken(JumpOp::Eq, Width::W64, dst!(), op.imm)),
            Code::JEq32R => jump_if!(taken(JumpOp::Eq, Width::W32, dst!(), src!())),
            Code::JEq32I => jump_if!(taken(JumpOp::Eq, Width::W32, dst!(), op.imm)),
            Code::JGt64R => jump_if!(taken(JumpOp::Gt, Width::W64, dst!(), src!())),
            Code::JGt64I => jump_if!(taken(JumpOp::Gt, Width::W64, dst!(), op.imm)),
            Code::JGt32R => jump_if!(taken(JumpOp::Gt, Width::W32, dst!(), src!())),
            Code::JGt32I => jump_if!(taken(JumpOp::Gt, Width::W32, dst!(), op.imm)),
            Code::JGe64R => jump_if!(taken(JumpOp::Ge, Width::W64, dst!(), src!())),
            Code::JGe64I => jump_if!(taken(JumpOp::Ge, Width::W64, dst!(), op.imm)),
            Code::JGe32R => jump_if!(taken(JumpOp::Ge, Width::W32, dst!(), src!())),
            Code::JGe32I => jump_if!(taken(JumpOp::Ge, Width::W32, dst!(), op.imm)),
            Code::JSet64R => jump_if!(taken(JumpOp::Set, Width::W64, dst!(), src!())),
            Code::JSet64I => jump_if!(taken(JumpOp::Set, Width::W64, dst!(), op.imm)),
            Code::JSet32R => jump_if!(taken(JumpOp::Set, Width::W32, dst!(), src!())),
            Code::JSet32I => jump_if!(taken(JumpOp::Set, Width::W32, dst!(), op.imm)),
            Code::JNe64R => jump_if!(taken(JumpOp::Ne, Width::W64, dst!(), src!())),
            Code::JNe64I => jump_if!(taken(JumpOp::Ne, Width::W64, dst!(), op.imm)),
            Code::JNe32R => jump_if!(taken(JumpOp::Ne, Width::W32, dst!(), src!())),
            Code::JNe32I => jump_if!(taken(JumpOp::Ne, Width::W32, dst!(), op.imm)),
            Code::JSgt64R => jump_if!(taken(JumpOp::Sgt, Width::W64, dst!(), src!())),
            Code::JSgt64I => jump_if!(taken(JumpOp::Sgt, Width::W64, dst!(), op.imm)),
            Code::JSgt32R => jump_if!(taken(JumpOp::Sgt, Width::W32, dst!(), src!())),
            Code::JSgt32I => jump_if!(taken(JumpOp::Sgt, Width::W32, dst!(), op.imm)),
            Code::JSge64R => jump_if!(taken(JumpOp::Sge, Width::W64, dst!(), src!())),
            Code::JSge64I => jump_if!(taken(JumpOp::Sge, Width::W64, dst!(), op.imm)),
            Code::JSge32R => jump_if!(taken(JumpOp::Sge, Width::W32, dst!(), src!())),
            Code::JSge32I => jump_if!(taken(JumpOp::Sge, Width::W32, dst!(), op.imm)),
            Code::JLt64R => jump_if!(taken(JumpOp::Lt, Width::W64, dst!(), src!())),
            Code::JLt64I => jump_if!(taken(JumpOp::Lt, Width::W64, dst!(), op.imm)),
            Code::JLt32R => jump_if!(taken(JumpOp::Lt, Width::W32, dst!(), src!())),
            Code::JLt32I => jump_if!(taken(JumpOp::Lt, Width::W32, dst!(), op.imm)),
            Code::JLe64R => jump_if!(taken(JumpOp::Le, Width::W64, dst!(), src!())),
            Code::JLe64I => jump_if!(taken(JumpOp::Le, Width::W64, dst!(), op.imm)),
            Code::JLe32R => jump_if!(taken(JumpOp::Le, Width::W32, dst!(), src!())),
            Code::JLe32I => jump_if!(taken(JumpOp::Le, Width::W32, dst!(), op.imm)),
            Code::JSlt64R => jump_if!(taken(JumpOp::Slt, Width::W64, dst!(), src!())),
            Code::JSlt64I => jump_if!(taken(JumpOp::Slt, Width::W64, dst!(), op.imm)),
            Code::JSlt32R => jump_if!(taken(JumpOp::Slt, Width::W32, dst!(), src!())),
            Code::JSlt32I => jump_if!(taken(JumpOp::Slt, Width::W32, dst!(), op.imm)),
            Code::JSle64R => jump_if!(taken(JumpOp::Sle, Width::W64, dst!(), src!())),
            Code::JSle64I => jump_if!(taken(JumpOp::Sle, Width::W64, dst!(), op.imm)),
            Code::JSle32R => jump_if!(taken(JumpOp::Sle, Width::W32, dst!(), src!())),
            Code::JSle32I => jump_if!(taken(JumpOp::Sle, Width::W32, dst!(), op.imm)),
            Code::SearchEq64 => search!(Eq, W64),
            Code::SearchEq32 => search!(Eq, W32),
            Code::SearchGt64 => search!(Gt, W64),
            Code::SearchGt32 => search!(Gt, W32),
            Code::SearchSgt64 => search!(Sgt, W64),
            Code::SearchSgt32 => search!(Sgt, W32),
            Code::MovedAdd64R => set!(alu(AluOp::Add, Width::W64, src!(), right!())),
            Code::MovedAdd64I => set!(alu(AluOp::Add, Width::W64, src!(), op.imm)),
            Code::MovedAdd32R => set!(alu(AluOp::Add, Width::W32, src!(), right!())),
            Code::MovedAdd32I => set!(alu(AluOp::Add, Width::W32, src!(), op.imm)),
            Code::MovedSub64R => set!(alu(AluOp::Sub, Width::W64, src!(), right!())),
            Code::MovedSub64I => set!(alu(AluOp::Sub, Width::W64, src!(), op.imm)),
            Code::MovedSub32R => set!(alu(AluOp::Sub, Width::W32, src!(), right!())),
            Code::MovedSub32I => set!(alu(AluOp::Sub, Width::W32, src!(), op.imm)),
            Code::MovedMul64R => set!(alu(AluOp::Mul, Width::W64, src!(), right!())),
            Code::MovedMul64I => set!(alu(AluOp::Mul, Width::W64, src!(), op.imm)),
            Code::MovedMul32R => set!(alu(AluOp::Mul, Width::W32, src!(), right!())),
            Code::MovedMul32I => set!(alu(AluOp::Mul, Width::W32, src!(), op.imm)),
            Code::MovedDiv64R => set!(alu(AluOp::Div, Width::W64, src!(), right!())),
            Code::MovedDiv64I => set!(alu(AluOp::Div, Width::W64, src!(), op.imm)),
            Code::MovedDiv32R => set!(alu(AluOp::Div, Width::W32, src!(), right!())),
            Code::MovedDiv32I => set!(alu(AluOp::Div, Width::W32, src!(), op.imm)),
            Code::MovedOr64R => set!(alu(AluOp::Or, Width::W64, src!(), right!())),
            Code::MovedOr64I => set!(alu(AluOp::Or, Width::W64, src!(), op.imm)),
            Code::MovedOr32R => set!(alu(AluOp::Or, Width::W32, src!(), right!())),
            Code::MovedOr32I => set!(alu(AluOp::Or, Width::W32, src!(), op.imm)),
            Code::MovedAnd64R => set!(alu(AluOp::And, Width::W64, src!(), right!())),
            Code::MovedAnd64I => set!(alu(AluOp::And, Width::W64, src!(), op.imm)),
            Code::MovedAnd32R => set!(alu(AluOp::And, Width::W32, src!(), right!())),
            Code::MovedAnd32I => set!(alu(AluOp::And, Width::W32, src!(), op.imm)),
            Code::MovedLsh64R => set!(alu(AluOp::Lsh, Width::W64, src!(), right!())),
            Code::MovedLsh64I => set!(alu(AluOp::Lsh, Width::W64, src!(), op.imm)),
            Code::MovedLsh32R => set!(alu(AluOp::Lsh, Width::W32, src!(), right!())),
            Code::MovedLsh32I => set!(alu(AluOp::Lsh, Width::W32, src!(), op.imm)),
            Code::MovedRsh64R => set!(alu(AluOp::Rsh, Width::W64, src!(), right!())),
            Code::MovedRsh64I => set!(alu(AluOp::Rsh, Width::W64, src!(), op.imm)),
            Code::MovedRsh32R => set!(alu(AluOp::Rsh, Width::W32, src!(), right!())),
            Code::MovedRsh32I => set!(alu(AluOp::Rsh, Width::W32, src!(), op.imm)),
            Code::MovedMod64R => set!(alu(AluOp::Mod, Width::W64, src!(), right!())),
            Code::MovedMod64I => set!(alu(AluOp::Mod, Width::W64, src!(), op.imm)),
            Code::MovedMod32R => set!(alu(AluOp::Mod, Width::W32, src!(), right!())),
            Code::MovedMod32I => set!(alu(AluOp::Mod, Width::W32, src!(), op.imm)),
            Code::MovedXor64R => set!(alu(AluOp::Xor, Width::W64, src!(), right!())),
            Code::MovedXor64I => set!(alu(AluOp::Xor, Width::W64, src!(), op.imm)),
            Code::MovedXor32R => set!(alu(AluOp::Xor, Width::W32, src!(), right!())),
            Code::MovedXor32I => set!(alu(AluOp::Xor, Width::W32, src!(), op.imm)),
            Code::MovedMov64R => set!(alu(AluOp::Mov, Width::W64, src!(), right!())),
            Code::MovedMov64I => set!(alu(AluOp::Mov, Width::W64, src!(), op.imm)),
            Code::MovedMov32R => set!(alu(AluOp::Mov, Width::W32, src!(), right!())),
            Code::MovedMov32I => set!(alu(AluOp::Mov, Width::W32, src!(), op.imm)),
            Code::MovedArsh64R => set!(alu(AluOp::Arsh, Width::W64, src!(), right!())),
            Code::MovedArsh64I => set!(alu(AluOp::Arsh, Width::W64, src!(), op.imm)),
            Code::MovedArsh32R => set!(alu(AluOp::Arsh, Width::W32, src!(), right!())),
            Code::MovedArsh32I => set!(alu(AluOp::Arsh, Width::W32, src!(), op.imm)),
            Code::Neg64 => set!(neg(Width::W64, dst!())),
            Code::Neg32 => set!(neg(Width::W32, dst!())),
            Code::MovSx8To64 => set!(mov_sx(Width::W64, Size::B, src!())),
            Code::MovSx16To64 => set!(mov_sx(Width::W64, Size::H, src!())),
            Code::MovSx32To64 => set!(mov_sx(Width::W64, Size::W, src!())),
            Code::MovSx8To32 => set!(mov_sx(Width::W32, Size::B, src!())),
            Code::MovSx16To32 => set!(mov_sx(Width::W32, Size::H, src!())),
            Code::Low16 => set!(extend(Extension::Unsigned, Size::H, dst!())),
            Code::Low32 => set!(extend(Extension::Unsigned, Size::W, dst!())),
            Code::Swap16 => set!(endian(Endian::Swap, Size::H, dst!())),
            Code::Swap32 => set!(endian(Endian::Swap, Size::W, dst!())),
            Code::Swap64 => set!(endian(Endian::Swap, Size::DW, dst!())),
            Code::Nothing => {}
            Code::LoadImm64 => {
                regs.set(op.dst, op.imm);
                pc = at + 2;
            }
            Code::Load8 => load!(B),
            Code::Load16 => load!(H),
            Code::Load32 => load!(W),
            Code::Load64 => load!(DW),
            Code::LoadSx8 => load_signed!(B),
            Code::LoadSx16 => load_signed!(H),
            Code::LoadSx32 => load_signed!(W),
            Code::MayFault8 => load_or_zero!(B, Unsigned),
            Code::MayFault16 => load_or_zero!(H, Unsigned),
            Code::MayFault32 => load_or_zero!(W, Unsigned),
            Code::MayFault64 => load_or_zero!(DW, Unsigned),
            Code::MayFaultSx8 => load_or_zero!(B, Signed),
            Code::MayFaultSx16 => load_or_zero!(H, Signed),
            Code::MayFaultSx32 => load_or_zero!(W, Signed),
            Code::Store8R => store!(B),
            Code::Store16R => store!(H),
            Code::Store32R => store!(W),
            Code::Store64R => store!(DW),
            Code::Store8I => store_imm!(B),
            Code::Store16I => store_imm!(H),
            Code::Store32I => store_imm!(W),
            Code::Store64I => store_imm!(DW),
            Code::Atomic32 => atomic!(W),
            Code::Atomic64 => atomic!(DW),
            Code::LoadAcquire8 => acquire!(B),
            Code::LoadAcquire16 => acquire!(H),
            Code::LoadAcquire32 => acquire!(W),
            Code::LoadAcquire64 => acquire!(DW),
            Code::StoreRelease8 => release!(B),
            Code::StoreRelease16 => release!(H),
            Code::StoreRelease32 => release!(W),
            Code::StoreRelease64 => release!(DW),
            Code::LoadPacketAbs => packet!(op.imm),
            Code::LoadPacketInd => packet!(src!().wrapping_add(op.imm)),
            Code::Goto => pc = op.to as usize,
            Code::MayGoto => {
                if may_goto == 0 {
                    pc = op.to as usize;
                } else {
                    may_goto -= 1;
                }
            }
            Code::CallHelper => {
                let end = attempt!(world.helper(program, op, regs.args(), memory));
                match end {
                    HelperEnd::Returned(value) => regs.set(Reg::R0, value),
                    HelperEnd::Ends(value) => return Ok(End::Returned(value)),
                }
            }
            Code::Throw => throw!(regs.get(Reg::R1)),
            Code::CallHelperReg => {
                let end = attempt!(world.helper_by_number(dst!(), regs.args(), memory));
                match end {
                    HelperEnd::Returned(value) => regs.set(Reg::R0, value),
                    HelperEnd::Ends(value) => return Ok(End::Returned(value)),
                }
            }
            Code::CallLocal => {
                if let Some(result) = world.detour(program, op, regs.args()) {
                    regs.set(Reg::R0, attempt!(result));
                    if let Some(cookie) = world.thrown() {
                        throw!(cookie);
                    }
                    continue;
                }
                if frames.len() - base + 1 >= MAX_CALL_FRAMES {
                    return Err(fault(at, FaultKind::CallDepth(MAX_CALL_FRAMES)));
                }
                let depth = low(op.imm);
                attempt!(memory.open_frame(bottom, depth));
                let [_, _, _, _, _, _, r6, r7, r8, r9, _] = regs.0;
                frames.push(Frame { program, pc, kept: [r6, r7, r8, r9], fp, bottom, base });
                fp = bottom;
                bottom = fp - u64::from(depth);
                regs.set(Reg::R10, fp);
                pc = op.to as usize;
            }
            Code::TailCall => {
                let (map, index) = (regs.get(Reg::R2), low(regs.get(Reg::R3)));
                match world.tail_call(program, op, map, index) {
                    Next::Nowhere => {}
                    Next::Program(next) => {
                        program = next;
                        ops = W::ops(program);
                        pc = 0;
                        let depth = W::stack_depth(program);
                        attempt!(memory.open_frame(fp, depth));
                        bottom = fp - u64::from(depth);
                        base = frames.len();
                        is_inner &= base != 0;
                    }
                    Next::Native(entry) => {
                        let ctx = regs.get(Reg::R1);
                        if frames.is_empty() {
                            return Ok(End::Left { entry, ctx });
                        }
                        // It returns to the function's caller, who waits here.
                        regs.set(Reg::R0, attempt!(world.native(entry, ctx)));
                        leave!();
                    }
                }
            }
            Code::Exit => leave!(),
            Code::Trap => {
                return Err(fault(
                    at,
                    match TrapKind::of(op.to) {
                        TrapKind::End => FaultKind::End,
                        TrapKind::SecondSlot => FaultKind::SecondSlot,
                        TrapKind::Outside => FaultKind::Outside,
                        TrapKind::Unsupported => FaultKind::Unsupported,
                    },
                ));
            }
        }
    }
}

fn position(index: usize) -> Pc {
    Pc(u32::try_from(index).unwrap_or(u32::MAX))
}

#[cold]
fn fault(at: usize, kind: FaultKind) -> Fault {
    Fault { pc: position(at), kind }
}
