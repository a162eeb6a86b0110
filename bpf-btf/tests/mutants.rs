//! Broken BTF: whatever the bytes, every question gets an answer or an error, in bounded time and memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;

use bpf_btf::dump::{self, CStyle};
use bpf_btf::ext::BtfExt;
use bpf_btf::{Btf, Builder, FuncLinkage, Fwd, TypeId, VarLinkage, check};

/// A source of numbers that are the same in every run. Marsaglia's xorshift.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// One of everything.
fn sample() -> Vec<u8> {
    let mut b = Builder::new();
    let int = b.int("int", 4, true);
    let long = b.int("unsigned long", 8, false);
    let lock = b.structure("bpf_spin_lock", 4, &[("val", int, 0)]);
    let own = TypeId(b.next_id().0 + 1);
    let ptr = b.ptr(own);
    b.structure("node", 24, &[("next", ptr, 0), ("lock", lock, 64), ("n", long, 128)]);
    let array = b.array(own, int, 3);
    let anonymous = b.union("", 72, &[("all", array), ("first", own)]);
    b.bit_structure("bits", 80, &[("a", int, 0, 3), ("b", int, 3, 20), ("u", anonymous, 64, 0)]);
    let e = b.enumeration("e", 4, true, &[("A", -1), ("B", 2)]);
    b.enumeration64("e64", false, &[("C", u64::MAX)]);
    let fwd = b.fwd("later", Fwd::Struct);
    let constant = b.constant(fwd);
    let tagged = b.type_tag("kptr", constant);
    let kptr = b.ptr(tagged);
    b.structure("value", 16, &[("lock", lock, 0), ("kept", kptr, 64)]);
    let volatile = b.volatile(e);
    let name = b.typedef("e_t", volatile);
    let proto = b.proto(name, &[("x", int), ("p", kptr)]);
    let func = b.func("f", proto, FuncLinkage::Global);
    let callback = b.ptr(proto);
    let restrict = b.restrict(callback);
    let var = b.var("v", restrict, VarLinkage::Global);
    b.datasec(".bss", 8, &[(var, 0, 8)]);
    b.float("double", 8);
    b.decl_tag("arg:ctx", func, Some(0));
    b.encode()
}

fn mutant(original: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 => bytes[at] ^= 1 << numbers.below(8),
            1 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            2 => {
                // A word takes the place of another: ids and sizes that are plausible, and rings.
                let (from, to) = (numbers.below(bytes.len() / 4) * 4, at / 4 * 4);
                let word: Vec<u8> = bytes.iter().copied().skip(from).take(4).collect();
                let end = (to + word.len()).min(bytes.len());
                bytes[to..end].copy_from_slice(&word[..end - to]);
            }
            _ => {
                let id = u8::try_from(numbers.below(30)).unwrap();
                let to = at / 4 * 4;
                if to + 4 <= bytes.len() {
                    bytes[to..to + 4].copy_from_slice(&[id, 0, 0, 0]);
                }
            }
        }
    }
    if numbers.below(20) == 0 {
        bytes.truncate(numbers.below(bytes.len()));
    }
    bytes
}

/// Asks everything of everything.
fn interrogate(btf: &Btf) {
    for ty in btf.types() {
        let size = btf.size_of(ty.id).unwrap_or(64);
        let _ =
            (btf.align_of(ty.id), btf.is_packed(ty.id), btf.resolve(ty.id), btf.func_proto(ty.id));
        let _ =
            (btf.record(ty.id, size), btf.func_model("f", ty.id), btf.member_by_name(ty.id, "n"));
        let _ = btf.type_tags(ty.id).count();
        let _ = btf.same_shape(ty.id, btf, TypeId(1));
        for offset in [0, 3, 8, 40, u32::MAX] {
            let _ = (btf.walk(ty.id, offset, 8), btf.path_at(ty.id, offset));
        }
        assert!(btf.decl_tags_of(ty.id, None).count() <= btf.types().count());
        let _ = btf.by_name_kind(ty.name(), ty.code());
    }
    let _ = (dump::raw(btf), dump::json(btf), dump::c(btf, CStyle::Bare));
}

#[test]
fn the_original_is_fine_and_comes_back_unchanged() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.encode(), bytes);
    let c = dump::c(&btf, CStyle::Bare).unwrap();
    assert!(c.contains("typedef volatile enum e e_t;"), "{c}");
    interrogate(&btf);
}

/// How many mutants are made: 2,000, or what `BPFKIT_MUTANTS` says.
fn mutants() -> usize {
    std::env::var("BPFKIT_MUTANTS").map_or(2_000, |text| text.parse().unwrap())
}

#[test]
fn mutants_get_an_answer_or_an_error() {
    let original = sample();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut read = 0;
    for _ in 0..mutants() {
        let bytes = mutant(&original, &mut numbers);
        let checked = check::check(&bytes);
        if let Ok(btf) = Btf::parse(&bytes) {
            read += 1;
            interrogate(&btf);
        } else {
            assert!(checked.is_err(), "the check took what cannot be read");
        }
        let _ = BtfExt::parse(&bytes);
    }
    assert!(read > mutants() / 4, "only {read} mutants could be read: the test has lost its teeth");
}

#[test]
fn random_bytes_behind_a_header_are_refused_or_read() {
    let mut numbers = Numbers(7);
    for _ in 0..500 {
        let mut bytes = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        bytes.extend((0..numbers.below(400)).map(|_| u8::try_from(numbers.below(256)).unwrap()));
        let _ = (Btf::parse(&bytes).map(|btf| interrogate(&btf)), BtfExt::parse(&bytes));
    }
}

#[test]
fn split_btf_goes_on_where_its_base_ends() {
    let base = Arc::new(Btf::parse(&sample()).unwrap());
    let mut b = Builder::split(base.clone());
    let own = b.typedef("module_node", TypeId(5));
    let split = b.finish().unwrap();
    assert_eq!(own.0, base.end_id());
    assert_eq!(split.name_of(own), "module_node");
    assert_eq!(split.resolve(own).unwrap().name(), "node");
    assert_eq!(split.size_of(own), Some(24));
    let again = Btf::parse_split(&split.encode(), base).unwrap();
    assert_eq!(again, split);
}

#[test]
fn structures_of_structures_do_not_take_for_ever() {
    let mut b = Builder::new();
    let mut id = b.int("int", 4, true);
    for _ in 0..60 {
        id = b.structure("", 4, &[("a", id, 0), ("b", id, 0), ("c", id, 0)]);
    }
    let btf = b.finish().unwrap();
    let _ = (btf.align_of(id), btf.record(id, 4), btf.member_by_name(id, "none"));
    let _ = btf.path_at(id, 0);
}

#[test]
fn a_long_chain_is_an_error_not_an_overflow_of_the_stack() {
    let mut b = Builder::new();
    for n in 1..100_000 {
        if n % 2 == 0 {
            b.ptr(TypeId(n + 1))
        } else {
            b.typedef("t", TypeId(n + 1))
        };
    }
    b.int("int", 4, true);
    let bytes = b.encode();
    let refusal = check::check(&bytes).unwrap_err();
    assert_eq!(refusal.line, "[1] TYPEDEF t type_id=2 Exceeded max resolving depth:32");
    let btf = Btf::parse(&bytes).unwrap();
    let _ = (btf.resolve(TypeId(1)), btf.size_of(TypeId(1)), dump::c(&btf, CStyle::Bare));
}
