//! What the caller of the verifier chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::trace::Recorder;

/// How to verify, and how much to say. What a load asks for by its flags is in the program's
/// description.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the log shall hold.
    pub log: LogOptions,
    /// Which exact behaviours of the kernel are corrected where it is known to be wrong.
    ///
    /// On by default; off, its verdict is the kernel's in these cases too.
    pub strict_holes: bool,
    /// How many instructions may be walked. Linux: `BPF_COMPLEXITY_LIMIT_INSNS`.
    pub max_insns: u32,
    /// How many bytes the states that are kept and the branches put aside may take together.
    /// The kernel has no such limit but its memory's.
    pub max_state_bytes: usize,
    /// Gives up when somebody sets this.
    pub cancel: Option<Cancel>,
    /// Where the states that are walked are recorded; without it nothing is.
    pub trace: Option<Recorder>,
}

/// What the log shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The kernel's bits: 1 the path walked last, 2 everything, 4 statistics, 8 a fixed log.
    ///
    /// Linux: `log_level`.
    pub level: u32,
    /// How many bytes it may have, the final zero included; `None` is no limit.
    ///
    /// Linux: `log_size`.
    pub size: Option<usize>,
}

/// A flag that makes a verification give up.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it: verifications that were given this flag give up soon.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: 1, size: None }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: LogOptions::default(),
            strict_holes: true,
            max_insns: 1_000_000,
            max_state_bytes: 4 << 30,
            cancel: None,
            trace: None,
        }
    }
}
