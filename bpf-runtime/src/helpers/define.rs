//! How a helper is defined: contract, code and manual in one place.

use bpf_abi::exec::HelperFn;
use bpf_abi::helper::{ArgProto, RetProto};
use bpf_abi::prog::ProgType;

use crate::packet::ContextKind;

/// A helper, as this runtime provides it.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// The number programs call it by.
    pub id: u32,
    /// Its name, without `bpf_`.
    pub name: &'static str,
    /// Its manual.
    pub doc: &'static str,
    /// What its arguments must be, read off its code's types.
    pub args: &'static [ArgProto],
    /// What its result is, read off its code's types.
    pub ret: RetProto,
    pub(crate) scope: Scope,
    pub(crate) entry: HelperFn,
}

impl Helper {
    /// Whether it works for programs of this type.
    pub const fn works_for(&self, prog_type: ProgType) -> bool {
        if matches!(self.scope, Scope::Probe) {
            return matches!(prog_type, ProgType::Tracing);
        }
        matches!(
            (self.scope, ContextKind::of(prog_type)),
            (Scope::Any, _)
                | (Scope::Packet | Scope::Xdp, ContextKind::Xdp)
                | (Scope::Packet | Scope::Skb, ContextKind::SkbFromL2 | ContextKind::SkbFromL3)
        )
    }
}

/// Which programs a helper's code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All.
    Any,
    /// Those with a packet.
    Packet,
    /// Those with an `xdp_md`.
    Xdp,
    /// Those with a `__sk_buff`.
    Skb,
    /// Those on functions of other programs.
    Probe,
}

/// A name without the mark of names that are Rust's keywords.
pub(crate) const fn bare(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Defines a helper: its manual, number and scope, and its code.
///
/// The types of the parameters are its contract, see [`Arg`](super::args::Arg).
macro_rules! helper {
    (
        $( #[doc = $doc:literal] )+
        $id:literal $scope:ident => fn $name:ident($cx:pat $(, $arg:ident: $Arg:ty)* $(,)?) -> $Ret:ty $body:block
    ) => {
        $( #[doc = $doc] )+
        #[expect(non_upper_case_globals, reason = "named as programs call it")]
        pub(crate) static $name: $crate::helpers::Helper = {
            struct Code;

            impl $crate::helpers::args::Body for Code {
                type Args<'a> = ($($Arg,)*);
                type Ret = $Ret;

                fn call<'a>($cx: $crate::helpers::args::Cx<'a>, ($($arg,)*): Self::Args<'a>) -> $Ret $body
            }

            $crate::helpers::Helper {
                id: $id,
                name: $crate::helpers::define::bare(stringify!($name)),
                doc: concat!($( $doc, "\n" ),+),
                args: <<Code as $crate::helpers::args::Body>::Args<'static> as $crate::helpers::args::Args<'static>>::PROTOS,
                ret: <<Code as $crate::helpers::args::Body>::Ret as $crate::helpers::args::Ret>::PROTO,
                scope: $crate::helpers::define::Scope::$scope,
                entry: $crate::helpers::args::entry::<Code>(),
            }
        };
    };
}
pub(crate) use helper;
