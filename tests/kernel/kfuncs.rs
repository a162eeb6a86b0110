//! What kernel functions do, for many arguments.

use bpfkit::prelude::*;

use crate::file;
use crate::helpers::{Case, case, compare, ipv4, offset_of, product};

/// What there is to compare of dynptrs of packets, whatever kind they are.
fn of_packets() -> Vec<Case> {
    let places = [0, 1, 13, 40, 44, 45, 63, 64, 65, 70_000, 0xffff_ffff];
    let sizes = [0, 1, 20, 63, 64, 65, 200, 0x1_0000_0004];
    vec![
        case("from_packet", product(&[0, 1, 1 << 40], &[0], &[0], &[0])),
        case("read_and_write", product(&places, &places, &[0, 1, 2, 3, 8], &[0, 1])),
        case("slices", product(&places, &[0], &[0], &[0])),
        case("writable_slices", product(&places, &[0, 1, 10, 60], &[30, 64, 65], &[0])),
        case("adjusted", product(&sizes, &sizes, &[0, 1, 20, 60], &sizes)),
        case("copies", product(&[0, 1, 30, 250], &[0, 7, 64], &[0, 1, 20, 60, 300], &[0, 3, 40])),
        case("nothing", product(&sizes, &sizes, &[0], &[0])),
    ]
}

#[test]
fn dynptrs_of_xdp_packets() {
    compare("tests/objects/kfuncs_xdp.bpf.o", &of_packets());
}

#[test]
fn dynptrs_of_packets_in_the_network_stack() {
    let mut cases = of_packets();
    cases.push(case("metadata", product(&[0, 1], &[0], &[0], &[0])));
    cases.push(case("only_read", product(&[0, 1], &[0, 1, 42, 43, 50, 70_000], &[0], &[0])));
    compare("tests/objects/kfuncs_skb.bpf.o", &cases);
}

#[test]
fn dynptrs_of_packets_in_pieces() {
    let mut in_pieces = case(
        "in_pieces",
        product(
            &[0, 100, 3500, 3510, 3520, 4000, 7600, 7610, 7616, 8980, 9000],
            &[0, 3500, 7600, 8500],
            &[0, 100, 600, 5000],
            &[0],
        ),
    );
    in_pieces.packets = vec![ipv4(64), ipv4(3600), ipv4(9000)];
    compare("tests/objects/kfuncs_xdp.bpf.o", &[in_pieces]);
}

#[test]
fn iterators() {
    let ends =
        [0, 1, -1, 5, 100, i64::from(i32::MAX), i64::from(i32::MIN), i64::from(i32::MIN) + 3];
    let far = [8 << 20, (8 << 20) + 1, -(8 << 20)];
    let words = [0, 1, -1, 1 << 63, 0x4001_0000_0040_0010];
    let numbers = case(
        "numbers",
        [
            product(&ends, &ends, &[0, 3], &[0]),
            product(&far, &[0], &[4], &[0]),
            product(&[0, 1], &far, &[4], &[0]),
        ]
        .concat(),
    );
    compare(
        "tests/objects/kfuncs_xdp.bpf.o",
        &[
            numbers,
            case("nested", product(&[0, 1, 3], &[0, 2, 10], &[0, 7, 20], &[0, 4, 9])),
            case("bits", product(&words, &words, &[0, 1, 2, 3, 4, 512, -1], &words)),
        ],
    );
}

#[test]
fn strings() {
    let chars = [0, i64::from(b'a'), i64::from(b'L'), 0x161, 0xe4, -28];
    let counts = [0, 1, 3, 5, 12, 65536, 1 << 40];
    let mut strings = case("strings", product(&[0, 3, 8], &[0, 4, 8, 14], &chars, &counts));
    strings.texts = vec![
        "",
        "hello, WORLD\0lo",
        "\u{e4}aab\0\0aaba\0b\0aab",
        "abab\0abAB\0b\0ab",
        "LL\0l\0LLL\0lL\0LL\0",
    ];
    let stack = product(&[0, 4, 9, 14], &[0, i64::from(b'x'), 0xc4], &[0], &[0]);
    compare("tests/objects/kfuncs_xdp.bpf.o", &[strings, case("on_the_stack", stack)]);
}

#[test]
fn exceptions_end_programs() {
    let args = product(&[0, 1, 2, 3, 4], &[0, 1, 0x1ff, -1], &[0, 22, 1 << 33], &[0]);
    let names = ["plain", "nested", "with_handler", "throws", "jumps", "never_back"];
    let cases: Vec<Case> = names.map(|name| case(name, args.clone())).into();
    compare("tests/objects/throws.bpf.o", &cases);
}

#[test]
fn objects_are_kept_in_lists_and_trees_and_behind_pointers() {
    let small = [0, 1, 2, 5, 21, 63];
    let kept = [0, 1, 0xffff_ffff_ffff];
    compare(
        "tests/objects/objects.bpf.o",
        &[
            case("lists", product(&[0, 7, 1 << 40], &small, &small, &[0, 1])),
            case("trees", product(&[1, 3, 7, 11, 13], &small, &small, &[0, 1])),
            case("shared", product(&small, &[0], &[0], &[0])),
            case("pointers", product(&[0, 1, 2, 3], &[0, 1, 2, 3, 4, 7], &kept, &kept)),
        ],
    );
}

/// Programs on many threads push, pop and drop; in the end there is as much as went in and did not
/// come out.
#[test]
fn objects_are_shared_by_programs_on_many_threads() {
    let rounds = 300;
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Ok(runtime) = Runtime::builder().engine(engine).cpus(4).build() else { continue };
        let object =
            runtime.open_file(file("tests/objects/objects.bpf.o")).unwrap().load().unwrap();
        let bss = object.map(".bss").unwrap();
        let set = |args: [i64; 4]| {
            let at = offset_of(&object, "args");
            let mut globals = bss.lookup(&[0; 4]).unwrap().unwrap();
            globals[at..at + 32].copy_from_slice(&args.map(i64::to_le_bytes).concat());
            bss.update(&[0; 4], &globals, UpdateFlags::empty()).unwrap();
        };
        // Six go into the list, and five come out again.
        set([1, 21, 10, 0]);
        let run = |name: &str| {
            let packet = ipv4(64);
            let run = TestRun::packet(&packet);
            object.program(name).unwrap().test_run(&run).unwrap().return_value
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..rounds {
                        let names = ["lists", "trees", "shared", "pointers"];
                        run(names[(thread + round) % names.len()]);
                        run("lists");
                    }
                });
            }
        });
        let lists = 4 * rounds + rounds;
        // Four more come out: three less are in it after each run.
        set([1, 21, 10, 1]);
        for _ in 0..lists / 3 {
            run("lists");
        }
        run("lists");
        let globals = bss.lookup(&[0; 4]).unwrap().unwrap();
        let out = offset_of(&object, "out") + 9 * 8;
        let last: Vec<&[u8]> = globals[out..out + 32].chunks(8).collect();
        assert_ne!(last[0], [0xff; 8], "six were put in, five taken");
        assert!(last[1..].iter().all(|word| *word == [0xff; 8]), "{last:?}");
    }
}

#[test]
fn locks_notice_deadlocks() {
    let numbers = [0, 1, 3, 4];
    compare(
        "tests/objects/kfuncs_more.bpf.o",
        &[
            case("two_locks", product(&numbers, &numbers, &[0, 1, 7, -1], &[0])),
            case("entries", product(&[0, 1, 5, 8, 9, 10], &[0], &[0], &[0])),
        ],
    );
}

/// Programs on many threads take the same two locks in both orders: none waits forever, and what they
/// count under a lock is all there.
#[test]
fn locks_are_taken_by_programs_on_many_threads() {
    let rounds = 500;
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Ok(runtime) = Runtime::builder().engine(engine).cpus(4).build() else { continue };
        let open = |args: [i64; 4]| {
            let mut open = runtime.open_file(file("tests/objects/kfuncs_more.bpf.o")).unwrap();
            open.choose(&["two_locks"]).unwrap();
            open.set_global_bytes("args", &args.map(i64::to_le_bytes).concat()).unwrap();
            open
        };
        let one = open([0, 1, 1, 0]).load().unwrap();
        let mut other = open([1, 0, 1, 0]);
        other.reuse_map("locks", &one.map("locks").unwrap()).unwrap();
        let other = other.load().unwrap();
        std::thread::scope(|scope| {
            for object in [&one, &other, &one, &other] {
                scope.spawn(move || {
                    let program = object.program("two_locks").unwrap();
                    let packet = ipv4(64);
                    for _ in 0..rounds {
                        program.test_run(&TestRun::packet(&packet)).unwrap();
                    }
                });
            }
        });
        let taken = 4 * rounds;
        let locks = one.map("locks").unwrap();
        let counted: i64 = (0..2_u32)
            .map(|key| locks.lookup(&key.to_le_bytes()).unwrap().unwrap())
            .map(|value| {
                let before = i64::from_le_bytes(value[..8].try_into().unwrap());
                let behind = i64::from(i32::from_le_bytes(value[12..16].try_into().unwrap()));
                assert_eq!(before, behind);
                assert_eq!(value[8..12], [0; 4]);
                before
            })
            .sum();
        assert!(counted > 0 && counted <= taken, "{counted} of {taken}");
    }
}

#[test]
fn objects_of_each_cpu() {
    let args = product(&[0, 1], &[1, 0, 2, 3], &[5], &[0, 1, 1 << 32]);
    let again = [args.clone(), args.clone(), args].concat();
    compare("tests/objects/kfuncs_more.bpf.o", &[case("percpu", again)]);
}

/// Linux gives null, which its verifier lets programs write to; here it is an object of no CPU.
#[test]
fn objects_of_cpus_that_are_not_there_may_be_used() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let Ok(runtime) = Runtime::builder().engine(engine).cpus(1).build() else { continue };
        let mut open = runtime.open_file(file("tests/objects/kfuncs_more.bpf.o")).unwrap();
        open.choose(&["percpu"]).unwrap();
        let args = [0, 1, 5, i64::from(u32::MAX)];
        open.set_global_bytes("args", &args.map(i64::to_le_bytes).concat()).unwrap();
        let object = open.load().unwrap();
        let packet = ipv4(64);
        let run = TestRun::packet(&packet);
        assert_eq!(object.program("percpu").unwrap().test_run(&run).unwrap().return_value, 0);
        let bss = object.map(".bss").unwrap().lookup(&[0; 4]).unwrap().unwrap();
        let at = offset_of(&object, "out");
        let out: Vec<u8> = bss[at..at + 32].iter().step_by(8).copied().collect();
        assert_eq!(out, [0, 0, 5, 1]);
    }
}

#[test]
fn reads_into_dynptrs_and_streams() {
    let places = [0, 1, 60, 63, 64, 99, 100, 101, -1];
    let sizes = [0, 1, 2, 10, 64, 100];
    let mut reads = case("reads", product(&places, &sizes, &[0, 20, 40], &[0]));
    reads.texts = vec!["", "some text"];
    // Linux has no memory for streams in a test run.
    let streams = case("streams", product(&[0, 3, -1], &places, &[0], &[0]));
    compare("tests/objects/kfuncs_more.bpf.o", &[reads, streams]);
}

#[test]
fn sets_of_cpus() {
    let sets = [0, 1, 2, 3, 7, 31];
    let cpus = [0, 1, 2, 64, -1];
    compare(
        "tests/objects/kfuncs_syscall.bpf.o",
        &[
            case("masks", product(&sets, &sets, &cpus, &[0])),
            case("masks_in_maps", product(&[0, 1], &sets, &cpus, &[0, 1])),
            case("nothing_there", product(&[0, 1, 5, 100], &[0, 1, 2], &[0, 1, 99, 101], &[0])),
        ],
    );
}
