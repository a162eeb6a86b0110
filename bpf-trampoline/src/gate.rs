//! A program is in program arrays or has functions replaced, not both.
//!
//! An extension may change what a program does with its context; a program array promised its
//! users the program as it was loaded. Probes are not concerned.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Refusal;

/// Counts, for one program, the slots of program arrays it is in and its replaced functions.
///
/// Linux: `prog_array_member_cnt` and `is_extended` in `struct bpf_prog_aux`.
#[derive(Debug, Default)]
pub struct ProgramGate {
    counts: Mutex<Counts>,
}

/// Invariant: one of them is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    slots: usize,
    extensions: usize,
}

impl ProgramGate {
    /// A program that is in no program array and has no function replaced.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Enters one slot of a program array, until the result is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if a function of the program is replaced.
    pub fn enter_prog_array(self: &Arc<Self>) -> Result<Membership, Refusal> {
        let mut counts = self.lock();
        if counts.extensions > 0 {
            return Err(Refusal::Extended);
        }
        counts.slots += 1;
        Ok(Membership { gate: Arc::clone(self) })
    }

    /// Has one function replaced, until the result is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the program is in a program array.
    pub fn extend(self: &Arc<Self>) -> Result<Extension, Refusal> {
        let mut counts = self.lock();
        if counts.slots > 0 {
            return Err(Refusal::InProgArray);
        }
        counts.extensions += 1;
        Ok(Extension { gate: Arc::clone(self) })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program's being in one slot of a program array.
#[derive(Debug)]
#[must_use = "the slot is left when this is dropped"]
pub struct Membership {
    gate: Arc<ProgramGate>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.gate.lock().slots -= 1;
    }
}

/// A program's having one function replaced.
#[derive(Debug)]
#[must_use = "the function counts as restored when this is dropped"]
pub struct Extension {
    gate: Arc<ProgramGate>,
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.gate.lock().extensions -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_extensions_exclude_each_other_one_by_one() {
        let gate = ProgramGate::new();
        let slots = [gate.enter_prog_array().unwrap(), gate.enter_prog_array().unwrap()];
        let [first, second] = slots;
        assert_eq!(gate.extend().unwrap_err(), Refusal::InProgArray);
        drop(first);
        assert_eq!(gate.extend().unwrap_err(), Refusal::InProgArray);
        drop(second);
        let extensions = [gate.extend().unwrap(), gate.extend().unwrap()];
        let [first, second] = extensions;
        drop(first);
        assert_eq!(gate.enter_prog_array().unwrap_err(), Refusal::Extended);
        drop(second);
        drop(gate.enter_prog_array().unwrap());
    }
}
