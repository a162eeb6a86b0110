//! One macro: enums whose values have a number and a name in the `bpf(2)` interface.

/// Defines a numbered enum of the `bpf(2)` interface from its table.
///
/// The columns are: the number, the name, the name that bpftool and libbpf print.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $Name:ident { $( $number:literal $Variant:ident $text:literal )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum $Name {
            $( #[doc = concat!("`", $text, "`.")] $Variant = $number, )+
        }

        impl $Name {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$( Self::$Variant ),+];

            /// The value with this number.
            pub const fn new(number: u32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$Variant), )+
                    _ => None,
                }
            }

            /// Its number in the `bpf(2)` interface.
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// Its name, as bpftool and libbpf print it.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$Variant => $text, )+
                }
            }

            /// The value with this name.
            pub fn by_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl ::std::fmt::Display for $Name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use numbered;
