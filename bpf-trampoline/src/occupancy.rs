//! Who is at a function's entry, and who may come: the rules of exclusion, as data.
//!
//! ```text
//!                    with_extension
//!              Idle ----------------> Extended
//!              ^  |  <----------------
//!              |  |  without_extension
//!              |  |
//!              |  | with_probe
//!              |  v                  with_probe, while there are fewer than 38
//!   last probe +-- Probed <------+
//!   goes          |  |           |
//!                 +--+-----------+   without_probe
//! ```
//!
//! Every other step is refused. Linux: `__bpf_trampoline_link_prog`.

use crate::chain::{Chain, ProbeKind};
use crate::error::Refusal;

/// Who is at a function's entry: extensions `E` or probes `P`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupancy<E, P> {
    /// Nobody: calls fall into the body.
    Idle,
    /// An extension runs in the function's place.
    Extended(E),
    /// Probes run before and after the function.
    Probed(Chain<P>),
}

impl<E: Clone + PartialEq, P: Clone + PartialEq> Occupancy<E, P> {
    /// With an extension in the function's place.
    ///
    /// # Errors
    ///
    /// Returns an error if anybody is there.
    pub fn with_extension(&self, extension: E) -> Result<Self, Refusal> {
        match self {
            Self::Idle => Ok(Self::Extended(extension)),
            Self::Extended(_) | Self::Probed(_) => Err(Refusal::Occupied),
        }
    }

    /// Without the extension that is there.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not there.
    pub fn without_extension(&self, extension: &E) -> Result<Self, Refusal> {
        match self {
            Self::Extended(there) if there == extension => Ok(Self::Idle),
            Self::Idle | Self::Extended(_) | Self::Probed(_) => Err(Refusal::NotAttached),
        }
    }

    /// With one more probe, which runs before the others of its kind.
    ///
    /// # Errors
    ///
    /// Returns an error if the function is replaced, if the probe is there already, or if there
    /// are too many.
    pub fn with_probe(&self, kind: ProbeKind, probe: P) -> Result<Self, Refusal> {
        match self {
            Self::Idle => Ok(Self::Probed(Chain::one(kind, probe))),
            Self::Extended(_) => Err(Refusal::Occupied),
            Self::Probed(chain) => Ok(Self::Probed(chain.with(kind, probe)?)),
        }
    }

    /// Without a probe that is there.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not there.
    pub fn without_probe(&self, kind: ProbeKind, probe: &P) -> Result<Self, Refusal> {
        match self {
            Self::Idle | Self::Extended(_) => Err(Refusal::NotAttached),
            Self::Probed(chain) => Ok(chain.without(kind, probe)?.map_or(Self::Idle, Self::Probed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use super::*;
    use crate::chain::MAX_PROBES;

    /// A step, on any of two extensions and two probes of each kind.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Extend(u8),
        Restore(u8),
        Probe(ProbeKind, u8),
        Unprobe(ProbeKind, u8),
    }

    fn steps() -> Vec<Step> {
        let kinds = [ProbeKind::Entry, ProbeKind::Exit];
        let probes = kinds.into_iter().flat_map(|kind| [(kind, 1), (kind, 2)]);
        let probes = probes.flat_map(|(kind, n)| [Step::Probe(kind, n), Step::Unprobe(kind, n)]);
        let extensions = [1, 2].into_iter().flat_map(|n| [Step::Extend(n), Step::Restore(n)]);
        extensions.chain(probes).collect()
    }

    type Small = Occupancy<u8, u8>;

    fn take(state: &Small, step: Step) -> Result<Small, Refusal> {
        match step {
            Step::Extend(n) => state.with_extension(n),
            Step::Restore(n) => state.without_extension(&n),
            Step::Probe(kind, n) => state.with_probe(kind, n),
            Step::Unprobe(kind, n) => state.without_probe(kind, &n),
        }
    }

    /// What attachments remain after a history of steps that succeeded: the rules, told once
    /// more in another way.
    fn allowed(extensions: &[u8], probes: &[(ProbeKind, u8)], step: Step) -> bool {
        match step {
            Step::Extend(_) => extensions.is_empty() && probes.is_empty(),
            Step::Restore(n) => extensions == [n],
            Step::Probe(kind, n) => extensions.is_empty() && !probes.contains(&(kind, n)),
            Step::Unprobe(kind, n) => probes.contains(&(kind, n)),
        }
    }

    fn members(state: &Small) -> (Vec<u8>, Vec<(ProbeKind, u8)>) {
        match state {
            Occupancy::Idle => (Vec::new(), Vec::new()),
            Occupancy::Extended(extension) => (vec![*extension], Vec::new()),
            Occupancy::Probed(chain) => {
                let of = |kind| chain.probes(kind).iter().map(move |probe| (kind, *probe));
                (Vec::new(), of(ProbeKind::Entry).chain(of(ProbeKind::Exit)).collect())
            }
        }
    }

    #[test]
    fn every_state_allows_exactly_the_steps_that_the_rules_allow() {
        let mut seen = BTreeSet::new();
        let mut queue = VecDeque::from([Small::Idle]);
        while let Some(state) = queue.pop_front() {
            if !seen.insert(format!("{state:?}")) {
                continue;
            }
            let (extensions, probes) = members(&state);
            assert!(extensions.is_empty() || probes.is_empty(), "{state:?} is a mixture");
            for step in steps() {
                let next = take(&state, step);
                let wanted = allowed(&extensions, &probes, step);
                assert_eq!(next.is_ok(), wanted, "{step:?} in {state:?}");
                queue.extend(next);
            }
        }
        // Idle, two extensions, and probes: of each kind none, one of two, or both in either
        // order, but not none of both kinds.
        assert_eq!(seen.len(), 1 + 2 + (5 * 5 - 1));
    }

    #[test]
    fn the_probe_attached_last_runs_first() {
        let state = [1, 2, 3].into_iter().try_fold(Small::Idle, |state, n| {
            state.with_probe(ProbeKind::Exit, n)?.with_probe(ProbeKind::Entry, n + 10)
        });
        let Ok(Occupancy::Probed(chain)) = state else { panic!("{state:?}") };
        assert_eq!(chain.probes(ProbeKind::Entry), [13, 12, 11]);
        assert_eq!(chain.probes(ProbeKind::Exit), [3, 2, 1]);
    }

    #[test]
    fn there_is_room_for_as_many_probes_as_linux_allows() {
        let mut state = Occupancy::<u8, usize>::Idle;
        for n in 0..MAX_PROBES {
            let kind = if n % 3 == 0 { ProbeKind::Exit } else { ProbeKind::Entry };
            state = state.with_probe(kind, n).unwrap();
        }
        assert_eq!(state.with_probe(ProbeKind::Exit, 99), Err(Refusal::TooMany));
        let state = state.without_probe(ProbeKind::Exit, &0).unwrap();
        assert!(state.with_probe(ProbeKind::Entry, 99).is_ok());
    }
}
