//! Compiling beside the runs: a program is interpreted until its code is there, and runs that
//! begin from then on are compiled.
//!
//! Whoever needs to know what a program has become waits for it: a program array, which holds
//! where compiled and interpreted chains go on, and links, which change its code.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use bpf_abi::exec::{ProgCounters, ProgEntry};
use bpf_abi::image::Image;
use bpf_jit::{CompileError, Compiled, Jit};

use crate::engine::Code;

/// What the engines made of a program, or are about to make.
#[derive(Debug)]
pub(crate) struct Prepared {
    first: Code,
    /// What takes its place.
    later: Option<Arc<Later>>,
}

/// Code that is being made: `None` once it is clear that there will be none.
#[derive(Debug, Default)]
pub(crate) struct Later(OnceLock<Option<Code>>);

impl Prepared {
    /// A program that stays what it is.
    pub(crate) const fn settled(code: Code) -> Self {
        Self { first: code, later: None }
    }

    /// What runs that begin now are to run.
    #[inline(always)]
    pub(crate) fn now(&self) -> &Code {
        if self.later.is_none() { &self.first } else { self.now_or_first() }
    }

    /// The same where there is a compiler; apart, so that entering stays small.
    #[inline(never)]
    fn now_or_first(&self) -> &Code {
        let later = self.later.as_ref().and_then(|later| later.0.get().and_then(Option::as_ref));
        later.unwrap_or(&self.first)
    }

    /// What it is in the end; waits for it.
    pub(crate) fn finally(&self) -> &Code {
        let later = self.later.as_ref().and_then(|later| later.0.wait().as_ref());
        later.unwrap_or(&self.first)
    }

    /// Whether it should have been compiled and could not; waits for that to be known.
    pub(crate) fn is_stuck(&self) -> bool {
        self.later.as_ref().is_some_and(|later| later.0.wait().is_none())
    }

    /// What goes into the slots of a program array: a chain goes on in the engine that it began
    /// in. Waits for what the program is in the end.
    pub(crate) fn entry(&self) -> ProgEntry {
        let (first, last) = (self.first.entry(), self.finally().entry());
        ProgEntry { native: last.native, interp: first.interp }
    }
}

/// A thread that compiles.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    jobs: Mutex<Option<Sender<Job>>>,
}

/// A program to be compiled. However it ends, it is made known.
struct Job {
    jit: Jit,
    image: Arc<Image>,
    counters: Option<Arc<ProgCounters>>,
    /// Nobody waits for a program that is gone.
    later: Weak<Later>,
}

impl Compiler {
    /// A program that is `first` until it is compiled.
    pub(crate) fn begin(
        &self,
        first: Code,
        jit: &Jit,
        image: &Arc<Image>,
        counters: Option<&Arc<ProgCounters>>,
    ) -> Prepared {
        let later = Arc::<Later>::default();
        let job = Job {
            jit: jit.clone(),
            image: Arc::clone(image),
            counters: counters.cloned(),
            later: Arc::downgrade(&later),
        };
        self.hand_over(job);
        Prepared { first, later: Some(later) }
    }

    /// Hands a job to the thread, which is there from the first on; without a thread it is done
    /// at once.
    fn hand_over(&self, job: Job) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_none() {
            let (sender, receiver) = channel::<Job>();
            let name = "bpf-compiler".to_owned();
            let spawned = thread::Builder::new()
                .name(name)
                .spawn(move || receiver.into_iter().for_each(Job::work));
            if spawned.is_ok() {
                *jobs = Some(sender);
            }
        }
        let refused = match &*jobs {
            Some(sender) => sender.send(job).err().map(|error| error.0),
            None => Some(job),
        };
        drop(jobs);
        if let Some(job) = refused {
            job.work();
        }
    }
}

impl Job {
    fn work(self) {
        if let Some(later) = self.later.upgrade() {
            let code = compile(&self.jit, &self.image, self.counters.as_ref());
            // What cannot be compiled stays interpreted.
            let _ = later.0.set(code.ok().map(|compiled| Code::Jit(Arc::new(compiled))));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(later) = self.later.upgrade() {
            let _ = later.0.set(None);
        }
    }
}

/// Compiles a program, which counts if there are counters.
pub(crate) fn compile(
    jit: &Jit,
    image: &Image,
    counters: Option<&Arc<ProgCounters>>,
) -> Result<Compiled, CompileError> {
    match counters {
        None => jit.compile(image),
        Some(counters) => jit.compile_counted(image, Arc::clone(counters)),
    }
}

#[cfg(test)]
mod tests {
    use bpf_abi::exec::Engine;
    use bpf_abi::prog::ProgType;
    use bpf_abi::spec::{ObjectSpec, ProgramSpec};
    use bpf_isa::{AluOp, Insn, Operand, Program, Reg, Width};

    use crate::{JitMode, Runtime};

    /// A program that returns `number`.
    fn returning(number: i32) -> ProgramSpec {
        let (op, width) = (AluOp::Mov, Width::W64);
        let mov = Insn::Alu { op, width, dst: Reg::R0, src: Operand::Imm(number) };
        ProgramSpec::new("p", ProgType::Xdp, Program::new(vec![mov, Insn::Exit]).to_slots())
    }

    fn load(runtime: &Runtime, number: i32) -> crate::Program {
        let programs = vec![returning(number)];
        let object = ObjectSpec { name: "o".to_owned(), programs, ..ObjectSpec::default() };
        runtime.open(object).load().unwrap().program("p").unwrap()
    }

    #[test]
    fn programs_run_at_once_and_are_compiled_in_the_end() {
        let Ok(runtime) = Runtime::builder().jit(JitMode::Background).build() else { return };
        for number in 0..20 {
            let program = load(&runtime, number);
            let mut packet = program.packet(&[0; 64]).unwrap();
            assert_eq!(program.run(&mut packet).unwrap(), number.cast_unsigned());
            if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
                assert_eq!(program.settle(), Engine::Jit);
                assert!(program.info().jited_bytes > 0);
            }
            assert_eq!(program.run(&mut packet).unwrap(), number.cast_unsigned());
        }
    }

    #[test]
    fn programs_that_are_dropped_at_once_are_no_burden() {
        let runtime = Runtime::builder().jit(JitMode::Background).build().unwrap();
        for number in 0..20 {
            drop(load(&runtime, number));
        }
        assert_eq!(load(&runtime, 5).settle(), load(&runtime, 6).settle());
    }

    #[test]
    fn without_a_compiler_programs_are_interpreted() {
        let runtime = Runtime::builder().jit(JitMode::Off).build().unwrap();
        let program = load(&runtime, 3);
        assert_eq!((program.settle(), program.info().jited_bytes), (Engine::Interp, 0));
    }
}
