//! How many slots the program has after the kernel's rewriting.
//!
//! The rewriting here expands nothing; the kernel's does. Each instruction that is left counts as
//! many slots as the kernel makes of it, as was found by asking it, on x86-64 and with compiled
//! programs.

use bpf_abi::ctx::xlated::{self, Way};
use bpf_abi::ctx::{Context, ContextKind};
use bpf_abi::helper::{HelperFlags, HelperProto};
use bpf_abi::map::MapType;
use bpf_abi::prog::ProgType;
use bpf_isa::{AluOp, AtomicOp, Call, Extension, Insn, Operand, Pc, Size, Width};

use super::code::Code;
use super::context::touches_context;
use super::dead;
use crate::env::Env;
use crate::program::helper;
use crate::state::PointerKind;

/// What a first `may_goto` adds to its function, for the counter and the clock.
const MAY_GOTO_PROLOGUE: u32 = 2;
/// What a program begins with that writes to packets of the network stack.
const WRITE_PROLOGUE: u32 = 10;
/// A function for exceptions, if the program has none of its own.
const EXCEPTION_CALLBACK: u32 = 2;

/// The program's slots after rewriting. Linux: `xlated_prog_len`, in slots.
pub fn slots(env: &Env<'_>) -> u32 {
    let mut code = Code::of(env);
    dead::hard_wire(env, &mut code);
    dead::remove_unseen(env, &mut code);
    dead::remove_nops(&mut code, env.program.len());
    let mut total = prologue(env);
    let mut counts_rounds = None;
    for line in &code.lines {
        total += line.insn.slots() + added(env, line.from, line.insn);
        if matches!(line.insn, Insn::MayGoto { .. }) {
            let function = env.subprog_of(line.from);
            if counts_rounds != Some(function) {
                total += MAY_GOTO_PROLOGUE;
                counts_rounds = Some(function);
            }
        }
    }
    total
}

/// What the kernel puts before the program, or behind it.
fn prologue(env: &Env<'_>) -> u32 {
    let network = matches!(
        env.kind.prog_type,
        ProgType::SchedCls | ProgType::SchedAct | ProgType::LwtXmit | ProgType::SkSkb
    );
    let writes = if network && env.found.direct_write { WRITE_PROLOGUE } else { 0 };
    let throws = env.found.exception && env.exception_callback.is_none();
    writes + if throws { EXCEPTION_CALLBACK } else { 0 }
}

/// How many slots an instruction becomes more.
fn added(env: &Env<'_>, pc: Pc, insn: Insn) -> u32 {
    match insn {
        // Divisors are compared with zero, and signed ones with -1.
        Insn::Alu { op: AluOp::Div, src: Operand::Reg(_), .. } => 3,
        Insn::Alu { op: AluOp::Mod, width, src: Operand::Reg(_), .. } => match width {
            Width::W64 => 1,
            Width::W32 => 3,
        },
        Insn::AluSigned { op, width, src: Operand::Reg(_), .. } => match (op, width) {
            (AluOp::Div, _) => 7,
            (_, Width::W64) => 6,
            (_, Width::W32) => 8,
        },
        Insn::LoadAbs { .. } => 5,
        Insn::LoadInd { .. } => 6,
        Insn::MayGoto { .. } => 6,
        Insn::Load { size, ext, dst, base, off } if touches_context(env, pc) => {
            let Some(context) = table(env) else { return 0 };
            let signed = ext == Extension::Signed && xlated::is_rewritten(context);
            access(context, Way::Read, off, size, dst == base) + u32::from(signed)
        }
        Insn::Store { size, off, .. } if touches_context(env, pc) => {
            table(env).map_or(0, |context| access(context, Way::Write, off, size, false))
        }
        Insn::Load { size, ext, off, .. } if touches_socket(env, pc) => {
            let off = u32::try_from(off).unwrap_or(0);
            let signed = u32::from(ext == Extension::Signed);
            xlated::socket_slots(off, size.bytes()) - 1 + signed
        }
        Insn::Atomic { op: AtomicOp::CmpXchg, size: Size::W, .. } => {
            u32::from(is_result_read_whole(env, pc))
        }
        Insn::Call(Call::Helper(id)) => helper(env, id).map_or(0, |proto| called(env, pc, proto)),
        Insn::Alu { .. }
        | Insn::AluSigned { .. }
        | Insn::Neg { .. }
        | Insn::MovSx { .. }
        | Insn::Endian { .. }
        | Insn::AddrSpaceCast { .. }
        | Insn::LoadImm64 { .. }
        | Insn::SecondSlot
        | Insn::Load { .. }
        | Insn::Store { .. }
        | Insn::Atomic { .. }
        | Insn::LoadAcquire { .. }
        | Insn::StoreRelease { .. }
        | Insn::Jump { .. }
        | Insn::JumpIf { .. }
        | Insn::Call(Call::Local(_) | Call::Kfunc { .. })
        | Insn::Exit => 0,
    }
}

/// Whether the upper half of R0 matters after an exchange of four bytes: then it is cleared.
/// What stands next tells enough: an operation of 32 bits does not read it.
fn is_result_read_whole(env: &Env<'_>, pc: Pc) -> bool {
    let Some(next) = pc.offset(1) else { return false };
    let half = matches!(
        env.insn(next),
        Some(
            Insn::JumpIf { width: Width::W32, .. }
                | Insn::Alu { width: Width::W32, .. }
                | Insn::Exit
        )
    );
    !half && env.notes.get(next.index()).is_some_and(|note| note.live_regs & 1 != 0)
}

fn touches_socket(env: &Env<'_>, pc: Pc) -> bool {
    env.note(pc).memory.is_some_and(|memory| {
        matches!(memory.kind, PointerKind::Socket { .. } | PointerKind::SockCommon)
    })
}

fn table(env: &Env<'_>) -> Option<&'static Context> {
    match env.context()? {
        ContextKind::Table(context) => Some(context),
        ContextKind::Bytes { .. } | ContextKind::Arguments => None,
    }
}

fn access(context: &Context, way: Way, off: i16, size: Size, replaces: bool) -> u32 {
    let off = u32::try_from(off).unwrap_or(u32::MAX);
    xlated::slots(context, way, off, size.bytes(), replaces) - 1
}

/// What a call becomes more: helpers are made part of the program, or get arguments that the
/// program does not give.
fn called(env: &Env<'_>, pc: Pc, proto: &HelperProto) -> u32 {
    let note = env.note(pc);
    match proto.name {
        "map_lookup_elem" => note.call_map.one().map_or(0, |map| looked_up(env.map(map).map_type)),
        "get_smp_processor_id" | "jiffies64" | "timer_set_callback" => 2,
        "kptr_xchg" => 1,
        "loop" if note.loop_callback.one().is_some() => 18,
        _ if proto.flags.contains(HelperFlags::STORAGE_GET) => 1,
        _ => 0,
    }
}

/// What a look-up in a map of this type becomes more.
const fn looked_up(map_type: MapType) -> u32 {
    match map_type {
        MapType::Hash => 2,
        MapType::HashOfMaps => 3,
        MapType::PercpuHash => 4,
        MapType::LruHash => 5,
        MapType::Array => 6,
        MapType::Xskmap => 7,
        MapType::PercpuArray | MapType::ArrayOfMaps => 8,
        MapType::Unspec
        | MapType::ProgArray
        | MapType::PerfEventArray
        | MapType::StackTrace
        | MapType::CgroupArray
        | MapType::LruPercpuHash
        | MapType::LpmTrie
        | MapType::Devmap
        | MapType::Sockmap
        | MapType::Cpumap
        | MapType::Sockhash
        | MapType::CgroupStorage
        | MapType::ReuseportSockarray
        | MapType::PercpuCgroupStorage
        | MapType::Queue
        | MapType::Stack
        | MapType::SkStorage
        | MapType::DevmapHash
        | MapType::StructOps
        | MapType::Ringbuf
        | MapType::InodeStorage
        | MapType::TaskStorage
        | MapType::BloomFilter
        | MapType::UserRingbuf
        | MapType::CgrpStorage
        | MapType::Arena => 0,
    }
}
