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
/// Positions count from the beginning, whatever of the text is still there.
///
/// ```text
///   0 … gone …  start … can be shown …  end
/// ```
///
/// With a size, a log holds what was added last, in one byte less than that many; what was once
/// pushed out does not come back when the end is taken back. A fixed log holds what was added
/// first instead.
///
/// Linux: `struct bpf_verifier_log`.
#[derive(Clone, Debug)]
pub struct Log {
    options: LogOptions,
    text: String,
    /// The position of the first byte of `text`.
    origin: usize,
    /// The position of the first byte that can be shown. Linux: `start_pos`.
    start: usize,
    /// The size that would have held everything. Linux: `len_max`.
    needed: usize,
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

/// Linux: `BPF_LOG_FIXED`.
const FIXED: u32 = 8;

impl Log {
    /// An empty log.
    pub const fn new(options: LogOptions) -> Self {
        Self {
            options,
            text: String::new(),
            origin: 0,
            start: 0,
            needed: 0,
            insn_end: 0,
            insn_len: 0,
        }
    }

    /// Whether anything is recorded at all.
    ///
    /// Linux: `bpf_verifier_log_needed`.
    pub const fn is_on(&self) -> bool {
        self.options.level & 7 != 0
    }

    /// Whether paths are recorded: levels 1 and 2. Linux: `BPF_LOG_LEVEL`.
    pub const fn shows_paths(&self) -> bool {
        self.options.level & 3 != 0
    }

    /// Whether every path is recorded: level 2. Linux: `BPF_LOG_LEVEL2`.
    pub const fn shows_everything(&self) -> bool {
        self.options.level & 2 != 0
    }

    /// Records from now on with these levels; returns those until now.
    pub(crate) const fn set_level(&mut self, level: u32) -> u32 {
        std::mem::replace(&mut self.options.level, level)
    }

    /// Whether statistics are recorded: level 4. Linux: `BPF_LOG_STATS`.
    pub const fn shows_stats(&self) -> bool {
        self.options.level & 4 != 0
    }

    /// Adds text: `log.print(format_args!("R{n} is bad\n"))`. Newlines are the caller's.
    ///
    /// Linux: `verbose`.
    pub fn print(&mut self, text: fmt::Arguments<'_>) {
        if !self.is_on() {
            return;
        }
        // A String takes everything.
        let _ = fmt::Write::write_fmt(&mut self.text, text);
        self.needed = self.needed.max(self.end() + 1);
        if let Some(size) = self.options.size
            && self.options.level & FIXED == 0
        {
            self.start = self.start.max((self.end() + 1).saturating_sub(size));
            if self.text.len() > 2 * size + 4096 {
                self.forget();
            }
        }
    }

    /// Drops text that cannot be shown any more.
    fn forget(&mut self) {
        let mut gone = self.start - self.origin;
        while !self.text.is_char_boundary(gone) {
            gone -= 1;
        }
        self.text.drain(..gone);
        self.origin += gone;
    }

    const fn end(&self) -> usize {
        self.origin + self.text.len()
    }

    /// Where the log ends now.
    pub const fn mark(&self) -> LogMark {
        LogMark(self.end())
    }

    /// Forgets what was added since `mark`.
    ///
    /// Linux: `bpf_vlog_reset`.
    pub fn rewind(&mut self, mark: LogMark) {
        if mark.0 <= self.origin {
            self.text.clear();
            self.origin = mark.0;
        } else {
            self.text.truncate(mark.0 - self.origin);
        }
        self.start = self.start.min(mark.0);
    }

    /// Adds a whole instruction, newline included: what it touches may be added to its line.
    pub fn print_insn(&mut self, text: fmt::Arguments<'_>) {
        let start = self.end();
        self.print(text);
        self.insn_end = self.end();
        self.insn_len = self.insn_end - start;
    }

    /// Goes on in the line of the instruction printed last, at the comment column, if nothing
    /// was added since; says whether it does.
    ///
    /// Linux: `vlog_alignment` and the beginning of `print_insn_state`.
    pub fn continue_insn(&mut self) -> bool {
        if self.insn_end == 0 || self.insn_end != self.end() {
            return false;
        }
        let column = (self.insn_len + 4).max(40).next_multiple_of(8);
        self.rewind(LogMark(self.insn_end - 1));
        let spaces = column - self.insn_len - 1;
        self.print(format_args!("{:spaces$};", ""));
        true
    }

    /// The text, as far as it fits the size that was asked for.
    pub fn text(&self) -> &str {
        let Some(size) = self.options.size else { return &self.text };
        let from = if self.options.level & FIXED == 0 { self.start - self.origin } else { 0 };
        let to = if self.options.level & FIXED == 0 {
            self.text.len()
        } else {
            self.text.len().min(size.saturating_sub(1))
        };
        let from = (from..=to).find(|at| self.text.is_char_boundary(*at)).unwrap_or(to);
        let to = (from..=to).rfind(|at| self.text.is_char_boundary(*at)).unwrap_or(from);
        &self.text[from..to]
    }

    /// The size that would have held everything, the final zero included; 0 for an empty log.
    ///
    /// Linux: `log_true_size`.
    pub const fn needed(&self) -> usize {
        self.needed
    }

    /// Whether the size that was asked for was too small.
    pub fn is_truncated(&self) -> bool {
        self.options.size.is_some_and(|size| self.needed > size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(level: u32, size: usize) -> Log {
        Log::new(LogOptions { level, size: Some(size) })
    }

    #[test]
    fn a_log_holds_what_was_added_last() {
        let mut log = log(1, 6);
        log.print(format_args!("abcdefgh"));
        assert_eq!(log.text(), "defgh");
        assert!(log.is_truncated());
        assert_eq!(log.needed(), 9);
    }

    #[test]
    fn a_fixed_log_holds_what_was_added_first() {
        let mut log = log(1 | FIXED, 6);
        log.print(format_args!("abcdefgh"));
        assert_eq!(log.text(), "abcde");
    }

    #[test]
    fn what_was_pushed_out_does_not_come_back() {
        let mut log = log(1, 6);
        log.print(format_args!("abcd"));
        let mark = log.mark();
        log.print(format_args!("{}", "x".repeat(10_000)));
        log.rewind(mark);
        assert_eq!(log.text(), "");
        log.print(format_args!("yz"));
        assert_eq!(log.text(), "yz");
    }
}
