//! Where a program runs: its context, its packet, its runtime.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::memory::Memory;
use crate::own::TypeObject;
use crate::packet::Redirect;
use crate::packet::skb::SkBuff;
use crate::packet::xdp::XdpBuff;
use crate::runtime::Shared;

/// What helpers find in a run.
///
/// Helpers only ever have a shared reference, since a helper may call a function of the program
/// that calls another helper: so all that changes is in cells.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: Place,
    /// Where the last redirecting helper sends the packet.
    pub(crate) redirect: Cell<Option<Redirect>>,
    /// The type of the program, if it is the host's own.
    pub(crate) own: Option<Arc<TypeObject>>,
    /// What code of the host panicked with that the program called.
    pub(crate) panic: Caught,
}

/// A panic of the host's code, on its way past the program to who runs it: programs cannot be
/// unwound.
#[derive(Default)]
pub(crate) struct Caught(Cell<Option<Box<dyn Any + Send>>>);

impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caught")
    }
}

impl Caught {
    /// Calls code of the host; nothing if it panics. What a panic leaves half-done is the host's own.
    pub(crate) fn call<R>(&self, code: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.0.set(Some(panic));
                None
            }
        }
    }

    /// Goes on with the panic, if there was one, now that the program has ended.
    #[inline(always)]
    pub(crate) fn go_on(&mut self) {
        if self.0.get_mut().is_some() {
            self.unwind();
        }
    }

    #[cold]
    #[inline(never)]
    fn unwind(&self) {
        if let Some(panic) = self.0.take() {
            resume_unwind(panic);
        }
    }
}

/// The context that a program is given.
#[derive(Debug)]
pub(crate) enum Place {
    /// Bytes that mean something to the program alone.
    Bytes(Memory),
    /// A packet at a driver's hook.
    Xdp(XdpBuff),
    /// A packet in the network stack.
    Skb(SkBuff),
}

impl Env {
    /// A run's surroundings.
    pub(crate) fn new(shared: Arc<Shared>, place: Place) -> Self {
        Self { shared, place, redirect: Cell::new(None), own: None, panic: Caught::default() }
    }

    /// The address of the context: R1 when the program begins.
    pub(crate) fn context(&self) -> u64 {
        match &self.place {
            Place::Bytes(memory) => memory.address(),
            Place::Xdp(buff) => buff.context.address(),
            Place::Skb(skb) => skb.context.address(),
        }
    }

    /// The packet, if it is one at a driver's hook.
    pub(crate) const fn xdp(&self) -> Option<&XdpBuff> {
        match &self.place {
            Place::Xdp(buff) => Some(buff),
            Place::Bytes(_) | Place::Skb(_) => None,
        }
    }

    /// The packet, if it is one in the network stack.
    pub(crate) const fn skb(&self) -> Option<&SkBuff> {
        match &self.place {
            Place::Skb(skb) => Some(skb),
            Place::Bytes(_) | Place::Xdp(_) => None,
        }
    }
}
