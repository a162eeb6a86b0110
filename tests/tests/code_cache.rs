//! Programs whose code was kept: they do what they did when they were compiled, with the maps, the
//! links and the counters they have now.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bpf_abi::exec::Engine;
use bpf_runtime::{Builder, CodeCache, EngineChoice, JitMode, Object, Runtime, TestRun};
use bpf_tests::corpus;
use bpf_tests::places::Contents;
use bpfkit::OpenElf as _;

/// A directory that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What becomes of the first packets of the capture: verdicts, packets, maps, what programs count.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdicts: Vec<u32>,
    packets: Vec<Vec<u8>>,
    maps: BTreeMap<String, Contents>,
    programs: Vec<(u64, u64, u64)>,
}

fn builder(cache: &CodeCache) -> Builder {
    let builder = Runtime::builder().engine(EngineChoice::Jit).cpus(1).count(true);
    builder.code_cache(cache.clone())
}

fn load(runtime: &Runtime, name: &str) -> Object {
    runtime.open_file(corpus::file(name)).unwrap().load().unwrap()
}

fn outcome(object: &Object) -> Outcome {
    let dispatch = object.program("dispatch").unwrap();
    let (mut verdicts, mut packets) = (Vec::new(), Vec::new());
    for packet in corpus::capture().iter().take(500) {
        let out = dispatch.test_run(&TestRun::packet(packet)).unwrap();
        verdicts.push(out.return_value);
        packets.push(out.data);
    }
    let maps = ["counters", "flows", ".bss"].map(|name| {
        let mut entries = object.map(name).unwrap().entries().unwrap();
        entries.sort();
        (name.to_owned(), entries)
    });
    let programs = object.programs().iter().map(|program| {
        let counters = program.counters().unwrap();
        (counters.runs, counters.tail_calls, counters.fallen_through)
    });
    Outcome { verdicts, packets, maps: maps.into(), programs: programs.collect() }
}

const CHAIN: &str = "examples/dispatch.bpf.o";

#[test]
fn an_object_that_is_loaded_again_is_not_compiled_again() {
    let runtime = Runtime::builder().engine(EngineChoice::Jit).cpus(1).count(true).build().unwrap();
    let first = load(&runtime, CHAIN);
    let programs = first.programs().len() as u64;
    let stats = || runtime.code_cache().unwrap().stats();
    assert_eq!((stats().hits, stats().misses), (0, programs));
    let expected = outcome(&first);
    // Beside the first, with maps of its own; and when the first is gone.
    let second = load(&runtime, CHAIN);
    assert_eq!(outcome(&second), expected);
    drop(first);
    assert_eq!(outcome(&load(&runtime, CHAIN)), expected);
    assert_eq!((stats().hits, stats().misses), (2 * programs, programs));
}

#[test]
fn runtimes_share_a_cache_and_processes_a_directory() {
    let folder = Folder::new("shared-code");
    let cache = CodeCache::on_disk(&folder.0).unwrap();
    let expected = outcome(&load(&builder(&cache).build().unwrap(), CHAIN));
    let programs = cache.stats().misses;
    assert!(programs > 5 && cache.stats().stored == programs);
    for cache in [cache, CodeCache::on_disk(&folder.0).unwrap()] {
        let before = cache.stats();
        let runtime = builder(&cache).build().unwrap();
        assert_eq!(outcome(&load(&runtime, CHAIN)), expected);
        let after = cache.stats();
        let found = (after.hits - before.hits, after.misses - before.misses, after.refused);
        assert_eq!(found, (programs, 0, 0));
    }
}

#[test]
fn kept_code_is_native_from_the_start_though_the_compiler_is_held() {
    let cache = CodeCache::in_memory(CodeCache::DEFAULT_MEMORY);
    let expected = outcome(&load(&builder(&cache).build().unwrap(), CHAIN));
    let runtime = builder(&cache).jit(JitMode::Background).build().unwrap();
    let hold = runtime.hold_compiler();
    let object = load(&runtime, CHAIN);
    assert!(object.programs().iter().all(|program| program.info().engine == Engine::Jit));
    assert_eq!(outcome(&object), expected);
    drop(hold);
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let runtime = Runtime::builder().code_cache(None).build().unwrap();
    assert!(runtime.code_cache().is_none());
    load(&runtime, CHAIN);
}

#[test]
fn functions_of_kept_code_are_replaced_and_probed() {
    let cache = CodeCache::in_memory(CodeCache::DEFAULT_MEMORY);
    // In the second round the program, the extension and the probe come from the cache.
    for round in 0..2 {
        let runtime = builder(&cache).build().unwrap();
        let source = runtime.open_file(corpus::file("tests/objects/torture.bpf.o")).unwrap();
        let mut open = source.clone();
        open.choose(&["main_program"]).unwrap();
        let object = open.load().unwrap();
        let (main, counts) =
            (object.program("main_program").unwrap(), object.map("counts").unwrap());
        let place = |program: &str, function: &str| {
            let mut open = source.clone();
            open.choose(&[program]).unwrap();
            open.reuse_map("counts", &counts).unwrap();
            open.attach_target(Some(&main), main.function_id(function).unwrap());
            open.load().unwrap().program(program).unwrap()
        };
        let call = || main.test_run(&TestRun::packet(&[0; 64])).unwrap().return_value;
        assert_eq!(call(), 0);
        let extension = place("extension", "f").attach().unwrap();
        assert_eq!([call(), call()], [7, 7]);
        let probe = place("after", "g").attach().unwrap();
        assert_eq!(call(), 7);
        drop(extension);
        assert_eq!(call(), 0);
        drop(probe);
        assert_eq!(call(), 0);
        let counts = counts.array::<u64>().unwrap();
        assert_eq!([0, 1, 2, 3].map(|place| counts.get(place).unwrap()), [3, 3, 2, 0]);
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (3 * round, 3));
    }
}
