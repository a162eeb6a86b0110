//! What stands in for the JIT where there is none: every attempt says so.

use bpf_abi::exec::{InterpFn, NativeFn, RunCx};
use bpf_abi::image::Image;

use crate::error::{CacheError, CompileError};

/// How a JIT is set up.
#[derive(Clone, Debug, Default)]
pub struct JitOptions {
    /// How much address space to reserve for code, in bytes.
    pub reserve: usize,
    /// Whether code is optimised.
    pub optimize: bool,
    /// Programs of more instructions are not optimised in any case.
    pub max_optimized: usize,
    /// Whether Cranelift checks what it is given; for tests.
    pub check: bool,
    /// How entry slots are changed while programs run.
    pub slots: SlotMode,
    /// Whether small static functions become part of those that call them.
    pub inline: bool,
    /// Where code is kept for programs that are compiled again.
    pub cache: Option<CodeCache>,
}

/// Compiled code that is kept: on this target there is none to keep.
#[derive(Clone, Debug)]
pub struct CodeCache;

/// What a cache has done so far: on this target nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// How often code was asked for and there.
    pub hits: u64,
    /// How often it was asked for and had to be compiled.
    pub misses: u64,
    /// How many entries were put in.
    pub stored: u64,
    /// How many entries were not what they should be.
    pub refused: u64,
    /// How many entries could not be written to the directory.
    pub failed: u64,
    /// How many entries are in memory.
    pub entries: usize,
    /// How much memory they take, in bytes.
    pub bytes: usize,
}

impl CodeCache {
    /// How much memory a cache takes where nobody says how much it may, in bytes.
    pub const DEFAULT_MEMORY: usize = 16 << 20;

    /// How much a directory holds where nobody says how much it may, in bytes.
    pub const DEFAULT_DISK: u64 = 256 << 20;

    /// A cache that stays empty.
    pub const fn in_memory(_: usize) -> Self {
        Self
    }

    /// Fails: there is no JIT on this target.
    ///
    /// # Errors
    ///
    /// Always returns [`CacheError::NoJit`].
    pub fn on_disk(_: impl AsRef<std::path::Path>) -> Result<Self, CacheError> {
        Err(CacheError::NoJit)
    }

    /// Fails: there is no JIT on this target.
    ///
    /// # Errors
    ///
    /// Always returns [`CacheError::NoJit`].
    pub fn on_disk_within(_: impl AsRef<std::path::Path>, _: u64) -> Result<Self, CacheError> {
        Err(CacheError::NoJit)
    }

    /// The directory it keeps code in: none.
    pub const fn directory(&self) -> Option<&std::path::Path> {
        None
    }

    /// What it has done so far: nothing.
    pub fn stats(&self) -> CacheStats {
        CacheStats::default()
    }
}

/// How entry slots are changed while programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlotMode {
    /// A slot is a nop or a jump, exchanged as a whole.
    #[default]
    Word,
    /// A slot is a jump whose displacement is exchanged.
    Displacement,
    /// There is none that works: calls go to bodies, and nothing can be attached to functions. For
    /// measuring what slots cost.
    Absent,
}

/// What a slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// It falls into the body.
    Idle,
    /// It jumps to this address.
    Jump(u64),
}

/// How the interpreter goes on in compiled code: on this target there is none.
pub const NATIVE: Option<NativeFn> = None;

/// A just-in-time compiler: on this target there is none.
#[derive(Clone, Debug)]
pub enum Jit {}

impl Jit {
    /// Fails: there is no JIT on this target.
    ///
    /// # Errors
    ///
    /// Always returns [`CompileError::NoJit`].
    pub const fn new(_: JitOptions) -> Result<Self, CompileError> {
        Err(CompileError::NoJit)
    }

    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub const fn compile(&self, _: &Image) -> Result<Compiled, CompileError> {
        match *self {}
    }

    /// Where code is kept.
    pub const fn cache(&self) -> Option<&CodeCache> {
        match *self {}
    }

    /// The code of a program, if it is kept.
    pub const fn cached(
        &self,
        _: &Image,
        _: Option<&std::sync::Arc<bpf_abi::exec::ProgCounters>>,
    ) -> Option<Compiled> {
        match *self {}
    }

    /// Compiles a program to code that counts.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub fn compile_counted(
        &self,
        _: &Image,
        _: std::sync::Arc<bpf_abi::exec::ProgCounters>,
    ) -> Result<Compiled, CompileError> {
        match *self {}
    }

    /// Has every function's calls go through its slot.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub const fn set_apart(
        &self,
        _: &Compiled,
        _: &Image,
        _: Option<&std::sync::Arc<bpf_abi::exec::ProgCounters>>,
    ) -> Result<(), CompileError> {
        match *self {}
    }

    /// What a program is before code is made of it.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub const fn clif(&self, _: &Image) -> Result<String, CompileError> {
        match *self {}
    }
}

/// A compiled program: on this target there is none.
#[derive(Debug)]
pub enum Compiled {}

impl Compiled {
    /// Runs the program.
    ///
    /// # Safety
    ///
    /// `[run-context]`: as where there is a JIT.
    #[expect(unsafe_code, reason = "the same signature on every target")]
    pub const unsafe fn run(&self, _: &mut RunCx, _: u64) -> u64 {
        match *self {}
    }

    /// The address that program arrays hold.
    pub const fn entry(&self) -> u64 {
        match *self {}
    }

    /// The entry slot of a function.
    pub const fn slot(&self, _: usize) -> Option<EntrySlot<'_>> {
        match *self {}
    }

    /// Whether a function is part of others too.
    pub const fn is_inlined(&self, _: usize) -> bool {
        match *self {}
    }

    /// How many functions it has.
    pub const fn functions(&self) -> usize {
        match *self {}
    }

    /// Its size in bytes.
    pub const fn code_size(&self) -> usize {
        match *self {}
    }

    /// Its machine code beside the instructions it came from.
    pub const fn listing(&self, _: &Image) -> String {
        match *self {}
    }
}

/// A program that nobody vouched for, compiled with checks: on this target there is none.
#[derive(Debug)]
pub enum CheckedProgram {}

impl CheckedProgram {
    /// Compiles a program.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this with.
    pub const fn compile(jit: &Jit, _: &bpf_isa::Program) -> Result<Self, CompileError> {
        match *jit {}
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// There is no program to run.
    pub const fn run(&self, _: &mut [u8], _: u64) -> Result<u64, crate::Fault> {
        match *self {}
    }
}

/// The entry slot of a function in compiled code: on this target there is none.
#[derive(Clone, Copy, Debug)]
pub struct EntrySlot<'a> {
    compiled: &'a Compiled,
}

impl EntrySlot<'_> {
    /// The address that every call of the function goes to.
    pub const fn address(self) -> u64 {
        match *self.compiled {}
    }

    /// The address of the function's own code.
    pub const fn body(self) -> u64 {
        match *self.compiled {}
    }

    /// What it does now.
    pub const fn state(self) -> SlotState {
        match *self.compiled {}
    }

    /// Makes it jump.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: as where there is a JIT.
    #[expect(unsafe_code, reason = "the same signature on every target")]
    pub const unsafe fn jump(self, _: u64) -> bool {
        match *self.compiled {}
    }

    /// Makes it fall into the body.
    pub const fn reset(self) {
        match *self.compiled {}
    }
}

/// A function, as the code that runs its probes must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The address of its body, past its slot.
    pub body: u64,
    /// How many of its arguments are passed in registers.
    pub arity: u8,
    /// How many arguments its probes see.
    pub args: u8,
}

/// A program that a thunk calls.
#[derive(Clone, Debug)]
pub struct Callee {
    /// Where it is called.
    pub address: u64,
    /// Keeps the code there.
    pub keep: std::sync::Arc<dyn std::any::Any + Send + Sync>,
}

/// A program that a thunk calls before or after a function, unless it runs on that CPU already.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The program.
    pub program: Callee,
    /// Knows whether it runs.
    pub guard: std::sync::Arc<bpf_abi::exec::ProbeGuard>,
}

/// Code that an entry slot may lead to: on this target there is none.
#[derive(Debug)]
pub enum Thunk {}

impl Thunk {
    /// The address that program arrays hold.
    pub const fn entry(&self) -> u64 {
        match *self {}
    }

    /// The address that a slot jumps to.
    pub const fn address(&self) -> u64 {
        match *self {}
    }
}

impl Compiled {
    /// The program as a thunk calls it.
    pub fn callee(self: &std::sync::Arc<Self>) -> Callee {
        match **self {}
    }

    /// How many of a function's arguments are passed in registers.
    pub const fn arity(&self, _: usize) -> Option<u8> {
        match *self {}
    }
}

impl Jit {
    /// Makes code that runs probes around a function.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub const fn probes(&self, _: Probed, _: &[Probe], _: &[Probe]) -> Result<Thunk, CompileError> {
        match *self {}
    }

    /// Makes code that runs an extension with a count of tail calls of its own.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub const fn counting_afresh(&self, _: &Callee) -> Result<Thunk, CompileError> {
        match *self {}
    }

    /// Makes code that enters the interpreter.
    ///
    /// # Errors
    ///
    /// There is no `Jit` to call this on.
    pub fn interpreted(
        &self,
        _: u8,
        _: InterpFn,
        _: u64,
        _: std::sync::Arc<dyn std::any::Any + Send + Sync>,
    ) -> Result<Thunk, CompileError> {
        match *self {}
    }

    /// How many bytes of code memory are free.
    pub const fn free_memory(&self) -> usize {
        match *self {}
    }
}
