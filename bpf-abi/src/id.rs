//! Numbers by which loaded objects are known.

/// Defines a number type: name and what it is the number of.
macro_rules! ids {
    ($( $Name:ident $what:literal )+) => { $(
        #[doc = concat!("The number of ", $what, ", as `bpftool` prints it.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $Name(pub u32);

        impl ::std::fmt::Display for $Name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )+ };
}

ids! {
    MapId "a map"
    ProgId "a program"
    LinkId "a link"
    BtfId "a BTF object"
}
