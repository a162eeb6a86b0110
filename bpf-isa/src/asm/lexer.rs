//! Words of the dialect.

use super::{AsmError, AsmErrorKind};

/// A word and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) word: Word<'a>,
    /// The text of the word, for messages.
    pub(super) text: &'a str,
    /// Counted in characters, from one.
    pub(super) column: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// A name, a register or a keyword.
    Name(&'a str),
    /// A number without its sign.
    Number { value: u64, hex: bool },
    /// An operator or a bracket.
    Sign(&'a str),
}

/// The signs of more than one character, longest first.
const LONG_SIGNS: &[&str] = &[
    "s>>=", "<<=", ">>=", "s/=", "s%=", "s>=", "s<=", "+=", "-=", "*=", "/=", "%=", "&=", "|=",
    "^=", "==", "!=", ">=", "<=", "s>", "s<",
];

/// The words of a line, up to its comment.
pub(super) fn words(line: &str, number: u32) -> Result<Vec<Token<'_>>, AsmError> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = line;
    let mut column = 1_u32;
    loop {
        let trimmed = rest.trim_start();
        column += count(&rest[..rest.len() - trimmed.len()]);
        let touches = trimmed.len() == rest.len();
        rest = trimmed;
        if rest.is_empty() || begins_comment(rest, touches, tokens.last()) {
            return Ok(tokens);
        }
        let (word, length) = word(rest).map_err(|kind| AsmError { line: number, column, kind })?;
        let (text, tail) = rest.split_at(length);
        tokens.push(Token { word, text, column });
        column += count(text);
        rest = tail;
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

/// A `#` directly after a name belongs to it: `bpf_map_lookup_elem#1`.
fn begins_comment(rest: &str, touches: bool, last: Option<&Token<'_>>) -> bool {
    if rest.starts_with(';') || rest.starts_with("//") {
        return true;
    }
    let names = touches && last.is_some_and(|token| matches!(token.word, Word::Name(_)));
    rest.starts_with('#')
        && !(names && rest[1..].starts_with(|c: char| c == '-' || c.is_ascii_digit()))
}

/// The first word of `rest`, which is not empty, and its length in bytes.
fn word(rest: &str) -> Result<(Word<'_>, usize), AsmErrorKind> {
    if let Some(sign) = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Word::Sign(&rest[..sign.len()]), sign.len()));
    }
    let Some(first) = rest.chars().next() else { return Err(AsmErrorKind::Character(' ')) };
    if first.is_ascii_digit() {
        return number(rest);
    }
    if is_of_name(first) {
        let length = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        return Ok((Word::Name(&rest[..length]), length));
    }
    if "+-*/%&|^=<>()[],:#!".contains(first) {
        return Ok((Word::Sign(&rest[..1]), 1));
    }
    Err(AsmErrorKind::Character(first))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '@')
}

fn number(rest: &str) -> Result<(Word<'_>, usize), AsmErrorKind> {
    let length = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
    let text = &rest[..length];
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let value = match digits {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match value {
        Ok(value) => Ok((Word::Number { value, hex: digits.is_some() }, length)),
        // The opcode in a line of the log: `(0f)`.
        Err(_) if length == 2 && u8::from_str_radix(text, 16).is_ok() => {
            Ok((Word::Name(text), length))
        }
        Err(_) => Err(AsmErrorKind::Number(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<&str> {
        words(line, 1).unwrap().into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn signed_operators_are_one_word() {
        assert_eq!(texts("r1 s>>= 3"), ["r1", "s>>=", "3"]);
        assert_eq!(texts("if r1 s< s goto +1"), ["if", "r1", "s<", "s", "goto", "+", "1"]);
    }

    #[test]
    fn a_hash_begins_a_comment_unless_it_numbers_a_name() {
        assert_eq!(texts("call f#1 # it"), ["call", "f", "#", "1"]);
        assert_eq!(texts("exit #1"), ["exit"]);
        assert_eq!(texts("call unknown#-7"), ["call", "unknown", "#", "-", "7"]);
    }

    #[test]
    fn columns_count_characters() {
        let error = words("r1 = é", 7).unwrap_err();
        assert_eq!((error.line, error.column), (7, 6));
        assert_eq!(error.kind, AsmErrorKind::Character('é'));
    }
}
