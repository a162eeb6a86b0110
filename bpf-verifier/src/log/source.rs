//! Source lines, as the log shows them before the instructions that were made from them.

use bpf_isa::Pc;

use crate::env::{Env, LineInfo};

impl Env<'_> {
    /// The source line that an instruction was made from, by its place among the lines.
    ///
    /// Linux: `find_linfo`.
    pub fn line_of(&self, pc: Pc) -> Option<usize> {
        self.debug.lines.partition_point(|line| line.pc <= pc).checked_sub(1)
    }

    /// Adds the source line of an instruction to the log, unless it was shown last.
    ///
    /// Linux: `verbose_linfo`.
    pub fn print_source(&mut self, pc: Pc) {
        if !self.log.is_on() {
            return;
        }
        let Some(at) = self.line_of(pc) else { return };
        let line = &self.debug.lines[at];
        let shown = self.debug.shown.and_then(|shown| self.debug.lines.get(shown));
        if shown.is_some_and(|shown| shown.file == line.file && shown.line == line.line) {
            return;
        }
        let text = line.text.trim_start();
        self.log.print(format_args!("; {text} @ {}:{}\n", line.file_name(), line.line));
        self.debug.shown = Some(at);
    }
}

impl LineInfo {
    /// The file, without its path.
    pub fn file_name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }
}
