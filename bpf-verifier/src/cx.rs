//! What the rules may see and do while one instruction is walked.
//!
//! The walk calls [`step::insn`](crate::step) with a [`StepCx`], and gets back where the path
//! goes next. The rules of [`step`](crate::step), [`memory`](crate::memory) and
//! [`call`](crate::call) read and change the state through it, and ask the walk for what needs
//! more than one state: another branch, precision, the record of the path.

use bpf_isa::{Pc, Reg};

use crate::env::Env;
use crate::error::{Reason, Refusal};
use crate::state::{Id, Number, State, Value};
use crate::walk::{Paths, WalkError};

/// What an instruction being walked may see and do.
#[derive(Debug)]
pub struct StepCx<'a, 'e> {
    /// What all passes share.
    pub env: &'a mut Env<'e>,
    /// The state before the instruction, which becomes the state after it.
    pub state: &'a mut State,
    /// How the path came here, and the paths still to be walked.
    pub paths: &'a mut Paths,
    /// The instruction.
    pub pc: Pc,
}

/// Where a path goes after an instruction.
///
/// Linux: what `do_check_insn` returns, and the `insn_idx` it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To the instruction after this one. (A `LoadImm64` is two slots: it jumps.)
    Fallthrough,
    /// To this instruction, by a jump or into a function.
    Jump(Pc),
    /// To this instruction, back from a function: the log shows the whole state.
    /// Linux: `INSN_IDX_UPDATED` with `do_print_state`.
    Return(Pc),
    /// Nowhere: it came to its end. Linux: `PROCESS_BPF_EXIT`.
    Done,
}

impl StepCx<'_, '_> {
    /// What a register holds, which the instruction reads.
    ///
    /// Linux: `check_reg_arg` with `SRC_OP`.
    ///
    /// # Errors
    ///
    /// Returns an error if nothing was written to it.
    pub fn read(&mut self, reg: Reg) -> Result<Value, Reason> {
        self.env.scratched.reg(reg);
        match self.state.reg(reg) {
            Some(value) => Ok(*value),
            None => Err(WalkError::Unreadable { reg }.into()),
        }
    }

    /// Checks that the instruction may write a register, and notes that it does.
    ///
    /// Linux: `check_reg_arg` with `DST_OP` or `DST_OP_NO_MARK`.
    ///
    /// # Errors
    ///
    /// Returns an error if it is the frame pointer.
    pub fn check_writable(&mut self, reg: Reg) -> Result<(), Reason> {
        if reg == Reg::FP {
            return Err(WalkError::FramePointerWritten.into());
        }
        self.env.scratched.reg(reg);
        Ok(())
    }

    /// Sets a register of the innermost frame, and shows it in the log.
    pub fn set(&mut self, reg: Reg, value: impl Into<Option<Value>>) {
        self.env.scratched.reg(reg);
        self.state.set(reg, value.into());
    }

    /// Makes a register hold any number: precise if precision cannot be tracked for this
    /// program.
    ///
    /// Linux: `mark_reg_unknown`.
    pub fn set_unknown(&mut self, reg: Reg) {
        self.set(reg, Value::Scalar(Number::UNKNOWN));
    }

    /// Adds a line to the log that comes before that of a refusal: what it follows from.
    pub(crate) fn tell(&mut self, cause: &dyn Refusal) {
        self.env.log.print(format_args!("{cause}\n"));
    }

    /// An identity that nothing has had before. Linux: `++env->id_gen`.
    pub fn fresh_id(&mut self) -> Id {
        self.env.fresh_id()
    }

    /// Holds a new object, acquired by this instruction.
    ///
    /// Linux: `acquire_reference`.
    pub fn acquire(&mut self) -> Id {
        let id = self.env.fresh_id();
        self.state.refs.acquire(id, self.pc);
        id
    }

    /// Whether pointers may be shown to the world: always, since only privileged loaders are
    /// modelled.
    pub const fn may_leak_pointers(&self) -> bool {
        true
    }
}
