//! Where a program runs: its context, its packet, its runtime.

use std::cell::Cell;
use std::sync::Arc;

use crate::memory::Memory;
use crate::own::OwnRun;
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
    /// What a program of the host's own type has besides.
    pub(crate) own: Option<OwnRun>,
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
    pub(crate) const fn new(shared: Arc<Shared>, place: Place) -> Self {
        Self { shared, place, redirect: Cell::new(None), own: None }
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
