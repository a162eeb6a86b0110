//! The peers: other engines, given the very instructions that ours run.
//!
//! They get the rewritten program, whose context is the host's structure, with addresses in the
//! place of maps. A peer that refuses a program, or computes something else, does not take part.
#![expect(unsafe_code, reason = "peers work on addresses")]

use std::ptr::NonNull;
use std::sync::Arc;

use bpf_abi::image::Image;
use bpf_isa::{Imm64, Insn, Program};
use solana_sbpf::ebpf::MM_STACK_START;
use solana_sbpf::elf::Executable;
use solana_sbpf::memory_region::{MemoryMapping, MemoryRegion};
use solana_sbpf::program::{BuiltinProgram, FunctionRegistry, SBPFVersion};
use solana_sbpf::vm::{CallFrame, Config, ContextObject, EbpfVm, ExecutionMode};

use crate::contender::Contender;
use crate::inputs::element;

/// Where the host keeps the packet's ends in an `xdp_md`, in words.
const DATA: usize = 3;
const DATA_END: usize = 4;
const DATA_META: usize = 5;

/// What a program of a peer works on. Its parts stay where they are.
struct Memory {
    context: Box<[u64; 16]>,
    packet: Box<[u8]>,
    maps: Vec<PeerMap>,
}

/// An array map of a peer: what its lookup helper is given.
struct PeerMap {
    name: String,
    value_size: u32,
    stride: usize,
    max_entries: u32,
    values: Box<[u8]>,
}

impl Memory {
    fn new(image: &Image, packet: &[u8]) -> Option<Self> {
        let packet: Box<[u8]> = packet.into();
        let start = packet.as_ptr().expose_provenance() as u64;
        let mut context = Box::new([0; 16]);
        context[DATA] = start;
        context[DATA_END] = start + packet.len() as u64;
        context[DATA_META] = start;
        let maps = image.maps.iter().map(|map| {
            let bpf_abi::map::MapLayout::Array { stride, max_entries, .. } = map.layout else {
                return None;
            };
            let (stride, value_size) = (stride as usize, map.value_size);
            let values = vec![0; stride * max_entries as usize].into_boxed_slice();
            let name = map.name.clone();
            Some(PeerMap { name, value_size, stride, max_entries, values })
        });
        Some(Self { context, packet, maps: maps.collect::<Option<_>>()? })
    }

    /// The program, with the addresses of this memory's maps in it.
    fn program(&self, image: &Image) -> Option<Vec<u8>> {
        let insns = image.program.insns().iter().map(|insn| {
            let Insn::LoadImm64 { dst, imm: Imm64::MapFd(map) } = *insn else {
                return Some(*insn);
            };
            let map = self.maps.get(usize::try_from(map).ok()?)?;
            let address = std::ptr::from_ref::<PeerMap>(map).expose_provenance() as u64;
            Some(Insn::LoadImm64 { dst, imm: Imm64::Value(address) })
        });
        Some(Program::new(insns.collect::<Option<_>>()?).to_bytes())
    }

    fn reset(&mut self) {
        for map in &mut self.maps {
            for (key, value) in (0..).zip(map.values.chunks_mut(map.stride)) {
                let element = element(&map.name, key, map.value_size);
                value[..element.len()].copy_from_slice(&element);
            }
        }
    }

    /// The context, as the peers are given memory.
    fn context(&mut self) -> &'static mut [u8] {
        let len = size_of_val(&*self.context);
        // SAFETY: [peer-memory] the context is as long, and lives as long as the peer that is
        // given it; nobody else has a reference while it runs.
        unsafe { std::slice::from_raw_parts_mut(self.context.as_mut_ptr().cast(), len) }
    }
}

/// `bpf_map_lookup_elem` of the peers.
fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    let (Ok(map), Ok(key)) = (usize::try_from(map), usize::try_from(key)) else { return 0 };
    let map = std::ptr::with_exposed_provenance::<PeerMap>(map);
    // SAFETY: [peer-memory] the address in the program is a map's.
    let map = unsafe { &*map };
    let key = std::ptr::with_exposed_provenance::<u32>(key);
    // SAFETY: [peer-memory] the program was verified: the key is four bytes.
    let key = unsafe { key.read_unaligned() };
    if key >= map.max_entries {
        return 0;
    }
    let at = map.values.as_ptr().expose_provenance() + key as usize * map.stride;
    at as u64
}

/// `bpf_get_numa_node_id` of the peers.
fn numa_node(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}

/// Which engine of rbpf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RbpfMode {
    Interpreter,
    Jit,
}

/// rbpf.
pub(crate) struct Rbpf {
    vm: rbpf::EbpfVmRaw<'static>,
    memory: Memory,
    mode: RbpfMode,
}

impl Rbpf {
    /// The program in rbpf, if it takes it.
    pub(crate) fn load(image: &Image, packet: &[u8], mode: RbpfMode) -> Option<Self> {
        let memory = Memory::new(image, packet)?;
        // rbpf borrows programs; a benchmark has few.
        let program: &'static [u8] = memory.program(image)?.leak();
        let load = || {
            let mut vm = rbpf::EbpfVmRaw::new(Some(program)).ok()?;
            vm.register_helper(1, lookup).ok()?;
            vm.register_helper(42, numa_node).ok()?;
            if mode == RbpfMode::Jit {
                vm.jit_compile().ok()?;
            }
            Some(vm)
        };
        // It panics on instructions that it does not know.
        let mut vm = quietly(load)??;
        let regions = memory.maps.iter().map(|map| &map.values).chain([&memory.packet]);
        for region in regions {
            let start = region.as_ptr().expose_provenance() as u64;
            vm.register_allowed_memory(start..start + region.len() as u64);
        }
        Some(Self { vm, memory, mode })
    }
}

impl Contender for Rbpf {
    fn reset(&mut self) -> anyhow::Result<()> {
        self.memory.reset();
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the result is the lower half")]
    fn run(&mut self) -> anyhow::Result<u32> {
        let context = self.memory.context();
        let result = match self.mode {
            RbpfMode::Interpreter => self.vm.execute_program(context)?,
            // SAFETY: [peer-memory] the program was verified, and its memory is here.
            RbpfMode::Jit => unsafe { self.vm.execute_program_jit(context)? },
        };
        Ok(result as u32)
    }
}

/// What `f` gives, or nothing if it panics.
fn quietly<T>(f: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).ok();
    std::panic::set_hook(hook);
    result
}

/// The host's side of a solana-sbpf machine.
struct SbpfContext {
    mapping: MemoryMapping,
}

impl ContextObject for SbpfContext {
    fn consume(&mut self, _: u64) {}

    fn get_remaining(&self) -> u64 {
        u64::MAX
    }

    fn active_mapping_ptr(&mut self) -> NonNull<MemoryMapping> {
        NonNull::from_mut(&mut self.mapping)
    }
}

/// solana-sbpf's interpreter, for programs that call no helpers. It counts no instructions, which
/// makes it faster.
pub(crate) struct Sbpf {
    // Borrows what comes after it, which stays where it is.
    vm: EbpfVm<'static, SbpfContext>,
    executable: Executable<SbpfContext>,
    frames: Vec<CallFrame>,
    memory: Memory,
    registers: [u64; 12],
    context_address: u64,
    _stack: Box<[u8]>,
}

impl Sbpf {
    /// The program in solana-sbpf, if it takes it.
    pub(crate) fn load(image: &Image, packet: &[u8]) -> Option<Self> {
        if !image.helpers.is_empty() {
            return None;
        }
        let mut memory = Memory::new(image, packet)?;
        let config = Config { enable_instruction_meter: false, ..Config::default() };
        let (version, frames) = (SBPFVersion::V3, config.max_call_depth);
        let mut stack = vec![0; config.stack_size()].into_boxed_slice();
        let context = memory.context();
        let context_address = context.as_mut_ptr().expose_provenance() as u64;
        let packet_address = memory.packet.as_ptr().expose_provenance() as u64;
        // Programs hold addresses of the host, so that is where they find memory.
        let mut regions = vec![
            MemoryRegion::new(std::ptr::from_mut(&mut *stack), MM_STACK_START),
            MemoryRegion::new(std::ptr::from_mut(context), context_address),
            MemoryRegion::new(std::ptr::from_mut(&mut *memory.packet), packet_address),
        ];
        regions.sort_by_key(|region| region.vm_addr_range().start);
        // SAFETY: [peer-memory] all of it lives as long as the machine.
        let mapping = unsafe { MemoryMapping::new(regions, &config, version) }.ok()?;
        let loader = Arc::new(BuiltinProgram::new_loader(config));
        let executable = Executable::new_from_text_bytes(
            &memory.program(image)?,
            Arc::clone(&loader),
            version,
            FunctionRegistry::default(),
        )
        .ok()?;
        // It borrows the context for as long as it lives; a benchmark has few.
        let host = Box::leak(Box::new(SbpfContext { mapping }));
        let vm = EbpfVm::new(loader, version, host, stack.len());
        let registers = vm.registers;
        let frames = vec![CallFrame::default(); frames];
        Some(Self { vm, executable, frames, memory, registers, context_address, _stack: stack })
    }
}

impl Contender for Sbpf {
    fn reset(&mut self) -> anyhow::Result<()> {
        self.memory.reset();
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the result is the lower half")]
    fn run(&mut self) -> anyhow::Result<u32> {
        self.vm.registers = self.registers;
        self.vm.registers[1] = self.context_address;
        let mut mode = ExecutionMode::Interpreted;
        let (_, result) = self.vm.execute_program(&self.executable, &mut mode, &mut self.frames);
        let result: Result<u64, _> = result.into();
        Ok(result.map_err(|error| anyhow::anyhow!("{error}"))? as u32)
    }
}
