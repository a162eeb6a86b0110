//! Programs, put together: each with the functions it calls appended, and its references named.
//!
//! A function is appended when a call of it is first met, and its own calls are followed before
//! the rest of the caller: the order in which libbpf does it, on which the numbers in logs depend.

use std::collections::HashMap;

use bpf_abi::spec::{Reference, ReferenceTo};
use bpf_isa::{Pc, Slot};

use crate::core_relo::Code;
use crate::debug::Debug;
use crate::elf::{Elf, SectionKind, Symbol};
use crate::error::ReadError;
use crate::externs::{Extern, Externs};
use crate::functions::{Function, Functions};

/// A 64-bit immediate. Linux: `BPF_LD | BPF_IMM | BPF_DW`.
const LOAD_IMM64: u8 = 0x18;
/// A call. Linux: `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// Source registers that say what an immediate is. Linux: `BPF_PSEUDO_*`.
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;
const PSEUDO_BTF_ID: u8 = 3;
const PSEUDO_CALL: u8 = 1;
const PSEUDO_KFUNC_CALL: u8 = 2;
const PSEUDO_FUNC: u8 = 4;

/// What the whole object has, for its programs to refer to.
pub(crate) struct Object<'a> {
    pub(crate) elf: &'a Elf<'a>,
    /// The instructions of each section, with CO-RE relocations made.
    pub(crate) code: Code,
    pub(crate) functions: &'a Functions<'a>,
    /// The functions that exceptions of programs end in: names, by the program's.
    pub(crate) callbacks: HashMap<String, String>,
    /// The section of functions that are no programs.
    pub(crate) text: Option<usize>,
    /// Declared maps: section, place, index among the maps.
    pub(crate) declared: HashMap<(usize, u64), usize>,
    /// Maps of sections of variables, by section.
    pub(crate) globals: HashMap<usize, usize>,
    /// The symbol that a place of a section refers to: section, slot.
    pub(crate) relocations: HashMap<(usize, usize), usize>,
    /// What comes from outside.
    pub(crate) externs: Externs,
    /// The map of the kernel's configuration.
    pub(crate) kconfig: Option<usize>,
    /// The section of variables that lie in an arena, and the arena's map.
    pub(crate) arena: Option<(usize, usize)>,
    /// Debug records, which are not free of charge either.
    pub(crate) debug: &'a Debug,
}

impl Object<'_> {
    /// The function that a program's exceptions end in, as a tag on the program says.
    fn exception_callback(&self, main: Function<'_>) -> Result<Option<usize>, ReadError> {
        let Some(name) = self.callbacks.get(main.name) else { return Ok(None) };
        let mut found =
            self.functions.callees.iter().enumerate().filter(|(_, function)| {
                Some(function.section) == self.text && function.name == *name
            });
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(Some(index)),
            _ => {
                let what = format!("its exception callback {name:?} is not one function in .text");
                Err(ReadError::symbol(main.name, what))
            }
        }
    }
}

/// A program put together.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    pub(crate) insns: Vec<Slot>,
    pub(crate) references: Vec<Reference>,
    /// The functions in it, with the slots at which they begin, in order.
    pub(crate) parts: Vec<Part>,
}

/// A function's place in a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) section: usize,
    /// Where it begins in its section, in slots.
    pub(crate) from: usize,
    pub(crate) len: usize,
    /// Where it begins in the program, in slots.
    pub(crate) to: usize,
}

/// Where the linker stands in a function.
struct Frame {
    part: Part,
    next: usize,
}

/// How many bytes of instructions and debug records the programs of an object may have together, so that many programs
/// that share large functions cannot fill the memory.
pub(crate) const MAX_BYTES: usize = 512 << 20;

/// Puts a program together. `budget` is what is left of [`MAX_BYTES`].
pub(crate) fn link(
    object: &Object<'_>,
    main: Function<'_>,
    budget: &mut usize,
) -> Result<Linked, ReadError> {
    let mut linked = Linked::default();
    let mut placed: HashMap<usize, usize> = HashMap::new();
    let mut frames = vec![Frame { part: linked.append(object, main, budget)?, next: 0 }];
    let mut callback = object.exception_callback(main)?;
    loop {
        let Some(frame) = frames.last_mut() else {
            // Nobody calls the function that exceptions end in; it comes last.
            let Some(last) = callback.take().filter(|last| !placed.contains_key(last)) else {
                break;
            };
            let part = linked.append(object, object.functions.callees[last], budget)?;
            placed.insert(last, part.to);
            frames.push(Frame { part, next: 0 });
            continue;
        };
        if frame.next >= frame.part.len {
            frames.pop();
            continue;
        }
        let (at, part) = (frame.next, frame.part);
        let place = Place { object, part, at };
        let here = part.to + at;
        let insn = linked.insns[here];
        let wide = insn.opcode == LOAD_IMM64;
        if let Some(start) = place.callee(insn)? {
            let callee = object
                .functions
                .callee_at(start.section, start.slot)
                .ok_or_else(|| place.wrong("it refers to no function's beginning"))?;
            let Some(to) = placed.get(&callee) else {
                let part = linked.append(object, object.functions.callees[callee], budget)?;
                placed.insert(callee, part.to);
                frames.push(Frame { part, next: 0 });
                continue;
            };
            let distance =
                i64::try_from(*to).unwrap_or(i64::MAX) - i64::try_from(here).unwrap_or(0) - 1;
            let slot = &mut linked.insns[here];
            slot.imm = i32::try_from(distance).map_err(|_| place.wrong("it is too far to call"))?;
            slot.src = if wide { PSEUDO_FUNC } else { PSEUDO_CALL };
        } else if let Some(symbol) = place.symbol() {
            let reference = place.refer(symbol, &mut linked.insns[here..])?;
            let at = Pc(u32::try_from(here).map_err(|_| place.wrong("the program is too long"))?);
            linked.references.push(Reference { at, to: reference });
        }
        frame_advance(&mut frames, if wide { 2 } else { 1 });
    }
    linked.references.sort_by_key(|reference| reference.at);
    Ok(linked)
}

fn frame_advance(frames: &mut [Frame], by: usize) {
    if let Some(frame) = frames.last_mut() {
        frame.next += by;
    }
}

impl Linked {
    /// Appends a function's instructions.
    fn append(
        &mut self,
        object: &Object<'_>,
        function: Function<'_>,
        budget: &mut usize,
    ) -> Result<Part, ReadError> {
        let to = self.insns.len();
        let part = Part { section: function.section, from: function.start, len: function.len, to };
        let weight = function.len * Slot::SIZE + object.debug.weight(part);
        *budget = budget.checked_sub(weight).ok_or_else(|| {
            ReadError::symbol(function.name, "the programs are too large together")
        })?;
        let slots = object.code.get(&function.section).map_or(&[][..], Vec::as_slice);
        let own = slots.get(function.start..function.start + function.len);
        self.insns.extend_from_slice(own.unwrap_or_default());
        self.parts.push(part);
        Ok(part)
    }
}

/// Where a function begins.
struct Start {
    section: usize,
    slot: usize,
}

/// An instruction of the object.
struct Place<'a> {
    object: &'a Object<'a>,
    part: Part,
    at: usize,
}

impl<'a> Place<'a> {
    fn wrong(&self, what: impl Into<String>) -> ReadError {
        ReadError::Relocation {
            section: self.object.elf.sections[self.part.section].name.to_owned(),
            insn: self.part.from + self.at,
            what: what.into(),
        }
    }

    /// The symbol that the instruction refers to.
    fn symbol(&self) -> Option<Symbol<'a>> {
        let key = (self.part.section, self.part.from + self.at);
        let index = self.object.relocations.get(&key)?;
        self.object.elf.symbols.get(*index).copied()
    }

    /// The function of this program that the instruction calls or takes the address of.
    fn callee(&self, insn: Slot) -> Result<Option<Start>, ReadError> {
        let text = self.object.text;
        let symbol = self.symbol();
        let start = |section: usize, slot: i64| {
            let slot =
                usize::try_from(slot).map_err(|_| self.wrong("it calls before its section"))?;
            Ok(Some(Start { section, slot }))
        };
        let base = |symbol: &Symbol<'_>| {
            i64::try_from(symbol.value).map_err(|_| self.wrong("its symbol lies nowhere"))
        };
        if insn.opcode == CALL && insn.src == PSEUDO_CALL {
            let Some(symbol) = symbol else {
                // A call inside a section, already counted out by the assembler.
                let here = i64::try_from(self.part.from + self.at).unwrap_or(i64::MAX);
                let slot = here.saturating_add(i64::from(insn.imm)).saturating_add(1);
                return start(self.part.section, slot);
            };
            let Some(section) = symbol.section.filter(|_| !symbol.is_undefined) else {
                return Ok(None);
            };
            if Some(section) != text && section != self.part.section {
                let what = format!("it calls {:?}, which is not in .text", symbol.name);
                return Err(self.wrong(what));
            }
            return start(section, base(&symbol)? / 8 + i64::from(insn.imm) + 1);
        }
        if insn.opcode == LOAD_IMM64
            && let Some(symbol) = symbol
            && let Some(section) = symbol.section
            && self.object.elf.sections.get(section).is_some_and(|s| s.kind == SectionKind::Code)
        {
            return start(section, base(&symbol)?.saturating_add(i64::from(insn.imm)) / 8);
        }
        Ok(None)
    }

    /// Names what the instruction refers to, and gives it the source register that says so.
    fn refer(&self, symbol: Symbol<'_>, insns: &mut [Slot]) -> Result<ReferenceTo, ReadError> {
        if symbol.is_undefined {
            return self.refer_to_extern(symbol, insns);
        }
        let Some((insn, rest)) = insns.split_first_mut() else {
            return Err(self.wrong("it is not there"));
        };
        if insn.opcode != LOAD_IMM64 {
            return Err(self.wrong(format!(
                "opcode {:#04x} cannot refer to symbol {:?}",
                insn.opcode, symbol.name
            )));
        }
        let section = symbol.section.ok_or_else(|| self.wrong("its symbol lies in no section"))?;
        // Static maps are told by their section's symbol and an offset.
        let inside = u64::try_from(insn.imm).unwrap_or(0);
        let place = symbol.value.saturating_add(inside);
        if let Some(map) = self.object.declared.get(&(section, place)) {
            insn.src = PSEUDO_MAP_FD;
            insn.imm =
                i32::try_from(*map).map_err(|_| self.wrong("the object has too many maps"))?;
            return Ok(ReferenceTo::Map(*map));
        }
        if let Some(map) = self.object.globals.get(&section) {
            return self.refer_to_value(*map, symbol.value, insn, rest);
        }
        if let Some((_, map)) = self.object.arena.filter(|(arena, _)| *arena == section) {
            return self.refer_to_value(map, symbol.value, insn, rest);
        }
        let name = self.object.elf.sections.get(section).map_or("", |section| section.name);
        Err(self.wrong(format!(
            "it refers to {:?} in section {name:?}, which is neither a map nor variables",
            symbol.name
        )))
    }

    /// Refers to a byte of a map's value: `place` and what the instruction says already.
    fn refer_to_value(
        &self,
        map: usize,
        place: u64,
        insn: &mut Slot,
        rest: &mut [Slot],
    ) -> Result<ReferenceTo, ReadError> {
        let place = i64::try_from(place).unwrap_or(i64::MAX).checked_add(insn.imm.into());
        let place = place.and_then(|place| i32::try_from(place).ok());
        let second = rest.first_mut().ok_or_else(|| self.wrong("it has no second half"))?;
        second.imm = place.ok_or_else(|| self.wrong("it points beyond its section"))?;
        insn.src = PSEUDO_MAP_VALUE;
        insn.imm = i32::try_from(map).map_err(|_| self.wrong("the object has too many maps"))?;
        Ok(ReferenceTo::MapValue(map))
    }

    fn refer_to_extern(
        &self,
        symbol: Symbol<'_>,
        insns: &mut [Slot],
    ) -> Result<ReferenceTo, ReadError> {
        let (name, weak) = (symbol.name.to_owned(), symbol.is_weak);
        let Some((insn, rest)) = insns.split_first_mut() else {
            return Err(self.wrong("it is not there"));
        };
        let found = self.object.externs.get(&name);
        match (insn.opcode, found) {
            (_, None) => Err(self.wrong(format!("nothing says what extern {name:?} is"))),
            (CALL, Some(Extern::Kfunc)) => {
                insn.src = PSEUDO_KFUNC_CALL;
                insn.imm = self.object.externs.place(&name);
                Ok(ReferenceTo::Kfunc { name, weak })
            }
            (LOAD_IMM64, Some(Extern::Kconfig { offset })) => {
                let map = self.object.kconfig.ok_or_else(|| self.wrong("it has no map"))?;
                insn.imm = 0;
                self.refer_to_value(map, u64::from(*offset), insn, rest)
            }
            (LOAD_IMM64, Some(Extern::Ksym { is_typed: false })) => {
                insn.src = 0;
                insn.imm = 0;
                Ok(ReferenceTo::Ksym { name, weak })
            }
            (LOAD_IMM64, Some(Extern::Ksym { is_typed: true } | Extern::Kfunc)) => {
                insn.src = PSEUDO_BTF_ID;
                insn.imm = 0;
                Ok(ReferenceTo::Ksym { name, weak })
            }
            (_, Some(_)) => Err(self.wrong(format!("it cannot refer to extern {name:?}"))),
        }
    }
}
