//! Questions and answers over two small sets of types: an object's, and a target's in which everything has moved.

use super::*;
use crate::{Builder, NameOff};

/// `struct task { int pid; struct { char comm[16]; }; unsigned flags: 4; long state; enum mode mode; }`
fn local() -> Btf {
    let mut b = Builder::new();
    let int = b.int("int", 4, true);
    let unsigned = b.int("unsigned int", 4, false);
    let char = b.int("char", 1, true);
    let comm = b.array(char, int, 16);
    let inner = b.structure("", 16, &[("comm", comm, 0)]);
    let mode = b.enumeration("mode", 4, false, &[("FAST", 1), ("SLOW", 2)]);
    let members = [
        ("pid", int, 0, 0),
        ("", inner, 32, 0),
        ("flags", unsigned, 160, 4),
        ("age", unsigned, 192, 0),
        ("mode", mode, 224, 0),
    ];
    b.bit_structure("task___mine", 32, &members);
    for access in ["0", "0:0", "0:1:0:3", "0:2", "0:3", "0:4", "1", "7:x"] {
        b.name(access);
    }
    b.name("gone");
    b.structure("gone", 4, &[("x", int, 0)]);
    b.finish().unwrap()
}

/// The same names elsewhere: `age` is wider, `comm` lies deeper, `SLOW` has another value.
fn target() -> Btf {
    let mut b = Builder::new();
    let int = b.int("int", 4, true);
    let unsigned = b.int("unsigned int", 4, false);
    let long = b.int("unsigned long", 8, false);
    let char = b.int("char", 1, true);
    let comm = b.array(char, int, 16);
    let inner = b.structure("", 24, &[("x", long, 0), ("comm", comm, 64)]);
    let outer = b.union("", 24, &[("", inner)]);
    let mode = b.enumeration("mode", 4, false, &[("FAST", 1), ("MIDDLE", 2), ("SLOW", 3)]);
    let members = [
        ("age", long, 0, 0),
        ("flags", unsigned, 70, 4),
        ("", outer, 128, 0),
        ("mode", mode, 320, 0),
        ("pid", int, 352, 0),
    ];
    b.bit_structure("task", 48, &members);
    b.finish().unwrap()
}

fn ask(kind: CoreReloKind, name: &str, access: &str) -> Result<Answer, ReloError> {
    let (local, target) = (local(), target());
    let ty = local.types().find(|ty| ty.name() == name && ty.pointee().is_none()).unwrap().id;
    let strings = local.string_bytes();
    let wanted = format!("\0{access}\0");
    let at = strings.windows(wanted.len()).position(|window| window == wanted.as_bytes()).unwrap();
    let access = NameOff(u32::try_from(at + 1).unwrap());
    let relo = CoreRelo { insn_off: 0, ty, access, kind: kind as u32 };
    Relocator::new(&target).answer(&local, &relo)
}

fn values(kind: CoreReloKind, name: &str, access: &str) -> (u64, u64) {
    match ask(kind, name, access).unwrap() {
        Answer::Value(value) => (value.was, value.now),
        Answer::Poison => panic!("poisoned"),
    }
}

#[test]
fn fields_are_found_by_name_and_flavours_do_not_count() {
    use CoreReloKind::{FieldByteOffset, FieldByteSize, FieldExists};
    assert_eq!(values(FieldByteOffset, "task___mine", "0:0"), (0, 44));
    assert_eq!(values(FieldByteOffset, "task___mine", "0:1:0:3"), (7, 27));
    assert_eq!(values(FieldByteSize, "task___mine", "0:3"), (4, 8));
    assert_eq!(values(FieldExists, "task___mine", "0:4"), (1, 1));
}

#[test]
fn bit_fields_are_read_by_the_unit_that_holds_them() {
    use CoreReloKind::{FieldByteOffset, FieldByteSize, FieldLshift, FieldRshift, FieldSigned};
    assert_eq!(values(FieldByteOffset, "task___mine", "0:2"), (20, 8));
    assert_eq!(values(FieldByteSize, "task___mine", "0:2"), (4, 4));
    assert_eq!(values(FieldLshift, "task___mine", "0:2"), (60, 54));
    assert_eq!(values(FieldRshift, "task___mine", "0:2"), (60, 60));
    assert_eq!(values(FieldSigned, "task___mine", "0:2"), (0, 0));
}

#[test]
fn what_is_not_there_is_zero_or_poison() {
    use CoreReloKind::{FieldByteOffset, FieldExists, TypeExists, TypeSize};
    assert_eq!(values(TypeExists, "gone", "0"), (1, 0));
    assert_eq!(values(TypeSize, "gone", "0"), (4, 0));
    assert_eq!(values(FieldExists, "gone", "0:0"), (1, 0));
    assert_eq!(ask(FieldByteOffset, "gone", "0:0"), Ok(Answer::Poison));
}

#[test]
fn enumerators_have_the_targets_value() {
    use CoreReloKind::{EnumvalExists, EnumvalValue};
    assert_eq!(values(EnumvalValue, "mode", "1"), (2, 3));
    assert_eq!(values(EnumvalExists, "mode", "1"), (1, 1));
}

#[test]
fn types_match_if_the_target_has_all_members() {
    assert_eq!(values(CoreReloKind::TypeMatches, "mode", "0"), (1, 1));
    // `age` has another size there.
    assert_eq!(values(CoreReloKind::TypeMatches, "task___mine", "0"), (1, 0));
    assert_eq!(values(CoreReloKind::TypeExists, "task___mine", "0"), (1, 1));
}

#[test]
fn a_path_that_leads_nowhere_is_an_error() {
    let error = ask(CoreReloKind::FieldByteOffset, "task___mine", "7:x").unwrap_err();
    assert!(matches!(error, ReloError::Access { .. }), "{error}");
    let error = ask(CoreReloKind::EnumvalValue, "task___mine", "0:0").unwrap_err();
    assert!(matches!(error, ReloError::Access { .. }), "{error}");
}

#[test]
fn essential_names_lose_their_last_flavour() {
    assert_eq!(essential_name("task_struct___old"), "task_struct");
    assert_eq!(essential_name("task___a___b"), "task___a");
    assert_eq!(essential_name("___a"), "___a");
    assert_eq!(essential_name("a___"), "a___");
    assert_eq!(essential_name("a____b"), "a____b");
}

fn value(was: u64, now: u64, sizes: (u32, u32)) -> Answer {
    Answer::Value(Value { was_size: sizes.0, now_size: sizes.1, ..Value::plain(was, now) })
}

#[test]
fn a_load_takes_the_offset_and_the_size() {
    // r1 = *(u32 *)(r2 + 24)
    let mut insns = [Slot { opcode: 0x61, dst: 1, src: 2, off: 24, imm: 0 }];
    patch::patch(&mut insns, value(24, 0, (4, 8))).unwrap();
    assert_eq!(insns[0], Slot { opcode: 0x79, dst: 1, src: 2, off: 0, imm: 0 });
    let error = patch::patch(&mut insns, value(3, 0, (8, 8))).unwrap_err();
    assert_eq!(error, ReloError::Unexpected { got: 0, expected: 3 });
    let error = patch::patch(&mut insns, value(0, 40_000, (8, 8))).unwrap_err();
    assert_eq!(error, ReloError::TooBig(40_000));
}

#[test]
fn poison_covers_both_halves_of_a_wide_load() {
    let mut insns = [Slot { opcode: 0x18, ..Slot::default() }, Slot::default()];
    patch::patch(&mut insns, Answer::Poison).unwrap();
    assert!(insns.iter().all(|insn| insn.opcode == 0x85 && insn.imm == POISON));
}

#[test]
fn an_instruction_without_a_place_for_the_answer_is_an_error() {
    let mut insns = [Slot { opcode: 0x95, ..Slot::default() }];
    let error = patch::patch(&mut insns, value(0, 1, (0, 0))).unwrap_err();
    assert_eq!(error, ReloError::Instruction(0x95));
}
