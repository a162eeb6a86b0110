//! Exchanging what a function's entry leads to, while others call it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The word at a function's entry.
///
/// # Safety
///
/// `[entry-slot]`: after [`jump`](Self::jump) every call that begins goes to that target, after
/// [`reset`](Self::reset) to the body; calls that began before go on where they are.
#[expect(unsafe_code, reason = "declares an obligation of implementors")]
pub unsafe trait SlotWriter: fmt::Debug + Send + Sync {
    /// The address that calls of the function go to.
    fn address(&self) -> u64;

    /// The address of the function's own code, whatever its slot does.
    fn body(&self) -> u64;

    /// Makes it jump to `target`; whether it could. If not, nothing changes.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: at `target` lies code that takes what the function takes and returns as
    /// it does, and stays there as long as a thread may run it.
    unsafe fn jump(&self, target: u64) -> bool;

    /// Makes it fall into the body.
    fn reset(&self);
}

/// Knows when no running program can be where it was.
///
/// # Safety
///
/// `[grace-period]`: what is deferred must not be done before every program that was running
/// then has ended.
#[expect(unsafe_code, reason = "declares an obligation of implementors")]
pub unsafe trait GracePeriods: fmt::Debug + Send + Sync {
    /// Does something once every program that runs now has ended.
    fn defer(&self, what: Box<dyn FnOnce() + Send>);
}

/// Code that an entry may lead to, kept as long as this is.
#[derive(Clone)]
pub struct Code {
    address: u64,
    keep: Arc<dyn Any + Send + Sync>,
}

impl Code {
    /// Vouches for code.
    ///
    /// # Safety
    ///
    /// `[slot-target]`: at `address` lies code that takes what the functions take whose entries
    /// are to lead to it, and returns as they do, as long as `keep` is kept.
    #[expect(unsafe_code, reason = "declares an obligation, does nothing unsafe")]
    pub unsafe fn vouch(address: u64, keep: Arc<dyn Any + Send + Sync>) -> Self {
        Self { address, keep }
    }

    /// Where it begins.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// What keeps it.
    pub const fn keep(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.keep
    }

    /// Whether it is this very code, kept by the same.
    pub fn is(&self, other: &Self) -> bool {
        self.address == other.address && Arc::ptr_eq(&self.keep, &other.keep)
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({:#x})", self.address)
    }
}

/// An entry and what it leads to now.
#[derive(Debug)]
pub(crate) struct Switch {
    slot: Box<dyn SlotWriter>,
    now: Option<Code>,
}

/// The target is too far away for the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfReach;

/// What an entry led to before: calls that began then may still be in it.
#[derive(Debug, Default)]
#[must_use = "it must be kept for a grace period"]
pub(crate) struct Retired(Option<Code>);

impl Retired {
    /// Lets it go after a grace period. No lock may be held: what it keeps may be anything.
    pub(crate) fn retire(self, grace: &dyn GracePeriods) {
        if let Some(code) = self.0 {
            grace.defer(Box::new(move || drop(code)));
        }
    }
}

impl Switch {
    pub(crate) fn new(slot: Box<dyn SlotWriter>) -> Self {
        Self { slot, now: None }
    }

    pub(crate) fn slot(&self) -> &dyn SlotWriter {
        &*self.slot
    }

    /// Leads calls to this code, or into the body.
    #[expect(unsafe_code, reason = "writes the slot")]
    pub(crate) fn lead_to(&mut self, code: Option<Code>) -> Result<Retired, OutOfReach> {
        match &code {
            // SAFETY: [slot-target] whoever made the `Code` vouched for it; `now` keeps it while
            // the slot jumps there, and `Retired` for a grace period more.
            Some(code) if unsafe { !self.slot.jump(code.address) } => return Err(OutOfReach),
            Some(_) => {}
            None => self.slot.reset(),
        }
        Ok(Retired(std::mem::replace(&mut self.now, code)))
    }

    /// Leads calls into the body.
    pub(crate) fn reset(&mut self) -> Retired {
        if self.now.is_some() {
            self.slot.reset();
        }
        Retired(self.now.take())
    }
}
