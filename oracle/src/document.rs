//! Raw documents: a program and its maps as the kernel is given them, in JSON.
//!
//! Fields that are not known are ignored. Byte strings are hexadecimal; instructions eight bytes
//! each, little-endian.

use bpf_abi::map::MapType;
use bpf_abi::prog::ProgType;
use serde::Deserialize;
use serde_json::Value;

use crate::hex;

/// A program to be loaded.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    /// An identity that reports repeat.
    pub id: Option<Value>,
    /// The object it came from; reports repeat it.
    pub file: Option<Value>,
    /// The section it came from; reports repeat it.
    pub section: Option<Value>,
    /// Its name.
    pub name: Option<String>,
    /// The program type: a name or a number.
    pub prog_type: Value,
    /// The attach type expected at load.
    pub expected_attach_type: u32,
    /// The flags of the load.
    pub prog_flags: u32,
    /// The kernel version.
    pub kern_version: u32,
    /// The licence; `GPL` if it is not given.
    pub license: Option<String>,
    /// The instructions.
    pub insns: String,
    /// The maps it uses.
    pub maps: Vec<MapDocument>,
    /// Which instructions refer to maps and kernel symbols.
    pub fixups: Vec<Fixup>,
    /// Maps handed over in the load's array, by index.
    pub fd_array: Vec<usize>,
    /// The program's BTF: bytes, or an index into `blobs`.
    pub btf: Value,
    /// Byte strings that several places refer to.
    pub blobs: Vec<String>,
    /// Which function begins where.
    pub func_info: String,
    /// The size of a record of `func_info`.
    pub func_info_rec_size: Option<u32>,
    /// Which line an instruction comes from.
    pub line_info: String,
    /// The size of a record of `line_info`.
    pub line_info_rec_size: Option<u32>,
    /// What a tracing program attaches to.
    pub attach_btf: Option<AttachBtf>,
    /// The same, by number.
    pub attach_btf_id: u32,
    /// The program that it attaches to; `attach_btf` names a function of its types then.
    pub attach_prog: Option<Box<Self>>,
    /// Test runs to be made if it is accepted.
    pub runs: Vec<RunDocument>,
}

/// A map to be made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MapDocument {
    /// Its name.
    pub name: Option<String>,
    /// Its type: a name or a number.
    #[serde(rename = "type")]
    pub map_type: Value,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
    /// How many entries it holds at most.
    pub max_entries: u32,
    /// Its flags.
    pub map_flags: u32,
    /// A further number whose meaning the type knows.
    pub map_extra: u64,
    /// What the maps inside look like.
    pub inner: Option<Box<Self>>,
    /// Its BTF: `"prog"` for the program's, bytes, or an index into the document's `blobs`.
    pub btf: Value,
    /// The type of a key.
    pub btf_key_type_id: u32,
    /// The type of a value.
    pub btf_value_type_id: u32,
    /// The kernel structure that a `struct_ops` map holds.
    pub btf_vmlinux_value: Option<String>,
    /// What is put in.
    pub init: Vec<InitDocument>,
    /// Whether it is frozen then.
    pub frozen: bool,
}

/// An entry of a map.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InitDocument {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// A program instead of a value; its map `"self"` is this map.
    pub prog: Option<Box<Document>>,
    /// Whether a refusal of the entry does not matter.
    pub optional: bool,
}

/// An instruction that refers to something.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fixup {
    /// The instruction.
    pub insn: usize,
    /// `map_fd`, `map_value`, `imm_map_fd`, `kfunc` or `ksym`.
    pub kind: String,
    /// The map's index, or `"self"`.
    pub map: Value,
    /// The symbol's name.
    pub name: String,
    /// Whether 0 stands for a symbol that is not there.
    pub or_zero: bool,
}

/// What a tracing program attaches to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AttachBtf {
    /// The name.
    pub name: String,
    /// `func`, `struct` or `hook`.
    pub kind: String,
    /// The member of a `struct`, where `expected_attach_type` does not say its number.
    pub member: Option<String>,
}

/// A test run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RunDocument {
    /// The packet.
    pub data: Option<String>,
    /// The context.
    pub ctx: Option<String>,
    /// How often; once if it is not said.
    #[serde(default = "once")]
    pub repeat: u32,
    /// Flags, as the kernel numbers them.
    pub flags: u32,
}

const fn once() -> u32 {
    1
}

impl Document {
    /// Reads documents: one object, an array of them, or one after the other.
    ///
    /// # Errors
    ///
    /// Returns an error that names the document, counted from 1, and what is wrong with it.
    pub fn read_all(text: &str) -> Result<Vec<Self>, String> {
        let mut documents = Vec::new();
        for (n, value) in serde_json::Deserializer::from_str(text).into_iter::<Value>().enumerate()
        {
            let value = value.map_err(|error| format!("document {}: {error}", n + 1))?;
            let values = if let Value::Array(values) = value { values } else { vec![value] };
            for value in values {
                let number = documents.len() + 1;
                let document = serde_json::from_value(value)
                    .map_err(|error| format!("document {number}: {error}"))?;
                documents.push(document);
            }
        }
        Ok(documents)
    }

    /// The instructions' bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if they are not hexadecimal or no whole instructions.
    pub fn insn_bytes(&self) -> Result<Vec<u8>, String> {
        let bytes = hex::decode(&self.insns).map_err(|error| format!("insns: {error}"))?;
        if bytes.len() % 8 != 0 {
            return Err("insns: not a multiple of 8 bytes".to_owned());
        }
        Ok(bytes)
    }

    /// The number of the program type.
    ///
    /// # Errors
    ///
    /// Returns an error if it is no number and no known name.
    pub fn prog_type_number(&self) -> Result<u32, String> {
        number(&self.prog_type, |name| ProgType::by_name(name).map(ProgType::number))
            .ok_or_else(|| format!("prog_type: unknown {}", self.prog_type))
    }

    /// The program's BTF; empty for none.
    ///
    /// # Errors
    ///
    /// Returns an error if it is neither bytes nor an index of a blob.
    pub fn btf_bytes(&self) -> Result<Vec<u8>, String> {
        self.blob(&self.btf).map_err(|error| format!("btf: {error}"))
    }

    /// Bytes given in place or as an index into `blobs`; empty for null.
    ///
    /// # Errors
    ///
    /// Returns an error if it is neither.
    pub fn blob(&self, value: &Value) -> Result<Vec<u8>, String> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::String(text) => hex::decode(text),
            Value::Number(n) => {
                let index = n.as_u64().and_then(|n| usize::try_from(n).ok());
                let blob = index.and_then(|index| self.blobs.get(index));
                hex::decode(blob.ok_or_else(|| format!("no blob {n}"))?)
            }
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err("neither bytes nor the index of a blob".to_owned())
            }
        }
    }
}

impl MapDocument {
    /// The number of the map type.
    ///
    /// # Errors
    ///
    /// Returns an error if it is no number and no known name.
    pub fn type_number(&self) -> Result<u32, String> {
        number(&self.map_type, |name| MapType::by_name(name).map(MapType::number))
            .ok_or_else(|| format!("map type: unknown {}", self.map_type))
    }
}

/// A number given as one, as its digits, or by name.
fn number(value: &Value, by_name: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    match value {
        Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::String(text) => text.parse().ok().or_else(|| by_name(text)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_come_one_a_line_or_in_an_array() {
        let lines = "{\"prog_type\":\"xdp\",\"insns\":\"\"}\n{\"prog_type\":6,\"new\":1}";
        let two = Document::read_all(lines).unwrap();
        assert!(two.iter().all(|document| document.prog_type_number() == Ok(6)));
        assert_eq!(Document::read_all("[{},{},{}]").unwrap().len(), 3);
    }

    #[test]
    fn a_broken_document_is_named_by_its_place() {
        assert!(Document::read_all("{}\n{").unwrap_err().starts_with("document 2"));
        assert!(Document::read_all("[{\"insns\":3}]").unwrap_err().starts_with("document 1"));
    }
}
