//! Where control may go next, read off the opcodes alone.
//!
//! An instruction may be malformed and still jump: whether it is refused depends on whether a
//! path comes to it, so the graph of the program must not depend on it.

use bpf_isa::opcode::{callee, whole};
use bpf_isa::{Class, JumpOp, Pc, Slot};

/// The instructions that may be next in the same function: the one after, then the target.
///
/// Linux: `bpf_insn_successors`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Successors {
    next: Option<Pc>,
    target: Option<Pc>,
}

impl Successors {
    /// Both, in this order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Pc> {
        self.next.into_iter().chain(self.target)
    }

    /// Whether there is none: the function ends here.
    pub const fn is_empty(self) -> bool {
        self.next.is_none() && self.target.is_none()
    }
}

/// The control flow of a program: each function on its own.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    successors: Vec<Successors>,
    postorder: Vec<Pc>,
    /// Where each function's part of `postorder` begins; one more entry for the end.
    starts: Vec<usize>,
    /// How many loops there are, 0 (no loop) included. Linux: `scc_cnt`.
    pub sccs: u32,
}

impl Flow {
    /// The flow of these slots, whose functions begin at `starts`. All jumps stay inside.
    pub fn new(slots: &[Slot], starts: impl Iterator<Item = Pc>) -> Self {
        let successors = (0..).map(Pc).zip(slots).map(|(pc, slot)| successors(*slot, pc)).collect();
        let mut flow = Self { successors, ..Self::default() };
        flow.order(starts);
        flow
    }

    /// Where control may go from `pc`.
    pub fn successors(&self, pc: Pc) -> Successors {
        self.successors.get(pc.index()).copied().unwrap_or_default()
    }

    /// The instructions of all functions, each behind those it leads to, loops aside.
    pub fn postorder(&self) -> &[Pc] {
        &self.postorder
    }

    /// The instructions of one function, each behind those it leads to, loops aside.
    pub fn postorder_of(&self, subprog: usize) -> &[Pc] {
        match (self.starts.get(subprog), self.starts.get(subprog + 1)) {
            (Some(&from), Some(&to)) => &self.postorder[from..to],
            _ => &[],
        }
    }

    /// Depth first, from each function's first instruction; of two successors the target of the
    /// jump goes first. Linux: `compute_postorder`.
    fn order(&mut self, starts: impl Iterator<Item = Pc>) {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Seen {
            No,
            Waiting,
            Entered,
        }
        let mut seen = vec![Seen::No; self.successors.len()];
        let mut stack = Vec::new();
        for start in starts {
            self.starts.push(self.postorder.len());
            stack.push(start);
            while let Some(&top) = stack.last() {
                if seen[top.index()] == Seen::Entered {
                    self.postorder.push(top);
                    stack.pop();
                    continue;
                }
                seen[top.index()] = Seen::Entered;
                for next in self.successors(top).iter() {
                    if seen.get(next.index()) == Some(&Seen::No) {
                        seen[next.index()] = Seen::Waiting;
                        stack.push(next);
                    }
                }
            }
        }
        self.starts.push(self.postorder.len());
    }
}

fn successors(slot: Slot, pc: Pc) -> Successors {
    let target = jump_distance(slot).and_then(|distance| pc.offset(1 + distance));
    let next = match slot.opcode {
        whole::JUMP | whole::JUMP_LONG | whole::EXIT => None,
        whole::LOAD_IMM64 => pc.offset(2),
        _ => pc.offset(1),
    };
    Successors { next, target }
}

/// How far a jump leads, counted in slots from the next one, whatever its other fields hold.
pub(super) fn jump_distance(slot: Slot) -> Option<i64> {
    const CALL: u8 = whole::CALL & JumpOp::MASK;
    const EXIT: u8 = whole::EXIT & JumpOp::MASK;
    let is_jump = matches!(Class::of(slot.opcode), Some(Class::Jmp | Class::Jmp32));
    match (slot.opcode, slot.opcode & JumpOp::MASK) {
        _ if !is_jump => None,
        (_, CALL | EXIT) => None,
        (whole::JUMP_LONG, _) => Some(i64::from(slot.imm)),
        _ => Some(i64::from(slot.off)),
    }
}

/// Whether the slot calls a function of the program. Linux: `bpf_pseudo_call`.
pub(super) const fn is_local_call(slot: Slot) -> bool {
    slot.opcode == whole::CALL && slot.src == callee::LOCAL
}

/// Whether the slot takes the address of a function of the program. Linux: `bpf_pseudo_func`.
pub(super) const fn is_func_address(slot: Slot) -> bool {
    slot.opcode == whole::LOAD_IMM64 && slot.src == bpf_isa::opcode::imm_source::FUNC
}

/// The helper that the slot calls. Linux: `bpf_helper_call`.
pub(super) const fn called_helper(slot: Slot) -> Option<i32> {
    if slot.opcode == whole::CALL && slot.src == callee::HELPER { Some(slot.imm) } else { None }
}

/// The kernel function that the slot calls: its id, and which BTF object it is in.
/// Linux: `bpf_pseudo_kfunc_call`.
pub(super) const fn called_kfunc(slot: Slot) -> Option<(i32, i16)> {
    if slot.opcode == whole::CALL && slot.src == callee::KFUNC {
        Some((slot.imm, slot.off))
    } else {
        None
    }
}

/// Where the function begins that the slot at `pc` calls or takes the address of, wherever that
/// may be.
pub(super) fn callee_of(slot: Slot, pc: Pc) -> Option<i64> {
    (is_local_call(slot) || is_func_address(slot))
        .then(|| i64::from(pc.0) + 1 + i64::from(slot.imm))
}
