//! Instructions, as the log shows them.

use std::borrow::Cow;

use bpf_abi::helper::protos::PROTOS;
use bpf_isa::{Pc, Symbols, Text};

use crate::env::Env;

struct Names;

impl Symbols for Names {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        let id = u32::try_from(id).ok()?;
        let row = PROTOS.iter().find(|row| row.proto.id == id)?;
        Some(format!("bpf_{}", row.proto.name).into())
    }
}

impl Env<'_> {
    /// Adds an instruction to the log, and ends the line.
    ///
    /// Linux: `verbose_insn`.
    pub fn print_insn(&mut self, pc: Pc) {
        let text = self.insn_text(pc);
        self.log.print(format_args!("{text}\n"));
    }

    /// Adds an instruction with its position to the log: what it touches may be added to its
    /// line.
    pub fn print_insn_line(&mut self, pc: Pc) {
        let text = self.insn_text(pc);
        self.log.print_insn(format_args!("{pc}: {text}\n"));
    }

    fn insn_text(&self, pc: Pc) -> String {
        let Some(slot) = self.spec.insns.get(pc.index()) else { return String::new() };
        let next = self.spec.insns.get(pc.index() + 1).copied();
        Text::new(*slot, next, &Names).to_string()
    }
}
