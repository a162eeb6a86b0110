//! `bpfkit conformance-plugin`: one program in checked memory.
//!
//! The public `bpf_conformance` suite calls a runtime as `PLUGIN [MEMORY] [OPTIONS] [--elf]`, with
//! the program on standard input, and reads R0 in hexadecimal from standard output. Its programs
//! call one helper, number 5, which gives back its argument; some call it by a register.

use std::io::Read as _;

use anyhow::{Context as _, anyhow, bail};
use bpfkit::interp::{Checked, Limits, Permission, Plain};
use bpfkit::isa::{Program, Slot};
use bpfkit::jit::{CheckedProgram, Jit, JitOptions};

use super::Engine;
use crate::Outcome;
use crate::report::print;

/// How many instructions a program may run.
const BUDGET: u64 = 100_000_000;

/// Run one program in checked memory, as the public conformance suite calls it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The memory that R1 points to: two hexadecimal digits a byte
    memory: Option<String>,
    /// The program on standard input is an ELF object
    #[arg(long)]
    elf: bool,
    /// Which engine runs it
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// What else a suite passes on, and what does not matter here
    #[arg(long, hide = true)]
    program: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let memory = args.memory.as_deref().map(bpf_oracle::hex::decode).transpose();
    let memory = memory.map_err(|error| anyhow!("memory: {error}"))?.unwrap_or_default();
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input")?;
    let bytes = bpf_oracle::hex::decode(&text).map_err(|error| anyhow!("program: {error}"))?;
    let bytes = if args.elf { first_program(&bytes)? } else { bytes };
    let bytes = without_calls(&bytes)?;
    let r0 = match args.engine {
        Engine::Auto | Engine::Interp => interpret(&bytes, &memory)?,
        Engine::Jit => compile(&bytes, memory)?,
    };
    print(&format!("{r0:x}\n"))?;
    Ok(Outcome::Done)
}

/// The instructions of an object's first program.
fn first_program(elf: &[u8]) -> anyhow::Result<Vec<u8>> {
    let object = bpfkit::object::read(elf, "stdin")?;
    let Some(program) = object.programs.first() else { bail!("the object has no program") };
    Ok(program.insns.iter().flat_map(|slot| slot.to_bytes()).collect())
}

/// The number of the suite's helper.
const HELPER: i32 = 5;

/// The program with its calls of the helper written out: `r0 = r1` in their place. A call by a
/// register goes to an appendix that looks at the number, and loads from nowhere if it is not the
/// helper's.
fn without_calls(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    const CALL: u8 = 0x85;
    const CALL_BY_REGISTER: u8 = 0x8d;
    let (slots, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        bail!("program: {} bytes are no whole number of instructions", bytes.len());
    }
    let mut slots: Vec<Slot> = slots.iter().map(|bytes| Slot::from_bytes(*bytes)).collect();
    let give_back = Slot { opcode: 0xbf, dst: 0, src: 1, ..Slot::default() };
    let jump = |imm: i32| Slot { opcode: 0x06, imm, ..Slot::default() };
    let mut second = false;
    for at in 0..slots.len() {
        let slot = slots[at];
        match slot.opcode {
            CALL if !second && slot.src == 0 && slot.imm == HELPER => slots[at] = give_back,
            CALL_BY_REGISTER if !second => {
                // Compilers disagree about where the register's number stands.
                let register = if slot.imm == 0 { slot.dst } else { u8::try_from(slot.imm)? };
                let forth = i32::try_from(slots.len() - at - 1)?;
                slots[at] = jump(forth);
                let is_other = Slot { opcode: 0x55, dst: register, src: 0, off: 2, imm: HELPER };
                let zero = Slot { opcode: 0xb7, ..Slot::default() };
                let load = Slot { opcode: 0x79, ..Slot::default() };
                slots.extend([is_other, give_back, jump(-forth - 3), zero, load]);
                slots.push(jump(-6));
            }
            _ => {}
        }
        second = !second && slot.opcode == 0x18;
    }
    Ok(slots.iter().flat_map(|slot| slot.to_bytes()).collect())
}

fn interpret(bytes: &[u8], memory: &[u8]) -> anyhow::Result<u64> {
    let program = Plain::from_bytes(bytes)?;
    // One program of the suite stores above its frame.
    let mut checked = Checked::new(512, 8);
    let base = if memory.is_empty() { 0 } else { checked.add(memory, Permission::ReadWrite) };
    let len = u64::try_from(memory.len())?;
    Ok(program.run(&mut checked, [base, len, 0, 0, 0], Limits::new(BUDGET))?)
}

fn compile(bytes: &[u8], mut memory: Vec<u8>) -> anyhow::Result<u64> {
    let jit = Jit::new(JitOptions::default())?;
    let program = CheckedProgram::compile(&jit, &Program::decode(bytes)?)?;
    Ok(program.run(&mut memory, BUDGET)?)
}
