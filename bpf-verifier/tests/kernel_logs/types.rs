//! The kernel's types and functions that the logs name, from `kernel.types`, which says them in text.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bpf_btf::{Btf, Builder, FuncLinkage, Fwd, TypeId};

/// All of them.
pub(crate) fn kernel() -> Arc<Btf> {
    static BTF: OnceLock<Arc<Btf>> = OnceLock::new();
    Arc::clone(BTF.get_or_init(|| Arc::new(Types::new().build(include_str!("kernel.types")))))
}

/// The number of the first structure: higher than those of all that structures are made of, so that
/// they can refer to one another.
const FIRST: u32 = 1000;

/// What is known so far.
struct Types {
    btf: Builder,
    known: BTreeMap<String, TypeId>,
    pointers: BTreeMap<TypeId, TypeId>,
}

impl Types {
    fn new() -> Self {
        let mut btf = Builder::new();
        let mut known = BTreeMap::from([("void".to_owned(), TypeId(0))]);
        for (name, size, signed) in [
            ("char", 1, true),
            ("u8", 1, false),
            ("u16", 2, false),
            ("int", 4, true),
            ("u32", 4, false),
            ("u64", 8, false),
        ] {
            known.insert(name.to_owned(), btf.int(name, size, signed));
        }
        known.insert("fn".to_owned(), btf.proto(TypeId(0), &[]));
        Self { btf, known, pointers: BTreeMap::new() }
    }

    fn build(mut self, text: &str) -> Btf {
        let lines: Vec<_> =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let is_composite = |line: &&str| line.starts_with("struct ") || line.starts_with("union ");
        let (composites, others): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(is_composite);
        for (id, line) in (FIRST..).zip(&composites) {
            let name = line.split(' ').nth(1).unwrap().to_owned();
            self.known.insert(name, TypeId(id));
        }
        let bodies: Vec<_> = composites.iter().map(|line| self.composite(line)).collect();
        let mut functions: Vec<_> = others.iter().map(|line| self.function(line)).collect();
        functions.sort_unstable();
        let last = self.btf.fwd("filler", Fwd::Struct);
        self.fill(last.0 + 1, FIRST);
        let mut last = TypeId(FIRST);
        for (line, (size, members)) in composites.iter().zip(bodies) {
            let (kind, rest) = line.split_once(' ').unwrap();
            let name = rest.split(' ').next().unwrap();
            last = if kind == "union" {
                let members: Vec<_> = members.iter().map(|(name, ty, _)| (*name, *ty)).collect();
                self.btf.union(name, size, &members)
            } else {
                self.btf.structure(name, size, &members)
            };
        }
        for (id, name, proto) in functions {
            if name.starts_with("btf_trace_") {
                let pointer = self.btf.ptr(proto);
                last = self.btf.typedef(&name, pointer);
                continue;
            }
            if let Some(id) = id {
                self.fill(last.0 + 1, id);
            }
            last = self.btf.func(&name, proto, FuncLinkage::Static);
        }
        self.btf.finish().unwrap()
    }

    /// Makes types that mean nothing until the next one gets the number `to`.
    fn fill(&mut self, next: u32, to: u32) {
        assert!(next <= to, "{next} types come before {to}");
        for _ in next..to {
            self.btf.fwd("filler", Fwd::Struct);
        }
    }

    /// The size of a structure, and its members with their offsets in bits.
    fn composite<'t>(&mut self, line: &'t str) -> (u32, Vec<(&'t str, TypeId, u32)>) {
        let (head, body) = line.split_once(':').unwrap();
        let size = head.rsplit(' ').next().unwrap().parse().unwrap();
        let members = body.split_terminator(';').map(str::trim).filter(|member| !member.is_empty());
        let members = members.map(|member| {
            let (off, rest) = member.split_once(' ').unwrap();
            let (ty, name) = rest.rsplit_once(' ').unwrap();
            let name = if name == "-" { "" } else { name };
            (name, self.ty(ty), off.parse::<u32>().unwrap() * 8)
        });
        (size, members.collect())
    }

    /// A function: its number if it has to have one, its name, its type.
    fn function(&mut self, line: &str) -> (Option<u32>, String, TypeId) {
        let (head, params) = line.split_once('(').unwrap();
        let params = params.strip_suffix(')').unwrap();
        let (first, rest) = head.split_once(' ').unwrap();
        if first == "tracepoint" {
            let params = format!("void* __data, {params}");
            return (None, format!("btf_trace_{rest}"), self.proto("void", &params));
        }
        let (ret, name) = rest.split_once(' ').unwrap();
        (first.parse().ok(), name.to_owned(), self.proto(ret, params))
    }

    fn proto(&mut self, ret: &str, params: &str) -> TypeId {
        let ret = self.ty(ret);
        let params: Vec<_> = params
            .split_terminator(", ")
            .map(|param| param.split_once(' ').unwrap())
            .map(|(ty, name)| (name, self.ty(ty)))
            .collect();
        self.btf.proto(ret, &params)
    }

    /// A type: a name, a function's type, an array of such, a pointer to such.
    fn ty(&mut self, text: &str) -> TypeId {
        if let Some(to) = text.strip_suffix('*') {
            let to = self.ty(to);
            let known = self.pointers.get(&to).copied();
            return known.unwrap_or_else(|| {
                let pointer = self.btf.ptr(to);
                self.pointers.insert(to, pointer);
                pointer
            });
        }
        if let Some((of, count)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            let of = self.ty(of);
            return self.btf.array(of, self.known["int"], count.parse().unwrap());
        }
        if let Some((ret, params)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
            return self.proto(ret, params);
        }
        self.known[text]
    }
}
