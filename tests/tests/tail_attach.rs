//! Tail calls and attachments: what probes of a chain's programs see, and that a program is in program
//! arrays or has functions replaced, but not both.
//!
//! The running kernel attaches nothing to programs where this was written; what it does is in
//! `tests/cases`, by a kernel that does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapSpec, MapType};
use bpf_runtime::{Error, Object, OpenObject, ProgArray, Program, Runtime, TestRun};
use bpf_tests::corpus::file;
use bpf_tests::places::engines;
use bpfkit::OpenElf as _;

/// The object, to load these programs of it.
fn open(runtime: &Runtime, programs: &[&str]) -> OpenObject {
    let mut open = runtime.open_file(file("tests/objects/tail_attach.bpf.o")).unwrap();
    open.choose(programs).unwrap();
    open
}

fn load(runtime: &Runtime) -> (Object, Program, Program) {
    let object = open(runtime, &["caller", "callee"]).load().unwrap();
    let (caller, callee) = (object.program("caller").unwrap(), object.program("callee").unwrap());
    (object, caller, callee)
}

fn run(program: &Program) -> u32 {
    program.test_run(&TestRun::packet(&[0; 64])).unwrap().return_value
}

fn array(runtime: &Runtime) -> ProgArray {
    let spec = MapSpec::new("slots", MapType::ProgArray, 4, 4, 2);
    runtime.create_map(&spec).unwrap().prog_array().unwrap()
}

fn errno<T>(result: Result<T, Error>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| error.errno())
}

#[test]
fn probes_see_who_was_entered_and_what_the_chain_came_to() {
    for (engine, runtime) in engines() {
        let (object, caller, callee) = load(&runtime);
        let seen = object.map("seen").unwrap();
        let probe = |name: &str, target: &Program, function: &str| {
            let mut open = open(&runtime, &[name]);
            open.reuse_map("seen", &seen).unwrap();
            let probe = open.program(name).unwrap().trace(target, function).unwrap();
            probe.load().unwrap().attach().unwrap()
        };
        let _links = [
            probe("caller_begins", &caller, "caller"),
            probe("caller_ends", &caller, "caller"),
            probe("callee_begins", &callee, "callee"),
            probe("callee_ends", &callee, "callee"),
        ];
        let values = || {
            let seen = seen.array::<u64>().unwrap();
            [0, 1, 2, 3, 4].map(|place| seen.get(place).unwrap())
        };
        assert_eq!(run(&caller), 7, "{engine}");
        assert_eq!(values(), [1, 1, 7, 0, 0], "{engine}: the slot is empty");
        let jumps = object.map("jumps").unwrap().prog_array().unwrap();
        jumps.set(0, &callee).unwrap();
        assert_eq!(run(&caller), 31, "{engine}");
        assert_eq!(values(), [2, 2, 31, 0, 0], "{engine}: the callee was not entered");
        assert_eq!(run(&callee), 31, "{engine}");
        assert_eq!(values(), [2, 2, 31, 1, 1], "{engine}: now it was");
    }
}

#[test]
fn a_program_is_in_arrays_or_has_a_function_replaced() {
    for (engine, runtime) in engines() {
        let (object, caller, callee) = load(&runtime);
        let jumps = object.map("jumps").unwrap().prog_array().unwrap();
        let other = array(&runtime);
        for (array, index) in [(&jumps, 0), (&jumps, 1), (&other, 0)] {
            array.set(index, &callee).unwrap();
        }
        let extension = open(&runtime, &["extension"]).program("extension").unwrap();
        let extension = extension.extend(&callee, "f").unwrap().load().unwrap();
        let attach = || extension.attach_to(&callee, "f");
        let busy = Err(Errno::EBUSY);
        assert_eq!(errno(attach()), busy, "{engine}: three slots");
        jumps.set(0, &callee).unwrap();
        jumps.delete(0).unwrap();
        assert_eq!(errno(attach()), busy, "{engine}: two slots");
        // In the place of another, and another in its place.
        jumps.set(1, &caller).unwrap();
        assert_eq!(errno(attach()), busy, "{engine}: one slot");
        drop(other);
        let link = attach().unwrap();
        assert_eq!(run(&callee), 501, "{engine}");
        assert_eq!(errno(jumps.set(0, &callee)), busy, "{engine}: a function is replaced");
        assert!(jumps.get(&runtime, 0).is_none(), "{engine}");
        drop(link);
        jumps.set(0, &callee).unwrap();
        assert_eq!(run(&caller), 31, "{engine}");
        assert_eq!(errno(attach()), busy, "{engine}");
    }
}

#[test]
fn an_extension_is_in_no_array_and_settles_nothing_about_one() {
    for (engine, runtime) in engines() {
        let (_, _, callee) = load(&runtime);
        let extension = open(&runtime, &["extension"]).program("extension").unwrap();
        let extension = extension.extend(&callee, "f").unwrap().load().unwrap();
        let slots = array(&runtime);
        assert_eq!(errno(slots.set(0, &extension)), Err(Errno::EINVAL), "{engine}");
        let another = open(&runtime, &["another"]).load().unwrap().program("another").unwrap();
        slots.set(0, &another).unwrap();
        assert_eq!(errno(slots.set(0, &callee)), Err(Errno::EINVAL), "{engine}: it is tc's now");
    }
}
