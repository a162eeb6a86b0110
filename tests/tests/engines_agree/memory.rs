//! Loads, stores and atomics: each width and kind, in packets, on the stack and in map values.

use bpf_isa::{AtomicOp, Extension, Insn, Operand, Reg, Size, Width};

use crate::{Case, Frame, IMMEDIATES, VALUES, Where, load, mov, pairs, reference, store};

/// Sixteen bytes of memory, two words: where they are, and how to get them there and back.
fn memory(place: Where, frame: &Frame) -> (Reg, i16) {
    let n = i16::try_from(frame.k % 12).unwrap() * 16;
    match place {
        Where::Packet => (frame.base, frame.outs_at),
        Where::Stack => (Reg::FP, n - 208),
        Where::Map => (Reg::R7, n),
    }
}

/// Fills the memory with the two operands.
fn fill(place: Where, frame: &Frame, code: &mut Vec<Insn>) -> (Reg, i16) {
    let (base, off) = memory(place, frame);
    code.push(store(Size::DW, base, off, Operand::Reg(frame.ins[0])));
    code.push(store(Size::DW, base, off + 8, Operand::Reg(frame.ins[1])));
    (base, off)
}

/// Puts both words of the memory into the results.
fn show(place: Where, frame: &Frame, code: &mut Vec<Insn>) {
    let (base, off) = memory(place, frame);
    let through = frame.spare[0];
    for n in [0, 1] {
        code.push(load(Size::DW, Extension::Unsigned, through, base, off + crate::word(n)));
        code.push(frame.put(n, through));
    }
}

/// At which byte of the memory the `k`th tuple's access is: on the stack, and for atomics, only
/// where it is aligned.
fn byte(place: Where, aligned: bool, size: Size, k: usize) -> i16 {
    let bytes = size.bytes() as usize;
    let step = if aligned || place == Where::Stack { bytes } else { 1 };
    let places = (16 - bytes) / step + 1;
    i16::try_from(k % places * step).unwrap()
}

/// Both operands as bytes.
fn sixteen(ins: &[u64]) -> Vec<u8> {
    crate::bytes(&ins[..2])
}

fn two_words(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The bytes that an access at `at` touches.
fn touched(size: Size, at: i16) -> std::ops::Range<usize> {
    let at = usize::try_from(at).unwrap();
    at..at + size.bytes() as usize
}

fn places(atomic: bool) -> &'static [Where] {
    if atomic { &[Where::Stack, Where::Map] } else { &[Where::Packet, Where::Stack, Where::Map] }
}

#[test]
fn loads() {
    for place in places(false).iter().copied() {
        for size in Size::ALL {
            for ext in [Extension::Unsigned, Extension::Signed] {
                if (size, ext) == (Size::DW, Extension::Signed) {
                    continue;
                }
                let case = Case {
                    name: format!("load {size:?} {ext:?} {place:?}"),
                    words: (2, 2),
                    unrolled: 32,
                    tuples: pairs(),
                    reserved: vec![Reg::R7],
                    emit: Box::new(move |frame, code| {
                        let (base, off) = fill(place, frame, code);
                        let at = off + byte(place, false, size, frame.k);
                        let dst = frame.spare[frame.k % frame.spare.len()];
                        if place == Where::Packet {
                            // The address in the register that is loaded to.
                            code.push(mov(dst, Operand::Reg(base)));
                            code.push(load(size, ext, dst, dst, at));
                        } else {
                            code.push(load(size, ext, dst, base, at));
                        }
                        code.push(frame.put(0, dst));
                        code.push(frame.put(1, frame.ins[1]));
                    }),
                    expect: Box::new(move |k, ins| {
                        let at = touched(size, byte(place, false, size, k));
                        let loaded = number(&sixteen(ins)[at]);
                        let loaded = match ext {
                            Extension::Unsigned => loaded,
                            Extension::Signed => reference::wrapped(
                                Width::W64,
                                reference::signed(size.bits(), loaded),
                            ),
                        };
                        vec![loaded, ins[1]]
                    }),
                };
                case.check();
            }
        }
    }
}

#[test]
fn loads_at_distances_below_and_above_their_register() {
    for size in Size::ALL {
        let case = Case {
            name: format!("load {size:?} at negative and large offsets"),
            words: (2, 2),
            unrolled: 24,
            tuples: pairs(),
            reserved: vec![Reg::R7],
            emit: Box::new(move |frame, code| {
                let moved = frame.spare[frame.k % frame.spare.len()];
                for (n, by) in [(0, 300), (1, -300)] {
                    let add = Operand::Imm(by);
                    let op = bpf_isa::AluOp::Add;
                    code.push(mov(moved, Operand::Reg(frame.base)));
                    code.push(Insn::Alu { op, width: Width::W64, dst: moved, src: add });
                    let off = frame.ins_at - i16::try_from(by).unwrap();
                    code.push(load(size, Extension::Unsigned, moved, moved, off));
                    code.push(frame.put(n, moved));
                }
            }),
            expect: Box::new(move |_, ins| vec![number(&sixteen(ins)[touched(size, 0)]); 2]),
        };
        case.check();
    }
}

#[test]
fn stores_of_registers() {
    for place in places(false).iter().copied() {
        for size in Size::ALL {
            let case = Case {
                name: format!("store {size:?} register {place:?}"),
                words: (3, 2),
                unrolled: 24,
                tuples: triples(),
                reserved: vec![Reg::R7],
                emit: Box::new(move |frame, code| {
                    let (base, off) = fill(place, frame, code);
                    let at = off + byte(place, false, size, frame.k);
                    code.push(store(size, base, at, Operand::Reg(frame.ins[2])));
                    show(place, frame, code);
                }),
                expect: Box::new(move |k, ins| {
                    let mut bytes = sixteen(ins);
                    let at = touched(size, byte(place, false, size, k));
                    bytes[at].copy_from_slice(&ins[2].to_le_bytes()[..size.bytes() as usize]);
                    two_words(&bytes)
                }),
            };
            case.check();
        }
    }
}

#[test]
fn stores_of_immediates() {
    for place in places(false).iter().copied() {
        for size in Size::ALL {
            let case = Case {
                name: format!("store {size:?} immediate {place:?}"),
                words: (2, 2),
                unrolled: IMMEDIATES.len() * 2,
                tuples: pairs(),
                reserved: vec![Reg::R7],
                emit: Box::new(move |frame, code| {
                    let (base, off) = fill(place, frame, code);
                    let at = off + byte(place, false, size, frame.k);
                    let imm = IMMEDIATES[frame.k % IMMEDIATES.len()];
                    code.push(store(size, base, at, Operand::Imm(imm)));
                    show(place, frame, code);
                }),
                expect: Box::new(move |k, ins| {
                    let mut bytes = sixteen(ins);
                    let at = touched(size, byte(place, false, size, k));
                    let imm = reference::immediate(IMMEDIATES[k % IMMEDIATES.len()]);
                    bytes[at].copy_from_slice(&imm.to_le_bytes()[..size.bytes() as usize]);
                    two_words(&bytes)
                }),
            };
            case.check();
        }
    }
}

#[test]
fn acquiring_loads_and_releasing_stores() {
    for place in places(true).iter().copied() {
        for size in Size::ALL {
            let case = Case {
                name: format!("load_acquire, store_release {size:?} {place:?}"),
                words: (3, 3),
                unrolled: 24,
                tuples: triples(),
                reserved: vec![Reg::R7],
                emit: Box::new(move |frame, code| {
                    let (base, off) = fill(place, frame, code);
                    let at = off + byte(place, true, size, frame.k);
                    let dst = frame.spare[frame.k % frame.spare.len()];
                    code.push(Insn::LoadAcquire { size, dst, base, off: at });
                    code.push(frame.put(2, dst));
                    code.push(Insn::StoreRelease { size, base, off: at, src: frame.ins[2] });
                    show(place, frame, code);
                }),
                expect: Box::new(move |k, ins| {
                    let mut bytes = sixteen(ins);
                    let at = touched(size, byte(place, true, size, k));
                    let loaded = number(&bytes[at.clone()]);
                    bytes[at].copy_from_slice(&ins[2].to_le_bytes()[..size.bytes() as usize]);
                    let mut outs = two_words(&bytes);
                    outs.push(loaded);
                    outs
                }),
            };
            case.check();
        }
    }
}

/// Memory of two words, and one operand more.
fn triples() -> Vec<Vec<u64>> {
    let with = |n: usize, pair: Vec<u64>| [pair, vec![VALUES[(n * 7 + 3) % VALUES.len()]]].concat();
    pairs().into_iter().enumerate().map(|(n, pair)| with(n, pair)).collect()
}

/// What the memory holds afterwards, for the old value and the operand.
fn combined(op: AtomicOp, size: Size, old: u64, src: u64, compared: u64) -> u64 {
    let width = if size == Size::W { Width::W32 } else { Width::W64 };
    let cut = |x: u64| reference::wrapped(width, i128::from(x));
    match op {
        AtomicOp::Add { .. } => cut(old.wrapping_add(src)),
        AtomicOp::Or { .. } => cut(old | src),
        AtomicOp::And { .. } => cut(old & src),
        AtomicOp::Xor { .. } => cut(old ^ src),
        AtomicOp::Xchg => cut(src),
        AtomicOp::CmpXchg if cut(old) == cut(compared) => cut(src),
        AtomicOp::CmpXchg => cut(old),
    }
}

#[test]
fn atomics() {
    let ops = [false, true].into_iter().flat_map(|fetch| {
        [
            AtomicOp::Add { fetch },
            AtomicOp::Or { fetch },
            AtomicOp::And { fetch },
            AtomicOp::Xor { fetch },
        ]
    });
    for op in ops.chain([AtomicOp::Xchg]) {
        let fetches = !matches!(
            op,
            AtomicOp::Add { fetch: false }
                | AtomicOp::Or { fetch: false }
                | AtomicOp::And { fetch: false }
                | AtomicOp::Xor { fetch: false }
        );
        for (place, size) in widths() {
            let case = Case {
                name: format!("{op:?} {size:?} {place:?}"),
                words: (3, 3),
                unrolled: 24,
                tuples: triples(),
                reserved: vec![Reg::R7],
                emit: Box::new(move |frame, code| {
                    let (base, off) = fill(place, frame, code);
                    let off = off + byte(place, true, size, frame.k);
                    code.push(Insn::Atomic { op, size, base, off, src: frame.ins[2] });
                    code.push(frame.put(2, frame.ins[2]));
                    show(place, frame, code);
                }),
                expect: Box::new(move |k, ins| {
                    let mut bytes = sixteen(ins);
                    let at = touched(size, byte(place, true, size, k));
                    let old = number(&bytes[at.clone()]);
                    let new = combined(op, size, old, ins[2], 0).to_le_bytes();
                    bytes[at].copy_from_slice(&new[..size.bytes() as usize]);
                    let mut outs = two_words(&bytes);
                    outs.push(if fetches { old } else { ins[2] });
                    outs
                }),
            };
            case.check();
        }
    }
}

#[test]
fn compare_and_exchange() {
    for (place, size) in widths() {
        // The memory is compared with itself in one half of the tuples, and with another number
        // in the other; the upper half of R0 is never that of the memory.
        let tuples = pairs().into_iter().enumerate().map(|(n, pair)| {
            let other = VALUES[(n * 5 + 1) % VALUES.len()];
            let compared = if n % 2 == 0 { pair[0] } else { other };
            let high = if size == Size::W { 0x5555_5555 << 32 } else { 0 };
            vec![pair[0], pair[0], pair[1], compared ^ high]
        });
        let op = AtomicOp::CmpXchg;
        let case = Case {
            name: format!("{op:?} {size:?} {place:?}"),
            words: (4, 4),
            unrolled: 24,
            tuples: tuples.collect(),
            reserved: vec![Reg::R7, Reg::R0],
            emit: Box::new(move |frame, code| {
                let (base, off) = fill(place, frame, code);
                let off = off + byte(place, true, size, frame.k);
                code.push(mov(Reg::R0, Operand::Reg(frame.ins[3])));
                code.push(Insn::Atomic { op, size, base, off, src: frame.ins[2] });
                code.push(frame.put(2, frame.ins[2]));
                code.push(frame.put(3, Reg::R0));
                show(place, frame, code);
            }),
            expect: Box::new(move |k, ins| {
                let mut bytes = sixteen(ins);
                let at = touched(size, byte(place, true, size, k));
                let old = number(&bytes[at.clone()]);
                let new = combined(op, size, old, ins[2], ins[3]).to_le_bytes();
                bytes[at].copy_from_slice(&new[..size.bytes() as usize]);
                let mut outs = two_words(&bytes);
                outs.extend([ins[2], old]);
                outs
            }),
        };
        case.check();
    }
}

/// Where atomics may be, in which widths.
fn widths() -> Vec<(Where, Size)> {
    places(true).iter().flat_map(|place| [(*place, Size::W), (*place, Size::DW)]).collect()
}
