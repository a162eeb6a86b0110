//! The running kernel, loaded with the same object: for comparing runs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapInitValue, MapSpec, MapType};
use bpf_abi::spec::{ObjectSpec, ProgramSpec, Reference, ReferenceTo};
use bpf_oracle::kernel::{Btf, Loaded, Map, MapAttr, ProgAttr, Program};
use bpf_verifier::described::DescribedWorld;

/// An object in the kernel.
#[derive(Debug)]
pub struct KernelObject {
    maps: BTreeMap<String, Map>,
    programs: BTreeMap<String, Program>,
    /// Why programs were not loaded: error number and log.
    pub refused: BTreeMap<String, (Errno, String)>,
}

/// Whether the kernel may be asked. If not, says so aloud.
#[expect(clippy::print_stderr, reason = "a test that asks nobody must say so")]
pub fn may_ask() -> bool {
    match bpf_oracle::kernel::available() {
        Ok(()) => true,
        Err(errno) => {
            eprintln!("skipped: bpf(2) is not to be had here ({errno})");
            false
        }
    }
}

impl KernelObject {
    /// Makes the object's maps, loads its programs, fills its program arrays.
    ///
    /// # Errors
    ///
    /// Returns what the kernel would not make of the maps.
    pub fn load(spec: &ObjectSpec) -> Result<Self, String> {
        let bytes = spec.btf.as_ref().map(|btf| btf.encode());
        let btf = bytes
            .map(|bytes| Btf::load(&bytes).map_err(|(errno, log)| format!("BTF: {errno}: {log}")));
        let btf = btf.transpose()?;
        let mut maps = Vec::new();
        for map in &spec.maps {
            let made =
                make(map, btf.as_ref()).map_err(|errno| format!("map {}: {errno}", map.name))?;
            maps.push(made);
        }
        let mut programs = BTreeMap::new();
        let mut refused = BTreeMap::new();
        for program in spec.programs.iter().filter(|program| program.autoload) {
            match load(program, &maps, btf.as_ref()) {
                Ok(loaded) => drop(programs.insert(program.name.clone(), loaded)),
                Err(why) => drop(refused.insert(program.name.clone(), why)),
            }
        }
        for (map, spec) in maps.iter().zip(&spec.maps) {
            for init in &spec.init {
                let MapInitValue::Program(name) = &init.value else { continue };
                let Some(program) = programs.get(name) else { continue };
                map.update_program(&init.key, program)
                    .map_err(|errno| format!("slot for {name}: {errno}"))?;
            }
        }
        let names = spec.maps.iter().map(|map| map.name.clone());
        Ok(Self { maps: names.zip(maps).collect(), programs, refused })
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(name)
    }

    /// The program of this name, if it was loaded.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.programs.get(name)
    }

    /// The name of the program with this number.
    pub fn program_name(&self, id: u32) -> Option<&str> {
        let is_it = |program: &Program| program.info().is_ok_and(|info| info.id == id);
        let found = self.programs.iter().find(|(_, program)| is_it(program));
        found.map(|(name, _)| name.as_str())
    }
}

/// What the kernel says of an object's first program, at a log level: its verdict and its log.
///
/// # Errors
///
/// Returns what the kernel would not make of the maps or types.
pub fn judge(spec: &ObjectSpec, level: u32) -> Result<(Result<(), Errno>, String), String> {
    let btf = spec.btf.as_ref().map(|btf| Btf::load(&btf.encode())).transpose();
    let btf = btf.map_err(|(errno, log)| format!("BTF: {errno}: {log}"))?;
    let made = spec.maps.iter().map(|map| make(map, btf.as_ref()));
    let maps: Vec<Map> =
        made.collect::<Result<_, _>>().map_err(|errno| format!("maps: {errno}"))?;
    let program = spec.programs.first().ok_or("no program")?;
    let Loaded { result, log } = load_at(program, &maps, btf.as_ref(), level);
    Ok((result.map(drop), log))
}

fn make(spec: &MapSpec, btf: Option<&Btf>) -> Result<Map, Errno> {
    let has_types = spec.btf_value_type_id != 0 && takes_types(spec.map_type);
    let map = Map::create(&MapAttr {
        name: &short(&spec.name),
        map_type: spec.map_type.number(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: spec.max_entries,
        flags: spec.flags.bits(),
        map_extra: spec.map_extra,
        inner: None,
        btf: btf
            .filter(|_| has_types)
            .map(|btf| (btf, spec.btf_key_type_id, spec.btf_value_type_id)),
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

/// Whether the kernel takes types for maps of this type: as libbpf asks it.
fn takes_types(map_type: MapType) -> bool {
    use MapType as T;
    !matches!(
        map_type,
        T::ProgArray
            | T::PerfEventArray
            | T::CgroupArray
            | T::StackTrace
            | T::ArrayOfMaps
            | T::HashOfMaps
            | T::Devmap
            | T::DevmapHash
            | T::Cpumap
            | T::Xskmap
            | T::Sockmap
            | T::Sockhash
            | T::Queue
            | T::Stack
            | T::Ringbuf
    )
}

fn load(spec: &ProgramSpec, maps: &[Map], btf: Option<&Btf>) -> Result<Program, (Errno, String)> {
    let Loaded { result, log } = load_at(spec, maps, btf, 1);
    result.map_err(|errno| (errno, log))
}

fn load_at(spec: &ProgramSpec, maps: &[Map], btf: Option<&Btf>, level: u32) -> Loaded {
    let mut insns = with_kernel_functions(spec).insns;
    for slot in &mut insns {
        let names_map = slot.opcode == 0x18 && matches!(slot.src, 1 | 2);
        let map =
            usize::try_from(slot.imm).ok().filter(|_| names_map).and_then(|map| maps.get(map));
        if let Some(map) = map {
            slot.imm = map.fd();
        }
    }
    let bytes: Vec<u8> = insns.iter().flat_map(|slot| slot.to_bytes()).collect();
    let attr = ProgAttr {
        name: &short(&spec.name),
        prog_type: spec.prog_type.number(),
        expected_attach_type: spec
            .expected_attach_type
            .map_or(0, bpf_abi::prog::AttachType::number),
        flags: spec.flags.bits(),
        license: &spec.license,
        insns: &bytes,
        btf,
        func_info: (&spec.func_info.bytes, spec.func_info.rec_size),
        line_info: (&spec.line_info.bytes, spec.line_info.rec_size),
        ..ProgAttr::default()
    };
    Program::load(&attr, level)
}

/// The program with the numbers of the kernel functions that it calls, as the running kernel
/// numbers them.
fn with_kernel_functions(spec: &ProgramSpec) -> ProgramSpec {
    static KERNEL: OnceLock<Option<Arc<bpf_btf::Btf>>> = OnceLock::new();
    let calls = |reference: &Reference| matches!(reference.to, ReferenceTo::Kfunc { .. });
    if !spec.references.iter().any(calls) {
        return spec.clone();
    }
    let kernel = KERNEL.get_or_init(|| {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
        bpf_btf::Btf::parse(&bytes).ok().map(Arc::new)
    });
    DescribedWorld::new(kernel.clone()).resolved(spec)
}

/// A name as the kernel takes it.
fn short(name: &str) -> String {
    name.chars()
        .take(15)
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
        .collect()
}
