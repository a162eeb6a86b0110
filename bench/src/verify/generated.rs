//! Programs that no compiler would write: one thing, much of it.

use std::fmt::Write as _;

use anyhow::Context as _;
use bpf_abi::map::{MapSpec, MapType};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ObjectSpec, ProgramSpec, Reference, ReferenceTo};
use bpf_isa::{Pc, asm};

/// All of them.
pub(super) fn all() -> anyhow::Result<Vec<ObjectSpec>> {
    [
        ("straight", straight(200_000)),
        ("counting", counting(150_000)),
        ("nested", nested(32)),
        ("diamonds", diamonds(6_000)),
        ("paths", paths(14)),
        ("precise", precise(60)),
        ("slots", slots(60, 4_000)),
        ("indexed", indexed(4_000)),
        ("deep", deep(7)),
        ("narrowing", narrowing(1_500)),
    ]
    .into_iter()
    .map(|(name, text)| object(name, &text).with_context(|| name.to_owned()))
    .collect()
}

/// An object of one program, whose loads of `0 ll` into R1 refer to its one array.
fn object(name: &str, text: &str) -> anyhow::Result<ObjectSpec> {
    let mut insns = asm::assemble(text)?.to_slots();
    let mut references = Vec::new();
    for (at, slot) in insns.iter_mut().enumerate() {
        if slot.opcode == 0x18 {
            slot.src = 1;
            let at = Pc(u32::try_from(at)?);
            references.push(Reference { at, to: ReferenceTo::Map(0) });
        }
    }
    let mut program = ProgramSpec::new(name, ProgType::SocketFilter, insns);
    program.references = references;
    let map = MapSpec::new("values", MapType::Array, 4, 256, 1);
    let license = "GPL".to_owned();
    let (maps, programs) = (vec![map], vec![program]);
    Ok(ObjectSpec { name: name.to_owned(), license, maps, programs, ..ObjectSpec::default() })
}

/// R6: the array's only value, 256 bytes. R7: an unknown number.
const PROLOGUE: &str = "\
    r7 = *(u32 *)(r1 + 0)
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = 0 ll
    call 1
    if r0 != 0 goto found
    exit
found:
    r6 = r0
";

/// Arithmetic without a branch.
fn straight(count: u32) -> String {
    let mut text = "r0 = *(u32 *)(r1 + 0)\nr3 = 1\n".to_owned();
    for n in 0..count / 4 {
        let _ = write!(text, "r0 += {n}\nr0 *= r3\nw3 ^= {n}\nr0 &= 0xffffff\n");
    }
    text + "r0 = 0\nexit\n"
}

/// One loop, many rounds.
fn counting(rounds: u32) -> String {
    format!(
        "r0 = 0\nr1 = 0\nagain:\nr1 += 1\nr0 += r1\nr0 &= 255\nif r1 < {rounds} goto again\nexit\n"
    )
}

/// Three loops in one another, with a value on the stack.
fn nested(rounds: u32) -> String {
    let mut text = PROLOGUE.to_owned();
    for n in 0..3 {
        let _ = write!(text, "r{} = 0\nloop{n}:\n", n + 1);
    }
    text.push_str("r4 = *(u64 *)(r6 + 8)\n*(u64 *)(r10 - 16) = r4\nr5 = *(u64 *)(r10 - 16)\n");
    text.push_str("if r5 > 7 goto more\n*(u64 *)(r6 + 16) = r5\nmore:\n");
    for n in (0..3).rev() {
        let rounds = if n == 1 { rounds } else { rounds / 2 };
        let _ = write!(text, "r{0} += 1\nif r{0} < {rounds} goto loop{n}\n", n + 1);
    }
    text + "r0 = 0\nexit\n"
}

/// Branches that meet again at once.
fn diamonds(count: u32) -> String {
    let mut text = PROLOGUE.to_owned();
    for n in 0..count {
        let off = n % 32 * 8;
        let _ = write!(
            text,
            "r1 = *(u64 *)(r6 + {off})\nif r1 > {n} goto d{n}\nr7 += 1\n*(u64 *)(r6 + {off}) = r7\nd{n}:\n"
        );
    }
    text + "r0 = 0\nexit\n"
}

/// Every path ends with another number, and all of them matter.
fn paths(branches: u32) -> String {
    let mut text = PROLOGUE.to_owned() + "r8 = 0\n";
    for n in 0..branches {
        let bit = 1 << n;
        let _ = write!(text, "if r7 & {bit} goto p{n}\nr8 += {bit}\np{n}:\n");
    }
    text + "r8 &= 0x7f\nr6 += r8\nr0 = *(u8 *)(r6 + 0)\nexit\n"
}

/// Sums whose every part must be exact, long after it was added.
fn precise(count: u32) -> String {
    let mut text = PROLOGUE.to_owned();
    for n in 0..count {
        let _ = write!(
            text,
            "r8 = 0\nif r7 > {n} goto a{n}\nr8 = 8\na{n}:\nr9 = r8\nr9 += 4\n*(u64 *)(r10 - 16) = r9\nr3 = *(u64 *)(r6 + 0)\nif r3 == {n} goto b{n}\nr7 += 1\nb{n}:\n"
        );
        text.push_str("r2 = *(u64 *)(r10 - 16)\nr1 = r6\nr1 += r2\nr0 = *(u8 *)(r1 + 0)\n");
    }
    text + "r0 = 0\nexit\n"
}

/// A full stack, compared at every branch.
fn slots(count: u32, branches: u32) -> String {
    let mut text = PROLOGUE.to_owned();
    for n in 1..=count {
        let off = n * 8;
        let _ = write!(text, "r1 = *(u8 *)(r6 + {n})\n*(u64 *)(r10 - {off}) = r1\n");
    }
    for n in 0..branches {
        let off = n % count * 8 + 8;
        let _ = write!(
            text,
            "r1 = *(u64 *)(r10 - {off})\nr7 += r1\nif r7 > {n} goto s{n}\n*(u64 *)(r10 - {off}) = r7\ns{n}:\n"
        );
    }
    text.push_str("r0 = 0\n");
    for n in 1..=count {
        let off = n * 8;
        let _ = write!(text, "r1 = *(u64 *)(r10 - {off})\nr0 += r1\n");
    }
    text + "exit\n"
}

/// Accesses at offsets that had to be bounded before.
fn indexed(count: u32) -> String {
    let mut text = PROLOGUE.to_owned();
    for n in 0..count {
        let _ = write!(
            text,
            "r1 = *(u64 *)(r6 + 8)\nif r1 > 200 goto i{n}\nr2 = r6\nr2 += r1\nr3 = *(u8 *)(r2 + {})\nr7 ^= r3\ni{n}:\n",
            n % 40
        );
    }
    text + "r0 = 0\nexit\n"
}

/// Functions that each call the next twice, eight frames deep.
fn deep(levels: u32) -> String {
    let mut text = "r1 = 1\ncall f0\nr0 = 0\nexit\n".to_owned();
    for n in 0..levels {
        let _ = write!(text, "f{n}:\nr6 = r1\n*(u64 *)(r10 - 8) = r1\n");
        if n + 1 < levels {
            for _ in 0..3 {
                let _ = write!(text, "r6 += 1\nr1 = r6\ncall f{}\nr6 += r0\n", n + 1);
            }
        }
        text.push_str("r0 = r6\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit\n");
    }
    text
}

/// Comparisons of both widths and signs, each of which says a little more.
fn narrowing(count: u32) -> String {
    let mut text = PROLOGUE.to_owned();
    for n in 0..count {
        let (a, b) = (n % 1000, 1000 + n % 77);
        let _ = write!(
            text,
            "r1 = *(u64 *)(r6 + 8)\nr2 = *(u32 *)(r6 + 16)\nif r1 s< {a} goto n{n}\nif r1 s> {b} goto n{n}\nif w2 > w1 goto n{n}\nr1 <<= 3\nw2 += w1\nr7 += r2\nn{n}:\n"
        );
    }
    text + "r0 = 0\nexit\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_a_program() {
        let objects = all().expect("the assembler takes them");
        assert_eq!(objects.len(), 10);
        let of = |name: &str| objects.iter().find(|object| object.name == name);
        let precise = of("precise").expect("it is one of them");
        assert_eq!(precise.programs[0].references.len(), 1, "the prologue looks up the array");
    }
}
