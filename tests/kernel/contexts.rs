//! Contexts given to test runs, and given back.

use bpf_abi::map::UpdateFlags;
use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::Both;

/// Runs a program with a context everywhere; says how results differ.
fn one(both: &Both, program: &str, packet: &[u8], ctx: &[u8], args: [i64; 4]) -> Option<String> {
    let bss = both.ours[0].maps().find(|(name, _)| name.ends_with(".bss")).unwrap().0;
    let theirs = both.kernel.map(bss).unwrap();
    let size = both.ours[0].map(".bss").unwrap().info().value_size as usize;
    let mut start = vec![0; size];
    let btf = both.ours[0].btf().unwrap();
    let sections = btf.types().filter_map(|ty| ty.datasec());
    let mut vars = sections.flat_map(|section| section.vars().collect::<Vec<_>>());
    let at = vars.find(|var| btf.name_of(var.ty) == "args").unwrap().offset as usize;
    start[at..at + 32].copy_from_slice(&args.map(i64::to_le_bytes).concat());
    theirs.update(&[0; 4], &start).unwrap();
    let run = linux::TestRun {
        data: Some(packet),
        ctx: Some(ctx),
        repeat: 1,
        room: packet.len() + 5000,
        ..linux::TestRun::default()
    };
    let expected = both.kernel.program(program).unwrap().test_run(&run);
    let expected_globals = theirs.lookup(&[0; 4]).unwrap();
    for object in &both.ours {
        let map = object.map(".bss").unwrap();
        map.update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
        let out = object.program(program).unwrap().test_run(&TestRun::packet(packet).ctx(ctx));
        let what = format!("{program}{args:?} on {} bytes with {ctx:?}", packet.len());
        match (&out, &expected) {
            (Err(error), Err(errno)) if error.errno() == *errno => {}
            (Ok(out), Ok(expected)) => {
                if (out.return_value, &out.data, &out.ctx)
                    != (expected.retval, &expected.data, &expected.ctx)
                {
                    return Some(format!(
                        "{what}: {} {:?}, kernel {} {:?}",
                        out.return_value, out.ctx, expected.retval, expected.ctx
                    ));
                }
                let globals = map.lookup(&[0; 4]).unwrap().unwrap();
                if globals != expected_globals {
                    return Some(format!("{what}: the program saw another context"));
                }
            }
            (out, expected) => return Some(format!("{what}: {out:?}, kernel {expected:?}")),
        }
    }
    None
}

/// A context of `size` bytes with one number in it.
fn with(size: usize, at: usize, value: u32) -> Vec<u8> {
    let mut ctx = vec![0; size];
    ctx[at..at + 4].copy_from_slice(&value.to_le_bytes());
    ctx
}

#[test]
fn a_context_of_xdp_is_taken_and_given_back_as_in_the_kernel() {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    let both = Both::load("tests/objects/helpers_xdp.bpf.o", &["contexts"]);
    let mut wrong = Vec::new();
    for len in [14, 64, 300, 3600, 9000] {
        let packet = vec![7; len];
        let len = u32::try_from(len).unwrap();
        for end in [0, 1, 13, 14, 60, 63, 64, 65, 300, 3520, 3521, 3600] {
            for meta in [0, 4, 8, 5, 52, 216, 220] {
                let mut ctx = with(24, 4, end.min(len + 1));
                ctx[..4].copy_from_slice(&u32::to_le_bytes(meta));
                wrong.extend(one(&both, "contexts", &packet, &ctx, [3, 0, 0, 0]));
            }
        }
        for (at, value) in [(8, 4), (12, 1), (12, 9999), (16, 1), (20, 1)] {
            let mut ctx = with(24, at, value);
            ctx[4..8].copy_from_slice(&len.to_le_bytes());
            wrong.extend(one(&both, "contexts", &packet, &ctx, [2, 0, 0, 0]));
            ctx.truncate(16);
            wrong.extend(one(&both, "contexts", &packet, &ctx, [2, 0, 0, 0]));
            ctx.resize(40, 0);
            wrong.extend(one(&both, "contexts", &packet, &ctx, [2, 0, 0, 0]));
            ctx[39] = 1;
            wrong.extend(one(&both, "contexts", &packet, &ctx, [2, 0, 0, 0]));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn a_context_of_the_network_stack_is_taken_and_given_back_as_in_the_kernel() {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    let both = Both::load("tests/objects/helpers_skb.bpf.o", &["contexts"]);
    let mut wrong = Vec::new();
    let packet = vec![7; 64];
    for at in (0..192).step_by(4) {
        for value in [0, 1, 2, 7, 64, 100, 0x1234_5678, 1 << 31, 0x0100_0000] {
            let ctx = with(192, at, value);
            wrong.extend(one(&both, "contexts", &packet, &ctx, [0, 0, 0, 1]));
            wrong.extend(one(&both, "contexts", &packet, &ctx, [11, 12, 13, 14]));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}
