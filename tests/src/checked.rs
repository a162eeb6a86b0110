//! Accepted programs in checked memory: what the verifier accepts must never fault there.
//!
//! The world is a model: a context by the tables, a packet, maps whose values are regions of their
//! own, and helpers that hold their callers to the contracts. Nothing in it is unsafe, so a wrong
//! verdict shows as a [`Fault`], not as damage.

use std::sync::Arc;

use bpf_abi::ctx::{ContextKind, Yields, context_of};
use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, RunCx};
use bpf_abi::helper::{ArgKind, HelperProto, RetKind, TypeFlags, protos::PROTOS};
use bpf_abi::image::{BoundMap, Facts};
use bpf_abi::map::{MapInitValue, MapLayout, MapSpec, MapType};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};
use bpf_btf::Btf;
use bpf_interp::{
    Checked, Fault, FaultKind, HelperResult, Helpers, Limits, NoWitness, Permission, Plain, Witness,
};
use bpf_isa::{Call, Imm64, Insn, Program};
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::host::{Host, MapFacts};
use bpf_verifier::{Options, Rejection, verify};

use crate::mutants::Mutator;

/// How many instructions a run may take; a program that needs more has done nothing wrong.
const BUDGET: u64 = 300_000;

/// How many entries of a hash map the model holds.
const ENTRIES: usize = 64;

/// Where a map's value is in an instruction, until it has an address: the map's number above.
const MAP: u64 = 0x6d61_7000_0000_0000;

/// A described world whose helpers and maps have places, though nothing is there.
#[derive(Debug)]
struct Model(DescribedWorld);

extern "C" fn nothing(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}

impl Host for Model {
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno> {
        self.0.map(fd)
    }

    fn constant(&self, map: &MapFacts, off: u32, size: u32) -> Option<u64> {
        self.0.constant(map, off, size)
    }

    fn bind_map(&self, map: &MapFacts) -> BoundMap {
        let layout = MapLayout::Opaque;
        let handle = u64::from(map.id);
        BoundMap { handle, layout, value: Some(MAP), ..self.0.bind_map(map) }
    }

    fn helper_code(&self, _: &'static HelperProto) -> Option<HelperFn> {
        Some(nothing)
    }

    fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        None
    }

    fn check_map_owner(&self, map: &MapFacts, program: &ProgramSpec) -> Result<(), Errno> {
        self.0.check_map_owner(map, program)
    }
}

/// A program that was accepted, and can be run in the model.
#[derive(Debug)]
pub struct CheckedProgram<'a> {
    insns: Program,
    prog_type: ProgType,
    maps: &'a [MapSpec],
    /// Whether what it computes does not depend on what the model makes up.
    pub is_exact: bool,
}

/// What came of verifying a program for the model.
#[derive(Debug)]
pub enum Prepared<'a> {
    /// It was refused.
    Refused(Rejection),
    /// It was accepted, and needs what the model does not have.
    Beyond,
    /// It was accepted, and can be run.
    Accepted(CheckedProgram<'a>),
}

/// Verifies a program of an object, and makes it ready for the model.
pub fn prepare<'a>(
    object: &'a ObjectSpec,
    program: &ProgramSpec,
    options: &Options,
) -> Prepared<'a> {
    let mut world = DescribedWorld::new(None);
    for map in &object.maps {
        world.add_map(map, object.btf.as_ref());
    }
    let image = match verify(program, &Model(world), options).result {
        Ok(image) => image,
        Err(rejection) => return Prepared::Refused(rejection),
    };
    // Loads through pointers that nobody trusts read zero where there is nothing; in the model they
    // would count as faults.
    if image.notes.iter().any(|note| note.facts.contains(Facts::MAY_FAULT)) {
        return Prepared::Beyond;
    }
    let number = |index: i32| {
        let map = usize::try_from(index).ok().and_then(|index| image.maps.get(index));
        map.map_or(0, |map| map.handle)
    };
    let mut is_exact = true;
    let mut insns = Vec::new();
    for insn in image.program.insns() {
        #[expect(clippy::wildcard_enum_match_arm, reason = "what names nothing stays as it is")]
        insns.push(match *insn {
            Insn::LoadImm64 { dst, imm: Imm64::MapFd(index) } => {
                Insn::LoadImm64 { dst, imm: Imm64::Value(MAP + number(index)) }
            }
            Insn::LoadImm64 { dst, imm: Imm64::MapValue { fd, off } } => {
                // It gets its address in each run.
                let fd = i32::try_from(number(fd)).unwrap_or(i32::MAX);
                Insn::LoadImm64 { dst, imm: Imm64::MapValue { fd, off } }
            }
            Insn::LoadImm64 { imm: Imm64::Value(_), .. } => *insn,
            Insn::LoadImm64 { .. }
            | Insn::LoadAbs { .. }
            | Insn::LoadInd { .. }
            | Insn::AddrSpaceCast { .. }
            | Insn::Call(Call::Kfunc { .. }) => return Prepared::Beyond,
            Insn::Call(Call::Helper(id)) => {
                if !is_modelled(id) {
                    return Prepared::Beyond;
                }
                is_exact &= matches!(id, 1..=3);
                *insn
            }
            other => other,
        });
    }
    let modelled = |map: &MapSpec| bytes_of(map).is_some_and(|bytes| bytes <= 1 << 22);
    if !object.maps.iter().all(modelled) || context(program.prog_type).is_none() {
        return Prepared::Beyond;
    }
    let insns = Program::new(insns);
    let (prog_type, maps) = (program.prog_type, object.maps.as_slice());
    Prepared::Accepted(CheckedProgram { insns, prog_type, maps, is_exact })
}

/// How many bytes a map's values need, if the model has maps of this type.
fn bytes_of(map: &MapSpec) -> Option<u64> {
    let entries = if is_array(map.map_type) { u64::from(map.max_entries) } else { 64 };
    u64::from(map.value_size).checked_mul(entries)
}

const fn is_array(map_type: MapType) -> bool {
    matches!(map_type, MapType::Array | MapType::PercpuArray)
}

const fn is_hash(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash
    )
}

fn contract(id: i32) -> Option<&'static HelperProto> {
    let id = u32::try_from(id).ok()?;
    PROTOS.iter().find(|row| row.proto.id == id).map(|row| &row.proto)
}

/// Whether the model can hold a caller to the helper's contract and give a result.
fn is_modelled(id: i32) -> bool {
    let Some(proto) = contract(id) else { return false };
    let args = proto.args.iter().all(|arg| {
        matches!(
            arg.kind,
            ArgKind::Anything
                | ArgKind::Scalar
                | ArgKind::ConstMapPtr
                | ArgKind::MapKey
                | ArgKind::MapValue
                | ArgKind::Mem
                | ArgKind::ConstSize
                | ArgKind::ConstSizeOrZero
                | ArgKind::Ctx
        )
    });
    // What moves the packet is left out: the model's packet stays where it is.
    let stays = !matches!(id, 44 | 54 | 65) && !proto.name.contains("change_");
    args && stays && matches!(proto.ret.kind, RetKind::Integer | RetKind::Void | RetKind::MapValue)
}

/// The context of programs of this type, if the model can make one.
fn context(prog_type: ProgType) -> Option<&'static bpf_abi::ctx::Context> {
    let Some(ContextKind::Table(table)) = context_of(prog_type, None) else { return None };
    let modelled = table.fields.iter().all(|field| match field.yields {
        Yields::Scalar
        | Yields::Packet
        | Yields::PacketMeta
        | Yields::PacketEnd
        | Yields::SockCommonOrNull
        | Yields::SocketOrNull => true,
        Yields::Socket
        | Yields::FlowKeys
        | Yields::TpBuffer
        | Yields::NfHookState
        | Yields::SkBuff => false,
    });
    Some(table).filter(|_| modelled)
}

/// A map of the model: keys, and the addresses of their values.
struct Table<'a> {
    spec: &'a MapSpec,
    values: Vec<(Vec<u8>, u64)>,
}

impl<'a> Table<'a> {
    fn new(spec: &'a MapSpec, memory: &mut Checked) -> Self {
        let mut table = Self { spec, values: Vec::new() };
        if is_array(spec.map_type) {
            for index in 0..spec.max_entries {
                let value = memory.add(&vec![0; spec.value_size as usize], Permission::ReadWrite);
                table.values.push((index.to_le_bytes().to_vec(), value));
            }
        }
        for init in &spec.init {
            if let MapInitValue::Bytes(value) = &init.value {
                table.set(&init.key, value, memory);
            }
        }
        table
    }

    fn get(&self, key: &[u8]) -> Option<u64> {
        if is_array(self.spec.map_type) {
            let index = <[u8; 4]>::try_from(key).map(u32::from_le_bytes).ok()?;
            return self.values.get(index as usize).map(|(_, value)| *value);
        }
        self.values.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
    }

    /// Sets a value; whether it could be.
    fn set(&mut self, key: &[u8], value: &[u8], memory: &mut Checked) -> bool {
        if let Some(address) = self.get(key) {
            return memory.write(address, value);
        }
        if !is_hash(self.spec.map_type) || self.values.len() >= ENTRIES {
            return false;
        }
        self.values.push((key.to_vec(), memory.add(value, Permission::ReadWrite)));
        true
    }
}

/// The helpers of the model.
struct World<'a> {
    maps: Vec<Table<'a>>,
    random: Mutator,
}

impl Helpers for World<'_> {
    fn call(&mut self, id: i32, args: [u64; 5], memory: &mut Checked) -> HelperResult {
        let Some(proto) = contract(id) else { return HelperResult::Unknown };
        match self.hold(proto, args, memory) {
            Err(reason) => HelperResult::Refused(reason),
            Ok(()) => HelperResult::Returned(self.result(id, args, memory)),
        }
    }
}

impl World<'_> {
    fn map(&self, address: u64) -> Result<usize, String> {
        let index = usize::try_from(address.wrapping_sub(MAP)).ok();
        let index = index.filter(|index| *index < self.maps.len());
        index.ok_or_else(|| format!("{address:#x} is no map"))
    }

    /// Holds the caller to the contract.
    fn hold(
        &mut self,
        proto: &HelperProto,
        args: [u64; 5],
        memory: &Checked,
    ) -> Result<(), String> {
        let mut sizes = (0, 0);
        for (n, arg) in proto.args.iter().enumerate() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "others are no memory")]
            let len = match arg.kind {
                ArgKind::ConstMapPtr => {
                    let spec = self.maps[self.map(args[n])?].spec;
                    sizes = (spec.key_size, spec.value_size);
                    continue;
                }
                ArgKind::MapKey => u64::from(sizes.0),
                ArgKind::MapValue => u64::from(sizes.1),
                ArgKind::Mem if arg.flags.contains(TypeFlags::FIXED_SIZE) => u64::from(arg.size),
                ArgKind::Mem => args.get(n + 1).copied().unwrap_or(0),
                _ => continue,
            };
            if len == 0 || (args[n] == 0 && arg.flags.contains(TypeFlags::MAYBE_NULL)) {
                continue;
            }
            let len = usize::try_from(len).ok().filter(|len| *len <= 1 << 29);
            let len = len.ok_or_else(|| format!("argument {} is too long", n + 1))?;
            let fits = if arg.flags.intersects(TypeFlags::WRITE | TypeFlags::UNINIT) {
                let byte = |_| self.random.next().to_le_bytes()[0];
                let made_up: Vec<u8> = (0..len).map(byte).collect();
                memory.write(args[n], &made_up)
            } else {
                memory.read(args[n], len).is_some()
            };
            if !fits {
                return Err(format!("argument {} is not {len} bytes of memory", n + 1));
            }
        }
        Ok(())
    }

    /// What a call that keeps the contract gives.
    fn result(&mut self, id: i32, args: [u64; 5], memory: &mut Checked) -> u64 {
        const LOOKUP: i32 = 1;
        const UPDATE: i32 = 2;
        const DELETE: i32 = 3;
        let Ok(at) = self.map(args[0]).or_else(|_| self.map(args[1])) else {
            // Clocks and random numbers can be anything; others succeed.
            return if matches!(id, 5 | 7) { self.random.next() } else { 0 };
        };
        let table = &mut self.maps[at];
        let key = memory.read(args[1], table.spec.key_size as usize).unwrap_or_default();
        match id {
            LOOKUP => table.get(&key).unwrap_or(0),
            UPDATE => {
                let value = memory.read(args[2], table.spec.value_size as usize);
                let set = value.is_some_and(|value| table.set(&key, &value, memory));
                if set { 0 } else { Errno::E2BIG.to_register() }
            }
            DELETE if is_hash(table.spec.map_type) => {
                let before = table.values.len();
                table.values.retain(|(known, _)| *known != key);
                if table.values.len() < before { 0 } else { Errno::ENOENT.to_register() }
            }
            _ => match contract(id).map(|proto| proto.ret.kind) {
                Some(RetKind::MapValue) => 0,
                _ => Errno::EINVAL.to_register(),
            },
        }
    }
}

/// What came of a run in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRun {
    /// The program's result; `None` if it ran out of its budget.
    pub r0: Option<u64>,
    /// The packet as the program left it.
    pub data: Vec<u8>,
}

/// Where things are in a run.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Where the packet begins.
    pub packet: u64,
    /// Where values of maps begin; `None` if some come and go.
    pub values: Option<Vec<u64>>,
}

/// Somebody who is told where things are, and then of each step.
pub trait Onlooker: Witness {
    /// A run begins.
    fn begin(&mut self, places: Places);
}

impl Onlooker for NoWitness {
    fn begin(&mut self, _: Places) {}
}

impl CheckedProgram<'_> {
    /// Runs the program on a packet; what the packet does not say is made up from `seed`.
    ///
    /// # Errors
    ///
    /// Returns an error if the program touches what it may not, or calls what it may not: the
    /// verifier was wrong.
    ///
    /// # Panics
    ///
    /// Panics if the program is one that [`prepare`] does not make.
    pub fn run(&self, packet: &[u8], seed: u64) -> Result<CheckedRun, Fault> {
        self.watch(packet, seed, &mut NoWitness)
    }

    /// The same, telling `witness` of each step.
    ///
    /// # Errors
    ///
    /// Returns an error if the program touches what it may not, or calls what it may not: the
    /// verifier was wrong.
    ///
    /// # Panics
    ///
    /// Panics if the program is one that [`prepare`] does not make.
    pub fn watch<O: Onlooker>(
        &self,
        packet: &[u8],
        seed: u64,
        witness: &mut O,
    ) -> Result<CheckedRun, Fault> {
        let mut memory = Checked::default();
        let mut random = Mutator::new(seed);
        let table = context(self.prog_type).expect("the model has a context for it");
        let data = memory.add(packet, Permission::ReadWrite);
        let mut ctx = vec![0; table.host_size as usize];
        let mut put = |at: u32, bytes: &[u8]| {
            ctx[at as usize..][..bytes.len()].copy_from_slice(bytes);
        };
        for field in table.fields {
            let at = field.host.unwrap_or(field.off);
            match field.yields {
                Yields::Scalar => {
                    for at in field.off..field.off + field.size {
                        put(at, &random.next().to_le_bytes()[..1]);
                    }
                }
                Yields::Packet | Yields::PacketMeta => put(at, &data.to_le_bytes()),
                Yields::PacketEnd => put(at, &(data + packet.len() as u64).to_le_bytes()),
                Yields::SockCommonOrNull
                | Yields::SocketOrNull
                | Yields::Socket
                | Yields::FlowKeys
                | Yields::TpBuffer
                | Yields::NfHookState
                | Yields::SkBuff => {}
            }
        }
        let ctx = memory.add(&ctx, Permission::ReadWrite);
        let maps: Vec<Table<'_>> =
            self.maps.iter().map(|spec| Table::new(spec, &mut memory)).collect();
        let all = self.maps.iter().all(|spec| is_array(spec.map_type));
        let values = maps.iter().flat_map(|map| &map.values).map(|(_, value)| *value);
        let values = if all { Some(values.collect()) } else { None };
        witness.begin(Places { packet: data, values });
        let placed = |insn: &Insn| {
            let Insn::LoadImm64 { dst, imm: Imm64::MapValue { fd, off } } = *insn else {
                return *insn;
            };
            let map = usize::try_from(fd).ok().and_then(|fd| maps.get(fd));
            let value = map.and_then(|map| map.values.first()).map_or(0, |(_, value)| *value);
            Insn::LoadImm64 { dst, imm: Imm64::Value(value.wrapping_add(u64::from(off))) }
        };
        let insns = self.insns.insns().iter().map(placed);
        let plain = Plain::new(&Program::new(insns.collect()));
        let mut world = World { maps, random };
        let limits = Limits::new(BUDGET).with_helpers(&mut world);
        let r0 = match plain.watch(&mut memory, [ctx, 0, 0, 0, 0], limits, witness) {
            Ok(r0) => Some(r0),
            Err(Fault { kind: FaultKind::Budget(_), .. }) => None,
            Err(fault) => return Err(fault),
        };
        let data = memory.read(data, packet.len()).unwrap_or_default();
        Ok(CheckedRun { r0, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_isa::asm::assemble;

    #[test]
    fn harm_is_noticed() {
        // Nobody verified these.
        let run = |text: &str| {
            let insns = assemble(text).unwrap();
            let program =
                CheckedProgram { insns, prog_type: ProgType::Xdp, maps: &[], is_exact: true };
            program.run(&[0; 64], 1).map(|run| run.r0)
        };
        let packet = "r1 = *(u64 *)(r1 +24)\n";
        assert_eq!(run(&format!("{packet}r0 = *(u8 *)(r1 +63)\nexit")), Ok(Some(0)));
        assert!(run(&format!("{packet}r0 = *(u8 *)(r1 +64)\nexit")).is_err());
        assert!(run("r0 = *(u8 *)(r1 +48)\nexit").is_err());
        // Eight bytes of stack for a helper that writes sixteen.
        let helper = "r3 = r10\nr3 += -8\nr2 = 0\nr4 = 16\ncall 26\nexit";
        assert!(run(helper).unwrap_err().to_string().contains("argument 3"));
        assert!(run("r1 = 5\nr2 = r10\nr2 += -8\ncall 1\nexit").is_err());
        assert_eq!(run("again: goto again"), Ok(None));
    }
}
