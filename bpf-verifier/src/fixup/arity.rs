//! How many arguments functions read.
//!
//! Live registers once more, but on the finished code, and knowing what callees read: from no
//! arguments on, until nothing grows. Arities only grow from round to round, and what a round
//! finds follows from the one before, so the end is the least solution.

use bpf_abi::helper::THROW;
use bpf_abi::image::BoundHelper;
use bpf_isa::{Call, Imm64, Insn, Pc, Program, Reg, RegSet};

/// How many of R1 to R5 each function reads before it writes them, counted to the last of them.
/// `starts` are where functions begin, in order.
pub(super) fn arities(program: &Program, starts: &[Pc], helpers: &[BoundHelper]) -> Vec<u8> {
    let mut arities = vec![0; starts.len()];
    loop {
        let live = live(program, starts, helpers, &arities);
        let next: Vec<u8> = starts.iter().map(|start| arity(live[start.index()])).collect();
        if next == arities {
            return arities;
        }
        arities = next;
    }
}

fn arity(live: RegSet) -> u8 {
    Reg::ARGS.into_iter().filter(|reg| live.contains(*reg)).map(Reg::number).max().unwrap_or(0)
}

/// The registers live before each instruction, if functions read as many arguments.
fn live(program: &Program, starts: &[Pc], helpers: &[BoundHelper], arities: &[u8]) -> Vec<RegSet> {
    let mut live = vec![RegSet::EMPTY; program.len() + 1];
    let mut changed = true;
    while changed {
        changed = false;
        for (index, insn) in program.insns().iter().enumerate().rev() {
            let pc = Pc(u32::try_from(index).unwrap_or(u32::MAX));
            if matches!(insn, Insn::SecondSlot) {
                continue;
            }
            let after = insn
                .successors(pc)
                .filter_map(|next| live.get(next.index()))
                .fold(RegSet::EMPTY, |after, live| after.union(*live));
            let reads = insn.reads(arguments(*insn, pc, starts, helpers, arities));
            let before = after.minus(insn.writes()).union(reads);
            changed |= before != live[index];
            live[index] = before;
        }
    }
    live
}

/// How many arguments the instruction's callee reads.
fn arguments(insn: Insn, pc: Pc, starts: &[Pc], helpers: &[BoundHelper], arities: &[u8]) -> u8 {
    #[expect(clippy::wildcard_enum_match_arm, reason = "others call nothing")]
    match insn {
        Insn::Call(Call::Local(off)) => pc
            .offset(1 + i64::from(off))
            .and_then(|start| starts.binary_search(&start).ok())
            .map_or(5, |callee| arities[callee]),
        Insn::Call(Call::Helper(12)) => 3,
        Insn::Call(Call::Helper(THROW)) => 1,
        Insn::Call(Call::Helper(id)) => helpers
            .iter()
            .find(|helper| i32::try_from(helper.proto.id) == Ok(id))
            .map_or(5, |helper| u8::try_from(helper.proto.registers()).unwrap_or(5)),
        _ => 5,
    }
}

/// Where the functions begin that are called back: their addresses are taken.
pub(super) fn callbacks(program: &Program) -> impl Iterator<Item = Pc> {
    program.iter().filter_map(|(pc, insn)| {
        let Insn::LoadImm64 { imm: Imm64::Func { off }, .. } = insn else { return None };
        pc.offset(1 + i64::from(off))
    })
}
