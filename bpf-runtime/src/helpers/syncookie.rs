//! SYN cookies: sequence numbers that say enough of a connection to know its client again.
//!
//! A cookie is what D. J. Bernstein made of it: the client's sequence number, a count of minutes in
//! the upper byte, and in the rest an index of segment sizes, all hidden by hashes of the addresses,
//! the ports and a secret. The numbers are not those of Linux, whose secret nobody knows.

use std::hash::Hasher;
use std::time::{SystemTime, UNIX_EPOCH};

use bpf_abi::errno::Errno;

use super::args::number::Header;
use super::args::{Cx, MemIn, SizeOrZero, low};
use super::define::helper;

/// The sizes of segments that a cookie can say, for IPv4. Linux: `msstab`.
const SIZES_V4: [u16; 4] = [536, 1300, 1440, 1460];
/// And for IPv6. Linux: `msstab`.
const SIZES_V6: [u16; 4] = [1220, 1420, 1440, 8940];
/// How many bits of a cookie are below the count.
const COUNT_AT: u32 = 24;
/// How old a cookie may be, in counts. Linux: `MAX_SYNCOOKIE_AGE`.
const MAX_AGE: u32 = 2;

/// Whom a cookie is for.
struct Connection<'a> {
    addresses: &'a [u8],
    ports: [u8; 4],
    secret: u64,
}

impl<'a> Connection<'a> {
    fn new(cx: Cx<'_>, addresses: &'a [u8], th: &[u8]) -> Self {
        let ports = th.first_chunk().copied().unwrap_or_default();
        Self { addresses, ports, secret: cx.env().shared.random.secret() }
    }

    /// What hides the part of a cookie that was made at this count.
    fn hash(&self, count: u32, part: u32) -> u32 {
        // Its keys are zero, so what is to be secret goes in first.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.secret);
        hasher.write(self.addresses);
        hasher.write(&self.ports);
        hasher.write_u64(u64::from(count) << 32 | u64::from(part));
        low(hasher.finish())
    }

    fn cookie(&self, sequence: u32, count: u32, index: u32) -> u32 {
        let below = self.hash(count, 1).wrapping_add(index) & ((1 << COUNT_AT) - 1);
        let above = self.hash(0, 0).wrapping_add(sequence).wrapping_add(count << COUNT_AT);
        above.wrapping_add(below)
    }

    /// The index in a cookie, if it is not too old; of a wrong cookie it is any number.
    fn index(&self, cookie: u32, sequence: u32, now: u32) -> Option<u32> {
        let rest = cookie.wrapping_sub(self.hash(0, 0)).wrapping_sub(sequence);
        let age = now.wrapping_sub(rest >> COUNT_AT) & 0xff;
        if age >= MAX_AGE {
            return None;
        }
        Some(rest.wrapping_sub(self.hash(now.wrapping_sub(age), 1)) & ((1 << COUNT_AT) - 1))
    }
}

/// The minutes that cookies count.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    low(since.map_or(0, |since| since.as_secs() / 60))
}

/// A number of a TCP header.
fn number(th: &[u8], at: usize) -> u32 {
    let bytes = th.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

const SEQUENCE: usize = 4;
const ACKNOWLEDGED: usize = 8;
/// The length of a TCP header without options.
const HEADER: usize = 20;

/// The size of segments that a header's options ask for.
fn asked_size(th: &[u8]) -> Option<u16> {
    let mut size = None;
    let mut options = th.get(HEADER..).unwrap_or_default();
    loop {
        options = match options {
            [1, rest @ ..] => rest,
            [] | [0, ..] | [_] => return size,
            [_, len, ..] => {
                let len = usize::from(*len).max(2);
                let Some((option, rest)) = options.split_at_checked(len) else { return size };
                if let [2, 4, high, low] = option {
                    size =
                        Some(u16::from_be_bytes([*high, *low])).filter(|size| *size != 0).or(size);
                }
                if option[1] < 2 {
                    return size;
                }
                rest
            }
        };
    }
}

/// A cookie in the lower half and its size of segments in the upper.
fn make(connection: &Connection<'_>, th: &[u8], sizes: [u16; 4]) -> Result<u64, Errno> {
    let says = usize::from(th.get(12).copied().unwrap_or(0) >> 4) * 4;
    if th.len() < HEADER || says != th.len() {
        return Err(Errno::EINVAL);
    }
    let asked = asked_size(th).unwrap_or(sizes[0]);
    let place = sizes.iter().rposition(|size| *size <= asked).unwrap_or(0);
    let (size, index) = (sizes.get(place).copied().unwrap_or(sizes[0]), low(place as u64));
    let cookie = connection.cookie(number(th, SEQUENCE), now(), index);
    Ok(u64::from(size) << 32 | u64::from(cookie))
}

/// Whether a segment answers a cookie.
fn check(connection: &Connection<'_>, th: &[u8], sizes: [u16; 4]) -> Result<(), Errno> {
    let cookie = number(th, ACKNOWLEDGED).wrapping_sub(1);
    let index = connection.index(cookie, number(th, SEQUENCE).wrapping_sub(1), now());
    let is_known = index.is_some_and(|index| (index as usize) < sizes.len());
    if is_known { Ok(()) } else { Err(Errno::EACCES) }
}

/// The addresses in a header of IPv4.
fn addresses_v4(iph: &[u8; 20]) -> &[u8] {
    &iph[12..]
}

/// The addresses in a header of IPv6.
fn addresses_v6(iph: &[u8; 40]) -> &[u8] {
    &iph[8..]
}

helper! {
    /// Makes a SYN cookie for the TCP header `th` behind the IPv4 header `iph`. Returns it, and in the
    /// upper half the size of segments that it stands for.
    204 Packet => fn tcp_raw_gen_syncookie_ipv4(cx, iph: Header<20>, th: MemIn<'a>, _th_len: SizeOrZero) -> Result<u64, Errno> {
        let th = th.copy();
        make(&Connection::new(cx, addresses_v4(&iph.0), &th), &th, SIZES_V4)
    }
}

helper! {
    /// Makes a SYN cookie for the TCP header `th` behind the IPv6 header `iph`, as for IPv4.
    205 Packet => fn tcp_raw_gen_syncookie_ipv6(cx, iph: Header<40>, th: MemIn<'a>, _th_len: SizeOrZero) -> Result<u64, Errno> {
        let th = th.copy();
        make(&Connection::new(cx, addresses_v6(&iph.0), &th), &th, SIZES_V6)
    }
}

helper! {
    /// Says whether the TCP header `th` behind the IPv4 header `iph` answers a SYN cookie that is not
    /// too old; `EACCES` if not.
    206 Packet => fn tcp_raw_check_syncookie_ipv4(cx, iph: Header<20>, th: Header<20>) -> Result<(), Errno> {
        check(&Connection::new(cx, addresses_v4(&iph.0), &th.0), &th.0, SIZES_V4)
    }
}

helper! {
    /// Says whether the TCP header `th` behind the IPv6 header `iph` answers a SYN cookie that is not
    /// too old; `EACCES` if not.
    207 Packet => fn tcp_raw_check_syncookie_ipv6(cx, iph: Header<40>, th: Header<20>) -> Result<(), Errno> {
        check(&Connection::new(cx, addresses_v6(&iph.0), &th.0), &th.0, SIZES_V6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTION: Connection<'_> =
        Connection { addresses: &[1, 2, 3, 4, 5, 6, 7, 8], ports: [0, 80, 1, 2], secret: 7 };

    #[test]
    fn a_cookie_says_its_index_for_two_counts_and_only_for_its_connection() {
        let other = Connection { secret: 8, ..CONNECTION };
        for count in [1, 255, 256, 70_000] {
            for index in 0..4 {
                let cookie = CONNECTION.cookie(99, count, index);
                assert_eq!(CONNECTION.index(cookie, 99, count), Some(index));
                assert_eq!(CONNECTION.index(cookie, 99, count + 1), Some(index));
                assert_eq!(CONNECTION.index(cookie, 99, count + 2), None);
                assert_ne!(other.index(cookie, 99, count), Some(index));
            }
        }
    }

    #[test]
    fn the_size_asked_for_is_found_among_the_options() {
        let asked = |options: &[u8]| asked_size(&[&[0; HEADER], options].concat());
        assert_eq!(asked(&[2, 4, 5, 0xb4]), Some(1460));
        assert_eq!(asked(&[1, 1, 3, 3, 7, 2, 4, 1, 0]), Some(256));
        assert_eq!(asked(&[0, 2, 4, 5, 0xb4]), None);
        assert_eq!(asked(&[2, 3, 5, 0xb4]), None);
        assert_eq!(asked(&[2, 4, 5]), None);
        assert_eq!(asked(&[9, 0, 2, 4, 5, 0xb4]), None);
        assert_eq!(asked(&[2, 4, 5, 0xb4, 2, 4, 0, 0]), Some(1460));
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_size_is_cut_to_one_that_a_cookie_can_say() {
        let th = |high: u8, low: u8| {
            let mut th = vec![0; 24];
            (th[12], th[20], th[21], th[22], th[23]) = (0x60, 2, 4, high, low);
            th
        };
        let size = |th: &[u8], sizes| make(&CONNECTION, th, sizes).map(|made| made >> 32);
        assert_eq!(size(&th(5, 0xb4), SIZES_V4), Ok(1460));
        assert_eq!(size(&th(5, 0xb3), SIZES_V4), Ok(1440));
        assert_eq!(size(&th(0, 1), SIZES_V4), Ok(536));
        assert_eq!(size(&th(0, 0), SIZES_V6), Ok(1220));
        assert_eq!(size(&th(5, 0xb4)[..20], SIZES_V4), Err(Errno::EINVAL));
    }
}
