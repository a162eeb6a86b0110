//! Runtimes side by side share nothing: what belongs to one is refused by another, since values have
//! room for the CPUs of their own runtime.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::ProgType;
use bpf_runtime::{Error, LoadError, Object, Runtime};
use bpf_tests::corpus::file;
use bpf_tests::text;
use bpfkit::OpenElf as _;

const COUNTS: &str = "
    r2 = map[jumps] ll
    r3 = 0
    call bpf_tail_call
    *(u32 *)(r10 -4) = 0
    r1 = map[counts] ll
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    r0 = 0
    exit";

fn maps() -> Vec<MapSpec> {
    vec![
        MapSpec::new("jumps", MapType::ProgArray, 4, 4, 1),
        MapSpec::new("counts", MapType::PercpuArray, 4, 8, 1),
    ]
}

fn runtime(cpus: u32) -> Runtime {
    Runtime::builder().cpus(cpus).build().unwrap()
}

fn object(runtime: &Runtime) -> Object {
    let spec = text::object(ProgType::Xdp, maps(), &[("p", COUNTS)]).unwrap();
    runtime.open(spec).load().unwrap()
}

fn is_refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::OtherRuntime { .. }), "{error}");
    assert_eq!(error.errno(), Errno::EINVAL);
}

#[test]
fn programs_and_maps_are_not_used_by_another_runtime() {
    let (one, many) = (runtime(1), runtime(8));
    let (small, large) = (object(&one), object(&many));
    let slots = large.map("jumps").unwrap().prog_array().unwrap();
    let foreign = small.program("p").unwrap();
    is_refused(slots.set(0, &foreign));
    // By the crate of maps alone, too.
    let raw = slots.map().raw().as_prog_array().unwrap();
    let error = raw.set(0, foreign.as_runnable(), UpdateFlags::empty()).unwrap_err();
    assert_eq!(error.errno(), Errno::EINVAL);
    slots.set(0, &large.program("p").unwrap()).unwrap();
    assert!(slots.get(&many, 0).is_some());
    assert!(slots.get(&one, 0).is_none());

    let spec = text::object(ProgType::Xdp, maps(), &[("p", COUNTS)]).unwrap();
    let mut open = many.open(spec);
    is_refused(open.reuse_map("counts", &small.map("counts").unwrap()));
    open.reuse_map("counts", &large.map("counts").unwrap()).unwrap();

    for map_type in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
        let mut outer = MapSpec::new("outer", map_type, 4, 4, 1);
        outer.inner = Some(Box::new(maps().swap_remove(1)));
        let outer = many.create_map(&outer).unwrap();
        let error = outer.set_inner(&[0; 4], &small.map("counts").unwrap()).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        outer.set_inner(&[0; 4], &large.map("counts").unwrap()).unwrap();
    }
}

#[test]
fn programs_are_not_extended_by_another_runtime() {
    let open =
        |runtime: &Runtime| runtime.open_file(file("tests/objects/tail_attach.bpf.o")).unwrap();
    let (one, many) = (runtime(1), runtime(8));
    let target = open(&one).program("callee").unwrap().load().unwrap();
    is_refused(open(&many).program("extension").unwrap().extend(&target, "f"));
    let mut aimed = open(&many);
    aimed.choose(&["extension"]).unwrap();
    aimed.attach_target(Some(&target), target.function_id("f").unwrap());
    let error = aimed.load().unwrap_err();
    assert!(matches!(error, LoadError::BadProgram { .. }), "{error}");

    let own = open(&many).program("callee").unwrap().load().unwrap();
    let extension = open(&many).program("extension").unwrap().extend(&own, "f").unwrap();
    let extension = extension.load().unwrap();
    is_refused(extension.attach_to(&target, "f"));
    drop(extension.attach().unwrap());
}

#[test]
fn a_frozen_array_is_not_emptied() {
    let runtime = runtime(1);
    let object = object(&runtime);
    let slots = object.map("jumps").unwrap().prog_array().unwrap();
    slots.set(0, &object.program("p").unwrap()).unwrap();
    slots.clear().unwrap();
    assert!(slots.get(&runtime, 0).is_none());
    slots.set(0, &object.program("p").unwrap()).unwrap();
    slots.map().freeze().unwrap();
    assert_eq!(slots.clear().unwrap_err().errno(), Errno::EPERM);
    assert!(slots.get(&runtime, 0).is_some());
}
