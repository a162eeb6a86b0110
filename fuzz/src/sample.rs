//! A program of the generator's, and its form as a raw document.

use std::sync::Arc;

use bpf_abi::prog::{AttachType, ProgFlags};
use bpf_abi::spec::{AttachTo, InfoBlob, ProgramSpec};
use bpf_btf::TypeId;
use bpf_isa::Slot;
use bpf_isa::opcode::{callee, imm_source, whole};
use bpf_oracle::hex;
use serde_json::{Value, json};

use crate::hook::{HOOKS, Hook};
use crate::world::{FIRST_MAP, World};

/// A program in a [`World`].
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is for, by its place among [`HOOKS`].
    pub hook: usize,
    /// The flags of its load.
    pub flags: ProgFlags,
    /// Its instructions; maps are named by [`FIRST_MAP`] and what follows, kernel functions by
    /// their numbers.
    pub slots: Vec<Slot>,
    /// Where its functions begin and what their types are; empty for a program without types.
    pub functions: Vec<(u32, TypeId)>,
}

impl Sample {
    /// What it is for.
    pub fn hook(&self) -> &'static Hook {
        &HOOKS[self.hook]
    }

    /// The functions' types, as the kernel is given them.
    pub fn func_info(&self) -> Vec<u8> {
        let words = self.functions.iter().flat_map(|(start, func)| [*start, func.0]);
        words.flat_map(u32::to_le_bytes).collect()
    }

    /// The program as our verifier takes it.
    pub fn spec(&self, world: &World) -> ProgramSpec {
        let hook = self.hook();
        let mut spec = ProgramSpec::new("random", hook.prog_type, self.slots.clone());
        spec.expected_attach_type = Some(hook.attach);
        spec.attach_to = hook.target.map(|name| AttachTo::Kernel(name.to_owned()));
        spec.flags = self.flags;
        if !self.functions.is_empty() {
            spec.btf = Some(Arc::clone(&world.btf));
            spec.func_info = InfoBlob { rec_size: 8, bytes: self.func_info() };
        }
        spec
    }

    /// Whether the kernel may be asked about it: a tail call in a callback of `bpf_loop` and its
    /// like trips a kernel bug, so the two do not stand in one program.
    pub fn is_harmless(&self) -> bool {
        const TAIL_CALL: i32 = 12;
        let calls = |id| self.slots.iter().any(|slot| slot.opcode == whole::CALL && slot.imm == id);
        let has_callback = self
            .slots
            .iter()
            .any(|slot| slot.opcode == whole::LOAD_IMM64 && slot.src == imm_source::FUNC);
        !(calls(TAIL_CALL) && has_callback)
    }

    /// Whether the answer is the same everywhere: it does not ask for the CPU, of which there are
    /// as many as there are; and no immediate names a map that is not there, where the kernel
    /// finds whatever has that descriptor.
    pub fn is_closed(&self, world: &World) -> bool {
        const SMP_PROCESSOR_ID: i32 = 8;
        self.slots.iter().all(|slot| match (slot.opcode, slot.src) {
            (whole::LOAD_IMM64, imm_source::VALUE | imm_source::FUNC) => true,
            (whole::LOAD_IMM64, _) => self.map_at(slot, world).is_some(),
            (whole::CALL, callee::HELPER) => slot.imm != SMP_PROCESSOR_ID,
            (whole::CALL, callee::KFUNC) => world.kfunc_name(slot.imm).is_some(),
            _ => true,
        })
    }

    /// The map that an instruction names.
    pub fn map_at(&self, slot: &Slot, world: &World) -> Option<usize> {
        let names_map = slot.opcode == whole::LOAD_IMM64
            && matches!(slot.src, imm_source::MAP_FD | imm_source::MAP_VALUE);
        let place = slot.imm.checked_sub(FIRST_MAP).filter(|_| names_map && slot.off == 0)?;
        usize::try_from(place).ok().filter(|place| *place < world.maps.len())
    }

    /// The program as a raw document, which needs nothing else.
    pub fn document(&self, name: &str, world: &World) -> Value {
        let hook = self.hook();
        let mut used: Vec<usize> = Vec::new();
        let mut fixups = Vec::new();
        let mut slots = self.slots.clone();
        for (at, slot) in slots.iter_mut().enumerate() {
            if let Some(map) = self.map_at(slot, world) {
                let kind = if slot.src == imm_source::MAP_FD { "map_fd" } else { "map_value" };
                let place = used.iter().position(|known| *known == map).unwrap_or_else(|| {
                    used.push(map);
                    used.len() - 1
                });
                fixups.push(json!({"insn": at, "kind": kind, "map": place}));
                slot.imm = 0;
            } else if slot.opcode == whole::CALL
                && slot.src == callee::KFUNC
                && let Some(name) = world.kfunc_name(slot.imm)
            {
                fixups.push(json!({"insn": at, "kind": "kfunc", "name": name}));
                slot.imm = 0;
            }
        }
        let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_bytes()).collect();
        let maps: Vec<Value> = used.iter().map(|map| map_document(&world.maps[*map])).collect();
        let mut document = json!({
            "id": name, "name": "random", "prog_type": hook.prog_type.name(),
            "expected_attach_type": hook.attach.number(), "prog_flags": self.flags.bits(),
            "license": "GPL", "insns": hex::encode(&bytes), "maps": maps, "fixups": fixups,
            "blobs": [hex::encode(&world.btf.encode())],
        });
        if !self.functions.is_empty() {
            document["btf"] = json!(0);
            document["func_info"] = json!(hex::encode(&self.func_info()));
        }
        if let Some(target) = hook.target {
            document["attach_btf"] = json!({"name": target, "kind": "hook"});
        }
        document
    }
}

pub(crate) fn map_document(map: &bpf_abi::map::MapSpec) -> Value {
    let init: Vec<Value> = map
        .init
        .iter()
        .filter_map(|entry| match &entry.value {
            bpf_abi::map::MapInitValue::Bytes(value) => {
                Some(json!({"key": hex::encode(&entry.key), "value": hex::encode(value)}))
            }
            bpf_abi::map::MapInitValue::Program(_) | bpf_abi::map::MapInitValue::Map(_) => None,
        })
        .collect();
    let mut document = json!({
        "name": map.name, "type": map.map_type.name(), "key_size": map.key_size,
        "value_size": map.value_size, "max_entries": map.max_entries,
        "map_flags": map.flags.bits(), "init": init, "frozen": map.frozen,
    });
    if let Some(inner) = &map.inner {
        document["inner"] = map_document(inner);
    }
    if map.btf_value_type_id != 0 {
        document["btf"] = json!(0);
        document["btf_key_type_id"] = json!(map.btf_key_type_id);
        document["btf_value_type_id"] = json!(map.btf_value_type_id);
    }
    document
}

/// The attach type of the kind that a hook's target names in the kernel's types.
pub fn target_symbol(hook: &Hook) -> Option<(String, bpf_btf::KindCode)> {
    let target = hook.target?;
    Some(if hook.attach == AttachType::TraceRawTp {
        (format!("btf_trace_{target}"), bpf_btf::KindCode::Typedef)
    } else {
        (format!("bpf_iter_{target}"), bpf_btf::KindCode::Func)
    })
}
