//! Compiling beside the runs: a program is interpreted until its code is there, and runs that
//! begin from then on are compiled.
//!
//! Nobody needs to know how far that is. A program array is given an entry that leads into the
//! interpreter, and the code's in its place when it is there. Who changes a program's code, a link,
//! does not wait for its turn: the thread that asks compiles it.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use bpf_abi::exec::{EntryHolder, ProgCounters, ProgEntry};
use bpf_abi::image::Image;
use bpf_interp::Interp;
use bpf_jit::{CompileError, Compiled, Jit, Thunk};

use crate::engine::Code;

/// What the engines made of a program, or are about to make.
#[derive(Debug)]
pub(crate) struct Prepared {
    first: Code,
    /// What takes its place.
    later: Option<Arc<Later>>,
    /// How compiled code gets to it while it is interpreted, where there may be any.
    stub: Option<Stub>,
}

/// Code that enters the interpreter, made when it is first asked for.
#[derive(Debug)]
struct Stub {
    jit: Jit,
    code: OnceLock<Thunk>,
}

impl Prepared {
    /// A program that stays what it is, beside others like it.
    pub(crate) const fn settled(code: Code) -> Self {
        Self { first: code, later: None, stub: None }
    }

    /// A program that stays interpreted, beside others that are compiled.
    pub(crate) fn interpreted(program: Arc<Interp>, jit: &Jit) -> Self {
        Self { first: Code::Interp(program), later: None, stub: Some(Stub::new(jit)) }
    }

    /// What runs that begin now are to run.
    #[inline(always)]
    pub(crate) fn now(&self) -> &Code {
        if self.later.is_none() { &self.first } else { self.now_or_first() }
    }

    /// The same where there is a compiler; apart, so that entering stays small.
    #[inline(never)]
    fn now_or_first(&self) -> &Code {
        let later = self.later.as_ref().and_then(|later| later.code.get().and_then(Option::as_ref));
        later.unwrap_or(&self.first)
    }

    /// What it is in the end: compiles it, or waits for who does.
    pub(crate) fn finally(&self) -> &Code {
        let later = self.later.as_ref().and_then(|later| later.finish());
        later.unwrap_or(&self.first)
    }

    /// Lets the program be put into this program array, which is told when its entry changes.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for the code that enters the interpreter.
    pub(crate) fn enter(&self, array: &Arc<dyn EntryHolder>) -> Result<(), CompileError> {
        if let (Code::Interp(program), Some(stub)) = (self.now(), &self.stub) {
            stub.make(program)?;
        }
        if let Some(later) = &self.later {
            later.tell(array);
        }
        Ok(())
    }

    /// What goes into the slots of a program array that it has [entered](Self::enter).
    pub(crate) fn entry(&self) -> ProgEntry {
        match self.now() {
            Code::Jit(compiled) => ProgEntry { native: compiled.entry(), interp: 0 },
            Code::Interp(program) => {
                let stub = self.stub.as_ref().and_then(|stub| stub.code.get());
                ProgEntry { native: stub.map_or(0, Thunk::entry), interp: program.entry() }
            }
        }
    }
}

impl Stub {
    fn new(jit: &Jit) -> Self {
        Self { jit: jit.clone(), code: OnceLock::new() }
    }

    fn make(&self, program: &Arc<Interp>) -> Result<(), CompileError> {
        if self.code.get().is_none() {
            let (entry, keep) = (program.entry(), Arc::<Interp>::clone(program));
            let code = self.jit.interpreted(1, bpf_interp::JUMPED_TO, entry, keep)?;
            // If another thread was faster, its code does as well.
            let _ = self.code.set(code);
        }
        Ok(())
    }
}

/// Code that is being made.
#[derive(Debug)]
pub(crate) struct Later {
    /// `None` once it is clear that there will be none.
    code: OnceLock<Option<Code>>,
    /// What is to be done, until somebody does it.
    work: Mutex<Option<Work>>,
    /// Who must be told.
    arrays: Mutex<Vec<Weak<dyn EntryHolder>>>,
}

/// A program to be compiled.
#[derive(Debug)]
struct Work {
    jit: Jit,
    image: Arc<Image>,
    counters: Option<Arc<ProgCounters>>,
}

/// However the work ends, it is made known.
struct Finish<'a>(&'a Later);

impl Later {
    /// Compiles the program, or waits for who does; nothing if it cannot be compiled.
    fn finish(&self) -> Option<&Code> {
        let work = lock(&self.work).take();
        if let Some(work) = work {
            let finish = Finish(self);
            let code = compile(&work.jit, &work.image, work.counters.as_ref());
            // What cannot be compiled stays interpreted.
            let code = code.ok().map(|compiled| Code::Jit(Arc::new(compiled)));
            let _ = self.code.set(code);
            drop(finish);
        }
        self.code.wait().as_ref()
    }

    /// Has the array told when the code is there, if it is not.
    fn tell(&self, array: &Arc<dyn EntryHolder>) {
        let mut arrays = lock(&self.arrays);
        // Whoever finishes the code after this line takes the list after it.
        if self.code.get().is_some() {
            return;
        }
        let array = Arc::downgrade(array);
        if !arrays.iter().any(|other| other.ptr_eq(&array)) {
            arrays.push(array);
        }
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let _ = self.0.code.set(None);
        let arrays = std::mem::take(&mut *lock(&self.0.arrays));
        for array in arrays {
            if let Some(array) = array.upgrade() {
                array.refresh();
            }
        }
    }
}

/// A thread that compiles.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    /// Nobody waits for a program that is gone.
    jobs: Mutex<Option<Sender<Weak<Later>>>>,
    brake: Arc<Brake>,
}

/// Holds the thread up.
#[derive(Debug, Default)]
struct Brake {
    /// How many hold it.
    holders: Mutex<usize>,
    released: Condvar,
}

/// Holds up the compiler of a runtime until this is dropped: see
/// [`Runtime::hold_compiler`](crate::Runtime::hold_compiler).
#[derive(Debug)]
#[must_use = "the compiler goes on when this is dropped"]
pub struct CompilerHold {
    brake: Option<Arc<Brake>>,
}

impl CompilerHold {
    pub(crate) fn new(compiler: Option<&Compiler>) -> Self {
        let brake = compiler.map(|compiler| Arc::clone(&compiler.brake));
        if let Some(brake) = &brake {
            *lock(&brake.holders) += 1;
        }
        Self { brake }
    }
}

impl Drop for CompilerHold {
    fn drop(&mut self) {
        if let Some(brake) = &self.brake {
            *lock(&brake.holders) -= 1;
            brake.released.notify_all();
        }
    }
}

impl Brake {
    fn wait(&self) {
        let holders = lock(&self.holders);
        let free = self.released.wait_while(holders, |holders| *holders > 0);
        drop(free);
    }
}

impl Compiler {
    /// A program that is interpreted until it is compiled.
    pub(crate) fn begin(
        &self,
        program: Arc<Interp>,
        jit: &Jit,
        image: &Arc<Image>,
        counters: Option<&Arc<ProgCounters>>,
    ) -> Prepared {
        let work = Work { jit: jit.clone(), image: Arc::clone(image), counters: counters.cloned() };
        let later = Arc::new(Later {
            code: OnceLock::new(),
            work: Mutex::new(Some(work)),
            arrays: Mutex::default(),
        });
        self.hand_over(&later);
        let first = Code::Interp(program);
        Prepared { first, later: Some(later), stub: Some(Stub::new(jit)) }
    }

    /// Hands a program to the thread, which is there from the first on; without a thread it is
    /// compiled at once.
    fn hand_over(&self, later: &Arc<Later>) {
        let mut jobs = lock(&self.jobs);
        if jobs.is_none() {
            let (sender, receiver) = channel::<Weak<Later>>();
            let name = "bpf-compiler".to_owned();
            let brake = Arc::clone(&self.brake);
            let spawned = thread::Builder::new().name(name).spawn(move || {
                for later in receiver {
                    brake.wait();
                    if let Some(later) = later.upgrade() {
                        later.finish();
                    }
                }
            });
            if spawned.is_ok() {
                *jobs = Some(sender);
            }
        }
        let sent = jobs.as_ref().is_some_and(|jobs| jobs.send(Arc::downgrade(later)).is_ok());
        drop(jobs);
        if !sent {
            later.finish();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
