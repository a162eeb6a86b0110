//! Sentences of the dialect.

use crate::insn::{
    AtomicOp, ByteOrder, Call, Endian, Extension, Imm64, Insn, Operand, Reg, Size, Width,
};
use crate::opcode::{AluOp, JumpOp, whole};

use super::lexer::{Token, Word};
use super::{AsmError, AsmErrorKind};

/// An instruction, and the name in it whose meaning is not known yet.
pub(super) struct Statement<'a> {
    pub(super) insn: Insn,
    pub(super) open: Option<Pending<'a>>,
}

/// A name to be looked up when all labels are known.
pub(super) struct Pending<'a> {
    pub(super) name: &'a str,
    pub(super) column: u32,
    pub(super) target: Target,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Where a jump goes: a label.
    Jump,
    /// What is called: a label or a name the caller knows.
    Call,
    /// A wide immediate: a label's address, or a symbol.
    Symbol,
    /// A wide immediate: a label's address.
    Function,
    /// A wide immediate: a map.
    Map,
}

/// A label with its place.
pub(super) struct Label<'a> {
    pub(super) word: &'a str,
    pub(super) column: u32,
}

/// Reads one line.
pub(super) struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    next: usize,
    line: u32,
    open: Option<Pending<'a>>,
}

type Parsed<T> = Result<T, AsmError>;

impl<'t, 'a> Parser<'t, 'a> {
    pub(super) const fn new(tokens: &'t [Token<'a>], line: u32) -> Self {
        Self { tokens, next: 0, line, open: None }
    }

    /// The label at the beginning of what is left, if there is one. A number with a colon is a
    /// log's and means nothing.
    pub(super) fn label(&mut self) -> Option<Label<'a>> {
        loop {
            if !self.sees_sign(1, ":") {
                return None;
            }
            let token = self.peek(0)?;
            match token.word {
                Word::Name(word) => {
                    self.next += 2;
                    return Some(Label { word, column: token.column });
                }
                Word::Number { .. } => self.next += 2,
                Word::Sign(_) => return None,
            }
        }
    }

    /// The instruction, if the line has one.
    pub(super) fn statement(mut self) -> Parsed<Option<Statement<'a>>> {
        let opcode = self.opcode_prefix();
        let Some(first) = self.peek(0) else { return Ok(None) };
        let insn = match first.word {
            Word::Name("exit") => {
                self.next += 1;
                Insn::Exit
            }
            Word::Name("goto") => {
                self.next += 1;
                Insn::Jump { off: self.short_target()?.into(), long: false }
            }
            Word::Name("gotol") => {
                self.next += 1;
                Insn::Jump { off: self.long_target()?, long: true }
            }
            Word::Name("may_goto") => {
                self.next += 1;
                Insn::MayGoto { off: self.short_target()? }
            }
            Word::Name("if") => self.jump_if()?,
            Word::Name("call") => self.call()?,
            Word::Name("lock") => self.locked()?,
            Word::Name("store_release") => self.store_release()?,
            Word::Sign("*") => self.store()?,
            Word::Name(_) => self.assignment(opcode)?,
            Word::Number { .. } | Word::Sign(_) => return self.expected("an instruction"),
        };
        if self.next < self.tokens.len() {
            return self.expected("the end of the line");
        }
        Ok(Some(Statement { insn, open: self.open }))
    }

    /// The `(b7)` of a log, which tells a wide immediate from a narrow one.
    fn opcode_prefix(&mut self) -> Option<u8> {
        let text = self.peek(1)?.text;
        if !self.sees_sign(0, "(") || !self.sees_sign(2, ")") || text.len() != 2 {
            return None;
        }
        let opcode = u8::from_str_radix(text, 16).ok()?;
        self.next += 3;
        Some(opcode)
    }

    // Words.

    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.next + ahead).copied()
    }

    fn sees_sign(&self, ahead: usize, sign: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.word == Word::Sign(sign))
    }

    fn sees_name(&self, ahead: usize, name: &str) -> bool {
        self.peek(ahead).is_some_and(|token| token.word == Word::Name(name))
    }

    fn eat_sign(&mut self, sign: &str) -> bool {
        let seen = self.sees_sign(0, sign);
        self.next += usize::from(seen);
        seen
    }

    fn sign(&mut self, sign: &'static str) -> Parsed<()> {
        if self.eat_sign(sign) { Ok(()) } else { self.expected(sign) }
    }

    fn word(&mut self, name: &'static str) -> Parsed<()> {
        if !self.sees_name(0, name) {
            return self.expected(name);
        }
        self.next += 1;
        Ok(())
    }

    fn column(&self) -> u32 {
        let end = self.tokens.last();
        let after = end.map_or(1, |token| {
            token.column.saturating_add(u32::try_from(token.text.chars().count()).unwrap_or(0))
        });
        self.peek(0).map_or(after, |token| token.column)
    }

    fn error<T>(&self, kind: AsmErrorKind) -> Parsed<T> {
        Err(AsmError { line: self.line, column: self.column(), kind })
    }

    fn expected<T>(&self, expected: &'static str) -> Parsed<T> {
        let found = match self.peek(0) {
            Some(token) => format!("`{}`", token.text),
            None => "the end of the line".to_owned(),
        };
        self.error(AsmErrorKind::Expected { expected, found: found.into() })
    }

    // Operands.

    /// A register with the width its letter says, without going past it.
    fn sees_reg(&self, ahead: usize) -> Option<(Reg, Width)> {
        let Word::Name(name) = self.peek(ahead)?.word else { return None };
        let (width, number) = match name.split_at_checked(1)? {
            ("r" | "R", number) => (Width::W64, number),
            ("w", number) => (Width::W32, number),
            _ => return None,
        };
        if number.len() > 1 && number.starts_with('0') {
            return None;
        }
        Some((Reg::new(number.parse().ok()?)?, width))
    }

    fn any_reg(&mut self) -> Parsed<(Reg, Width)> {
        let Some(found) = self.sees_reg(0) else { return self.expected("a register") };
        self.next += 1;
        Ok(found)
    }

    fn reg(&mut self, width: Width) -> Parsed<Reg> {
        match self.sees_reg(0) {
            Some((_, found)) if found != width => self.wrong_width(),
            _ => Ok(self.any_reg()?.0),
        }
    }

    fn wrong_width<T>(&self) -> Parsed<T> {
        let text = self.peek(0).map_or("", |token| token.text);
        self.error(AsmErrorKind::Width(text.into()))
    }

    /// Whether a number, with or without a sign, comes next.
    fn sees_number(&self) -> bool {
        let ahead = usize::from(self.sees_sign(0, "-") || self.sees_sign(0, "+"));
        matches!(self.peek(ahead), Some(Token { word: Word::Number { .. }, .. }))
    }

    /// A number with its sign, and whether it was written in hexadecimal.
    fn number(&mut self) -> Parsed<(i128, bool)> {
        let negative = self.eat_sign("-");
        if !negative {
            self.eat_sign("+");
        }
        let Some(Token { word: Word::Number { value, hex }, .. }) = self.peek(0) else {
            return self.expected("a number");
        };
        self.next += 1;
        let value = i128::from(value);
        Ok((if negative { -value } else { value }, hex))
    }

    /// A number that fits in `T`.
    fn fitting<T: TryFrom<i128>>(&mut self, bits: u32) -> Parsed<T> {
        let at = self.next;
        let (value, _) = self.number()?;
        T::try_from(value).or_else(|_| {
            self.next = at;
            self.error(AsmErrorKind::Range { value, bits })
        })
    }

    /// An immediate. Those of jumps and of 32-bit arithmetic may be written as what their bits
    /// are without a sign, which is how the log shows them.
    fn imm(&mut self, as_bits: bool) -> Parsed<i32> {
        let at = self.next;
        let (value, hex) = self.number()?;
        if let Ok(value) = i32::try_from(value) {
            return Ok(value);
        }
        match u32::try_from(value) {
            Ok(bits) if as_bits && hex => Ok(bits.cast_signed()),
            _ => {
                self.next = at;
                self.error(AsmErrorKind::Range { value, bits: 32 })
            }
        }
    }

    fn operand(&mut self, width: Width, as_bits: bool) -> Parsed<Operand> {
        if self.sees_reg(0).is_some() {
            Ok(Operand::Reg(self.reg(width)?))
        } else {
            Ok(Operand::Imm(self.imm(as_bits)?))
        }
    }

    /// `u32 *`, after its bracket and with the one behind it.
    fn memory_type(&mut self) -> Parsed<(Size, Extension)> {
        let Some(Token { word: Word::Name(name), .. }) = self.peek(0) else {
            return self.expected("a type");
        };
        let Some(found) = type_of(name) else { return self.expected("a type such as u32") };
        self.next += 1;
        self.sign("*")?;
        self.sign(")")?;
        Ok(found)
    }

    /// `rB + off`, within brackets or not.
    fn place(&mut self) -> Parsed<(Reg, i16)> {
        let base = self.reg(Width::W64)?;
        if self.sees_sign(0, "+") || self.sees_sign(0, "-") {
            // `r1 + -8` is written too.
            let plus = self.sees_sign(0, "+") && self.sees_sign(1, "-");
            self.next += usize::from(plus);
            return Ok((base, self.fitting(16)?));
        }
        Ok((base, 0))
    }

    /// `(rB + off)`
    fn address(&mut self) -> Parsed<(Reg, i16)> {
        self.sign("(")?;
        let place = self.place()?;
        self.sign(")")?;
        Ok(place)
    }

    // Jumps and calls.

    /// `+3`, `pc+3`, `3` or a label.
    fn target<T: TryFrom<i128> + Default>(&mut self, bits: u32) -> Parsed<T> {
        if self.sees_name(0, "pc") && (self.sees_sign(1, "+") || self.sees_sign(1, "-")) {
            self.next += 1;
        }
        if self.sees_number() {
            return self.fitting(bits);
        }
        self.name(Target::Jump, "a label or an offset")?;
        Ok(T::default())
    }

    fn short_target(&mut self) -> Parsed<i16> {
        self.target(16)
    }

    fn long_target(&mut self) -> Parsed<i32> {
        self.target(32)
    }

    /// A name whose meaning is looked up later.
    fn name(&mut self, target: Target, expected: &'static str) -> Parsed<&'a str> {
        let Some(Token { word: Word::Name(name), column, .. }) = self.peek(0) else {
            return self.expected(expected);
        };
        self.next += 1;
        self.open = Some(Pending { name, column, target });
        Ok(name)
    }

    fn jump_if(&mut self) -> Parsed<Insn> {
        self.word("if")?;
        let (dst, width) = self.any_reg()?;
        let symbol = self.peek(0).map_or("", |token| token.text);
        let Some(op) = JumpOp::ALL.iter().copied().find(|op| op.symbol() == symbol) else {
            return self.expected("a comparison");
        };
        self.next += 1;
        let src = self.operand(width, true)?;
        self.word("goto")?;
        Ok(Insn::JumpIf { op, width, dst, src, off: self.short_target()? })
    }

    /// `call 1`, `call bpf_map_lookup_elem#1`, `call pc+4`, `call NAME`.
    fn call(&mut self) -> Parsed<Insn> {
        self.word("call")?;
        if self.sees_name(0, "pc") && (self.sees_sign(1, "+") || self.sees_sign(1, "-")) {
            self.next += 1;
            return Ok(Insn::Call(Call::Local(self.fitting(32)?)));
        }
        if self.sees_number() {
            return Ok(Insn::Call(Call::Helper(self.imm(false)?)));
        }
        let name = if self.sees_sign(0, "#") { "" } else { self.name(Target::Call, "a function")? };
        if !self.eat_sign("#") {
            return Ok(Insn::Call(Call::Helper(0)));
        }
        self.open = None;
        let number = self.fitting(32)?;
        if name != "kfunc" {
            return Ok(Insn::Call(Call::Helper(number)));
        }
        let btf_fd_idx = if self.eat_sign(":") { self.fitting(16)? } else { 0 };
        Ok(Insn::Call(Call::Kfunc { btf_id: number, btf_fd_idx }))
    }

    // Stores.

    fn store(&mut self) -> Parsed<Insn> {
        let (size, (base, off)) = self.memory()?;
        self.sign("=")?;
        let src = if let Some((src, _)) = self.sees_reg(0) {
            self.next += 1;
            Operand::Reg(src)
        } else {
            Operand::Imm(self.imm(true)?)
        };
        Ok(Insn::Store { size, base, off, src })
    }

    /// `*(u32 *)(rB + off)`
    fn memory(&mut self) -> Parsed<(Size, (Reg, i16))> {
        self.sign("*")?;
        self.sign("(")?;
        let size = self.unsigned_type()?;
        Ok((size, self.address()?))
    }

    fn unsigned_type(&mut self) -> Parsed<Size> {
        let at = self.next;
        let (size, ext) = self.memory_type()?;
        if ext == Extension::Signed {
            self.next = at;
            return self.expected("an unsigned type");
        }
        Ok(size)
    }

    /// The type of atomics, `u32` or `u64`.
    fn atomic_type(&mut self) -> Parsed<Size> {
        let at = self.next;
        let size = self.unsigned_type()?;
        if size.bytes() < 4 {
            self.next = at;
            return self.expected("u32 or u64");
        }
        Ok(size)
    }

    fn locked(&mut self) -> Parsed<Insn> {
        self.word("lock")?;
        self.sign("*")?;
        self.sign("(")?;
        let size = self.atomic_type()?;
        let (base, off) = self.address()?;
        let op = match self.peek(0).map_or("", |token| token.text) {
            "+=" => AtomicOp::Add { fetch: false },
            "|=" => AtomicOp::Or { fetch: false },
            "&=" => AtomicOp::And { fetch: false },
            "^=" => AtomicOp::Xor { fetch: false },
            _ => return self.expected("+=, |=, &= or ^="),
        };
        self.next += 1;
        let (src, _) = self.any_reg()?;
        Ok(Insn::Atomic { op, size, base, off, src })
    }

    fn store_release(&mut self) -> Parsed<Insn> {
        self.word("store_release")?;
        self.sign("(")?;
        self.sign("(")?;
        let size = self.unsigned_type()?;
        let (base, off) = self.address()?;
        self.sign(",")?;
        let (src, _) = self.any_reg()?;
        self.sign(")")?;
        Ok(Insn::StoreRelease { size, base, off, src })
    }

    // Assignments.

    fn assignment(&mut self, opcode: Option<u8>) -> Parsed<Insn> {
        let Some((dst, width)) = self.sees_reg(0) else {
            return self.expected("an instruction");
        };
        self.next += 1;
        let symbol = self.peek(0).map_or("", |token| token.text);
        let signed = symbol == "s/=" || symbol == "s%=";
        let plain = if signed { &symbol[1..] } else { symbol };
        let Some(op) = AluOp::ALL.iter().copied().find(|op| op.symbol() == plain) else {
            return self.expected("= or an operator such as +=");
        };
        self.next += 1;
        if op == AluOp::Mov {
            return self.value(dst, width, opcode == Some(whole::LOAD_IMM64));
        }
        let src = self.operand(width, width == Width::W32)?;
        Ok(if signed {
            Insn::AluSigned { op, width, dst, src }
        } else {
            Insn::Alu { op, width, dst, src }
        })
    }

    /// What stands to the right of `rD =`.
    fn value(&mut self, dst: Reg, width: Width, wide: bool) -> Parsed<Insn> {
        if self.sees_sign(0, "-") && self.sees_reg(1).is_some() {
            self.next += 1;
            self.same(dst, width)?;
            return Ok(Insn::Neg { width, dst });
        }
        if self.sees_sign(0, "(") {
            return self.extended(dst, width);
        }
        if self.eat_sign("*") {
            self.sign("(")?;
            return self.loaded(dst);
        }
        if self.sees_reg(0).is_some() {
            let src = Operand::Reg(self.reg(width)?);
            return Ok(Insn::Alu { op: AluOp::Mov, width, dst, src });
        }
        if self.sees_number() {
            return self.constant(dst, width, wide);
        }
        let Some(Token { word: Word::Name(name), .. }) = self.peek(0) else {
            return self.expected("a value");
        };
        if let Some((kind, size)) = byte_order(name) {
            self.next += 1;
            self.same(dst, width)?;
            return Ok(Insn::Endian { kind, size, dst });
        }
        match name {
            "addr_space_cast" => self.addr_space_cast(dst),
            "load_acquire" => self.load_acquire(dst),
            "map" | "btf" | "subprog" | "func" if self.sees_sign(1, "[") => self.symbol(dst),
            _ if self.sees_sign(1, "(") => self.fetched(dst),
            _ => {
                self.name(Target::Symbol, "a value")?;
                self.wide(dst, Imm64::MapFd(0))
            }
        }
    }

    /// The register the result goes to.
    fn same(&mut self, dst: Reg, width: Width) -> Parsed<()> {
        match self.sees_reg(0) {
            Some(found) if found == (dst, width) => {
                self.next += 1;
                Ok(())
            }
            _ => {
                let letter = if width == Width::W64 { 'r' } else { 'w' };
                let name = format!("{letter}{}", dst.number());
                self.error(AsmErrorKind::SameRegister(name.into()))
            }
        }
    }

    /// `(s8)r2`
    fn extended(&mut self, dst: Reg, width: Width) -> Parsed<Insn> {
        self.sign("(")?;
        let Some(Token { word: Word::Name(name), .. }) = self.peek(0) else {
            return self.expected("s8, s16 or s32");
        };
        let from = match (type_of(name), width) {
            (Some((size @ (Size::B | Size::H), Extension::Signed)), _) => size,
            (Some((Size::W, Extension::Signed)), Width::W64) => Size::W,
            _ => return self.expected("s8, s16 or s32"),
        };
        self.next += 1;
        self.sign(")")?;
        Ok(Insn::MovSx { width, dst, src: self.reg(width)?, from })
    }

    /// `u32 *)(r1 + 0)` or `u32 *)skb[0]`
    fn loaded(&mut self, dst: Reg) -> Parsed<Insn> {
        let (size, ext) = self.memory_type()?;
        if !self.sees_name(0, "skb") {
            let (base, off) = self.address()?;
            if (size, ext) == (Size::DW, Extension::Signed) {
                return self.expected("fewer than 64 bits");
            }
            return Ok(Insn::Load { size, ext, dst, base, off });
        }
        if dst != Reg::R0 || size == Size::DW || ext == Extension::Signed {
            return self.error(AsmErrorKind::SameRegister("r0".into()));
        }
        self.next += 1;
        self.sign("[")?;
        let insn = if self.sees_reg(0).is_some() {
            let src = self.reg(Width::W64)?;
            // `skb[r2 + -7]`
            let signed = self.sees_sign(0, "+") && self.sees_sign(1, "-");
            self.next += usize::from(signed);
            let imm = if self.sees_number() { self.imm(false)? } else { 0 };
            Insn::LoadInd { size, src, imm }
        } else {
            Insn::LoadAbs { size, imm: self.imm(false)? }
        };
        self.sign("]")?;
        Ok(insn)
    }

    /// A number: narrow, or with `ll` wide.
    fn constant(&mut self, dst: Reg, width: Width, wide: bool) -> Parsed<Insn> {
        let at = self.next;
        let (value, _) = self.number()?;
        if width == Width::W64 && (wide || self.sees_name(0, "ll")) {
            let Ok(bits) =
                u64::try_from(value).or_else(|_| i64::try_from(value).map(i64::cast_unsigned))
            else {
                self.next = at;
                return self.error(AsmErrorKind::Range { value, bits: 64 });
            };
            return self.wide(dst, Imm64::Value(bits));
        }
        self.next = at;
        let src = Operand::Imm(self.imm(width == Width::W32)?);
        Ok(Insn::Alu { op: AluOp::Mov, width, dst, src })
    }

    /// A wide immediate, with or without `ll`.
    fn wide(&mut self, dst: Reg, imm: Imm64) -> Parsed<Insn> {
        self.next += usize::from(self.sees_name(0, "ll"));
        Ok(Insn::LoadImm64 { dst, imm })
    }

    /// `map[NAME]`, `map[fd:3]`, `map[idx:1][0]+8`, `btf[id:7, fd:3]`, `subprog[+5]`, `func[NAME]`
    fn symbol(&mut self, dst: Reg) -> Parsed<Insn> {
        let kind = self.peek(0).map_or("", |token| token.text);
        self.next += 2;
        let imm = match kind {
            "btf" => {
                let id = self.field("id")?;
                let btf_fd = if self.eat_sign(",") { self.field("fd")? } else { 0 };
                self.sign("]")?;
                Imm64::BtfId { id, btf_fd }
            }
            "map" => return self.map(dst),
            _ if self.sees_number() => {
                let off = self.fitting(32)?;
                self.sign("]")?;
                Imm64::Func { off }
            }
            _ => {
                self.name(Target::Function, "a label or an offset")?;
                self.sign("]")?;
                Imm64::Func { off: 0 }
            }
        };
        self.wide(dst, imm)
    }

    /// `fd:3`
    fn field(&mut self, name: &'static str) -> Parsed<i32> {
        self.word(name)?;
        self.sign(":")?;
        self.fitting(32)
    }

    fn map(&mut self, dst: Reg) -> Parsed<Insn> {
        let by_index = self.sees_name(0, "idx") && self.sees_sign(1, ":");
        let number = if by_index {
            self.field("idx")?
        } else if self.sees_name(0, "fd") && self.sees_sign(1, ":") {
            self.field("fd")?
        } else {
            self.name(Target::Map, "a map")?;
            0
        };
        self.sign("]")?;
        let imm = if self.eat_sign("[") {
            self.word_number(0)?;
            self.sign("]")?;
            let off = if self.sees_sign(0, "+") { self.fitting(32)? } else { 0 };
            if by_index {
                Imm64::MapIdxValue { idx: number, off }
            } else {
                Imm64::MapValue { fd: number, off }
            }
        } else if by_index {
            Imm64::MapIdx(number)
        } else {
            Imm64::MapFd(number)
        };
        self.wide(dst, imm)
    }

    fn word_number(&mut self, wanted: u64) -> Parsed<()> {
        match self.peek(0) {
            Some(Token { word: Word::Number { value, .. }, .. }) if value == wanted => {
                self.next += 1;
                Ok(())
            }
            _ => self.expected("0, the only key"),
        }
    }

    /// `addr_space_cast(r2, 0, 1)`
    fn addr_space_cast(&mut self, dst: Reg) -> Parsed<Insn> {
        self.next += 1;
        self.sign("(")?;
        let src = self.reg(Width::W64)?;
        self.sign(",")?;
        let to = self.fitting(16)?;
        self.sign(",")?;
        let from = self.fitting(16)?;
        self.sign(")")?;
        Ok(Insn::AddrSpaceCast { dst, src, to, from })
    }

    /// `load_acquire((u64 *)(r1 + 0))`
    fn load_acquire(&mut self, dst: Reg) -> Parsed<Insn> {
        self.next += 1;
        self.sign("(")?;
        self.sign("(")?;
        let size = self.unsigned_type()?;
        let (base, off) = self.address()?;
        self.sign(")")?;
        Ok(Insn::LoadAcquire { size, dst, base, off })
    }

    /// `atomic64_fetch_add((u64 *)(r1 + 0), r2)`, clang's `xchg_64(r1 + 0, r2)` and so on.
    fn fetched(&mut self, dst: Reg) -> Parsed<Insn> {
        let name = self.peek(0).map_or("", |token| token.text);
        let Some((op, fixed)) = atomic_function(name) else {
            return self.expected("a value");
        };
        self.next += 1;
        self.sign("(")?;
        let (size, (base, off)) = match fixed {
            Some(size) => (size, self.place()?),
            None => {
                self.sign("(")?;
                let size = self.atomic_type()?;
                (size, self.address()?)
            }
        };
        self.sign(",")?;
        if op == AtomicOp::CmpXchg {
            if !matches!(self.sees_reg(0), Some((Reg::R0, _))) || dst != Reg::R0 {
                return self.error(AsmErrorKind::SameRegister("r0".into()));
            }
            self.next += 1;
            self.sign(",")?;
        }
        let (src, _) = self.any_reg()?;
        if op != AtomicOp::CmpXchg && src != dst {
            self.next -= 1;
            return self.error(AsmErrorKind::SameRegister(format!("r{}", dst.number()).into()));
        }
        self.sign(")")?;
        Ok(Insn::Atomic { op, size, base, off, src })
    }
}

/// `u8` … `s64`
fn type_of(name: &str) -> Option<(Size, Extension)> {
    let (ext, bits) = match name.split_at_checked(1)? {
        ("u", bits) => (Extension::Unsigned, bits),
        ("s", bits) => (Extension::Signed, bits),
        _ => return None,
    };
    let size = match bits {
        "8" => Size::B,
        "16" => Size::H,
        "32" => Size::W,
        "64" => Size::DW,
        _ => return None,
    };
    Some((size, ext))
}

/// `le16` … `bswap64`
fn byte_order(name: &str) -> Option<(Endian, Size)> {
    let bits = name.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let kind = match &name[..name.len() - bits.len()] {
        "le" => Endian::To(ByteOrder::Little),
        "be" => Endian::To(ByteOrder::Big),
        "bswap" => Endian::Swap,
        _ => return None,
    };
    let size = match bits {
        "16" => Size::H,
        "32" => Size::W,
        "64" => Size::DW,
        _ => return None,
    };
    Some((kind, size))
}

/// The operation of a function that returns the old value, and its size if the name says it.
fn atomic_function(name: &str) -> Option<(AtomicOp, Option<Size>)> {
    match name {
        "xchg_64" => return Some((AtomicOp::Xchg, Some(Size::DW))),
        "xchg32_32" => return Some((AtomicOp::Xchg, Some(Size::W))),
        "cmpxchg_64" => return Some((AtomicOp::CmpXchg, Some(Size::DW))),
        "cmpxchg32_32" => return Some((AtomicOp::CmpXchg, Some(Size::W))),
        _ => {}
    }
    let rest = name.strip_prefix("atomic64_").or_else(|| name.strip_prefix("atomic_"))?;
    let op = match rest {
        "fetch_add" => AtomicOp::Add { fetch: true },
        "fetch_or" => AtomicOp::Or { fetch: true },
        "fetch_and" => AtomicOp::And { fetch: true },
        "fetch_xor" => AtomicOp::Xor { fetch: true },
        "xchg" => AtomicOp::Xchg,
        "cmpxchg" => AtomicOp::CmpXchg,
        _ => return None,
    };
    Some((op, None))
}
