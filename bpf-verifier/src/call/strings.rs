//! Constant strings, and formats.

use bpf_isa::Reg;

use crate::call::CallError;
use crate::cx::StepCx;
use crate::error::Reason;
use crate::memory::map_value::{self, By};
use crate::state::{MapNo, Value};

/// Checks that an argument is a string that no one can change any more.
///
/// Linux: `check_reg_const_str`.
pub(crate) fn check_constant(cx: &mut StepCx<'_, '_>, reg: Reg) -> Result<(), Reason> {
    let Some(Value::Pointer(pointer)) = cx.state.reg(reg).copied() else {
        return Err(CallError::StringNotReadOnly { reg }.into());
    };
    let Some(map) = pointer.map() else {
        return Err(CallError::StringNotReadOnly { reg }.into());
    };
    if cx.env.host.constant(cx.env.map(map), 0, 1).is_none() {
        return Err(CallError::StringNotReadOnly { reg }.into());
    }
    let Some(off) = pointer.constant_off() else {
        return Err(CallError::StringVariable { reg }.into());
    };
    let size = i64::from(cx.env.map(map).value_size);
    let from = i64::from(pointer.off);
    map_value::check(cx, &pointer, reg, from, size - from, false, By::Helper)?;
    if text_at(cx, map, off).is_none() {
        return Err(CallError::StringUnended.into());
    }
    Ok(())
}

/// The string at an offset of a read-only map's value, if it ends there.
pub(crate) fn text_at(cx: &StepCx<'_, '_>, map: MapNo, off: i64) -> Option<Vec<u8>> {
    let facts = cx.env.map(map);
    let from = u32::try_from(off).ok()?;
    let mut text = Vec::new();
    for at in from..facts.value_size {
        let byte = u8::try_from(cx.env.host.constant(facts, at, 1)?).ok()?;
        if byte == 0 {
            return Some(text);
        }
        text.push(byte);
    }
    None
}

/// Checks the format of `bpf_snprintf` against the number of its arguments.
///
/// Linux: `check_bpf_snprintf_call`.
pub(crate) fn check_snprintf(cx: &mut StepCx<'_, '_>) -> Result<(), Reason> {
    let size = cx.state.reg(Reg::R5).and_then(Value::as_constant).unwrap_or(0);
    if !size.is_multiple_of(8) {
        return Err(CallError::FormatArguments.into());
    }
    let Some(Value::Pointer(pointer)) = cx.state.reg(Reg::R3).copied() else { return Ok(()) };
    let format = pointer.map().zip(pointer.constant_off());
    let Some(format) = format.and_then(|(map, off)| text_at(cx, map, off)) else {
        return Ok(());
    };
    match conversions(&format) {
        Some(count) if count <= size / 8 => Ok(()),
        Some(_) | None => Err(CallError::FormatInvalid.into()),
    }
}

/// How many arguments a format takes; `None` if it is no format.
///
/// Linux: `bpf_bprintf_prepare`.
fn conversions(format: &[u8]) -> Option<u64> {
    let mut count = 0;
    let mut rest = format.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if !byte.is_ascii() || (byte.is_ascii_control() && !byte.is_ascii_whitespace()) {
            return None;
        }
        if byte != b'%' {
            continue;
        }
        if rest.next_if_eq(&b'%').is_some() {
            continue;
        }
        while rest.next_if(|byte| matches!(byte, b'0' | b'+' | b'-' | b' ')).is_some() {}
        while rest.next_if(u8::is_ascii_digit).is_some() {}
        match rest.next()? {
            b'p' => match rest.peek() {
                Some(b'i' | b'I') => {
                    rest.next();
                    rest.next_if(|byte| matches!(byte, b'4' | b'6'))?;
                }
                Some(b'k' | b'u') => {
                    rest.next();
                    rest.next_if_eq(&b's');
                }
                Some(b'x' | b'K' | b's' | b'S' | b'B') => {
                    rest.next();
                }
                _ => {}
            },
            b's' | b'c' | b'd' | b'i' | b'u' | b'x' | b'X' => {}
            b'l' => {
                rest.next_if_eq(&b'l');
                rest.next_if(|byte| matches!(byte, b'd' | b'i' | b'u' | b'x' | b'X'))?;
            }
            _ => return None,
        }
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_say_how_many_arguments_they_take() {
        assert_eq!(conversions(b"%d%% of %llu at %pI4"), Some(3));
        assert_eq!(conversions(b"%08x"), Some(1));
        assert_eq!(conversions(b"%y"), None);
        assert_eq!(conversions(b"%"), None);
    }
}
