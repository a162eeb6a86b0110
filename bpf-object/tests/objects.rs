//! Real objects as text, and broken ones as errors.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf_abi::map::{MapInitValue, MapSpec};
use bpf_abi::spec::{AttachTo, ObjectSpec, ProgramSpec};
use bpf_btf::ext::{FuncInfo, LineInfo, parse_array};
use bpf_btf::{Btf, Builder, TypeId};
use bpf_object::{Kconfig, Options};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/objects")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.bpf.o"))).unwrap()
}

fn read(name: &str) -> ObjectSpec {
    bpf_object::read(&bytes(name), name).unwrap()
}

/// All that a description says.
fn text(object: &ObjectSpec) -> String {
    let mut out = String::new();
    writeln!(
        out,
        "object {} license {:?} version {:#x}",
        object.name, object.license, object.kern_version
    )
    .unwrap();
    for (index, map) in object.maps.iter().enumerate() {
        write!(out, "\nmap {index} ").unwrap();
        describe_map(&mut out, map);
    }
    for program in &object.programs {
        describe_program(&mut out, program);
    }
    out
}

fn describe_map(out: &mut String, map: &MapSpec) {
    writeln!(
        out,
        "{} {} key {} ({}) value {} ({}) entries {} flags {:#x} extra {} {:?}{}",
        map.name,
        map.map_type,
        map.key_size,
        map.btf_key_type_id,
        map.value_size,
        map.btf_value_type_id,
        map.max_entries,
        map.flags.bits(),
        map.map_extra,
        map.pinning,
        if map.frozen { " frozen" } else { "" },
    )
    .unwrap();
    if let Some(inner) = &map.inner {
        write!(out, "  of ").unwrap();
        describe_map(out, inner);
    }
    for init in &map.init {
        let value = match &init.value {
            MapInitValue::Bytes(bytes) => format!("{bytes:02x?}"),
            MapInitValue::Program(name) => format!("program {name}"),
            MapInitValue::Map(index) => format!("map {index}"),
        };
        writeln!(out, "  {:02x?} = {value}", init.key).unwrap();
    }
}

fn describe_program(out: &mut String, program: &ProgramSpec) {
    writeln!(
        out,
        "\nprogram {} in {} {} attach {:?} to {:?} flags {:#x} autoload {}",
        program.name,
        program.section,
        program.prog_type,
        program.expected_attach_type.map(|attach| attach.name()),
        program.attach_to,
        program.flags.bits(),
        program.autoload,
    )
    .unwrap();
    let btf = program.btf.as_ref().unwrap();
    let info = &program.func_info;
    let functions: Vec<FuncInfo> = parse_array(&info.bytes, info.rec_size).unwrap();
    let info = &program.line_info;
    let lines: Vec<LineInfo> = parse_array(&info.bytes, info.rec_size).unwrap();
    for (at, slot) in (0..).zip(&program.insns) {
        for function in functions.iter().filter(|function| function.insn_off == at) {
            writeln!(out, "{}:", btf.name_of(function.ty)).unwrap();
        }
        for line in lines.iter().filter(|line| line.insn_off == at) {
            writeln!(out, "; {} @{}", btf.name(line.text).trim(), line.line()).unwrap();
        }
        write!(
            out,
            "{at:4}: {:02x} dst {} src {} off {} imm {}",
            slot.opcode, slot.dst, slot.src, slot.off, slot.imm
        )
        .unwrap();
        for reference in program.references.iter().filter(|reference| reference.at.0 == at) {
            write!(out, "  -> {:?}", reference.to).unwrap();
        }
        writeln!(out).unwrap();
    }
}

#[test]
fn callees_follow_in_the_order_of_first_calls() {
    insta::assert_snapshot!("calls", text(&read("calls")));
}

#[test]
fn maps_are_what_their_declarations_say() {
    insta::assert_snapshot!("maps", text(&read("maps")));
}

#[test]
fn externs_are_named_and_configuration_is_a_map() {
    insta::assert_snapshot!("externs", text(&read("externs")));
}

/// A kernel in which everything lies elsewhere, and some things are not there.
fn other_kernel() -> Btf {
    let mut b = Builder::new();
    let int = b.int("int", 4, true);
    let long = b.int("long", 8, true);
    let unsigned = b.int("unsigned int", 4, false);
    let char = b.int("char", 1, true);
    let comm = b.array(char, int, 32);
    let task = TypeId(b.next_id().0 + 1);
    let ptr = b.ptr(task);
    let members = [
        ("age", long, 0, 0),
        ("comm", comm, 64, 0),
        ("waiting", unsigned, 325, 1),
        ("parent", ptr, 384, 0),
        ("pid", int, 448, 0),
    ];
    b.bit_structure("task", 64, &members);
    b.enumeration("mode", 4, false, &[("SLOW", 7), ("FAST", 8)]);
    b.finish().unwrap()
}

#[test]
fn questions_about_types_are_answered_by_the_target() {
    let mut options = Options::default();
    options.target = Some(Arc::new(other_kernel()));
    let object = bpf_object::read_with(&bytes("core"), "core", &options).unwrap();
    insta::assert_snapshot!("core", text(&object));
}

#[test]
fn without_a_target_questions_are_refused_by_name() {
    let error = bpf_object::read(&bytes("core"), "core").unwrap_err().to_string();
    assert!(error.contains("CO-RE relocation <byte_off> of ["), "{error}");
    assert!(error.contains("it needs the types of a target kernel"), "{error}");
}

#[test]
fn types_are_as_the_kernel_wants_them() {
    for name in ["calls", "maps", "externs"] {
        let btf = read(name).btf.unwrap();
        bpf_btf::check::check(&btf.encode()).unwrap();
    }
}

#[test]
fn types_that_the_kernel_refuses_are_left_out() {
    let object = read("nameless");
    assert!(object.notes[0].ends_with("Invalid arg#1"), "{:?}", object.notes);
    assert!(object.btf.is_none() && object.maps[0].btf_value_type_id == 0);
    let nameless =
        |program: &ProgramSpec| program.btf.is_none() && program.func_info.bytes.is_empty();
    assert!(object.programs.iter().all(nameless));
}

#[test]
fn a_config_file_is_lines_of_settings() {
    let text = "# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_HZ=250\nCONFIG_S=\"x=y\"\nnothing\n";
    let values = Kconfig::parse(text).values;
    let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value}")).collect();
    assert_eq!(values, ["CONFIG_B y", "CONFIG_HZ 250", "CONFIG_S \"x=y\""]);
}

#[test]
fn the_configuration_is_the_hosts() {
    let mut options = Options::default();
    options.kconfig.kernel_version = 0x0006_0c01;
    let values = [("CONFIG_BPF", "y"), ("CONFIG_NAME", "\"abcdefghij\"")];
    let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
    options.kconfig = Kconfig { values: values.into(), ..options.kconfig };
    let object = bpf_object::read_with(&bytes("externs"), "externs", &options).unwrap();
    let map = object.maps.iter().find(|map| map.name == "externs.kconfig").unwrap();
    let expected = b"\x01\x0c\x06\0\x01abcdefg\0".to_vec();
    assert_eq!(map.init[0].value, MapInitValue::Bytes(expected));
}

#[test]
fn programs_stand_for_members_of_the_structures_that_name_them() {
    let object = read("struct_ops");
    let program = |name| object.programs.iter().find(|program| program.name == name).unwrap();
    let member = |member: &str| {
        let (name, member) = ("dummy_ops".to_owned(), member.to_owned());
        Some(AttachTo::StructOps { name, member })
    };
    assert_eq!(program("one").attach_to, member("first"));
    // Two structures of one type name it, under the same member.
    assert_eq!(program("two").attach_to, member("second"));
    assert_eq!(program("unused").attach_to, None);
    assert!(program("two").autoload && !program("unused").autoload);
    let document = bpf_object::document(&object, program("two"));
    let target = r#""attach_btf":{"name":"dummy_ops","kind":"struct","member":"second"}"#;
    assert!(document.contains(target), "{document}");
}

#[test]
fn equal_bytes_make_equal_descriptions() {
    assert_eq!(text(&read("maps")), text(&read("maps")));
}

#[test]
fn every_truncation_is_an_error_or_an_object() {
    let whole = bytes("externs");
    for len in 0..whole.len() {
        let _ = bpf_object::read(&whole[..len], "cut");
    }
    assert!(bpf_object::read(&whole[..64], "cut").is_err());
}

/// How many mutants are made: 2,000, or what `BPFKIT_MUTANTS` says.
fn mutants() -> usize {
    std::env::var("BPFKIT_MUTANTS").map_or(2_000, |text| text.parse().unwrap())
}

#[test]
fn mutants_get_an_object_or_an_error() {
    let mut state = 0x0123_4567_89ab_cdef_u64;
    let mut next = |end: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % u64::try_from(end).unwrap()).unwrap()
    };
    let originals = ["calls", "maps", "externs", "core", "struct_ops"].map(bytes);
    let mut options = Options::default();
    options.target = Some(Arc::new(other_kernel()));
    let mut errors = 0;
    for round in 0..mutants() {
        let mut mutant = originals[round % originals.len()].clone();
        for _ in 0..=next(6) {
            let at = next(mutant.len());
            mutant[at] = match next(4) {
                0 => mutant[at] ^ (1 << next(8)),
                1 => 0xff,
                2 => 0,
                _ => u8::try_from(next(256)).unwrap(),
            };
        }
        errors += usize::from(bpf_object::read_with(&mutant, "mutant", &options).is_err());
    }
    assert!(
        errors > mutants() / 40,
        "only {errors} mutants were refused: the test has lost its teeth"
    );
}
