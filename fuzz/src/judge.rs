//! Both verifiers, asked about the same program.

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapInitValue, MapSpec};
use bpf_oracle::kernel::{Btf, Map, MapAttr, ProgAttr, Program};
use bpf_oracle::report;
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{LogOptions, Options, check};

use crate::hook::HOOKS;
use crate::sample::{Sample, target_symbol};
use crate::world::map::OWNED;
use crate::world::{FIRST_MAP, World};

/// The level that asks for messages and statistics, and no more.
const STATISTICS: u32 = 4;

/// What was said of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict.
    pub verdict: Result<(), Errno>,
    /// The last message.
    pub last: String,
    /// How many instructions were walked; `None` if there is no count.
    pub insns: Option<u64>,
    /// How many states were kept, ever.
    pub states: Option<u64>,
    /// The log, normal: see [`report::normal`].
    pub log: String,
}

impl Answer {
    fn new(verdict: Result<(), Errno>, log: &str) -> Self {
        let statistics = report::statistics(log);
        let number = |name: &str| statistics.get(name).and_then(serde_json::Value::as_u64);
        let last = report::normal(&report::last_message(log)).trim_end().to_owned();
        Self {
            verdict,
            last,
            insns: number("insns"),
            states: number("total_states"),
            log: report::normal(log),
        }
    }
}

/// The world, as the kernel has it.
#[derive(Debug)]
pub struct Kernel {
    btf: Btf,
    maps: Vec<Map>,
    /// The maps that belong to one kind of program, for each kind.
    owned: Vec<Vec<Map>>,
    targets: Vec<u32>,
}

impl Kernel {
    /// Makes the world's maps and types.
    ///
    /// # Errors
    ///
    /// Returns what the kernel refuses.
    pub fn new(world: &World) -> Result<Self, String> {
        let btf = Btf::load(&world.btf.encode())
            .map_err(|(errno, log)| format!("types: {errno}: {log}"))?;
        let make =
            |map: &MapSpec| make(map, &btf).map_err(|errno| format!("map {}: {errno}", map.name));
        let maps = world.maps.iter().map(make).collect::<Result<_, _>>()?;
        let owned = || OWNED.iter().map(|place| make(&world.maps[*place])).collect();
        let owned = HOOKS.iter().map(|_| owned()).collect::<Result<_, _>>()?;
        let target = |hook: &crate::hook::Hook| {
            let (name, kind) = target_symbol(hook)?;
            Some(world.kernel_btf.as_ref()?.by_name_kind(&name, kind)?.0)
        };
        let targets = HOOKS.iter().map(|hook| target(hook).unwrap_or(0)).collect();
        Ok(Self { btf, maps, owned, targets })
    }

    /// What the kernel says of a program.
    pub fn ask(&self, sample: &Sample, world: &World, level: u32) -> Answer {
        let mut slots = sample.slots.clone();
        for slot in &mut slots {
            if let Some(place) = sample.map_at(slot, world) {
                let owned = OWNED.iter().position(|owned| *owned == place);
                let own = owned.map(|owned| &self.owned[sample.hook][owned]);
                slot.imm = own.unwrap_or(&self.maps[place]).fd();
            }
        }
        let insns: Vec<u8> = slots.iter().flat_map(|slot| slot.to_bytes()).collect();
        let func_info = sample.func_info();
        let hook = sample.hook();
        let attr = ProgAttr {
            name: "random",
            prog_type: hook.prog_type.number(),
            expected_attach_type: hook.attach.number(),
            flags: sample.flags.bits(),
            license: "GPL",
            insns: &insns,
            btf: (!func_info.is_empty()).then_some(&self.btf),
            func_info: (&func_info, 8),
            attach_btf_id: self.targets[sample.hook],
            ..ProgAttr::default()
        };
        let loaded = Program::load(&attr, if level == 0 { STATISTICS } else { level });
        Answer::new(loaded.result.map(drop), &loaded.log)
    }
}

/// Makes a map in the kernel and puts in what is there before programs are.
pub(crate) fn make(spec: &MapSpec, btf: &Btf) -> Result<Map, Errno> {
    let inner = spec.inner.as_deref().map(|inner| make(inner, btf)).transpose()?;
    let map = Map::create(&MapAttr {
        name: &spec.name,
        map_type: spec.map_type.number(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.flags.bits(),
        map_extra: spec.map_extra,
        inner: inner.as_ref(),
        btf: (spec.btf_value_type_id != 0).then_some((
            btf,
            spec.btf_key_type_id,
            spec.btf_value_type_id,
        )),
        btf_vmlinux_value: 0,
    })?;
    for init in &spec.init {
        if let MapInitValue::Bytes(bytes) = &init.value {
            map.update(&init.key, bytes)?;
        }
    }
    if spec.frozen {
        map.freeze()?;
    }
    Ok(map)
}

/// The world, as our verifier is told of it.
#[derive(Debug)]
pub struct Ours {
    world: DescribedWorld,
}

impl Ours {
    /// Describes the world.
    pub fn new(world: &World) -> Self {
        let mut described = DescribedWorld::new(world.kernel_btf.clone()).first_fd(FIRST_MAP);
        for map in &world.maps {
            described.add_map(map, Some(&world.btf));
        }
        Self { world: described }
    }

    /// What our verifier says of a program.
    pub fn ask(&self, sample: &Sample, world: &World, level: u32) -> Answer {
        let level = if level == 0 { STATISTICS } else { level };
        let log = LogOptions { level, size: None };
        let options = Options { log, strict_holes: false, ..Options::default() };
        let checked = check(&sample.spec(world), &self.world, &options);
        Answer::new(checked.result.map_err(|rejection| rejection.errno()), &checked.log)
    }
}
