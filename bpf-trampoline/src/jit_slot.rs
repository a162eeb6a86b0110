//! The entry slots of compiled functions.

use std::sync::Arc;

use bpf_jit::{Callee, Compiled, EntrySlot, Jit, Probed};

use crate::chain::{Chain, ProbeKind};
use crate::error::ThunkError;
use crate::switch::{Code, SlotWriter};
use crate::target::{Probe, ThunkBuilder};

/// The entry slot of a function of a compiled program, which it keeps.
#[derive(Clone, Debug)]
pub struct JitSlot {
    compiled: Arc<Compiled>,
    function: usize,
}

impl JitSlot {
    /// The slot of this function, counted in the order of their places; `None` if there is no
    /// such function.
    pub fn new(compiled: Arc<Compiled>, function: usize) -> Option<Self> {
        compiled.slot(function)?;
        Some(Self { compiled, function })
    }

    fn slot(&self) -> EntrySlot<'_> {
        self.compiled.slot(self.function).expect("asked for when this was made")
    }
}

#[expect(unsafe_code, reason = "hands the contract on")]
// SAFETY: [entry-slot] it is what the JIT's entry slots are for: every call of a function goes
// through its slot, and is led by one store.
unsafe impl SlotWriter for JitSlot {
    fn address(&self) -> u64 {
        self.slot().address()
    }

    fn body(&self) -> u64 {
        self.slot().body()
    }

    unsafe fn jump(&self, target: u64) -> bool {
        // SAFETY: [slot-target] as the caller promises.
        unsafe { self.slot().jump(target) }
    }

    fn reset(&self) {
        self.slot().reset();
    }
}

impl JitSlot {
    /// A program in the place of compiled functions or as their probe: its main function, or code
    /// that has it count its tail calls afresh, and keeps registers, if it takes any.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no memory for that code.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: its main function takes what the functions take whose slots are to lead to
    /// it, and returns as they do; or what probes of the functions take that it is to be attached to.
    #[expect(unsafe_code, reason = "hands the obligation on")]
    pub unsafe fn attached(
        jit: &Jit,
        program: Callee,
        takes_tail_calls: bool,
    ) -> Result<Code, ThunkError> {
        if !takes_tail_calls {
            // SAFETY: [slot-target] by the caller.
            return Ok(unsafe { Code::vouch(program.address, program.keep) });
        }
        let thunk = jit.counting_afresh(&program).map_err(failed)?;
        // SAFETY: [slot-target] by the caller, since it calls what the caller vouches for.
        Ok(unsafe { Code::vouch(thunk.address(), Arc::new(thunk)) })
    }
}

/// Makes the code that runs probes around a compiled function.
#[derive(Clone, Debug)]
pub struct JitProbes {
    /// Where the code is made.
    pub jit: Jit,
    /// How many arguments the function is passed.
    pub arity: u8,
    /// How many arguments its probes see.
    pub args: u8,
}

impl ThunkBuilder for JitProbes {
    #[expect(unsafe_code, reason = "vouches for the code")]
    fn thunk(&self, chain: &Chain<Probe>, body: u64) -> Result<Code, ThunkError> {
        let probes = |kind| {
            let probe = |probe: &Probe| bpf_jit::Probe {
                program: Callee {
                    address: probe.code.address(),
                    keep: Arc::clone(probe.code.keep()),
                },
                guard: Arc::clone(&probe.guard),
            };
            chain.probes(kind).iter().map(probe).collect::<Vec<_>>()
        };
        let function = Probed { body, arity: self.arity, args: self.args };
        let (before, after) = (probes(ProbeKind::Entry), probes(ProbeKind::Exit));
        let thunk = self.jit.probes(function, &before, &after).map_err(failed)?;
        // SAFETY: [slot-target] it calls the function's own body with its own arguments, and the
        // probes as whoever vouched for them said; it keeps them.
        Ok(unsafe { Code::vouch(thunk.address(), Arc::new(thunk)) })
    }
}

fn failed(error: bpf_jit::CompileError) -> ThunkError {
    ThunkError(Box::new(error))
}
