//! Which parts of a field may be touched.

/// The offsets from a field's beginning at which it may be touched, for accesses of 1, 2, 4
/// and 8 bytes. Wide accesses may reach into the fields behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(pub [&'static [u32]; 4]);

impl Pattern {
    /// Whether `size` bytes at `at` from the field's beginning may be touched.
    pub fn allows(&self, at: u32, size: u32) -> bool {
        let [bytes, halves, words, doubles] = self.0;
        let offsets = match size {
            1 => bytes,
            2 => halves,
            4 => words,
            8 => doubles,
            _ => return false,
        };
        offsets.contains(&at)
    }
}

/// Nothing.
pub(super) const NONE: Pattern = Pattern([&[], &[], &[], &[]]);
/// Any part of four bytes, aligned.
pub(super) const NARROW4: Pattern = Pattern([&[0, 1, 2, 3], &[0, 2], &[0], &[]]);
/// The twenty bytes that programs may use as they like.
pub(super) const CB: Pattern = Pattern([
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
    &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18],
    &[0, 4, 8, 12, 16],
    &[0, 8],
]);
/// Eight bytes, whole.
pub(super) const WHOLE8: Pattern = Pattern([&[], &[], &[], &[0]]);
/// Any part of eight bytes, aligned.
pub(super) const NARROW8: Pattern =
    Pattern([&[0, 1, 2, 3, 4, 5, 6, 7], &[0, 2, 4, 6], &[0, 4], &[0]]);
/// Four bytes, whole.
pub(super) const WHOLE4: Pattern = Pattern([&[], &[], &[0], &[]]);
/// One byte.
pub(super) const BYTE: Pattern = Pattern([&[0], &[], &[], &[]]);
/// One register after the other, whole.
pub(super) const REGISTERS: Pattern = Pattern([
    &[],
    &[],
    &[],
    &[0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152, 160],
]);
/// Any word of sixteen bytes.
pub(super) const WORDS16: Pattern = Pattern([&[], &[], &[0, 4, 8, 12], &[]]);
/// The first byte, half or all of four bytes.
pub(super) const FRONT4: Pattern = Pattern([&[0], &[0], &[0], &[]]);
/// A port: two bytes, or four with the padding.
pub(super) const PORT: Pattern = Pattern([&[0, 1], &[0], &[0], &[]]);
/// Any part of sixteen bytes up to a word.
pub(super) const NARROW16: Pattern = Pattern([
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    &[0, 2, 4, 6, 8, 10, 12, 14],
    &[0, 4, 8, 12],
    &[],
]);
/// The first argument of a writable tracepoint: a pointer, or parts of it but the first.
pub(super) const POINTER_ARG: Pattern = Pattern([&[1, 2, 3, 4, 5, 6, 7], &[2, 4, 6], &[4], &[0]]);
/// Any part of an IPv6 address.
pub(super) const ADDRESS6: Pattern = Pattern([
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    &[0, 2, 4, 6, 8, 10, 12, 14],
    &[0, 4, 8, 12],
    &[0, 8],
]);
/// Any word or double word of an IPv6 address.
pub(super) const ADDRESS6_WRITE: Pattern = Pattern([&[], &[], &[0, 4, 8, 12], &[0, 8]]);
/// Any part of an IPv6 address that lies four bytes off eight.
pub(super) const SOURCE6: Pattern = Pattern([
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    &[0, 2, 4, 6, 8, 10, 12, 14],
    &[0, 4, 8, 12],
    &[4],
]);
/// Any word, or the double word in the middle, of an IPv6 address four bytes off eight.
pub(super) const SOURCE6_WRITE: Pattern = Pattern([&[], &[], &[0, 4, 8, 12], &[4]]);
/// The halves or all of four bytes.
pub(super) const HALVES4: Pattern = Pattern([&[], &[0, 2], &[0], &[]]);
/// Two bytes.
pub(super) const HALF: Pattern = Pattern([&[0, 1], &[0], &[], &[]]);
