//! Who may share a program array with whom: programs of every type, two and two, put into an array or
//! using one, here and in the kernel.

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::map::{MapInit, MapInitValue, MapSpec, MapType};
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::{AttachTo, ObjectSpec, ProgramSpec};
use bpf_btf::{Btf, KindCode};
use bpf_oracle::kernel as linux;
use bpf_tests::places::{Places, engines};
use bpf_tests::text;
use bpfkit::prelude::*;

/// A program that uses the array, and one that can be put into it.
const USER: &str = "r2 = map[jumps] ll\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit";
const MEMBER: &str = "r0 = 0\nexit";
/// A program that uses two, and one that the verifier refuses.
const USER_OF_BOTH: &str = "
    r6 = r1
    r2 = map[jumps] ll
    r3 = 0
    call bpf_tail_call
    r1 = r6
    r2 = map[other] ll
    r3 = 0
    call bpf_tail_call
    r0 = 0
    exit";
const REFUSED: &str = "r2 = map[jumps] ll\nr3 = 0\ncall bpf_tail_call\nexit";
/// As a member, but may have the probed function not run at all.
const OVERRIDING: &str = "r2 = 0\ncall bpf_override_return\nr0 = 0\nexit";

/// A kind of program.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    prog_type: ProgType,
    attach: u32,
    flags: ProgFlags,
    /// The kernel's tracepoint that it is for.
    traces: Option<&'static str>,
    member: &'static str,
}

const fn kind(name: &'static str, prog_type: ProgType, attach: u32) -> Kind {
    let (flags, traces) = (ProgFlags::empty(), None);
    Kind { name, prog_type, attach, flags, traces, member: MEMBER }
}

const KINDS: &[Kind] = &[
    kind("xdp", ProgType::Xdp, 37),
    kind("xdp, no place said", ProgType::Xdp, 0),
    kind("xdp of a device map", ProgType::Xdp, 35),
    kind("xdp of a CPU map", ProgType::Xdp, 41),
    Kind { flags: ProgFlags::XDP_HAS_FRAGS, ..kind("xdp with fragments", ProgType::Xdp, 37) },
    kind("tc", ProgType::SchedCls, 0),
    kind("tc ingress", ProgType::SchedCls, 46),
    kind("action", ProgType::SchedAct, 0),
    kind("socket filter", ProgType::SocketFilter, 0),
    kind("cgroup ingress", ProgType::CgroupSkb, 0),
    kind("cgroup egress", ProgType::CgroupSkb, 1),
    kind("cgroup socket", ProgType::CgroupSock, 2),
    kind("cgroup socket, no place said", ProgType::CgroupSock, 0),
    kind("cgroup bind", ProgType::CgroupSock, 12),
    kind("reuseport", ProgType::SkReuseport, 0),
    kind("reuseport select", ProgType::SkReuseport, 39),
    kind("reuseport migrate", ProgType::SkReuseport, 40),
    kind("cgroup connect4", ProgType::CgroupSockAddr, 10),
    kind("cgroup connect6", ProgType::CgroupSockAddr, 11),
    kind("cgroup sysctl", ProgType::CgroupSysctl, 18),
    kind("sock_ops", ProgType::SockOps, 3),
    kind("stream verdict", ProgType::SkSkb, 5),
    kind("stream parser", ProgType::SkSkb, 4),
    kind("message", ProgType::SkMsg, 7),
    kind("lwt in", ProgType::LwtIn, 0),
    kind("flow dissector", ProgType::FlowDissector, 17),
    kind("sk_lookup", ProgType::SkLookup, 36),
    kind("kprobe", ProgType::Kprobe, 0),
    kind("kprobe of many", ProgType::Kprobe, 42),
    Kind { flags: ProgFlags::SLEEPABLE, ..kind("sleepable kprobe", ProgType::Kprobe, 0) },
    Kind { member: OVERRIDING, ..kind("overriding kprobe", ProgType::Kprobe, 0) },
    kind("tracepoint", ProgType::Tracepoint, 0),
    kind("raw tracepoint", ProgType::RawTracepoint, 0),
    kind("writable tracepoint", ProgType::RawTracepointWritable, 0),
    kind("perf event", ProgType::PerfEvent, 0),
    Kind { traces: Some("sys_enter"), ..kind("typed sys_enter", ProgType::Tracing, 23) },
    Kind { traces: Some("sys_exit"), ..kind("typed sys_exit", ProgType::Tracing, 23) },
    Kind { traces: Some("sched_switch"), ..kind("typed switch", ProgType::Tracing, 23) },
    Kind { traces: Some("sched_wakeup"), ..kind("typed wakeup", ProgType::Tracing, 23) },
    Kind { traces: Some("sched_wakeup_new"), ..kind("typed first wakeup", ProgType::Tracing, 23) },
    Kind { traces: Some("sched_process_exit"), ..kind("typed exit", ProgType::Tracing, 23) },
    kind("netfilter", ProgType::Netfilter, 45),
    Kind { flags: ProgFlags::SLEEPABLE, ..kind("syscall", ProgType::Syscall, 0) },
];

impl Kind {
    fn program(self, name: &str, text: &str) -> ProgramSpec {
        let mut spec = text::program(name, self.prog_type, text, &maps()).unwrap();
        spec.expected_attach_type = AttachType::new(self.attach);
        spec.flags = self.flags;
        spec.attach_to = self.traces.map(|name| AttachTo::Kernel(name.to_owned()));
        spec
    }
}

/// The arrays that programs name.
fn maps() -> [MapSpec; 2] {
    ["jumps", "other"].map(|name| MapSpec::new(name, MapType::ProgArray, 4, 4, 2))
}

/// What is done with a program and an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// It is put in.
    Insert,
    /// It is put in, and taken out again.
    InsertAndDelete,
    /// A program of this kind is loaded that uses it.
    Use,
}

const ACTS: [[Act; 2]; 5] = [
    [Act::Insert, Act::Insert],
    [Act::InsertAndDelete, Act::Insert],
    [Act::Use, Act::Insert],
    [Act::InsertAndDelete, Act::Use],
    [Act::Use, Act::Use],
];

/// Where arrays and programs are.
trait World {
    type Array;
    type Program;
    fn array(&self) -> Self::Array;
    /// Loads a program that names these arrays.
    fn load(
        &self,
        kind: Kind,
        text: &str,
        arrays: [&Self::Array; 2],
    ) -> Result<Self::Program, Errno>;
    fn insert(&self, array: &Self::Array, program: &Self::Program) -> Result<(), Errno>;
    fn delete(&self, array: &Self::Array) -> Result<(), Errno>;

    fn member(&self, kind: Kind) -> Result<Self::Program, Errno> {
        let array = self.array();
        self.load(kind, kind.member, [&array, &array])
    }

    fn act(
        &self,
        act: Act,
        kind: Kind,
        member: &Self::Program,
        array: &Self::Array,
    ) -> Result<(), Errno> {
        match act {
            Act::Use => self.load(kind, USER, [array, array]).map(drop),
            Act::Insert => self.insert(array, member),
            Act::InsertAndDelete => {
                self.insert(array, member)?;
                self.delete(array)
            }
        }
    }
}

struct Linux {
    types: Option<Arc<Btf>>,
}

impl World for Linux {
    type Array = linux::Map;
    type Program = linux::Program;

    fn array(&self) -> linux::Map {
        let attr = linux::MapAttr {
            name: "jumps",
            map_type: MapType::ProgArray.number(),
            key_size: 4,
            value_size: 4,
            max_entries: 2,
            ..linux::MapAttr::default()
        };
        linux::Map::create(&attr).unwrap()
    }

    fn load(
        &self,
        kind: Kind,
        text: &str,
        arrays: [&linux::Map; 2],
    ) -> Result<linux::Program, Errno> {
        let mut spec = kind.program("p", text);
        for slot in spec.insns.iter_mut().filter(|slot| slot.opcode == 0x18) {
            slot.imm = arrays[usize::try_from(slot.imm).unwrap()].fd();
        }
        let traced = kind.traces.map(|name| {
            let types = self.types.as_ref().unwrap();
            types.by_name_kind(&format!("btf_trace_{name}"), KindCode::Typedef).unwrap().0
        });
        let insns: Vec<u8> = spec.insns.into_iter().flat_map(bpf_isa::Slot::to_bytes).collect();
        let attr = linux::ProgAttr {
            prog_type: kind.prog_type.number(),
            expected_attach_type: kind.attach,
            flags: kind.flags.bits(),
            license: "GPL",
            insns: &insns,
            attach_btf_id: traced.unwrap_or(0),
            ..linux::ProgAttr::default()
        };
        linux::Program::load(&attr, 0).result
    }

    fn insert(&self, array: &linux::Map, program: &linux::Program) -> Result<(), Errno> {
        array.update_program(&[0; 4], program)
    }

    fn delete(&self, array: &linux::Map) -> Result<(), Errno> {
        array.delete(&[0; 4])
    }
}

impl World for Runtime {
    type Array = ProgArray;
    type Program = Program;

    fn array(&self) -> ProgArray {
        self.create_map(&maps()[0]).unwrap().prog_array().unwrap()
    }

    fn load(&self, kind: Kind, text: &str, arrays: [&ProgArray; 2]) -> Result<Program, Errno> {
        let (name, programs) = ("o".to_owned(), vec![kind.program("p", text)]);
        let maps = maps().to_vec();
        let mut open = self.open(ObjectSpec { name, maps, programs, ..ObjectSpec::default() });
        for (name, array) in ["jumps", "other"].into_iter().zip(arrays) {
            open.reuse_map(name, array.map()).unwrap();
        }
        let object = open.load().map_err(|error| error.errno())?;
        object.program("p").map_err(|error| error.errno())
    }

    fn insert(&self, array: &ProgArray, program: &Program) -> Result<(), Errno> {
        array.set(0, program).map_err(|error| error.errno())
    }

    fn delete(&self, array: &ProgArray) -> Result<(), Errno> {
        array.delete(0).map_err(|error| error.errno())
    }
}

type Row = (String, Result<(), Errno>, Result<(), Errno>);

/// What comes of everything, a row for each two kinds and two acts.
fn everything<W: World>(world: &W) -> Vec<Row> {
    let members: Vec<_> = KINDS.iter().map(|kind| world.member(*kind)).collect();
    let mut rows = Vec::new();
    for (kind, member) in KINDS.iter().zip(&members) {
        let loaded = member.as_ref().map(drop).map_err(|errno| *errno);
        rows.push((kind.name.to_owned(), loaded, Ok(())));
    }
    for (first, a) in KINDS.iter().zip(&members) {
        for (second, b) in KINDS.iter().zip(&members) {
            let (Ok(a), Ok(b)) = (a, b) else { continue };
            for acts in ACTS {
                let array = world.array();
                let one = world.act(acts[0], *first, a, &array);
                let other = world.act(acts[1], *second, b, &array);
                let name = format!("{:?} {}, {:?} {}", acts[0], first.name, acts[1], second.name);
                rows.push((name, one, other));
            }
        }
    }
    rows
}

/// What is left of loads that were refused: which types fit into arrays that they named.
fn after_refusals<W: World>(world: &W) -> Vec<Row> {
    let (xdp, tc) = (KINDS[0], KINDS[5]);
    let (xdps, tcs) = (world.member(xdp).unwrap(), world.member(tc).unwrap());
    let mut rows = Vec::new();
    let mut row = |name: &str, load: Result<(), Errno>, arrays: [&W::Array; 2]| {
        rows.push((name.to_owned(), load, Ok(())));
        for array in arrays {
            let (one, other) = (world.insert(array, &tcs), world.insert(array, &xdps));
            rows.push((format!("{name}: an array"), one, other));
        }
    };
    for text in [USER_OF_BOTH, REFUSED] {
        let [fresh, other] = [world.array(), world.array()];
        let load = world.load(xdp, text, [&fresh, &other]).map(drop);
        row("two arrays that are free", load, [&fresh, &other]);

        let [fresh, taken] = [world.array(), world.array()];
        world.insert(&taken, &tcs).unwrap();
        let load = world.load(xdp, text, [&fresh, &taken]).map(drop);
        row("the second is another's", load, [&fresh, &taken]);

        let [taken, fresh] = [world.array(), world.array()];
        world.insert(&taken, &tcs).unwrap();
        let load = world.load(xdp, text, [&taken, &fresh]).map(drop);
        row("the first is another's", load, [&taken, &fresh]);
    }
    rows
}

/// Asks the kernel and an engine, and compares: what is compared does not depend on engines.
fn compare(what: impl Fn(&Linux) -> Vec<Row>, ours: impl Fn(&Runtime) -> Vec<Row>) -> usize {
    let (_, runtime) = engines().swap_remove(0);
    let kernel = what(&Linux { types: runtime.kernel_btf().cloned() });
    let ours = ours(&runtime);
    let differing: Vec<String> = kernel
        .iter()
        .zip(&ours)
        .filter(|(kernel, ours)| kernel != ours)
        .map(|(kernel, ours)| format!("kernel {kernel:?}, ours {ours:?}"))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    kernel.len()
}

#[test]
fn programs_share_arrays_with_those_that_the_kernel_lets_them_share_with() {
    if bpf_tests::kernel::may_ask() {
        let rows = compare(everything, everything);
        assert!(rows > 5000, "{rows} rows");
    }
}

#[test]
fn a_load_that_is_refused_settles_the_arrays_before_the_one_it_is_refused_for() {
    if bpf_tests::kernel::may_ask() {
        assert!(compare(after_refusals, after_refusals) > 10);
    }
}

/// Chains of 34 of programs of one type, and one more.
#[test]
fn chains_run_in_programs_of_every_type_that_takes_packets() {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    let names: Vec<String> = (0..36).map(|number| format!("p{number}")).collect();
    let mut kinds = 0;
    // Those of control groups answer 0 or 1.
    let result = |kind: Kind, number: usize| {
        if kind.prog_type == ProgType::CgroupSkb { number & 1 } else { number }
    };
    for kind in KINDS {
        let text = |number: usize| {
            let (next, result) = (number + 1, result(*kind, number));
            // Every third index is one that is not known at load.
            let index = if number.is_multiple_of(3) {
                format!("r3 = *(u32 *)(r10 -4)\nr3 += {next}")
            } else {
                format!("r3 = {next}")
            };
            format!(
                "r4 = 0\n*(u32 *)(r10 -4) = r4\n{index}\nr2 = map[jumps] ll\n\
                 call bpf_tail_call\nr0 = {result}\nexit"
            )
        };
        let mut object =
            ObjectSpec { name: "chain".to_owned(), maps: maps().to_vec(), ..ObjectSpec::default() };
        object.maps[0].max_entries = 64;
        for (number, name) in names.iter().enumerate() {
            object.programs.push(kind.program(name, &text(number)));
        }
        let slots = (0_u32..).zip(&names).map(|(index, name)| MapInit {
            key: index.to_le_bytes().to_vec(),
            value: MapInitValue::Program(name.clone()),
        });
        object.maps[0].init = slots.collect();
        // Those that the kernel runs on a packet.
        let Ok(places) = Places::load(&object) else { continue };
        let packet = [0; 64];
        let run = linux::TestRun { data: Some(&packet), ..linux::TestRun::default() };
        let program = places.kernel.as_ref().and_then(|kernel| kernel.program("p0"));
        if program.is_none_or(|program| program.test_run(&run).is_err()) {
            continue;
        }
        let Ok(ran) = places.run("p0", &packet) else { continue };
        assert_eq!(ran.r0, u32::try_from(result(*kind, 33)).unwrap(), "{}", kind.name);
        let from_second = places.run("p2", &packet).unwrap().r0;
        assert_eq!(from_second, u32::try_from(result(*kind, 35)).unwrap(), "{}", kind.name);
        kinds += 1;
    }
    assert!(kinds >= 10, "{kinds} kinds");
}

#[test]
fn frozen_arrays_serve_programs_and_slots_keep_what_the_host_let_go_of() {
    if !bpf_tests::kernel::may_ask() {
        return;
    }
    const ANSWER: &str = "r0 = 42\nexit";
    let (xdp, packet) = (KINDS[0], [0; 64]);
    let kernel = Linux { types: None };
    let array = kernel.array();
    let user = kernel.load(xdp, USER, [&array, &array]).unwrap();
    kernel.insert(&array, &kernel.load(xdp, ANSWER, [&array, &array]).unwrap()).unwrap();
    array.freeze().unwrap();
    let run = linux::TestRun { data: Some(&packet), ..linux::TestRun::default() };
    assert_eq!(user.test_run(&run).unwrap().retval, 42);
    assert_eq!(kernel.delete(&array), Err(Errno::EPERM));
    for (engine, runtime) in engines() {
        let array = runtime.array();
        let user = runtime.load(xdp, USER, [&array, &array]).unwrap();
        let answer = runtime.load(xdp, ANSWER, [&array, &array]).unwrap();
        let id = answer.id();
        runtime.insert(&array, &answer).unwrap();
        drop(answer);
        array.map().freeze().unwrap();
        let answer = || user.test_run(&TestRun::packet(&packet)).unwrap().return_value;
        assert_eq!(answer(), 42, "{engine}");
        assert_eq!(runtime.delete(&array), Err(Errno::EPERM), "{engine}");
        assert!(runtime.program(id).is_some(), "{engine}: the slot keeps it");
        // Whoever holds the last handle may empty even what nobody may change.
        drop(array);
        assert_eq!(answer(), 0, "{engine}");
        assert!(runtime.program(id).is_none(), "{engine}");
    }
}

#[test]
fn a_map_of_maps_has_no_program_arrays() {
    for (engine, runtime) in engines() {
        for map_type in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
            let mut spec = MapSpec::new("outer", map_type, 4, 4, 2);
            spec.inner = Some(Box::new(maps()[0].clone()));
            let error = runtime.create_map(&spec).unwrap_err();
            assert_eq!(error.errno(), Errno::ENOTSUPP, "{engine}: {error}");
            if bpf_tests::kernel::may_ask() {
                let inner = Linux { types: None }.array();
                let attr = linux::MapAttr {
                    name: "outer",
                    map_type: map_type.number(),
                    key_size: 4,
                    value_size: 4,
                    max_entries: 2,
                    inner: Some(&inner),
                    ..linux::MapAttr::default()
                };
                assert_eq!(linux::Map::create(&attr).unwrap_err(), Errno::ENOTSUPP);
            }
        }
    }
}
