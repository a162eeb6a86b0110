//! The entries of interpreted functions: words that hold addresses of detours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_interp::{Callee, Detour, Interp};

use crate::chain::{Chain, ProbeKind};
use crate::error::ThunkError;
use crate::switch::{Code, SlotWriter};
use crate::target::{Probe, ThunkBuilder};

/// The entry of a function of an interpreted program, which it keeps.
#[derive(Clone, Debug)]
pub struct InterpSlot {
    program: Arc<Interp>,
    function: usize,
}

impl InterpSlot {
    /// The entry of this function, counted in the order of their places; `None` if there is no
    /// such function.
    pub fn new(program: Arc<Interp>, function: usize) -> Option<Self> {
        program.function_entry(function)?;
        Some(Self { program, function })
    }

    fn word(&self) -> &AtomicU64 {
        self.program.function_entry(self.function).expect("asked for when this was made")
    }

    /// An extension, as entries of interpreted functions lead to it.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: its main function takes what the functions take whose entries are to lead to
    /// it, and returns as they do.
    #[expect(unsafe_code, reason = "hands the obligation on")]
    pub unsafe fn extension(program: Callee) -> Code {
        let detour = Detour::replaced(program);
        // SAFETY: [slot-target] by the caller; the detour keeps the program.
        unsafe { Code::vouch(detour.address(), detour) }
    }

    /// A probe, as [`InterpProbes`] run it.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: it takes what probes of the functions take that it is to be attached to.
    #[expect(unsafe_code, reason = "hands the obligation on")]
    pub unsafe fn probe(program: Callee) -> Code {
        let program = Arc::new(program);
        let address = Arc::as_ptr(&program).expose_provenance() as u64;
        // SAFETY: [slot-target] by the caller; nobody goes to the address, which detours do not need.
        unsafe { Code::vouch(address, program) }
    }
}

#[expect(unsafe_code, reason = "hands the contract on")]
// SAFETY: [entry-slot] every call of a function reads its word once, and goes where it says.
unsafe impl SlotWriter for InterpSlot {
    fn address(&self) -> u64 {
        std::ptr::from_ref(self.word()).addr() as u64
    }

    fn body(&self) -> u64 {
        self.address()
    }

    unsafe fn jump(&self, target: u64) -> bool {
        self.word().store(target, Ordering::Release);
        true
    }

    fn reset(&self) {
        self.word().store(0, Ordering::Release);
    }
}

/// Makes the detours that run probes around an interpreted function.
#[derive(Clone, Copy, Debug)]
pub struct InterpProbes {
    /// How many arguments of the function its probes see.
    pub args: u8,
}

impl ThunkBuilder for InterpProbes {
    #[expect(unsafe_code, reason = "vouches for the detour")]
    fn thunk(&self, chain: &Chain<Probe>, _: u64) -> Result<Code, ThunkError> {
        let programs = |kind| {
            let probes = chain.probes(kind).iter();
            let of = |probe: &Probe| {
                let program = probe.code.keep().downcast_ref::<Callee>()?.clone();
                Some(bpf_interp::Probe { program, guard: Arc::clone(&probe.guard) })
            };
            let all: Option<Vec<_>> = probes.map(of).collect();
            all.ok_or_else(|| ThunkError("a probe of compiled functions".into()))
        };
        let (before, after) = (programs(ProbeKind::Entry)?, programs(ProbeKind::Exit)?);
        let detour = Detour::probed(self.args, before, after);
        // SAFETY: [slot-target] it calls the function itself, and the probes as whoever vouched for
        // them said; it keeps them.
        Ok(unsafe { Code::vouch(detour.address(), detour) })
    }
}
