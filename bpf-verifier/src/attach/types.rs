//! Is an extension's function of the same type as the one it replaces?
//!
//! The kernel compares kinds, sizes, and names of structures. That leaves holes: a structure of
//! the same name may be larger, and tags may demand more of an argument than the callers of the
//! replaced function grant. Unless the kernel's exact behaviour is asked for, those are refused:
//! what a function says of each argument, both sides read by the same rules, is compared too.

use bpf_btf::{Btf, Func, FuncLinkage, FuncProto, Kind, KindCode, Type, TypeId};

use super::AttachError;
use super::target::Attaching;
use crate::call::prototype::{Argument, Function, kind_text};
use crate::facts::{FunctionFacts, ProgramFacts};

/// Two functions, and where their types are.
struct Pair<'a> {
    own: &'a Btf,
    own_name: &'a str,
    target: &'a Btf,
    target_name: &'a str,
}

/// Checks an extension's main function against the function that it is to replace.
///
/// Linux: `btf_check_type_match`, `btf_check_func_type_match`.
pub(super) fn check_match(
    program: &Attaching<'_>,
    target: &ProgramFacts,
    function: &FunctionFacts,
    strict_holes: bool,
) -> Result<(), AttachError> {
    let (Some(own), Some(main)) = (program.btf, program.main) else {
        return Err(AttachError::NoOwnBtf);
    };
    let target_btf = target.btf.as_ref().ok_or(AttachError::NoTargetBtf)?;
    let pair = Pair {
        own,
        own_name: own.name_of(main),
        target: target_btf,
        target_name: target_btf.name_of(function.btf_id),
    };
    let own_proto = global(own, main, pair.own_name)?;
    let target_proto = global(target_btf, function.btf_id, pair.target_name)?;
    pair.check_protos(&own_proto, &target_proto)?;
    if strict_holes {
        let kind = target.kind();
        let demands = Function { btf: own, id: main, kind, global: true };
        let grants = Function { btf: target_btf, id: function.btf_id, kind, global: true };
        let params = own_proto.params().zip(target_proto.params());
        for (arg, (demanded, granted)) in (0_u32..).zip(params) {
            // A function that may not have such arguments is refused when it is walked.
            let (Ok(demanded), Ok(granted)) =
                (demands.argument(arg, demanded.ty), grants.argument(arg, granted.ty))
            else {
                continue;
            };
            pair.check_promise(arg as usize, demanded, granted)?;
        }
    }
    Ok(())
}

/// The prototype of a function, which must be global.
fn global<'b>(btf: &'b Btf, id: TypeId, name: &str) -> Result<FuncProto<'b>, AttachError> {
    let not_global = || AttachError::NotGlobal { name: name.to_owned() };
    match btf.get(id).map(|ty| ty.kind) {
        Some(Kind::Func(Func { proto, linkage: FuncLinkage::Global })) => {
            btf.func_proto(proto).ok_or_else(not_global)
        }
        _ => Err(not_global()),
    }
}

/// What is compared of two types: their kinds, how many parts they have, and the flag with them.
///
/// Linux: the word `info` of a type.
fn shape(ty: Option<&Type<'_>>) -> (Option<KindCode>, usize, bool) {
    match ty.map(|ty| ty.kind) {
        Some(Kind::Enum(values) | Kind::Enum64(values)) => {
            (ty.map(Type::code), values.len(), values.signed)
        }
        Some(Kind::Struct(composite) | Kind::Union(composite)) => {
            (ty.map(Type::code), composite.len(), false)
        }
        _ => (ty.map(Type::code), 0, false),
    }
}

impl Pair<'_> {
    fn check_protos(&self, own: &FuncProto<'_>, target: &FuncProto<'_>) -> Result<(), AttachError> {
        let names = || (self.own_name.to_owned(), self.target_name.to_owned());
        if own.len() != target.len() {
            let (count, wanted) = (own.len(), target.len());
            let (own, target) = names();
            return Err(AttachError::ArgCount { own, count, target, wanted });
        }
        let (given, wanted) = (self.own.resolve(own.ret), self.target.resolve(target.ret));
        if shape(given.as_ref()) != shape(wanted.as_ref()) {
            let kind = kind_text(given.map(|ty| ty.code()));
            let wanted = kind_text(wanted.map(|ty| ty.code()));
            let (own, target) = names();
            return Err(AttachError::ReturnKind { own, kind, target, wanted });
        }
        for (arg, (own, target)) in own.params().zip(target.params()).enumerate() {
            self.check_argument(arg, own.ty, target.ty)?;
        }
        Ok(())
    }

    /// Checks one argument's types, as the kernel does.
    fn check_argument(&self, arg: usize, own: TypeId, target: TypeId) -> Result<(), AttachError> {
        let names = || (self.own_name.to_owned(), self.target_name.to_owned());
        let (given, wanted) = (self.own.resolve(own), self.target.resolve(target));
        if shape(given.as_ref()) != shape(wanted.as_ref()) {
            let kind = kind_text(given.map(|ty| ty.code()));
            let wanted = kind_text(wanted.map(|ty| ty.code()));
            let (own, target) = names();
            return Err(AttachError::ArgKind { arg, own, kind, target, wanted });
        }
        let unknown = || AttachError::ArgUnknown { arg, own: self.own_name.to_owned() };
        let (Some(given), Some(wanted)) = (given, wanted) else { return Err(unknown()) };
        if let Some(pointee) = given.pointee() {
            let wanted = wanted.pointee().unwrap_or_default();
            return self.check_pointer(arg, pointee, wanted);
        }
        let sizes = (self.own.size_of(given.id), self.target.size_of(wanted.id));
        if let (Some(size), Some(wanted)) = sizes
            && size != wanted
            && has_size(given.code())
        {
            let (own, target) = names();
            return Err(AttachError::ArgSize { arg, own, size, target, wanted });
        }
        if is_number(given.code()) { Ok(()) } else { Err(unknown()) }
    }

    /// Checks what two pointers point to: structures of one name.
    fn check_pointer(&self, arg: usize, own: TypeId, target: TypeId) -> Result<(), AttachError> {
        let not_struct = |name: &str| AttachError::ArgNotStruct { arg, name: name.to_owned() };
        let composite = |btf: &Btf, id| {
            let ty = btf.resolve(id).filter(|ty: &Type<'_>| ty.is_composite());
            ty.map(|ty| ty.name().to_owned())
        };
        let given = composite(self.own, own).ok_or_else(|| not_struct(self.own_name))?;
        let wanted = composite(self.target, target).ok_or_else(|| not_struct(self.target_name))?;
        if given != wanted {
            let (own, target) = (self.own_name.to_owned(), self.target_name.to_owned());
            return Err(AttachError::ArgStruct { arg, own, given, target, wanted });
        }
        Ok(())
    }

    /// Checks that an argument's promises, which callers of the replaced function keep, are all
    /// that the extension relies on.
    fn check_promise(
        &self,
        arg: usize,
        demanded: Argument,
        granted: Argument,
    ) -> Result<(), AttachError> {
        let (own, target) = (self.own_name.to_owned(), self.target_name.to_owned());
        let null = |demanded: bool, granted: bool| !demanded && granted;
        match (demanded, granted) {
            (
                Argument::Memory { ty, size, nullable },
                Argument::Memory { ty: granted, size: wanted, nullable: maybe },
            ) => {
                let name = self.own.name_of(ty).to_owned();
                if null(nullable, maybe) {
                    Err(AttachError::ArgNull { arg, own, target })
                } else if size > wanted {
                    Err(AttachError::ArgLarger { arg, own, name, size, target, wanted })
                } else if !Layouts::new(self.own, self.target).are_equal(ty, granted) {
                    Err(AttachError::ArgLayout { arg, own, name, target })
                } else {
                    Ok(())
                }
            }
            (
                Argument::Trusted { nullable, .. },
                Argument::Trusted { nullable: maybe, .. },
            ) if null(nullable, maybe) => Err(AttachError::ArgNull { arg, own, target }),
            (Argument::Number, Argument::Number)
            | (Argument::Context, Argument::Context)
            | (Argument::Trusted { .. }, Argument::Trusted { .. })
            | (Argument::Dynptr, Argument::Dynptr)
            // These demand nothing: any number will do.
            | (
                Argument::UntrustedObject { .. } | Argument::UntrustedMemory | Argument::Arena,
                _,
            ) => Ok(()),
            (
                Argument::Number
                | Argument::Context
                | Argument::Memory { .. }
                | Argument::Trusted { .. }
                | Argument::Dynptr,
                _,
            ) => {
                let (given, wanted) = (words(demanded), words(granted));
                Err(AttachError::ArgDemand { arg, own, given, target, wanted })
            }
        }
    }
}

/// Whether a type of this kind is a number.
const fn is_number(code: KindCode) -> bool {
    matches!(code, KindCode::Int | KindCode::Enum | KindCode::Enum64)
}

/// Whether a record of this kind says a size. Linux: `btf_type_has_size`.
const fn has_size(code: KindCode) -> bool {
    matches!(
        code,
        KindCode::Int
            | KindCode::Struct
            | KindCode::Union
            | KindCode::Enum
            | KindCode::Enum64
            | KindCode::Datasec
            | KindCode::Float
    )
}

/// What an argument is, for people.
const fn words(argument: Argument) -> &'static str {
    match argument {
        Argument::Number => "a number",
        Argument::Context => "the context",
        Argument::Memory { .. } => "memory",
        Argument::Trusted { .. } => "a trusted object",
        Argument::UntrustedObject { .. } => "an untrusted object",
        Argument::UntrustedMemory => "untrusted memory",
        Argument::Dynptr => "a dynptr",
        Argument::Arena => "an address in the arena",
    }
}

/// Types of two programs, compared for what lies where.
struct Layouts<'a> {
    own: &'a Btf,
    target: &'a Btf,
    /// How many more members are looked at; beyond that, sizes must do.
    left: u32,
}

impl<'a> Layouts<'a> {
    const fn new(own: &'a Btf, target: &'a Btf) -> Self {
        Self { own, target, left: 10_000 }
    }

    /// Whether both types have members of the same kinds at the same places. Names do not count,
    /// nor what pointers point to.
    fn are_equal(&mut self, own: TypeId, target: TypeId) -> bool {
        let (Some(a), Some(b)) = (self.own.resolve(own), self.target.resolve(target)) else {
            return self.own.resolve(own).is_none() && self.target.resolve(target).is_none();
        };
        if self.own.size_of(a.id) != self.target.size_of(b.id) {
            return false;
        }
        if self.left == 0 {
            return true;
        }
        self.left -= 1;
        match (a.kind, b.kind) {
            (Kind::Struct(x), Kind::Struct(y)) | (Kind::Union(x), Kind::Union(y)) => {
                x.len() == y.len()
                    && x.members().zip(y.members()).all(|(x, y)| {
                        (x.bit_offset, x.bitfield) == (y.bit_offset, y.bitfield)
                            && self.are_equal(x.ty, y.ty)
                    })
            }
            (Kind::Array(x), Kind::Array(y)) => {
                x.len == y.len && self.are_equal(x.element, y.element)
            }
            _ => a.code() == b.code() || is_number(a.code()) && is_number(b.code()),
        }
    }
}
