//! Our engines: what comes of a family on each.

use bpf_abi::map::{MapType, UpdateFlags};
use bpf_runtime::{LoadError, Map, Object, Program, RawEntry, TestRun};

use super::account::{Account, Contents, Numbers, Ran, bloom_questions};
use super::places::{Loaded, OurPlace};
use crate::family::{Family, Input, Types};

/// Every engine, in runtimes of one CPU each: the interpreter, compiled code, and compiled code that
/// is not optimised; and by turns code from a cache and code that is compiled amid the runs.
#[derive(Debug)]
pub struct Engines {
    /// Programs do not count.
    silent: Places,
    /// They count their runs and tail calls.
    counting: Places,
}

#[derive(Debug)]
struct Places {
    always: Vec<OurPlace>,
    by_turns: Vec<OurPlace>,
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
    pub fn new(types: &Types) -> Result<Self, String> {
        Ok(Self { silent: Places::new(types, false)?, counting: Places::new(types, true)? })
    }

    /// The names of the places.
    pub fn names(&self) -> Vec<&'static str> {
        self.silent.always.iter().chain(&self.silent.by_turns).map(|place| place.name).collect()
    }

    /// Takes the programs out of a family that are refused, and loads the others into the first engine.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not its programs that are at fault.
    pub fn accept(&self, family: &mut Family) -> Result<Accepted, String> {
        let place = self.of(family).always.first().ok_or("there is no engine")?;
        let mut refusals = Vec::new();
        loop {
            let error = match place.load(family) {
                Ok(loaded) => return Ok(Accepted { object: loaded.object, refusals }),
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
        let mut first = Some(Loaded::new(first));
        let places = self.of(family);
        let turn = usize::try_from(family.seed / 4).unwrap_or(0);
        let turn = turn.checked_rem(places.by_turns.len()).and_then(|at| places.by_turns.get(at));
        let ran = places.always.iter().chain(turn).map(|place| {
            let loaded = first.take().map_or_else(|| place.load_again(family), Ok)?;
            let account = account(loaded, family);
            Ok((place.name, account.map_err(|error| format!("{}: {error}", place.name))?))
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

    fn of(&self, family: &Family) -> &Places {
        if family.seed.is_multiple_of(4) { &self.counting } else { &self.silent }
    }
}

impl Places {
    fn new(types: &Types, count: bool) -> Result<Self, String> {
        let always = OurPlace::always(types, count)?;
        Ok(Self { always, by_turns: OurPlace::by_turns(types, count)? })
    }
}

fn account(mut loaded: Loaded, family: &Family) -> Result<Account, String> {
    let all = family.inputs.iter().map(Vec::len).sum();
    let mut done = 0;
    let mut runs = Vec::new();
    for at in 0..loaded.object.programs().len() {
        let mut of_program = Vec::new();
        for input in family.inputs.get(at).into_iter().flatten() {
            loaded.before(done, all);
            if let Some(program) = loaded.object.programs().get(at) {
                of_program.push(run(program, input));
            }
            done += 1;
        }
        runs.push(of_program);
    }
    let object = &loaded.object;
    let counters = object.programs().iter().map(Program::counters).collect();
    Ok(Account { runs, maps: contents(object, family)?, counters })
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

fn contents(object: &Object, family: &Family) -> Result<Vec<Contents>, String> {
    let numbers = Numbers {
        maps: object.maps().map(|(_, map)| map.id().0).collect(),
        programs: object.programs().iter().map(|program| program.info().id.0).collect(),
    };
    let all = object.maps().zip(&family.object.maps).map(|((name, map), spec)| {
        if name != spec.name {
            return Err(format!("map {name} is where {} should be", spec.name));
        }
        let entries = entries(map, &numbers).map_err(|error| format!("map {name}: {error}"))?;
        Ok(Contents { name: name.to_owned(), entries })
    });
    all.collect()
}

/// What a map holds; takes out what can only be looked at so.
fn entries(map: &Map, numbers: &Numbers) -> Result<Vec<RawEntry>, bpf_runtime::Error> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "families have few types of maps")]
    Ok(match map.map_type() {
        MapType::Queue | MapType::Stack => {
            let take = || map.raw().host().lookup_and_delete(&[], UpdateFlags::empty()).ok();
            std::iter::from_fn(take).map(|value| (Vec::new(), value)).collect()
        }
        MapType::Ringbuf => {
            let mut records = Vec::new();
            map.ring_buffer()?.consume(|record| records.push((Vec::new(), record.to_vec())));
            records
        }
        MapType::BloomFilter => {
            let mut found = Vec::new();
            for value in bloom_questions() {
                let mut out = value;
                if map.raw().peek(&mut out).is_ok() {
                    found.push((Vec::new(), value.to_vec()));
                }
            }
            found
        }
        MapType::ProgArray => numbers.programs(map.entries()?),
        MapType::ArrayOfMaps => numbers.maps(map.entries()?),
        _ => {
            let mut entries = map.entries()?;
            entries.sort();
            entries
        }
    })
}
