//! One line a type and one a member; or the same as JSON.

use core::fmt::Write as _;

use crate::Btf;
use crate::types::{
    Composite, Datasec, Enum, Enumerator, FuncLinkage, FuncProto, Fwd, Int, Kind, Member, NameOff,
    Param, SectionVar, Type, VarLinkage,
};

/// Every own type on a line, its members indented below.
pub fn raw(btf: &Btf) -> String {
    let mut out = String::new();
    for ty in btf.own_types() {
        let row = describe(btf, &ty);
        // Writing to a string does not fail.
        let _ = write!(out, "[{}] {} '{}'", ty.id, ty.code().name(), shown(ty.name()));
        for field in &row.fields {
            let _ = write!(out, "{}{}={}", field.before(), field.key, field.value.plain());
        }
        out.push('\n');
        for part in &row.parts {
            out.push('\t');
            if let Some(name) = part.name {
                let _ = write!(out, "'{}' ", shown(btf.name(name)));
            }
            let fields: Vec<_> =
                part.fields.iter().map(|f| format!("{}={}", f.key, f.value.plain())).collect();
            out.push_str(&fields.join(" "));
            if let Some(note) = &part.note {
                let _ = write!(out, " ({note})");
            }
            out.push('\n');
        }
    }
    out
}

/// Every own type as an object of a list `types`, its members in a list of its own.
pub fn json(btf: &Btf) -> String {
    let types: Vec<_> = btf.own_types().map(|ty| json_type(btf, &ty)).collect();
    format!("{{\"types\":[{}]}}", types.join(","))
}

fn json_type(btf: &Btf, ty: &Type<'_>) -> String {
    let row = describe(btf, ty);
    let (kind, name) = (ty.code().name(), quoted(shown(ty.name())));
    let mut out = format!("{{\"id\":{},\"kind\":\"{kind}\",\"name\":{name}", ty.id);
    push_fields(&mut out, &row.fields);
    if let Some(list) = row.list {
        let parts = row.parts.iter().map(|part| {
            let mut inner = String::new();
            if let Some(name) = part.name {
                let _ = write!(inner, ",\"name\":{}", quoted(shown(btf.name(name))));
            }
            push_fields(&mut inner, &part.fields);
            format!("{{{}}}", inner.trim_start_matches(','))
        });
        let _ = write!(out, ",\"{list}\":[{}]", parts.collect::<Vec<_>>().join(","));
    }
    out.push('}');
    out
}

fn push_fields(out: &mut String, fields: &[Field]) {
    for field in fields {
        let value = match &field.value {
            Value::Number(number) => number.to_string(),
            Value::Word(word) => quoted(word),
        };
        let _ = write!(out, ",\"{}\":{value}", field.key);
    }
}

/// A string as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

const fn shown(name: &str) -> &str {
    if name.is_empty() { "(anon)" } else { name }
}

/// What is to be said of a type.
#[derive(Default)]
struct Row {
    fields: Vec<Field>,
    /// What JSON calls the list of parts.
    list: Option<&'static str>,
    parts: Vec<Part>,
}

/// What is to be said of a member, value, parameter or variable.
struct Part {
    name: Option<NameOff>,
    fields: Vec<Field>,
    note: Option<String>,
}

struct Field {
    key: &'static str,
    value: Value,
    after_comma: bool,
}

enum Value {
    Number(i128),
    Word(&'static str),
}

impl Field {
    const fn before(&self) -> &'static str {
        if self.after_comma { ", " } else { " " }
    }
}

impl Value {
    fn plain(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Word(word) => (*word).to_owned(),
        }
    }
}

fn number(key: &'static str, value: impl Into<i128>) -> Field {
    Field { key, value: Value::Number(value.into()), after_comma: false }
}

const fn word(key: &'static str, value: &'static str) -> Field {
    Field { key, value: Value::Word(value), after_comma: false }
}

/// How many parts there are; never more than 65,535.
fn vlen(len: usize) -> Field {
    number("vlen", u32::try_from(len).unwrap_or(u32::MAX))
}

fn describe(btf: &Btf, ty: &Type<'_>) -> Row {
    let fields = |fields: Vec<Field>| Row { fields, ..Row::default() };
    let list = |fields: Vec<Field>, list: &'static str, parts: Vec<Part>| Row {
        fields,
        list: Some(list),
        parts,
    };
    match ty.kind {
        Kind::Void => Row::default(),
        Kind::Int(int) => fields(vec![
            number("size", int.size),
            number("bits_offset", int.offset),
            number("nr_bits", int.bits),
            word("encoding", encoding(int)),
        ]),
        Kind::Ptr(to)
        | Kind::Typedef(to)
        | Kind::Volatile(to)
        | Kind::Const(to)
        | Kind::Restrict(to) => fields(vec![number("type_id", to.0)]),
        Kind::TypeTag(tag) => fields(vec![number("type_id", tag.ty.0)]),
        Kind::Array(array) => fields(vec![
            number("type_id", array.element.0),
            number("index_type_id", array.index.0),
            number("nr_elems", array.len),
        ]),
        Kind::Struct(composite) | Kind::Union(composite) => {
            let fields = vec![number("size", composite.size), vlen(composite.len())];
            list(fields, "members", members(composite))
        }
        Kind::Enum(e) | Kind::Enum64(e) => {
            let sign = word("encoding", if e.signed { "SIGNED" } else { "UNSIGNED" });
            list(vec![sign, number("size", e.size), vlen(e.len())], "values", values(e))
        }
        Kind::Fwd(fwd) => fields(vec![word("fwd_kind", fwd_word(fwd))]),
        Kind::Func(func) => fields(vec![
            number("type_id", func.proto.0),
            word("linkage", func_linkage(func.linkage)),
        ]),
        Kind::FuncProto(proto) => {
            let fields = vec![number("ret_type_id", proto.ret.0), vlen(proto.len())];
            list(fields, "params", params(proto))
        }
        Kind::Var(var) => {
            let linkage = Field { after_comma: true, ..word("linkage", var_linkage(var.linkage)) };
            fields(vec![number("type_id", var.ty.0), linkage])
        }
        Kind::Datasec(section) => {
            let fields = vec![number("size", section.size), vlen(section.len())];
            list(fields, "vars", variables(btf, section))
        }
        Kind::Float(float) => fields(vec![number("size", float.size)]),
        Kind::DeclTag(tag) => fields(vec![
            number("type_id", tag.target.0),
            number("component_idx", tag.component.map_or(-1, i128::from)),
        ]),
    }
}

fn members(composite: Composite<'_>) -> Vec<Part> {
    let part = |member: Member| {
        let mut fields =
            vec![number("type_id", member.ty.0), number("bits_offset", member.bit_offset)];
        fields.extend(member.bitfield.map(|bits| number("bitfield_size", bits.get())));
        Part { name: Some(member.name_off), fields, note: None }
    };
    composite.members().map(part).collect()
}

fn values(e: Enum<'_>) -> Vec<Part> {
    let part = |value: Enumerator| {
        let shown =
            if e.signed { i128::from(value.bits.cast_signed()) } else { i128::from(value.bits) };
        Part { name: Some(value.name_off), fields: vec![number("val", shown)], note: None }
    };
    e.values().map(part).collect()
}

fn params(proto: FuncProto<'_>) -> Vec<Part> {
    let part = |param: Param| {
        let fields = vec![number("type_id", param.ty.0)];
        Part { name: Some(param.name_off), fields, note: None }
    };
    proto.params().map(part).collect()
}

fn variables(btf: &Btf, section: Datasec<'_>) -> Vec<Part> {
    let part = |var: SectionVar| {
        let fields = vec![
            number("type_id", var.ty.0),
            number("offset", var.offset),
            number("size", var.size),
        ];
        let note = btf.get(var.ty).map(|ty| format!("{} '{}'", ty.code().name(), ty.name()));
        Part { name: None, fields, note }
    };
    section.vars().map(part).collect()
}

const fn encoding(int: Int) -> &'static str {
    match (int.signed, int.char, int.bool) {
        (false, false, false) => "(none)",
        (true, false, false) => "SIGNED",
        (false, true, false) => "CHAR",
        (false, false, true) => "BOOL",
        _ => "UNKN",
    }
}

const fn fwd_word(fwd: Fwd) -> &'static str {
    match fwd {
        Fwd::Struct => "struct",
        Fwd::Union => "union",
    }
}

const fn func_linkage(linkage: FuncLinkage) -> &'static str {
    match linkage {
        FuncLinkage::Static => "static",
        FuncLinkage::Global => "global",
        FuncLinkage::Extern => "extern",
        FuncLinkage::Unknown(_) => "(unknown)",
    }
}

const fn var_linkage(linkage: VarLinkage) -> &'static str {
    match linkage {
        VarLinkage::Static => "static",
        VarLinkage::Global => "global",
        VarLinkage::Extern => "extern",
        VarLinkage::Unknown(_) => "(unknown)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, TypeId};

    fn sample() -> Btf {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        b.bit_structure("s", 4, &[("a", int, 0, 3), ("", int, 3, 29)]);
        b.enumeration("e", 4, true, &[("A", -1)]);
        let var = b.var("v", int, VarLinkage::Global);
        b.datasec(".bss", 4, &[(var, 0, 4)]);
        let proto = b.proto(TypeId::VOID, &[("x", int)]);
        b.func("f", proto, FuncLinkage::Static);
        b.decl_tag("t", proto, None);
        b.finish().unwrap()
    }

    #[test]
    fn each_type_is_a_line_and_each_member_one_below() {
        let expected = "\
[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED
[2] STRUCT 's' size=4 vlen=2
\t'a' type_id=1 bits_offset=0 bitfield_size=3
\t'(anon)' type_id=1 bits_offset=3 bitfield_size=29
[3] ENUM 'e' encoding=SIGNED size=4 vlen=1
\t'A' val=-1
[4] VAR 'v' type_id=1, linkage=global
[5] DATASEC '.bss' size=4 vlen=1
\ttype_id=4 offset=0 size=4 (VAR 'v')
[6] FUNC_PROTO '(anon)' ret_type_id=0 vlen=1
\t'x' type_id=1
[7] FUNC 'f' type_id=6 linkage=static
[8] DECL_TAG 't' type_id=6 component_idx=-1
";
        assert_eq!(raw(&sample()), expected);
    }

    #[test]
    fn json_has_the_same_fields() {
        let text = json(&sample());
        assert!(text.starts_with(r#"{"types":[{"id":1,"kind":"INT","name":"int","size":4,"#));
        assert!(text.contains(r#""values":[{"name":"A","val":-1}]"#));
        assert!(text.contains(r#""vars":[{"type_id":4,"offset":0,"size":4}]"#));
    }
}
