//! Types from text: declarations much like C's.
//!
//! ```text
//! struct foo { int a; char name[16]; }
//! enum mode { OFF ON }
//! typedef struct foo foo_t
//! fn int test(struct xdp_md *ctx)
//! fn long f(const struct foo *p nonnull, int x)
//! static int helper(void *p)
//! ```
//!
//! Functions are in the order of the program's. A word behind a parameter is a tag of it: `nonnull`
//! is `arg:nonnull`. A structure that is nowhere declared has no members; `fwd NAME` is one that is
//! not defined.

use std::collections::HashMap;
use std::sync::Arc;

use bpf_abi::spec::{InfoBlob, ProgramSpec};
use bpf_btf::{Btf, Builder, FuncLinkage, Fwd, Int, TypeId};
use bpf_isa::Program;

/// The first words of declarations.
pub const WORDS: &[&str] = &["struct", "union", "enum", "enum64", "typedef", "fwd", "fn", "static"];

/// The size of a record of `func_info`.
const RECORD: u32 = 8;

/// Gives a program the types that these declarations say.
///
/// # Errors
///
/// Returns the declaration that cannot be read, or what does not fit the program.
pub fn declare(program: &mut ProgramSpec, declarations: &[&str]) -> Result<(), String> {
    let mut types = Types::default();
    for line in declarations {
        let mut reader = Reader { types: &mut types, words: words(line), at: 0 };
        reader.declaration().map_err(|error| format!("{line}: {error}"))?;
    }
    let insns = Program::from_slots(&program.insns).map_err(|error| error.to_string())?;
    let starts = insns.functions();
    if starts.len() != types.functions.len() {
        let (code, declared) = (starts.len(), types.functions.len());
        return Err(format!("{code} functions, of which {declared} are declared"));
    }
    let records = starts.into_iter().zip(&types.functions);
    let words = records.flat_map(|(start, func)| [start.0, func.0]);
    let bytes = words.flat_map(u32::to_le_bytes).collect();
    program.func_info = InfoBlob { rec_size: RECORD, bytes };
    let built: Btf = types.builder.finish().map_err(|error| error.to_string())?;
    program.btf = Some(Arc::new(built));
    Ok(())
}

/// Names, numbers and marks.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in line.split_whitespace() {
        let mut rest = part;
        while let Some(first) = rest.chars().next() {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let end =
                if is_name(first) { rest.find(|c| !is_name(c)) } else { Some(first.len_utf8()) };
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            words.push(word);
            rest = after;
        }
    }
    words
}

#[derive(Default)]
struct Types {
    builder: Builder,
    known: HashMap<String, (TypeId, u32)>,
    functions: Vec<TypeId>,
}

struct Reader<'t, 'w> {
    types: &'t mut Types,
    words: Vec<&'w str>,
    at: usize,
}

type Sized = (TypeId, u32);

impl Reader<'_, '_> {
    fn peek(&self) -> &str {
        self.words.get(self.at).copied().unwrap_or("")
    }

    fn take(&mut self) -> String {
        let word = self.peek().to_owned();
        self.at += 1;
        word
    }

    fn is(&mut self, mark: &str) -> bool {
        let is = self.peek() == mark;
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, mark: &str) -> Result<(), String> {
        if self.is(mark) {
            Ok(())
        } else {
            Err(format!("{mark:?} expected, not {:?}", self.peek()))
        }
    }

    fn declaration(&mut self) -> Result<(), String> {
        match self.peek() {
            "fn" => self.function(FuncLinkage::Global),
            "static" => self.function(FuncLinkage::Static),
            "typedef" => {
                self.take();
                let (ty, size) = self.ty()?;
                let name = self.take();
                let id = self.types.builder.typedef(&name, ty);
                self.types.known.insert(name, (id, size));
                Ok(())
            }
            "fwd" => {
                self.take();
                let name = self.take();
                let id = self.types.builder.fwd(&name, Fwd::Struct);
                self.types.known.insert(format!("struct {name}"), (id, 0));
                Ok(())
            }
            _ => self.ty().map(|_| ()),
        }
    }

    fn function(&mut self, linkage: FuncLinkage) -> Result<(), String> {
        self.take();
        let (ret, _) = self.ty()?;
        let name = self.take();
        self.expect("(")?;
        let (mut params, mut tags) = (Vec::new(), Vec::new());
        while !self.is(")") {
            let (ty, _) = self.ty()?;
            let param = self.take();
            while self.peek() != "," && self.peek() != ")" {
                if self.peek().is_empty() {
                    return Err("\")\" expected".to_owned());
                }
                tags.push((params.len(), self.take()));
            }
            self.is(",");
            params.push((param, ty));
        }
        let params: Vec<_> = params.iter().map(|(name, ty)| (name.as_str(), *ty)).collect();
        let builder = &mut self.types.builder;
        let proto = builder.proto(ret, &params);
        let func = builder.func(&name, proto, linkage);
        for (param, tag) in tags {
            let param = u32::try_from(param).map_err(|error| error.to_string())?;
            builder.decl_tag(&format!("arg:{tag}"), func, Some(param));
        }
        self.types.functions.push(func);
        Ok(())
    }

    /// A type, with its size in bytes.
    fn ty(&mut self) -> Result<Sized, String> {
        let is_const = self.is("const");
        let is_volatile = self.is("volatile");
        let (mut ty, mut size) = self.base()?;
        let builder = &mut self.types.builder;
        if is_const {
            ty = builder.constant(ty);
        }
        if is_volatile {
            ty = builder.volatile(ty);
        }
        loop {
            if self.is("*") {
                (ty, size) = (self.types.builder.ptr(ty), 8);
                if self.is("restrict") {
                    ty = self.types.builder.restrict(ty);
                }
            } else if self.is("[") {
                (ty, size) = self.array((ty, size))?;
            } else {
                return Ok((ty, size));
            }
        }
    }

    fn array(&mut self, (element, size): Sized) -> Result<Sized, String> {
        let len: u32 = self.take().parse().map_err(|_| "no number of elements")?;
        self.expect("]")?;
        let (index, _) = self.named("int")?;
        Ok((self.types.builder.array(element, index, len), size * len))
    }

    fn base(&mut self) -> Result<Sized, String> {
        match self.take().as_str() {
            kind @ ("struct" | "union") => self.composite(kind == "union"),
            kind @ ("enum" | "enum64") => self.enumeration(kind == "enum64"),
            "unsigned" => {
                let name = format!("unsigned {}", self.take());
                self.named(&name)
            }
            name => self.named(name),
        }
    }

    fn named(&mut self, name: &str) -> Result<Sized, String> {
        if let Some(known) = self.types.known.get(name) {
            return Ok(*known);
        }
        let (size, signed): (u32, bool) = match name {
            "void" => return Ok((TypeId::VOID, 0)),
            "char" => (1, true),
            "bool" | "unsigned char" => (1, false),
            "short" => (2, true),
            "int" => (4, true),
            "unsigned int" => (4, false),
            "long" => (8, true),
            "unsigned long" => (8, false),
            "__int128" => (16, true),
            "float" => {
                let id = self.types.builder.float(name, 4);
                return Ok((id, 4));
            }
            _ => return Err(format!("there is no type {name:?}")),
        };
        let bits = u8::try_from(size * 8).map_err(|error| error.to_string())?;
        let (char, bool) = (false, name == "bool");
        let int = Int { size, bits, offset: 0, signed, char, bool };
        let id = self.types.builder.any_int(name, int);
        self.types.known.insert(name.to_owned(), (id, size));
        Ok((id, size))
    }

    fn composite(&mut self, is_union: bool) -> Result<Sized, String> {
        let name = if self.peek() == "{" { String::new() } else { self.take() };
        let key = format!("{} {name}", if is_union { "union" } else { "struct" });
        if !self.is("{") {
            if let Some(known) = self.types.known.get(&key) {
                return Ok(*known);
            }
            return Ok(self.finish(&key, &name, is_union, &[]));
        }
        let mut members = Vec::new();
        while !self.is("}") {
            let (mut ty, mut size) = self.ty()?;
            let member = self.take();
            while self.is("[") {
                (ty, size) = self.array((ty, size))?;
            }
            self.expect(";")?;
            members.push((member, ty, size));
        }
        Ok(self.finish(&key, &name, is_union, &members))
    }

    /// Members one behind the other, each at a multiple of its size, of up to 8 bytes.
    fn finish(
        &mut self,
        key: &str,
        name: &str,
        is_union: bool,
        members: &[(String, TypeId, u32)],
    ) -> Sized {
        let builder = &mut self.types.builder;
        let size;
        let id = if is_union {
            size = members.iter().map(|(_, _, size)| *size).max().unwrap_or(0);
            let members: Vec<_> =
                members.iter().map(|(name, ty, _)| (name.as_str(), *ty)).collect();
            builder.union(name, size, &members)
        } else {
            let mut end = 0_u32;
            let mut placed = Vec::new();
            for (name, ty, size) in members {
                let at = end.next_multiple_of((*size).clamp(1, 8));
                placed.push((name.as_str(), *ty, at * 8));
                end = at + size;
            }
            let largest = members.iter().map(|(_, _, size)| (*size).clamp(1, 8)).max();
            size = end.next_multiple_of(largest.unwrap_or(1));
            builder.structure(name, size, &placed)
        };
        if !name.is_empty() {
            self.types.known.insert(key.to_owned(), (id, size));
        }
        (id, size)
    }

    fn enumeration(&mut self, is_wide: bool) -> Result<Sized, String> {
        let name = self.take();
        let key = format!("enum {name}");
        if !self.is("{") {
            let known = self.types.known.get(&key).copied();
            return known.ok_or_else(|| format!("{key} is not declared"));
        }
        let mut names = Vec::new();
        while !self.is("}") {
            if self.peek().is_empty() {
                return Err("\"}\" expected".to_owned());
            }
            names.push(self.take());
        }
        let builder = &mut self.types.builder;
        let named = |(n, name): (usize, &String)| (name.clone(), n);
        let values: Vec<_> = names.iter().enumerate().map(named).collect();
        let (id, size) = if is_wide {
            let values: Vec<_> =
                values.iter().map(|(name, n)| (name.as_str(), *n as u64)).collect();
            (builder.enumeration64(&name, false, &values), 8)
        } else {
            let value = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            let values: Vec<_> =
                values.iter().map(|(name, n)| (name.as_str(), value(*n))).collect();
            (builder.enumeration(&name, 4, false, &values), 4)
        };
        self.types.known.insert(key, (id, size));
        Ok((id, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_abi::prog::ProgType;

    fn declared(lines: &[&str]) -> Result<Arc<Btf>, String> {
        let program = bpf_isa::asm::assemble("r0 = 0\nexit").unwrap();
        let mut spec = ProgramSpec::new("p", ProgType::Xdp, program.to_slots());
        declare(&mut spec, lines)?;
        Ok(spec.btf.unwrap())
    }

    #[test]
    fn declarations_are_laid_out_as_clang_does() {
        let lines = [
            "struct foo { char a; int b; long c[2]; }",
            "typedef struct foo foo_t",
            "fn int p(const foo_t *p nonnull, enum64 big { A B } x)",
        ];
        let btf = declared(&lines).unwrap();
        let foo = btf.by_name_kind("foo", bpf_btf::KindCode::Struct).unwrap();
        assert_eq!(btf.size_of(foo), Some(24));
        let func = btf.by_name_kind("p", bpf_btf::KindCode::Func).unwrap();
        let proto = btf.func_proto(func).unwrap();
        assert_eq!(btf.pointee(proto.param(0).unwrap().ty).unwrap().id, foo);
        assert_eq!(btf.decl_tags_of(func, Some(0)).collect::<Vec<_>>(), ["arg:nonnull"]);
        assert_eq!(btf.size_of(proto.param(1).unwrap().ty), Some(8));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = declared(&["fn int p(strange x)"]).unwrap_err();
        assert_eq!(error, "fn int p(strange x): there is no type \"strange\"");
        let error = declared(&[]).unwrap_err();
        assert_eq!(error, "1 functions, of which 0 are declared");
    }
}
