//! A program as a raw document: all that the kernel is told of it, and of its maps, as one JSON object.
//!
//! The oracle's page describes the format. Numbers that only a host knows are left out of the instructions; `fixups`
//! says what belongs there.

use std::fmt::Write as _;

use bpf_abi::map::{MapInitValue, MapSpec};
use bpf_abi::spec::{AttachTo, ObjectSpec, ProgramSpec, ReferenceTo};
use bpf_btf::relo::essential_name;

/// The raw document of one of an object's programs, on one line.
///
/// Maps stand in the order in which the program refers to them. Entries that hold maps are left out; programs in a
/// program array are told with it, but what their own program arrays hold is not.
pub fn document(object: &ObjectSpec, program: &ProgramSpec) -> String {
    Writer { object, holder: None }.program(program)
}

/// How much text the entries of a map may be. Programs that hold one another are told again and again.
const MAX_ENTRIES: usize = 64 << 20;

#[derive(Clone, Copy)]
struct Writer<'a> {
    object: &'a ObjectSpec,
    /// The map that the program is an entry of.
    holder: Option<usize>,
}

impl Writer<'_> {
    fn program(self, program: &ProgramSpec) -> String {
        let mut maps: Vec<usize> = Vec::new();
        let mut insns = program.insns.clone();
        let mut fixups = Vec::new();
        for reference in &program.references {
            if let Some(insn) = insns.get_mut(reference.at.index()) {
                insn.imm = 0;
            }
            let at = reference.at.index();
            fixups.push(match &reference.to {
                ReferenceTo::Map(map) => self.map_fixup(at, "map_fd", *map, &mut maps),
                ReferenceTo::MapValue(map) => self.map_fixup(at, "map_value", *map, &mut maps),
                ReferenceTo::Kfunc { name, weak } => {
                    symbol_fixup(at, "kfunc", essential_name(name), *weak)
                }
                ReferenceTo::Ksym { name, weak } => {
                    symbol_fixup(at, "ksym", essential_name(name), *weak)
                }
            });
        }
        let mut fields = Fields::default();
        fields.text("section", &program.section);
        fields.text("name", &program.name);
        fields.text("prog_type", program.prog_type.name());
        let attach = program.expected_attach_type.map_or(0, |attach| attach.number());
        fields.number("expected_attach_type", attach);
        fields.number("prog_flags", program.flags.bits());
        fields.number("kern_version", self.object.kern_version);
        fields.text("license", &program.license);
        let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_bytes()).collect();
        fields.bytes("insns", &bytes);
        fields.list("maps", maps.iter().filter_map(|map| self.map(*map)));
        fields.list("fixups", fixups);
        if let Some(btf) = &program.btf {
            fields.number("btf", 0u32);
            fields.raw("blobs", &format!("[\"{}\"]", hex(&btf.encode())));
            for (name, size, info) in [
                ("func_info", "func_info_rec_size", &program.func_info),
                ("line_info", "line_info_rec_size", &program.line_info),
            ] {
                if !info.bytes.is_empty() {
                    fields.bytes(name, &info.bytes);
                    fields.number(size, info.rec_size);
                }
            }
        }
        let mut target = Fields::default();
        match &program.attach_to {
            Some(AttachTo::Kernel(name)) => {
                target.text("name", name);
                target.text("kind", "hook");
                fields.raw("attach_btf", &target.object());
            }
            Some(AttachTo::StructOps { name, member }) => {
                target.text("name", name);
                target.text("kind", "struct");
                target.text("member", member);
                fields.raw("attach_btf", &target.object());
            }
            Some(AttachTo::Function(_) | AttachTo::Other(_)) | None => {}
        }
        fields.object()
    }

    fn map_fixup(self, at: usize, kind: &str, map: usize, maps: &mut Vec<usize>) -> String {
        let mut fields = Fields::default();
        fields.number("insn", at);
        fields.text("kind", kind);
        if self.holder == Some(map) {
            fields.text("map", "self");
        } else {
            let known = maps.iter().position(|known| *known == map).unwrap_or_else(|| {
                maps.push(map);
                maps.len() - 1
            });
            fields.number("map", known);
        }
        fields.object()
    }

    fn map(self, index: usize) -> Option<String> {
        let spec = self.object.maps.get(index)?;
        let mut fields = shape(spec);
        if spec.btf_key_type_id != 0 || spec.btf_value_type_id != 0 {
            fields.text("btf", "prog");
            fields.number("btf_key_type_id", spec.btf_key_type_id);
            fields.number("btf_value_type_id", spec.btf_value_type_id);
        }
        if let Some(inner) = &spec.inner {
            fields.raw("inner", &shape(inner).object());
        }
        let mut room = MAX_ENTRIES;
        let entries = spec.init.iter().filter_map(|init| {
            let mut entry = Fields::default();
            entry.bytes("key", &init.key);
            match &init.value {
                MapInitValue::Bytes(bytes) => entry.bytes("value", bytes),
                MapInitValue::Program(name) => {
                    // One level of programs within programs is enough: they may hold one another.
                    let program = self.object.programs.iter().find(|other| other.name == *name);
                    let program = program.filter(|_| self.holder.is_none())?;
                    let inner = Self { holder: Some(index), ..self };
                    entry.raw("prog", &inner.program(program));
                }
                MapInitValue::Map(_) => return None,
            }
            let entry = entry.object();
            room = room.checked_sub(entry.len())?;
            Some(entry)
        });
        let entries: Vec<String> = entries.collect();
        if !entries.is_empty() {
            fields.list("init", entries);
        }
        if spec.frozen {
            fields.raw("frozen", "true");
        }
        Some(fields.object())
    }
}

/// What a map is like, without what is in it.
fn shape(spec: &MapSpec) -> Fields {
    let mut fields = Fields::default();
    fields.text("name", &spec.name);
    fields.text("type", spec.map_type.name());
    fields.number("key_size", spec.key_size);
    fields.number("value_size", spec.value_size);
    fields.number("max_entries", spec.max_entries);
    fields.number("map_flags", spec.flags.bits());
    if spec.map_extra != 0 {
        fields.number("map_extra", spec.map_extra);
    }
    fields
}

fn symbol_fixup(at: usize, kind: &str, name: &str, weak: bool) -> String {
    let mut fields = Fields::default();
    fields.number("insn", at);
    fields.text("kind", kind);
    fields.text("name", name);
    if weak {
        fields.raw("or_zero", "true");
    }
    fields.object()
}

/// The fields of a JSON object, in order.
#[derive(Default)]
struct Fields {
    text: String,
}

impl Fields {
    fn raw(&mut self, name: &str, value: &str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        // Writing to a string does not fail.
        let _ = write!(self.text, "\"{name}\":{value}");
    }

    fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        self.raw(name, &value.to_string());
    }

    fn text(&mut self, name: &str, value: &str) {
        let mut quoted = String::from("\"");
        for c in value.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c if c < ' ' => {
                    let _ = write!(quoted, "\\u{:04x}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        self.raw(name, &quoted);
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.raw(name, &format!("\"{}\"", hex(value)));
    }

    fn list(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        self.raw(name, &format!("[{}]", values.join(",")));
    }

    fn object(&self) -> String {
        format!("{{{}}}", self.text)
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use bpf_abi::map::{MapInit, MapType};
    use bpf_abi::prog::ProgType;
    use bpf_abi::spec::Reference;
    use bpf_isa::{Pc, Slot};

    use super::*;

    #[test]
    fn a_document_names_what_the_host_fills_in() {
        let load = Slot { opcode: 0x18, dst: 1, src: 1, off: 0, imm: 1 };
        let insns = vec![load, Slot::default(), Slot { opcode: 0x95, ..Slot::default() }];
        let mut program = ProgramSpec::new("say \"hi\"", ProgType::Xdp, insns);
        program.references.push(Reference { at: Pc(0), to: ReferenceTo::Map(1) });
        let mut jumps = MapSpec::new("jumps", MapType::ProgArray, 4, 4, 2);
        let value = MapInitValue::Program(program.name.clone());
        jumps.init.push(MapInit { key: vec![1, 0, 0, 0], value });
        let object = ObjectSpec {
            maps: vec![MapSpec::new("unused", MapType::Array, 4, 4, 1), jumps],
            programs: vec![program.clone()],
            ..ObjectSpec::default()
        };
        let text = document(&object, &program);
        assert!(text.contains(r#""name":"say \"hi\"","prog_type":"xdp""#), "{text}");
        assert!(text.contains(r#""insns":"1811000000000000"#), "{text}");
        assert!(text.contains(r#""fixups":[{"insn":0,"kind":"map_fd","map":0}]"#), "{text}");
        // The program that the map holds refers to that very map.
        assert!(text.contains(r#""fixups":[{"insn":0,"kind":"map_fd","map":"self"}]"#), "{text}");
        assert!(!text.contains("unused"), "{text}");
    }
}
