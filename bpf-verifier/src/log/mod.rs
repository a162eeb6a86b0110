//! The record of a verification, in the kernel's words.

mod state;
mod source;
mod insn;
mod stats;

use std::fmt;

use crate::options::LogOptions;

pub use insn::helper_name;
pub use state::{Bits, Show, Signed, TypeName, Unsigned, kind_name};

/// The text of the log, as it grows.
///
/// Linux: `struct bpf_verifier_log`.
#[derive(Clone, Debug)]
pub struct Log {
    level: u32,
    text: String,
    /// Where the instruction printed last ends. Linux: `prev_log_pos`.
    insn_end: usize,
    /// How many bytes that instruction took. Linux: `prev_insn_print_pos`.
    insn_len: usize,
}

/// A place in the log to return to.
///
/// Linux: `log_pos`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMark(usize);

impl Log {
    /// An empty log.
    pub fn new(options: LogOptions) -> Self {
        Self { level: options.level, text: String::new(), insn_end: 0, insn_len: 0 }
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

    /// Adds a whole instruction, newline included: what it touches may be added to its line.
    pub fn print_insn(&mut self, text: fmt::Arguments<'_>) {
        let start = self.text.len();
        self.print(text);
        self.insn_end = self.text.len();
        self.insn_len = self.insn_end - start;
    }

    /// Goes on in the line of the instruction printed last, at the comment column, if nothing
    /// was added since; says whether it does.
    ///
    /// Linux: `vlog_alignment` and the beginning of `print_insn_state`.
    pub fn continue_insn(&mut self) -> bool {
        if self.insn_end == 0 || self.insn_end != self.text.len() {
            return false;
        }
        let column = (self.insn_len + 4).max(40).next_multiple_of(8);
        self.text.truncate(self.insn_end - 1);
        let spaces = column - self.insn_len - 1;
        self.print(format_args!("{:spaces$};", ""));
        true
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }
}
