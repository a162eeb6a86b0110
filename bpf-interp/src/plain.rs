//! Programs that nobody vouched for, run in checked memory.

use std::convert::Infallible;

use bpf_abi::limits::MAX_STACK;
use bpf_isa::{Call, DecodeError, Imm64, Insn, Pc, Program, Slot, decode_slots};

use crate::fault::{Fault, FaultKind};
use crate::machine::{self, End, HelperEnd, Next, Start, World};
use crate::memory::Checked;
use crate::observe::{NoWitness, Witness};
use crate::ops::{Code, Links, Op, TrapKind, translate, trap};

/// A call of the helper whose number a register holds. Linux does not have it; clang without
/// optimisation makes it.
const CALL_REGISTER: u8 = 0x8d;

/// A program that nobody vouched for: any sequence of instructions.
#[derive(Clone, Debug)]
pub struct Plain {
    ops: Box<[Op]>,
}

impl Plain {
    /// Prepares a program.
    pub fn new(program: &Program) -> Self {
        let Ok(ops) = translate(program.insns(), &mut NoLinks);
        Self { ops }
    }

    /// Prepares a program as it lies in a little-endian object. Besides what Linux has, it may
    /// call the helper whose number a register holds (opcode 8d).
    ///
    /// # Errors
    ///
    /// Returns the first slot that is no instruction.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let slots = bpf_isa::slots(bytes)?;
        let mut by_register = Vec::new();
        let mut insns = Vec::with_capacity(slots.len());
        for (slot, decoded) in slots.iter().zip(decode_slots(&slots)) {
            match (decoded, register_called(*slot)) {
                (Ok(insn), _) => insns.push(insn),
                (Err(_), Some(reg)) => {
                    by_register.push((insns.len(), reg));
                    insns.push(Insn::Exit);
                }
                (Err(error), None) => return Err(error),
            }
        }
        let mut plain = Self::new(&Program::new(insns));
        for (index, dst) in by_register {
            plain.ops[index] = Op { dst, ..Op::new(Code::CallHelperReg) };
        }
        Ok(plain)
    }

    /// Runs the program with R1 to R5 as given, and yields its R0.
    ///
    /// # Errors
    ///
    /// Returns an error if the program does what it may not do.
    pub fn run(
        &self,
        memory: &mut Checked,
        args: [u64; 5],
        limits: Limits<'_>,
    ) -> Result<u64, Fault> {
        self.watch(memory, args, limits, &mut NoWitness)
    }

    /// The same, telling `witness` of each step.
    ///
    /// # Errors
    ///
    /// Returns an error if the program does what it may not do.
    pub fn watch<O: Witness>(
        &self,
        memory: &mut Checked,
        args: [u64; 5],
        limits: Limits<'_>,
        witness: &mut O,
    ) -> Result<u64, Fault> {
        let start = Start { program: self, at: Pc(0), stack_depth: MAX_STACK, args };
        match machine::run(&start, memory, &mut Free { limits }, witness)? {
            End::Returned(value) => Ok(value),
            End::Left { .. } => Err(Fault { pc: start.at, kind: FaultKind::Unsupported }),
        }
    }
}

/// The register of a call by register.
fn register_called(slot: Slot) -> Option<bpf_isa::Reg> {
    let is_call = slot.opcode == CALL_REGISTER && slot.off == 0 && slot.imm == 0 && slot.src == 0;
    if is_call { bpf_isa::Reg::new(slot.dst) } else { None }
}

/// What a program that nobody vouched for may do besides using its memory.
pub struct Limits<'a> {
    instructions: u64,
    helpers: Option<&'a mut dyn Helpers>,
}

impl<'a> Limits<'a> {
    /// So many instructions, and no helpers.
    pub const fn new(instructions: u64) -> Self {
        Self { instructions, helpers: None }
    }

    /// The same with these helpers.
    #[must_use]
    pub fn with_helpers(self, helpers: &'a mut dyn Helpers) -> Self {
        Self { helpers: Some(helpers), ..self }
    }
}

impl std::fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").field("instructions", &self.instructions).finish_non_exhaustive()
    }
}

/// Helpers for programs that nobody vouched for.
pub trait Helpers {
    /// Calls the helper with this number, if there is one.
    fn call(&mut self, id: i32, args: [u64; 5], memory: &mut Checked) -> HelperResult;
}

/// What came of a call of a helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelperResult {
    /// R0.
    Returned(u64),
    /// The program is over, and this is its result.
    Ends(u64),
    /// The helper refuses its arguments.
    Refused(String),
    /// There is no such helper.
    Unknown,
}

/// A program alone: it names nothing outside itself but helpers.
struct NoLinks;

impl Links for NoLinks {
    type Error = Infallible;

    fn imm64(&mut self, at: Pc, _: Imm64) -> Result<Op, Infallible> {
        self.unsupported(at)
    }

    fn call(&mut self, at: Pc, call: Call) -> Result<Op, Infallible> {
        match call {
            Call::Helper(id) => Ok(Op { to: id.cast_unsigned(), ..Op::new(Code::CallHelper) }),
            Call::Local(_) | Call::Kfunc { .. } => self.unsupported(at),
        }
    }

    fn stack_depth(&self, _: Pc) -> u32 {
        MAX_STACK
    }

    fn function(&self, _: Pc) -> u32 {
        u32::MAX
    }

    fn may_fault(&self, _: Pc) -> bool {
        false
    }

    fn packet(&mut self, at: Pc) -> Result<Op, Infallible> {
        self.unsupported(at)
    }

    fn unsupported(&mut self, _: Pc) -> Result<Op, Infallible> {
        Ok(trap(TrapKind::Unsupported))
    }
}

/// What a program that nobody vouched for can reach.
struct Free<'a> {
    limits: Limits<'a>,
}

impl Free<'_> {
    fn call(
        &mut self,
        id: i32,
        args: [u64; 5],
        memory: &mut Checked,
    ) -> Result<HelperEnd, FaultKind> {
        let Some(helpers) = &mut self.limits.helpers else {
            return Err(FaultKind::UnknownHelper(id));
        };
        match helpers.call(id, args, memory) {
            HelperResult::Returned(value) => Ok(HelperEnd::Returned(value)),
            HelperResult::Ends(value) => Ok(HelperEnd::Ends(value)),
            HelperResult::Refused(reason) => Err(FaultKind::Helper { id, reason: reason.into() }),
            HelperResult::Unknown => Err(FaultKind::UnknownHelper(id)),
        }
    }
}

impl<'p> World<'p, Checked> for Free<'_> {
    type Program = Plain;

    const COUNTS: bool = true;

    fn budget(&self) -> u64 {
        self.limits.instructions
    }

    #[inline(always)]
    fn ops(program: &'p Plain) -> &'p [Op] {
        &program.ops
    }

    fn stack_depth(_: &'p Plain) -> u32 {
        MAX_STACK
    }

    fn helper(
        &mut self,
        _: &'p Plain,
        op: Op,
        args: [u64; 5],
        memory: &mut Checked,
    ) -> Result<HelperEnd, FaultKind> {
        self.call(op.to.cast_signed(), args, memory)
    }

    fn helper_by_number(
        &mut self,
        number: u64,
        args: [u64; 5],
        memory: &mut Checked,
    ) -> Result<HelperEnd, FaultKind> {
        let Ok(id) = i32::try_from(number) else { return Err(FaultKind::UnknownHelper(-1)) };
        self.call(id, args, memory)
    }

    fn packet(&mut self, _: &'p Plain, _: u64, _: u64, _: u32) -> Result<Option<u64>, FaultKind> {
        Err(FaultKind::Unsupported)
    }

    fn tail_call(&mut self, _: &'p Plain, _: Op, _: u64, _: u32) -> Next<'p, Plain> {
        Next::Nowhere
    }

    fn native(&mut self, _: u64, _: u64) -> Result<u64, FaultKind> {
        Err(FaultKind::Unsupported)
    }

    fn tail_calls(&self) -> u32 {
        0
    }
}
