//! Every `.bpf` file of this folder is a test: a program in text, and what must hold of it.
//!
//! `README.bpf` is the manual. A file is run by its name: `cargo test -p bpf-tests --test
//! filetests -- range`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use bpf_abi::errno::Errno;
use bpf_isa::asm::assemble_with;
use bpf_isa::{Program, Symbols, Text};
use bpf_oracle::report::normal;
use bpf_tests::checked::{Prepared, prepare};
use bpf_tests::filetest::{Filetest, directives, files, hex, root};
use bpf_tests::kernel;
use bpf_tests::places::Places;
use bpf_tests::text::Helpers;
use bpf_verifier::described::DescribedWorld;
use bpf_verifier::{LogOptions, Options, check};
use libtest_mimic::{Arguments, Failed, Trial};

/// What `; test NAME` does.
const COMMANDS: &[(&str, Command)] = &[("isa", isa), ("verify", verify), ("run", run)];

type Command = fn(&Filetest) -> Result<(), Failed>;

fn main() -> ExitCode {
    let root = root();
    let trials = files(&root).into_iter().map(|path| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        Trial::test(name, || test(path))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn test(path: PathBuf) -> Result<(), Failed> {
    let text = fs::read_to_string(&path)?;
    let test = Filetest::read(path, text)?;
    let wanted: Vec<&str> = test.values("test ").collect();
    if wanted.is_empty() {
        return Err("no `; test …` in this file".into());
    }
    for wanted in wanted {
        let command = COMMANDS.iter().find(|(name, _)| *name == wanted);
        let (_, command) = command.ok_or_else(|| format!("there is no test {wanted:?}"))?;
        command(&test)?;
    }
    Ok(())
}

/// Text to instructions to text and back is nothing lost.
fn isa(test: &Filetest) -> Result<(), Failed> {
    let program = assemble_with(&test.text, &Helpers).map_err(|error| error.to_string())?.program;
    let decoded = Program::decode(&program.to_bytes()).map_err(|error| error.to_string())?;
    same("decoding what was encoded", &format!("{program:?}"), &format!("{decoded:?}"))?;
    let insns = decoded.iter().map(|(_, insn)| format!("{:#}\n", Text::of(insn, &Names)));
    let text: String = insns.collect();
    let again = assemble_with(&text, &Helpers).map_err(|error| format!("{error}\n{text}"))?;
    same(
        "assembling what was disassembled",
        &format!("{program:?}"),
        &format!("{:?}", again.program),
    )
}

/// Names that the assembler knows.
struct Names;

impl Symbols for Names {
    fn helper(&self, id: i32) -> Option<std::borrow::Cow<'_, str>> {
        let rows = bpf_abi::helper::protos::PROTOS;
        let row = rows.iter().find(|row| i32::try_from(row.proto.id) == Ok(id))?;
        Some(format!("bpf_{}", row.proto.name).into())
    }
}

/// The verdict and the log: as the file says, as the snapshot has it, as the kernel has it.
fn verify(test: &Filetest) -> Result<(), Failed> {
    const EVERYTHING: u32 = 2;
    let mut world = DescribedWorld::new(None);
    for map in &test.object.maps {
        world.add_map(map, test.object.btf.as_ref());
    }
    let log = LogOptions { level: EVERYTHING, size: None };
    let options = Options { log, strict_holes: false, ..Options::default() };
    let checked = check(&test.object.programs[0], &world, &options);
    let verdict = checked.result.map_err(|rejection| rejection.errno());
    let ours = normal(&checked.log);

    let Some(expected) = directives(&test.text).find_map(verdict_of) else {
        return Err("neither `; accept` nor `; reject ERRNO`".into());
    };
    let name = |verdict: Result<(), Errno>| match verdict {
        Ok(()) => "accept".to_owned(),
        Err(errno) => format!("reject {errno}"),
    };
    if name(verdict) != expected {
        return Err(format!("expected {expected}, found {}:\n{ours}", name(verdict)).into());
    }
    if kernel::may_ask() {
        let (verdict, log) = kernel::judge(&test.object, EVERYTHING)?;
        let theirs = normal(&log);
        if name(verdict) != expected {
            return Err(format!("the kernel says {}:\n{theirs}", name(verdict)).into());
        }
        same("the kernel's log and ours", &theirs, &ours)?;
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(test.path.parent().unwrap());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_input_file(&test.path);
    settings.bind(|| {
        let name = test.path.file_stem().unwrap().to_str().unwrap();
        insta::assert_snapshot!(name, ours);
    });
    Ok(())
}

fn verdict_of(directive: &str) -> Option<String> {
    let mut words = directive.split_whitespace();
    match (words.next()?, words.next()) {
        ("accept", None) => Some("accept".to_owned()),
        ("reject", Some(errno)) => Some(format!("reject {errno}")),
        _ => None,
    }
}

/// Fails with the first line that differs.
fn same(what: &str, one: &str, other: &str) -> Result<(), Failed> {
    if one == other {
        return Ok(());
    }
    let mut lines = one.lines().zip(other.lines()).enumerate();
    let differing = lines.find(|(_, (one, other))| one != other);
    let message = match differing {
        Some((n, (one, other))) => format!("line {}:\n  {one}\n  {other}", n + 1),
        None => {
            format!("one is longer: {} and {} lines", one.lines().count(), other.lines().count())
        }
    };
    Err(format!("{what} differ, {message}\n\n{one}\n--\n{other}").into())
}

/// What a program computes, everywhere: both engines, the kernel, and checked memory.
fn run(test: &Filetest) -> Result<(), Failed> {
    const SHORTEST: usize = 64;
    let places = Places::load(&test.object)?;
    let mut packet = vec![0; SHORTEST];
    let mut asked = 0;
    for directive in directives(&test.text) {
        if let Some(data) = directive.strip_prefix("data ").filter(|data| !data.starts_with("==")) {
            packet = hex(data)?;
            packet.resize(packet.len().max(SHORTEST), 0);
            continue;
        }
        let wanted = |name| directive.strip_prefix(name).map(str::trim);
        let (r0, data) = (wanted("r0 =="), wanted("data =="));
        if r0.is_none() && data.is_none() {
            continue;
        }
        asked += 1;
        let ran = places.run("test", &packet)?;
        if let Some(r0) = r0 {
            let r0 = number(r0)?;
            if ran.r0 != r0 {
                return Err(format!("r0 == {:#x}, expected {r0:#x}", ran.r0).into());
            }
        }
        if let Some(data) = data {
            let data = hex(data)?;
            if !ran.data.starts_with(&data) {
                return Err(format!("data == {:02x?}", ran.data).into());
            }
        }
        in_checked_memory(test, &packet, &ran)?;
    }
    if asked == 0 { Err("neither `; r0 == N` nor `; data == HEX`".into()) } else { Ok(()) }
}

/// The same in checked memory, where it must not fault.
fn in_checked_memory(
    test: &Filetest,
    packet: &[u8],
    ran: &bpf_tests::places::Ran,
) -> Result<(), Failed> {
    match prepare(&test.object, &test.object.programs[0], &Options::default()) {
        Prepared::Refused(rejection) => Err(format!("checked memory: {rejection}").into()),
        Prepared::Beyond => Ok(()),
        Prepared::Accepted(program) => {
            let checked = program.run(packet, 1).map_err(|fault| format!("checked: {fault}"))?;
            let r0 = checked.r0.map(|r0| u32::try_from(r0 & u64::from(u32::MAX)).unwrap());
            let first_run = test.values("r0 ==").count() + test.values("data ==").count() == 1;
            let comparable = program.is_exact && (first_run || test.object.maps.is_empty());
            if comparable && (r0, &checked.data) != (Some(ran.r0), &ran.data) {
                return Err(format!("checked memory: {checked:02x?}\nothers: {ran:02x?}").into());
            }
            Ok(())
        }
    }
}

fn number(text: &str) -> Result<u32, Failed> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    Ok(u32::from_str_radix(digits, radix)?)
}
