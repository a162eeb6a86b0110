//! Hostile bytes: an error each, no panic, no memory without bound; and what is accepted of
//! hostile programs does no harm.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_isa::Program;
use bpf_tests::checked::{Prepared, prepare};
use bpf_tests::corpus;
use bpf_tests::filetest::{Filetest, files, root};
use bpf_tests::mutants::{Mutator, count};
use bpf_tests::text::Helpers;
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{LogOptions, Options, check};

/// How much memory the whole of it may have needed at a time, in kilobytes.
const MEMORY: u64 = 2 << 20;

/// Makes mutants and tries each; names the seed of the one that panicked.
fn survives(kind: &str, mut attempt: impl FnMut(&mut Mutator)) {
    for seed in 0..count() as u64 {
        let tried = catch_unwind(AssertUnwindSafe(|| attempt(&mut Mutator::new(seed))));
        assert!(tried.is_ok(), "{kind}: the mutant of seed {seed} makes it panic");
    }
    let peak = peak_memory();
    assert!(peak < MEMORY, "{kind}: {peak} kB were needed");
}

/// The most memory that this process had, in kilobytes; 0 where nobody tells.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn one_of<'a, T>(mutator: &mut Mutator, all: &'a [T]) -> &'a T {
    &all[mutator.below(all.len())]
}

/// A mutant of one of these.
fn mutant_of<T: AsRef<[u8]>>(mutator: &mut Mutator, all: &[T]) -> Vec<u8> {
    let original = one_of(mutator, all);
    mutator.mutant(original.as_ref())
}

/// Few instructions and no text: a mutant is not worth more.
fn hurried() -> Options {
    let log = LogOptions { level: 0, size: None };
    Options { log, max_insns: 3000, ..Options::default() }
}

fn judge(object: &ObjectSpec, program: &ProgramSpec, options: &Options) -> bool {
    let mut world = DescribedWorld::new(None);
    for map in &object.maps {
        world.add_map(map, object.btf.as_ref());
    }
    check(program, &world, options).result.is_ok()
}

#[test]
fn objects() {
    let originals = corpus::objects();
    let (mut read, mut refused) = (0, 0);
    survives("objects", |mutator| {
        let (_, original) = one_of(mutator, &originals);
        let bytes =
            if mutator.below(20) == 0 { mutator.noise(4096) } else { mutator.mutant(original) };
        match bpf_object::read(&bytes, "mutant") {
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
            Ok(object) => {
                read += 1;
                for program in &object.programs {
                    judge(&object, program, &hurried());
                }
            }
        }
    });
    assert!(read > 0 && refused > count() / 10, "{read} read, {refused} refused");
}

#[test]
fn types() {
    let objects = corpus::objects();
    let originals: Vec<&[u8]> =
        objects.iter().filter_map(|(_, bytes)| corpus::section(bytes, ".BTF")).collect();
    assert!(originals.len() > 20);
    survives("types", |mutator| {
        let bytes = mutant_of(mutator, &originals);
        let _ = bpf_btf::check::check_with_log(&bytes);
        if let Ok(btf) = bpf_btf::Btf::parse(&bytes) {
            let _ = bpf_btf::dump::c(&btf, bpf_btf::dump::CStyle::default());
            for id in (0..btf.end_id() + 1).map(bpf_btf::TypeId) {
                let _ = (btf.size_of(id), btf.align_of(id), btf.resolve(id));
            }
            assert!(bpf_btf::Btf::parse(&btf.encode()).is_ok());
        }
    });
}

#[test]
fn debug_records() {
    let objects = corpus::objects();
    let originals: Vec<&[u8]> =
        objects.iter().filter_map(|(_, bytes)| corpus::section(bytes, ".BTF.ext")).collect();
    assert!(originals.len() > 20);
    survives("debug records", |mutator| {
        let bytes = mutant_of(mutator, &originals);
        let _ = bpf_btf::ext::BtfExt::parse(&bytes);
    });
}

/// Programs to begin from: every program of every object, and of every text.
fn programs() -> Vec<Arc<(ObjectSpec, usize)>> {
    let mut all = Vec::new();
    let mut take = |object: ObjectSpec| {
        for at in 0..object.programs.len() {
            all.push(Arc::new((object.clone(), at)));
        }
    };
    for (name, bytes) in corpus::objects() {
        if let Ok(object) = bpf_object::read(&bytes, &name) {
            take(object);
        }
    }
    for path in files(&root()) {
        let text = fs::read_to_string(&path).unwrap();
        take(Filetest::read(path, text).unwrap().object);
    }
    all
}

#[test]
fn instruction_bytes() {
    let originals: Vec<Vec<u8>> = programs()
        .iter()
        .map(|it| it.0.programs[it.1].insns.iter().flat_map(|slot| slot.to_bytes()).collect())
        .collect();
    survives("instructions", |mutator| {
        let bytes = mutant_of(mutator, &originals);
        if let Ok(program) = Program::decode(&bytes) {
            // The kernel does not look at every field, so the bytes may differ.
            let again = Program::decode(&program.to_bytes()).unwrap();
            assert_eq!(again, program, "decoding loses something");
            let numbers = bpf_isa::Numbers;
            for (_, insn) in program.iter() {
                assert!(!bpf_isa::Text::of(insn, &numbers).to_string().is_empty());
            }
        }
    });
}

#[test]
fn what_is_accepted_of_mutated_programs_does_no_harm() {
    let originals = programs();
    assert!(originals.len() > 60);
    let (mut accepted, mut ran) = (0, 0);
    survives("programs", |mutator| {
        let original = one_of(mutator, &originals);
        let (object, at) = original.as_ref();
        let mut program = object.programs[*at].clone();
        if program.insns.is_empty() {
            return;
        }
        program.btf = None;
        program.func_info.bytes.clear();
        program.line_info.bytes.clear();
        for _ in 0..=mutator.below(3) {
            corpus::change(mutator, &mut program.insns);
        }
        match prepare(object, &program, &hurried()) {
            Prepared::Refused(rejection) => assert!(!rejection.to_string().is_empty()),
            Prepared::Beyond => accepted += 1,
            Prepared::Accepted(checked) => {
                accepted += 1;
                for run in 0..3 {
                    let mut packet = mutator.noise(200);
                    packet.resize(packet.len().max(14), 0);
                    if let Err(fault) = checked.run(&packet, run) {
                        let insns = Program::from_slots(&program.insns).unwrap();
                        panic!("accepted, and does harm: {fault}\n{}", listing(&insns));
                    }
                    ran += 1;
                }
            }
        }
    });
    assert!(accepted > count() / 50 && ran > accepted, "{accepted} accepted, {ran} runs");
}

fn listing(program: &Program) -> String {
    program.iter().map(|(pc, insn)| format!("{pc}: {insn}\n")).collect()
}

#[test]
fn texts() {
    let originals: Vec<String> =
        files(&root()).into_iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    survives("texts", |mutator| {
        let bytes = mutant_of(mutator, &originals);
        let text = String::from_utf8_lossy(&bytes);
        match bpf_isa::asm::assemble_with(&text, &Helpers) {
            Ok(assembled) => drop(assembled.program.to_bytes()),
            Err(error) => assert!(error.line >= 1 && error.column >= 1, "{error}"),
        }
        let _ = Filetest::read("mutant".into(), text.into_owned());
    });
}
