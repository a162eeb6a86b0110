//! Types of BPF programs and of the kernel, as data.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod raw;
mod types;
mod parse;
mod btf;
mod layout;
pub mod record;
pub mod func;
pub mod check;
mod edit;
pub mod ext;
mod encode;
pub mod dump;
pub mod relo;

pub use btf::Btf;
pub use encode::Builder;
pub use layout::{Found, POINTER_SIZE, Target, WalkError};
pub use parse::ParseError;
pub use raw::KindCode;
pub use types::{
    Array, Composite, Datasec, DeclTag, Enum, Enumerator, Float, Func, FuncLinkage, FuncProto, Fwd,
    Int, Kind, Member, NameOff, Param, SectionVar, Type, TypeId, TypeTag, Var, VarLinkage,
};
