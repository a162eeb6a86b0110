//! What the verifier accepts never faults, whatever the packet and the world.

#![expect(clippy::panic, reason = "a test that cannot go on should stop")]

use std::fs;

use bpf_abi::spec::ObjectSpec;
use bpf_tests::checked::{Prepared, prepare};
use bpf_tests::corpus;
use bpf_tests::filetest::{Filetest, files, root};
use bpf_tests::mutants::Mutator;
use bpf_verifier::Options;

/// How many packets a program is given.
const PACKETS: u64 = 30;

/// Runs every accepted program of an object; how many of them could be run.
fn programs_run(name: &str, object: &ObjectSpec, packets: &[Vec<u8>]) -> usize {
    let mut ran = 0;
    for program in &object.programs {
        let Prepared::Accepted(checked) = prepare(object, program, &Options::default()) else {
            continue;
        };
        ran += 1;
        let mut mutator = Mutator::new(7);
        for seed in 0..PACKETS {
            let packet = match seed % 3 {
                0 => packets[mutator.below(packets.len())].clone(),
                1 => {
                    let original = mutator.below(packets.len());
                    mutator.mutant(&packets[original])
                }
                _ => mutator.noise(1500),
            };
            let run = checked.run(&packet, seed);
            if let Err(fault) = run {
                panic!("{name}: {}, packet {seed}: {fault}\n{packet:02x?}", program.name);
            }
        }
    }
    ran
}

#[test]
fn accepted_programs_of_objects_never_fault() {
    let packets = corpus::capture();
    let mut ran = 0;
    for (name, bytes) in corpus::objects() {
        if let Ok(object) = bpf_object::read(&bytes, &name) {
            ran += programs_run(&name, &object, &packets);
        }
    }
    assert!(ran > 30, "only {ran} programs were run");
}

#[test]
fn accepted_programs_of_texts_never_fault() {
    let packets = corpus::capture();
    let mut ran = 0;
    for path in files(&root()) {
        let (name, text) = (path.display().to_string(), fs::read_to_string(&path).unwrap());
        let object = Filetest::read(path, text).unwrap().object;
        ran += programs_run(&name, &object, &packets);
    }
    assert!(ran > 15, "only {ran} programs were run");
}
