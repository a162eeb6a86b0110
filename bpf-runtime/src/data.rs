//! Bytes as the values of the types that BTF gives them: to be printed, or written as JSON.

use std::fmt::{self, Write as _};

use bpf_btf::{Btf, Kind, TypeId};

/// How deep types may be nested before the rest is shown as bytes.
const DEPTH: usize = 32;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A number.
    Int(i128),
    /// True or false.
    Bool(bool),
    /// A floating-point number.
    Float(f64),
    /// An address.
    Address(u64),
    /// A number that has a name.
    Named {
        /// The name.
        name: String,
        /// The number.
        value: i128,
    },
    /// An array of characters, up to the first that is zero.
    Text(String),
    /// The elements of an array.
    List(Vec<Self>),
    /// The members of a structure or union, or the variables of a section: names and values.
    Members(Vec<(String, Self)>),
    /// Bytes whose type is not known.
    Bytes(Vec<u8>),
}

impl Data {
    /// What `bytes` are as a value of this type. Bytes that are missing make it [`Data::Bytes`].
    pub fn decode(btf: &Btf, ty: TypeId, bytes: &[u8]) -> Self {
        decode(btf, ty, bytes, DEPTH).unwrap_or_else(|| Self::Bytes(bytes.to_vec()))
    }

    /// The member of this name, if it has one.
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Members(members) = self else { return None };
        members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// The number, if it is one.
    pub const fn number(&self) -> Option<i128> {
        match self {
            Self::Int(value) | Self::Named { value, .. } => Some(*value),
            Self::Bool(value) => Some(*value as i128),
            Self::Address(value) => Some(*value as i128),
            Self::Float(_) | Self::Text(_) | Self::List(_) | Self::Members(_) | Self::Bytes(_) => {
                None
            }
        }
    }

    /// The value as JSON, in one line. Names of numbers become texts; bytes become lists of texts of
    /// two hexadecimal digits each, as bpftool prints them.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Int(value) => push(out, value),
            Self::Bool(value) => push(out, value),
            Self::Float(value) if value.is_finite() => push(out, value),
            Self::Float(_) => out.push_str("null"),
            Self::Address(value) => push(out, value),
            Self::Named { name, .. } => quote(name, out),
            Self::Text(text) => quote(text, out),
            Self::List(items) => {
                list(out, "[", "]", items, |out, item| item.write_json(out));
            }
            Self::Members(members) => list(out, "{", "}", members, |out, (name, value)| {
                quote(name, out);
                out.push(':');
                value.write_json(out);
            }),
            Self::Bytes(bytes) => {
                list(out, "[", "]", bytes, |out, byte| quote(&format!("{byte:#04x}"), out));
            }
        }
    }
}

/// As C writes it, on one line: `{ .packets = 3, .name = "eth0" }`.
impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Address(value) => write!(f, "{value:#x}"),
            Self::Named { name, .. } => f.write_str(name),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Members(members) => {
                f.write_str("{ ")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}.{name} = {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
            Self::Bytes(bytes) => {
                for (i, byte) in bytes.iter().enumerate() {
                    write!(f, "{}{byte:02x}", if i == 0 { "" } else { " " })?;
                }
                Ok(())
            }
        }
    }
}

fn push(out: &mut String, value: impl fmt::Display) {
    let _ = write!(out, "{value}");
}

/// Writes items between brackets, with commas.
fn list<T>(
    out: &mut String,
    open: &str,
    close: &str,
    items: &[T],
    write: impl Fn(&mut String, &T),
) {
    out.push_str(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push_str(close);
}

/// Writes a text as JSON wants it.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The value, or `None` where the type has no values or the bytes are too few.
fn decode(btf: &Btf, ty: TypeId, bytes: &[u8], depth: usize) -> Option<Data> {
    let depth = depth.checked_sub(1)?;
    let ty = btf.resolve(ty)?;
    match ty.kind {
        Kind::Int(int) => {
            let raw = unsigned(bytes.get(..int.size as usize)?)?;
            if int.bool {
                return Some(Data::Bool(raw != 0));
            }
            Some(Data::Int(signed_if(int.signed, raw, int.size * 8)))
        }
        Kind::Enum(e) | Kind::Enum64(e) => {
            let raw = unsigned(bytes.get(..e.size as usize)?)?;
            let value = signed_if(e.signed, raw, e.size * 8);
            Some(named(btf, e, value))
        }
        Kind::Ptr(_) => unsigned(bytes.get(..8)?)?.try_into().ok().map(Data::Address),
        Kind::Float(float) => match float.size {
            4 => Some(Data::Float(f64::from(f32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)))),
            8 => Some(Data::Float(f64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))),
            size => Some(Data::Bytes(bytes.get(..size as usize)?.to_vec())),
        },
        Kind::Array(array) => decode_array(btf, array.element, array.len, bytes, depth),
        Kind::Struct(composite) | Kind::Union(composite) => {
            let mut members = Vec::new();
            for member in composite.members() {
                let name = btf.name(member.name_off).to_owned();
                let value = decode_member(btf, &member, bytes, depth);
                let value = value.unwrap_or_else(|| Data::Bytes(Vec::new()));
                if name.is_empty()
                    && let Data::Members(inner) = value
                {
                    members.extend(inner);
                } else {
                    members.push((name, value));
                }
            }
            Some(Data::Members(members))
        }
        Kind::Var(var) => decode(btf, var.ty, bytes, depth),
        Kind::Datasec(section) => {
            let decode_var = |var: bpf_btf::SectionVar| {
                let from = bytes.get(var.offset as usize..).unwrap_or_default();
                let own = from.get(..var.size as usize).unwrap_or(from);
                let value =
                    decode(btf, var.ty, own, depth).unwrap_or_else(|| Data::Bytes(own.to_vec()));
                (btf.name_of(var.ty).to_owned(), value)
            };
            Some(Data::Members(section.vars().map(decode_var).collect()))
        }
        Kind::Void
        | Kind::Fwd(_)
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func(_)
        | Kind::FuncProto(_)
        | Kind::DeclTag(_)
        | Kind::TypeTag(_) => None,
    }
}

/// An array; one of printable characters with zeros behind them is a text.
fn decode_array(btf: &Btf, element: TypeId, len: u32, bytes: &[u8], depth: usize) -> Option<Data> {
    let size = btf.size_of(element)? as usize;
    let own = bytes.get(..size.checked_mul(len as usize)?)?;
    let is_char = btf.resolve(element)?.int().is_some_and(|int| int.size == 1)
        && btf.skip_qualifiers(element).is_some_and(|ty| ty.name() == "char");
    if is_char {
        let text = own.split(|byte| *byte == 0).next().unwrap_or_default();
        let rest = own.get(text.len()..).unwrap_or_default();
        let is_text = text.iter().all(|byte| (b' '..=b'~').contains(byte))
            && rest.iter().all(|byte| *byte == 0);
        if is_text && !own.is_empty() {
            return Some(Data::Text(String::from_utf8_lossy(text).into_owned()));
        }
    }
    if size == 0 {
        return Some(Data::List(Vec::new()));
    }
    own.chunks_exact(size)
        .map(|item| decode(btf, element, item, depth))
        .collect::<Option<_>>()
        .map(Data::List)
}

/// A member; one that is a bit field is cut out of the bytes it lies in.
fn decode_member(btf: &Btf, member: &bpf_btf::Member, bytes: &[u8], depth: usize) -> Option<Data> {
    let Some(bits) = member.bitfield else {
        let at = member.offset()? as usize;
        return decode(btf, member.ty, bytes.get(at..)?, depth);
    };
    let ty = btf.resolve(member.ty)?;
    let from = (member.bit_offset / 8) as usize;
    let shift = member.bit_offset % 8;
    let end = from + (shift + bits.get()).div_ceil(8) as usize;
    let raw = unsigned(bytes.get(from..end)?)? >> shift;
    let raw = raw & u128::MAX.checked_shr(128 - bits.get()).unwrap_or(0);
    if let Some(int) = ty.int() {
        return Some(match int.bool {
            true => Data::Bool(raw != 0),
            false => Data::Int(signed_if(int.signed, raw, bits.get())),
        });
    }
    let e = ty.enumeration()?;
    Some(named(btf, e, signed_if(e.signed, raw, bits.get())))
}

/// A number of an enumeration, by its name if it has one.
fn named(btf: &Btf, e: bpf_btf::Enum<'_>, value: i128) -> Data {
    let found = e.values().find(|one| {
        let own = if e.signed { i128::from(one.bits.cast_signed()) } else { i128::from(one.bits) };
        own == value
    });
    match found {
        Some(one) => Data::Named { name: btf.name(one.name_off).to_owned(), value },
        None => Data::Int(value),
    }
}

/// The little-endian number that up to 16 bytes are.
fn unsigned(bytes: &[u8]) -> Option<u128> {
    let mut raw = [0; 16];
    raw.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u128::from_le_bytes(raw))
}

/// A number of so many bits, as a signed one if it is signed.
const fn signed_if(signed: bool, raw: u128, bits: u32) -> i128 {
    let raw = raw.cast_signed();
    if !signed || bits == 0 || bits >= 128 {
        return raw;
    }
    let shift = 128 - bits;
    (raw << shift) >> shift
}

/// Writes a value of a simple type as bytes: a number, in decimal or with `0x`, a truth value, a
/// name of an enumeration, or a text for an array of characters.
///
/// # Errors
///
/// Returns what is wrong, in words.
pub(crate) fn encode(btf: &Btf, ty: TypeId, text: &str) -> Result<Vec<u8>, String> {
    let size = btf.size_of(ty).ok_or("its type has no size")? as usize;
    let resolved = btf.resolve(ty).ok_or("its type is not known")?;
    let resolved = resolved.var().and_then(|var| btf.resolve(var.ty)).unwrap_or(resolved);
    if let Some(array) = resolved.array() {
        if btf.size_of(array.element) != Some(1) {
            return Err("it has elements, which are set one by one".to_owned());
        }
        if text.len() >= size {
            return Err(format!("{text:?} does not fit into an array of {size} bytes"));
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(size, 0);
        return Ok(bytes);
    }
    let is_bool = resolved.int().is_some_and(|int| int.bool);
    let named = resolved.enumeration().and_then(|e| {
        let one = e.values().find(|one| btf.name(one.name_off) == text)?;
        Some(i128::from(one.bits.cast_signed()))
    });
    let number = match (text, named) {
        (_, Some(number)) => number,
        ("true", _) if is_bool => 1,
        ("false", _) if is_bool => 0,
        _ if resolved.is_composite() => {
            return Err("it has members, which are set one by one".to_owned());
        }
        _ => number(text).map_err(|reason| reason + &alternatives(btf, &resolved))?,
    };
    let bits = u32::try_from(size * 8).unwrap_or(0);
    let fits = bits >= 127 || (-(1_i128 << (bits - 1)) <= number && number < 1_i128 << bits);
    let bytes = number.to_le_bytes();
    let bytes = bytes
        .get(..size)
        .filter(|_| fits)
        .ok_or_else(|| format!("{text} does not fit into {size} bytes"))?;
    Ok(bytes.to_vec())
}

/// What else than a number could have been said of a variable of this type.
fn alternatives(btf: &Btf, ty: &bpf_btf::Type<'_>) -> String {
    const SHOWN: usize = 16;
    if ty.int().is_some_and(|int| int.bool) {
        return ", nor true or false".to_owned();
    }
    let Some(e) = ty.enumeration() else { return String::new() };
    let names: Vec<&str> = e.values().take(SHOWN).map(|one| btf.name(one.name_off)).collect();
    let more = if e.len() > SHOWN { ", …" } else { "" };
    format!(", nor one of {}{more}", names.join(", "))
}

fn number(text: &str) -> Result<i128, String> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16),
        None => digits.parse::<i128>(),
    };
    parsed.map(|value| sign * value).map_err(|_| format!("{text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_it_must() {
        let data = Data::Members(vec![
            ("a\"b".into(), Data::Text("x\n\\".into())),
            ("n".into(), Data::List(vec![Data::Int(-1), Data::Bool(true)])),
            ("raw".into(), Data::Bytes(vec![1, 255])),
        ]);
        assert_eq!(data.to_json(), r#"{"a\"b":"x\n\\","n":[-1,true],"raw":["0x01","0xff"]}"#);
        assert_eq!(data.to_string(), r#"{ .a"b = "x\n\\", .n = [-1, true], .raw = 01 ff }"#);
    }

    #[test]
    fn numbers_are_read_with_their_sign() {
        assert_eq!(signed_if(true, 0xff, 8), -1);
        assert_eq!(signed_if(false, 0xff, 8), 255);
        assert_eq!(number("-0x10"), Ok(-16));
        assert!(number("x").is_err());
    }
}
