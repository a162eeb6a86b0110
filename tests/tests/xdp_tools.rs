//! libxdp's dispatcher with xdp-filter's programs and ours in its slots, as Debian's packages libxdp1
//! and xdp-tools install them; said aloud where they are not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::print_stderr, reason = "a test that asks nobody must say so")]

use std::path::{Path, PathBuf};

use bpf_tests::corpus;
use bpfkit::prelude::*;

bpfkit::plain! {
    /// Linux: libxdp's `struct xdp_dispatcher_config`.
    #[derive(Clone, Debug)]
    struct Config {
        magic: u8,
        dispatcher_version: u8,
        num_progs_enabled: u8,
        is_xdp_frags: u8,
        chain_call_actions: [u32; 10],
        run_prios: [u32; 10],
        program_flags: [u32; 10],
    }
}

/// What a slot without a program returns. Linux: libxdp's `XDP_DISPATCHER_RETVAL`.
const EMPTY: u32 = 31;

/// Where the packages put their objects.
fn installed(name: &str) -> Option<PathBuf> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf", "/usr/lib/bpf"];
    let found =
        folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed (packages libxdp1 and xdp-tools)");
    }
    found
}

/// A dispatcher for so many programs, each of which passes packets on if it says `XDP_PASS`, as libxdp
/// sets it up.
fn dispatcher(runtime: &Runtime, path: &Path, programs: u8) -> Object {
    let mut open = runtime.open_file(path).unwrap();
    let config = Config {
        magic: 236,
        dispatcher_version: 2,
        num_progs_enabled: programs,
        is_xdp_frags: 0,
        chain_call_actions: [1 << XDP_PASS | 1 << EMPTY; 10],
        run_prios: [50; 10],
        program_flags: [0; 10],
    };
    open.set_global("conf", &config).unwrap();
    open.choose(&["xdp_dispatcher"]).unwrap();
    open.load().unwrap()
}

fn verdicts(program: &Program) -> Vec<u32> {
    let verdict = |bytes: &Vec<u8>| program.test_run(&TestRun::packet(bytes)).unwrap().return_value;
    corpus::capture().iter().map(verdict).collect()
}

/// Whether a packet is UDP over IPv4 to this port.
fn is_udp_to(packet: &[u8], port: u16) -> bool {
    packet.get(12..14) == Some(&[8, 0])
        && packet.get(14) == Some(&0x45)
        && packet.get(23) == Some(&17)
        && packet.get(36..38) == Some(&port.to_be_bytes())
}

#[test]
fn filters_take_the_slots_of_the_dispatcher_and_give_them_back() {
    let (Some(path), Some(filter)) =
        (installed("xdp-dispatcher.o"), installed("xdpfilt_alw_udp.o"))
    else {
        return;
    };
    for engine in [EngineChoice::Interp, EngineChoice::Jit] {
        let runtime = Runtime::builder().engine(engine).cpus(1).build().unwrap();
        let object = dispatcher(&runtime, &path, 2);
        let xdp = object.program("xdp_dispatcher").unwrap();
        let packets = corpus::capture();
        assert!(verdicts(&xdp).iter().all(|verdict| *verdict == XDP_PASS));

        // A port, in network order, that is denied as the destination of UDP.
        let mut open = runtime.open_file(&filter).unwrap();
        let ports = open.map_mut("filter_ports").unwrap().clone();
        let ports = runtime.create_map(&ports).unwrap();
        open.reuse_map("filter_ports", &ports).unwrap();
        let values = (1_u64 << 1 | 1 << 3).to_le_bytes();
        ports
            .update(&u32::from(53_u16.to_be()).to_le_bytes(), &values, UpdateFlags::empty())
            .unwrap();
        let udp = open.program("xdpfilt_alw_udp").unwrap();
        let udp = udp.extend(&xdp, "prog0").unwrap().load().unwrap();
        let length = runtime.open_file(corpus::file("examples/firewall/length.bpf.o")).unwrap();
        let length = length.program("filter").unwrap().extend(&xdp, "prog1").unwrap();
        let length = length.load().unwrap();

        let is_long = |packet: &[u8]| packet.len() > 1000;
        let expect = |no_dns: bool, no_long: bool| {
            let dropped = move |packet: &Vec<u8>| {
                (no_dns && is_udp_to(packet, 53)) || (no_long && is_long(packet))
            };
            packets.iter().map(dropped).map(|drop| if drop { XDP_DROP } else { XDP_PASS })
        };
        let on_udp = udp.attach().unwrap();
        assert!(verdicts(&xdp).into_iter().eq(expect(true, false)));
        let on_length = length.attach().unwrap();
        assert!(verdicts(&xdp).into_iter().eq(expect(true, true)));
        assert!(expect(true, true).filter(|verdict| *verdict == XDP_DROP).count() > 100);
        drop(on_udp);
        assert!(verdicts(&xdp).into_iter().eq(expect(false, true)));
        drop(on_length);
        assert!(verdicts(&xdp).into_iter().eq(expect(false, false)));
    }
}

#[test]
fn every_slot_of_the_dispatcher_takes_every_filter() {
    let Some(path) = installed("xdp-dispatcher.o") else { return };
    let runtime = Runtime::builder().cpus(1).build().unwrap();
    let object = dispatcher(&runtime, &path, 10);
    let xdp = object.program("xdp_dispatcher").unwrap();
    let filters =
        ["alw_all", "alw_eth", "alw_ip", "alw_tcp", "alw_udp", "dny_eth", "dny_ip", "dny_tcp"];
    let mut links = Vec::new();
    for (slot, name) in filters.iter().enumerate() {
        let Some(file) = installed(&format!("xdpfilt_{name}.o")) else { return };
        let open = runtime.open_file(file).unwrap().program(&format!("xdpfilt_{name}")).unwrap();
        let open = open.extend(&xdp, &format!("prog{slot}")).unwrap();
        links.push(open.load().unwrap().attach().unwrap());
    }
    // The first filter that allows nothing but what is named is the sixth.
    assert!(verdicts(&xdp).iter().all(|verdict| *verdict == XDP_DROP));
    links.truncate(5);
    assert!(verdicts(&xdp).iter().all(|verdict| *verdict == XDP_PASS));
}
