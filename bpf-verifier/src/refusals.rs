//! A table of refusals: one row a message, with the error number it comes with.

/// Defines a room's error type from its table.
///
/// The columns are: the error number, or where it depends `NUMBER[field]` with the field that
/// holds it; the variant and its fields; the kernel's text. Fields are
/// named in the text, by name; further arguments may follow it, and last `=> open` if the kernel
/// does not end the line.
macro_rules! refusals {
    (
        $(#[$meta:meta])*
        pub enum $Name:ident {
            $(
                $errno:ident $([$from:ident])? $Variant:ident $({ $($field:ident: $Ty:ty),* $(,)? })?
                $text:literal $(, $arg:expr)* $(=> $open:ident)?;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $Name {
            $(
                #[doc = concat!("Says: ", stringify!($text))]
                #[error($text $(, $arg)*)]
                $Variant $({
                    $( #[doc = concat!("The `", stringify!($field), "` of the text.")] $field: $Ty ),*
                })?,
            )+
        }

        impl $crate::error::Refusal for $Name {
            fn errno(&self) -> bpf_abi::errno::Errno {
                match self {
                    $( Self::$Variant { $($from,)? .. } => $crate::refusals::errno!($errno $($from)?), )+
                }
            }

            fn ends_line(&self) -> bool {
                match self {
                    $( Self::$Variant { .. } => $crate::refusals::ends_line!($($open)?), )+
                }
            }

            $crate::told::told! { $( $Variant $({ $($field),* })? ),+ }
        }
    };
}

/// The error number of a row.
macro_rules! errno {
    ($errno:ident) => {
        bpf_abi::errno::Errno::$errno
    };
    ($errno:ident $from:ident) => {
        *$from
    };
}

/// Whether the line is ended: `open` if not.
macro_rules! ends_line {
    () => {
        true
    };
    (open) => {
        false
    };
}

pub(crate) use {ends_line, errno, refusals};
