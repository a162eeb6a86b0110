//! The probes of a function, in the order in which they run.

use crate::error::Refusal;

/// How many probes a function may have, of both kinds together. Linux: `BPF_MAX_TRAMP_LINKS`.
pub const MAX_PROBES: usize = 38;

/// When a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Before the function: fentry.
    Entry,
    /// After the function, seeing what it returned: fexit.
    Exit,
}

/// The probes of a function. Of each kind, the one attached last runs first.
///
/// Invariant: at least one and at most [`MAX_PROBES`] in all, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<P> {
    entry: Vec<P>,
    exit: Vec<P>,
}

impl<P: Clone + PartialEq> Chain<P> {
    /// One probe alone.
    pub(crate) fn one(kind: ProbeKind, probe: P) -> Self {
        match kind {
            ProbeKind::Entry => Self { entry: vec![probe], exit: Vec::new() },
            ProbeKind::Exit => Self { entry: Vec::new(), exit: vec![probe] },
        }
    }

    /// Those of one kind, in the order in which they run.
    pub fn probes(&self, kind: ProbeKind) -> &[P] {
        match kind {
            ProbeKind::Entry => &self.entry,
            ProbeKind::Exit => &self.exit,
        }
    }

    /// How many there are, of both kinds.
    #[expect(clippy::len_without_is_empty, reason = "a chain has at least one probe")]
    pub const fn len(&self) -> usize {
        self.entry.len() + self.exit.len()
    }

    /// With one more.
    pub(crate) fn with(&self, kind: ProbeKind, probe: P) -> Result<Self, Refusal> {
        if self.len() >= MAX_PROBES {
            return Err(Refusal::TooMany);
        }
        if self.probes(kind).contains(&probe) {
            return Err(Refusal::Attached);
        }
        let mut chain = self.clone();
        chain.probes_mut(kind).insert(0, probe);
        Ok(chain)
    }

    /// Without one of them; `None` if it was the last.
    pub(crate) fn without(&self, kind: ProbeKind, probe: &P) -> Result<Option<Self>, Refusal> {
        let at = self.probes(kind).iter().position(|other| other == probe);
        let at = at.ok_or(Refusal::NotAttached)?;
        let mut chain = self.clone();
        chain.probes_mut(kind).remove(at);
        Ok((chain.len() > 0).then_some(chain))
    }

    fn probes_mut(&mut self, kind: ProbeKind) -> &mut Vec<P> {
        match kind {
            ProbeKind::Entry => &mut self.entry,
            ProbeKind::Exit => &mut self.exit,
        }
    }
}
