//! Text to instructions and back, and what the kernel's tables of live registers say of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bpf_isa::asm::{AsmErrorKind, Names, Relocation, assemble, assemble_with};
use bpf_isa::{
    AtomicOp, Call, Imm64, Insn, Numbers, Pc, Program, Reg, RegSet, Size, Slot, Text, decode,
};

const RECORDED: &str = include_str!("../testdata/linux-6.18-insns.txt");
const LIVE: &str = include_str!("../testdata/linux-6.18-live-registers.txt");

const OFFSETS: [i16; 9] = [0, 1, -1, 8, 16, 32, 300, i16::MAX, i16::MIN];

const IMMEDIATES: [i32; 18] = [
    0,
    1,
    -1,
    16,
    32,
    64,
    0x40,
    0x41,
    0x51,
    0xa1,
    0xe1,
    0xf1,
    0x100,
    0x110,
    0x1_0000,
    77,
    i32::MAX,
    i32::MIN,
];

#[test]
fn the_text_of_every_instruction_assembles_to_it() {
    let mut count = 0_u32;
    for opcode in 0..=u8::MAX {
        for (dst, src) in [(0, 0), (1, 0), (0, 2), (3, 4), (10, 6), (9, 10), (0, 1), (0, 3), (0, 5)]
        {
            for (off, imm) in OFFSETS.into_iter().flat_map(|off| IMMEDIATES.map(|imm| (off, imm))) {
                let first = Slot { opcode, dst, src, off, imm };
                let second = Slot { imm: imm ^ 5, ..Slot::default() };
                let Ok(insn) = decode(first, Some(second), Pc(0)) else { continue };
                let text = insn.to_string();
                let program = assemble(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(program.insns()[0], insn, "{text}");
                assert_eq!(program.len(), usize::try_from(insn.slots()).unwrap());
                count += 1;
            }
        }
    }
    assert!(count > 10_000, "{count}");
}

#[test]
fn a_line_of_the_log_assembles_to_what_the_kernel_was_given() {
    let mut count = 0;
    for line in RECORDED.lines().filter(|line| line.ends_with("| ok")) {
        let mut columns = line.split(" | ");
        let bytes = unhex(columns.next().unwrap());
        let text = columns.next().unwrap();
        if text == "-" {
            continue;
        }
        let program = assemble(&format!("9: {text} ; R0=0")).unwrap();
        assert_eq!(program.to_bytes(), canonical(&bytes), "{text}");
        count += 1;
    }
    assert!(count > 500, "{count}");
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().as_chunks::<2>().0;
    digits
        .iter()
        .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
        .collect()
}

fn canonical(bytes: &[u8]) -> Vec<u8> {
    Program::decode(bytes).unwrap().to_bytes()
}

/// How many arguments the functions in the recorded programs take: five where the kernel does not
/// know, as of a helper that the program's type may not call.
fn arity(call: Call) -> u8 {
    match call {
        Call::Helper(7 | 65453 | 65455) => 0,
        Call::Helper(86 | 93 | 94 | 64211 | 64217) => 1,
        Call::Helper(1 | 39 | 132 | 199) => 2,
        Call::Helper(12 | 131 | 203 | 64214) => 3,
        Call::Helper(2 | 26 | 181 | 198) => 4,
        Call::Helper(_) | Call::Local(_) | Call::Kfunc { .. } => 5,
    }
}

/// Which registers may still be read before each instruction, computed to the fixed point.
fn live(program: &Program) -> Vec<RegSet> {
    let mut live = vec![RegSet::EMPTY; program.len()];
    loop {
        let before = live.clone();
        for (at, insn) in program.iter() {
            let arguments = if let Insn::Call(call) = insn { arity(call) } else { 0 };
            let (used, defined) = insn.live_effect(arguments);
            let after = insn
                .successors(at)
                .filter_map(|next| live.get(next.index()).copied())
                .fold(RegSet::EMPTY, RegSet::union);
            live[at.index()] = after.minus(defined).union(used);
        }
        if live == before {
            return live;
        }
    }
}

#[test]
fn reads_and_writes_give_the_kernels_tables_of_live_registers() {
    let mut tables = 0;
    for table in LIVE.split("\n= ").skip(1) {
        let (name, lines) = table.split_once('\n').unwrap();
        let text: String = lines
            .lines()
            .map(|line| {
                format!("{}\n", line.split_once(" (").map(|(_, text)| format!("({text}")).unwrap())
            })
            .collect();
        let program = assemble(&text).unwrap();
        let live = live(&program);
        for (line, (at, insn)) in lines.lines().zip(program.iter()) {
            let columns: String = (0..10)
                .map(|number| {
                    let reg = Reg::new(number).unwrap();
                    if live[at.index()].contains(reg) {
                        reg.to_string()[1..].to_owned()
                    } else {
                        ".".into()
                    }
                })
                .collect();
            let number = at.index();
            assert!(
                line.starts_with(&format!("{number}: {columns} (")),
                "{name}: {line}: {columns}"
            );
            assert_eq!(line.contains("call"), matches!(insn, Insn::Call(_)));
        }
        tables += 1;
    }
    assert!(tables > 70, "{tables}");
}

struct OneHelper;

impl Names for OneHelper {
    fn call(&self, name: &str) -> Option<Call> {
        (name == "bpf_map_lookup_elem").then_some(Call::Helper(1))
    }
}

#[test]
fn labels_maps_and_names_are_resolved() {
    let text = "
        ; a comment
        entry:
            r1 = map[counts] ll        # another
            r2 = map[counts][0]+8 ll   // and another
            r3 = callback ll
            r4 = outside ll
            call bpf_map_lookup_elem
            call callback
            if r0 != 0 goto out
            gotol entry
        out: exit
        callback:
            may_goto entry
            goto out
    ";
    let assembled = assemble_with(text, &OneHelper).unwrap();
    let insns = assembled.program.insns();
    assert_eq!(assembled.labels["callback"], Pc(13));
    assert_eq!(insns[2], Insn::LoadImm64 { dst: Reg::R2, imm: Imm64::MapValue { fd: 0, off: 8 } });
    assert_eq!(insns[4], Insn::LoadImm64 { dst: Reg::R3, imm: Imm64::Func { off: 8 } });
    assert_eq!(insns[8], Insn::Call(Call::Helper(1)));
    assert_eq!(insns[9], Insn::Call(Call::Local(3)));
    assert_eq!(insns[10].jump_target(Pc(10)), Some(Pc(12)));
    assert_eq!(insns[11], Insn::Jump { off: -12, long: true });
    assert_eq!(insns[13], Insn::MayGoto { off: -14 });
    let relocation =
        |at, symbol: &str, line| Relocation { at: Pc(at), symbol: symbol.into(), line };
    assert_eq!(
        assembled.relocations,
        [relocation(0, "counts", 4), relocation(2, "counts", 5), relocation(6, "outside", 7)]
    );
    assert_eq!(assembled.lines[..4], [4, 4, 5, 5]);
}

#[test]
fn what_clang_writes_is_read() {
    let text = "
        w1 = *(u8 *)(r2 + 0)
        *(u32 *)(r10 - 4) = w1
        w1 = atomic_fetch_add((u32 *)(r2 + 4), w1)
        r0 = cmpxchg_64(r1 + 0, r0, r2)
        w3 = xchg32_32(r1 - 8, w3)
        r5 = addr_space_cast(r5, 0x0, 0x1)
        w3 = load_acquire((u8 *)(r1 + 0))
        if w1 s> -1 goto +1
        exit
    ";
    let insns = assemble(text).unwrap();
    let kernel: Vec<String> =
        insns.iter().map(|(_, insn)| Text::of(insn, &Numbers).to_string()).collect();
    assert_eq!(
        kernel,
        [
            "(71) r1 = *(u8 *)(r2 +0)",
            "(63) *(u32 *)(r10 -4) = r1",
            "(c3) r1 = atomic_fetch_add((u32 *)(r2 +4), r1)",
            "(db) r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)",
            "(c3) r3 = atomic_xchg((u32 *)(r1 -8), r3)",
            "(bf) r5 = addr_space_cast(r5, 0, 1)",
            "(d3) r3 = load_acquire((u8 *)(r1 +0))",
            "(66) if w1 s> 0xffffffff goto pc+1",
            "(95) exit",
        ]
    );
    let add = AtomicOp::Add { fetch: true };
    let (base, src) = (Reg::R2, Reg::R1);
    assert_eq!(insns.get(Pc(2)), Some(Insn::Atomic { op: add, size: Size::W, base, off: 4, src }));
}

#[test]
fn errors_name_line_column_and_what_was_expected() {
    let cases = [
        ("r1 = ", "line 1, column 5: expected a value, found the end of the line"),
        ("exit\n  r1 += w2", "line 2, column 9: the width of `w2` does not fit here"),
        ("r1 = 0x100000000", "line 1, column 6: 4294967296 does not fit in 32 bits"),
        ("r11 = 1", "line 1, column 1: expected an instruction, found `r11`"),
        ("goto nowhere", "line 1, column 6: `nowhere` is not known"),
        ("a:\na: exit", "line 2, column 1: the label `a` stands twice"),
        ("r1 = -r2", "line 1, column 7: the operand must be `r1`, which the result goes to"),
        ("exit exit", "line 1, column 6: expected the end of the line, found `exit`"),
        ("r1 = *(u24 *)(r1 +0)", "line 1, column 8: expected a type such as u32, found `u24`"),
        ("lock *(u8 *)(r1 +0) += r2", "line 1, column 8: expected u32 or u64, found `u8`"),
        ("call f", "line 1, column 6: `f` is not known"),
        ("r1 = map[m]", "line 1, column 1: `m` is not known"),
        ("*(u64 *)(r1 +32768) = 0", "line 1, column 13: 32768 does not fit in 16 bits"),
        (
            "r1 = 99999999999999999999 ll",
            "line 1, column 6: `99999999999999999999` is no number of 64 bits",
        ),
        ("if r1 === r2 goto +1", "line 1, column 9: expected a number, found `=`"),
    ];
    for (text, message) in cases {
        assert_eq!(assemble(text).unwrap_err().to_string(), message, "{text}");
    }
    let far = format!("goto end\n{}end: exit", "r0 = 0\n".repeat(40_000));
    let error = assemble(&far).unwrap_err();
    assert_eq!(error.kind, AsmErrorKind::TooFar("end".into()));
}

proptest::proptest! {
    #[test]
    fn any_text_assembles_or_is_an_error(text in "[rw0-9 =+*(){};:,.#x\\[\\]a-z<>&^|%!/\n-]{0,60}") {
        drop(assemble(&text));
    }

    #[test]
    fn words_in_any_order_assemble_or_are_an_error(
        words in proptest::collection::vec(0_usize..40, 0..12),
    ) {
        const WORDS: [&str; 40] = [
            "r0", "w1", "r10", "=", "+=", "s>>=", "-", "1", "0xffffffff", "ll", "*", "(", ")", "u32",
            "s8", "[", "]", "lock", "if", "goto", "gotol", "may_goto", "call", "exit", "map", "fd",
            ":", "#", "pc", "+", "skb", "load_acquire", "store_release", ",", "cmpxchg_64", "le16",
            "addr_space_cast", "atomic_fetch_add", "subprog", "btf",
        ];
        let text: Vec<&str> = words.into_iter().map(|word| WORDS[word]).collect();
        drop(assemble(&text.join(" ")));
    }
}
