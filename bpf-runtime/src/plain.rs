//! Keys and values as Rust types, laid out as C lays them out.

/// A type whose values are plain bytes, in the layout C gives it: integers, arrays of plain
/// types, and structures declared with [`plain!`](crate::plain).
pub trait Plain: Sized {
    /// Its size in bytes, padding included.
    const SIZE: usize;
    /// Its alignment in bytes.
    const ALIGN: usize;
    /// Its fields, if it is a structure.
    const FIELDS: &'static [PlainField] = &[];

    /// Writes the value to the first [`SIZE`](Self::SIZE) bytes of `out`. Padding is left alone.
    fn store(&self, out: &mut [u8]);

    /// Reads a value from the first [`SIZE`](Self::SIZE) bytes of `bytes`; bytes that are
    /// missing count as zero.
    fn load(bytes: &[u8]) -> Self;

    /// The value as bytes, padding zero.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![0; Self::SIZE];
        self.store(&mut out);
        out
    }
}

/// A field of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainField {
    /// Its name.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its size, in bytes.
    pub size: usize,
}

/// Implements [`Plain`] for integers.
macro_rules! integers {
    ($($Int:ty)+) => { $(
        impl Plain for $Int {
            const SIZE: usize = size_of::<Self>();
            const ALIGN: usize = align_of::<Self>();

            fn store(&self, out: &mut [u8]) {
                if let Some(out) = out.get_mut(..Self::SIZE) {
                    out.copy_from_slice(&self.to_le_bytes());
                }
            }

            fn load(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<Self>()];
                for (to, from) in raw.iter_mut().zip(bytes) {
                    *to = *from;
                }
                Self::from_le_bytes(raw)
            }
        }
    )+ };
}

integers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

impl Plain for bool {
    const SIZE: usize = 1;
    const ALIGN: usize = 1;

    fn store(&self, out: &mut [u8]) {
        u8::from(*self).store(out);
    }

    fn load(bytes: &[u8]) -> Self {
        u8::load(bytes) != 0
    }
}

impl<T: Plain, const N: usize> Plain for [T; N] {
    const SIZE: usize = T::SIZE * N;
    const ALIGN: usize = T::ALIGN;

    fn store(&self, out: &mut [u8]) {
        for (item, place) in self.iter().zip(out.chunks_mut(T::SIZE.max(1))) {
            item.store(place);
        }
    }

    fn load(bytes: &[u8]) -> Self {
        std::array::from_fn(|i| T::load(bytes.get(i * T::SIZE..).unwrap_or_default()))
    }
}

/// Rounds up to a multiple. For [`plain!`](crate::plain).
#[doc(hidden)]
pub const fn align_up(offset: usize, align: usize) -> usize {
    offset.next_multiple_of(align)
}

/// Declares structures whose layout is C's, so that they can be keys and values of maps.
///
/// ```
/// bpf_runtime::plain! {
///     /// What a program counts for each interface.
///     #[derive(Debug, PartialEq)]
///     pub struct Stats {
///         /// Packets seen.
///         pub packets: u32,
///         /// Bytes seen.
///         pub bytes: u64,
///     }
/// }
/// use bpf_runtime::Plain;
///
/// assert_eq!(Stats::SIZE, 16);
/// assert_eq!(Stats { packets: 1, bytes: 2 }.to_bytes()[8], 2);
/// ```
#[macro_export]
macro_rules! plain {
    ($(
        $(#[$meta:meta])*
        $vis:vis struct $Name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $Type:ty ),+ $(,)?
        }
    )+) => { $(
        $(#[$meta])*
        $vis struct $Name {
            $( $(#[$field_meta])* $field_vis $field: $Type, )+
        }

        impl $crate::Plain for $Name {
            const ALIGN: usize = {
                let mut align = 1;
                $( if <$Type as $crate::Plain>::ALIGN > align { align = <$Type as $crate::Plain>::ALIGN; } )+
                align
            };
            const SIZE: usize = {
                let mut offset = 0;
                $(
                    offset = $crate::align_up(offset, <$Type as $crate::Plain>::ALIGN);
                    offset += <$Type as $crate::Plain>::SIZE;
                )+
                $crate::align_up(offset, Self::ALIGN)
            };
            const FIELDS: &'static [$crate::PlainField] = &{
                let mut offset = 0;
                [ $( {
                    offset = $crate::align_up(offset, <$Type as $crate::Plain>::ALIGN);
                    let size = <$Type as $crate::Plain>::SIZE;
                    offset += size;
                    $crate::PlainField { name: stringify!($field), offset: offset - size, size }
                } ),+ ]
            };

            fn store(&self, out: &mut [u8]) {
                let mut offset = 0;
                $(
                    offset = $crate::align_up(offset, <$Type as $crate::Plain>::ALIGN);
                    if let Some(out) = out.get_mut(offset..) {
                        <$Type as $crate::Plain>::store(&self.$field, out);
                    }
                    offset += <$Type as $crate::Plain>::SIZE;
                )+
                let _ = offset;
            }

            fn load(bytes: &[u8]) -> Self {
                let mut offset = 0;
                $(
                    offset = $crate::align_up(offset, <$Type as $crate::Plain>::ALIGN);
                    let $field = <$Type as $crate::Plain>::load(bytes.get(offset..).unwrap_or_default());
                    offset += <$Type as $crate::Plain>::SIZE;
                )+
                let _ = offset;
                Self { $( $field ),+ }
            }
        }
    )+ };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::plain! {
        /// With holes.
        #[derive(Clone, Debug, PartialEq)]
        struct Holes {
            a: u8,
            b: u32,
            c: [u16; 3],
            d: u64,
            e: u8,
        }
    }

    #[test]
    fn the_layout_is_that_of_c() {
        #[repr(C)]
        struct Same {
            a: u8,
            b: u32,
            c: [u16; 3],
            d: u64,
            e: u8,
        }
        assert_eq!(Holes::SIZE, size_of::<Same>());
        assert_eq!(Holes::ALIGN, align_of::<Same>());
        let bytes = Holes { a: 1, b: 2, c: [3, 4, 5], d: 6, e: 7 }.to_bytes();
        assert_eq!(bytes[std::mem::offset_of!(Same, a)], 1);
        assert_eq!(bytes[std::mem::offset_of!(Same, b)], 2);
        assert_eq!(bytes[std::mem::offset_of!(Same, c) + 4], 5);
        assert_eq!(bytes[std::mem::offset_of!(Same, d)], 6);
        assert_eq!(bytes[std::mem::offset_of!(Same, e)], 7);
        let offsets: Vec<_> =
            Holes::FIELDS.iter().map(|field| (field.name, field.offset, field.size)).collect();
        assert_eq!(offsets, [("a", 0, 1), ("b", 4, 4), ("c", 8, 6), ("d", 16, 8), ("e", 24, 1)]);
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let value = Holes { a: 1, b: 0xdead_beef, c: [3, 4, 5], d: u64::MAX, e: 7 };
        assert_eq!(Holes::load(&value.to_bytes()), value);
        assert_eq!(Holes::load(&[]).d, 0);
    }
}
