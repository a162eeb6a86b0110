//! Encoding is the inverse of decoding, over every opcode and the boundaries of every field.

use bpf_isa::{Call, DecodeErrorKind, Imm64, Insn, Pc, Program, Slot, decode, decode_slots, slots};
use proptest::prelude::*;

const OFFSETS: [i16; 16] =
    [0, 1, -1, 2, 7, 8, 9, 16, 17, 24, 32, 64, 255, -256, i16::MAX, i16::MIN];

const IMMEDIATES: [i32; 32] = [
    0,
    1,
    -1,
    2,
    8,
    16,
    32,
    64,
    0x40,
    0x41,
    0x50,
    0x51,
    0xa0,
    0xa1,
    0xe0,
    0xe1,
    0xf0,
    0xf1,
    0x100,
    0x101,
    0x110,
    0x111,
    0xff,
    0xffff,
    0x1_0000,
    0x1_0001,
    0x2_0001,
    33,
    0x141,
    -64,
    i32::MAX,
    i32::MIN,
];

/// The slots with what the kernel ignores set to zero, which is how they are encoded.
fn canonical(insn: Insn, first: Slot, second: Slot) -> (Slot, Slot) {
    if insn == Insn::Exit {
        (Slot { off: 0, ..first }, second)
    } else if matches!(insn, Insn::LoadImm64 { imm: Imm64::Func { .. }, .. }) {
        (first, Slot { imm: 0, ..second })
    } else {
        (first, second)
    }
}

#[test]
fn encoding_restores_the_slots_of_every_instruction() {
    let mut decoded = 0_u32;
    for opcode in 0..=u8::MAX {
        for registers in 0..=u8::MAX {
            let (dst, src) = (registers & 15, registers >> 4);
            for off in OFFSETS {
                for imm in IMMEDIATES {
                    let first = Slot { opcode, dst, src, off, imm };
                    for high in [0, -7] {
                        let second = Slot { imm: high, ..Slot::default() };
                        let Ok(insn) = decode(first, Some(second), Pc(0)) else { continue };
                        decoded += 1;
                        let encoded = insn.encode();
                        let (first, second) = canonical(insn, first, second);
                        assert_eq!(encoded.first, first, "{insn:?}");
                        assert_eq!(encoded.second.unwrap_or(second), second, "{insn:?}");
                        assert_eq!(decode(encoded.first, encoded.second, Pc(0)), Ok(insn));
                    }
                }
            }
        }
    }
    assert!(decoded > 500_000, "only {decoded} decode");
}

#[test]
fn a_slot_is_its_bytes() {
    let bytes = [0x79, 0xa1, 0xf8, 0xff, 1, 2, 3, 0x84];
    let slot = Slot::from_bytes(bytes);
    assert_eq!((slot.dst, slot.src, slot.off), (1, 10, -8));
    assert_eq!(slot.imm.cast_unsigned(), 0x8403_0201);
    assert_eq!(slot.to_bytes(), bytes);
}

#[test]
fn an_incomplete_slot_is_named_with_its_place() {
    let error = Program::decode(&[0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0]).unwrap_err();
    assert_eq!(error.at, Pc(1));
    assert_eq!(error.kind, DecodeErrorKind::Truncated { bytes: 3 });
}

#[test]
fn a_refused_wide_immediate_keeps_its_second_slot() {
    let first = Slot { opcode: 0x18, dst: 12, ..Slot::default() };
    let decoded = decode_slots(&[first, Slot::default(), Slot { opcode: 0x95, ..Slot::default() }]);
    assert!(decoded[0].is_err());
    assert_eq!(decoded[1..], [Ok(Insn::SecondSlot), Ok(Insn::Exit)]);
}

#[test]
fn functions_begin_where_something_calls_them() {
    let call = Insn::Call(Call::Local(1));
    let program = Program::new(vec![call, Insn::Exit, Insn::Exit, Insn::Call(Call::Local(900))]);
    assert_eq!(program.functions(), [Pc(0), Pc(2)]);
}

proptest! {
    #[test]
    fn any_bytes_decode_to_something_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let Ok(slots) = slots(&bytes) else { return Ok(()) };
        let decoded = decode_slots(&slots);
        prop_assert_eq!(decoded.len(), slots.len());
        if let Ok(program) = Program::decode(&bytes) {
            prop_assert_eq!(program.to_slots().len(), slots.len());
            prop_assert_eq!(Program::decode(&program.to_bytes()), Ok(program));
        }
    }

    #[test]
    fn a_program_of_instructions_survives_its_bytes(
        raw in prop::collection::vec((any::<u8>(), 0_u8..11, 0_u8..11, any::<i16>(), any::<i32>()), 0..64),
    ) {
        let slots = raw.into_iter().flat_map(|(opcode, dst, src, off, imm)| {
            let first = [Slot { opcode, dst, src, off, imm }, Slot { opcode, dst, src: 0, off: 0, imm },
                Slot { opcode, dst, src, off: 0, imm: 0 }];
            let second = Slot { imm, ..Slot::default() };
            first.map(|first| decode(first, Some(second), Pc(0)))
        });
        let insns: Vec<Insn> = slots.flatten().flat_map(|insn| {
            let second = insn.encode().second.map(|_| Insn::SecondSlot);
            std::iter::once(insn).chain(second)
        }).collect();
        let program = Program::new(insns);
        prop_assert_eq!(Program::decode(&program.to_bytes()), Ok(program));
    }
}
