//! One call: its registers, its stack, and why it was made.

use bpf_isa::{Pc, Reg};

use crate::state::pointer::{FrameNo, Pointer, PointerKind, SubprogId};
use crate::state::stack::Stack;
use crate::state::value::Value;

/// A range of values a function may return.
///
/// Linux: `struct bpf_retval_range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnRange {
    /// The smallest.
    pub min: i32,
    /// The largest.
    pub max: i32,
}

/// Why a frame was made.
///
/// Linux: `in_callback_fn`, `in_async_callback_fn`, `in_exception_callback_fn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameRole {
    /// The program begins with it, or an instruction calls it.
    #[default]
    Called,
    /// A helper calls it back before it returns.
    Callback,
    /// A helper has it called at another time.
    AsyncCallback,
    /// It is called when an exception was thrown.
    ExceptionCallback,
}

/// One call.
///
/// Linux: `struct bpf_func_state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the registers hold; `None` is unwritten.
    regs: [Option<Value>; 11],
    /// What the stack holds.
    pub stack: Stack,
    /// Which frame it is.
    pub number: FrameNo,
    /// Which function runs in it.
    pub subprog: SubprogId,
    /// The instruction that called it; for the first frame, none.
    pub callsite: Option<Pc>,
    /// Why it was made.
    pub role: FrameRole,
    /// Counts entries into an asynchronous callback, so that each is walked anew.
    pub async_entries: u32,
    /// What a callback may return.
    pub callback_range: ReturnRange,
    /// How many times callbacks were called from this frame's current call.
    pub callback_depth: u32,
}

impl Frame {
    /// A frame whose registers are unwritten, except for the frame pointer.
    ///
    /// Linux: `init_func_state`.
    pub fn new(callsite: Option<Pc>, number: FrameNo, subprog: SubprogId) -> Self {
        let mut regs = [None; 11];
        regs[Reg::FP.index()] =
            Some(Value::Pointer(Pointer::to(PointerKind::Stack { frame: number })));
        Self {
            regs,
            stack: Stack::default(),
            number,
            subprog,
            callsite,
            role: FrameRole::Called,
            async_entries: 0,
            callback_range: ReturnRange { min: 0, max: 0 },
            callback_depth: 0,
        }
    }

    /// What a register holds.
    pub const fn reg(&self, reg: Reg) -> Option<&Value> {
        self.regs[reg.index()].as_ref()
    }

    /// What a register holds, to be changed.
    pub const fn reg_mut(&mut self, reg: Reg) -> Option<&mut Value> {
        self.regs[reg.index()].as_mut()
    }

    /// Sets a register; `None` makes it unwritten.
    pub const fn set(&mut self, reg: Reg, value: Option<Value>) {
        self.regs[reg.index()] = value;
    }

    /// All registers, R0 first.
    pub const fn regs(&self) -> &[Option<Value>; 11] {
        &self.regs
    }

    /// All registers, R0 first.
    pub const fn regs_mut(&mut self) -> &mut [Option<Value>; 11] {
        &mut self.regs
    }

    /// Whether a helper calls it back before it returns.
    pub const fn is_callback(&self) -> bool {
        matches!(self.role, FrameRole::Callback)
    }
}
