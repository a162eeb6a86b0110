//! Types as C: a header that a compiler accepts and that lays out every structure as the BTF does.
//!
//! C wants a structure defined before it is held by value and only declared before it is pointed to. So types are
//! written in the order of their numbers, each after what it needs, and where a pointer is all that is needed a
//! declaration is written instead, which also breaks the rings. Where C would lay a structure out differently,
//! nameless bit fields fill the gaps and `packed` closes them.

use core::fmt::Write as _;

use hashbrown::{HashMap, HashSet};
use thiserror::Error;

use super::declare::identifier;
use crate::Btf;
use crate::layout::{bits_of, c_offset};
use crate::types::{Composite, Enum, Fwd, Kind, Member, Type, TypeId};

/// How many types may wait for one another to be written.
const MAX_DEPTH: usize = 1000;

/// What goes around the types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CStyle {
    /// Nothing.
    #[default]
    Bare,
    /// A guard, a pragma that makes every access to a structure relocatable, and the kernel functions that programs
    /// may call: a `vmlinux.h`.
    Vmlinux,
}

/// Why types have no form in C.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// They are nested too deeply, or defined by themselves.
    #[error("type {id} is nested too deeply, or defined by itself")]
    TooDeep {
        /// The type at which it was given up.
        id: TypeId,
    },

    /// A declaration needs a type that no value has.
    #[error("type {id} is no type of a value")]
    NoValue {
        /// The type.
        id: TypeId,
    },
}

/// Every own type as C.
///
/// # Errors
///
/// Returns an error if a type cannot be written; types that pass [`check`](crate::check::check) can.
pub fn c(btf: &Btf, style: CStyle) -> Result<String, DumpError> {
    let mut writer = Writer::new(btf);
    for ty in btf.types() {
        let is_base = ty.id.0 < btf.first_id();
        // What the base has is needed only as far as own types need it.
        if !is_base {
            writer.root(&ty)?;
        }
    }
    Ok(match style {
        CStyle::Bare => writer.out,
        CStyle::Vmlinux => {
            let kfuncs = writer.kfuncs()?;
            format!("{HEAD}{}{POP}{kfuncs}{TAIL}", writer.out)
        }
    })
}

const HEAD: &str = "\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

";

const POP: &str = "\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

";

/// What goes before the kernel functions: a source that declares them by itself leaves them out.
const KFUNCS_HEAD: &str = "\
#ifndef BPF_NO_KFUNC_PROTOTYPES
#ifndef __ksym
#define __ksym __attribute__((section(\".ksyms\")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

";

const KFUNCS_TAIL: &str = "\
#endif

";

const TAIL: &str = "\
#endif /* __VMLINUX_H__ */
";

/// What functions that programs may call are tagged with.
const KFUNC: &str = "bpf_kfunc";

/// Gaps of so many bits and more are filled by an array.
const LARGE_GAP: u32 = 1024;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    New,
    /// What it needs is being written.
    Begun,
    Done,
}

/// How much of a type is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// That it is known by name.
    Name,
    /// All of it.
    Whole,
}

pub(super) struct Writer<'a> {
    pub(super) btf: &'a Btf,
    out: String,
    states: Vec<State>,
    declared: Vec<bool>,
    /// Nameless enumerations that other types are made of.
    inline: HashSet<TypeId>,
    /// How many more declarations may be written: nameless types are written wherever they are used, and hostile BTF
    /// would have them written for ever.
    budget: usize,
    /// The suffix of types whose name another one has already.
    suffixes: HashMap<TypeId, usize>,
    /// Names of enumerators and typedefs in use, and how often.
    ordinary: HashMap<String, usize>,
}

/// The nameless enumerations that are written where they are used.
fn inline_enums(btf: &Btf) -> HashSet<TypeId> {
    let mut inline = HashSet::new();
    let mut note = |id: TypeId| {
        let is_nameless_enum =
            btf.get(id).is_some_and(|ty| ty.enumeration().is_some() && ty.name_off.is_none());
        if is_nameless_enum {
            inline.insert(id);
        }
    };
    for ty in btf.types() {
        ty.composite().iter().flat_map(Composite::members).for_each(|member| note(member.ty));
        ty.target().into_iter().for_each(&mut note);
        ty.array().into_iter().for_each(|array| note(array.element));
        if let Some(proto) = ty.proto() {
            proto.params().map(|param| param.ty).chain([proto.ret]).for_each(&mut note);
        }
    }
    inline
}

impl<'a> Writer<'a> {
    fn new(btf: &'a Btf) -> Self {
        let len = btf.end_id() as usize;
        let mut writer = Self {
            btf,
            out: String::new(),
            states: vec![State::New; len],
            declared: vec![false; len],
            inline: inline_enums(btf),
            budget: 0x1_0000 + btf.type_bytes().len(),
            suffixes: HashMap::new(),
            ordinary: HashMap::new(),
        };
        writer.settle_names();
        writer
    }

    /// Gives types that share a name with an earlier one a suffix.
    fn settle_names(&mut self) {
        let mut tags: HashMap<&str, (usize, [Option<usize>; 2])> = HashMap::new();
        let mut forward = Vec::new();
        for ty in self.btf.types().filter(|ty| !ty.name_off.is_none()) {
            let what = match ty.kind {
                Kind::Struct(_) => Some(0),
                Kind::Union(_) => Some(1),
                Kind::Enum(_) | Kind::Enum64(_) => None,
                Kind::Fwd(fwd) => {
                    forward.push((ty, if fwd == Fwd::Struct { 0 } else { 1 }));
                    continue;
                }
                Kind::Typedef(_) => {
                    let count = self.ordinary.entry(identifier(ty.name())).or_default();
                    *count += 1;
                    if *count > 1 {
                        self.suffixes.insert(ty.id, *count);
                    }
                    continue;
                }
                Kind::Void
                | Kind::Int(_)
                | Kind::Ptr(_)
                | Kind::Array(_)
                | Kind::Volatile(_)
                | Kind::Const(_)
                | Kind::Restrict(_)
                | Kind::Func(_)
                | Kind::FuncProto(_)
                | Kind::Var(_)
                | Kind::Datasec(_)
                | Kind::Float(_)
                | Kind::DeclTag(_)
                | Kind::TypeTag(_) => continue,
            };
            let (count, firsts) = tags.entry(ty.name()).or_default();
            *count += 1;
            if let Some(what) = what {
                firsts[what].get_or_insert(*count);
            }
            if *count > 1 {
                self.suffixes.insert(ty.id, *count);
            }
        }
        // A forward declaration means the first definition of its sort, or is one more user of the name.
        for (ty, what) in forward {
            let (count, firsts) = tags.entry(ty.name()).or_default();
            let suffix = *firsts[what].get_or_insert_with(|| {
                *count += 1;
                *count
            });
            if suffix > 1 {
                self.suffixes.insert(ty.id, suffix);
            }
        }
    }

    /// `struct name`
    pub(super) fn tag(&self, ty: &Type<'_>) -> String {
        let is_union = matches!(ty.kind, Kind::Union(_) | Kind::Fwd(Fwd::Union));
        let word = match (is_union, ty.enumeration()) {
            (true, _) => "union",
            (false, Some(_)) => "enum",
            (false, None) => "struct",
        };
        format!("{word} {}", self.ordinary_name(ty))
    }

    pub(super) fn ordinary_name(&self, ty: &Type<'_>) -> String {
        let name = identifier(ty.name());
        match self.suffixes.get(&ty.id) {
            Some(suffix) => format!("{name}___{suffix}"),
            None => name,
        }
    }

    /// The kernel functions that programs may call, as a program declares them; nothing if there are none.
    fn kfuncs(&mut self) -> Result<String, DumpError> {
        let btf = self.btf;
        let mut text = String::new();
        for ty in btf.types().filter(|ty| ty.id.0 >= btf.first_id()) {
            let Some(func) = ty.func() else { continue };
            if btf.decl_tags_of(ty.id, None).any(|tag| tag == KFUNC) {
                let line = self.declaration(func.proto, &identifier(ty.name()), 0)?;
                let _ = writeln!(text, "extern {line} __weak __ksym;");
            }
        }
        if text.is_empty() {
            return Ok(text);
        }
        Ok(format!("{KFUNCS_HEAD}{text}{KFUNCS_TAIL}"))
    }

    fn root(&mut self, ty: &Type<'_>) -> Result<(), DumpError> {
        match ty.kind {
            Kind::Enum(_) | Kind::Enum64(_) | Kind::Typedef(_) | Kind::Fwd(_) => {
                self.need(ty.id, Need::Whole, 0)
            }
            Kind::Struct(_) | Kind::Union(_) if !ty.name_off.is_none() => {
                self.need(ty.id, Need::Whole, 0)
            }
            // Nameless structures are written where they are used; the rest is no type of C's own.
            Kind::Struct(_)
            | Kind::Union(_)
            | Kind::Void
            | Kind::Int(_)
            | Kind::Ptr(_)
            | Kind::Array(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::Float(_)
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => Ok(()),
        }
    }

    /// Writes what must stand before a use of `id`.
    fn need(&mut self, id: TypeId, need: Need, depth: usize) -> Result<(), DumpError> {
        if depth > MAX_DEPTH {
            return Err(DumpError::TooDeep { id });
        }
        self.spend(id)?;
        let Some(ty) = self.btf.get(id) else { return Err(DumpError::TooDeep { id }) };
        match ty.kind {
            Kind::Void | Kind::Int(_) | Kind::Float(_) => Ok(()),
            Kind::Ptr(to) => self.need(to, Need::Name, depth + 1),
            Kind::Const(to) | Kind::Volatile(to) | Kind::Restrict(to) => {
                self.need(to, need, depth + 1)
            }
            Kind::TypeTag(tag) => self.need(tag.ty, need, depth + 1),
            Kind::Array(array) => self.need(array.element, Need::Whole, depth + 1),
            Kind::FuncProto(proto) => {
                self.need(proto.ret, Need::Name, depth + 1)?;
                proto.params().try_for_each(|param| self.need(param.ty, Need::Name, depth + 1))
            }
            Kind::Typedef(to) => self.typedef(&ty, to, need, depth),
            Kind::Struct(_) | Kind::Union(_) if ty.name_off.is_none() => {
                self.members_need(&ty, depth)
            }
            Kind::Struct(_) | Kind::Union(_) => match need {
                Need::Name => {
                    self.declare(&ty);
                    Ok(())
                }
                Need::Whole => self.define(&ty, depth),
            },
            Kind::Fwd(_) => {
                self.declare(&ty);
                Ok(())
            }
            Kind::Enum(e) | Kind::Enum64(e) => {
                self.define_enum(&ty, e);
                Ok(())
            }
            Kind::Func(_) | Kind::Var(_) | Kind::Datasec(_) | Kind::DeclTag(_) => {
                Err(DumpError::NoValue { id })
            }
        }
    }

    pub(super) fn spend(&mut self, id: TypeId) -> Result<(), DumpError> {
        self.budget = self.budget.checked_sub(1).ok_or(DumpError::TooDeep { id })?;
        Ok(())
    }

    fn state(&self, id: TypeId) -> State {
        self.states.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, id: TypeId, state: State) {
        if let Some(slot) = self.states.get_mut(id.0 as usize) {
            *slot = state;
        }
    }

    fn typedef(
        &mut self,
        ty: &Type<'_>,
        to: TypeId,
        need: Need,
        depth: usize,
    ) -> Result<(), DumpError> {
        match self.state(ty.id) {
            State::New => {
                self.set(ty.id, State::Begun);
                self.need(to, Need::Name, depth + 1)?;
                // Compilers know this one, and do not want to be told.
                if ty.name() != "__builtin_va_list" {
                    let name = self.ordinary_name(ty);
                    let text = self.declaration(to, &name, 0)?;
                    let _ = writeln!(self.out, "typedef {text};\n");
                }
                self.set(ty.id, State::Done);
            }
            State::Begun if need == Need::Whole => return Err(DumpError::TooDeep { id: ty.id }),
            State::Begun | State::Done => {}
        }
        // By value, what it stands for must be whole; that of nameless structures it is already.
        match need {
            Need::Whole if !self.is_nameless(to) => self.need(to, need, depth + 1),
            Need::Whole | Need::Name => Ok(()),
        }
    }

    fn is_nameless(&self, id: TypeId) -> bool {
        self.btf.skip_qualifiers(id).is_some_and(|ty| {
            let inline = ty.is_composite() || ty.enumeration().is_some();
            inline && ty.name_off.is_none()
        })
    }

    fn declare(&mut self, ty: &Type<'_>) {
        let Some(declared) = self.declared.get_mut(ty.id.0 as usize) else { return };
        if !*declared && self.state(ty.id) != State::Done {
            self.declared[ty.id.0 as usize] = true;
            let tag = self.tag(ty);
            let _ = writeln!(self.out, "{tag};\n");
        }
    }

    fn define(&mut self, ty: &Type<'_>, depth: usize) -> Result<(), DumpError> {
        match self.state(ty.id) {
            State::Done => return Ok(()),
            State::Begun => return Err(DumpError::TooDeep { id: ty.id }),
            State::New => self.set(ty.id, State::Begun),
        }
        self.members_need(ty, depth)?;
        let text = self.composite(ty, 0)?;
        let _ = writeln!(self.out, "{text};\n");
        self.set(ty.id, State::Done);
        Ok(())
    }

    fn members_need(&mut self, ty: &Type<'_>, depth: usize) -> Result<(), DumpError> {
        let Some(composite) = ty.composite() else { return Ok(()) };
        composite.members().try_for_each(|member| self.need(member.ty, Need::Whole, depth + 1))
    }

    fn define_enum(&mut self, ty: &Type<'_>, e: Enum<'_>) {
        // Nameless ones that something uses are written there.
        if self.state(ty.id) != State::New
            || (ty.name_off.is_none() && self.inline.contains(&ty.id))
        {
            return;
        }
        self.set(ty.id, State::Done);
        if e.is_empty() && ty.name_off.is_none() {
            return;
        }
        let text = self.enumeration(ty);
        let _ = writeln!(self.out, "{text};\n");
    }

    /// `enum name { A = 0, … }`
    pub(super) fn enumeration(&mut self, ty: &Type<'_>) -> String {
        let Some(e) = ty.enumeration() else { return String::new() };
        let mut text = "enum".to_owned();
        if !ty.name_off.is_none() {
            text = self.tag(ty);
        }
        if e.is_empty() {
            return text;
        }
        text.push_str(" {\n");
        for value in e.values() {
            let mut name = self.identifier(value.name_off);
            let count = self.ordinary.entry(name.clone()).or_default();
            *count += 1;
            if *count > 1 {
                let _ = write!(name, "___{count}");
            }
            let wide = if e.size == 8 { "LL" } else { "" };
            let _ = if e.signed {
                let value = value.bits.cast_signed();
                match value.checked_neg() {
                    Some(_) => writeln!(text, "\t{name} = {value}{wide},"),
                    // The smallest number has no literal of its own.
                    None => writeln!(text, "\t{name} = ({}{wide} - 1),", value + 1),
                }
            } else {
                writeln!(
                    text,
                    "\t{name} = {}{}{wide},",
                    value.bits,
                    if e.size == 8 { "U" } else { "" }
                )
            };
        }
        text.push('}');
        match e.size {
            1 => text.push_str(" __attribute__((mode(byte)))"),
            2 => text.push_str(" __attribute__((mode(HI)))"),
            8 if e.values().all(|v| i32::try_from(v.bits.cast_signed()).is_ok()) => {
                text.push_str(" __attribute__((mode(DI)))");
            }
            _ => {}
        }
        text
    }

    /// `struct name { … }`
    pub(super) fn composite(&mut self, ty: &Type<'_>, depth: usize) -> Result<String, DumpError> {
        let Some(composite) = ty.composite() else { return Ok(String::new()) };
        let is_union = matches!(ty.kind, Kind::Union(_));
        let mut text = if ty.name_off.is_none() {
            if is_union { "union".to_owned() } else { "struct".to_owned() }
        } else {
            self.tag(ty)
        };
        text.push_str(" {\n");
        let indent = "\t".repeat(depth + 1);
        let is_packed = self.btf.is_packed(ty.id);
        let mut at = 0;
        for member in composite.members() {
            if !is_union {
                self.fill(&mut text, &indent, at, &member, is_packed);
            }
            let name = self.identifier(member.name_off);
            let line = self.declaration(member.ty, &name, depth)?;
            text.push_str(&indent);
            text.push_str(&line);
            if let Some(bits) = member.bitfield {
                let _ = write!(text, ": {bits}");
            }
            text.push_str(";\n");
            let end = member.bit_offset.saturating_add(bits_of(self.btf, &member));
            at = if is_union { at.max(end) } else { end };
        }
        let align = if is_packed { 1 } else { self.btf.align_of(ty.id).unwrap_or(1) };
        let whole = composite.size.saturating_mul(8);
        if at.checked_next_multiple_of(align.saturating_mul(8)).is_some_and(|end| end < whole) {
            if is_union {
                let _ = writeln!(text, "{indent}char __size[{}];", composite.size);
            } else {
                gap(&mut text, &indent, at, whole);
            }
        }
        text.push_str(&"\t".repeat(depth));
        text.push('}');
        if is_packed {
            text.push_str(" __attribute__((packed))");
        }
        Ok(text)
    }

    /// Fills the gap before a member that C would place too early.
    fn fill(&self, text: &mut String, indent: &str, at: u32, member: &Member, is_packed: bool) {
        if c_offset(self.btf, at, member, is_packed) != Some(member.bit_offset) {
            gap(text, indent, at, member.bit_offset);
        }
    }
}

/// Nameless bit fields from one bit to another, each within a unit of its own size.
fn gap(text: &mut String, indent: &str, from: u32, to: u32) {
    let mut at = from;
    if to.saturating_sub(from) >= LARGE_GAP && from.is_multiple_of(8) {
        let bytes = (to - from) / 8;
        let _ = writeln!(text, "{indent}char __gap_{}[{bytes}];", from / 8);
        at += bytes * 8;
    }
    while at < to {
        let left = to - at;
        let (word, bits) = if at.is_multiple_of(64) && left >= 64 {
            ("long", 64)
        } else if at.is_multiple_of(32) && left >= 32 {
            ("int", 32)
        } else if at.is_multiple_of(16) && left >= 16 {
            ("short", 16)
        } else {
            ("char", (8 - at % 8).min(left))
        };
        let _ = writeln!(text, "{indent}{word}: {bits};");
        at += bits;
    }
}
