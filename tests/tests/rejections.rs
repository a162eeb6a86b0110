//! Refusals as programs read them: a reason's name and its fields, and where it was.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fmt::Write as _;
use std::path::Path;

use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;
use bpf_isa::asm;
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{LogOptions, Options, check};

/// Small programs, each refused for another reason.
const PROGRAMS: &[(&str, &str)] = &[
    ("an unwritten register", "exit"),
    ("the frame pointer", "r10 = 0\nexit"),
    ("a jump out of the program", "goto +5\nexit"),
    ("an end that is none", "r0 = 0"),
    ("code that nothing reaches", "r0 = 0\nexit\nr0 = 1\nexit"),
    ("a loop without end", "again:\nr0 = 0\nif r0 == 0 goto again\nexit"),
    ("stack that is not there", "*(u64 *)(r10 - 520) = r1\nr0 = 0\nexit"),
    ("a number for a map", "r2 = r10\nr2 += -8\nr1 = 0\ncall 1\nexit"),
    (
        "stack at an unknown place",
        "r2 = *(u32 *)(r1 + 16)\nr2 += r10\n*(u8 *)(r2 + 0) = 0\nr0 = 0\nexit",
    ),
    ("a field that is not there", "r0 = *(u32 *)(r1 + 80)\nexit"),
    ("a packet that may end", "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit"),
    ("two pointers added", "r1 += r10\nr0 = 0\nexit"),
    ("a pointer shifted", "r1 <<= 1\nr0 = 0\nexit"),
    ("a helper that is not there", "call 9999\nexit"),
    ("a helper of others", "call 9\nexit"),
    ("an argument of the wrong type", "r2 = r10\ncall 1\nexit"),
    ("a call into nothing", "call pc+100\nexit"),
    ("calls too deep", "call f\nexit\nf:\nr1 = 0\ncall f\nexit"),
];

#[test]
fn a_rejection_tells_programs_what_it_tells_people() {
    let mut text = String::new();
    for (what, source) in PROGRAMS {
        let program = asm::assemble(source).unwrap();
        let spec = ProgramSpec::new("prog", ProgType::Xdp, program.to_slots());
        let world = DescribedWorld::new(None);
        writeln!(text, "{what}\n  {}", json(&spec, &world)).unwrap();
    }
    insta::assert_snapshot!("rejections", text);
}

#[test]
fn a_rejection_names_function_file_and_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("objects/refused.bpf.o");
    let object = bpf_object::read(&std::fs::read(path).unwrap(), "refused").unwrap();
    let mut world = DescribedWorld::new(None);
    for map in &object.maps {
        world.add_map(map, object.btf.as_ref());
    }
    let mut text = String::new();
    for program in &object.programs {
        let json = json(&world.resolved(program), &world);
        writeln!(text, "{}\n  {json}", program.name).unwrap();
    }
    assert!(text.contains(r#""place":{"file":"./refused.bpf.c","line":"#), "{text}");
    insta::assert_snapshot!("places", text);
}

/// The rejection of a program, on one line.
fn json(spec: &ProgramSpec, world: &DescribedWorld) -> String {
    let options =
        Options { log: LogOptions { level: 0, ..LogOptions::default() }, ..Options::default() };
    match check(spec, world, &options).result {
        Ok(()) => "accepted".to_owned(),
        Err(rejection) => {
            assert!(!rejection.to_string().contains('\n'), "{rejection}");
            serde_json::to_string(&rejection).unwrap()
        }
    }
}

#[test]
fn states_take_no_more_memory_than_they_may() {
    let mut source = "r1 = *(u32 *)(r1 + 16)\nr0 = 0\n".to_owned();
    for n in 0..200 {
        writeln!(source, "if r1 == {n} goto out").unwrap();
    }
    source.push_str("out:\nexit");
    let program = asm::assemble(&source).unwrap();
    let spec = ProgramSpec::new("prog", ProgType::Xdp, program.to_slots());
    let world = DescribedWorld::new(None);
    let checked = check(&spec, &world, &Options::default());
    let used = checked.stats.peak_state_bytes;
    assert!(checked.result.is_ok() && used > 100_000, "{used} bytes");
    let enough = Options { max_state_bytes: used, ..Options::default() };
    assert!(check(&spec, &world, &enough).result.is_ok());
    let short = Options { max_state_bytes: used / 2, ..Options::default() };
    let rejection = check(&spec, &world, &short).result.unwrap_err();
    assert_eq!(rejection.errno(), bpf_abi::Errno::ENOMEM);
    assert_eq!(rejection.reason.name(), "TooMuchMemory");
}

#[test]
fn rewritten_programs_are_as_long_as_the_kernels() {
    // Asked of the kernel: the slots after rewriting.
    let programs = [
        ("r0 = 0\nexit", ProgType::Xdp, 2),
        ("r2 = *(u32 *)(r1 + 12)\nr0 = 0\nexit", ProgType::Xdp, 5),
        ("call 7\nr6 = r0\ncall 7\nr6 /= r0\nr0 = 0\nexit", ProgType::Xdp, 9),
        ("r6 = r1\nr0 = *(u8 *)skb[14]\nr0 = 0\nexit", ProgType::SocketFilter, 9),
        ("call 8\nr0 = 0\nexit", ProgType::Kprobe, 5),
    ];
    for (source, prog_type, slots) in programs {
        let spec = ProgramSpec::new("prog", prog_type, asm::assemble(source).unwrap().to_slots());
        let checked = check(&spec, &DescribedWorld::new(None), &Options::default());
        assert!(checked.result.is_ok(), "{source}");
        assert_eq!(checked.stats.xlated_insns, slots, "{source}");
    }
}
