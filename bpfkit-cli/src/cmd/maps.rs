//! The maps of a loaded object, as text and as JSON.

use bpfkit::abi::map::MapType;
use bpfkit::{Data, Entry, Map, Object, Runtime};
use serde_json::{Value, json};

/// Every map with the entries that hold something, `most` of each.
pub(crate) fn text(object: &Object, runtime: &Runtime, most: usize) -> anyhow::Result<String> {
    let mut text = String::new();
    for (name, map) in object.maps() {
        text.push_str(&format!("\n{} {name}", map.map_type()));
        let entries = filled(map, runtime)?;
        if entries.is_empty() {
            text.push_str(": empty\n");
            continue;
        }
        text.push('\n');
        for (key, values) in entries.iter().take(most) {
            let values: Vec<String> = values.iter().map(Data::to_string).collect();
            if is_single(map) {
                text.push_str(&format!("  {}\n", values.join(" | ")));
            } else {
                text.push_str(&format!("  {key}: {}\n", values.join(" | ")));
            }
        }
        if entries.len() > most {
            text.push_str(&format!("  ... {} more\n", entries.len() - most));
        }
    }
    Ok(text)
}

/// Every map with the entries that hold something.
pub(crate) fn json(object: &Object, runtime: &Runtime) -> anyhow::Result<Vec<Value>> {
    let mut maps = Vec::new();
    for (name, map) in object.maps() {
        let mut entries = Vec::new();
        for (key, values) in filled(map, runtime)? {
            let values: Vec<Value> = values.iter().map(value).collect::<anyhow::Result<_>>()?;
            let values = match <[Value; 1]>::try_from(values) {
                Ok([one]) => one,
                Err(several) => Value::Array(several),
            };
            entries.push(json!({"key": value(&key)?, "value": values}));
        }
        maps.push(json!({"name": name, "type": map.map_type().name(), "entries": entries}));
    }
    Ok(maps)
}

fn value(data: &Data) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&data.to_json())?)
}

/// Maps of one value, whose key says nothing: the sections of global variables.
fn is_single(map: &Map) -> bool {
    map.map_type() == MapType::Array && map.info().max_entries == 1
}

/// The entries that hold something, sorted by key where the map has no order of its own. Slots of
/// program arrays show the programs' names.
fn filled(map: &Map, runtime: &Runtime) -> anyhow::Result<Vec<(Data, Vec<Data>)>> {
    let mut raw = map.entries()?;
    let is_array =
        matches!(map.map_type(), MapType::Array | MapType::PercpuArray | MapType::ProgArray);
    if is_array {
        raw.retain(|(_, value)| value.iter().any(|byte| *byte != 0));
    } else {
        raw.sort();
    }
    let mut entries = Vec::new();
    for (key, value) in raw {
        let Entry { key: decoded, values, .. } = map.decode(&key, &value);
        let key = if is_array { index(&key) } else { decoded };
        let values = if map.map_type() == MapType::ProgArray {
            values.iter().map(|id| program_name(id, runtime)).collect()
        } else {
            values
        };
        entries.push((key, values));
    }
    Ok(entries)
}

/// The index that the key of an array is.
fn index(key: &[u8]) -> Data {
    let bytes = <[u8; 4]>::try_from(key).unwrap_or_default();
    Data::Int(i128::from(u32::from_le_bytes(bytes)))
}

/// The name of the program with this number.
fn program_name(id: &Data, runtime: &Runtime) -> Data {
    let number = id.number().and_then(|id| u32::try_from(id).ok());
    let program = number.and_then(|id| runtime.program(bpfkit::abi::id::ProgId(id)));
    program.map_or_else(|| id.clone(), |program| Data::Text(program.name().to_owned()))
}
