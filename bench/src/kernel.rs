//! The running kernel, through `BPF_PROG_TEST_RUN`.

use anyhow::Context as _;
use bpf_abi::Errno;
use bpf_abi::map::{MapInitValue, MapSpec, MapType};
use bpf_abi::spec::{ObjectSpec, ProgramSpec, ReferenceTo};
use bpf_oracle::kernel::{self, Btf, MapAttr, ProgAttr, TestRun};

use crate::contender::{Contender, only_program};
use crate::inputs::{self, Shape};

/// A program in the kernel.
pub(crate) struct Kernel {
    program: kernel::Program,
    maps: Vec<(MapSpec, kernel::Map)>,
    packet: Vec<u8>,
}

impl Kernel {
    /// Loads the only program of an object.
    pub(crate) fn load(spec: &ObjectSpec, packet: &[u8]) -> anyhow::Result<Self> {
        let (program, maps) = only_program(spec)?;
        let maps = maps.iter().map(|map| Ok((map.clone(), create(map)?)));
        let maps: Vec<_> = maps.collect::<anyhow::Result<_>>()?;
        let fds: Vec<i32> = maps.iter().map(|(_, map)| map.fd()).collect();
        let program = load(program, &fds)?;
        Ok(Self { program, maps, packet: packet.to_vec() })
    }
}

/// Makes a map whose values are data.
pub(crate) fn create(map: &MapSpec) -> anyhow::Result<kernel::Map> {
    create_with(map, None)
}

/// Makes a map, and fills it with what it begins with. Its values are of a type of `btf` if that is
/// needed to understand them.
pub(crate) fn create_with(map: &MapSpec, btf: Option<&Btf>) -> anyhow::Result<kernel::Map> {
    let types = (map.btf_key_type_id, map.btf_value_type_id);
    let is_typed = map.map_type == MapType::Array && types.0 != 0 && types.1 != 0;
    let attr = MapAttr {
        name: &map.name,
        map_type: map.map_type.number(),
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.flags.bits(),
        btf: btf.filter(|_| is_typed).map(|btf| (btf, types.0, types.1)),
        ..MapAttr::default()
    };
    let what = format!("the map {}", map.name);
    let made = kernel::Map::create(&attr).map_err(refused(&what))?;
    for init in &map.init {
        if let MapInitValue::Bytes(value) = &init.value {
            made.update(&init.key, value).map_err(refused(&what))?;
        }
    }
    if map.frozen {
        made.freeze().map_err(refused(&what))?;
    }
    Ok(made)
}

/// Loads a program whose maps have these descriptors.
pub(crate) fn load(spec: &ProgramSpec, fds: &[i32]) -> anyhow::Result<kernel::Program> {
    load_with(spec, fds, None)
}

/// The same with the types that tell where its functions begin.
pub(crate) fn load_with(
    spec: &ProgramSpec,
    fds: &[i32],
    btf: Option<&Btf>,
) -> anyhow::Result<kernel::Program> {
    let mut insns = spec.insns.clone();
    for reference in &spec.references {
        let (ReferenceTo::Map(map) | ReferenceTo::MapValue(map)) = reference.to else {
            anyhow::bail!("a reference other than to a map");
        };
        let slot = insns.get_mut(reference.at.index()).context("a reference out of place")?;
        slot.imm = *fds.get(map).context("a map that is not there")?;
    }
    let bytes: Vec<u8> = insns.iter().flat_map(|slot| slot.to_bytes()).collect();
    let attr = ProgAttr {
        name: &spec.name,
        prog_type: spec.prog_type.number(),
        expected_attach_type: spec.expected_attach_type.map_or(0, |attach| attach.number()),
        flags: spec.flags.bits(),
        license: &spec.license,
        insns: &bytes,
        btf,
        func_info: btf.map_or((&[], 0), |_| (&spec.func_info.bytes, spec.func_info.rec_size)),
        ..ProgAttr::default()
    };
    let loaded = kernel::Program::load(&attr, 0);
    loaded.result.map_err(refused(&format!("the program {}", spec.name)))
}

/// What to say if the kernel refuses `what`.
pub(crate) fn refused(what: &str) -> impl Fn(Errno) -> anyhow::Error + use<'_> {
    move |errno| anyhow::anyhow!("{what}: the kernel says {errno}")
}

/// Runs a program in the kernel; returns its result and the nanoseconds a run took.
pub(crate) fn test_run(
    program: &kernel::Program,
    packet: &[u8],
    repeat: u32,
) -> anyhow::Result<(u32, f64)> {
    let run = TestRun { data: Some(packet), repeat, ..TestRun::default() };
    let output = program.test_run(&run).map_err(refused("a test run"))?;
    Ok((output.retval, f64::from(output.duration)))
}

impl Contender for Kernel {
    fn reset(&mut self) -> anyhow::Result<()> {
        for (spec, map) in &self.maps {
            if spec.map_type == MapType::Hash {
                for (key, _) in map.entries().map_err(refused("a walk"))? {
                    map.delete(&key).map_err(refused("a removal"))?;
                }
            }
            let shape = Shape {
                name: &spec.name,
                map_type: spec.map_type,
                value_size: spec.value_size,
                max_entries: spec.max_entries,
            };
            for (key, value) in inputs::entries(shape) {
                map.update(&key, &value).map_err(refused("an update"))?;
            }
        }
        Ok(())
    }

    fn run(&mut self) -> anyhow::Result<u32> {
        Ok(test_run(&self.program, &self.packet, 1)?.0)
    }

    fn time(&mut self, repeat: u32) -> anyhow::Result<f64> {
        // The kernel counts whole nanoseconds; none is less than half.
        Ok(test_run(&self.program, &self.packet, repeat)?.1.max(0.5))
    }
}
