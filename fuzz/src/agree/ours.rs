//! Our engines: the interpreter, compiled code, and compiled code that is not optimised.

use bpf_abi::map::{MapType, UpdateFlags};
use bpf_runtime::{
    Clock, EngineChoice, KernelBtf, LoadError, ManualClock, Map, Object, Program, RawEntry,
    Runtime, TestRun,
};

use bpf_verifier::LogOptions;

use super::account::{Account, Contents, Ran};
use crate::family::{Family, Input};

/// How many instructions the verifier may walk.
const MAX_INSNS: u32 = 10_000;

/// Every engine, in runtimes of one CPU each.
#[derive(Debug)]
pub struct Engines {
    /// Programs do not count.
    silent: Vec<(&'static str, Runtime)>,
    /// They count their runs and tail calls.
    counting: Vec<(&'static str, Runtime)>,
}

/// A family, loaded.
#[derive(Debug)]
pub struct Accepted {
    /// What was accepted.
    pub object: Object,
    /// What was not.
    pub refusals: Vec<Refusal>,
}

/// A program that was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub program: String,
    /// Why.
    pub reason: String,
}

impl Engines {
    /// The engines; without the compiler where it has no target.
    ///
    /// # Errors
    ///
    /// Returns an error if an engine cannot be had that this target has.
    pub fn new() -> Result<Self, String> {
        Ok(Self { silent: runtimes(false)?, counting: runtimes(true)? })
    }

    /// The names of the engines.
    pub fn names(&self) -> Vec<&'static str> {
        self.silent.iter().map(|(name, _)| *name).collect()
    }

    /// Takes the programs out of a family that are refused, and loads the others into the first engine.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not its programs that are at fault.
    pub fn accept(&self, family: &mut Family) -> Result<Accepted, String> {
        let (_, runtime) = self.of(family).first().ok_or("there is no engine")?;
        let mut refusals = Vec::new();
        loop {
            let error = match load(runtime, family) {
                Ok(object) => return Ok(Accepted { object, refusals }),
                Err(error) => error,
            };
            #[expect(clippy::wildcard_enum_match_arm, reason = "of others no program is the cause")]
            let place = match &error {
                LoadError::Rejected(rejected) => Some(&rejected.place),
                LoadError::MissingHelper { place, .. } => Some(place.as_ref()),
                _ => None,
            };
            let Some(program) = place.map(|place| place.program.clone()) else {
                return Err(format!("{error}: {error:?}"));
            };
            family.remove(&program);
            refusals.push(Refusal { program, reason: error.to_string() });
        }
    }

    /// Runs a family on each engine; the first has loaded it already.
    ///
    /// # Errors
    ///
    /// Returns an error if an engine does not take it.
    pub fn run(
        &self,
        family: &Family,
        first: Object,
    ) -> Result<Vec<(&'static str, Account)>, String> {
        let mut first = Some(first);
        let ran = self.of(family).iter().map(|(name, runtime)| {
            let failed = |error: String| format!("{name}: {error}");
            let object = match first.take() {
                Some(object) => object,
                None => {
                    load(runtime, family).map_err(|error| failed(format!("{error}: {error:?}")))?
                }
            };
            Ok((*name, account(&object, family).map_err(failed)?))
        });
        ran.collect()
    }

    /// How many instructions each run of a family takes.
    ///
    /// # Errors
    ///
    /// Returns an error if a program cannot be run on one of its packets.
    pub fn steps(&self, family: &Family, object: &Object) -> Result<Vec<u64>, String> {
        let mut all = Vec::new();
        for (program, inputs) in object.programs().iter().zip(&family.inputs) {
            for input in inputs {
                let counted = program.packet(&input.data).and_then(|mut it| program.steps(&mut it));
                all.push(counted.map_err(|error| error.to_string())?);
            }
        }
        Ok(all)
    }

    fn of(&self, family: &Family) -> &[(&'static str, Runtime)] {
        if family.seed.is_multiple_of(4) { &self.counting } else { &self.silent }
    }
}

fn runtimes(count: bool) -> Result<Vec<(&'static str, Runtime)>, String> {
    let has_jit = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    let choices = [
        ("interpreter", EngineChoice::Interp, true),
        ("jit", EngineChoice::Jit, true),
        ("jit without optimisation", EngineChoice::Jit, false),
    ];
    let choices =
        choices.into_iter().filter(|(_, choice, _)| has_jit || *choice != EngineChoice::Jit);
    let built = choices.map(|(name, choice, optimize)| {
        let builder = Runtime::builder().engine(choice).optimize(optimize).count(count);
        let clock = Clock::Manual(ManualClock::new(1_000_000));
        let runtime = builder.cpus(1).seed(1).clock(clock).kernel_btf(KernelBtf::None).build();
        Ok((name, runtime.map_err(|error| format!("{name}: {error}"))?))
    });
    built.collect()
}

/// Loads a family. What takes the verifier long is given up: the time is better spent on others.
fn load(runtime: &Runtime, family: &Family) -> Result<Object, LoadError> {
    let mut open = runtime.open(family.object.clone());
    let options = open.verifier();
    options.log = LogOptions { level: 0, size: None };
    options.max_insns = MAX_INSNS;
    open.load()
}

fn account(object: &Object, family: &Family) -> Result<Account, String> {
    let each = object.programs().iter().zip(&family.inputs);
    let runs = each.map(|(program, inputs)| inputs.iter().map(|it| run(program, it)).collect());
    let runs = runs.collect();
    let counters = object.programs().iter().map(Program::counters).collect();
    Ok(Account { runs, maps: contents(object)?, counters })
}

fn run(program: &Program, input: &Input) -> Ran {
    let mut test_run = TestRun::packet(&input.data);
    if let Some(ctx) = &input.ctx {
        test_run = test_run.ctx(ctx);
    }
    match program.test_run(&test_run) {
        Ok(out) => Ran {
            result: Ok(out.return_value),
            data: out.data,
            ctx: out.ctx,
            tail_calls: Some(out.tail_calls),
        },
        Err(error) => Ran {
            result: Err(error.errno().to_string()),
            data: Vec::new(),
            ctx: Vec::new(),
            tail_calls: None,
        },
    }
}

fn contents(object: &Object) -> Result<Vec<Contents>, String> {
    let all = object.maps().map(|(name, map)| {
        let entries = entries(map).map_err(|error| format!("map {name}: {error}"))?;
        Ok(Contents { name: name.to_owned(), entries })
    });
    all.collect()
}

/// What a map holds; takes out what can only be looked at so.
fn entries(map: &Map) -> Result<Option<Vec<RawEntry>>, bpf_runtime::Error> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "families have few types of maps")]
    Ok(match map.map_type() {
        MapType::Queue | MapType::Stack => {
            let take = || map.raw().host().lookup_and_delete(&[], UpdateFlags::empty()).ok();
            Some(std::iter::from_fn(take).map(|value| (Vec::new(), value)).collect())
        }
        MapType::Ringbuf => {
            let mut records = Vec::new();
            map.ring_buffer()?.consume(|record| records.push((Vec::new(), record.to_vec())));
            Some(records)
        }
        // Programs and maps in maps have numbers; whether values are in a filter programs ask.
        MapType::ProgArray | MapType::ArrayOfMaps | MapType::BloomFilter => None,
        _ => {
            let mut entries = map.entries()?;
            entries.sort();
            Some(entries)
        }
    })
}
