//! What a refusal tells programs: the name of its reason, and the reason's fields.
//!
//! People read the text, which is the kernel's; programs should not have to. One macro,
//! [`told!`], lists the variants of an error type with their fields; the compiler holds the list
//! to be complete.

use bpf_abi::errno::Errno;
use bpf_abi::prog::ProgType;
use bpf_isa::{DecodeErrorKind, Pc, Reg};

use crate::memory::MemoryError;
use crate::scalar::Tnum;

/// What a field of a reason holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A number.
    Number(i64),
    /// The place of an instruction.
    Insn(Pc),
    /// A word or a text.
    Text(String),
}

/// A value that a reason may hold.
pub(crate) trait Tell {
    /// The value, told.
    fn tell(&self) -> Told;
}

/// Implements [`Tell`] for numbers that fit; those that do not become text.
macro_rules! numbers {
    ($($Type:ty)+) => { $(
        impl Tell for $Type {
            fn tell(&self) -> Told {
                i64::try_from(*self).map_or_else(|_| Told::Text(self.to_string()), Told::Number)
            }
        }
    )+ };
}

/// Implements [`Tell`] for what is told as it is printed.
macro_rules! texts {
    ($($Type:ty)+) => { $(
        impl Tell for $Type {
            fn tell(&self) -> Told {
                Told::Text(self.to_string())
            }
        }
    )+ };
}

numbers! { u8 u16 u32 u64 usize i32 i64 }
texts! { String &'static str Reg Tnum Errno ProgType DecodeErrorKind Box<MemoryError> }

impl Tell for Pc {
    fn tell(&self) -> Told {
        Told::Insn(*self)
    }
}

/// The two functions of [`Refusal`](crate::error::Refusal) that tell of it, from the list of the
/// error type's variants and their fields.
macro_rules! told {
    ($( $Variant:ident $(($only:ident))? $({ $($field:ident),* })? ),+ $(,)?) => {
        fn name(&self) -> &'static str {
            match self {
                $( Self::$Variant { .. } => stringify!($Variant), )+
            }
        }

        fn fields(&self) -> Vec<(&'static str, $crate::told::Told)> {
            match self {
                $( Self::$Variant $(($only))? $({ $($field),* })? => vec![
                    $( (stringify!($only), $crate::told::Tell::tell($only)) )?
                    $( $( (stringify!($field), $crate::told::Tell::tell($field)) ),* )?
                ], )+
            }
        }
    };
}

pub(crate) use told;

#[cfg(feature = "serde")]
mod serialized {
    //! Refusals, for whatever format.

    use serde::ser::SerializeMap as _;
    use serde::{Serialize, Serializer};

    use super::Told;
    use crate::error::{Place, Rejection};

    impl Serialize for Told {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Number(number) => to.serialize_i64(*number),
                Self::Insn(pc) => to.serialize_u32(pc.0),
                Self::Text(text) => to.serialize_str(text),
            }
        }
    }

    impl Serialize for Place {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut map = to.serialize_map(Some(3))?;
            map.serialize_entry("file", &self.file)?;
            map.serialize_entry("line", &self.line)?;
            map.serialize_entry("text", &self.text)?;
            map.end()
        }
    }

    /// The fields of a reason, as a map.
    struct Fields(Vec<(&'static str, Told)>);

    impl Serialize for Fields {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_map(self.0.iter().map(|(name, told)| (name, told)))
        }
    }

    impl Serialize for Rejection {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let mut map = to.serialize_map(None)?;
            if let Some(at) = self.at {
                map.serialize_entry("insn", &at.0)?;
            }
            if !self.function.is_empty() {
                map.serialize_entry("function", &self.function)?;
            }
            if let Some(place) = &self.line {
                map.serialize_entry("place", place)?;
            }
            map.serialize_entry("errno", &self.errno().to_string())?;
            map.serialize_entry("room", self.reason.room())?;
            map.serialize_entry("reason", self.reason.name())?;
            map.serialize_entry("fields", &Fields(self.reason.fields()))?;
            map.serialize_entry("message", &self.to_string())?;
            map.end()
        }
    }
}
