//! Programs that nobody vouched for: code that checks what it does while it does it.
//!
//! Each load, store and atomic is compared with the two pieces of memory that the program may
//! touch: what it is given, and a stack of eight frames. Each call counts frames, and each way
//! back in the code takes one from a budget. Whoever breaks a rule writes down where, and all
//! functions return at once.

use std::sync::Arc;

use bpf_abi::exec::RunCx;
use bpf_abi::image::{Image, ImageParts};
use bpf_abi::limits::{MAX_CALL_FRAMES, MAX_STACK};
use bpf_abi::prog::ProgType;
use bpf_isa::{Pc, Program};

use crate::abi;
use crate::error::CompileError;
use crate::fault::{Fault, FaultKind};
use crate::jit::{Compiled, Jit};
use crate::lower::Mode;

/// A frame, in bytes.
pub(crate) const FRAME: u64 = MAX_STACK as u64;

/// The stack, in words.
const STACK_WORDS: usize = MAX_CALL_FRAMES * MAX_STACK as usize / 8;

/// What a checked run knows besides its registers. The layout is fixed: compiled code reads it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CheckedCx {
    /// First, so that the address of the whole is the run's.
    run: RunCx,
    /// The memory it may touch.
    pub(crate) memory: u64,
    /// How much, in bytes.
    pub(crate) memory_len: u64,
    /// The stack.
    pub(crate) stack: u64,
    /// How much, in bytes.
    pub(crate) stack_len: u64,
    /// R10 of the function that runs.
    pub(crate) frame: u64,
    /// How often it may still go back or call.
    pub(crate) budget: u64,
    /// What went wrong: a [`Code`].
    pub(crate) fault: u32,
    /// The instruction that went wrong.
    pub(crate) fault_pc: u32,
}

/// What went wrong, as compiled code writes it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    BadAccess = 1,
    CallsTooDeep = 2,
    OutOfBudget = 3,
}

/// A program that nobody vouched for, compiled with checks.
///
/// Running it is safe, whatever it does: it is stopped at the first access, call or loop that is
/// not allowed. It can call its own functions, but no helpers.
///
/// ```
/// use bpf_isa::{Insn, Operand, Program, Reg, Size};
/// use bpf_jit::{CheckedProgram, FaultKind, Jit, JitOptions};
///
/// # if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) { return Ok(()) }
/// let store = Insn::Store { size: Size::W, base: Reg::R1, off: 0, src: Operand::Imm(7) };
/// let program = Program::new(vec![store, Insn::Exit]);
/// let program = CheckedProgram::compile(&Jit::new(JitOptions::default())?, &program)?;
///
/// let mut memory = [0; 4];
/// program.run(&mut memory, 1000).expect("four bytes are enough");
/// assert_eq!(memory, [7, 0, 0, 0]);
///
/// let fault = program.run(&mut memory[..3], 1000).expect_err("three are not");
/// assert_eq!(fault.kind, FaultKind::BadAccess);
/// # Ok::<(), bpf_jit::CompileError>(())
/// ```
#[derive(Debug)]
pub struct CheckedProgram {
    compiled: Compiled,
}

impl CheckedProgram {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// Returns an error if the program calls helpers or kernel functions, refers to maps, or if
    /// its control flow leaves it.
    pub fn compile(jit: &Jit, program: &Program) -> Result<Self, CompileError> {
        let parts = ImageParts {
            name: String::new(),
            prog_type: ProgType::Unspec,
            program: program.clone(),
            subprogs: Vec::new(),
            maps: Vec::new(),
            helpers: Vec::new(),
            notes: Vec::new(),
            exception_callback: None,
            lines: Vec::new(),
        };
        #[expect(unsafe_code, reason = "the code checks what nobody vouches for")]
        // SAFETY: [checked-code] it is compiled to code that checks each access and ends.
        let image = unsafe { Image::vouch(parts) };
        Ok(Self { compiled: jit.compile_as(&image, Mode::Checked, None)? })
    }

    /// Runs it with the address of `memory` in R1, its length in R2 and 512 bytes of stack below
    /// R10; returns R0. It may go back and call `budget` times altogether.
    ///
    /// # Errors
    ///
    /// Returns an error if it touches anything else, calls deeper than eight frames, or does not
    /// come to an end.
    pub fn run(&self, memory: &mut [u8], budget: u64) -> Result<u64, Fault> {
        let mut stack = [0u64; STACK_WORDS];
        let stack_at = stack.as_mut_ptr().expose_provenance() as u64;
        let memory_at = memory.as_mut_ptr().expose_provenance() as u64;
        let mut cx = CheckedCx {
            run: RunCx::new(0),
            memory: memory_at,
            memory_len: memory.len() as u64,
            stack: stack_at,
            stack_len: size_of_val(&stack) as u64,
            frame: stack_at + FRAME,
            budget,
            fault: 0,
            fault_pc: 0,
        };
        let run = std::ptr::from_mut(&mut cx).cast::<RunCx>();
        #[expect(unsafe_code, reason = "enters compiled code")]
        // SAFETY: [checked-code] the code touches `memory`, `stack` and `cx` alone; it may, for
        // they are borrowed for the call.
        let result = unsafe { abi::enter(memory_at, run, self.compiled.main()) };
        std::hint::black_box(&mut stack);
        let kind = match cx.fault {
            0 => return Ok(result),
            code if code == Code::CallsTooDeep as u32 => FaultKind::CallsTooDeep,
            code if code == Code::OutOfBudget as u32 => FaultKind::OutOfBudget,
            _ => FaultKind::BadAccess,
        };
        Err(Fault { pc: Pc(cx.fault_pc), kind })
    }
}

/// Programs are shared between threads: each run has a stack and a state of its own.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<CheckedProgram>>();
};
