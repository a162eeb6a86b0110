//! Which functions an extension may replace: the two types side by side, and what the kernel says.
//!
//! The running kernel loads no extensions where this was written; the messages are those of
//! `tests/cases`, whose facts a kernel wrote that does.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bpf_abi::errno::Errno;
use bpf_abi::prog::{ProgFlags, ProgType};
use bpf_abi::spec::ProgramSpec;
use bpf_btf::TypeId;
use bpf_tests::types::declare;
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::host::ProgramFacts;
use bpf_verifier::{Checked, LogOptions, Options, check};

/// The types that all rows may use.
const TYPES: &[&str] = &[
    "struct foo { int a; int b; }",
    "struct bar { int a; int b; }",
    "union ufoo { int a; long b; }",
    "enum ea { X Y }",
    "enum eb { P Q }",
    "enum three { U V W }",
    "enum64 wide { H }",
    "typedef struct foo foo_t",
    "typedef int number",
];

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// The kernel accepts, and so do we.
    Ok,
    /// Both refuse, with this message.
    Refused(&'static str),
    /// The kernel accepts and is wrong; we refuse, with this message.
    Hole(&'static str),
}

use Says::{Hole, Ok as Fits, Refused};

/// The replaced function `f`, the extension `e`, what is said. Declarations before `|` are the
/// side's own.
const ROWS: &[(&str, &str, Says)] = &[
    // The number of arguments, and numbers.
    ("int f(int a)", "int e(int a)", Fits),
    ("int f(int a, int b)", "int e(int a)", Refused("e() has 1 args while f() has 2 args")),
    ("int f(int a)", "int e(int a, int b)", Refused("e() has 2 args while f() has 1 args")),
    ("int f(int a)", "int e(long a)", Refused("arg0 in e() has size 8 while f() has 4")),
    ("int f(long a)", "int e(int a)", Refused("arg0 in e() has size 4 while f() has 8")),
    ("int f(int a)", "int e(unsigned int a)", Fits),
    ("int f(int a)", "int e(char a)", Refused("arg0 in e() has size 1 while f() has 4")),
    ("int f(char a)", "int e(bool a)", Fits),
    ("int f(char a)", "int e(unsigned char a)", Fits),
    ("int f(int a)", "int e(volatile int a)", Fits),
    ("int f(number a)", "int e(int a)", Fits),
    (
        "int f(int x, long a)",
        "int e(int x, int a)",
        Refused("arg1 in e() has size 4 while f() has 8"),
    ),
    // Enumerations.
    ("int f(int a)", "int e(enum ea a)", Refused("arg0 in e() is ENUM while f() has INT")),
    ("int f(enum64 wide a)", "int e(long a)", Refused("arg0 in e() is INT while f() has ENUM64")),
    ("int f(enum ea a)", "int e(enum eb a)", Fits),
    // The kernel compares the word that holds the kind, and with it the number of names.
    ("int f(enum ea a)", "int e(enum three a)", Refused("arg0 in e() is ENUM while f() has ENUM")),
    // Results.
    (
        "int f(int a)",
        "void e(int a)",
        Refused("Return type UNKNOWN of e() doesn't match type INT of f()"),
    ),
    ("int f(int a)", "long e(int a)", Fits),
    ("int f(int a)", "unsigned char e(int a)", Fits),
    (
        "int f(int a)",
        "enum ea e(int a)",
        Refused("Return type ENUM of e() doesn't match type INT of f()"),
    ),
    // Pointers.
    ("int f(long a)", "int e(struct foo *a)", Refused("arg0 in e() is PTR while f() has INT")),
    ("int f(struct xdp_md *a)", "int e(struct xdp_md *a)", Fits),
    ("int f(struct xdp_md *a)", "int e(const struct xdp_md *a)", Fits),
    (
        "int f(struct xdp_md *a)",
        "int e(struct foo *a)",
        Refused("arg0 e(struct foo *) doesn't match f(struct xdp_md *)"),
    ),
    (
        "int f(struct foo *a)",
        "int e(struct xdp_md *a)",
        Refused("arg0 e(struct xdp_md *) doesn't match f(struct foo *)"),
    ),
    (
        "int f(struct xdp_md *a)",
        "int e(struct __sk_buff *a)",
        Refused("arg0 e(struct __sk_buff *) doesn't match f(struct xdp_md *)"),
    ),
    ("int f(struct foo *a)", "int e(const foo_t *a)", Fits),
    (
        "int f(struct foo *a)",
        "int e(struct bar *a)",
        Refused("arg0 e(struct bar *) doesn't match f(struct foo *)"),
    ),
    ("int f(int *a)", "int e(int *a)", Refused("arg0 in e() is not a pointer to context")),
    ("int f(int *a)", "int e(struct foo *a)", Refused("arg0 in f() is not a pointer to context")),
    ("int f(int[4] *a)", "int e(int[4] *a)", Refused("arg0 in e() is not a pointer to context")),
    (
        "int f(void *a ctx)",
        "int e(void *a ctx)",
        Refused("arg0 in e() is not a pointer to context"),
    ),
    (
        "int f(struct foo *a)",
        "fwd nowhere | int e(struct nowhere *a)",
        Refused("arg0 in e() is not a pointer to context"),
    ),
    // Structures of one name: the kernel looks no further.
    (
        "struct own { int a; } | int f(struct own *a)",
        "struct own { long a; } | int e(struct own *a)",
        Hole("arg0 e(struct own *) has size 8 while f(struct own *) has 4"),
    ),
    (
        "struct own { long a; } | int f(struct own *a)",
        "struct own { int a; } | int e(struct own *a)",
        Hole("arg0 e(struct own *) has another layout than f(struct own *)"),
    ),
    (
        "struct own { int a; int b; } | int f(struct own *a)",
        "struct own { long a; } | int e(struct own *a)",
        Hole("arg0 e(struct own *) has another layout than f(struct own *)"),
    ),
    (
        "struct own { int a; int b[3]; } | int f(struct own *a)",
        "struct own { unsigned int x; number y[3]; } | int e(struct own *a)",
        Fits,
    ),
    (
        "struct own { int a; } | int f(struct own *a)",
        "union own { int a; } | int e(union own *a)",
        Hole("arg0 e(struct own *) has another layout than f(struct own *)"),
    ),
    ("int f(struct { int a; } *a)", "int e(struct { int b; } *a)", Fits),
    (
        "int f(struct { int a; } *a)",
        "int e(struct { long b[4]; } *a)",
        Hole("arg0 e(struct  *) has size 32 while f(struct  *) has 4"),
    ),
    // Tags: an extension demands no more than is granted.
    (
        "int f(struct foo *a)",
        "int e(struct foo *a nonnull)",
        Hole("arg0 in e() must not be NULL while f() may be given NULL"),
    ),
    ("int f(struct foo *a nonnull)", "int e(struct foo *a)", Fits),
    ("int f(struct foo *a nonnull)", "int e(struct foo *a nonnull)", Fits),
];

/// A program with one function, whose result is 0, or one that calls another.
fn program(prog_type: ProgType, text: &str, declarations: &[String]) -> ProgramSpec {
    let program = bpf_isa::asm::assemble(text).unwrap();
    let mut spec = ProgramSpec::new("p", prog_type, program.to_slots());
    let declarations: Vec<&str> = declarations.iter().map(String::as_str).collect();
    declare(&mut spec, &declarations).unwrap();
    spec
}

/// The declarations of a side, its function's last.
fn declarations(side: &str, before: &[&str]) -> Vec<String> {
    let mut own: Vec<&str> = side.split('|').map(str::trim).collect();
    let function = format!("fn {}", own.pop().unwrap());
    let types = TYPES.iter().chain(&own).chain(before);
    types.map(|line| (*line).to_owned()).chain([function]).collect()
}

/// A target: its main function calls `f` with what `f` takes.
fn target(side: &str) -> ProgramSpec {
    let params = side.rsplit_once('(').unwrap().1.split(',');
    let mut text = String::from("r6 = r1\n*(u64 *)(r10 -8) = 0\n");
    for (n, param) in params.enumerate() {
        let reg = n + 1;
        text += &match param {
            _ if param.contains("xdp_md") || param.contains(" ctx") => format!("r{reg} = r6\n"),
            _ if param.contains("nonnull") => format!("r{reg} = r10\nr{reg} += -8\n"),
            _ => format!("r{reg} = 0\n"),
        };
    }
    text += "call f\nr0 = 0\nexit\nf:\nr0 = 0\nexit\n";
    program(ProgType::Xdp, &text, &declarations(side, &["fn int xdp_main(struct xdp_md *ctx)"]))
}

fn judge(spec: &ProgramSpec, world: &DescribedWorld, strict_holes: bool) -> Checked {
    let log = LogOptions { level: 1, size: None };
    check(spec, world, &Options { log, strict_holes, ..Options::default() })
}

fn facts(spec: &ProgramSpec) -> ProgramFacts {
    let checked = judge(spec, &DescribedWorld::new(None), true);
    assert_eq!(checked.result, Ok(()), "{}", checked.log);
    checked.facts.unwrap()
}

/// An extension that returns 0, for a function of a target.
fn extension(side: &str, text: &str) -> ProgramSpec {
    program(ProgType::Ext, text, &declarations(side, &[]))
}

const ZERO: &str = "r0 = 0\nexit\n";

/// What is said of an extension: its last message, or nothing.
fn said(extension: &ProgramSpec, target: &ProgramFacts, id: TypeId, strict: bool) -> String {
    let mut world = DescribedWorld::new(None);
    let mut extension = extension.clone();
    extension.attach_prog = Some(world.add_program(target.clone()));
    extension.attach_btf_id = id.0;
    let checked = judge(&extension, &world, strict);
    match checked.result {
        Ok(()) => String::new(),
        Err(rejection) => {
            assert_eq!(rejection.errno(), Errno::EINVAL, "{rejection}");
            rejection.to_string()
        }
    }
}

#[test]
fn types_are_compared_as_the_kernel_does_and_more_closely() {
    for (f, e, says) in ROWS {
        let target = facts(&target(f));
        let id = target.function_id("f").unwrap();
        let extension = extension(e, ZERO);
        let (strict, exact) = match says {
            Fits => ("", ""),
            Refused(text) => (*text, *text),
            Hole(text) => (*text, ""),
        };
        assert_eq!(said(&extension, &target, id, true), strict, "{f} by {e}");
        assert_eq!(said(&extension, &target, id, false), exact, "{f} by {e}, as the kernel does");
    }
}

/// A target with functions of all sorts.
fn sorts() -> ProgramSpec {
    let text = "
        r6 = r1
        call s
        r1 = r6
        call odd
        r1 = r6
        call moves
        r1 = 1
        call f
        r0 = 0
        exit
    s:
        r0 = *(u32 *)(r1 +16)
        exit
    odd:
        r0 = 0
        exit
    moves:
        r2 = 0
        call 44
        r0 = 0
        exit
    f:
        r0 = 0
        exit
    ";
    let declarations = [
        "struct other { int x; }",
        "fn int xdp_main(struct xdp_md *ctx)",
        "static int s(struct xdp_md *ctx)",
        "static int odd(long a, long b)",
        "fn int moves(struct xdp_md *ctx)",
        "fn int f(int a)",
    ];
    program(ProgType::Xdp, text, &declarations.map(str::to_owned))
}

#[test]
fn only_global_functions_of_the_program_are_replaced() {
    let target = facts(&sorts());
    let takes_ctx = extension("int e(struct xdp_md *ctx)", ZERO);
    let takes_int = extension("int e(int a)", ZERO);
    let named =
        |extension, name: &str| said(extension, &target, target.function_id(name).unwrap(), true);
    assert_eq!(named(&takes_ctx, "xdp_main"), "");
    assert_eq!(named(&takes_ctx, "moves"), "");
    assert_eq!(named(&takes_int, "f"), "");
    assert_eq!(named(&takes_ctx, "s"), "s() is not a global function");
    // It is called with one argument, and its type has two.
    assert_eq!(named(&takes_ctx, "odd"), "Cannot replace static functions");

    let by_id = |id| said(&takes_int, &target, TypeId(id), true);
    let types = target.btf.as_deref().unwrap();
    let other = types.by_name_kind("other", bpf_btf::KindCode::Struct).unwrap();
    assert_eq!(by_id(0), "Tracing programs must provide btf_id");
    assert_eq!(by_id(9999), "attach_btf_id 9999 is invalid");
    assert_eq!(by_id(other.0), "Subprog other doesn't exist");
}

#[test]
fn an_extension_does_only_what_callers_of_the_function_expect() {
    let target = facts(&sorts());
    let named = |extension: &ProgramSpec, name: &str| {
        said(extension, &target, target.function_id(name).unwrap(), true)
    };
    let moves = extension("int e(struct xdp_md *ctx)", "r2 = 0\ncall 44\nr0 = 0\nexit\n");
    assert_eq!(named(&moves, "moves"), "");
    let text = "Extension program changes packet data, while original does not";
    let quiet = extension("int e(int a)", "r1 = 0\nr0 = 0\nexit\n");
    assert_eq!(named(&quiet, "f"), "");
    assert_eq!(named(&moves, "f"), text);

    // What programs of the target's type may not do, an extension may not.
    let foreign = extension("int e(struct xdp_md *ctx)", "r2 = 0\ncall 39\nr0 = 0\nexit\n");
    let refused = named(&foreign, "moves");
    assert!(refused.ends_with("program of this type cannot use helper bpf_skb_pull_data#39"));

    let mut sleeps = quiet.clone();
    sleeps.flags = ProgFlags::SLEEPABLE;
    assert!(named(&sleeps, "f").starts_with("Only fentry/fexit/fmod_ret, lsm, iter, uprobe"));
    let mut placed = quiet.clone();
    placed.expected_attach_type = bpf_abi::prog::AttachType::new(37);
    assert_eq!(named(&placed, "f"), "refused with EINVAL");
    let mut untyped = quiet.clone();
    untyped.func_info = bpf_abi::spec::InfoBlob::default();
    assert_eq!(named(&untyped, "f"), "Program extension requires BTF");
}

#[test]
fn an_extension_needs_a_compiled_target_with_types_that_is_no_extension() {
    let target = facts(&sorts());
    let id = target.function_id("f").unwrap();
    let quiet = extension("int e(int a)", ZERO);

    let interpreted = ProgramFacts { compiled: false, ..target.clone() };
    assert_eq!(said(&quiet, &interpreted, id, true), "Can attach to only JITed progs");
    let untyped = ProgramFacts { btf: None, ..target.clone() };
    let text = "FENTRY/FEXIT program can only be attached to another program annotated with BTF";
    assert_eq!(said(&quiet, &untyped, id, true), text);

    let mut world = DescribedWorld::new(None);
    let mut first = quiet.clone();
    first.attach_prog = Some(world.add_program(target.clone()));
    first.attach_btf_id = id.0;
    let extended = judge(&first, &world, true).facts.unwrap();
    assert_eq!(extended.prog_type, ProgType::Ext);
    assert_eq!(extended.target, Some(target.kind()));
    let own = extended.function_id("e").unwrap();
    assert_eq!(said(&quiet, &extended, own, true), "Cannot recursively attach");

    first.attach_prog = None;
    let checked = judge(&first, &world, true);
    assert_eq!(checked.result.unwrap_err().to_string(), "Cannot replace kernel functions");
    first.attach_prog = Some(7);
    let checked = judge(&first, &world, true);
    assert_eq!(checked.result.unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(checked.log, "");
}

#[test]
fn a_link_asks_again() {
    use bpf_verifier::attach::check_link;
    let target = facts(&sorts());
    let id = target.function_id("f").unwrap();
    let mut world = DescribedWorld::new(None);
    let mut spec = extension("int e(int a)", ZERO);
    spec.attach_prog = Some(world.add_program(target.clone()));
    spec.attach_btf_id = id.0;
    let loaded = judge(&spec, &world, true).facts.unwrap();
    assert_eq!(check_link(&loaded, &target, id, true).map(|function| function.subprog), Ok(4));
    let moves = target.function_id("moves").unwrap();
    assert!(check_link(&loaded, &target, moves, true).is_err());
    // A program of another type would be called with another context.
    let other = ProgramFacts { prog_type: ProgType::SchedCls, ..target.clone() };
    assert!(check_link(&loaded, &other, id, true).is_err());
}
