//! One object in every place that runs programs: the interpreter, compiled code, and the kernel.
//!
//! A test says what goes in; the places must agree on what comes out.

use bpf_abi::map::MapType;
use bpf_abi::spec::ObjectSpec;
use bpf_runtime::{EngineChoice, JitMode, Object, Runtime, TestRun};

use crate::kernel::{KernelObject, may_ask};

/// An object, loaded everywhere.
#[derive(Debug)]
pub struct Places {
    /// Our engines.
    pub ours: Vec<(&'static str, Object)>,
    /// The kernel, where it may be asked.
    pub kernel: Option<KernelObject>,
    per_cpu: Vec<String>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The program's result.
    pub r0: u32,
    /// The packet as the program left it.
    pub data: Vec<u8>,
}

/// What a map holds, in the order of its keys.
pub type Contents = Vec<(Vec<u8>, Vec<u8>)>;

/// Our engines, the compiler ahead of the runs and beside them: it is left out where it has no
/// target.
///
/// # Panics
///
/// Panics if an engine cannot be had that this target has.
pub fn engines() -> Vec<(&'static str, Runtime)> {
    let choices = [
        ("interpreter", EngineChoice::Interp, JitMode::Eager),
        ("jit", EngineChoice::Jit, JitMode::Eager),
        ("jit in the background", EngineChoice::Jit, JitMode::Background),
    ];
    let built = choices.into_iter().filter_map(|(name, choice, mode)| {
        let runtime = Runtime::builder().engine(choice).jit(mode).cpus(2).seed(1).build();
        let has_jit = cfg!(all(target_arch = "x86_64", target_os = "linux"));
        assert!(runtime.is_ok() || (choice == EngineChoice::Jit && !has_jit), "{runtime:?}");
        Some((name, runtime.ok()?))
    });
    built.collect()
}

impl Places {
    /// Loads the object everywhere.
    ///
    /// # Errors
    ///
    /// Returns an error if it is refused anywhere: who refused, and the log.
    pub fn load(spec: &ObjectSpec) -> Result<Self, String> {
        let mut ours = Vec::new();
        for (name, runtime) in engines() {
            let loaded = runtime.open(spec.clone()).load();
            let object = loaded
                .map_err(|error| format!("{name}: {error}\n{}", error.log().unwrap_or_default()))?;
            ours.push((name, object));
        }
        let is_per_cpu = |map_type| {
            matches!(map_type, MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash)
        };
        let per_cpu = spec.maps.iter().filter(|map| is_per_cpu(map.map_type));
        Ok(Self {
            ours,
            kernel: if may_ask() { Some(in_kernel(spec)?) } else { None },
            per_cpu: per_cpu.map(|map| map.name.clone()).collect(),
        })
    }

    /// Runs a program on a packet everywhere.
    ///
    /// # Errors
    ///
    /// Returns an error if it could not be run somewhere, or if two places disagree.
    pub fn run(&self, program: &str, packet: &[u8]) -> Result<Ran, String> {
        let mut all: Vec<(&str, Ran)> = Vec::new();
        for (name, object) in &self.ours {
            let failed = |error| format!("{name}: {error}");
            let program = object.program(program).map_err(failed)?;
            let out = program.test_run(&TestRun::packet(packet)).map_err(failed)?;
            all.push((name, Ran { r0: out.return_value, data: out.data }));
        }
        if let Some(kernel) = &self.kernel {
            let run = bpf_oracle::kernel::TestRun {
                data: Some(packet),
                room: 1 << 16,
                ..bpf_oracle::kernel::TestRun::default()
            };
            let out = kernel.program(program).ok_or("kernel: no such program")?.test_run(&run);
            let out = out.map_err(|errno| format!("kernel: {errno}"))?;
            all.push(("kernel", Ran { r0: out.retval, data: out.data }));
        }
        agreed(all)
    }

    /// What a map holds, everywhere; the values of CPUs are summed, word by word.
    ///
    /// # Errors
    ///
    /// Returns an error if it could not be read somewhere, or if two places disagree.
    pub fn contents(&self, map: &str) -> Result<Contents, String> {
        let per_cpu = self.per_cpu.iter().any(|name| name == map);
        let mut all: Vec<(&str, Contents)> = Vec::new();
        for (name, object) in &self.ours {
            let failed = |error| format!("{name}: {error}");
            let map = object.map(map).map_err(failed)?;
            let entries = map.entries().map_err(failed)?;
            let size = if per_cpu { map.info().value_size as usize } else { 0 };
            all.push((name, in_order(entries, size)));
        }
        if let Some(kernel) = &self.kernel {
            let size = self.ours.first().and_then(|(_, object)| object.map(map).ok());
            let size = size.filter(|_| per_cpu).map_or(0, |map| map.info().value_size as usize);
            let entries = kernel.map(map).ok_or("kernel: no such map")?.entries();
            let entries = entries.map_err(|errno| format!("kernel: {errno}"))?;
            all.push(("kernel", in_order(entries, size)));
        }
        agreed(all)
    }
}

/// The object, whole, in the kernel.
fn in_kernel(spec: &ObjectSpec) -> Result<KernelObject, String> {
    let object = KernelObject::load(spec).map_err(|error| format!("kernel: {error}"))?;
    match object.refused.iter().next() {
        None => Ok(object),
        Some((name, (errno, log))) => Err(format!("kernel: {name}: {errno}\n{log}")),
    }
}

/// What all say, if they all say the same.
fn agreed<T: PartialEq + std::fmt::Debug>(all: Vec<(&str, T)>) -> Result<T, String> {
    let mut all = all.into_iter();
    let (first_name, first) = all.next().ok_or("there is no engine")?;
    for (name, other) in all {
        if other != first {
            return Err(format!("{first_name} and {name} differ:\n{first:02x?}\n{other:02x?}"));
        }
    }
    Ok(first)
}

/// Entries by their keys; where `per_cpu` is the size of a value, the CPUs' values summed.
fn in_order(mut entries: Contents, per_cpu: usize) -> Contents {
    entries.sort();
    if per_cpu != 0 {
        for (_, value) in &mut entries {
            *value = sum(value, per_cpu.next_multiple_of(8));
        }
    }
    entries
}

/// The values of all CPUs, each `stride` bytes, added up word by word.
fn sum(values: &[u8], stride: usize) -> Vec<u8> {
    let words = |bytes: &[u8]| -> Vec<u64> {
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    };
    let mut total = vec![0_u64; stride / 8];
    for value in values.chunks(stride) {
        for (sum, word) in total.iter_mut().zip(words(value)) {
            *sum = sum.wrapping_add(word);
        }
    }
    total.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_cpus_are_summed_word_by_word() {
        let one = [1_u64, 2, 3, 4].map(u64::to_le_bytes).concat();
        assert_eq!(sum(&one, 16), [4_u64, 6].map(u64::to_le_bytes).concat());
    }

    #[test]
    fn who_disagrees_is_named() {
        assert_eq!(agreed(vec![("a", 1), ("b", 1)]), Ok(1));
        let error = agreed(vec![("a", 1), ("b", 1), ("c", 2)]).unwrap_err();
        assert!(error.starts_with("a and c differ"), "{error}");
    }
}
