//! The running kernel.

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapInitValue, MapSpec, MapType};
use bpf_abi::spec::ProgramSpec;
use bpf_oracle::kernel::{Btf, Map, ProgAttr, Program, TestRun, possible_cpus};
use bpf_runtime::RawEntry;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use super::account::{Account, Contents, Numbers, Ran, bloom_questions};
use crate::family::{Family, Input, Types};
use crate::judge::make;

/// How much room there is for a packet that comes back.
const ROOM: usize = 8192;

/// The kernel, which knows the types of families.
#[derive(Debug)]
pub struct Kernel {
    btf: Btf,
}

impl Kernel {
    /// The kernel, if it may be asked.
    ///
    /// # Errors
    ///
    /// Returns why it may not.
    pub fn new(types: &Types) -> Result<Self, String> {
        bpf_oracle::kernel::available()
            .map_err(|errno| format!("bpf(2) is not to be had here ({errno})"))?;
        let btf = Btf::load(&types.encode());
        Ok(Self { btf: btf.map_err(|(errno, log)| format!("types: {errno}: {log}"))? })
    }

    /// Runs a family.
    ///
    /// # Errors
    ///
    /// Returns what the kernel refuses, with its log.
    pub fn run(&self, family: &Family) -> Result<Account, String> {
        // On one CPU: each has its own values in some maps.
        let _pinned = Pinned::here()?;
        let cpu = sched_getcpu();
        let object = &family.object;
        let mut maps: Vec<Map> = Vec::new();
        for spec in &object.maps {
            let map =
                make(spec, &self.btf).map_err(|errno| format!("map {}: {errno}", spec.name))?;
            maps.push(map);
        }
        let mut programs = Vec::new();
        for spec in &object.programs {
            programs.push(self.load(spec, &maps)?);
        }
        fill(family, &maps, &programs)?;
        let each = programs.iter().zip(&family.inputs);
        let runs = each.map(|(program, inputs)| inputs.iter().map(|it| run(program, it)).collect());
        let runs = runs.collect();
        let failed = |errno: Errno| format!("its number: {errno}");
        let numbers = Numbers {
            maps: maps.iter().map(Map::id).collect::<Result<_, _>>().map_err(failed)?,
            programs: programs
                .iter()
                .map(|program| Ok(program.info()?.id))
                .collect::<Result<_, _>>()
                .map_err(failed)?,
        };
        let contents = object.maps.iter().zip(&maps).map(|(spec, map)| {
            let entries = entries(spec, map, cpu, &numbers);
            let entries = entries.map_err(|errno| format!("map {}: {errno}", spec.name))?;
            Ok(Contents { name: spec.name.clone(), entries })
        });
        let maps = contents.collect::<Result<_, String>>()?;
        Ok(Account { runs, maps, counters: vec![None; programs.len()] })
    }

    fn load(&self, spec: &ProgramSpec, maps: &[Map]) -> Result<Program, String> {
        let mut insns = spec.insns.clone();
        for slot in &mut insns {
            if crate::family::names_map(slot)
                && let Some(map) = usize::try_from(slot.imm).ok().and_then(|map| maps.get(map))
            {
                slot.imm = map.fd();
            }
        }
        let bytes: Vec<u8> = insns.iter().flat_map(|slot| slot.to_bytes()).collect();
        let attr = ProgAttr {
            name: &spec.name,
            prog_type: spec.prog_type.number(),
            license: &spec.license,
            insns: &bytes,
            btf: spec.btf.is_some().then_some(&self.btf),
            func_info: (&spec.func_info.bytes, spec.func_info.rec_size),
            ..ProgAttr::default()
        };
        let loaded = Program::load(&attr, 0);
        loaded.result.map_err(|errno| {
            let log = Program::load(&attr, 2).log;
            format!("{}: {errno}\n{log}", spec.name)
        })
    }
}

/// A thread that stays on the CPU that it is on.
struct Pinned(CpuSet);

impl Pinned {
    fn here() -> Result<Self, String> {
        let failed = |error| format!("CPUs of this thread: {error}");
        let before = sched_getaffinity(None).map_err(failed)?;
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(None, &one).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// Puts programs and maps into the slots that are for them.
fn fill(family: &Family, maps: &[Map], programs: &[Program]) -> Result<(), String> {
    for (spec, map) in family.object.maps.iter().zip(maps) {
        for init in &spec.init {
            let fd = match &init.value {
                MapInitValue::Bytes(_) => continue,
                MapInitValue::Program(name) => {
                    let place = family.object.programs.iter().position(|it| it.name == *name);
                    place.and_then(|place| programs.get(place)).map(Program::fd)
                }
                MapInitValue::Map(inner) => maps.get(*inner).map(Map::fd),
            };
            let fd = fd.ok_or_else(|| format!("map {}: nothing for a slot", spec.name))?;
            let put = map.update(&init.key, &fd.to_ne_bytes());
            put.map_err(|errno| format!("map {}: {errno}", spec.name))?;
        }
    }
    Ok(())
}

fn run(program: &Program, input: &Input) -> Ran {
    let ctx = input.ctx.as_deref();
    let run = TestRun { data: Some(&input.data), ctx, room: ROOM, ..TestRun::default() };
    match program.test_run(&run) {
        Ok(out) => Ran { result: Ok(out.retval), data: out.data, ctx: out.ctx, tail_calls: None },
        Err(errno) => Ran {
            result: Err(errno.to_string()),
            data: Vec::new(),
            ctx: Vec::new(),
            tail_calls: None,
        },
    }
}

/// What a map holds; of values of CPUs, that of this one.
fn entries(
    spec: &MapSpec,
    map: &Map,
    cpu: usize,
    numbers: &Numbers,
) -> Result<Vec<RawEntry>, Errno> {
    let values = |values: Vec<Vec<u8>>| values.into_iter().map(|value| (Vec::new(), value));
    #[expect(clippy::wildcard_enum_match_arm, reason = "families have few types of maps")]
    Ok(match spec.map_type {
        MapType::Queue | MapType::Stack => {
            values(std::iter::from_fn(|| map.take().ok()).collect()).collect()
        }
        MapType::Ringbuf => values(map.records()?).collect(),
        MapType::BloomFilter => {
            let mut found = Vec::new();
            for value in bloom_questions() {
                if map.may_have(&value)? {
                    found.push((Vec::new(), value.to_vec()));
                }
            }
            found
        }
        MapType::ProgArray => numbers.programs(map.entries()?),
        MapType::ArrayOfMaps => numbers.maps(map.entries()?),
        _ => {
            let mut entries = map.entries()?;
            if matches!(spec.map_type, MapType::PercpuArray | MapType::PercpuHash) {
                for (_, value) in &mut entries {
                    let stride = value.len() / possible_cpus();
                    *value = value.chunks(stride).nth(cpu).unwrap_or_default().to_vec();
                }
            }
            for (_, value) in &mut entries {
                crate::family::forget_addresses(&spec.name, value);
            }
            entries.sort();
            entries
        }
    })
}
