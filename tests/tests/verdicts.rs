//! Mutated programs, put to the kernel and to us: the same verdict, the same log.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use bpf_abi::spec::ObjectSpec;
use bpf_btf::Btf;
use bpf_oracle::report::normal;
use bpf_tests::corpus;
use bpf_tests::filetest::{Filetest, files, root};
use bpf_tests::kernel;
use bpf_tests::mutants::{Mutator, count};
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{LogOptions, Options, check};

/// Everything is logged.
const LEVEL: u32 = 2;

/// Programs that walk more than this are not compared: at this level their logs fill the memory.
const LONGEST: u32 = 2000;

/// What we say of an object's first program: the verdict, and the log; `None` if the walk is long.
fn ours(object: &ObjectSpec, kernel: Option<&Arc<Btf>>) -> Option<(String, String)> {
    let mut world = DescribedWorld::new(kernel.cloned());
    for map in &object.maps {
        world.add_map(map, object.btf.as_ref());
    }
    let log = LogOptions { level: LEVEL, size: None };
    let options = Options { log, strict_holes: false, max_insns: LONGEST, ..Options::default() };
    let checked = check(&object.programs[0], &world, &options);
    let verdict = checked.result.map_err(|rejection| rejection.errno());
    let is_short = checked.stats.insns_processed < LONGEST;
    let log = checked.log.replace(&format!("(limit {LONGEST})"), "(limit 1000000)");
    is_short.then(|| (format!("{verdict:?}"), normal(&log)))
}

/// Whether what is said of a program depends on who is asked: it asks for the CPU, of which there
/// are as many as there are; or a wide immediate names a map that there is not, where the kernel finds whatever has
/// that descriptor; or has a field that it does not use, of which the log shows the address of a
/// map that we do not look for.
fn depends_on_the_world(object: &ObjectSpec) -> bool {
    const LOAD_IMM64: u8 = 0x18;
    let known = |imm: i32| usize::try_from(imm).is_ok_and(|map| map < object.maps.len());
    const CALL: u8 = 0x85;
    const SMP_PROCESSOR_ID: i32 = 8;
    object.programs[0].insns.iter().any(|slot| {
        (slot.opcode, slot.imm) == (CALL, SMP_PROCESSOR_ID)
            || slot.opcode == LOAD_IMM64 && slot.src != 0 && (slot.off != 0 || !known(slot.imm))
    })
}

#[test]
fn mutated_programs_get_the_kernels_verdict_and_log() {
    if !kernel::may_ask() {
        return;
    }
    let types = fs::read("/sys/kernel/btf/vmlinux").ok();
    let types = types.map(|bytes| Arc::new(Btf::parse(&bytes).unwrap()));
    let originals: Vec<ObjectSpec> = files(&root())
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            Filetest::read(path, text).unwrap().object
        })
        .collect();
    let mut report = String::new();
    let (mut accepted, mut differing) = (0, 0);
    let total = count() as u64 / 2;
    for seed in 0..total {
        let mut mutator = Mutator::new(seed);
        let mut object = originals[mutator.below(originals.len())].clone();
        for map in &mut object.maps {
            // The kernel is asked for a verdict, and nothing is run.
            map.init.clear();
        }
        for _ in 0..=mutator.below(2) {
            corpus::change(&mut mutator, &mut object.programs[0].insns);
        }
        if depends_on_the_world(&object) {
            continue;
        }
        let Some((our_verdict, our_log)) = ours(&object, types.as_ref()) else { continue };
        let Ok((verdict, log)) = kernel::judge(&object, LEVEL) else { continue };
        let (verdict, log) = (format!("{verdict:?}"), normal(&log));
        accepted += usize::from(verdict == "Ok(())");
        if (&verdict, &log) == (&our_verdict, &our_log) {
            continue;
        }
        differing += 1;
        let lines = log.lines().chain(std::iter::repeat("(nothing)"));
        let mut pairs = lines.zip(our_log.lines()).enumerate();
        let first = pairs.find(|(_, (theirs, ours))| theirs != ours);
        let (line, (theirs, own)) = first.unwrap_or((0, ("(more)", "(nothing)")));
        let _ = writeln!(
            report,
            "seed {seed}: kernel {verdict}, ours {our_verdict}; line {}\n  kernel: {theirs}\n  ours:   {own}",
            line + 1
        );
    }
    assert!(accepted > 0);
    assert!(report.is_empty(), "{differing} of {total} differ\n{report}");
}
