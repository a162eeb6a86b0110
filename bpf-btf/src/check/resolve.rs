//! What records refer to: everything that must have a size has one, and nothing is defined by itself.
//!
//! Types form a graph. A value's size is found by following modifiers, variables, arrays and structures, and these
//! edges must form no ring; a pointer has a size whatever it points to, which is what lets a structure hold a pointer
//! to itself. Rings of pointers and modifiers alone (`typedef T *T`) are no types either. So a walk along the edges is
//! made in one of two ways, settled by the first pointer, structure or array on it: along pointers and modifiers,
//! ending at whatever else; or along structures, arrays and modifiers, ending at pointers.
//!
//! Linux: `btf_check_all_types`.

use super::log::Log;
use super::member;
use super::meta::{Entry, Records};
use super::problem::{Problem, Refusal};
use crate::layout::POINTER_SIZE;
use crate::raw::KindCode;

/// How many types may be on the way at once. Linux: `MAX_RESOLVE_DEPTH`.
const MAX_DEPTH: usize = 32;

const TYPE_ID: Problem = Problem::Plain("Invalid type_id");

/// Which edges a walk follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Not settled yet.
    Open,
    Pointers,
    Values,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    New,
    OnTheWay,
    Done,
}

/// Why a walk ended early.
pub(super) enum Stop {
    Refused(Refusal),
    Loop,
    TooDeep,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What is known of a type once it was walked.
#[derive(Clone, Copy, Default)]
struct Known {
    state: State,
    /// What it comes down to: not a modifier, not a variable.
    target: u32,
    /// The size of an array.
    size: u32,
}

pub(super) struct Resolver<'a, 'r> {
    pub(super) records: &'r Records<'a>,
    known: Vec<Known>,
    pub(super) log: &'r mut Log,
}

pub(super) fn check(records: &Records<'_>, log: &mut Log) -> Result<(), Refusal> {
    let known = vec![Known::default(); records.end()];
    let mut resolver = Resolver { records, known, log };
    for id in 1..u32::try_from(records.end()).unwrap_or(u32::MAX) {
        let Some(entry) = records.get(id) else { continue };
        if needs_walk(entry.code) && !resolver.is_done(id) {
            resolver.root(&entry)?;
        }
        if entry.code == KindCode::FuncProto {
            resolver.signature(&entry)?;
        }
    }
    Ok(())
}

const fn is_modifier(code: KindCode) -> bool {
    matches!(
        code,
        KindCode::Typedef
            | KindCode::Volatile
            | KindCode::Const
            | KindCode::Restrict
            | KindCode::TypeTag
    )
}

const fn is_composite(code: KindCode) -> bool {
    matches!(code, KindCode::Struct | KindCode::Union)
}

/// Types that others may not be made of.
const fn is_only_a_source(code: KindCode) -> bool {
    matches!(code, KindCode::Var | KindCode::DeclTag | KindCode::Datasec)
}

const fn has_no_size(code: KindCode) -> bool {
    matches!(
        code,
        KindCode::Void | KindCode::Fwd | KindCode::Func | KindCode::FuncProto | KindCode::DeclTag
    )
}

const fn needs_walk(code: KindCode) -> bool {
    is_modifier(code)
        || is_composite(code)
        || is_only_a_source(code)
        || matches!(code, KindCode::Ptr | KindCode::Array | KindCode::Func)
}

impl Way {
    /// Whether the walk ends before a type of this kind.
    const fn ends_at(self, code: KindCode) -> bool {
        match self {
            Self::Open => !needs_walk(code),
            Self::Pointers => !is_modifier(code) && !matches!(code, KindCode::Ptr),
            Self::Values => {
                !is_modifier(code) && !is_composite(code) && !matches!(code, KindCode::Array)
            }
        }
    }

    /// How a walk goes on from a type of this kind.
    const fn from(self, code: KindCode) -> Self {
        match (self, code) {
            (Self::Open, KindCode::Ptr) => Self::Pointers,
            (Self::Open, KindCode::Struct | KindCode::Union | KindCode::Array) => Self::Values,
            _ => self,
        }
    }
}

impl<'a> Resolver<'a, '_> {
    fn code(&self, id: u32) -> Option<KindCode> {
        if id == 0 { Some(KindCode::Void) } else { self.records.get(id).map(|entry| entry.code) }
    }

    fn known(&self, id: u32) -> Known {
        self.known.get(id as usize).copied().unwrap_or_default()
    }

    fn is_done(&self, id: u32) -> bool {
        self.known(id).state == State::Done
    }

    fn done(&mut self, id: u32, target: u32, size: u32) {
        if let Some(known) = self.known.get_mut(id as usize) {
            *known = Known { state: State::Done, target, size };
        }
    }

    /// Walks from a type, and blames it for rings and depth.
    fn root(&mut self, entry: &Entry<'a>) -> Result<(), Refusal> {
        let problem = match self.walk(entry, Way::Open, 0) {
            Ok(()) => return Ok(()),
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::Loop) => Problem::Loop,
            Err(Stop::TooDeep) => Problem::TooDeep,
        };
        Err(self.log.refuse_type(self.records, entry, problem))
    }

    fn refuse(&mut self, entry: &Entry<'a>, problem: Problem) -> Stop {
        Stop::Refused(self.log.refuse_type(self.records, entry, problem))
    }

    fn walk(&mut self, entry: &Entry<'a>, way: Way, depth: usize) -> Result<(), Stop> {
        if depth == MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        if self.known(entry.id).state != State::New {
            return Err(Stop::Loop);
        }
        if let Some(known) = self.known.get_mut(entry.id as usize) {
            known.state = State::OnTheWay;
        }
        let step = Steps { way: way.from(entry.code), depth };
        match entry.code {
            KindCode::Typedef
            | KindCode::Volatile
            | KindCode::Const
            | KindCode::Restrict
            | KindCode::TypeTag => self.modifier(entry, step),
            KindCode::Ptr => self.pointer(entry, step),
            KindCode::Array => self.array(entry, step),
            KindCode::Struct | KindCode::Union => self.composite(entry, step),
            KindCode::Var => self.variable(entry, step),
            KindCode::Datasec => self.section(entry, depth),
            KindCode::DeclTag => self.decl_tag(entry, step),
            KindCode::Func => self.function(entry),
            KindCode::Void
            | KindCode::Int
            | KindCode::Enum
            | KindCode::Fwd
            | KindCode::FuncProto
            | KindCode::Float
            | KindCode::Enum64 => Ok(()),
        }
    }

    /// Goes on to `id` unless the walk ends there or was there.
    fn enter(&mut self, id: u32, step: Steps) -> Result<(), Stop> {
        match self.records.get(id) {
            Some(next) if !step.way.ends_at(next.code) && !self.is_done(id) => {
                self.walk(&next, step.way, step.depth + 1)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What a type comes down to and its size, as far as that is known by now.
    ///
    /// Linux: `btf_type_id_size`.
    pub(super) fn sized(&self, id: u32) -> Option<(u32, u32)> {
        let code = self.code(id)?;
        let id =
            if is_modifier(code) || code == KindCode::Var { self.known(id).target } else { id };
        let entry = self.records.get(id)?;
        let size = if entry.code == KindCode::Array {
            self.known(id).size
        } else if entry.code == KindCode::Ptr {
            POINTER_SIZE
        } else if has_no_size(entry.code) || is_modifier(entry.code) || entry.code == KindCode::Var
        {
            return None;
        } else {
            entry.record.size_or_type
        };
        Some((id, size))
    }

    /// The type that a pointer or modifier comes down to: one with a size, or one that may do without behind them.
    fn comes_down_to(&self, id: u32) -> Option<u32> {
        if let Some((target, _)) = self.sized(id) {
            return Some(target);
        }
        let target = if self.is_done(id) { self.known(id).target } else { id };
        let code = self.code(target)?;
        matches!(code, KindCode::Void | KindCode::Fwd | KindCode::FuncProto).then_some(target)
    }

    /// The target of a record that refers to just one type which it may be made of.
    fn material(&mut self, entry: &Entry<'a>) -> Result<u32, Stop> {
        let id = entry.record.size_or_type;
        match self.code(id) {
            Some(code) if !is_only_a_source(code) => Ok(id),
            Some(_) | None => Err(self.refuse(entry, TYPE_ID)),
        }
    }

    fn modifier(&mut self, entry: &Entry<'a>, step: Steps) -> Result<(), Stop> {
        let next = self.material(entry)?;
        self.enter(next, step)?;
        let Some(target) = self.comes_down_to(next) else {
            return Err(self.refuse(entry, TYPE_ID));
        };
        self.done(entry.id, target, 0);
        Ok(())
    }

    fn pointer(&mut self, entry: &Entry<'a>, step: Steps) -> Result<(), Stop> {
        let next = self.material(entry)?;
        self.enter(next, step)?;
        self.enter_behind(next, step)?;
        let Some(target) = self.comes_down_to(next) else {
            return Err(self.refuse(entry, TYPE_ID));
        };
        self.done(entry.id, target, 0);
        Ok(())
    }

    /// A modifier that was walked among values may have ended at a pointer not walked yet; it may lead back here.
    fn enter_behind(&mut self, next: u32, step: Steps) -> Result<(), Stop> {
        if self.code(next).is_some_and(is_modifier) {
            let behind = self.known(next).target;
            if self.code(behind) == Some(KindCode::Ptr) {
                self.enter(behind, step)?;
            }
        }
        Ok(())
    }

    fn variable(&mut self, entry: &Entry<'a>, step: Steps) -> Result<(), Stop> {
        let next = self.material(entry)?;
        self.enter(next, step)?;
        self.enter_behind(next, step)?;
        let Some((target, _)) = self.sized(next) else {
            return Err(self.refuse(entry, TYPE_ID));
        };
        self.done(entry.id, target, 0);
        Ok(())
    }

    fn array(&mut self, entry: &Entry<'a>, step: Steps) -> Result<(), Stop> {
        let (element, index, len) = (entry.word(0), entry.word(4), entry.word(8));
        let may_be_part =
            |code: Option<KindCode>| code.is_some_and(|c| !is_only_a_source(c) && !has_no_size(c));
        if !may_be_part(self.code(index)) {
            return Err(self.refuse(entry, Problem::Plain("Invalid index")));
        }
        self.enter(index, step)?;
        let is_int = |this: &Self, id: Option<(u32, u32)>| {
            id.and_then(|(id, _)| this.records.get(id)).filter(|e| e.code == KindCode::Int)
        };
        let index = is_int(self, self.sized(index));
        if !index.is_some_and(|index| member::is_regular(&index)) {
            return Err(self.refuse(entry, Problem::Plain("Invalid index")));
        }
        if !may_be_part(self.code(element)) {
            return Err(self.refuse(entry, Problem::Plain("Invalid elem")));
        }
        self.enter(element, step)?;
        let Some((target, size)) = self.sized(element) else {
            return Err(self.refuse(entry, Problem::Plain("Invalid elem")));
        };
        let int = is_int(self, Some((target, size)));
        if int.is_some_and(|int| !member::is_regular(&int)) {
            return Err(self.refuse(entry, Problem::Plain("Invalid array of int")));
        }
        let Some(total) = len.checked_mul(size) else {
            return Err(self.refuse(entry, Problem::Plain("Array size overflows U32_MAX")));
        };
        self.done(entry.id, target, total);
        Ok(())
    }

    fn composite(&mut self, entry: &Entry<'a>, step: Steps) -> Result<(), Stop> {
        for index in 0..entry.record.vlen() {
            let [_, ty, _] = entry.triple(index);
            let may_be_part =
                self.code(ty).is_some_and(|code| !is_only_a_source(code) && !has_no_size(code));
            if !may_be_part {
                let problem = Problem::Plain("Invalid member");
                let line = entry.triple(index);
                return Err(self
                    .log
                    .refuse_member(self.records, entry, line, true, problem)
                    .into());
            }
            self.enter(ty, step)?;
            member::check(self, entry, index)?;
        }
        self.done(entry.id, 0, 0);
        Ok(())
    }

    fn section(&mut self, entry: &Entry<'a>, depth: usize) -> Result<(), Stop> {
        for index in 0..entry.record.vlen() {
            let [ty, _, size] = entry.triple(index);
            let problem = match self.records.get(ty).filter(|var| var.code == KindCode::Var) {
                None => Problem::Plain("Not a VAR kind member"),
                // Each variable is a walk of its own. The kernel measures only those it has walked before.
                Some(_) if !self.is_done(ty) => {
                    self.enter(ty, Steps { way: Way::Open, depth })?;
                    continue;
                }
                Some(var) => match self.sized(var.record.size_or_type) {
                    None => Problem::Plain("Invalid type"),
                    Some((_, own)) if size < own => Problem::Plain("Invalid size"),
                    Some(_) => continue,
                },
            };
            return Err(self.log.refuse_var(self.records, entry, index, true, problem).into());
        }
        self.done(entry.id, 0, 0);
        Ok(())
    }

    fn decl_tag(&mut self, entry: &Entry<'a>, step: Steps) -> Result<(), Stop> {
        let target = entry.record.size_or_type;
        let next = self.records.get(target).filter(|next| {
            is_composite(next.code)
                || matches!(next.code, KindCode::Func | KindCode::Var | KindCode::Typedef)
        });
        let Some(next) = next else {
            return Err(self.refuse(entry, TYPE_ID));
        };
        self.enter(target, step)?;
        let component = entry.word(0);
        if component != u32::MAX {
            let whole = if next.code == KindCode::Func {
                self.records.get(next.record.size_or_type)
            } else {
                Some(next).filter(|next| is_composite(next.code))
            };
            let len = whole.map_or(0, |whole| whole.record.vlen());
            if component as usize >= len {
                let problem = Problem::Plain("Invalid component_idx");
                return Err(self.refuse(entry, problem));
            }
        }
        self.done(entry.id, target, 0);
        Ok(())
    }

    fn function(&mut self, entry: &Entry<'a>) -> Result<(), Stop> {
        let proto = entry.record.size_or_type;
        let Some(signature) =
            self.records.get(proto).filter(|proto| proto.code == KindCode::FuncProto)
        else {
            return Err(self.refuse(entry, TYPE_ID));
        };
        for index in 0..signature.record.vlen() {
            let (name, ty) = (signature.word(8 * index), signature.word(8 * index + 4));
            if name == 0 && ty != 0 {
                return Err(self.refuse(entry, Problem::Argument(index + 1)));
            }
        }
        self.done(entry.id, proto, 0);
        Ok(())
    }

    /// Linux: `btf_func_proto_check`.
    fn signature(&mut self, entry: &Entry<'a>) -> Result<(), Refusal> {
        let refuse =
            |this: &mut Self, problem| Err(this.log.refuse_type(this.records, entry, problem));
        let ret = entry.record.size_or_type;
        if ret != 0 && !self.travels(ret)? {
            return refuse(self, Problem::Plain("Invalid return type"));
        }
        let mut count = entry.record.vlen();
        if count > 0 && entry.word(8 * (count - 1) + 4) == 0 {
            if entry.word(8 * (count - 1)) != 0 {
                return refuse(self, Problem::Argument(count));
            }
            count -= 1;
        }
        for index in 0..count {
            let (name, ty) = (entry.word(8 * index), entry.word(8 * index + 4));
            let is_named = name == 0 || self.records.is_identifier(name);
            if !is_named || !self.travels(ty)? {
                return refuse(self, Problem::Argument(index + 1));
            }
        }
        Ok(())
    }

    /// Whether a value of this type can be passed or returned.
    fn travels(&mut self, id: u32) -> Result<bool, Refusal> {
        let Some(entry) = self.records.get(id) else { return Ok(false) };
        if is_only_a_source(entry.code) {
            return Ok(false);
        }
        if needs_walk(entry.code) && !self.is_done(id) {
            self.root(&entry)?;
        }
        Ok(self.sized(id).is_some())
    }
}

/// How a walk goes on.
#[derive(Clone, Copy)]
struct Steps {
    way: Way,
    depth: usize,
}

/// Checks that tags come before other qualifiers, which is where a compiler puts them: behind a modifier that is no tag
/// there is none.
///
/// Linux: `btf_check_type_tags`.
pub(super) fn check_type_tags(records: &Records<'_>, log: &mut Log) -> Result<(), Refusal> {
    // Whether there is a tag in the chain of modifiers that begins with a type; each is found out once.
    let mut has_tag = vec![None; records.end()];
    for id in 1..u32::try_from(records.end()).unwrap_or(u32::MAX) {
        let Some(start) = records.get(id).filter(|entry| is_modifier(entry.code)) else { continue };
        let behind = start.record.size_or_type;
        let mut path = Vec::new();
        let mut next = behind;
        let found = loop {
            let Some(known) = has_tag.get(next as usize) else { break false };
            if let Some(known) = known {
                break *known;
            }
            let entry = records.get(next).filter(|entry| is_modifier(entry.code));
            let Some(entry) = entry else { break false };
            path.push(next);
            if entry.code == KindCode::TypeTag && !entry.record.kind_flag() {
                break true;
            }
            next = entry.record.size_or_type;
        };
        for id in path {
            if let Some(slot) = has_tag.get_mut(id as usize) {
                *slot = Some(found);
            }
        }
        if found && start.code != KindCode::TypeTag {
            return Err(log.refuse(Problem::Plain("Type tags don't precede modifiers")));
        }
    }
    Ok(())
}
