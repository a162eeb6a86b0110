//! What the kernel says, as it said it.

use super::*;
use crate::{Builder, FuncLinkage, Fwd, VarLinkage};

/// One of everything that the kernel takes.
fn sample() -> Builder {
    let mut b = Builder::new();
    let int = b.int("int", 4, true);
    let array = b.array(int, int, 2);
    b.bit_structure("s", 16, &[("a", int, 0, 3), ("b", array, 32, 0)]);
    b.enumeration("e", 4, true, &[("A", -1)]);
    b.enumeration64("e64", false, &[("B", u64::MAX)]);
    b.fwd("later", Fwd::Union);
    let proto = b.proto(TypeId::VOID, &[("x", int), ("", TypeId::VOID)]);
    b.func("f", proto, FuncLinkage::Global);
    let var = b.var("v", int, VarLinkage::Static);
    b.datasec(".data", 8, &[(var, 4, 4)]);
    b.float("double", 8);
    let tag = b.type_tag("user", int);
    b.ptr(tag);
    b.decl_tag("word", TypeId(3), Some(1));
    b
}

#[test]
fn the_log_is_the_kernels() {
    let bytes = sample().encode();
    let (result, log) = check_with_log(&bytes);
    assert!(result.is_ok());
    let expected = include_str!("sample.log");
    assert_eq!(log, expected);
}

/// Adds a type to the sample that the kernel refuses, and tells in which words.
fn refusal(add: impl FnOnce(&mut Builder)) -> (i32, String) {
    let mut b = sample();
    add(&mut b);
    let refusal = check(&b.encode()).unwrap_err();
    (refusal.errno(), refusal.line)
}

#[test]
fn each_refusal_has_the_kernels_line_and_number() {
    let int = TypeId(1);
    let own = TypeId(15);
    type Case<'a> = (i32, &'a str, &'a dyn Fn(&mut Builder));
    let cases: [Case<'_>; 14] = [
        (22, "[15] TYPEDEF 1x type_id=1 Invalid name", &|b| {
            b.typedef("1x", int);
        }),
        (22, "[15] PTR (anon) type_id=99 Invalid type_id", &|b| {
            b.ptr(TypeId(99));
        }),
        (17, "[15] TYPEDEF t type_id=15 Loop detected", &|b| {
            b.typedef("t", own);
        }),
        (17, "[15] STRUCT s size=4 vlen=1 Loop detected", &|b| {
            b.structure("s", 4, &[("s", own, 0)]);
        }),
        (22, "\ta type_id=1 bits_offset=8 Member exceeds struct_size", &|b| {
            b.structure("s", 4, &[("a", int, 8)]);
        }),
        (22, "\tb type_id=1 bits_offset=0 Invalid member bits_offset", &|b| {
            b.structure("s", 8, &[("a", int, 32), ("b", int, 0)]);
        }),
        (22, "[15] ARRAY (anon) type_id=3 index_type_id=3 nr_elems=1 Invalid index", &|b| {
            b.array(TypeId(3), TypeId(3), 1);
        }),
        (22, "[15] ENUM e size=3 vlen=1 Unexpected size", &|b| {
            b.enumeration("e", 3, false, &[("X", 1)]);
        }),
        (22, "[15] FUNC g type_id=1 Invalid type_id", &|b| {
            b.func("g", int, FuncLinkage::Static);
        }),
        (22, "[15] FUNC g type_id=7 Invalid func linkage", &|b| {
            b.func("g", TypeId(7), FuncLinkage::Extern);
        }),
        (22, "[15] FUNC_PROTO (anon) return=0 args=(6 x) Invalid arg#1", &|b| {
            b.proto(TypeId::VOID, &[("x", TypeId(6))]);
        }),
        (22, "\t type_id=1 offset=0 size=4 Not a VAR kind member", &|b| {
            b.datasec(".bss", 4, &[(int, 0, 4)]);
        }),
        (22, "[15] DECL_TAG t type=3 component_idx=2 Invalid component_idx", &|b| {
            b.decl_tag("t", TypeId(3), Some(2));
        }),
        (22, "Type tags don't precede modifiers", &|b| {
            let tag = b.type_tag("t", int);
            b.constant(tag);
        }),
    ];
    for (errno, line, add) in cases {
        assert_eq!(refusal(add), (errno, line.to_owned()));
    }
}

#[test]
fn a_list_without_a_lock_is_refused_without_a_word() {
    let add = |b: &mut Builder| {
        let int = TypeId(1);
        let head = b.structure("bpf_list_head", 16, &[("a", int, 0)]);
        b.structure("v", 16, &[("head", head, 0)]);
    };
    assert_eq!(refusal(add), (22, String::new()));
}

#[test]
fn headers_are_judged_before_types() {
    let bytes = sample().encode();
    let line = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let refusal = check(&bytes).unwrap_err();
        (refusal.errno(), refusal.line)
    };
    assert_eq!(line(&|b| b[0] = 0), (22, "Invalid magic".into()));
    assert_eq!(line(&|b| b[2] = 2), (524, "Unsupported version".into()));
    assert_eq!(line(&|b| b[3] = 1), (524, "Unsupported flags".into()));
    assert_eq!(line(&|b| b.truncate(5)), (22, "hdr_len not found".into()));
    assert_eq!(line(&|b| b.truncate(24)), (22, "No data".into()));
    assert_eq!(line(&|b| b.push(1)), (22, "Unsupported section found".into()));
}
