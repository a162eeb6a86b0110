//! Formatting as the kernel's `printf` family does it for programs.

use bpf_abi::errno::Errno;
use smallvec::SmallVec;

use super::args::{Cx, MemIn, MemInOrNull, MemWriteOrNull, Size, SizeOrZero, Text, Unchecked};
use super::define::helper;
use super::known;

helper! {
    /// Prints a line to the runtime's trace. `fmt` is a format of `size` bytes with up to three
    /// conversions, which `arg1` to `arg3` are for. Returns the length of the line.
    6 Any => fn trace_printk(cx, fmt: MemIn<'a>, _size: Size, arg1: Unchecked, arg2: Unchecked, arg3: Unchecked) -> Result<u64, Errno> {
        let format = terminated(&fmt.copy()).ok_or(Errno::EINVAL)?.to_vec();
        let line = format_all(cx, &format, &[arg1.0, arg2.0, arg3.0])?;
        print(&cx, &line)?;
        Ok(line.len() as u64)
    }
}

helper! {
    /// Prints a line to the runtime's trace, as `trace_printk` does, with the conversions'
    /// arguments in the array of eight-byte numbers at `data`. Returns the length of the line.
    177 Any => fn trace_vprintk(cx, fmt: MemIn<'a>, _size: Size, data: MemInOrNull<'a>, _len: SizeOrZero) -> Result<u64, Errno> {
        let format = terminated(&fmt.copy()).ok_or(Errno::EINVAL)?.to_vec();
        let args = numbers(data)?;
        let line = format_all(cx, &format, &args)?;
        print(&cx, &line)?;
        Ok(line.len() as u64)
    }
}

/// Hands a line to the host's printer.
fn print(cx: &Cx<'_>, line: &[u8]) -> Result<(), Errno> {
    let env = cx.env();
    let printed = env.panic.call(|| env.shared.print(line));
    if printed == Some(false) { Err(Errno::EBUSY) } else { Ok(()) }
}

helper! {
    /// Writes a formatted string and its end mark to `str`, cut to `str_size` bytes. The
    /// conversions' arguments are in the array of eight-byte numbers at `data`. Returns how many
    /// bytes the whole string needs, its end mark included.
    165 Any => fn snprintf(cx, str: MemWriteOrNull<'a>, _str_size: SizeOrZero, fmt: Text<'a>, data: MemInOrNull<'a>, _data_len: SizeOrZero) -> Result<u64, Errno> {
        let MemWriteOrNull(mut out) = str;
        let args = numbers(data)?;
        let mut text = format_all(cx, &fmt.copy(), &args)?;
        let needed = text.len() as u64 + 1;
        if let Some(room) = out.len().checked_sub(1) {
            text.truncate(room);
            text.push(0);
            out.write(&text);
        }
        Ok(needed)
    }
}

/// The bytes before the first end mark; `None` if there is none.
fn terminated(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split(|byte| *byte == 0).next().filter(|text| text.len() < bytes.len())
}

/// An array of eight-byte numbers; at most twelve.
pub(super) fn numbers(data: MemInOrNull<'_>) -> Result<SmallVec<[u64; 12]>, Errno> {
    if !data.0.len().is_multiple_of(8) || data.0.len() > 12 * 8 {
        return Err(Errno::EINVAL);
    }
    let words = |bytes: &[u8]| {
        let (words, _) = bytes.as_chunks::<8>();
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    };
    Ok(data.0.with(words))
}

/// Formats; a format that is not allowed is an error, whatever the arguments.
pub(super) fn format_all(cx: Cx<'_>, format: &[u8], args: &[u64]) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::with_capacity(128);
    let mut args = args.iter().copied();
    let mut rest = format;
    while let Some((byte, others)) = rest.split_first() {
        rest = others;
        if !(byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return Err(Errno::EINVAL);
        }
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        if rest.first() == Some(&b'%') {
            out.push(b'%');
            rest = &rest[1..];
            continue;
        }
        let (conversion, others) = Conversion::parse(rest).ok_or(Errno::EINVAL)?;
        rest = others;
        let value = args.next().ok_or(Errno::EINVAL)?;
        conversion.write(cx, value, &mut out);
    }
    Ok(out)
}

/// One conversion: `%-08llx`.
#[derive(Clone, Copy, Debug, Default)]
struct Conversion {
    left: bool,
    zeros: bool,
    plus: bool,
    space: bool,
    width: usize,
    kind: Kind,
}

/// What a conversion makes of its argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Unsigned,
    Signed,
    Hex {
        upper: bool,
    },
    Char,
    Str,
    Pointer,
    Ip4,
    Ip6,
}

/// How many bytes of the argument count.
#[derive(Clone, Copy, Debug)]
enum Len {
    Int,
    Long,
}

impl Conversion {
    /// Reads a conversion behind its `%`; also gives what follows it.
    fn parse(text: &[u8]) -> Option<(ConversionOf, &[u8])> {
        let mut conversion = Self::default();
        let mut rest = text;
        loop {
            match rest.first()? {
                b'-' => conversion.left = true,
                b'0' => conversion.zeros = true,
                b'+' => conversion.plus = true,
                b' ' => conversion.space = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        while let Some(digit @ b'0'..=b'9') = rest.first() {
            conversion.width = (conversion.width * 10 + usize::from(digit - b'0')).min(512);
            rest = &rest[1..];
        }
        if rest.first() == Some(&b'p') {
            return conversion.parse_pointer(&rest[1..]);
        }
        let (len, after) = match rest {
            [b'l', b'l', after @ ..] | [b'l', after @ ..] => (Len::Long, after),
            after => (Len::Int, after),
        };
        let (last, after) = after.split_first()?;
        conversion.kind = match last {
            b'd' | b'i' => Kind::Signed,
            b'u' => Kind::Unsigned,
            b'x' => Kind::Hex { upper: false },
            b'X' => Kind::Hex { upper: true },
            b'c' if matches!(len, Len::Int) => Kind::Char,
            b's' if matches!(len, Len::Int) => Kind::Str,
            _ => return None,
        };
        Some((ConversionOf { conversion, len }, after))
    }

    /// Reads what follows `%p`.
    fn parse_pointer(mut self, text: &[u8]) -> Option<(ConversionOf, &[u8])> {
        let (kind, after) = match text {
            [b'i' | b'I', b'4', after @ ..] => (Kind::Ip4, after),
            [b'i' | b'I', b'6', after @ ..] => (Kind::Ip6, after),
            [b'k' | b'u', b's', after @ ..] => (Kind::Str, after),
            [b'x' | b'K' | b's' | b'S' | b'B', after @ ..] => (Kind::Pointer, after),
            after if after.first().is_none_or(|byte| !byte.is_ascii_alphanumeric()) => {
                (Kind::Pointer, after)
            }
            _ => return None,
        };
        self.kind = kind;
        Some((ConversionOf { conversion: self, len: Len::Long }, after))
    }

    /// Adds padding around digits and their sign or prefix.
    fn pad(self, prefix: &str, body: &[u8], zeros: bool, out: &mut Vec<u8>) {
        let used = prefix.len() + body.len();
        let missing = self.width.saturating_sub(used);
        if !self.left && !zeros {
            out.resize(out.len() + missing, b' ');
        }
        out.extend_from_slice(prefix.as_bytes());
        if !self.left && zeros {
            out.resize(out.len() + missing, b'0');
        }
        out.extend_from_slice(body);
        if self.left {
            out.resize(out.len() + missing, b' ');
        }
    }
}

/// A conversion and how much of its argument it takes.
#[derive(Clone, Copy, Debug)]
struct ConversionOf {
    conversion: Conversion,
    len: Len,
}

impl ConversionOf {
    fn write(self, cx: Cx<'_>, value: u64, out: &mut Vec<u8>) {
        let Self { conversion, len } = self;
        let number = match len {
            Len::Int => value & 0xffff_ffff,
            Len::Long => value,
        };
        match conversion.kind {
            Kind::Unsigned => {
                conversion.pad("", Digits::new(number, 10).get(), conversion.zeros, out);
            }
            Kind::Signed => {
                let signed = match len {
                    Len::Int => i64::from(super::args::low(value).cast_signed()),
                    Len::Long => value.cast_signed(),
                };
                let sign = match (signed < 0, conversion.plus, conversion.space) {
                    (true, ..) => "-",
                    (_, true, _) => "+",
                    (_, _, true) => " ",
                    _ => "",
                };
                let digits = Digits::new(signed.unsigned_abs(), 10);
                conversion.pad(sign, digits.get(), conversion.zeros, out);
            }
            Kind::Hex { upper: false } => {
                conversion.pad("", Digits::new(number, 16).get(), conversion.zeros, out);
            }
            Kind::Hex { upper: true } => {
                let mut digits = Digits::new(number, 16);
                digits.bytes.make_ascii_uppercase();
                conversion.pad("", digits.get(), conversion.zeros, out);
            }
            Kind::Char => conversion.pad("", &[value.to_le_bytes()[0]], false, out),
            Kind::Pointer => {
                let width = conversion.width.max(16);
                conversion.pad("", format!("{value:0width$x}").as_bytes(), false, out);
            }
            Kind::Str => {
                let text = known::string(cx, value, 512).unwrap_or_default();
                conversion.pad("", &text, false, out);
            }
            Kind::Ip4 => {
                let text = known::bytes(cx, value, 4).unwrap_or_else(|| vec![0; 4]);
                let parts: Vec<String> = text.iter().map(u8::to_string).collect();
                conversion.pad("", parts.join(".").as_bytes(), false, out);
            }
            Kind::Ip6 => {
                let text = known::bytes(cx, value, 16).unwrap_or_else(|| vec![0; 16]);
                let parts: Vec<String> = text.chunks(2).map(hex).collect();
                conversion.pad("", parts.join(":").as_bytes(), false, out);
            }
        }
    }
}

/// A number's digits.
#[derive(Clone, Copy, Debug)]
struct Digits {
    bytes: [u8; Self::MOST],
    /// How many of the bytes are none.
    unused: usize,
}

impl Digits {
    /// The most that a number has: in base 10.
    const MOST: usize = 20;

    /// Those in base 10 or 16.
    fn new(number: u64, base: u8) -> Self {
        let mut digits = Self { bytes: [b'0'; Self::MOST], unused: Self::MOST };
        let mut rest = number;
        loop {
            let value = u8::try_from(rest % u64::from(base)).unwrap_or(0);
            digits.unused -= 1;
            digits.bytes[digits.unused] = if value < 10 { b'0' + value } else { b'a' - 10 + value };
            rest /= u64::from(base);
            if rest == 0 {
                return digits;
            }
        }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.unused..]
    }
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
