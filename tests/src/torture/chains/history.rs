//! What was in a slot, and when.

use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that ticks when something happens.
#[derive(Debug)]
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// How many of the last changes are known.
const KNOWN: u64 = 2048;

/// The last changes of a slot. One thread writes at a time, any number read.
#[derive(Debug)]
pub(super) struct History {
    changes: Box<[Change]>,
    /// How many changes have begun.
    begun: AtomicU64,
}

/// A change: it happened at some time between two ticks.
#[derive(Debug, Default)]
struct Change {
    /// What is in the slot since; zero for nothing.
    to: AtomicU64,
    begin: AtomicU64,
    /// Zero while it is not known to have happened.
    end: AtomicU64,
}

/// Whether a slot may have held something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// It was changed so often since that nobody knows.
    Forgotten,
}

impl History {
    /// Of a slot that is empty.
    pub(super) fn new() -> Self {
        let changes: Box<[Change]> = (0..KNOWN).map(|_| Change::default()).collect();
        changes[0].begin.store(1, Ordering::SeqCst);
        changes[0].end.store(1, Ordering::SeqCst);
        Self { changes, begun: AtomicU64::new(1) }
    }

    fn change(&self, number: u64) -> &Change {
        let place = usize::try_from(number % KNOWN).unwrap_or_default();
        &self.changes[place]
    }

    /// Does what puts `to` into the slot.
    pub(super) fn record<T>(&self, clock: &Clock, to: u32, change: impl FnOnce() -> T) -> T {
        self.begin(clock, to);
        let done = change();
        self.end(clock);
        done
    }

    /// From now on `to` may be in the slot.
    pub(super) fn begin(&self, clock: &Clock, to: u32) {
        let number = self.begun.load(Ordering::SeqCst);
        let change = self.change(number);
        change.end.store(0, Ordering::SeqCst);
        change.to.store(u64::from(to), Ordering::SeqCst);
        change.begin.store(clock.tick(), Ordering::SeqCst);
        self.begun.store(number + 1, Ordering::SeqCst);
    }

    /// From now on only that is in the slot.
    pub(super) fn end(&self, clock: &Clock) {
        let number = self.begun.load(Ordering::SeqCst) - 1;
        self.change(number).end.store(clock.tick(), Ordering::SeqCst);
    }

    /// Whether somebody who looked at the slot between these ticks may have found `what`.
    pub(super) fn may_have_been(&self, what: u32, from: u64, to: u64) -> Answer {
        let begun = self.begun.load(Ordering::SeqCst);
        for number in (begun.saturating_sub(KNOWN)..begun).rev() {
            let change = self.change(number);
            let (value, begin, end) = (
                change.to.load(Ordering::SeqCst),
                change.begin.load(Ordering::SeqCst),
                change.end.load(Ordering::SeqCst),
            );
            // The writer may have come round meanwhile, and be at this change.
            if self.begun.load(Ordering::SeqCst) >= number + KNOWN - 1 {
                return Answer::Forgotten;
            }
            if begin > to {
                continue;
            }
            if value == u64::from(what) {
                return Answer::Yes;
            }
            if end != 0 && end <= from {
                return Answer::No;
            }
        }
        Answer::Forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_held_what_it_held_during_the_ticks() {
        let (clock, history) = (Clock::new(), History::new());
        let before = clock.now();
        history.record(&clock, 7, || ());
        let between = clock.now();
        history.begin(&clock, 0);
        let after = clock.now();
        let held = |what, from, to| history.may_have_been(what, from, to);
        assert_eq!(held(0, before, before), Answer::Yes);
        assert_eq!(held(7, before, before), Answer::No);
        assert_eq!(held(7, before, between), Answer::Yes);
        assert_eq!(held(0, between, between), Answer::No);
        assert_eq!(held(8, before, after), Answer::No);
        // The last change is not known to have happened.
        assert_eq!((held(0, after, after), held(7, after, after)), (Answer::Yes, Answer::Yes));
        history.end(&clock);
        assert_eq!(held(7, clock.now(), clock.now()), Answer::No);
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let (clock, history) = (Clock::new(), History::new());
        let before = clock.now();
        for number in 0..5000 {
            history.record(&clock, number, || ());
        }
        assert_eq!(history.may_have_been(1, before, before), Answer::Forgotten);
        assert_eq!(history.may_have_been(4999, before, clock.now()), Answer::Yes);
    }
}
