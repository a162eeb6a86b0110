//! Program types of the host's own: contexts, helpers, results, on both engines.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpfkit::prelude::*;
use bpfkit::{Bytes, OwnProgram, ProgramType};

bpfkit::plain! {
    /// As `struct syscall` of the example.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Syscall {
        nr: u32,
        pid: u32,
        args: [u64; 6],
    }

    /// As `struct line` of the object of the tests.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Line {
        len: u32,
        level: u8,
        key: u64,
        out: u32,
        secret: u32,
    }
}

const ENGINES: [EngineChoice; 2] = [EngineChoice::Interp, EngineChoice::Jit];

fn object(runtime: &Runtime, path: &str) -> Result<Object, LoadError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    runtime.open_file(root.join(path)).unwrap().load()
}

fn runtime(engine: EngineChoice) -> Runtime {
    Runtime::builder().engine(engine).cpus(2).build().unwrap()
}

fn line_type(runtime: &Runtime) -> ProgramType<Line> {
    let text =
        |bytes: Bytes, salt: u64| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>() + salt;
    runtime
        .program_type::<Line>("line_filter")
        .structure("line")
        .writable("out")
        .hidden("secret")
        .helper(1000, "host_sum", text)
        .helper(1001, "host_fail", |code: i32| assert_eq!(code, 0, "the host fails"))
        .returns(0..=1)
        .register()
        .unwrap()
}

fn line_program(engine: EngineChoice, name: &str) -> OwnProgram<Line> {
    let runtime = runtime(engine);
    let types = line_type(&runtime);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut open = runtime.open_file(root.join("tests/objects/own_types.bpf.o")).unwrap();
    open.choose(&[name]).unwrap();
    types.program(&open.load().unwrap(), name).unwrap()
}

#[test]
fn system_calls_are_dispatched_by_number_and_the_host_is_asked() {
    for engine in ENGINES {
        let runtime = runtime(engine);
        let asked = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&asked);
        let may_write = move |pid: u32, fd: u32| {
            counter.fetch_add(1, Ordering::Relaxed);
            u32::from(pid == 8 || fd < 3)
        };
        let filters = runtime
            .program_type::<Syscall>("syscall_filter")
            .structure("syscall")
            .helper(1000, "host_may_write", may_write)
            .returns(0..=2)
            .register()
            .unwrap();
        let object = object(&runtime, "examples/syscalls.bpf.o").unwrap();
        let entry = filters.program(&object, "syscall_entry").unwrap();
        let verdict = |nr, pid, fd, len| {
            entry.call(&mut Syscall { nr, pid, args: [fd, 0, len, 0, 0, 0] }).unwrap()
        };
        assert_eq!([verdict(0, 7, 3, 4096), verdict(0, 7, 3, 1 << 30)], [0, 2]);
        assert_eq!([verdict(1, 7, 1, 100), verdict(1, 7, 9, 100), verdict(1, 8, 9, 5)], [0, 1, 0]);
        assert_eq!(
            [verdict(2, 7, 0, 0), verdict(511, 7, 0, 0), verdict(u32::MAX, 7, 0, 0)],
            [1, 1, 1]
        );
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        let mut written =
            object.map("written").unwrap().hash::<u32, u64>().unwrap().entries().unwrap();
        written.sort_unstable();
        assert_eq!(written, [(7, 100), (8, 5)]);
        // A program can be put into its array while others call.
        let read = object.program("sys_read").unwrap();
        object.map("calls").unwrap().prog_array().unwrap().set(2, &read).unwrap();
        assert_eq!(verdict(2, 7, 0, 0), 0);
    }
}

#[test]
fn a_program_reads_its_context_and_writes_what_it_may() {
    for engine in ENGINES {
        let program = line_program(engine, "judge");
        let mut caller = program.caller();
        for (level, verdict) in [(2, 0), (3, 1)] {
            let mut line = Line { len: 5, level, key: 1 << 40, out: 0, secret: 9 };
            assert_eq!(caller.call(&mut line).unwrap(), verdict);
            // The sum of "abc", salted with the key's upper half, which is 256.
            let expected = u32::from(b'a') + u32::from(b'b') + u32::from(b'c') + 256;
            assert_eq!(line, Line { len: 5, level, key: 1 << 40, out: expected, secret: 9 });
        }
    }
}

#[test]
fn a_program_that_reaches_beyond_its_rights_is_refused_in_the_kernels_words() {
    for (name, message) in [
        ("writes_len", "invalid bpf_context access off=0 size=4"),
        ("reads_secret", "invalid bpf_context access off=20 size=4"),
        ("reads_padding", "invalid bpf_context access off=5 size=1"),
        (
            "returns_two",
            "At program exit the register R0 has smin=2 smax=2 should have been in [0, 1]",
        ),
        ("calls_unknown", "invalid func unknown#1002"),
        (
            "passes_number",
            "R1 type=scalar expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
        ),
    ] {
        let runtime = runtime(EngineChoice::Interp);
        line_type(&runtime);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut open = runtime.open_file(root.join("tests/objects/own_types.bpf.o")).unwrap();
        open.choose(&[name]).unwrap();
        let error = open.load().unwrap_err();
        let log = error.log().unwrap_or_default();
        assert!(log.lines().any(|line| line == message), "{name}: {error}\n{log}");
    }
}

#[test]
fn programs_of_one_type_are_not_called_as_another_nor_chained_with_it() {
    let runtime = runtime(EngineChoice::Interp);
    let lines = line_type(&runtime);
    let calls = runtime
        .program_type::<Syscall>("syscall_filter")
        .structure("syscall")
        .helper(1000, "host_may_write", |_: u32, _: u32| 1_u32)
        .register()
        .unwrap();
    let syscalls = object(&runtime, "examples/syscalls.bpf.o").unwrap();
    let error = syscalls.program("sys_read").unwrap().packet(&[0; 64]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a packet for a program of the host's own type \"syscall_filter\" is not supported"
    );
    let linux = object(&runtime, "examples/chain.bpf.o").unwrap();
    let error = lines.program(&linux, "count").unwrap_err();
    assert_eq!(
        error.to_string(),
        "program type \"line_filter\": program \"count\" in section \"xdp\" is of Linux's type xdp"
    );
    let error = lines.program(&syscalls, "sys_read").unwrap_err();
    assert_eq!(
        error.to_string(),
        "program type \"line_filter\": program \"sys_read\" in section \"syscall_filter/read\" is of type \"syscall_filter\""
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut open = runtime.open_file(root.join("tests/objects/own_types.bpf.o")).unwrap();
    open.choose(&["judge"]).unwrap();
    let judge = open.load().unwrap().program("judge").unwrap();
    let array = syscalls.map("calls").unwrap().prog_array().unwrap();
    assert_eq!(array.set(5, &judge).unwrap_err().errno().name(), Some("EINVAL"));
    assert!(calls.program(&syscalls, "sys_read").is_ok());
}

#[test]
fn a_panic_of_the_host_comes_back_to_the_host() {
    for engine in ENGINES {
        let program = line_program(engine, "asks_to_fail");
        let mut caller = program.caller();
        let mut call = |len| {
            let mut line = Line { len, ..Line::default() };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                caller.call(&mut line).unwrap()
            }))
        };
        assert_eq!(call(0).unwrap(), 0);
        assert!(call(1).is_err());
        assert_eq!(call(0).unwrap(), 0);
    }
}

#[test]
fn a_type_that_cannot_be_says_why() {
    let runtime = runtime(EngineChoice::Interp);
    let builder = || runtime.program_type::<Line>("line_filter");
    let wrong = [
        (runtime.program_type::<Line>("a/b"), "it is no name of a section"),
        (builder().returns(RangeInclusive::new(5, 2)), "programs can return nothing from 5..=2"),
        (builder().writable("lenght"), "the context has no field \"lenght\""),
        (builder().helper(999, "f", || ()), "helper \"f\" has number 999, not one from 1000 on"),
        (
            builder().helper(1000, "f", || ()).helper(1000, "g", || ()),
            "helpers \"f\" and \"g\" have number 1000",
        ),
        (
            builder().helper(1000, "f", |_: Bytes, _: Bytes, _: Bytes| ()),
            "helper \"f\" takes 6 registers, more than 5",
        ),
    ];
    for (builder, reason) in wrong {
        let error = builder.register().unwrap_err().to_string();
        assert!(error.ends_with(reason), "{error}");
    }
    line_type(&runtime);
    let error = builder().register().unwrap_err();
    assert_eq!(error.to_string(), "program type \"line_filter\": the runtime has one of this name");
}
