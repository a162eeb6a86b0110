//! From marks, as a walk leaves them, to images.

use bpf_abi::image::{Facts, Image, MemoryClass};
use bpf_abi::map::MapType;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;
use bpf_isa::Pc;

use super::*;
use crate::env::{Env, MemoryType};
use crate::program::{before_attach, before_walk};
use crate::state::{MapNo, PointerKind, PtrFlags};
use crate::testing::{World, everything, map, program};

/// The image of a program of which a walk saw all but `dead`, once `learn` has left its marks.
fn image_of(spec: &ProgramSpec, dead: &[u32], learn: impl FnOnce(&mut Env<'_>)) -> Image {
    let world = World { maps: vec![map(0, "m", MapType::ProgArray, 4)] };
    let options = everything();
    let mut env = Env::new(spec, &world, &options);
    before_attach(&mut env).unwrap();
    before_walk(&mut env);
    for (pc, note) in (0..).zip(&mut env.notes) {
        note.seen = !dead.contains(&pc);
    }
    learn(&mut env);
    finish(&mut env).unwrap();
    image(&env).unwrap()
}

fn text(image: &Image) -> String {
    image.program.iter().map(|(pc, insn)| format!("{pc}: {insn}\n")).collect()
}

#[test]
fn a_branch_that_never_goes_one_way_is_none() {
    let spec = program(
        ProgType::Xdp,
        r"
            r0 = 1
            if r1 == 0 goto never
            r2 = 0x100000000 ll
            if r2 > 1 goto always
            r0 = 2
            r0 = 3
        always:
            call f
            exit
        never:
            r0 = 4
            exit
        f:  r0 = r2
            exit
        ",
    );
    let image = image_of(&spec, &[5, 6, 9, 10], |_| {});
    assert_eq!(
        text(&image),
        "0: r0 = 1\n1: r2 = 0x100000000 ll\n3: call pc+1\n4: exit\n5: r0 = r2\n6: exit\n"
    );
    let arities: Vec<(Pc, Pc, u8)> =
        image.subprogs.iter().map(|f| (f.start, f.end, f.arity)).collect();
    // To pass R2 is to pass R1 before it.
    assert_eq!(arities, [(Pc(0), Pc(5), 1), (Pc(5), Pc(7), 2)]);
}

#[test]
fn functions_that_nothing_reaches_are_gone() {
    let spec =
        program(ProgType::Xdp, "r0 = 0\nif r0 == 0 goto +1\ncall f\nr0 = 1\nexit\nf: r0 = 2\nexit");
    let image = image_of(&spec, &[2, 5, 6], |_| {});
    assert_eq!(text(&image), "0: r0 = 0\n1: r0 = 1\n2: exit\n");
    assert_eq!(image.subprogs.len(), 1);
}

#[test]
fn loops_keep_their_distances_across_what_is_removed() {
    let spec = program(
        ProgType::Xdp,
        r"
            r0 = 0
        again:
            r0 += 1
            if r0 == 99 goto dead
            goto on
        dead:
            r0 = 7
        on:
            if r0 < 8 goto again
            exit
        ",
    );
    let image = image_of(&spec, &[4], |_| {});
    assert_eq!(text(&image), "0: r0 = 0\n1: r0 += 1\n2: if r0 < 0x8 goto pc-2\n3: exit\n");
}

#[test]
fn a_packet_pointer_is_loaded_from_where_the_host_keeps_all_of_it() {
    let spec = program(ProgType::Xdp, "r2 = *(u32 *)(r1 + 4)\nr0 = *(u32 *)(r1 + 12)\nexit");
    let image = image_of(&spec, &[], |env| {
        for pc in [Pc(0), Pc(1)] {
            env.note_mut(pc).memory =
                Some(MemoryType { kind: PointerKind::Ctx, flags: PtrFlags::empty() });
        }
    });
    assert_eq!(text(&image), "0: r2 = *(u64 *)(r1 +32)\n1: r0 = *(u32 *)(r1 +12)\n2: exit\n");
    assert_eq!(image.notes[0].memory, MemoryClass::Context);
}

#[test]
fn superfluous_spills_go_with_their_stack() {
    let spec = program(
        ProgType::Xdp,
        r"
            *(u64 *)(r10 - 8) = r1
            call 8
            r1 = *(u64 *)(r10 - 8)
            exit
        ",
    );
    let image = image_of(&spec, &[], |env| env.subprogs[0].stack_depth = 8);
    assert_eq!(text(&image), "0: call helper#8\n1: exit\n");
    assert_eq!(image.subprogs[0].stack_depth, 0);
    assert_eq!(image.helpers.len(), 1);
}

#[test]
fn a_tail_call_site_knows_its_map_and_its_key_if_all_paths_agree() {
    let spec = program(
        ProgType::Xdp,
        "r2 = map[fd:0]\nr3 = 2\nr2 /= r3\ncall 12\n*(u32 *)(r10 - 4) = r3\nr0 = 0\nexit",
    );
    let image = image_of(&spec, &[], |env| {
        env.note_mut(Pc(4)).call_map.add(Some(MapNo(0)));
        env.note_mut(Pc(4)).call_key.add(Some(2));
        env.note_mut(Pc(4)).call_key.add(Some(2));
    });
    assert_eq!(image.maps.len(), 1);
    assert!(image.notes[3].facts.contains(Facts::NONZERO_DIVISOR));
    assert_eq!((image.notes[4].map, image.notes[4].key), (Some(0), Some(2)));
    assert!(image.notes[5].facts.contains(Facts::OWN_FRAME));
    assert!(image.subprogs[0].tail_calls);

    let image = image_of(&spec, &[], |env| {
        env.note_mut(Pc(4)).call_key.add(Some(2));
        env.note_mut(Pc(4)).call_key.add(None);
    });
    assert_eq!(image.notes[4].key, None);
}

#[test]
fn empty_jumps_go_and_may_goto_with_them() {
    let spec = program(ProgType::Xdp, "r0 = 0\nmay_goto +1\ngoto +0\nexit");
    let image = image_of(&spec, &[], |_| {});
    assert_eq!(text(&image), "0: r0 = 0\n1: may_goto pc+0\n2: exit\n");
    let spec = program(ProgType::Xdp, "r0 = 0\nmay_goto +1\nmay_goto +0\nexit");
    let image = image_of(&spec, &[], |_| {});
    assert_eq!(text(&image), "0: r0 = 0\n1: exit\n");
}

#[test]
fn the_address_of_a_function_that_nobody_enters_leads_nowhere() {
    let text = r"
            call used
            r2 = unused ll
            r0 = 0
            exit
        used:
            r0 = 0
            exit
        unused:
            r0 = 0
            exit
    ";
    let spec = program(ProgType::Xdp, text);
    let world = World::default();
    let options = everything();
    let finished = |dead: &[u32]| {
        let mut env = Env::new(&spec, &world, &options);
        before_attach(&mut env).unwrap();
        before_walk(&mut env);
        for (pc, note) in (0..).zip(&mut env.notes) {
            note.seen = !dead.contains(&pc);
        }
        finish(&mut env).map_err(|reason| reason.to_string())
    };
    assert_eq!(finished(&[]), Ok(()));
    assert!(finished(&[7, 8]).unwrap_err().contains("No program to jit"));
    // What stands behind a function that is removed is there instead.
    assert_eq!(finished(&[5, 6]), Ok(()));
    // A function that is left alone is not looked at.
    assert_eq!(finished(&[5, 6, 7, 8]), Ok(()));
}

#[test]
fn a_divisor_is_never_zero_where_the_code_says_so() {
    let spec = program(
        ProgType::Xdp,
        r"
            r2 = 9
            r0 = *(u32 *)(r1 + 12)
            if r0 == 0 goto +1
            w2 /= w0
            r2 /= r0
            r3 = r0
            w3 |= 1
            r2 %= r3
            r3 += 1
            r2 %= r3
            r0 = 0
            exit
        ",
    );
    let image = image_of(&spec, &[], |_| {});
    let facts = |pc: usize| image.notes[pc].facts.contains(Facts::NONZERO_DIVISOR);
    assert_eq!([3, 4, 7, 9].map(facts), [true, false, true, false]);
}

#[test]
fn a_part_of_a_field_that_linux_keeps_no_more_of_is_the_field() {
    let spec = program(
        ProgType::SchedCls,
        "r2 = *(u16 *)(r1 + 18)\nr2 = *(u8 *)(r1 + 18)\nr2 = *(u16 *)(r1 + 10)\nr0 = 0\nexit",
    );
    let image = image_of(&spec, &[], |env| {
        for pc in [Pc(0), Pc(1), Pc(2)] {
            env.note_mut(pc).memory =
                Some(MemoryType { kind: PointerKind::Ctx, flags: PtrFlags::empty() });
        }
    });
    let loads = "0: r2 = *(u16 *)(r1 +16)\n1: r2 = *(u8 *)(r1 +18)\n2: r2 = *(u16 *)(r1 +10)\n";
    assert!(text(&image).starts_with(loads), "{}", text(&image));
}
