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

#[test]
fn parts_of_variables_are_set_by_their_paths() {
    let mut open = open("tests/objects/globals.bpf.o", "program");
    for (path, text) in [
        ("conf.rules[2].port", "1000"),
        ("conf.rules[2].allowed", "true"),
        ("conf.rules[2].mode", "LOUD"),
        ("conf.rules[1].port", "7"),
        ("conf.octets[1]", "0x20"),
        ("conf.name", "abc"),
    ] {
        open.set_global_text(path, text).unwrap();
    }
    for (path, text, said) in [
        ("conf", "1", "it has members, which are set one by one"),
        ("conf.rules", "1", "it has elements, which are set one by one"),
        ("conf.rule", "1", "there is no member \"rule\""),
        ("conf.rules[3].port", "1", ".rules: there is no element [3], it has 3"),
        ("conf.rules[-1]", "1", ".rules: [-1] is no element"),
        ("conf.rules[0].mode", "QUIET", "\"QUIET\" is not a number, nor one of OFF, ON, LOUD"),
        ("conf.rules[0].allowed", "yes", "\"yes\" is not a number, nor true or false"),
        ("conf.rules[0].port", "65536", "65536 does not fit into 2 bytes"),
        ("conf.rules[0].port[0]", "1", ".rules[0].port: there are no elements"),
        ("conf.version.x", "1", ".version: there is no member \"x\""),
        ("conf.small", "1", "member \"small\" is a bit field"),
        ("conf.name", "12345678", "\"12345678\" does not fit into an array of 8 bytes"),
        ("conf[0", "1", "\"[0\" names no part"),
        ("conf.", "1", "there is no member \"\""),
    ] {
        let error = open.set_global_text(path, text).unwrap_err();
        assert_eq!(error.to_string(), format!("global variable {path:?}: {said}"));
    }
    let error = open.set_global_text("config.x", "1").unwrap_err();
    assert_eq!(error.to_string(), "globals has no global variable \"config\"; it has conf");
    let object = open.load().unwrap();
    let program = object.program("program").unwrap();
    let verdict = program.run(&mut program.packet(&[0; 64]).unwrap()).unwrap();
    assert_eq!(verdict, 1000 + 1 + 2 + 0x20 + u32::from(b'b'));
}
