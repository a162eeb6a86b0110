//! The firewall of the examples: filters exchanged under traffic, and every packet accounted for.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bpfkit::prelude::*;

bpfkit::plain! {
    #[derive(Clone, Copy, Debug, Default)]
    struct Three {
        a: u64,
        b: u64,
        c: u64,
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/firewall").join(name)
}

fn sum(values: Vec<Three>) -> [u64; 3] {
    values.iter().fold([0; 3], |[a, b, c], one| [a + one.a, b + one.b, c + one.c])
}

#[test]
fn every_packet_is_judged_by_the_old_function_or_the_new_and_none_is_lost() {
    // ICMP, long; as the filters see them.
    let mut icmp = vec![0; 64];
    icmp[12..15].copy_from_slice(&[8, 0, 0x45]);
    icmp[23] = 1;
    let packets = [icmp, vec![1; 1400], vec![2; 60]];
    for engine in [EngineChoice::Jit, EngineChoice::Interp] {
        let runtime = Runtime::builder().engine(engine).cpus(3).build().unwrap();
        let object = runtime.open_file(file("dispatcher.bpf.o")).unwrap().load().unwrap();
        let firewall = object.program("firewall").unwrap();
        let load = |name: &str, slot: &str| {
            let open = runtime.open_file(file(name)).unwrap().program("filter").unwrap();
            open.extend(&firewall, slot).unwrap().load().unwrap()
        };
        let (icmp, length) = (load("icmp.bpf.o", "prog0"), load("length.bpf.o", "prog3"));
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let work = || {
                let mut packet = firewall.packet(&packets[0]).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for bytes in &packets {
                        packet.set(bytes).unwrap();
                        let verdict = firewall.run(&mut packet).unwrap();
                        // Nobody drops the last.
                        assert!(verdict == XDP_PASS || (verdict == XDP_DROP && bytes[0] != 2));
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            };
            let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
            let mut exchanges = 0;
            while exchanges < 300 || sent.load(Ordering::Relaxed) < 20_000 {
                exchanges += 1;
                // What they were loaded for is used up by the first link.
                let on_icmp = icmp.attach_to(&firewall, "prog0").unwrap();
                let on_length = length.attach_to(&firewall, "prog3").unwrap();
                drop(on_icmp);
                thread::yield_now();
                drop(on_length);
            }
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().for_each(|worker| worker.join().unwrap());
        });
        let sent = sent.into_inner();

        let verdicts = object.map("verdicts").unwrap().percpu_array::<Three>().unwrap();
        let slots = [0, 1, 2, 3].map(|slot| sum(verdicts.get(slot).unwrap()));
        assert_eq!(slots[0].iter().sum::<u64>(), sent);
        for (slot, next) in slots.iter().zip(&slots[1..]) {
            assert_eq!(slot[0], next.iter().sum::<u64>(), "what passes one slot comes to the next");
        }
        for (program, slot) in [(&icmp, 0), (&length, 3)] {
            let maps = program.info().map_ids.into_iter().map(|id| runtime.map(id).unwrap());
            let judged = maps.into_iter().find(|map| map.info().name == "judged").unwrap();
            let [seen, passed, dropped] = sum(judged.percpu_array().unwrap().get(0).unwrap());
            assert_eq!(seen, passed + dropped);
            assert_eq!(slots[slot][1], dropped, "the dispatcher and the filter count the same");
            assert!(seen > 0, "the filter was attached while packets came");
        }
    }
}

#[test]
fn a_filter_of_another_type_is_refused_with_the_kernels_words() {
    let runtime = Runtime::new().unwrap();
    let object = runtime.open_file(file("dispatcher.bpf.o")).unwrap().load().unwrap();
    let firewall = object.program("firewall").unwrap();
    let open = || runtime.open_file(file("icmp.bpf.o")).unwrap().program("filter").unwrap();
    let error = open().extend(&firewall, "prog9").unwrap_err();
    assert_eq!(
        error.to_string(),
        "program \"filter\" was not attached: program \"firewall\" has no function \"prog9\" that its types name"
    );
    let extension = open().extend(&firewall, "prog0").unwrap().load().unwrap();
    let link = extension.attach().unwrap();
    let second = open().extend(&firewall, "prog0").unwrap().load().unwrap();
    let busy = second.attach().unwrap_err();
    assert_eq!(busy.errno().name(), Some("EBUSY"));
    drop(link);
    drop(second.attach().unwrap());
}
