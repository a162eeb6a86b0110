//! What helpers do, for many arguments.

use bpf_abi::map::UpdateFlags;
use bpf_oracle::kernel as linux;
use bpfkit::prelude::*;

use crate::Both;

/// One program, run with many arguments.
pub(crate) struct Case {
    program: &'static str,
    args: Vec<[i64; 4]>,
    pub(crate) texts: Vec<&'static str>,
    pub(crate) packets: Vec<Vec<u8>>,
}

/// A packet of IPv4 and UDP.
pub(crate) fn ipv4(len: usize) -> Vec<u8> {
    let header = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 50, 0, 0, 0x40, 0, 0x40, 0x11, 0x26,
        0xb8, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 53, 0, 30, 0x12, 0x34,
    ];
    let rest = (0..=255).cycle();
    header.into_iter().chain(rest).take(len).collect()
}

/// A packet of IPv6.
fn ipv6(len: usize) -> Vec<u8> {
    let mut bytes = ipv4(len);
    bytes[12] = 0x86;
    bytes[13] = 0xdd;
    bytes[14] = 0x60;
    bytes
}

/// A packet with VLAN tags in it.
fn tagged(tags: usize, len: usize) -> Vec<u8> {
    let mut bytes = ipv4(len);
    for tag in 0..tags {
        let tci = u8::try_from(tag).unwrap() + 1;
        bytes.splice(12..12, [0x81, 0, 0, tci]);
    }
    bytes
}

pub(crate) fn case(program: &'static str, args: Vec<[i64; 4]>) -> Case {
    Case { program, args, texts: vec![""], packets: vec![ipv4(64)] }
}

/// Every combination of these.
pub(crate) fn product(a: &[i64], b: &[i64], c: &[i64], d: &[i64]) -> Vec<[i64; 4]> {
    let mut all = Vec::new();
    for a in a {
        for b in b {
            for c in c {
                all.extend(d.iter().map(|d| [*a, *b, *c, *d]));
            }
        }
    }
    all
}

/// Runs every case everywhere, and compares all that can be seen.
pub(crate) fn compare(object: &str, cases: &[Case]) {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    let programs: Vec<&str> = cases.iter().map(|case| case.program).collect();
    let both = Both::load(object, &programs);
    assert!(both.kernel.refused.is_empty(), "{:?}", both.kernel.refused);
    let mut wrong = Vec::new();
    let (mut count, mut many) = (0, 0);
    for case in cases {
        let mut shown = 0;
        for packet in &case.packets {
            for text in &case.texts {
                for args in &case.args {
                    count += 1;
                    let Some(how) = one(&both, case.program, packet, text, args) else { continue };
                    many += 1;
                    // A few of each kind say more than many of one.
                    if shown < 6 {
                        wrong.push(how);
                        shown += 1;
                    }
                }
            }
        }
    }
    assert!(many == 0, "{many} of {count} differ:\n{}", wrong.join("\n"));
    assert!(count > 50);
}

/// Runs one program once everywhere; says how it differs.
fn one(both: &Both, program: &str, packet: &[u8], text: &str, args: &[i64; 4]) -> Option<String> {
    let mut globals = vec![0; 32 + 128 + 256];
    globals[..32].copy_from_slice(&args.map(i64::to_le_bytes).concat());
    let theirs = both.kernel.program(program).unwrap();
    let bss = both.kernel_bss();
    let room = packet.len() + 70_000;
    let fill = |place: usize| {
        let mut globals = globals.clone();
        for (i, byte) in globals[place..].iter_mut().enumerate() {
            *byte = u8::try_from(i * 7 % 251).unwrap();
        }
        if !text.is_empty() {
            globals[place..place + text.len()].copy_from_slice(text.as_bytes());
            globals[place + text.len()] = 0;
        }
        globals
    };
    let start = fill(both.offset("buf"));
    let start = both.arrange(&start, args);
    bss.update(&[0; 4], &start).unwrap();
    // Programs of system calls take no packet.
    let takes_packet = both.ours[0].program(program).unwrap().info().prog_type != ProgType::Syscall;
    let run = if takes_packet {
        linux::TestRun { data: Some(packet), repeat: 1, room, ..linux::TestRun::default() }
    } else {
        linux::TestRun::default()
    };
    let expected = theirs.test_run(&run);
    let expected_globals = bss.lookup(&[0; 4]).unwrap();
    for (engine, object) in ["interp", "jit"].iter().zip(&both.ours) {
        let map = object.map(".bss").unwrap();
        map.update(&[0; 4], &start, UpdateFlags::empty()).unwrap();
        let run = if takes_packet { TestRun::packet(packet) } else { TestRun::new() };
        let out = object.program(program).unwrap().test_run(&run);
        let globals = map.lookup(&[0; 4]).unwrap().unwrap();
        let what = format!("{engine} {program}{args:?} {text:?} on {} bytes", packet.len());
        match (&out, &expected) {
            (Err(error), Err(errno)) if error.errno() == *errno => {}
            (Ok(out), Ok(expected)) => {
                if out.return_value != expected.retval {
                    return Some(format!(
                        "{what}: returns {}, kernel {}",
                        out.return_value, expected.retval
                    ));
                }
                if globals != expected_globals {
                    let (a, b) = (both.out(&globals), both.out(&expected_globals));
                    let bytes = both.differing(&globals, &expected_globals);
                    return Some(format!("{what}:\n  ours   {a:?}\n  kernel {b:?}\n  {bytes}"));
                }
                if out.data != expected.data {
                    let (a, b) = (&out.data, &expected.data);
                    let at = a.iter().zip(b).position(|(a, b)| a != b);
                    return Some(format!(
                        "{what}: {} bytes, kernel {}, first at {at:?}",
                        a.len(),
                        b.len()
                    ));
                }
            }
            (out, expected) => return Some(format!("{what}: {out:?}, kernel {expected:?}")),
        }
    }
    None
}

/// Where a global variable is.
pub(crate) fn offset_of(object: &Object, name: &str) -> usize {
    let btf = object.btf().unwrap();
    let sections = btf.types().filter_map(|ty| ty.datasec());
    let mut vars = sections.flat_map(|section| section.vars().collect::<Vec<_>>());
    vars.find(|var| btf.name_of(var.ty) == name).unwrap().offset as usize
}

impl Both {
    pub(crate) fn kernel_bss(&self) -> &linux::Map {
        let name = self.ours[0].maps().find(|(name, _)| name.ends_with(".bss")).unwrap().0;
        self.kernel.map(name).unwrap()
    }

    /// Where a global variable is.
    fn offset(&self, name: &str) -> usize {
        offset_of(&self.ours[0], name)
    }

    /// The globals with the arguments in their place and results zero.
    fn arrange(&self, globals: &[u8], args: &[i64; 4]) -> Vec<u8> {
        let mut globals = globals.to_vec();
        let (at, out) = (self.offset("args"), self.offset("out"));
        globals[out..out + 128].fill(0);
        globals[at..at + 32].copy_from_slice(&args.map(i64::to_le_bytes).concat());
        globals
    }

    fn out(&self, globals: &[u8]) -> Vec<i64> {
        let at = self.offset("out");
        globals[at..at + 128]
            .chunks(8)
            .map(|word| i64::from_le_bytes(word.try_into().unwrap()))
            .collect()
    }

    fn differing(&self, ours: &[u8], theirs: &[u8]) -> String {
        let at = self.offset("buf");
        let (ours, theirs) = (&ours[at..at + 256], &theirs[at..at + 256]);
        match ours.iter().zip(theirs).position(|(a, b)| a != b) {
            None => "buf is the same".to_owned(),
            Some(at) => {
                let end = (at + 24).min(256);
                format!(
                    "buf differs at {at}: {:?}, kernel {:?}",
                    String::from_utf8_lossy(&ours[at..end]),
                    String::from_utf8_lossy(&theirs[at..end])
                )
            }
        }
    }
}

const ZERO: &[i64] = &[0];

#[test]
fn packets_at_a_driver_s_hook_move_as_in_the_kernel() {
    let moves: Vec<i64> =
        (-300..=80).chain([3455, 3456, 3457, 5000, -5000, i64::from(i32::MIN)]).collect();
    let few = &[-8, -1, 0, 1, 8, 40];
    let sizes =
        vec![ipv4(14), ipv4(64), ipv4(1500), ipv4(3520), ipv4(3521), ipv4(9000), ipv4(20_000)];
    let metas: Vec<i64> = (-300..=20).collect();
    let mut cases = vec![
        case("adjust_head", product(&moves, few, ZERO, ZERO)),
        case("adjust_meta", product(&metas, few, &[-4, 4, 0], ZERO)),
        case("adjust_tail", product(&moves, few, ZERO, ZERO)),
        case(
            "adjust_tail_frags",
            product(&[-6000, -4096, -100, 0, 100, 3000, 4096], few, ZERO, ZERO),
        ),
        case(
            "load_bytes",
            product(
                &[0, 1, 13, 60, 3500, 3519, 3520, 8900, 65535, 65536, -1],
                &[0, 1, 7, 100, 127],
                ZERO,
                ZERO,
            ),
        ),
        case(
            "store_bytes",
            product(
                &[0, 1, 13, 60, 3500, 3519, 3520, 8900, 65535, 65536, -1],
                &[0, 1, 7, 100, 127],
                ZERO,
                ZERO,
            ),
        ),
    ];
    for case in &mut cases[3..] {
        case.packets = sizes.clone();
    }
    compare("tests/objects/helpers_xdp.bpf.o", &cases);
}

#[test]
fn checksums_are_the_kernel_s() {
    let sizes = &[0, 1, 3, 4, 8, 20, 127, 128];
    let seeds = &[0, 1, 0xffff, 0x1_0000, 0xffff_fffe, 0xffff_ffff, 0x1234_5678];
    let texts = vec![
        "",
        "\u{1}\u{1}",
        "some bytes that are no text at all",
        "\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}",
    ];
    compare(
        "tests/objects/helpers_xdp.bpf.o",
        &[Case { texts, ..case("csum_diff", product(sizes, sizes, seeds, ZERO)) }],
    );
    let offsets = &[24, 40, 25, 62, 63, 64, 65_534, 65_536, -2];
    let numbers = &[0, 0x1234, 0xffff, 0x1_0000, 0xdead_beef];
    let flags = &[0, 2, 4, 3, 0x12, 0x14, 0x10, 0x22, 0x62, 0x20, 0x40, 0x82, 0x102];
    compare(
        "tests/objects/helpers_skb.bpf.o",
        &[
            case("l3_csum_replace", product(offsets, numbers, numbers, flags)),
            case("l4_csum_replace", product(offsets, numbers, numbers, flags)),
            Case {
                packets: vec![vec![0; 64]],
                ..case("l4_csum_replace", product(&[20, 40], numbers, numbers, flags))
            },
        ],
    );
}

#[test]
fn maps_answer_programs_as_in_the_kernel() {
    let keys = &[0, 1, 2, 3, 5, 6];
    compare(
        "tests/objects/helpers_xdp.bpf.o",
        &[
            case("hash_map", product(keys, &[7, 8], &[0, 1, 2, 3, 4, 8], &[1, 9, 5])),
            case("array_map", product(keys, &[7, -1], &[0, 1, 2, 4], &[0, 1, 2, -1])),
            case("queue_map", product(&[1, 2, 3], &[0, 2, 1], &[0, 1], ZERO)),
            case("lock", product(&[1, -1, 77], ZERO, ZERO, ZERO)),
        ],
    );
}

#[test]
fn functions_are_called_back_as_in_the_kernel() {
    compare(
        "tests/objects/helpers_xdp.bpf.o",
        &[
            case("for_each", product(&[5, 6], &[0, 1, 2, 9], &[0, 1], ZERO)),
            case(
                "loops",
                product(
                    &[0, 1, 10, 1000, 8_388_608, 8_388_609, -1],
                    &[0, 1, 5, 999, 1 << 30],
                    &[0, 1],
                    ZERO,
                ),
            ),
        ],
    );
}

#[test]
fn texts_and_numbers_are_read_as_in_the_kernel() {
    let texts = vec![
        "",
        "0",
        "12",
        "-12",
        "+12",
        "  12",
        "0x12z",
        "0X1F",
        "012",
        "09",
        "-",
        "0x",
        "zz",
        "1 2",
        "-0x10",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "0x12",
        "0x12za",
        "0x12y",
        "0x1",
        "\t\n 8",
        "000000000000000000000000000000000000000000000000000000000000000000000012",
        "                                                                        12",
    ];
    let lens = &[0, 1, 2, 3, 4, 9, 20, 63, 64, 100];
    compare(
        "tests/objects/helpers_xdp.bpf.o",
        &[Case {
            texts,
            ..case("numbers", product(&[0, 8, 10, 16, 2, 36, 32, 64], lens, ZERO, ZERO))
        }],
    );
}

#[test]
fn texts_are_formatted_as_in_the_kernel() {
    let numbers = &[0, 1, -1, 42, 255, -7, 123_456_789, i64::MAX, i64::MIN, 65, 0x1_0000_0041];
    compare(
        "tests/objects/helpers_xdp.bpf.o",
        &[case("formats", product(numbers, numbers, ZERO, &[31, 8, 1, 0]))],
    );
}

#[test]
fn packets_in_the_network_stack_are_read_as_in_the_kernel() {
    let offsets =
        &[0, 1, 13, 14, 49, 50, 60, 63, 64, 1000, 0xffff, 0x1_0000, i64::from(i32::MAX), -1, -14];
    let lens = &[0, 1, 3, 13, 63, 64, 127];
    let packets = vec![ipv4(64), ipv6(200), tagged(1, 80), ipv4(3712), ipv4(3713), ipv4(33)];
    compare(
        "tests/objects/helpers_skb.bpf.o",
        &[
            Case {
                packets: packets.clone(),
                ..case("load_bytes", product(offsets, lens, ZERO, ZERO))
            },
            Case {
                packets: packets.clone(),
                ..case("load_bytes_relative", product(offsets, lens, &[0, 1, 2], ZERO))
            },
            Case {
                packets: packets.clone(),
                ..case("load_bytes_relative_l3", product(offsets, lens, &[0, 1, 2], ZERO))
            },
            Case {
                packets: packets.clone(),
                ..case("store_bytes", product(offsets, lens, &[0, 1, 2, 3, 4], ZERO))
            },
            Case {
                packets,
                ..case(
                    "legacy_loads",
                    product(
                        &[
                            0,
                            14,
                            46,
                            47,
                            48,
                            49,
                            50,
                            60,
                            61,
                            -1,
                            -0x10_0000,
                            -0x10_0000 + 49,
                            -0x20_0000,
                            -0x20_0000 + 12,
                            -0x20_0001,
                        ],
                        ZERO,
                        ZERO,
                        ZERO,
                    ),
                )
            },
        ],
    );
}

#[test]
fn packets_in_the_network_stack_change_as_in_the_kernel() {
    let lens = &[
        0, 1, 13, 14, 33, 34, 35, 63, 64, 65, 100, 1500, 4000, 16_000, 65_535, 65_549, 65_550,
        65_551, 100_000, -1,
    ];
    let packets = vec![ipv4(64), ipv6(200), tagged(1, 80), tagged(2, 90), ipv4(1500)];
    let push = |proto: i64, tci: i64| 1 | proto << 16 | tci << 32;
    let steps = &[0, push(0x0081, 5), push(0xa888, 0x2006), push(0x1234, 7), 2];
    compare(
        "tests/objects/helpers_skb.bpf.o",
        &[
            Case {
                packets: packets.clone(),
                ..case("change_tail", product(lens, &[0, 1], ZERO, ZERO))
            },
            Case {
                packets: packets.clone(),
                ..case("change_head", product(lens, &[0, 1], ZERO, ZERO))
            },
            Case {
                packets: packets.clone(),
                ..case(
                    "adjust_room",
                    product(
                        &[0, 1, 8, 20, 40, 0xfff, 0x1000, -1, -8, -20, -40, -50, -0xfff],
                        &[0, 1, 2],
                        &[
                            0,
                            1,
                            2,
                            4,
                            6,
                            8,
                            10,
                            18,
                            26,
                            32,
                            64,
                            66,
                            128,
                            256,
                            384,
                            130,
                            512,
                            14 << 56,
                            66 | 14 << 56,
                            2 | 8 << 56,
                            2 | 30 << 56,
                        ],
                        &[0, 8, -8],
                    ),
                )
            },
            Case {
                packets: packets.clone(),
                ..case(
                    "change_proto",
                    product(&[0x0008, 0xdd86, 0x0608, 0], &[0, 1], &[0x0008, 0xdd86], ZERO),
                )
            },
            Case {
                packets: packets.clone(),
                ..case("change_type", product(&[0, 1, 2, 3, 4, 5, -1], ZERO, ZERO, ZERO))
            },
            Case { packets: packets.clone(), ..case("vlan", product(steps, steps, steps, steps)) },
            Case { packets: packets.clone(), ..case("pull_data", product(lens, ZERO, ZERO, ZERO)) },
            Case {
                packets: packets.clone(),
                ..case("hashes", product(&[0, 1, -1, 77], ZERO, ZERO, ZERO))
            },
        ],
    );
}
