//! Attaching to functions of programs: extensions in their place, probes around them.
//!
//! ```text
//!   load          the target that is named is kept for the first link
//!   first link    takes it, or another: then it is let go
//!   later links   name their target, which only extensions can
//! ```
#![expect(unsafe_code, reason = "vouches for what functions are led to")]

use std::sync::{Arc, MutexGuard, PoisonError};

use bpf_abi::errno::Errno;
use bpf_abi::prog::{AttachType, ProgType};
use bpf_btf::TypeId;
use bpf_interp::Interp;
use bpf_jit::{CompileError, Compiled, Jit};
use bpf_maps::Cpus;
use bpf_trampoline::{
    Attachment, GracePeriods, InterpProbes, InterpSlot, JitProbes, JitSlot, Probe, ProbeKind,
    SlotWriter, Target, ThunkBuilder,
};
use bpf_verifier::attach::check_link;
use bpf_verifier::host::FunctionFacts;

use crate::engine::Code;
use crate::error::Error;
use crate::objects::link::{At, Link, LinkObject, OnFunction};
use crate::objects::program::{Program, ProgramObject};

/// What a program was loaded for: a function of a program.
#[derive(Clone, Debug)]
pub(crate) struct LoadedFor {
    pub(crate) program: Program,
    pub(crate) function: TypeId,
}

/// Grace periods of virtual CPUs.
#[derive(Debug)]
struct Grace(Cpus);

// SAFETY: [grace-period] what is deferred waits until every thread that was on a CPU then, which
// threads are that run programs, has left it.
unsafe impl GracePeriods for Grace {
    fn defer(&self, what: Box<dyn FnOnce() + Send>) {
        self.0.defer(what);
    }
}

/// How a program attaches to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Extend,
    Probe(ProbeKind),
}

impl Program {
    /// Attaches the extension or probe to what it was loaded for.
    ///
    /// What it was loaded for is used up by the first link, whatever that is on: later ones name
    /// their target, which only extensions can.
    ///
    /// # Errors
    ///
    /// Returns an error if the program is of another type, if what it was loaded for is used up,
    /// or if something is attached there that does not bear company.
    pub fn attach(&self) -> Result<Link, Error> {
        self.link(None)
    }

    /// The number of the type of a function of the program, by name: what extensions and probes are
    /// loaded for.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.object.facts.function_id(name).map(|id| id.0)
    }

    /// Attaches the extension to a function of another program that it fits too.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach), and if it does not fit.
    pub fn attach_to(&self, target: &Self, function: &str) -> Result<Link, Error> {
        let id = target.object.facts.function_id(function);
        let id = id.ok_or_else(|| self.refused("there is no such function", Errno::EINVAL))?;
        self.link(Some((target, id)))
    }

    /// Attaches the extension or probe, to a program and a type of its types or to what it was
    /// loaded for. Linux: `BPF_LINK_CREATE`.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach) and [`attach_to`](Self::attach_to).
    pub fn link(&self, target: Option<(&Self, TypeId)>) -> Result<Link, Error> {
        let how = self.how()?;
        if let Some((target, _)) = target {
            target.check_runtime(self.runtime.shared.cpus.world())?;
        }
        if target.is_some() && how != How::Extend {
            return Err(self.refused("only extensions can name a target", Errno::EINVAL));
        }
        // Held until the end, so that of two first links one finds it used up.
        let mut loaded_for = self.object.loaded_for();
        let is_same = |own: &LoadedFor, (program, function): &(&Self, TypeId)| {
            own.program.id() == program.id() && own.function == *function
        };
        let (program, function) = match (&*loaded_for, target) {
            (None, None) => {
                return Err(self.refused("what it was loaded for is used up", Errno::EINVAL));
            }
            (Some(own), None) => (own.program.clone(), own.function),
            (Some(own), Some(named)) if is_same(own, &named) => (own.program.clone(), own.function),
            (_, Some((program, function))) => (program.clone(), function),
        };
        let facts = &program.object.facts;
        let fit = check_link(&self.object.facts, facts, function, self.object.strict_holes);
        let fit = fit.map_err(|error| self.refused(&error.to_string(), Errno::EINVAL))?;
        let attachment = self.attach_at(&program, fit, how)?;
        let name = fit.name.clone();
        let id = self.runtime.shared.registry.next_link();
        let used_up = loaded_for.take();
        drop(loaded_for);
        drop(used_up);
        let on = OnFunction { target: program, function, name, _attachment: attachment };
        let place = At::Function(Box::new(on));
        Ok(Link::new(LinkObject { id, place, program: self.clone() }))
    }

    fn how(&self) -> Result<How, Error> {
        match (self.prog_type(), self.object.spec.expected_attach_type) {
            (ProgType::Ext, _) => Ok(How::Extend),
            (ProgType::Tracing, Some(AttachType::TraceFentry)) => Ok(How::Probe(ProbeKind::Entry)),
            (ProgType::Tracing, Some(AttachType::TraceFexit)) => Ok(How::Probe(ProbeKind::Exit)),
            _ => Err(self.refused("it is neither an extension nor a probe", Errno::EINVAL)),
        }
    }

    /// Puts the program to the function, where it fits.
    fn attach_at(
        &self,
        program: &Self,
        function: &FunctionFacts,
        how: How,
    ) -> Result<Attachment, Error> {
        let missing = || self.refused("the function has no entry", Errno::EINVAL);
        let number = usize::try_from(function.subprog).map_err(|_| missing())?;
        let target = program.object.target(number).ok_or_else(missing)?;
        let args = function_args(program, function);
        let failed = |error: &dyn std::error::Error, errno| {
            let mut reason = error.to_string();
            if let Some(cause) = error.source() {
                reason = cause.to_string();
            }
            self.refused(&reason, errno)
        };
        let probe = |code| Probe { program: self.id(), code, guard: self.object.guard() };
        let attached = match program.object.code() {
            Code::Jit(compiled) => {
                let jit = self.runtime.shared.engines.jit().ok_or_else(missing)?;
                let arity = compiled.arity(number).ok_or_else(missing)?;
                let no_room = |error| failed(&error, Errno::ENOMEM);
                if compiled.is_inlined(number) {
                    let ProgramObject { image, counters, .. } = &*program.object;
                    jit.set_apart(compiled, image, counters.as_ref()).map_err(no_room)?;
                }
                let takes = match how {
                    How::Extend => arity,
                    How::Probe(_) => 1,
                };
                let own = self.object.called_by_code(jit, takes).map_err(no_room)?;
                let counts = self.object.counts_tail_calls();
                // The verifier held an extension and the function to the same type, and judged a probe
                // by the function's arguments.
                // SAFETY: [slot-target] so it takes those arguments, and the run behind them.
                let code = unsafe { JitSlot::attached(jit, own, counts) };
                let code = code.map_err(|error| failed(&error, Errno::ENOMEM))?;
                match how {
                    How::Extend => target.extend(code),
                    How::Probe(kind) => {
                        let builder: Arc<dyn ThunkBuilder> =
                            Arc::new(JitProbes { jit: jit.clone(), arity, args });
                        target.probe(kind, probe(code), &builder)
                    }
                }
            }
            Code::Interp(_) => {
                let own = self.object.called_by_interpreter().ok_or_else(missing)?;
                match how {
                    // SAFETY: [slot-target] as above.
                    How::Extend => target.extend(unsafe { InterpSlot::extension(own) }),
                    How::Probe(kind) => {
                        let builder: Arc<dyn ThunkBuilder> = Arc::new(InterpProbes { args });
                        // SAFETY: [slot-target] as above.
                        let code = unsafe { InterpSlot::probe(own) };
                        target.probe(kind, probe(code), &builder)
                    }
                }
            }
        };
        attached.map_err(|error| failed(&error, error.errno()))
    }

    fn refused(&self, reason: &str, errno: Errno) -> Error {
        Error::Attach { program: self.name().to_owned(), reason: reason.to_owned(), errno }
    }
}

/// How many arguments probes of a function see: as many as its type says, or all registers if that
/// does not describe its code.
fn function_args(program: &Program, function: &FunctionFacts) -> u8 {
    const ALL: u8 = 5;
    if function.unreliable {
        return ALL;
    }
    let btf = program.object.facts.btf.as_ref();
    let proto = btf.and_then(|btf| btf.func_proto(function.btf_id));
    proto.and_then(|proto| u8::try_from(proto.len()).ok()).map_or(ALL, |count| count.min(ALL))
}

impl ProgramObject {
    /// What the program was loaded for, if that was not used up.
    fn loaded_for(&self) -> MutexGuard<'_, Option<LoadedFor>> {
        self.loaded_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program as compiled functions call it that take so many arguments.
    fn called_by_code(&self, jit: &Jit, arity: u8) -> Result<bpf_jit::Callee, CompileError> {
        match self.code() {
            Code::Jit(compiled) => Ok(compiled.callee()),
            Code::Interp(program) => {
                let keep = Arc::<Interp>::clone(program);
                let stub = jit.interpreted(arity, bpf_interp::CALLED, program.entry(), keep)?;
                Ok(bpf_jit::Callee { address: stub.address(), keep: Arc::new(stub) })
            }
        }
    }

    /// The program as interpreted functions call it.
    fn called_by_interpreter(&self) -> Option<bpf_interp::Callee> {
        Some(match self.code() {
            Code::Interp(program) => bpf_interp::Callee::Interpreted(Arc::clone(program)),
            Code::Jit(compiled) => {
                let (entry, arity) = (compiled.callee().address, compiled.arity(0)?);
                let keep = Arc::<Compiled>::clone(compiled);
                bpf_interp::Callee::Compiled { entry, arity, keep }
            }
        })
    }

    /// Whether it may take tail calls, or has functions that do: in the place of a function it
    /// counts them by itself.
    fn counts_tail_calls(&self) -> bool {
        // Entering the interpreter changes the register that the count is in.
        let is_interpreted = matches!(self.code(), Code::Interp(_));
        is_interpreted || self.image.subprogs.iter().any(|subprog| subprog.tail_calls)
    }

    /// The entry of a function, made when it is first asked for.
    fn target(&self, function: usize) -> Option<Arc<Target>> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(&function) {
            return Some(Arc::clone(target));
        }
        let slot: Box<dyn SlotWriter> = match self.code() {
            Code::Jit(compiled) => Box::new(JitSlot::new(Arc::clone(compiled), function)?),
            Code::Interp(program) => Box::new(InterpSlot::new(Arc::clone(program), function)?),
        };
        let grace = Arc::new(Grace(self.cpus.clone()));
        let target = Target::new(slot, Arc::clone(&self.gate), grace);
        targets.insert(function, Arc::clone(&target));
        Some(target)
    }
}
