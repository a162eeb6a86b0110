//! Instructions, as the log shows them.

use std::borrow::Cow;

use bpf_abi::helper::protos::PROTOS;
use bpf_abi::map::MapType;
use bpf_isa::opcode::whole;
use bpf_isa::{Imm64, Pc, Symbols, Text};

use crate::env::{Env, Loaded};
use crate::program::kfunc_name;

/// The log's place of the first map: an address to the eye, but the same on every machine.
const MAPS: u64 = 0xffff_8880_0000_0000;
/// The log's place of the kernel's variables.
const VARIABLES: u64 = 0xffff_ffff_8000_0000;

impl Env<'_> {
    /// Adds an instruction to the log, and ends the line.
    ///
    /// Linux: `verbose_insn`.
    pub fn print_insn(&mut self, pc: Pc) {
        if self.log.is_on() {
            let text = self.insn_text(pc);
            self.log.print(format_args!("{text}\n"));
        }
    }

    /// Adds an instruction with its position to the log: what it touches may be added to its
    /// line.
    pub fn print_insn_line(&mut self, pc: Pc) {
        if self.log.is_on() {
            let text = self.insn_text(pc);
            self.log.print_insn(format_args!("{pc}: {text}\n"));
        }
    }

    /// The text of an instruction: `(b7) r0 = 0`.
    pub fn insn_text(&self, pc: Pc) -> String {
        let Some(slot) = self.spec.insns.get(pc.index()) else { return String::new() };
        let next = self.spec.insns.get(pc.index() + 1).copied();
        Text::new(*slot, next, &Names { env: self, pc }).to_string()
    }

    /// The instruction after the one at `pc`, in the order of the program.
    pub fn insn_after(&self, pc: Pc) -> Pc {
        let slot = self.spec.insns.get(pc.index());
        let is_wide = slot.is_some_and(|slot| slot.opcode == whole::LOAD_IMM64);
        Pc(pc.0 + if is_wide { 2 } else { 1 })
    }
}

/// The names in the instruction at `pc`.
struct Names<'a, 'e> {
    env: &'a Env<'e>,
    pc: Pc,
}

impl Symbols for Names<'_, '_> {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        helper_name(id).map(|name| format!("bpf_{name}").into())
    }

    fn kfunc(&self, id: i32, btf: i16) -> Option<Cow<'_, str>> {
        if id == 0 {
            return Some("".into());
        }
        Some(kfunc_name(self.env, id, btf).unwrap_or("<error>").into())
    }

    fn imm64(&self, imm: Imm64) -> Option<Cow<'_, str>> {
        let number = match (self.env.note(self.pc).load, imm) {
            (Some(Loaded::Map(map)), _) => MAPS + 0x1000 * u64::from(map.0),
            (Some(Loaded::MapValue { map, off }), _)
                if self.env.map(map).map_type == MapType::Arena =>
            {
                self.env.map(map).map_extra.wrapping_add(u64::from(off))
            }
            (Some(Loaded::MapValue { map, off }), _) => {
                MAPS + 0x1000_0000 * (1 + u64::from(map.0)) + u64::from(off)
            }
            (Some(Loaded::Variable(_)), Imm64::BtfId { id, .. }) => {
                VARIABLES + 0x10 * u64::from(id.cast_unsigned())
            }
            _ => {
                let slots = &self.env.spec.insns;
                let half =
                    |at: usize| slots.get(at).map_or(0, |slot| u64::from(slot.imm.cast_unsigned()));
                half(self.pc.index()) | half(self.pc.index() + 1) << 32
            }
        };
        Some(format!("0x{number:x}").into())
    }
}

/// A helper's name without `bpf_`; `None` if there is none of this number.
pub fn helper_name(id: i32) -> Option<&'static str> {
    let id = u32::try_from(id).ok()?;
    if id == 0 {
        return Some("unspec");
    }
    let from = PROTOS.partition_point(|row| row.proto.id < id);
    PROTOS.get(from).filter(|row| row.proto.id == id).map(|row| row.proto.name)
}
