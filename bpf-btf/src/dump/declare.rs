//! C declarators: a type and a name, written the way C wants them, inside out.

use super::c::{DumpError, Writer};
use crate::raw::KindCode;
use crate::types::{Kind, NameOff, Type, TypeId};

/// How many types one declarator may be made of.
const MAX_DECLARATOR: usize = 64;

/// How many members deep anonymous structures may be nested within one another.
const MAX_NESTING: usize = 64;

impl Writer<'_> {
    /// `int (*name)[4]`: a declaration of `name`, which may be empty.
    ///
    /// `depth` counts how many structures and signatures this one is written within.
    pub(super) fn declaration(
        &mut self,
        id: TypeId,
        name: &str,
        depth: usize,
    ) -> Result<String, DumpError> {
        if depth > MAX_NESTING {
            return Err(DumpError::TooDeep { id });
        }
        self.spend(id)?;
        let mut declarator = name.to_owned();
        // Qualifiers and tags seen since the last pointer: they belong to what comes next.
        let mut qualifiers: Vec<String> = Vec::new();
        let mut id = id;
        for _ in 0..MAX_DECLARATOR {
            let ty = self.btf.get(id).ok_or(DumpError::TooDeep { id })?;
            let is_pointer = declarator.starts_with('*');
            match ty.kind {
                Kind::Const(to) | Kind::Volatile(to) | Kind::Restrict(to) => {
                    let word = qualifier(ty.code()).to_owned();
                    // A constant array of constants is said to be constant once.
                    if !qualifiers.contains(&word) {
                        qualifiers.push(word);
                    }
                    id = to;
                }
                Kind::TypeTag(tag) => {
                    qualifiers.push(attribute(&ty, tag.is_attribute));
                    id = tag.ty;
                }
                Kind::Ptr(to) => {
                    let words: String =
                        qualifiers.drain(..).rev().map(|word| format!(" {word}")).collect();
                    let gap = if words.is_empty() || declarator.is_empty() { "" } else { " " };
                    declarator = format!("*{words}{gap}{declarator}");
                    id = to;
                }
                Kind::Array(array) => {
                    if is_pointer {
                        declarator = format!("({declarator})");
                    }
                    declarator.push_str(&format!("[{}]", array.len));
                    id = array.element;
                }
                Kind::FuncProto(proto) => {
                    let params = self.params(ty.id, depth)?;
                    if is_pointer {
                        declarator = format!("({declarator})");
                    }
                    declarator.push_str(&format!("({params})"));
                    qualifiers.clear();
                    id = proto.ret;
                }
                Kind::Void
                | Kind::Int(_)
                | Kind::Struct(_)
                | Kind::Union(_)
                | Kind::Enum(_)
                | Kind::Enum64(_)
                | Kind::Fwd(_)
                | Kind::Typedef(_)
                | Kind::Func(_)
                | Kind::Var(_)
                | Kind::Datasec(_)
                | Kind::Float(_)
                | Kind::DeclTag(_) => {
                    return self.with_base(&ty, &qualifiers, &declarator, depth);
                }
            }
        }
        Err(DumpError::TooDeep { id })
    }

    fn with_base(
        &mut self,
        ty: &Type<'_>,
        qualifiers: &[String],
        declarator: &str,
        depth: usize,
    ) -> Result<String, DumpError> {
        let base = self.base(ty, depth)?;
        let (tags, words): (Vec<_>, Vec<_>) =
            qualifiers.iter().partition(|word| word.starts_with("__attribute__"));
        let mut text = String::new();
        for word in words.iter().filter(|word| *word != &"restrict") {
            text.push_str(word);
            text.push(' ');
        }
        text.push_str(&base);
        for tag in tags.iter().rev() {
            text.push(' ');
            text.push_str(tag);
        }
        if !declarator.is_empty() {
            text.push(' ');
            text.push_str(declarator);
        }
        Ok(text)
    }

    /// What stands before a declarator: a type's name, or its whole definition if it has none.
    fn base(&mut self, ty: &Type<'_>, depth: usize) -> Result<String, DumpError> {
        Ok(match ty.kind {
            Kind::Void => "void".to_owned(),
            Kind::Int(_) | Kind::Float(_) => builtin(ty.name()),
            Kind::Typedef(_) => self.ordinary_name(ty),
            Kind::Struct(_) | Kind::Union(_) if ty.name_off.is_none() => {
                self.composite(ty, depth + 1)?
            }
            Kind::Enum(_) | Kind::Enum64(_) if ty.name_off.is_none() => self.enumeration(ty),
            Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Fwd(_) => {
                self.tag(ty)
            }
            // No types of values: BTF that says so is not the kernel's.
            Kind::Func(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_)
            | Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::FuncProto(_)
            | Kind::TypeTag(_) => return Err(DumpError::NoValue { id: ty.id }),
        })
    }

    fn params(&mut self, id: TypeId, depth: usize) -> Result<String, DumpError> {
        let Some(proto) = self.btf.get(id).and_then(|ty| ty.proto()) else {
            return Ok(String::new());
        };
        if proto.is_empty() {
            return Ok("void".to_owned());
        }
        let mut params = Vec::with_capacity(proto.len());
        for param in proto.params() {
            params.push(if param.is_ellipsis() {
                "...".to_owned()
            } else {
                let name = self.identifier(param.name_off);
                self.declaration(param.ty, &name, depth + 1)?
            });
        }
        Ok(params.join(", "))
    }

    /// A name as an identifier of C.
    pub(super) fn identifier(&self, name: NameOff) -> String {
        identifier(self.btf.name(name))
    }
}

/// A name in which only C's own characters are left.
pub(super) fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The names of integers are words of C already, several of them.
fn builtin(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == ' ' { c } else { '_' }).collect()
}

const fn qualifier(code: KindCode) -> &'static str {
    if matches!(code, KindCode::Volatile) {
        "volatile"
    } else if matches!(code, KindCode::Restrict) {
        "restrict"
    } else {
        "const"
    }
}

fn attribute(ty: &Type<'_>, is_attribute: bool) -> String {
    // The word stands in quotes, or as a word among others: nothing may break out of it.
    let word = |text: &str| -> String {
        let is_fine =
            |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | ',' | '-');
        text.chars().filter(is_fine).collect()
    };
    if !is_attribute {
        return format!("__attribute__((btf_type_tag(\"{}\")))", word(ty.name()));
    }
    match ty.name().strip_suffix(')').and_then(|name| name.split_once('(')) {
        Some((name, argument)) => format!("__attribute__(({}({})))", word(name), word(argument)),
        None => format!("__attribute__(({}))", word(ty.name())),
    }
}
