//! Internet checksums.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MemInOrNull, SizeOrZero, low};
use super::define::helper;
use crate::packet::skb::SkBuff;

helper! {
    /// Computes the difference that replacing the bytes `from` by the bytes `to` makes to the
    /// checksum `seed`: ones' complement sums, folded to 16 bits. Either may be empty.
    28 Any => fn csum_diff(_cx, from: MemInOrNull<'a>, _from_size: SizeOrZero, to: MemInOrNull<'a>, _to_size: SizeOrZero, seed: u32) -> Result<u64, Errno> {
        let of = |bytes: MemInOrNull<'_>| bytes.0.with(sum);
        // Ones' complement: to take a sum away is to add its complement.
        let sum = match (from.0.len() == 0, to.0.len() == 0) {
            (false, false) => add(add(of(to), seed), !of(from)),
            (true, false) => add(of(to), seed),
            (false, true) => !add(of(from), !seed),
            (true, true) => seed,
        };
        Ok(u64::from(fold(sum)))
    }
}

helper! {
    /// Changes the IP checksum at `offset` of the packet for a change of a header field from
    /// `from` to `to`, whose size is the lower four bits of `flags`: 2 or 4, or 0 if `to` is a
    /// difference made by `csum_diff`.
    10 Skb => fn l3_csum_replace(cx, _skb: Ctx, offset: u32, from: u64, to: u64, flags: u64) -> Result<(), Errno> {
        const SIZE: u64 = 0xf;
        if flags & !SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        let at = place(offset)?;
        let old = read(skb, at)?;
        write(skb, at, replaced(old, from, to, flags & SIZE)?)
    }
}

helper! {
    /// Changes the TCP, UDP or ICMP checksum at `offset` of the packet for a change of a header
    /// field, as `l3_csum_replace` does. With 16 in `flags` the field is in the pseudo-header
    /// too, with 32 a checksum of zero means none and stays, with 64 it is made nevertheless.
    11 Skb => fn l4_csum_replace(cx, _skb: Ctx, offset: u32, from: u64, to: u64, flags: u64) -> Result<(), Errno> {
        const SIZE: u64 = 0xf;
        const PSEUDO_HEADER: u64 = 0x10;
        const MANGLED_ZERO: u64 = 0x20;
        const ENFORCE: u64 = 0x40;
        const IPV6: u64 = 0x80;
        if flags & !(SIZE | PSEUDO_HEADER | MANGLED_ZERO | ENFORCE | IPV6) != 0 {
            return Err(Errno::EINVAL);
        }
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        let at = place(offset)?;
        let old = read(skb, at)?;
        let marks_zero = flags & MANGLED_ZERO != 0;
        if marks_zero && flags & ENFORCE == 0 && old == 0 {
            return Ok(());
        }
        let new = replaced(old, from, to, flags & SIZE)?;
        write(skb, at, if marks_zero && new == 0 { 0xffff } else { new })
    }
}

/// The sum of 16-bit words, in the byte order of memory, not folded below 32 bits; zeros stand for
/// the bytes that the last word lacks.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    // Carries gather in the upper half: programs have far fewer than 2^32 words.
    let all: u64 = words.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum();
    let all = all + u64::from(u32::from_le_bytes(last));
    add(low(all), low(all >> 32))
}

/// Ones' complement addition.
const fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u32
}

/// A sum of 32 bits as one of 16.
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    u16::try_from(twice).unwrap_or(u16::MAX)
}

/// Where a checksum may be.
fn place(offset: u32) -> Result<usize, Errno> {
    if offset > 0xffff || offset & 1 == 1 {
        return Err(Errno::EFAULT);
    }
    Ok(offset as usize)
}

fn read(skb: &SkBuff, at: usize) -> Result<u16, Errno> {
    let mut bytes = [0; 2];
    skb.read(at, &mut bytes).ok_or(Errno::EFAULT)?;
    Ok(u16::from_le_bytes(bytes))
}

fn write(skb: &SkBuff, at: usize, checksum: u16) -> Result<(), Errno> {
    skb.write(at, &checksum.to_le_bytes()).ok_or(Errno::EFAULT)
}

/// A checksum after a change of a field of so many bytes.
fn replaced(old: u16, from: u64, to: u64, size: u64) -> Result<u16, Errno> {
    let (from, to) = match size {
        0 if from == 0 => (0, low(to)),
        2 => (low(from) & 0xffff, low(to) & 0xffff),
        4 => (low(from), low(to)),
        _ => return Err(Errno::EINVAL),
    };
    // A checksum is the complement of the sum; the difference is added to the sum.
    let sum =
        if size == 0 { add(u32::from(!old), to) } else { add(add(u32::from(!old), !from), to) };
    Ok(!fold(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum of a header, computed whole.
    fn checksum(bytes: &[u8]) -> u16 {
        !fold(sum(bytes))
    }

    #[test]
    fn a_replacement_gives_the_checksum_of_the_changed_bytes() {
        let mut header: Vec<u8> = (0..20_u8).map(|i| i.wrapping_mul(37)).collect();
        for (at, size) in [(4, 2), (12, 4), (16, 4), (8, 2)] {
            let old = checksum(&header);
            let number = |bytes: &[u8]| {
                let mut raw = [0; 8];
                raw[..size].copy_from_slice(&bytes[at..at + size]);
                u64::from_le_bytes(raw)
            };
            let from = number(&header);
            header[at] ^= 0x5a;
            header[at + 1] = header[at + 1].wrapping_add(200);
            let to = number(&header);
            assert_eq!(replaced(old, from, to, size as u64), Ok(checksum(&header)));
        }
    }

    #[test]
    fn sums_carry_around() {
        assert_eq!(add(u32::MAX, 1), 1);
        assert_eq!(fold(0xffff_ffff), 0xffff);
        assert_eq!(fold(0x0001_ffff), 1);
    }
}
