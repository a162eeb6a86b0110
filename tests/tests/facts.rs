//! What the kernel answered to small questions, our verifier answers: every row of every table.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;
use std::sync::Arc;

use bpf_abi::spec::{Reference, ReferenceTo};
use bpf_btf::{Btf, KindCode};
use bpf_oracle::facts::{Question, Record, TOPICS, Topic, answer};
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{LogOptions, Options, Rejection, check};

/// What came of comparing a topic.
#[derive(Default)]
struct Compared {
    same: usize,
    different: Vec<String>,
    /// Questions about programs that need the kernel's types where there are none.
    skipped: usize,
}

#[test]
fn our_tables_are_the_kernels() {
    let kernel = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    let kernel = kernel.and_then(|bytes| Btf::parse(&bytes).ok()).map(Arc::new);
    let mut report = String::new();
    for topic in TOPICS {
        let compared = compare(topic, kernel.as_ref());
        assert!(compared.same > 100, "{}: only {} rows", topic.name, compared.same);
        let count = compared.different.len();
        if count > 0 {
            let some = &compared.different[..count.min(400)];
            report.push_str(&format!("{}: {count} rows differ\n{}\n", topic.name, some.join("\n")));
        }
        println!("{}: {} rows, {} skipped", topic.name, compared.same, compared.skipped);
    }
    assert!(report.is_empty(), "{report}");
}

fn compare(topic: &Topic, kernel: Option<&Arc<Btf>>) -> Compared {
    let path = format!("../oracle/facts/{}.txt", topic.name);
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let record = Record::parse(&text).unwrap();
    let mut compared = Compared::default();
    (topic.questions)(&mut |question| {
        let expected = record.get(&question.group, &question.item).unwrap_or("not recorded");
        match ours(&question, kernel) {
            None => compared.skipped += 1,
            Some(ours) if ours == expected => compared.same += 1,
            Some(ours) => compared.different.push(format!(
                "  {} {:?}: {ours}; kernel: {expected}",
                question.group, question.item
            )),
        }
    });
    compared
}

/// What our verifier says; `None` if it needs types that are not to be had.
fn ours(question: &Question, kernel: Option<&Arc<Btf>>) -> Option<String> {
    let program = question.program();
    let is_known = |reference: &Reference| match &reference.to {
        ReferenceTo::Kfunc { name, .. } => {
            kernel.is_some_and(|btf| btf.by_name_kind(name, KindCode::Func).is_some())
        }
        ReferenceTo::Map(_) | ReferenceTo::MapValue(_) | ReferenceTo::Ksym { .. } => true,
    };
    if kernel.is_none() && program.attach_to.is_some() || !program.references.iter().all(is_known) {
        return None;
    }
    let mut world = DescribedWorld::new(kernel.cloned());
    for map in &question.object.maps {
        world.add_map(map, question.object.btf.as_ref());
    }
    let log = LogOptions { level: 1, ..LogOptions::default() };
    let options = Options { log, strict_holes: false, ..Options::default() };
    let checked = check(&world.resolved(program), &world, &options);
    Some(answer(checked.result.as_ref().err().map(Rejection::errno), &checked.log))
}
