//! What programs get for arguments that stand for, or beside, a function of the kernel.

use std::sync::Arc;

use bpf_abi::attach::iter::IterTarget;
use bpf_abi::attach::struct_ops::Ops;
use bpf_btf::{Btf, FuncProto, KindCode, Param, TypeId};

use crate::facts::ProgKind;
use crate::state::Id;

/// The function whose arguments are the program's context.
///
/// Linux: `attach_func_proto`, `attach_func_name`, `attach_btf`.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The types it is described in.
    pub btf: Arc<Btf>,
    /// Its name, as messages have it.
    pub name: String,
    /// Its type; `None` if that does not describe it, so that there are five registers and no
    /// more to be known.
    pub proto: Option<TypeId>,
    /// What it is.
    pub of: SignatureOf,
}

/// What a program stands for or beside.
#[derive(Clone, Debug)]
pub enum SignatureOf {
    /// A tracepoint. Its first argument is its own and not the program's.
    Tracepoint,
    /// An iterator, whose program is called for each object.
    Iterator(&'static IterTarget),
    /// A security hook, by its name without prefix.
    Hook(String),
    /// A function.
    Function,
    /// A function of a program of this kind; an extension counts as one of its target's.
    Program(ProgKind),
    /// A member of a structure of functions.
    Member(Member),
}

/// A member of a structure of functions.
#[derive(Clone, Debug)]
pub struct Member {
    /// The structure.
    pub structure: String,
    /// What is known of it besides its type.
    pub ops: &'static Ops,
    /// The arguments about which its stub says more than its type.
    pub args: Vec<MemberArg>,
}

/// An argument of a member about which its stub says more than its type: it may be null, or is
/// the program's to give back.
#[derive(Clone, Copy, Debug)]
pub struct MemberArg {
    /// Where it lies in the context, in bytes.
    pub off: u32,
    /// The structure it points to.
    pub ty: TypeId,
    /// Whether it may be null.
    pub maybe_null: bool,
    /// Whether the program owns it.
    pub owned: bool,
    /// The reference to it, once the program is entered.
    pub ref_id: Option<Id>,
}

/// Where an offset of the context lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// In this argument.
    Argument(usize),
    /// Behind all arguments, where the result is.
    Result(usize),
    /// Farther; as if it were this argument.
    Beyond(usize),
}

impl Signature {
    /// The type, if it is known.
    pub fn func_proto(&self) -> Option<FuncProto<'_>> {
        self.btf.func_proto(self.proto?)
    }

    /// Whether the function returns nothing.
    pub fn returns_nothing(&self) -> bool {
        self.func_proto().is_some_and(|proto| proto.ret.is_void())
    }

    /// An argument of the program.
    pub fn param(&self, place: usize) -> Option<Param> {
        self.func_proto()?.param(place + self.skipped())
    }

    /// How many of the function's arguments come before the program's.
    const fn skipped(&self) -> usize {
        match self.of {
            SignatureOf::Tracepoint => 1,
            SignatureOf::Iterator(_)
            | SignatureOf::Hook(_)
            | SignatureOf::Function
            | SignatureOf::Program(_)
            | SignatureOf::Member(_) => 0,
        }
    }

    /// Which argument lies at an offset of the context.
    ///
    /// Arguments take whole words. That a tracepoint's first is not the program's is not looked
    /// at where sizes are added up, as the kernel does it.
    ///
    /// Linux: `get_ctx_arg_idx`.
    pub fn slot_at(&self, off: i64) -> Slot {
        const REGISTERS: usize = 5;
        let count = match self.func_proto() {
            Some(proto) => proto.len(),
            None => REGISTERS,
        };
        let last = count - self.skipped().min(count);
        let place = self.place_of(off, count);
        match place.cmp(&last) {
            std::cmp::Ordering::Less => Slot::Argument(place),
            std::cmp::Ordering::Equal => Slot::Result(place),
            std::cmp::Ordering::Greater => Slot::Beyond(place),
        }
    }

    fn place_of(&self, off: i64, count: usize) -> usize {
        let Ok(off) = u64::try_from(off) else { return count + 1 };
        let Some(proto) = self.func_proto() else {
            return usize::try_from(off / 8).unwrap_or(usize::MAX);
        };
        let mut end = 0;
        for (place, param) in proto.params().enumerate() {
            end += self.words(param.ty) * 8;
            if off < end {
                return place;
            }
        }
        end += self.words(proto.ret) * 8;
        if off < end { count } else { count + 1 }
    }

    /// How many words a value takes.
    fn words(&self, id: TypeId) -> u64 {
        match self.btf.resolve(id).map(|ty| ty.code()) {
            Some(KindCode::Ptr) => 1,
            _ if id.is_void() => 0,
            _ => u64::from(self.btf.size_of(id).unwrap_or(0)).div_ceil(8),
        }
    }

    /// Where an argument lies in the context, in bytes.
    ///
    /// Linux: `btf_ctx_arg_offset`.
    fn offset_of(&self, place: usize) -> u32 {
        let params = self.func_proto().into_iter().flat_map(|proto| proto.params());
        let words: u64 = params.take(place).map(|param| self.words(param.ty)).sum();
        u32::try_from(words * 8).unwrap_or(u32::MAX)
    }

    /// The reference to the argument at an offset of the context, if the program was called with
    /// one.
    pub fn owned_at(&self, off: i64) -> Option<Id> {
        let SignatureOf::Member(member) = &self.of else { return None };
        member.args.iter().find(|arg| i64::from(arg.off) == off)?.ref_id
    }

    /// What helpers' tables know the target by: an iterator's kind, `STRUCT.MEMBER`, a hook.
    pub fn target(&self) -> String {
        match &self.of {
            SignatureOf::Iterator(iter) => iter.name.to_owned(),
            SignatureOf::Hook(hook) => hook.clone(),
            SignatureOf::Member(member) => format!("{}.{}", member.structure, self.name),
            SignatureOf::Tracepoint | SignatureOf::Function | SignatureOf::Program(_) => {
                self.name.clone()
            }
        }
    }

    /// The arguments about which a member's stub says more than its type.
    ///
    /// Linux: `prepare_arg_info`.
    pub fn stub_args(&self, structure: &str) -> Vec<MemberArg> {
        let name = format!("{structure}__{}", self.name);
        let stub = self.btf.by_name_kind(&name, KindCode::Func);
        let Some(stub) = stub.and_then(|id| self.btf.func_proto(id)) else { return Vec::new() };
        let told = stub.params().enumerate().filter_map(|(place, param)| {
            let name = self.btf.name(param.name_off);
            let maybe_null = name.ends_with("__nullable");
            let owned = name.ends_with("__ref");
            let ty = self.btf.pointee(param.ty).filter(|_| maybe_null || owned)?.id;
            let off = self.offset_of(place);
            Some(MemberArg { off, ty, maybe_null, owned, ref_id: None })
        });
        told.collect()
    }
}
