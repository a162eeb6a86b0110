//! Timers, and functions that are called later.
#![expect(unsafe_code, reason = "reads the run that calls the helper")]

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::helper::{ArgKind, ArgProto};

use super::{Arg, Cx, Func, PLAIN, Registers, arg};
use crate::timers::Later;

/// A timer in a map value: its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerAt(pub(crate) u64);

impl<'a> Arg<'a> for TimerAt {
    const PROTO: ArgProto = arg(ArgKind::Timer, PLAIN);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self(registers.take())
    }
}

impl Cx<'_> {
    /// A function of the running program, to be called when the run is over; `number` is the
    /// program's.
    pub(crate) fn later(&self, function: Func, number: u64) -> Result<Later, Errno> {
        // SAFETY: [run-env] `run` is that of the run that is calling this helper.
        let how = unsafe { (*self.run.as_ptr()).callback };
        let shared = Arc::clone(&self.env.shared);
        let program = shared.timers.program(number).ok_or(Errno::EINVAL)?;
        Ok(Later { program, shared, how: how.ok_or(Errno::EINVAL)?, function: function.0 })
    }
}
