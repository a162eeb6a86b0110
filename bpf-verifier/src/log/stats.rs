//! The last lines of the log.

use crate::env::Env;

impl Env<'_> {
    /// Adds what was counted to the log.
    ///
    /// The time is always told as 0: the same program has the same log on every machine.
    ///
    /// Linux: `print_verification_stats`.
    pub fn print_stats(&mut self) {
        if self.log.shows_stats() {
            let shown = self.subprogs.iter().filter(|subprog| !subprog.removed);
            let mut depths: Vec<String> = shown
                .map(|subprog| (subprog.stack_depth + subprog.stack_extra).to_string())
                .collect();
            if self.found.default_exception_callback {
                depths.push("0".to_owned());
            }
            let depths = depths.join("+");
            self.log.print(format_args!("verification time 0 usec\nstack depth {depths}\n"));
        }
        let counts = self.counts;
        self.log.print(format_args!(
            "processed {} insns (limit {}) max_states_per_insn {} total_states {} peak_states {} \
         mark_read 0\n",
            counts.insns,
            self.options.max_insns,
            counts.max_states_per_insn,
            counts.total_states,
            counts.peak_states,
        ));
    }
}
