//! Questions, put to the running kernel.

use bpf_abi::Errno;
use bpf_abi::map::MapSpec;
use bpf_abi::prog::{AttachType, ProgType};
use bpf_abi::spec::{AttachTo, ReferenceTo};
use bpf_btf::KindCode;

use super::{Question, answer};
use crate::judge::kernel_type;
use crate::kernel::{Btf, Map, MapAttr, ProgAttr, Program};

/// What the running kernel says; `None` if it has not got what the question is about.
pub fn ask(question: &Question) -> Option<String> {
    let object = &question.object;
    let program = question.program();
    let types = object.btf.as_ref().map(|btf| Btf::load(&btf.encode()));
    let types = match types.transpose() {
        Ok(types) => types,
        Err((errno, _)) => return Some(format!("types: {errno}")),
    };
    let mut maps = Vec::new();
    for map in &object.maps {
        match create(map, types.as_ref()) {
            Ok(map) => maps.push(map),
            Err(errno) => return Some(format!("map: {errno}")),
        }
    }
    let mut insns = program.insns.clone();
    for reference in &program.references {
        let number = match &reference.to {
            ReferenceTo::Map(map) | ReferenceTo::MapValue(map) => maps.get(*map)?.fd(),
            ReferenceTo::Kfunc { name, .. } => number(name, KindCode::Func)?,
            ReferenceTo::Ksym { name, .. } => number(name, KindCode::Var)?,
        };
        insns.get_mut(reference.at.index())?.imm = number;
    }
    let bytes: Vec<u8> = insns.iter().flat_map(|slot| slot.to_bytes()).collect();
    let attach_btf_id = match &program.attach_to {
        None => 0,
        Some(AttachTo::StructOps { name, .. }) => kernel_type(name, &[KindCode::Struct])?,
        Some(AttachTo::Kernel(name)) => match AttachType::new(question.attach) {
            Some(AttachType::TraceRawTp) => {
                kernel_type(&format!("btf_trace_{name}"), &[KindCode::Typedef])?
            }
            Some(AttachType::TraceIter) => {
                kernel_type(&format!("bpf_iter_{name}"), &[KindCode::Func])?
            }
            _ => kernel_type(name, &[KindCode::Func])?,
        },
        Some(AttachTo::Function(_) | AttachTo::Other(_)) => return None,
    };
    let attr = ProgAttr {
        name: &program.name,
        prog_type: ProgType::number(program.prog_type),
        expected_attach_type: question.attach,
        flags: program.flags.bits(),
        license: &program.license,
        insns: &bytes,
        attach_btf_id,
        ..ProgAttr::default()
    };
    let loaded = Program::load(&attr, 1);
    Some(answer(loaded.result.err(), &loaded.log))
}

fn number(name: &str, kind: KindCode) -> Option<i32> {
    kernel_type(name, &[kind]).and_then(|id| i32::try_from(id).ok())
}

fn create(map: &MapSpec, types: Option<&Btf>) -> Result<Map, Errno> {
    let inner = map.inner.as_deref().map(|inner| create(inner, None)).transpose()?;
    Map::create(&MapAttr {
        name: &map.name,
        map_type: map.map_type.number(),
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.flags.bits(),
        map_extra: map.map_extra,
        inner: inner.as_ref(),
        btf: types.map(|btf| (btf, map.btf_key_type_id, map.btf_value_type_id)),
        btf_vmlinux_value: 0,
    })
}
