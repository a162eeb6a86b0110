//! Prototypes, and how arguments travel through registers.

use thiserror::Error;

use crate::Btf;
use crate::layout::POINTER_SIZE;
use crate::types::{FuncProto, Kind, Type, TypeId};

/// The most arguments a traced function may have. Linux: `MAX_BPF_FUNC_ARGS`.
pub const MAX_ARGS: usize = 12;

/// How one argument or result travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its size in bytes.
    pub size: u8,
    /// Whether it is a signed integer.
    pub signed: bool,
    /// Whether it is a structure passed by value; more than eight bytes take two registers.
    pub is_struct: bool,
}

impl Passed {
    /// How many 64-bit registers or stack slots it takes.
    pub const fn slots(self) -> u8 {
        self.size.div_ceil(8)
    }
}

/// How the arguments and the result of a function travel.
///
/// Linux: `struct btf_func_model`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FuncModel {
    /// The result, or `None` if there is none.
    pub ret: Option<Passed>,
    /// The arguments, in order.
    pub args: Vec<Passed>,
}

impl FuncModel {
    /// How many registers or stack slots the arguments take together.
    pub fn slots(&self) -> usize {
        self.args.iter().map(|arg| usize::from(arg.slots())).sum()
    }
}

/// Why a function cannot be traced or replaced.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The type is no function and no signature.
    #[error("The type is not a function")]
    NotAFunction,

    /// It has too many arguments, or variable ones in the middle.
    #[error("The function {name} has {count} arguments. Too many.")]
    TooManyArgs {
        /// The function.
        name: Box<str>,
        /// How many there are.
        count: usize,
    },

    /// The result cannot travel in registers.
    #[error("The function {name} return type {kind} is unsupported.")]
    Return {
        /// The function.
        name: Box<str>,
        /// What the result is.
        kind: &'static str,
    },

    /// The function takes variable arguments.
    #[error("The function {name} with variable args is unsupported.")]
    Variadic {
        /// The function.
        name: Box<str>,
    },

    /// An argument cannot travel in registers.
    #[error("The function {name} arg{index} type {kind} is unsupported.")]
    Argument {
        /// The function.
        name: Box<str>,
        /// Which one, from 0.
        index: usize,
        /// What it is.
        kind: &'static str,
    },

    /// An argument has no size.
    #[error("The function {name} has malformed void argument.")]
    VoidArgument {
        /// The function.
        name: Box<str>,
    },
}

impl Btf {
    /// How the arguments of a function travel.
    ///
    /// # Errors
    ///
    /// Returns an error, in the kernel's words, if they do not: too many, variable, too large.
    ///
    /// Linux: `btf_distill_func_proto`.
    pub fn func_model(&self, name: &str, id: TypeId) -> Result<FuncModel, ModelError> {
        let proto = self.func_proto(id).ok_or(ModelError::NotAFunction)?;
        if proto.len() > MAX_ARGS {
            return Err(ModelError::TooManyArgs { name: name.into(), count: proto.len() });
        }
        let ret = self.passed(proto.ret).map_err(|ty| ModelError::Return {
            name: name.into(),
            kind: ty.map_or("UNKN", |ty| ty.code().name()),
        })?;
        let is_struct = ret.is_some_and(|ret| ret.is_struct);
        if is_struct {
            return Err(ModelError::Return { name: name.into(), kind: "STRUCT" });
        }
        let args = self.arguments(name, proto)?;
        Ok(FuncModel { ret, args })
    }

    fn arguments(&self, name: &str, proto: FuncProto<'_>) -> Result<Vec<Passed>, ModelError> {
        let mut args = Vec::with_capacity(proto.len());
        for (index, param) in proto.params().enumerate() {
            if index + 1 == proto.len() && param.ty.is_void() {
                return Err(ModelError::Variadic { name: name.into() });
            }
            let passed = self.passed(param.ty).map_err(|ty| ModelError::Argument {
                name: name.into(),
                index,
                kind: ty.map_or("UNKN", |ty| ty.code().name()),
            })?;
            let passed = passed.filter(|passed| passed.size > 0);
            args.push(passed.ok_or_else(|| ModelError::VoidArgument { name: name.into() })?);
        }
        Ok(args)
    }

    /// How a value of this type travels; `None` if it is `void`, the type itself if it does not travel.
    fn passed(&self, id: TypeId) -> Result<Option<Passed>, Option<Type<'_>>> {
        let ty = self.resolve(id).ok_or(None)?;
        let (size, signed, is_struct) = match ty.kind {
            Kind::Void => return Ok(None),
            Kind::Ptr(_) => (POINTER_SIZE, false, false),
            Kind::Int(int) => (int.size, int.signed, false),
            Kind::Enum(e) | Kind::Enum64(e) => (e.size, e.signed, false),
            Kind::Struct(c) | Kind::Union(c) => (c.size, false, true),
            Kind::Array(_)
            | Kind::Fwd(_)
            | Kind::Typedef(_)
            | Kind::Volatile(_)
            | Kind::Const(_)
            | Kind::Restrict(_)
            | Kind::Func(_)
            | Kind::FuncProto(_)
            | Kind::Var(_)
            | Kind::Datasec(_)
            | Kind::Float(_)
            | Kind::DeclTag(_)
            | Kind::TypeTag(_) => return Err(Some(ty)),
        };
        // Up to two registers' worth travels; the kernel's enums are signed only where their kind flag says so.
        match u8::try_from(size) {
            Ok(size) if size <= 16 => Ok(Some(Passed { size, signed, is_struct })),
            _ => Err(Some(ty)),
        }
    }

    /// Whether two types, qualifiers and typedefs aside, are the same to C: sizes and names agree all the way down,
    /// structures by name.
    pub fn same_shape(&self, id: TypeId, other: &Self, other_id: TypeId) -> bool {
        let mut pair = (self.resolve(id), other.resolve(other_id));
        for _ in 0..crate::btf::MAX_CHAIN {
            let (Some(a), Some(b)) = pair else { return false };
            if a.code() != b.code() {
                return false;
            }
            match (a.kind, b.kind) {
                (Kind::Ptr(a), Kind::Ptr(b)) => pair = (self.resolve(a), other.resolve(b)),
                (Kind::Array(a), Kind::Array(b)) if a.len == b.len => {
                    pair = (self.resolve(a.element), other.resolve(b.element));
                }
                (Kind::Array(_), _) => return false,
                _ => return self.size_of(a.id) == other.size_of(b.id) && a.name() == b.name(),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, FuncLinkage};

    #[test]
    fn structures_of_two_words_take_two_slots() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let long = b.int("long", 8, true);
        let pair = b.structure("pair", 16, &[("a", long, 0), ("b", long, 64)]);
        let proto = b.proto(int, &[("x", int), ("p", pair)]);
        let func = b.func("f", proto, FuncLinkage::Global);
        let model = b.finish().unwrap().func_model("f", func).unwrap();
        assert_eq!(model.slots(), 3);
        assert_eq!(model.ret, Some(Passed { size: 4, signed: true, is_struct: false }));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_the_kernels_words() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let big = b.structure("big", 24, &[]);
        let protos = [
            b.proto(int, &[("b", big)]),
            b.proto(int, &[("x", int), ("", TypeId::VOID)]),
            b.proto(big, &[]),
        ];
        let btf = b.finish().unwrap();
        let texts = protos.map(|id| btf.func_model("f", id).unwrap_err().to_string());
        assert_eq!(texts[0], "The function f arg0 type STRUCT is unsupported.");
        assert_eq!(texts[1], "The function f with variable args is unsupported.");
        assert_eq!(texts[2], "The function f return type STRUCT is unsupported.");
    }
}
