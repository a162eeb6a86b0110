//! Texts and numbers.

use std::cmp::Ordering;

use bpf_abi::errno::Errno;

use super::args::number::NumberOut;
use super::args::{MemIn, Size, Text};
use super::define::helper;

helper! {
    /// Compares the string `s1`, of `s1_sz` bytes at most, with the constant string `s2`:
    /// negative, zero or positive, as `s1` is less, equal or greater.
    182 Any => fn strncmp(_cx, s1: MemIn<'a>, _s1_sz: Size, s2: Text<'a>) -> i64 {
        s1.with(|left| {
            for (byte, other) in left.iter().zip(s2.bytes()) {
                match byte.cmp(&other) {
                    Ordering::Less => return -1,
                    Ordering::Greater => return 1,
                    Ordering::Equal => {}
                }
            }
            // What is compared ends where either ends: in the same byte, since all before are equal.
            0
        })
    }
}

helper! {
    /// Reads a signed number from the beginning of `buf`, after blanks, and writes it to `res`.
    /// The lower five bits of `flags` are the base: 8, 10, 16, or 0 to let the text say.
    /// Returns how many bytes were read.
    105 Any => fn strtol(_cx, buf: MemIn<'a>, _buf_len: Size, flags: u64, res: NumberOut<'a>) -> Result<u64, Errno> {
        let mut res = res;
        res.set(0);
        let parsed = buf.with(|text| parse(text, flags))?;
        let value = if parsed.negative {
            0_i64.checked_sub_unsigned(parsed.magnitude).ok_or(Errno::ERANGE)?
        } else {
            i64::try_from(parsed.magnitude).map_err(|_| Errno::ERANGE)?
        };
        res.set(value.cast_unsigned());
        Ok(parsed.consumed)
    }
}

helper! {
    /// Reads an unsigned number from the beginning of `buf`, as `strtol` does.
    106 Any => fn strtoul(_cx, buf: MemIn<'a>, _buf_len: Size, flags: u64, res: NumberOut<'a>) -> Result<u64, Errno> {
        let mut res = res;
        res.set(0);
        let parsed = buf.with(|text| parse(text, flags))?;
        if parsed.negative {
            return Err(Errno::EINVAL);
        }
        res.set(parsed.magnitude);
        Ok(parsed.consumed)
    }
}

/// A number read from a text.
struct Parsed {
    negative: bool,
    magnitude: u64,
    /// How many bytes it took, blanks and sign included.
    consumed: u64,
}

/// How many bytes of a text count.
const MOST: usize = 64;

fn parse(text: &[u8], flags: u64) -> Result<Parsed, Errno> {
    let base = match flags {
        0 | 8 | 10 | 16 => flags,
        _ => return Err(Errno::EINVAL),
    };
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0xa0);
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    let rest = text.get(blanks..).unwrap_or_default();
    let negative = rest.first() == Some(&b'-');
    let signed = usize::from(negative);
    // Only so much is looked at behind the sign.
    let rest = rest.get(signed..).unwrap_or_default();
    let rest = rest.get(..MOST - 1).unwrap_or(rest);
    let (base, prefix) = match (base, rest) {
        (0, [b'0', b'x' | b'X', digit, ..]) if digit.is_ascii_hexdigit() => (16, 2),
        (16, [b'0', b'x' | b'X', ..]) => (16, 2),
        (0, [b'0', ..]) => (8, 0),
        (0, _) => (10, 0),
        (base, _) => (base, 0),
    };
    let mut magnitude: u64 = 0;
    let mut count = 0;
    for byte in rest.get(prefix..).unwrap_or_default() {
        let digit = char::from(*byte).to_digit(16).map(u64::from).filter(|digit| *digit < base);
        let Some(digit) = digit else { break };
        magnitude = magnitude
            .checked_mul(base)
            .and_then(|product| product.checked_add(digit))
            .ok_or(Errno::ERANGE)?;
        count += 1;
    }
    if count == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Parsed { negative, magnitude, consumed: (blanks + signed + prefix + count) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, base: u64) -> Result<(bool, u64, u64), Errno> {
        parse(text.as_bytes(), base)
            .map(|parsed| (parsed.negative, parsed.magnitude, parsed.consumed))
    }

    #[test]
    fn numbers_are_read_in_the_base_they_say() {
        assert_eq!(read("  -12x", 0), Ok((true, 12, 5)));
        assert_eq!(read("0x1F", 0), Ok((false, 31, 4)));
        assert_eq!(read("017", 0), Ok((false, 15, 3)));
        assert_eq!(read("017", 10), Ok((false, 17, 3)));
        assert_eq!(read("1f", 16), Ok((false, 31, 2)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(read("", 0), Err(Errno::EINVAL));
        assert_eq!(read("abc", 10), Err(Errno::EINVAL));
        assert_eq!(read("12", 7), Err(Errno::EINVAL));
        assert_eq!(read("18446744073709551616", 10), Err(Errno::ERANGE));
    }
}
