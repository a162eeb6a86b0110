//! Size and alignment of a type, and what lies at an offset within it.

use crate::Btf;
use crate::btf::MAX_CHAIN;
use crate::types::{Kind, Type, TypeId};

/// The size of a pointer, in bytes: BPF is a 64-bit machine.
pub const POINTER_SIZE: u32 = 8;

/// How many types one question looks at before giving up, so that hostile BTF (a structure of two structures, each of
/// two structures, and so on) cannot make it endless.
const MAX_STEPS: u32 = 1 << 18;

impl Btf {
    /// The size of a type in bytes, or `None` if it has none: `void`, functions, forward declarations.
    ///
    /// Linux: `btf_type_id_size`, `btf_resolve_size`.
    pub fn size_of(&self, id: TypeId) -> Option<u32> {
        let mut len = 1u32;
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            let ty = self.resolve(id)?;
            if let Some(array) = ty.array() {
                len = len.checked_mul(array.len)?;
                id = array.element;
            } else if let Some(var) = ty.var() {
                id = var.ty;
            } else {
                return own_size(&ty)?.checked_mul(len);
            }
        }
        None
    }

    /// The alignment of a type in bytes, as C gives it: structures have that of their strictest member, less if the
    /// BTF shows them packed.
    pub fn align_of(&self, id: TypeId) -> Option<u32> {
        self.align_within(id, MAX_CHAIN / 2, &mut MAX_STEPS.clone())
    }

    fn align_within(&self, id: TypeId, depth: usize, steps: &mut u32) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        *steps = steps.checked_sub(1)?;
        let ty = self.resolve(id)?;
        match ty.kind {
            Kind::Int(int) => Some(int.size.clamp(1, POINTER_SIZE)),
            Kind::Enum(e) | Kind::Enum64(e) => Some(e.size.clamp(1, POINTER_SIZE)),
            Kind::Float(float) => Some(float.size.clamp(1, 16)),
            Kind::Ptr(_) => Some(POINTER_SIZE),
            Kind::Array(array) => self.align_within(array.element, depth, steps),
            Kind::Struct(composite) | Kind::Union(composite) => {
                let mut align = 1;
                for member in composite.members() {
                    let own = self.align_within(member.ty, depth, steps)?;
                    let misplaced =
                        member.bitfield.is_none() && !member.bit_offset.is_multiple_of(own * 8);
                    if misplaced {
                        return Some(1);
                    }
                    align = align.max(own);
                }
                Some(if composite.size.is_multiple_of(align) { align } else { 1 })
            }
            Kind::Var(var) => self.align_within(var.ty, depth, steps),
            Kind::Void
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Datasec(_)
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => None,
        }
    }
}

/// The size that a type's own record gives it.
fn own_size(ty: &Type<'_>) -> Option<u32> {
    match ty.kind {
        Kind::Int(int) => Some(int.size),
        Kind::Ptr(_) => Some(POINTER_SIZE),
        Kind::Struct(c) | Kind::Union(c) => Some(c.size),
        Kind::Enum(e) | Kind::Enum64(e) => Some(e.size),
        Kind::Float(float) => Some(float.size),
        Kind::Datasec(section) => Some(section.size),
        Kind::Void
        | Kind::Array(_)
        | Kind::Fwd(_)
        | Kind::Typedef(_)
        | Kind::Volatile(_)
        | Kind::Const(_)
        | Kind::Restrict(_)
        | Kind::Func(_)
        | Kind::FuncProto(_)
        | Kind::Var(_)
        | Kind::DeclTag(_)
        | Kind::TypeTag(_) => None,
    }
}
