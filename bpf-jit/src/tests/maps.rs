//! Arrays that are looked up in place.

use std::sync::atomic::{AtomicU64, Ordering};

use bpf_abi::exec::RunCx;
use bpf_abi::helper::{ArgKind, ArgProto, HelperFlags, HelperProto, RetKind, RetProto, TypeFlags};
use bpf_abi::image::{BoundHelper, ImageParts, Note};
use bpf_abi::map::{HashLayout, MapLayout, MapType, PercpuValues};
use bpf_isa::{Imm64, Insn, JumpOp, Reg, Size};

use super::{
    add_imm, compile, helper, jump_if, load, load_map, map, mov, mov_imm, notes, parts, run,
    run_in, store,
};

/// `r0 = map_lookup_elem(map, &ctx->key)`, the key in the frame.
fn lookup() -> Vec<Insn> {
    let mut insns = vec![
        load(Size::W, Reg::R2, Reg::R1, 0),
        store(Size::W, Reg::FP, -4, Reg::R2),
        mov(Reg::R2, Reg::FP),
        add_imm(Reg::R2, -4),
    ];
    insns.extend(load_map(Reg::R1, 0));
    insns.push(helper(1));
    insns
}

/// The looked up value, or 1000 if there is none: tested with `op`.
fn value_or_thousand(op: JumpOp) -> Vec<Insn> {
    let mut insns = lookup();
    match op {
        JumpOp::Eq => insns.extend([
            jump_if(JumpOp::Eq, Reg::R0, 0, 2),
            load(Size::DW, Reg::R0, Reg::R0, 0),
            Insn::Exit,
            add_imm(Reg::R0, 1000),
            Insn::Exit,
        ]),
        _ => insns.extend([
            jump_if(JumpOp::Ne, Reg::R0, 0, 2),
            add_imm(Reg::R0, 1000),
            Insn::Exit,
            load(Size::DW, Reg::R0, Reg::R0, 0),
            Insn::Exit,
        ]),
    }
    insns
}

/// Five values of `stride` bytes, each its own index plus 100.
fn values(stride: usize) -> Vec<u8> {
    let mut bytes = vec![0; stride * 5];
    for (i, value) in bytes.chunks_mut(stride).enumerate() {
        value[0] = 100 + u8::try_from(i).unwrap();
    }
    bytes
}

fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}

fn with_array(insns: Vec<Insn>, values: &[u8], stride: u32) -> ImageParts {
    let mut parts = parts(insns);
    let layout = MapLayout::Array { values: address(values), stride, max_entries: 5 };
    parts.maps = vec![map(MapType::Array, layout)];
    parts
}

#[test]
fn a_lookup_finds_values_and_misses_what_is_beyond() {
    for op in [JumpOp::Eq, JumpOp::Ne] {
        for stride in [8, 24, 1024] {
            let values = values(stride as usize);
            let compiled = compile(with_array(value_or_thousand(op), &values, stride));
            for key in 0..5u64 {
                assert_eq!(run(&compiled, &mut { key }), 100 + key);
            }
            for mut key in [5u64, 0x7fff_ffff, 0xffff_ffff] {
                assert_eq!(run(&compiled, &mut key), 1000);
            }
        }
    }
}

#[test]
fn a_lookup_without_a_test_gives_the_address() {
    let values = values(8);
    let mut insns = lookup();
    insns.push(Insn::Exit);
    let compiled = compile(with_array(insns, &values, 8));
    assert_eq!(run(&compiled, &mut 3u64), address(&values) + 24);
    assert_eq!(run(&compiled, &mut 5u64), 0);
}

#[test]
fn a_key_known_at_load_needs_no_test() {
    let values = values(8);
    for op in [JumpOp::Eq, JumpOp::Ne] {
        for (key, expected) in [(2, 102), (9, 1000)] {
            let mut parts = with_array(value_or_thousand(op), &values, 8);
            parts.notes = notes(&parts, Note::default());
            parts.notes[6] = Note { map: Some(0), key: Some(key), ..Note::default() };
            assert_eq!(run(&compile(parts), &mut u64::from(key)), expected);
        }
    }
}

/// Five values of each of two CPUs, the second's being half the first's; what keeps them, and how they
/// lie.
fn of_two_cpus() -> (Vec<u8>, MapLayout) {
    let values = values(16);
    let cpus = [values.clone(), values.iter().map(|byte| byte / 2).collect()].concat();
    let layout = MapLayout::PercpuArray {
        values: address(&cpus),
        stride: 16,
        cpu_stride: 80,
        max_entries: 5,
        cpus: 2,
    };
    (cpus, layout)
}

#[test]
fn each_cpu_has_values_of_its_own() {
    let (_values, layout) = of_two_cpus();
    let mut parts = parts(value_or_thousand(JumpOp::Eq));
    parts.maps = vec![map(MapType::PercpuArray, layout)];
    let compiled = compile(parts);
    assert_eq!(run_in(&compiled, &mut RunCx::new(0), &mut 4u64), 104);
    assert_eq!(run_in(&compiled, &mut RunCx::new(1), &mut 4u64), 52);
    assert_eq!(run_in(&compiled, &mut RunCx::new(1), &mut 5u64), 1000);
}

#[test]
fn a_cpus_value_is_found_from_another() {
    let (_values, layout) = of_two_cpus();
    // The CPU's number is in the upper half of the context's word.
    let mut insns = vec![load(Size::W, Reg::R3, Reg::R1, 4)];
    insns.extend(value_or_thousand(JumpOp::Eq));
    let at = insns.iter().position(|insn| *insn == helper(1)).unwrap();
    insns[at] = helper(195);
    let mut parts = parts(insns);
    parts.maps = vec![map(MapType::PercpuArray, layout)];
    let compiled = compile(parts);
    for here in 0..2 {
        let found =
            |cpu: u64, key: u64| run_in(&compiled, &mut RunCx::new(here), &mut (cpu << 32 | key));
        assert_eq!([found(0, 4), found(1, 4), found(0, 0), found(1, 0)], [104, 52, 100, 50]);
        for (cpu, key) in [(2, 0), (0, 5), (0xffff_ffff, 0), (1, 0xffff_ffff)] {
            assert_eq!(found(cpu, key), 1000);
        }
    }
}

#[test]
fn the_only_value_of_a_map_is_addressed_directly() {
    let values = values(8);
    let imm = Imm64::MapValue { fd: 0, off: 16 };
    let insns = vec![
        Insn::LoadImm64 { dst: Reg::R1, imm },
        Insn::SecondSlot,
        load(Size::DW, Reg::R0, Reg::R1, 0),
        Insn::Exit,
    ];
    let mut parts = with_array(insns, &values, 8);
    parts.maps[0].value = Some(address(&values));
    assert_eq!(run(&compile(parts), &mut 0u64), 102);
}

#[test]
fn a_register_holds_the_maps_handle() {
    let [first, second] = load_map(Reg::R0, 0);
    let parts = with_array(vec![first, second, Insn::Exit], &[], 8);
    assert_eq!(run(&compile(parts), &mut 0u64), 0xdead_0000);
}

#[test]
fn a_key_outside_of_the_frame_is_read_anew() {
    // The key is in the context, and changed between two lookups.
    let mut insns = vec![mov(Reg::R6, Reg::R1)];
    for _ in 0..2 {
        insns.push(mov(Reg::R2, Reg::R6));
        insns.extend(load_map(Reg::R1, 0));
        insns.push(helper(1));
        insns.push(mov(Reg::R7, Reg::R0));
        insns.push(mov_imm(Reg::R3, 1));
        insns.push(store(Size::W, Reg::R6, 0, Reg::R3));
    }
    insns.extend([load(Size::DW, Reg::R0, Reg::R7, 0), Insn::Exit]);
    let values = values(8);
    let compiled = compile(with_array(insns, &values, 8));
    assert_eq!(run(&compiled, &mut 4u64), 101);
}

const ANY: ArgProto =
    ArgProto { kind: ArgKind::Anything, flags: TypeFlags::empty(), size: 0, btf: None };
static LOOKUP: HelperProto = HelperProto {
    id: 1,
    name: "map_lookup_elem",
    flags: HelperFlags::empty(),
    ret: RetProto { kind: RetKind::MapValue, flags: TypeFlags::empty(), btf: None },
    args: &[ANY; 2],
};

/// Finds a value for whatever it is asked, of which nobody else knows.
extern "C" fn found_elsewhere(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    static VALUE: u64 = 555;
    std::ptr::from_ref(&VALUE).expose_provenance() as u64
}

/// A table of four buckets and five elements of one word each for head, link, key and value.
struct Table {
    buckets: [u64; 4],
    elements: [[u64; 4]; 5],
}

const SEED: u64 = 0x1234_5678_9abc_def1;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

fn hash(key: u32) -> u64 {
    let product = u128::from(u64::from(key) ^ SEED) * u128::from(FACTOR);
    let folded = u64::try_from(product & u128::from(u64::MAX)).unwrap()
        ^ u64::try_from(product >> 64).unwrap();
    (folded ^ folded >> 32) & 0xffff_ffff
}

impl Table {
    /// Puts an element of this version first in its key's bucket.
    fn first(&mut self, element: u32, key: u32, version: u64, value: u64) {
        let hash = hash(key);
        let link = u64::from(element + 1);
        self.buckets[usize::try_from(hash & 3).unwrap()] = 99 << 32 | link;
        self.elements[element as usize] = [version << 32 | hash, 0, u64::from(key), value];
    }

    fn layout(&self) -> HashLayout {
        HashLayout {
            buckets: self.buckets.as_ptr().expose_provenance() as u64,
            mask: 3,
            elements: self.elements.as_ptr().expose_provenance() as u64,
            stride: 32,
            seed: SEED,
            factor: FACTOR,
            used: None,
            percpu: None,
        }
    }

    fn compiled(&self, op: JumpOp) -> crate::Compiled {
        compiled_with(self.layout(), op)
    }
}

fn compiled_with(layout: HashLayout, op: JumpOp) -> crate::Compiled {
    let mut parts = parts(value_or_thousand(op));
    parts.maps = vec![map(MapType::Hash, MapLayout::Hash(layout))];
    parts.helpers = vec![BoundHelper { proto: &LOOKUP, entry: found_elsewhere, inline: None }];
    compile(parts)
}

#[test]
fn the_first_element_of_a_bucket_is_found_without_help_if_it_is_the_one() {
    for op in [JumpOp::Eq, JumpOp::Ne] {
        let mut table = Table { buckets: [0; 4], elements: [[0; 4]; 5] };
        let key = 0x89ab_cdefu32;
        let bucket = usize::try_from(hash(key) & 3).unwrap();
        let found = |table: &Table| run(&table.compiled(op), &mut u64::from(key));
        // An empty bucket of either kind.
        assert_eq!(found(&table), 1000);
        table.buckets[bucket] = 7 << 32 | 1 << 31 | bucket as u64;
        assert_eq!(found(&table), 1000);
        for element in [0, 4] {
            table.first(element, key, 6, 77);
            assert_eq!(found(&table), 77);
            // Its key is being written.
            table.first(element, key, 7, 77);
            assert_eq!(found(&table), 555);
            // It has another hash, or another key of the same.
            table.first(element, key, 6, 77);
            table.elements[element as usize][0] ^= 4;
            assert_eq!(found(&table), 555);
            table.first(element, key, 6, 77);
            table.elements[element as usize][2] ^= 1 << 31;
            assert_eq!(found(&table), 555);
        }
    }
}

#[test]
fn an_element_without_a_mark_of_use_is_left_to_the_helper() {
    for op in [JumpOp::Eq, JumpOp::Ne] {
        let mut table = Table { buckets: [0; 4], elements: [[0; 4]; 5] };
        let key = 0x89ab_cdefu32;
        let marks = [AtomicU64::new(0), AtomicU64::new(0)];
        let used = Some(marks.as_ptr().expose_provenance() as u64);
        for element in [0, 3, 4] {
            table.first(element, key, 6, 77);
            let compiled = compiled_with(HashLayout { used, ..table.layout() }, op);
            let found = |bits| {
                marks[0].store(bits, Ordering::Relaxed);
                run(&compiled, &mut u64::from(key))
            };
            assert_eq!(found(0), 555);
            assert_eq!(found(!(1 << element)), 555);
            assert_eq!(found(1 << element), 77);
            assert_eq!(found(u64::MAX), 77);
        }
    }
}

#[test]
fn the_mark_of_an_element_behind_the_first_word_of_marks_is_found() {
    let mut elements = vec![[0_u64; 4]; 130];
    let mut buckets = [0_u64; 4];
    let key = 5_u32;
    let marks: [AtomicU64; 3] = Default::default();
    for element in [63_u32, 64, 127, 128, 129] {
        elements[element as usize] = [6 << 32 | hash(key), 0, u64::from(key), 77];
        buckets[usize::try_from(hash(key) & 3).unwrap()] = u64::from(element + 1);
        let layout = HashLayout {
            buckets: buckets.as_ptr().expose_provenance() as u64,
            elements: elements.as_ptr().expose_provenance() as u64,
            used: Some(marks.as_ptr().expose_provenance() as u64),
            ..Table { buckets: [0; 4], elements: [[0; 4]; 5] }.layout()
        };
        let compiled = compiled_with(layout, JumpOp::Eq);
        assert_eq!(run(&compiled, &mut u64::from(key)), 555);
        let word = &marks[element as usize / 64];
        word.fetch_or(1 << (element % 64), Ordering::Relaxed);
        assert_eq!(run(&compiled, &mut u64::from(key)), 77);
    }
}

#[test]
fn values_of_a_hash_table_that_each_cpu_has_are_found() {
    let key = 0x89ab_cdefu32;
    let values: Vec<u64> = (0..20).map(|n| 100 + n).collect();
    let mut table = Table { buckets: [0; 4], elements: [[0; 4]; 5] };
    for op in [JumpOp::Eq, JumpOp::Ne] {
        for element in [0, 4] {
            table.first(element, key, 6, 77);
            let percpu = PercpuValues {
                values: values.as_ptr().expose_provenance() as u64,
                stride: 16,
                cpu_stride: 80,
            };
            let compiled = compiled_with(HashLayout { percpu: Some(percpu), ..table.layout() }, op);
            for cpu in 0..2 {
                let mut cx = RunCx::new(cpu);
                let found = run_in(&compiled, &mut cx, &mut u64::from(key));
                assert_eq!(found, 100 + 2 * u64::from(element) + 10 * u64::from(cpu));
            }
        }
    }
}
