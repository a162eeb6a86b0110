//! CO-RE: questions about the layout of types, answered by the types of the kernel that a program will run on.
//!
//! A compiler leaves a question beside an instruction: "where in `struct task_struct` is `pid`?". The instruction holds
//! the answer by the object's own types; a loader asks the target's types and writes what they say into it. Types
//! are found by name, up to a flavour (`task_struct___old` is `task_struct`), and fields by their path of names.
//! Where the target knows no answer the instruction is poisoned: it must never be reached.

mod spec;
mod candidates;
mod compat;
mod patch;

pub use candidates::essential_name;
pub use compat::{fields_compatible, types_compatible, types_match};
pub use patch::POISON;

use hashbrown::HashMap;
use thiserror::Error;

use crate::Btf;
use crate::ext::{CoreRelo, CoreReloKind};
use crate::types::{Kind, TypeId};
use bpf_isa::Slot;
use spec::{Spec, Step};

/// Why a question has no answer, or the answer no place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReloError {
    /// The number of the question is not assigned.
    #[error("unrecognized CO-RE relocation {0}")]
    UnknownKind(u32),

    /// The path does not lead through the object's own type.
    #[error("{access:?} is no path through [{ty}] {name:?}")]
    Access {
        /// The path.
        access: String,
        /// The type.
        ty: TypeId,
        /// Its name.
        name: String,
    },

    /// The type has no name to be found by.
    #[error("<{}> relocation doesn't support anonymous types", kind.name())]
    Anonymous {
        /// The question.
        kind: CoreReloKind,
    },

    /// The types are nested too deeply, or defined by themselves.
    #[error("the types are nested too deeply")]
    TooDeep,

    /// A bit field spreads over more than eight bytes.
    #[error("<{}> can't be satisfied for bitfield", kind.name())]
    Bitfield {
        /// The question.
        kind: CoreReloKind,
    },

    /// The question is not one that an element of an array can answer.
    #[error("<{}> can't be applied to array access", kind.name())]
    Element {
        /// The question.
        kind: CoreReloKind,
    },

    /// Several types of that name give different answers.
    #[error("ambiguous: candidates answer {first} and {second}")]
    Ambiguous {
        /// What one says.
        first: String,
        /// What another says.
        second: String,
    },

    /// The instruction does not hold what the compiler should have put there.
    #[error("unexpected value: got {got}, expected {expected}")]
    Unexpected {
        /// What it holds.
        got: u64,
        /// What it should hold.
        expected: u64,
    },

    /// The answer does not fit into the instruction.
    #[error("value too big: {0}")]
    TooBig(u64),

    /// The instruction reads or writes another number of bytes than the field had or has.
    #[error("unexpected mem size: {0}")]
    AccessSize(u32),

    /// The instruction is of a sort that no answer can be written into.
    #[error("unrecognized instruction, code {0:#04x}")]
    Instruction(u8),
}

/// What is to become of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gets a new value.
    Value(Value),
    /// It must not be reached.
    Poison,
}

/// What the types say, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// By the object's types.
    pub was: u64,
    /// By the target's types.
    pub now: u64,
    /// Whether the instruction must hold the former.
    pub is_checked: bool,
    /// The field's size by the object's types, in bytes; 0 if it does not matter.
    pub was_size: u32,
    /// The field's size by the target's types, in bytes.
    pub now_size: u32,
    /// Whether a load or store of another size means the same.
    pub may_resize: bool,
}

/// The types of a target, and what was found in them already.
#[derive(Clone, Debug)]
pub struct Relocator<'a> {
    target: &'a Btf,
    /// The target's named types, by name without flavour.
    by_name: HashMap<&'a str, Vec<TypeId>>,
    /// Which types of the target may be meant by one of the object's; those that proved wrong are gone.
    candidates: HashMap<TypeId, Vec<TypeId>>,
}

impl<'a> Relocator<'a> {
    /// Prepares to answer questions by `target`.
    pub fn new(target: &'a Btf) -> Self {
        Self { target, by_name: candidates::by_name(target), candidates: HashMap::new() }
    }

    /// Answers a question that an object with types `local` asks.
    ///
    /// All questions of one [`Relocator`] are asked by the same object.
    ///
    /// # Errors
    ///
    /// Returns an error if the question makes no sense, or has several answers.
    ///
    /// Linux: `bpf_core_calc_relo_insn`.
    pub fn answer(&mut self, local: &Btf, relo: &CoreRelo) -> Result<Answer, ReloError> {
        let kind = CoreReloKind::of(relo.kind).ok_or(ReloError::UnknownKind(relo.kind))?;
        let own = Spec::parse(local, relo, kind)?;
        if kind == CoreReloKind::TypeIdLocal {
            return Ok(own_number(relo.ty));
        }
        if local.name_of(relo.ty).is_empty() {
            return Err(ReloError::Anonymous { kind });
        }
        if !self.candidates.contains_key(&relo.ty) {
            let found = candidates::find(local, relo.ty, self.target, &self.by_name);
            self.candidates.insert(relo.ty, found);
        }
        let candidates = self.candidates.get(&relo.ty).map_or(&[][..], Vec::as_slice);
        let mut fitting = Vec::new();
        let mut chosen: Option<(Answer, u64)> = None;
        for id in candidates {
            let Some(found) = own.find_in(local, self.target, *id)? else { continue };
            let answer = answer_by(local, &own, Some((self.target, &found)))?;
            match chosen {
                None => chosen = Some((answer, found.bits)),
                Some((first, bits)) if !agree(first, answer) || bits != found.bits => {
                    let (first, second) = (describe(first, bits), describe(answer, found.bits));
                    return Err(ReloError::Ambiguous { first, second });
                }
                Some(_) => {}
            }
            fitting.push(*id);
        }
        match chosen {
            Some((answer, _)) => {
                self.candidates.insert(relo.ty, fitting);
                Ok(answer)
            }
            None => answer_by(local, &own, None),
        }
    }

    /// Answers a question and writes the answer into the instruction at the beginning of `insns`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no single answer, or if the instruction has no place for it.
    pub fn relocate(
        &mut self,
        local: &Btf,
        relo: &CoreRelo,
        insns: &mut [Slot],
    ) -> Result<(), ReloError> {
        let answer = self.answer(local, relo)?;
        patch::patch(insns, answer)
    }
}

/// Writes the one answer that needs no target: the number of a type in the object itself. `false` if the question is
/// another.
///
/// # Errors
///
/// Returns an error if the instruction has no place for it.
pub fn relocate_local(relo: &CoreRelo, insns: &mut [Slot]) -> Result<bool, ReloError> {
    if CoreReloKind::of(relo.kind) != Some(CoreReloKind::TypeIdLocal) {
        return Ok(false);
    }
    patch::patch(insns, own_number(relo.ty)).map(|()| true)
}

fn own_number(ty: TypeId) -> Answer {
    let number = u64::from(ty.0);
    Answer::Value(Value { was: number, now: number, is_checked: false, ..Value::plain(0, 0) })
}

fn agree(a: Answer, b: Answer) -> bool {
    match (a, b) {
        (Answer::Poison, Answer::Poison) => true,
        (Answer::Value(a), Answer::Value(b)) => a.now == b.now,
        (Answer::Poison, Answer::Value(_)) | (Answer::Value(_), Answer::Poison) => false,
    }
}

fn describe(answer: Answer, bits: u64) -> String {
    match answer {
        Answer::Poison => "failure".to_owned(),
        Answer::Value(value) => format!("{} (at bit {bits})", value.now),
    }
}

impl Value {
    const fn plain(was: u64, now: u64) -> Self {
        Self { was, now, is_checked: true, was_size: 0, now_size: 0, may_resize: true }
    }
}

/// Whether a question is about a field, a type or an enumerator.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Field,
    Type,
    Enumerator,
}

const fn about(kind: CoreReloKind) -> About {
    match kind {
        CoreReloKind::FieldByteOffset
        | CoreReloKind::FieldByteSize
        | CoreReloKind::FieldExists
        | CoreReloKind::FieldSigned
        | CoreReloKind::FieldLshift
        | CoreReloKind::FieldRshift => About::Field,
        CoreReloKind::TypeIdLocal
        | CoreReloKind::TypeIdTarget
        | CoreReloKind::TypeExists
        | CoreReloKind::TypeSize
        | CoreReloKind::TypeMatches => About::Type,
        CoreReloKind::EnumvalExists | CoreReloKind::EnumvalValue => About::Enumerator,
    }
}

/// The answer by what was found, or by there being nothing.
fn answer_by(local: &Btf, own: &Spec, found: Option<(&Btf, &Spec)>) -> Result<Answer, ReloError> {
    match about(own.kind) {
        About::Field => field_answer(local, own, found),
        About::Type => {
            let was = type_value(local, own)?;
            let now = found.map_or(Ok(0), |(target, found)| type_value(target, found))?;
            let is_checked = own.kind != CoreReloKind::TypeIdTarget;
            Ok(Answer::Value(Value { is_checked, ..Value::plain(was, now) }))
        }
        About::Enumerator => {
            let was = enumerator_value(local, own)?;
            let now = match found {
                Some((target, found)) => enumerator_value(target, found)?,
                None if own.kind == CoreReloKind::EnumvalExists => 0,
                None => return Ok(Answer::Poison),
            };
            Ok(Answer::Value(Value::plain(was, now)))
        }
    }
}

fn field_answer(
    local: &Btf,
    own: &Spec,
    found: Option<(&Btf, &Spec)>,
) -> Result<Answer, ReloError> {
    if own.kind == CoreReloKind::FieldExists {
        return Ok(Answer::Value(Value::plain(1, u64::from(found.is_some()))));
    }
    let was = field(local, own)?;
    let Some((target, found)) = found else { return Ok(Answer::Poison) };
    let now = field(target, found)?;
    let kinds = (local.get(was.ty).map(|ty| ty.kind), target.get(now.ty).map(|ty| ty.kind));
    // A pointer of 32 bits and an unsigned integer of another size are read right when zeros are added.
    let may_resize = was.size == now.size
        || match kinds {
            (Some(Kind::Ptr(_)), Some(Kind::Ptr(_))) => true,
            (Some(Kind::Int(a)), Some(Kind::Int(b))) => !a.signed && !b.signed,
            _ => false,
        };
    Ok(Answer::Value(Value {
        was: was.value,
        now: now.value,
        is_checked: was.is_checked,
        was_size: was.size,
        now_size: now.size,
        may_resize,
    }))
}

/// What one set of types says of a field.
struct Field {
    value: u64,
    /// The size of a load or store of it in bytes; 0 if it does not matter.
    size: u32,
    ty: TypeId,
    is_checked: bool,
}

/// Linux: `bpf_core_calc_field_relo`.
fn field(btf: &Btf, spec: &Spec) -> Result<Field, ReloError> {
    let kind = spec.kind;
    let last = spec.steps.last().ok_or(ReloError::TooDeep)?;
    if !last.is_named {
        return element(btf, spec, last);
    }
    let whole = btf.get(last.ty).and_then(|ty| ty.composite());
    let member = whole.and_then(|whole| whole.member(last.index)).ok_or(ReloError::TooDeep)?;
    let ty = btf.resolve(member.ty).ok_or(ReloError::TooDeep)?.id;
    let size = btf.size_of(ty).ok_or(ReloError::TooDeep)?;
    let (byte_offset, byte_size, bits) = match member.bitfield {
        None => (spec.bits / 8, u64::from(size), u64::from(size) * 8),
        Some(bits) => {
            let bits = u64::from(bits.get());
            let (offset, size) = unit(spec.bits, bits, size).ok_or(ReloError::Bitfield { kind })?;
            (offset, size, bits)
        }
    };
    let is_bitfield = member.bitfield.is_some();
    let mut answer = Field { value: 0, size: 0, ty: TypeId::VOID, is_checked: !is_bitfield };
    match kind {
        CoreReloKind::FieldByteOffset => {
            answer.value = byte_offset;
            if !is_bitfield {
                answer.size = element_size(btf, ty).ok_or(ReloError::TooDeep)?;
                answer.ty = ty;
            }
        }
        CoreReloKind::FieldByteSize => answer.value = byte_size,
        CoreReloKind::FieldSigned => {
            let ty = btf.get(ty);
            let is_signed = ty.is_some_and(|ty| {
                ty.int().is_some_and(|int| int.signed) || ty.enumeration().is_some_and(|e| e.signed)
            });
            answer.value = u64::from(is_signed);
            answer.is_checked = true;
        }
        CoreReloKind::FieldLshift => {
            let end = spec.bits + bits - byte_offset * 8;
            answer.value = 64u64.wrapping_sub(end);
        }
        CoreReloKind::FieldRshift => {
            answer.value = 64u64.wrapping_sub(bits);
            answer.is_checked = true;
        }
        CoreReloKind::FieldExists
        | CoreReloKind::TypeIdLocal
        | CoreReloKind::TypeIdTarget
        | CoreReloKind::TypeExists
        | CoreReloKind::TypeSize
        | CoreReloKind::TypeMatches
        | CoreReloKind::EnumvalExists
        | CoreReloKind::EnumvalValue => {}
    }
    Ok(answer)
}

/// The smallest unit of a power of two of bytes, at a multiple of its size, that holds a bit field whole.
fn unit(at: u64, bits: u64, size: u32) -> Option<(u64, u64)> {
    let mut size = u64::from(size).max(1);
    loop {
        let offset = at / 8 / size * size;
        if at + bits <= (offset + size) * 8 {
            return Some((offset, size));
        }
        if size >= 8 {
            return None;
        }
        size *= 2;
    }
}

/// What is said of an element of an array, which is no member.
fn element(btf: &Btf, spec: &Spec, last: &Step) -> Result<Field, ReloError> {
    let answer = Field { value: spec.bits / 8, size: 0, ty: last.ty, is_checked: true };
    if spec.kind == CoreReloKind::FieldByteOffset {
        let size = element_size(btf, last.ty).ok_or(ReloError::TooDeep)?;
        Ok(Field { size, ..answer })
    } else if spec.kind == CoreReloKind::FieldByteSize {
        let value = u64::from(btf.size_of(last.ty).ok_or(ReloError::TooDeep)?);
        Ok(Field { value, ..answer })
    } else {
        Err(ReloError::Element { kind: spec.kind })
    }
}

/// The size of what an array of arrays is made of in the end.
fn element_size(btf: &Btf, id: TypeId) -> Option<u32> {
    let mut ty = btf.resolve(id)?;
    for _ in 0..crate::btf::MAX_CHAIN {
        match ty.array() {
            Some(array) => ty = btf.resolve(array.element)?,
            None => return btf.size_of(ty.id),
        }
    }
    None
}

/// Linux: `bpf_core_calc_type_relo`.
fn type_value(btf: &Btf, spec: &Spec) -> Result<u64, ReloError> {
    if spec.kind == CoreReloKind::TypeIdTarget {
        Ok(u64::from(spec.root.0))
    } else if spec.kind == CoreReloKind::TypeSize {
        btf.size_of(spec.root).map(u64::from).ok_or(ReloError::TooDeep)
    } else {
        Ok(1)
    }
}

/// Linux: `bpf_core_calc_enumval_relo`.
fn enumerator_value(btf: &Btf, spec: &Spec) -> Result<u64, ReloError> {
    if spec.kind == CoreReloKind::EnumvalExists {
        return Ok(1);
    }
    let step = spec.steps.first().ok_or(ReloError::TooDeep)?;
    let e = btf.get(step.ty).and_then(|ty| ty.enumeration()).ok_or(ReloError::TooDeep)?;
    let value = e.values().nth(step.index).ok_or(ReloError::TooDeep)?;
    // An enumerator of 32 bits is a signed number whatever its type says.
    let is_wide = e.size == 8 || btf.kind_code(step.ty) == Some(crate::KindCode::Enum64);
    let low = u32::try_from(value.bits & 0xffff_ffff).unwrap_or_default();
    let signed = i64::from(low.cast_signed()).cast_unsigned();
    Ok(if is_wide { value.bits } else { signed })
}

#[cfg(test)]
mod tests;
