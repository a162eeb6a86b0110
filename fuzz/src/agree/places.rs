//! Where our engines run families: a runtime each, which makes code of a program in its own way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bpf_runtime::{
    Builder, Clock, CodeCache, CompilerHold, EngineChoice, JitMode, KernelBtf, LoadError,
    ManualClock, Object, Runtime,
};
use bpf_verifier::LogOptions;

use crate::family::{Family, Types};

/// How many instructions the verifier may walk.
const MAX_INSNS: u32 = 10_000;

/// One of them, with one CPU.
#[derive(Debug)]
pub(super) struct OurPlace {
    pub(super) name: &'static str,
    runtime: Runtime,
    code: Code,
}

/// Where the code of a program comes from.
#[derive(Debug)]
enum Code {
    /// From the engine, when it is loaded.
    Engine,
    /// From a cache into which the other runtime put it before.
    Cache { before: Runtime, folder: Option<Folder> },
    /// From the interpreter, until it is compiled amid the runs.
    Later,
}

/// A directory that is gone with this.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A family that is loaded.
pub(super) struct Loaded {
    pub(super) object: Object,
    hold: Option<CompilerHold>,
}

impl Loaded {
    pub(super) const fn new(object: Object) -> Self {
        Self { object, hold: None }
    }

    /// Before the run of this number, of so many: programs that are compiled later are interpreted for
    /// a third of the runs, compiled beside the second and before the last.
    pub(super) fn before(&mut self, run: usize, runs: usize) {
        if 3 * run >= runs {
            let was_held = self.hold.take().is_some();
            if was_held && runs < 3 {
                self.settle();
            }
        }
        if 3 * run >= 2 * runs && 3 * run < 2 * runs + 3 {
            self.settle();
        }
    }

    fn settle(&self) {
        for program in self.object.programs() {
            program.settle();
        }
    }
}

impl OurPlace {
    /// The places where every family runs; the first takes programs out that are refused.
    pub(super) fn always(types: &Types, count: bool) -> Result<Vec<Self>, String> {
        let mut places = vec![Self::engine("interpreter", types, EngineChoice::Interp, count)?];
        if has_jit() {
            places.push(Self::engine("jit", types, EngineChoice::Jit, count)?);
            let unoptimised = |builder: Builder| builder.optimize(false);
            let name = "jit without optimisation";
            places.push(Self::of(name, types, count, unoptimised, Code::Engine)?);
        }
        Ok(places)
    }

    /// The places that take turns.
    pub(super) fn by_turns(types: &Types, count: bool) -> Result<Vec<Self>, String> {
        if !has_jit() {
            return Ok(Vec::new());
        }
        let cache = CodeCache::in_memory(CodeCache::DEFAULT_MEMORY);
        let with = |cache: CodeCache| move |builder: Builder| builder.code_cache(cache);
        let before = build(types, count, with(cache.clone()))?;
        let memory = Code::Cache { before, folder: None };
        let memory = Self::of("jit, code kept in memory", types, count, with(cache), memory)?;

        let folder = Folder::new()?;
        // Each opens the directory for itself: what one has in memory the other reads.
        let open = || CodeCache::on_disk(&folder.0).map_err(|error| error.to_string());
        let (one, other) = (open()?, open()?);
        let disk = Code::Cache { before: build(types, count, with(one))?, folder: Some(folder) };
        let disk = Self::of("jit, code kept on disk", types, count, with(other), disk)?;

        let background = |builder: Builder| builder.jit(JitMode::Background);
        let later = Self::of("interpreter, then jit", types, count, background, Code::Later)?;
        Ok(vec![memory, disk, later])
    }

    fn engine(
        name: &'static str,
        types: &Types,
        choice: EngineChoice,
        count: bool,
    ) -> Result<Self, String> {
        Self::of(name, types, count, |builder| builder.engine(choice), Code::Engine)
    }

    fn of(
        name: &'static str,
        types: &Types,
        count: bool,
        how: impl FnOnce(Builder) -> Builder,
        code: Code,
    ) -> Result<Self, String> {
        let runtime = build(types, count, how).map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, runtime, code })
    }

    /// Loads a family. What takes the verifier long is given up: the time is better spent on others.
    pub(super) fn load(&self, family: &Family) -> Result<Loaded, LoadError> {
        let hold = matches!(self.code, Code::Later).then(|| self.runtime.hold_compiler());
        Ok(Loaded { object: load(&self.runtime, family)?, hold })
    }

    /// Loads a family that was accepted elsewhere.
    pub(super) fn load_again(&self, family: &Family) -> Result<Loaded, String> {
        let failed = |error: LoadError| format!("{}: {error}: {error:?}", self.name);
        let Code::Cache { before, folder } = &self.code else {
            return self.load(family).map_err(failed);
        };
        drop(load(before, family).map_err(failed)?);
        let hits = || self.runtime.code_cache().map_or(0, |cache| cache.stats().hits);
        let hits_before = hits();
        let loaded = self.load(family).map_err(failed)?;
        let (taken, programs) = (hits() - hits_before, family.object.programs.len());
        if taken != programs as u64 {
            return Err(format!("{}: {taken} of {programs} programs were taken", self.name));
        }
        if let Some(folder) = folder {
            folder.empty();
        }
        Ok(loaded)
    }
}

impl Folder {
    fn new() -> Result<Self, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bpf-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Removes what was kept: no family comes twice.
    fn empty(&self) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        for entry in entries {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Code memory of a place, in bytes. All places of all threads lie near the host's code: what is far
/// from it is other code, which is not kept for what is near.
const CODE_MEMORY: usize = 16 << 20;

const fn has_jit() -> bool {
    cfg!(all(target_arch = "x86_64", target_os = "linux"))
}

fn build(
    types: &Types,
    count: bool,
    how: impl FnOnce(Builder) -> Builder,
) -> Result<Runtime, String> {
    let kernel = types.kernel().map_or(KernelBtf::None, KernelBtf::Given);
    let clock = Clock::Manual(ManualClock::new(1_000_000));
    let builder = Runtime::builder().engine(EngineChoice::Jit).code_cache(None);
    let builder = builder.count(count).cpus(1).seed(1).clock(clock).kernel_btf(kernel);
    let builder = builder.code_memory(CODE_MEMORY);
    how(builder).build().map_err(|error| error.to_string())
}

fn load(runtime: &Runtime, family: &Family) -> Result<Object, LoadError> {
    let mut open = runtime.open(family.object.clone());
    let options = open.verifier();
    options.log = LogOptions { level: 0, size: None };
    options.max_insns = MAX_INSNS;
    open.load()
}
