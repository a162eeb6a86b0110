//! Raw documents: programs and maps as the kernel is given them, and the world they are in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, RunCx};
use bpf_abi::helper::HelperProto;
use bpf_abi::image::BoundMap;
use bpf_abi::map::{MapFlags, MapLayout, MapType};
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};
use bpf_abi::spec::{AttachTo, InfoBlob, ProgramSpec};
use bpf_btf::{Btf, KindCode, TypeId};
use bpf_isa::Slot;
use bpf_verifier::host::{Host, MapFacts};
use serde_json::Value;

use crate::types;

/// A program and its maps.
#[derive(Debug)]
pub(crate) struct Document {
    json: Value,
    /// The program's types, which its maps' are too.
    btf: Option<Arc<Btf>>,
}

impl Document {
    /// The documents in a text, one a line.
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        text.lines().map(|line| Self::new(serde_json::from_str(line).unwrap())).collect()
    }

    fn new(json: Value) -> Self {
        let blob = json["btf"].as_u64().map(|blob| usize::try_from(blob).unwrap());
        let btf = blob.map(|blob| bytes(&json["blobs"][blob]));
        let btf = btf.map(|bytes| Arc::new(Btf::parse(&bytes).unwrap()));
        Self { json, btf }
    }

    /// The program's name, not cut to the length the kernel keeps.
    pub(crate) fn full_name(&self) -> &str {
        self.json["full_name"].as_str().or_else(|| self.json["name"].as_str()).unwrap()
    }

    /// The world the program is in.
    pub(crate) fn world(&self) -> World {
        let maps = self.json["maps"].as_array().unwrap();
        let maps = (1..).zip(maps).map(|(id, map)| Arc::new(self.map(id, map))).collect();
        World { maps, kernel: types::kernel() }
    }

    fn map(&self, id: u32, map: &Value) -> MapFacts {
        let name: String = map["name"].as_str().unwrap_or("").chars().take(15).collect();
        MapFacts {
            id,
            name,
            map_type: MapType::by_name(map["type"].as_str().unwrap()).unwrap(),
            key_size: number(&map["key_size"]),
            value_size: number(&map["value_size"]),
            max_entries: number(&map["max_entries"]),
            flags: MapFlags::from_bits_retain(number(&map["map_flags"])),
            // Whoever loaded the program had mapped its arena somewhere.
            map_extra: map["map_extra"].as_u64().unwrap_or(1 << 32),
            frozen: false,
            btf: if map["btf"].is_null() { None } else { self.btf.clone() },
            btf_key_type_id: TypeId(number(&map["btf_key_type_id"])),
            btf_value_type_id: TypeId(number(&map["btf_value_type_id"])),
            inner: None,
            host: None,
        }
    }

    /// The program, with references to maps and kernel functions put in.
    pub(crate) fn spec(&self, world: &World) -> ProgramSpec {
        let mut insns: Vec<Slot> = bytes(&self.json["insns"])
            .chunks_exact(8)
            .map(|slot| Slot::from_bytes(slot.try_into().unwrap()))
            .collect();
        for fixup in self.json["fixups"].as_array().unwrap() {
            let slot = &mut insns[usize::try_from(fixup["insn"].as_u64().unwrap()).unwrap()];
            match fixup["kind"].as_str().unwrap() {
                "map_fd" => (slot.src, slot.imm) = (1, index(&fixup["map"])),
                "map_value" => (slot.src, slot.imm) = (2, index(&fixup["map"])),
                "imm_map_fd" => slot.imm = index(&fixup["map"]),
                _ => {
                    let name = fixup["name"].as_str().unwrap();
                    let id = world.kernel.by_name_kind(name, KindCode::Func).unwrap();
                    slot.imm = id.0.cast_signed();
                }
            }
        }
        let prog_type = ProgType::by_name(self.json["prog_type"].as_str().unwrap()).unwrap();
        let mut spec = ProgramSpec::new(self.json["name"].as_str().unwrap(), prog_type, insns);
        spec.expected_attach_type = AttachType::new(number(&self.json["expected_attach_type"]));
        spec.flags = ProgFlags::from_bits_retain(number(&self.json["prog_flags"]));
        spec.license = self.json["license"].as_str().unwrap_or("").to_owned();
        spec.attach_to = self.attach_to();
        spec.btf = self.btf.clone();
        spec.func_info = self.info("func_info");
        spec.line_info = self.info("line_info");
        spec
    }

    fn attach_to(&self) -> Option<AttachTo> {
        let attach = &self.json["attach_btf"];
        let name = attach["name"].as_str()?.to_owned();
        Some(match attach["member"].as_str() {
            Some(member) => AttachTo::StructOps { name, member: member.to_owned() },
            None => AttachTo::Kernel(name),
        })
    }

    fn info(&self, what: &str) -> InfoBlob {
        InfoBlob {
            rec_size: number(&self.json[format!("{what}_rec_size")]),
            bytes: bytes(&self.json[what]),
        }
    }
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or(0)).unwrap()
}

fn index(value: &Value) -> i32 {
    i32::try_from(value.as_u64().unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or("").as_bytes();
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
    text.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Maps that are described, and the kernel's types.
#[derive(Debug)]
pub(crate) struct World {
    maps: Vec<Arc<MapFacts>>,
    kernel: Arc<Btf>,
}

impl Host for World {
    fn map(&self, fd: i32) -> Result<Arc<MapFacts>, Errno> {
        let map = usize::try_from(fd).ok().and_then(|fd| self.maps.get(fd));
        map.cloned().ok_or(Errno::EBADF)
    }

    fn constant(&self, _: &MapFacts, _: u32, _: u32) -> Option<u64> {
        None
    }

    fn bind_map(&self, map: &MapFacts) -> BoundMap {
        BoundMap {
            name: map.name.clone(),
            map_type: map.map_type,
            handle: 0,
            layout: MapLayout::Opaque,
            value: None,
            key_size: map.key_size,
            value_size: map.value_size,
            keep: Arc::new(BTreeMap::<u8, u8>::new()),
        }
    }

    fn helper_code(&self, _: &'static HelperProto) -> Option<HelperFn> {
        Some(helper)
    }

    fn kernel_btf(&self) -> Option<&Arc<Btf>> {
        Some(&self.kernel)
    }

    fn check_map_owner(&self, _: &MapFacts, _: &ProgramSpec) -> Result<(), Errno> {
        Ok(())
    }
}

/// Never called: nothing is run here.
extern "C" fn helper(_: *mut RunCx, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    0
}
