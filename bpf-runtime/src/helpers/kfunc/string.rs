//! Strings at addresses that nobody vouches for.
//!
//! What is readable is as for `probe_read_kernel`. Strings are followed for 64 KiB at most; all
//! results are places or comparisons, or error numbers below zero: `EFAULT` if a byte is not there,
//! `ERANGE` if the address cannot be one of the kernel's, `E2BIG` if there was no end.

use bpf_abi::errno::Errno;

use super::helper;
use crate::helpers::args::{Cx, Int};
use crate::helpers::known::{KERNEL, Text};

/// How far a string is followed. Linux: `XATTR_SIZE_MAX`.
const MOST: usize = 65536;

/// A string that can be looked into.
struct Str<'a>(Text<'a>);

impl<'a> Str<'a> {
    /// The string at an address; nothing there gives `ERANGE`, as the kernel gives for addresses
    /// of user space.
    fn at(cx: Cx<'a>, address: u64) -> Result<Self, Errno> {
        let mut text = Text::at(cx, address);
        if address < KERNEL && text.byte(0).is_none() {
            return Err(Errno::ERANGE);
        }
        Ok(Self(text))
    }

    fn byte(&mut self, index: usize) -> Result<u8, Errno> {
        self.0.byte(index).ok_or(Errno::EFAULT)
    }
}

/// A place in a string.
fn place(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// The order of two strings, each byte seen through `fold`.
fn compare(cx: Cx<'_>, s1: u64, s2: u64, fold: impl Fn(u8) -> u8) -> Int {
    let (mut s1, mut s2) = (Str::at(cx, s1)?, Str::at(cx, s2)?);
    for i in 0..MOST {
        let (a, b) = (fold(s1.byte(i)?), fold(s2.byte(i)?));
        if a != b {
            return Ok(if a < b { -1 } else { 1 });
        }
        if a == 0 {
            return Ok(0);
        }
    }
    Err(Errno::E2BIG)
}

/// Where a byte is first among the first `count`.
fn find(cx: Cx<'_>, s: u64, count: u64, wanted: u8) -> Int {
    let mut s = Str::at(cx, s)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    for i in 0..MOST.min(count) {
        match s.byte(i)? {
            byte if byte == wanted => return Ok(place(i)),
            0 => return Err(Errno::ENOENT),
            _ => {}
        }
    }
    Err(if count >= MOST { Errno::E2BIG } else { Errno::ENOENT })
}

/// How long a string is, looking at `count` bytes at most.
fn length(cx: Cx<'_>, s: u64, count: u64) -> Int {
    let mut s = Str::at(cx, s)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    for i in 0..MOST.min(count) {
        if s.byte(i)? == 0 {
            return Ok(place(i));
        }
    }
    if count >= MOST { Err(Errno::E2BIG) } else { Ok(place(count)) }
}

/// How many bytes at the beginning of a string are in another, or not in it.
fn span(cx: Cx<'_>, s: u64, set: u64, inside: bool) -> Int {
    let (mut s, mut set) = (Str::at(cx, s)?, Str::at(cx, set)?);
    for i in 0..MOST {
        let byte = s.byte(i)?;
        if byte == 0 {
            return Ok(place(i));
        }
        let mut found = None;
        for j in 0..MOST {
            match set.byte(j)? {
                other if other == byte => found = Some(true),
                0 => found = Some(false),
                _ => continue,
            }
            break;
        }
        if found.ok_or(Errno::E2BIG)? != inside {
            return Ok(place(i));
        }
    }
    Err(Errno::E2BIG)
}

/// Where a string is first within the first `len` bytes of another.
fn find_text(cx: Cx<'_>, s1: u64, s2: u64, len: u64) -> Int {
    let (mut s1, mut s2) = (Str::at(cx, s1)?, Str::at(cx, s2)?);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    for i in 0..MOST {
        let mut j = 0;
        while i + j <= len && j < MOST {
            let wanted = s2.byte(j)?;
            if wanted == 0 {
                return Ok(place(i));
            }
            if i + j == len {
                break;
            }
            match s1.byte(i + j)? {
                0 => return Err(Errno::ENOENT),
                byte if byte != wanted => break,
                _ => j += 1,
            }
        }
        if j == MOST {
            return Err(Errno::E2BIG);
        }
        if i + j == len {
            return Err(Errno::ENOENT);
        }
    }
    Err(Errno::E2BIG)
}

/// The byte that stands for a `char`.
const fn byte(c: u32) -> u8 {
    c.to_le_bytes()[0]
}

helper! {
    /// Compares two strings: 0 if they are equal, else -1 or 1.
    0x7ffe_0019 Any => fn bpf_strcmp(cx, s1: u64, s2: u64) -> Int {
        compare(cx, s1, s2, |byte| byte)
    }
}

helper! {
    /// Compares two strings, capital letters of ASCII and Latin-1 being equal to small ones.
    0x7ffe_001a Any => fn bpf_strcasecmp(cx, s1: u64, s2: u64) -> Int {
        compare(cx, s1, s2, |byte| match byte {
            b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => byte + 32,
            _ => byte,
        })
    }
}

helper! {
    /// Finds the first `c` in a string, its end mark included: its place, or `-ENOENT`.
    0x7ffe_001b Any => fn bpf_strchr(cx, s: u64, c: u32) -> Int {
        find(cx, s, MOST as u64, byte(c))
    }
}

helper! {
    /// Finds the first `c` in a string: its place, or that of the end mark.
    0x7ffe_001c Any => fn bpf_strchrnul(cx, s: u64, c: u32) -> Int {
        let mut s = Str::at(cx, s)?;
        for i in 0..MOST {
            let found = s.byte(i)?;
            if found == 0 || found == byte(c) {
                return Ok(place(i));
            }
        }
        Err(Errno::E2BIG)
    }
}

helper! {
    /// Finds the first `c` in the first `count` bytes of a string: its place, or `-ENOENT`.
    0x7ffe_001d Any => fn bpf_strnchr(cx, s: u64, count: u64, c: u32) -> Int {
        find(cx, s, count, byte(c))
    }
}

helper! {
    /// Finds the last `c` in a string, its end mark included: its place, or `-ENOENT`.
    0x7ffe_001e Any => fn bpf_strrchr(cx, s: u64, c: i32) -> Int {
        let mut s = Str::at(cx, s)?;
        let mut last = Err(Errno::ENOENT);
        for i in 0..MOST {
            let found = s.byte(i)?;
            if i32::from(found) == c {
                last = Ok(place(i));
            }
            if found == 0 {
                return last;
            }
        }
        Err(Errno::E2BIG)
    }
}

helper! {
    /// The length of a string.
    0x7ffe_001f Any => fn bpf_strlen(cx, s: u64) -> Int {
        length(cx, s, MOST as u64)
    }
}

helper! {
    /// The length of a string, looking at `count` bytes at most.
    0x7ffe_0020 Any => fn bpf_strnlen(cx, s: u64, count: u64) -> Int {
        length(cx, s, count)
    }
}

helper! {
    /// How many bytes at the beginning of a string are among those of `accept`.
    0x7ffe_0021 Any => fn bpf_strspn(cx, s: u64, accept: u64) -> Int {
        span(cx, s, accept, true)
    }
}

helper! {
    /// How many bytes at the beginning of a string are not among those of `reject`.
    0x7ffe_0022 Any => fn bpf_strcspn(cx, s: u64, reject: u64) -> Int {
        span(cx, s, reject, false)
    }
}

helper! {
    /// Finds the string `s2` in `s1`: its place, or `-ENOENT`.
    0x7ffe_0023 Any => fn bpf_strstr(cx, s1: u64, s2: u64) -> Int {
        find_text(cx, s1, s2, MOST as u64)
    }
}

helper! {
    /// Finds the string `s2` in the first `len` bytes of `s1`: its place, or `-ENOENT`.
    0x7ffe_0024 Any => fn bpf_strnstr(cx, s1: u64, s2: u64, len: u64) -> Int {
        find_text(cx, s1, s2, len)
    }
}
