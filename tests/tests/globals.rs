//! Global variables: set before an object is loaded, read and changed while its programs run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bpf_abi::errno::Errno;
use bpf_runtime::Runtime;
use bpf_tests::corpus::file;
use bpfkit::OpenElf as _;

fn open(path: &str, program: &str) -> bpf_runtime::OpenObject {
    let runtime = Runtime::builder().cpus(2).build().unwrap();
    let mut open = runtime.open_file(file(path)).unwrap();
    open.choose(&[program]).unwrap();
    open
}

const PROBES: &str = "tests/objects/probes.bpf.o";

#[test]
fn what_is_set_before_is_there_and_what_programs_write_is_read() {
    let mut open = open(PROBES, "program");
    open.set_global("worked", &40_u64).unwrap();
    open.set_global("left", &7_u64).unwrap();
    let object = open.load().unwrap();
    let program = object.program("program").unwrap();
    let mut packet = program.packet(&[0; 64]).unwrap();
    program.run(&mut packet).unwrap();
    program.run(&mut packet).unwrap();
    assert_eq!(object.global::<u64>("worked").unwrap(), 42);
    assert_eq!(object.global::<[u32; 2]>("left").unwrap(), [7, 0]);
    assert_eq!(object.global_bytes("left").unwrap(), 7_u64.to_le_bytes());
    object.set_global("worked", &100_u64).unwrap();
    program.run(&mut packet).unwrap();
    assert_eq!(object.global::<u64>("worked").unwrap(), 101);
    assert_eq!(object.global::<u64>("left").unwrap(), 7, "beside it nothing changes");
}

#[test]
fn one_variable_is_changed_while_programs_count_in_another() {
    const RUNS: u64 = 20_000;
    let object = open(PROBES, "program").load().unwrap();
    let program = object.program("program").unwrap();
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut packet = program.packet(&[0; 64]).unwrap();
            (0..RUNS).for_each(|_| assert_eq!(program.run(&mut packet).unwrap(), 5));
        });
        let mut number = 0_u64;
        while !counting.is_finished() {
            number += 1;
            object.set_global("left", &number).unwrap();
            assert_eq!(object.global::<u64>("left").unwrap(), number);
        }
    });
    assert_eq!(object.global::<u64>("worked").unwrap(), RUNS);
}

#[test]
fn what_cannot_be_says_why() {
    let mut open = open(PROBES, "program");
    let error = open.set_global("wrked", &1_u64).unwrap_err();
    assert_eq!(
        error.to_string(),
        "probes has no global variable \"wrked\"; it has worked, entered, left"
    );
    let error = open.set_global("worked", &1_u32).unwrap_err();
    assert_eq!(error.to_string(), "global variable \"worked\": it has 8 bytes, not 4");
    let object = open.load().unwrap();
    assert_eq!(object.global::<u64>("number").unwrap_err().errno(), Errno::ENOENT);
    let error = object.global::<u16>("worked").unwrap_err();
    assert_eq!(error.to_string(), "global variable \"worked\": it has 8 bytes, not 2");
    assert_eq!(object.set_global("worked", &0_u8).unwrap_err().errno(), Errno::EINVAL);

    let mut constant = self::open("tests/objects/torture.bpf.o", "main_program");
    constant.set_global("number", &9_u32).unwrap();
    let object = constant.load().unwrap();
    assert_eq!(object.global::<u32>("number").unwrap(), 9);
    assert_eq!(object.set_global("number", &1_u32).unwrap_err().errno(), Errno::EPERM);
}
