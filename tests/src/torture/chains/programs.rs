//! Programs that come and go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_fuzz::Random;
use bpf_runtime::{Map, OpenObject, Program, Runtime};
use bpfkit::OpenElf as _;

use crate::corpus::file;
use crate::torture::chains::arrays::{Array, Arrays};
use crate::torture::chains::history::Clock;
use crate::torture::text;

/// What a program does, by its name in the object.
pub(super) const KINDS: [&str; 7] =
    ["known", "chosen", "either", "routed", "named", "branching", "leaf"];
/// How often each kind is loaded: a leaf ends its chain.
const OFTEN: [usize; 16] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6];
/// How many programs there are to put into slots, besides those of islands.
const POOL: usize = 24;
/// How many numbers of programs are told apart.
const NUMBERS: u32 = 8192;
/// The numbers below are those of programs that stay.
pub(super) const FIRST: u32 = 16;

/// A program that can be put into slots.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) program: Program,
    pub(super) number: u32,
    /// Whether it goes with an array that goes.
    settler: bool,
}

/// Loads programs and takes them away.
#[derive(Debug)]
pub(super) struct Shop {
    runtime: Runtime,
    source: OpenObject,
    /// The maps that all programs share, by their names.
    shared: Vec<Map>,
    next: Mutex<u32>,
    pool: Mutex<Vec<Arc<Loaded>>>,
}

impl Shop {
    pub(super) fn new(runtime: &Runtime) -> Result<Self, String> {
        let source = runtime.open_file(file("tests/objects/chains.bpf.o")).map_err(text)?;
        let made = |name: &str| {
            let spec = source.spec().maps.iter().find(|map| map.name == name);
            runtime.create_map(spec.ok_or("no such map")?).map_err(text)
        };
        let shared = ["alive", "counts", "routes", "named_routes"].map(made);
        Ok(Self {
            runtime: runtime.clone(),
            shared: shared.into_iter().collect::<Result<_, _>>()?,
            source,
            next: Mutex::new(FIRST),
            pool: Mutex::default(),
        })
    }

    /// A map that all programs share.
    pub(super) fn map(&self, name: &str) -> Result<&Map, String> {
        let found = self.shared.iter().find(|map| map.name() == name);
        found.ok_or_else(|| format!("no map {name}"))
    }

    fn pool(&self) -> MutexGuard<'_, Vec<Arc<Loaded>>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no program has that can still run.
    fn number(&self) -> u32 {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        while *next % NUMBERS < FIRST {
            *next += 1;
        }
        *next
    }

    /// Loads a program that goes on in these arrays.
    pub(super) fn load(
        &self,
        kind: &str,
        known: u32,
        [first, second]: [&Array; 2],
        number: u32,
    ) -> Result<Option<Arc<Loaded>>, String> {
        let (Some(first_map), Some(second_map)) = (first.map(), second.map()) else {
            return Ok(None);
        };
        let mut open = self.source.clone();
        open.choose(&[kind]).map_err(text)?;
        for map in &self.shared {
            open.reuse_map(map.name(), map).map_err(text)?;
        }
        open.reuse_map("first", &first_map).map_err(text)?;
        open.reuse_map("second", &second_map).map_err(text)?;
        drop((first_map, second_map));
        for name in ["number", "own_number"] {
            open.set_global(name, &number).map_err(text)?;
        }
        open.set_global("known_index", &known).map_err(text)?;
        open.set_global("first_name", &first.name).map_err(text)?;
        open.set_global("second_name", &second.name).map_err(text)?;
        self.set_alive(number, number)?;
        let program = open.load().map_err(text)?.program(kind).map_err(text)?;
        let settler = !first.stays();
        Ok(Some(Arc::new(Loaded { program, number, settler })))
    }

    /// Says under which number a program runs, or that none does.
    fn set_alive(&self, number: u32, value: u32) -> Result<(), String> {
        let alive = self.map("alive")?.array::<u32>().map_err(text)?;
        alive.set(number % NUMBERS, &value).map_err(text)
    }

    /// Loads any program, for arrays that stay.
    pub(super) fn load_any(
        &self,
        random: &mut Random,
        arrays: &Arrays,
    ) -> Result<Arc<Loaded>, String> {
        let kind = KINDS[random.pick(&OFTEN)];
        let lasting = arrays.lasting();
        let [first, second] = [(); 2].map(|()| &lasting[random.below(lasting.len())]);
        let known = u32::try_from(random.below(9)).unwrap_or(0);
        let loaded = self.load(kind, known, [first, second], self.number())?;
        loaded.ok_or_else(|| "an array that stays has gone".to_owned())
    }

    /// Loads a program that goes on in an island, and from there in an array that stays.
    pub(super) fn load_for(
        &self,
        random: &mut Random,
        island: &Array,
        arrays: &Arrays,
    ) -> Result<Option<Arc<Loaded>>, String> {
        let lasting = arrays.lasting();
        let second = &lasting[random.below(lasting.len())];
        let kind = KINDS[random.below(6)];
        let known = u32::try_from(random.below(island.len())).unwrap_or(0);
        self.load(kind, known, [island, second], self.number())
    }

    /// Adds a program to those that are put into slots.
    pub(super) fn offer(&self, program: Arc<Loaded>) {
        self.pool().push(program);
    }

    /// One of those that are put into slots.
    pub(super) fn pick(&self, random: &mut Random) -> Option<Arc<Loaded>> {
        let pool = self.pool();
        pool.get(random.below(pool.len())).cloned()
    }

    /// The next program to be taken away, if there are enough; those of islands are not taken.
    pub(super) fn surplus(&self, random: &mut Random) -> Option<Arc<Loaded>> {
        let pool = self.pool();
        let mut staying: Vec<_> = pool.iter().filter(|program| !program.settler).collect();
        if staying.len() <= POOL {
            return None;
        }
        Some(Arc::clone(staying.swap_remove(random.below(staying.len()))))
    }

    /// Takes a program away: out of every slot, and then from the runtime. Nothing may run it any
    /// more when this returns, and nothing may keep it.
    pub(super) fn retire(
        &self,
        program: Arc<Loaded>,
        arrays: &Arrays,
        clock: &Clock,
    ) -> Result<(), String> {
        let offered = self.pool().extract_if(.., |other| Arc::ptr_eq(other, &program)).next();
        if offered.is_none() {
            // Somebody else takes it away.
            return Ok(());
        }
        drop(offered);
        let begun = Instant::now();
        loop {
            for array in arrays.all() {
                array.remove(clock, &program)?;
            }
            if Arc::strong_count(&program) == 1 {
                break;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("program {} is held for ever", program.number));
            }
            thread::sleep(Duration::from_micros(50));
        }
        let (id, number) = (program.program.id(), program.number);
        drop(program);
        self.runtime.synchronize().map_err(text)?;
        self.set_alive(number, 0)?;
        // Whoever finds that the last run has ended drops it, which may take that thread a while.
        while self.runtime.program(id).is_some() {
            if begun.elapsed() > Duration::from_secs(60) {
                return Err(format!("program {number} is still there"));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Takes every program away.
    pub(super) fn close(&self, arrays: &Arrays, clock: &Clock) -> Result<(), String> {
        while let Some(program) = { self.pool().first().cloned() } {
            self.retire(program, arrays, clock)?;
        }
        Ok(())
    }

    /// An array of four equal values, which say where to go on.
    pub(super) fn route(&self, value: u64) -> Result<Map, String> {
        let spec = MapSpec::new("route", MapType::Array, 4, 8, 4);
        let map = self.runtime.create_map(&spec).map_err(text)?;
        write_route(&map, value)?;
        Ok(map)
    }
}

/// Makes all values of a route this one.
pub(super) fn write_route(route: &Map, value: u64) -> Result<(), String> {
    for key in 0..4_u32 {
        let (key, value) = (key.to_le_bytes(), value.to_le_bytes());
        route.update(&key, &value, UpdateFlags::empty()).map_err(text)?;
    }
    Ok(())
}
