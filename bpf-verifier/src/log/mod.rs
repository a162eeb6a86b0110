//! The record of a verification, in the kernel's words.

use std::fmt;

use crate::options::LogOptions;

/// The text of the log, as it grows.
///
/// Linux: `struct bpf_verifier_log`.
#[derive(Clone, Debug)]
pub struct Log {
    level: u32,
    text: String,
}

/// A place in the log to return to.
///
/// Linux: `log_pos`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMark(usize);

impl Log {
    /// An empty log.
    pub fn new(options: LogOptions) -> Self {
        Self { level: options.level, text: String::new() }
    }

    /// Whether anything is recorded at all.
    ///
    /// Linux: `bpf_verifier_log_needed`.
    pub const fn is_on(&self) -> bool {
        self.level & 7 != 0
    }

    /// Whether paths are recorded: levels 1 and 2. Linux: `BPF_LOG_LEVEL`.
    pub const fn shows_paths(&self) -> bool {
        self.level & 3 != 0
    }

    /// Whether every path is recorded: level 2. Linux: `BPF_LOG_LEVEL2`.
    pub const fn shows_everything(&self) -> bool {
        self.level & 2 != 0
    }

    /// Whether statistics are recorded: level 4. Linux: `BPF_LOG_STATS`.
    pub const fn shows_stats(&self) -> bool {
        self.level & 4 != 0
    }

    /// Adds text: `log.print(format_args!("R{n} is bad\n"))`. Newlines are the caller's.
    ///
    /// Linux: `verbose`.
    pub fn print(&mut self, text: fmt::Arguments<'_>) {
        if self.is_on() {
            fmt::Write::write_fmt(&mut self.text, text).expect("a String takes everything");
        }
    }

    /// Where the log ends now.
    pub fn mark(&self) -> LogMark {
        LogMark(self.text.len())
    }

    /// Forgets what was added since `mark`.
    ///
    /// Linux: `bpf_vlog_reset`.
    pub fn rewind(&mut self, mark: LogMark) {
        self.text.truncate(mark.0);
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }
}
