//! What the verifier accepts never faults, whatever the packet and the world; and every run is
//! among those that it walked.

#![expect(clippy::panic, reason = "a test that cannot go on should stop")]

use std::fs;
use std::sync::Arc;

use bpf_abi::prog::{ProgFlags, ProgType};
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_fuzz::world::FIRST_MAP;
use bpf_fuzz::{World, generate};
use bpf_isa::Program;
use bpf_tests::checked::{Prepared, prepare};
use bpf_tests::corpus;
use bpf_tests::filetest::{Filetest, files, root};
use bpf_tests::follow::Follower;
use bpf_tests::mutants::{Mutator, count};
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::trace::Recorder;
use bpf_verifier::{Options, check};

/// How many packets a program is given.
const PACKETS: u64 = 30;

/// How many of the runs are followed: that takes longer than a run.
const FOLLOWED: u64 = 9;

/// What came of running programs.
#[derive(Debug, Default)]
struct Runs {
    /// How many programs were run.
    programs: usize,
    /// How many of them were followed to the end of a run.
    followed: usize,
    /// How many registers were held against what the verifier says of them.
    registers: u64,
}

/// A packet for a run.
fn packet(seed: u64, packets: &[Vec<u8>], mutator: &mut Mutator) -> Vec<u8> {
    match seed % 3 {
        0 => packets[mutator.below(packets.len())].clone(),
        1 => {
            let original = mutator.below(packets.len());
            mutator.mutant(&packets[original])
        }
        _ => mutator.noise(1500),
    }
}

/// Runs every accepted program of an object, and follows each run.
fn run(name: &str, object: &ObjectSpec, packets: &[Vec<u8>], times: u64, runs: &mut Runs) {
    for program in &object.programs {
        let recorder = Recorder::new();
        let options = Options { trace: Some(recorder.clone()), ..Options::default() };
        let Prepared::Accepted(checked) = prepare(object, program, &options) else {
            continue;
        };
        let trace = recorder.take();
        // Instructions that nobody reaches need not be any.
        let Ok(insns) = Program::from_slots(&program.insns) else { continue };
        runs.programs += 1;
        runs.followed += usize::from(!trace.is_cut);
        let mut mutator = Mutator::new(7);
        for seed in 0..times {
            let packet = packet(seed, packets, &mut mutator);
            let mut follower = Follower::new(&insns, &trace);
            let run = if trace.is_cut || seed >= FOLLOWED {
                checked.run(&packet, seed)
            } else {
                checked.watch(&packet, seed, &mut follower)
            };
            if let Err(fault) = run {
                panic!("{name}: {}, packet {seed}: {fault}\n{packet:02x?}", program.name);
            }
            if let Some(wrong) = follower.wrong {
                panic!("{name}: {}, packet {seed}: {wrong}\n{packet:02x?}", program.name);
            }
            runs.registers += follower.compared;
        }
    }
}

#[test]
fn accepted_programs_of_objects_never_fault() {
    let packets = corpus::capture();
    let mut runs = Runs::default();
    for (name, bytes) in corpus::objects() {
        if let Ok(object) = bpf_object::read(&bytes, &name) {
            run(&name, &object, &packets, PACKETS, &mut runs);
        }
    }
    assert!(runs.followed > 30 && runs.registers > 100_000, "{runs:?}");
}

#[test]
fn accepted_programs_of_texts_never_fault() {
    let packets = corpus::capture();
    let mut runs = Runs::default();
    for path in files(&root()) {
        let (name, text) = (path.display().to_string(), fs::read_to_string(&path).unwrap());
        let object = Filetest::read(path, text).unwrap().object;
        run(&name, &object, &packets, PACKETS, &mut runs);
    }
    assert!(runs.followed > 15 && runs.registers > 1000, "{runs:?}");
}

#[test]
fn accepted_random_programs_never_fault() {
    let packets = corpus::capture();
    let world = World::new(None);
    let mut runs = Runs::default();
    for seed in 0..count() as u64 / 2 {
        let sample = generate::program(seed, &world);
        let mut program = sample.spec(&world);
        for slot in &mut program.insns {
            if sample.map_at(slot, &world).is_some() {
                slot.imm -= FIRST_MAP;
            }
        }
        let object = ObjectSpec {
            maps: world.maps.clone(),
            btf: Some(Arc::clone(&world.btf)),
            programs: vec![program],
            ..ObjectSpec::default()
        };
        run(&format!("seed {seed}"), &object, &packets, 6, &mut runs);
    }
    assert!(runs.followed > 100 && runs.registers > 10_000, "{runs:?}");
}

/// Linux 6.18 accepts it: when it looks for what an offset rests on, it forgets that an atomic
/// operation loads as well, and prunes the path on which the stack holds any number.
#[test]
fn a_number_that_was_fetched_from_the_stack_is_held_against_every_path() {
    let text = "r6 = *(u32 *)(r1 + 12)
        *(u64 *)(r10 - 8) = 0
        *(u64 *)(r10 - 16) = 0
        if r6 != 5 goto other
        goto both
        other: *(u64 *)(r10 - 8) = r6
        both: r7 = 0
        r7 = atomic64_fetch_add((u64 *)(r10 - 8), r7)
        r2 = r10
        r2 += r7
        r0 = *(u64 *)(r2 - 8)
        r0 = 2
        exit";
    let insns = bpf_isa::asm::assemble(text).unwrap().to_slots();
    let mut spec = ProgramSpec::new("fetched", ProgType::Xdp, insns);
    spec.flags = ProgFlags::TEST_STATE_FREQ;
    let accepts = |strict_holes| {
        let options = Options { strict_holes, ..Options::default() };
        check(&spec, &DescribedWorld::new(None), &options).result.is_ok()
    };
    assert_eq!((accepts(true), accepts(false)), (false, true));
}
