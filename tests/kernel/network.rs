//! What programs are told of the network.

use std::net::IpAddr;

use bpfkit::prelude::*;
use bpfkit::{Network, Route, RouteAnswer, RouteQuestion};

use crate::file;
use crate::helpers::{case, compare, ipv4, offset_of, product};

#[test]
fn routes_are_those_of_an_idle_host() {
    let families = [0, 1, 2, 10, 2 | 100 << 16, 10 | 9000 << 16];
    let interfaces = [0, 1, 77, -1];
    let flags = [0, 1, 2, 3, 4, 8, 16, 32, 64, -1];
    let args = product(&families, &interfaces, &flags, &[23, 24, 60]);
    let texts = vec![
        "",
        // To 10.0.0.1, and to nowhere.
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\u{7f}\0\0\u{1}\0\0\0\0\0\0\0\0\0\0\0\0\n\0\0\u{1}",
    ];
    let cases = ["fib_xdp", "fib_tc"].map(|name| {
        let mut case = case(name, args.clone());
        case.texts = texts.clone();
        case
    });
    compare("tests/objects/network.bpf.o", &cases);
}

/// Interfaces 1 to 3, and a route for some addresses.
struct Tables;

impl Network for Tables {
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        (1..4).contains(&ifindex).then_some(1500)
    }

    fn route(&self, question: &RouteQuestion) -> RouteAnswer {
        let mut route = Route::through(3);
        route.metric = 100;
        let IpAddr::V4(to) = question.destination else { return RouteAnswer::Blackhole };
        match to.octets() {
            [10, 0, 0, _] => route.neighbour = Some(([1; 6], [2; 6])),
            [10, 0, 1, _] => route.gateway = Some([10, 0, 0, 1].into()),
            [10, 0, 2, _] => route.mtu = Some(1000),
            _ => return RouteAnswer::Unreachable,
        }
        RouteAnswer::Found(route)
    }
}

/// What `bpf_fib_lookup` returns, and what it writes.
fn ask(
    object: &Object,
    name: &str,
    len: u16,
    to: [u8; 4],
    flags: i64,
    packet: usize,
) -> (i64, Vec<u8>) {
    let bss = object.map(".bss").unwrap();
    let mut globals = bss.lookup(&[0; 4]).unwrap().unwrap();
    let args = [2 | i64::from(len) << 16, 1, flags, 24];
    let (at, buf) = (offset_of(object, "args"), offset_of(object, "buf"));
    globals[at..at + 32].copy_from_slice(&args.map(i64::to_le_bytes).concat());
    globals[buf..buf + 64].fill(0);
    globals[buf + 32..buf + 36].copy_from_slice(&to);
    bss.update(&[0; 4], &globals, UpdateFlags::empty()).unwrap();
    let packet = ipv4(packet);
    object.program(name).unwrap().test_run(&TestRun::packet(&packet)).unwrap();
    let globals = bss.lookup(&[0; 4]).unwrap().unwrap();
    let out = offset_of(object, "out");
    let result = i64::from_le_bytes(globals[out..out + 8].try_into().unwrap());
    (result, globals[buf..buf + 64].to_vec())
}

#[test]
fn routes_are_those_that_the_host_gives() {
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let builder = Runtime::builder().engine(engine).network(Tables);
        let Ok(runtime) = builder.build() else { continue };
        let object =
            runtime.open_file(file("tests/objects/network.bpf.o")).unwrap().load().unwrap();
        for name in ["fib_xdp", "fib_tc"] {
            let ask = |len, to, flags| ask(&object, name, len, to, flags, 64);
            let (result, told) = ask(100, [10, 0, 0, 7], 0);
            assert_eq!(result, 0);
            assert_eq!(told[6..16], [0xdc, 5, 3, 0, 0, 0, 100, 0, 0, 0]);
            assert_eq!(told[32..36], [10, 0, 0, 7]);
            assert_eq!(told[48..64], [[0; 4].as_slice(), &[1; 6], &[2; 6]].concat());
            // Who takes it next is known, where he is is not.
            let (result, told) = ask(100, [10, 0, 1, 7], 0);
            assert_eq!((result, &told[32..36]), (7, [10, 0, 0, 1].as_slice()));
            assert_eq!(ask(100, [10, 0, 1, 7], 4).0, 0);
            // 1000 bytes at most.
            let (result, told) = ask(1001, [10, 0, 2, 7], 4);
            assert_eq!((result, &told[6..8], told[8]), (8, [0xe8, 3].as_slice(), 1));
            assert_eq!(ask(1000, [10, 0, 2, 7], 4).0, 0);
            assert_eq!(ask(1000, [11, 0, 2, 7], 4).0, 2);
        }
        // A packet of the network stack is measured itself if no length is given.
        let long = |name, packet| ask(&object, name, 0, [10, 0, 0, 7], 0, packet).0;
        assert_eq!([long("fib_tc", 1514), long("fib_tc", 1515), long("fib_xdp", 3000)], [0, 8, 0]);
    }
}
