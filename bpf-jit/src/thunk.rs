//! Code between a function's entry slot and other programs: what runs probes around a function, what
//! has an extension count its tail calls afresh, and what enters the interpreter.
//!
//! A slot jumps here, so the arguments are in their registers and the return address is on the
//! stack, as a body finds them. The frame of the code that runs probes:
//!
//! ```text
//!   rbp -8     the count of tail calls, r15
//!   rbp -16    the run
//!   rbp -24    what the function returned
//!   rbp -32    ... the arguments as registers held them, for the function itself
//!   rbp -72    to -32: the arguments as probes see them, then the returned value
//!   rbp -80    how many arguments there are, and whether there is a returned value
//!   rbp -88    what guards the probe that runs, on this CPU
//! ```
//!
//! Every probe counts its tail calls from zero, and the function goes on counting where it was. A probe
//! that runs on this CPU already is passed over, and that is counted. Probes behind the function do not
//! run if an exception passes through it.
//!
//! The code that enters the interpreter has the same frame. It may stand in a program array: then it
//! is jumped to as a body is, behind where it sets up its frame pointer, and when the interpreter comes
//! to a tail call into compiled code it leaves the rest of its frame and jumps on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bpf_abi::exec::{CpuGuard, InterpFn, ProbeArgs, ProbeGuard, ProgEntry, RunCx};

use crate::abi::NO_TAIL_CALLS;
use crate::code::Chunk;
use crate::error::CompileError;
use crate::finish;
use crate::jit::{Compiled, Jit};
use crate::saves;

/// The registers that arguments are passed in, by their numbers: rdi, rsi, rdx, rcx, r8, r9.
const ARGS: [u8; 6] = [7, 6, 2, 1, 8, 9];

const RAX: u8 = 0;
const RDX: u8 = 2;
const RSI: u8 = 6;
const RDI: u8 = 7;
const R15: u8 = 15;

/// Where things lie in the frame, counted from rbp.
const COUNT: i32 = -8;
const RUN: i32 = -16;
const RESULT: i32 = -24;
const WORDS: i32 = -72;
const HEADER: i32 = WORDS - 8;
const GUARD: i32 = HEADER - 8;
const KEPT: i32 = -128;
const FRAME: i32 = 128;

/// Where what an extension does not keep lies in the frame of the code that calls it.
const SAVED: i32 = COUNT - 32;
const SAVED_FRAME: i32 = 48;

/// A function, as the code that runs its probes must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The address of its body, past its slot.
    pub body: u64,
    /// How many of its arguments are passed in registers.
    pub arity: u8,
    /// How many arguments its probes see; those that are not passed are zero.
    pub args: u8,
}

/// Code that an entry slot may lead to. Its memory is used again when it is dropped:
/// `[code-outlives-calls]`.
pub struct Thunk {
    chunk: Chunk,
    #[expect(dead_code, reason = "what the code calls stays as long as it")]
    keep: Vec<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Thunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thunk").field("chunk", &self.chunk).finish_non_exhaustive()
    }
}

impl Thunk {
    /// The address that a slot jumps to.
    pub fn address(&self) -> u64 {
        self.chunk.address()
    }

    /// The address that program arrays hold, if it enters the interpreter: as of
    /// [`Compiled::entry`].
    pub fn entry(&self) -> u64 {
        self.address() + ProgEntry::BEHIND_CALLED
    }

    /// Its size in bytes.
    pub const fn code_size(&self) -> usize {
        self.chunk.len()
    }
}

/// A program that a thunk calls: the address of its main function's slot, and what keeps it.
#[derive(Clone)]
pub struct Callee {
    /// Where it is called.
    pub address: u64,
    /// Keeps the code there.
    pub keep: Arc<dyn Any + Send + Sync>,
}

/// A program that a thunk calls before or after a function, unless it runs on that CPU already.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The program.
    pub program: Callee,
    /// Knows whether it runs. Invariant: it has all CPUs that the function runs on.
    pub guard: Arc<ProbeGuard>,
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callee({:#x})", self.address)
    }
}

impl Compiled {
    /// The program as a thunk calls it: through the slot of its main function, so that it can be
    /// probed itself. If it takes tail calls, it keeps no registers, and is to be called
    /// [so](Jit::counting_afresh).
    pub fn callee(self: &Arc<Self>) -> Callee {
        Callee { address: self.main(), keep: Arc::<Self>::clone(self) }
    }
}

impl Jit {
    /// Makes code that runs some probes, a function, other probes, and returns what the function
    /// returned.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for code, or if something is out of reach.
    pub fn probes(
        &self,
        function: Probed,
        before: &[Probe],
        after: &[Probe],
    ) -> Result<Thunk, CompileError> {
        let mut code = Assembler::default();
        code.probes(function, before, after);
        let kept = |probe: &Probe| {
            let guard: Arc<dyn Any + Send + Sync> = Arc::<ProbeGuard>::clone(&probe.guard);
            [Arc::clone(&probe.program.keep), guard]
        };
        self.place(code, before.iter().chain(after).flat_map(kept).collect())
    }

    /// Makes code that runs a program that takes tail calls in the place of a function, or as a
    /// probe: with a count of tail calls of its own, and keeping the registers that it does not keep.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for code, or if something is out of reach.
    pub fn counting_afresh(&self, extension: &Callee) -> Result<Thunk, CompileError> {
        let mut code = Assembler::default();
        code.enter(SAVED_FRAME);
        code.store(COUNT, R15);
        for (at, reg) in (SAVED..).step_by(8).zip(saves::KEPT) {
            code.store(at, reg);
        }
        code.call_afresh(extension.address);
        for (at, reg) in (SAVED..).step_by(8).zip(saves::KEPT) {
            code.load(reg, at);
        }
        code.load(R15, COUNT);
        code.leave();
        code.bytes(&[0xc3]);
        self.place(code, vec![Arc::clone(&extension.keep)])
    }

    /// Makes code that enters the interpreter: what can be jumped to or called as a body that takes
    /// so many arguments and the run.
    ///
    /// Calls of it run what `enter` makes of `program`, a number of the interpreter's, which `keep`
    /// keeps.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for code.
    pub fn interpreted(
        &self,
        arity: u8,
        enter: InterpFn,
        program: u64,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Result<Thunk, CompileError> {
        let mut code = Assembler::default();
        code.interpreted(usize::from(arity.min(5)), enter as usize as u64, program);
        self.place(code, vec![keep])
    }

    fn place(
        &self,
        mut code: Assembler,
        keep: Vec<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Thunk, CompileError> {
        let mut chunk = self.arena().allocate(code.code.len())?;
        code.link(chunk.address())?;
        chunk.fill(&code.code);
        Ok(Thunk { chunk, keep })
    }
}

/// The binary logarithm of the distance between what there is for one CPU and for the next.
const GUARD_SHIFT: u8 = 6;

const _: () = assert!(size_of::<CpuGuard>() == 1 << GUARD_SHIFT);

/// An offset that fits into a displacement of one byte.
const fn small(offset: usize) -> u8 {
    assert!(offset < 128, "small structures");
    offset.to_le_bytes()[0]
}

/// Machine code being written.
#[derive(Debug, Default)]
struct Assembler {
    code: Vec<u8>,
    /// Where 32-bit displacements are, and the addresses they lead to.
    calls: Vec<(usize, u64)>,
}

impl Assembler {
    fn probes(&mut self, function: Probed, before: &[Probe], after: &[Probe]) {
        let (arity, args) = (usize::from(function.arity.min(5)), i32::from(function.args.min(5)));
        self.enter(FRAME);
        self.store(COUNT, R15);
        self.store(RUN, ARGS[arity]);
        for (number, reg) in (0..).zip(&ARGS[..arity]) {
            self.store(KEPT + 8 * number, *reg);
            if number < args {
                self.store(WORDS + 8 * number, *reg);
            }
        }
        for number in i32::from(function.arity.min(5))..args {
            self.store_number(WORDS + 8 * number, 0);
        }
        self.store_number(HEADER, ProbeArgs::header(function.args.min(5), false));
        for probe in before {
            self.probe(probe);
        }
        for (number, reg) in (0..).zip(&ARGS[..arity]) {
            self.load(*reg, KEPT + 8 * number);
        }
        self.load(ARGS[arity], RUN);
        self.load(R15, COUNT);
        if after.is_empty() {
            self.leave();
            self.jump(function.body);
            return;
        }
        self.call(function.body);
        self.load(RSI, RUN);
        // cmp dword [rsi + thrown], 0; je
        self.bytes(&[0x83, 0x7e, small(RunCx::THROWN_OFFSET), 0, 0x74]);
        let goes_on = self.short_jump();
        self.leave();
        self.bytes(&[0xc3]);
        self.land(goes_on);
        self.store(COUNT, R15);
        self.store(RESULT, RAX);
        self.store(WORDS + 8 * args, RAX);
        self.store_number(HEADER, ProbeArgs::header(function.args.min(5), true));
        for probe in after {
            self.probe(probe);
        }
        self.load(RAX, RESULT);
        self.load(R15, COUNT);
        self.leave();
        self.bytes(&[0xc3]);
    }

    fn interpreted(&mut self, arity: usize, enter: u64, program: u64) {
        let tail_calls = i32::try_from(RunCx::TAIL_CALLS_OFFSET).expect("the run is small");
        self.enter(FRAME);
        self.store(RUN, ARGS[arity]);
        for (number, at) in (WORDS..).step_by(8).take(ProbeArgs::MOST).enumerate() {
            if number < arity {
                self.store(at, ARGS[number]);
            } else {
                self.store_number(at, 0);
            }
        }
        self.load(RDX, RUN);
        let none = NO_TAIL_CALLS.cast_unsigned();
        // lea ecx, [r15 - none]; mov [rdx + tail_calls], ecx
        self.bytes(&[0x41, 0x8d, 0x4f, NO_TAIL_CALLS.unsigned_abs(), 0x89, 0x4a]);
        self.displacement(tail_calls);
        // mov rdi, program
        self.bytes(&[0x48, 0xbf]);
        self.bytes(&program.to_le_bytes());
        // lea rsi, [rbp + WORDS]
        self.bytes(&[0x48, 0x8d, 0x75]);
        self.displacement(WORDS);
        // mov rax, enter; call rax
        self.bytes(&[0x48, 0xb8]);
        self.bytes(&enter.to_le_bytes());
        self.bytes(&[0xff, 0xd0]);
        self.load(RSI, RUN);
        // mov r15d, [rsi + tail_calls]; add r15, none
        self.bytes(&[0x44, 0x8b, 0x7e]);
        self.displacement(tail_calls);
        self.bytes(&[0x49, 0x83, 0xc7, none]);
        // A tail call keeps the frame pointer.
        // test rdx, rdx; je to leave; mov rsp, rbp; mov rdi, rax; jmp rdx; leave; ret
        self.bytes(&[0x48, 0x85, 0xd2, 0x74, 0x08]);
        self.bytes(&[0x48, 0x89, 0xec, 0x48, 0x89, 0xc7, 0xff, 0xe2]);
        self.leave();
        self.bytes(&[0xc3]);
    }

    /// Calls a probe with the address of the arguments and the run, unless it runs on this CPU.
    fn probe(&mut self, probe: &Probe) {
        let (active, misses) = (small(CpuGuard::ACTIVE_OFFSET), small(CpuGuard::MISSES_OFFSET));
        self.load(RSI, RUN);
        // mov eax, [rsi + cpu]; shl rax, shift; mov rcx, guard; add rax, rcx
        self.bytes(&[0x8b, 0x46, small(RunCx::CPU_OFFSET)]);
        self.bytes(&[0x48, 0xc1, 0xe0, GUARD_SHIFT, 0x48, 0xb9]);
        let cpus = probe.guard.cpus().as_ptr().expose_provenance() as u64;
        self.bytes(&cpus.to_le_bytes());
        self.bytes(&[0x48, 0x01, 0xc8]);
        // cmp dword [rax + active], 0; jne
        self.bytes(&[0x83, 0x78, active, 0, 0x75]);
        let runs = self.short_jump();
        // mov dword [rax + active], 1
        self.bytes(&[0xc7, 0x40, active, 1, 0, 0, 0]);
        self.store(GUARD, RAX);
        // lea rdi, [rbp + WORDS]
        self.bytes(&[0x48, 0x8d, 0x7d]);
        self.displacement(WORDS);
        debug_assert_eq!((ARGS[0], ARGS[1]), (RDI, RSI));
        self.call_afresh(probe.program.address);
        self.load(RAX, GUARD);
        // mov dword [rax + active], 0; jmp
        self.bytes(&[0xc7, 0x40, active, 0, 0, 0, 0, 0xeb]);
        let over = self.short_jump();
        self.land(runs);
        // inc qword [rax + misses]
        self.bytes(&[0x48, 0xff, 0x40, misses]);
        self.land(over);
    }

    fn call_afresh(&mut self, address: u64) {
        // mov r15, none
        self.bytes(&[0x49, 0xc7, 0xc7]);
        self.bytes(&i32::from(NO_TAIL_CALLS).to_le_bytes());
        self.call(address);
    }

    /// A frame as bodies have it, and `sub rsp, size`, the size being a multiple of 16.
    fn enter(&mut self, size: i32) {
        self.bytes(&finish::FRAME);
        self.bytes(&[0x48, 0x81, 0xec]);
        self.bytes(&size.to_le_bytes());
    }

    fn leave(&mut self) {
        self.bytes(&[0xc9]);
    }

    /// `mov [rbp + at], reg`.
    fn store(&mut self, at: i32, reg: u8) {
        self.bytes(&[0x48 | (reg >> 3) << 2, 0x89, 0x45 | (reg & 7) << 3]);
        self.displacement(at);
    }

    /// `mov reg, [rbp + at]`.
    fn load(&mut self, reg: u8, at: i32) {
        self.bytes(&[0x48 | (reg >> 3) << 2, 0x8b, 0x45 | (reg & 7) << 3]);
        self.displacement(at);
    }

    /// `mov qword [rbp + at], number`.
    fn store_number(&mut self, at: i32, number: u32) {
        self.bytes(&[0x48, 0xc7, 0x45]);
        self.displacement(at);
        self.bytes(&number.to_le_bytes());
    }

    /// The displacement of a jump, of one byte; where it is, for [`land`](Self::land).
    fn short_jump(&mut self) -> usize {
        self.bytes(&[0]);
        self.code.len()
    }

    /// Has a jump lead here.
    fn land(&mut self, from: usize) {
        let distance = i8::try_from(self.code.len() - from).expect("what is jumped over is short");
        self.code[from - 1] = distance.cast_unsigned();
    }

    fn call(&mut self, address: u64) {
        self.bytes(&[0xe8]);
        self.target(address);
    }

    fn jump(&mut self, address: u64) {
        self.bytes(&[0xe9]);
        self.target(address);
    }

    fn target(&mut self, address: u64) {
        self.calls.push((self.code.len(), address));
        self.bytes(&[0; 4]);
    }

    /// A displacement of one byte: all of the frame is that near.
    fn displacement(&mut self, at: i32) {
        let at = i8::try_from(at).expect("the frame has 128 bytes");
        self.bytes(&[at.cast_unsigned()]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// Fills in the displacements of calls, for code that begins at `start`.
    fn link(&mut self, start: u64) -> Result<(), CompileError> {
        for (at, address) in &self.calls {
            let from = start + *at as u64 + 4;
            let Ok(distance) = i32::try_from(address.wrapping_sub(from).cast_signed()) else {
                let what = format!("{address:#x} is out of reach");
                return Err(CompileError::Codegen { function: 0, what });
            };
            self.code[*at..*at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(())
    }
}
