//! Many threads: programs run while what they jump to is exchanged and unloaded.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bpfkit::prelude::*;

fn load(runtime: &Runtime) -> Object {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    runtime.open_file(root.join("examples/dispatch.bpf.o")).unwrap().load().unwrap()
}

/// An Ethernet frame with IPv4 and UDP in it, to port 53.
fn dns() -> Vec<u8> {
    let mut bytes = vec![0; 80];
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[16..18].copy_from_slice(&[0, 66]);
    bytes[22..24].copy_from_slice(&[64, 17]);
    bytes[34..42].copy_from_slice(&[0x12, 0x34, 0, 53, 0, 46, 0, 0]);
    bytes
}

/// Runs the example on two threads while a third exchanges the parser of UDP for one that is
/// loaded afresh and unloaded right after.
fn exchange(engine: EngineChoice, rounds: usize) {
    let runtime = Runtime::builder().engine(engine).cpus(2).count(true).build().unwrap();
    let object = load(&runtime);
    let entry = object.program("dispatch").unwrap();
    let slots = object.map("protocols").unwrap().prog_array().unwrap();
    let (stop, runs) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let bytes = dns();
                let mut packet = entry.packet(&bytes).unwrap();
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    packet.set(&bytes).unwrap();
                    assert_eq!(entry.run(&mut packet).unwrap(), XDP_PASS);
                    own += 1;
                }
                runs.fetch_add(own, Ordering::Relaxed);
            });
        }
        for round in 0..rounds {
            let fresh = load(&runtime).program("parse_udp").unwrap();
            slots.set(17, &fresh).unwrap();
            drop(fresh);
            if round % 3 == 0 {
                slots.delete(17).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(runs.load(Ordering::Relaxed) > 0);
    slots.clear().unwrap();
    // What was exchanged is gone: the object's own programs are left.
    let left: Vec<String> =
        runtime.programs().iter().map(|program| program.name().to_owned()).collect();
    assert_eq!(left.len(), object.programs().len(), "{left:?}");
}

#[test]
fn programs_are_exchanged_while_others_run_them_interpreted() {
    exchange(EngineChoice::Interp, 12);
}

#[test]
fn programs_are_exchanged_while_others_run_them_compiled() {
    exchange(EngineChoice::Jit, 12);
}

#[test]
fn runtimes_do_not_know_of_each_other() {
    let (one, other) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let (mine, yours) = (load(&one), load(&other));
    assert_eq!(mine.programs()[0].id(), yours.programs()[0].id());
    mine.program("dispatch").unwrap().test_run(&TestRun::packet(&dns())).unwrap();
    let flows = |object: &Object| object.map("flows").unwrap().entries().unwrap().len();
    assert_eq!((flows(&mine), flows(&yours)), (1, 0));
}

#[test]
fn handles_may_go_to_other_threads() {
    fn is_shared<T: Clone + Send + Sync>(_: &T) {}
    let runtime = Runtime::new().unwrap();
    let object = load(&runtime);
    is_shared(&runtime);
    is_shared(&object);
    is_shared(&object.programs()[0]);
    is_shared(&object.map("flows").unwrap());
}
