//! The vouching: the crate's one unsafe block, and its argument.

use bpf_abi::image::{Image, ImageParts, ImageSubprog, Note, SourceLine};
use bpf_isa::{Insn, Pc, Program};

use super::arity::{arities, callbacks};
use super::bind::{BindError, Bound};
use super::code::{Code, Places};
use super::{context, dead, divisors, notes};
use crate::env::{Env, Subprog};

/// The program, rewritten and bound: only for programs that were accepted.
///
/// # Errors
///
/// Returns an error if the host cannot run it.
pub fn image(env: &Env<'_>) -> Result<Image, BindError> {
    let len = env.program.len();
    let mut code = Code::of(env);
    dead::hard_wire(env, &mut code);
    dead::remove_unseen(env, &mut code);
    dead::remove_nops(&mut code, len);
    context::rewrite(env, &mut code);
    let bound = Bound::bind(env, &mut code)?;
    code.leave_after_throws(env);
    code.give(&bound.gifts);

    let places = code.places(len);
    if let Some(line) = code.lines.iter().find(|line| places.is_too_far(**line)) {
        return Err(BindError::TooFar { at: line.from });
    }
    if let Some(recorder) = &env.options.trace {
        let slots = code.lines.iter().flat_map(|line| {
            std::iter::repeat_n(line.from, usize::try_from(line.insn.slots()).unwrap_or(1))
        });
        recorder.place(slots.collect());
    }
    let (program, notes) = assemble(env, &code, &places, &bound);
    let subprogs = subprogs(env, &places, &program, &bound);
    let lines = lines(env, &places, &program);
    let parts = ImageParts {
        name: env.spec.name.clone(),
        prog_type: env.spec.prog_type,
        program,
        subprogs,
        maps: bound.maps,
        helpers: bound.helpers,
        notes,
        exception_callback: env
            .exception_callback
            .map(|callback| env.subprog(callback).start)
            .filter(|start| env.note(*start).seen)
            .map(|start| places.of(start)),
        lines,
    };
    // Why it may be vouched for: `walk` has followed every path the program can take, up to states
    // that were shown to be covered, so that each instruction was judged in a state that holds all
    // values its operands can have: `memory` let it touch only what it may, `call` held every
    // argument to its callee's contract, and loops were followed to their end or counted. What was
    // not judged was removed: `dead`. The rewriting keeps the meaning of the rest: `context` moves a
    // load to the place the host promises for the field, `bind` names the maps and helpers that were
    // judged, and distances are counted again by `code`. Notes are facts that all paths agreed on:
    // `notes`.
    #[expect(unsafe_code, reason = "the verifier vouches for what it accepted")]
    // SAFETY: [vouched-image] the program was accepted, and kept its meaning since, as said above.
    let image = unsafe { Image::vouch(parts) };
    Ok(image)
}

/// The instructions where they are now, and what is known of each.
fn assemble(env: &Env<'_>, code: &Code, places: &Places, bound: &Bound) -> (Program, Vec<Note>) {
    let mut insns = Vec::with_capacity(code.lines.len());
    let mut notes = Vec::with_capacity(code.lines.len());
    let never_zero = divisors::never_zero(env, code);
    for (line, never_zero) in code.lines.iter().zip(never_zero) {
        let insn = places.relocated(*line);
        insns.push(insn);
        notes.push(notes::note(env, *line, never_zero, bound));
        if insn.slots() == 2 {
            insns.push(Insn::SecondSlot);
            notes.push(Note::default());
        }
    }
    (Program::new(insns), notes)
}

/// The functions that some path reached.
fn subprogs(env: &Env<'_>, places: &Places, program: &Program, bound: &Bound) -> Vec<ImageSubprog> {
    let alive: Vec<&Subprog> =
        env.subprogs.iter().filter(|subprog| env.note(subprog.start).seen).collect();
    let starts: Vec<Pc> = alive.iter().map(|subprog| places.of(subprog.start)).collect();
    let arities = arities(program, &starts, &bound.helpers);
    let taken: Vec<Pc> = callbacks(program).collect();
    let describe = |(subprog, (start, arity)): (&Subprog, (&Pc, u8))| ImageSubprog {
        name: subprog.name.clone(),
        start: *start,
        end: places.of(subprog.end),
        arity: if subprog.is_global || !subprog.unreliable {
            arity.max(parameters(env, subprog))
        } else {
            arity
        },
        stack_depth: u16::try_from(subprog.stack_depth.next_multiple_of(8)).unwrap_or(u16::MAX),
        tail_calls: subprog.has_tail_call || subprog.tail_call_reachable,
        is_callback: subprog.is_callback || subprog.is_async_callback || taken.contains(start),
        is_global: subprog.is_global,
        btf_id: subprog.btf_id.map_or(0, |id| id.0),
    };
    alive.into_iter().zip(starts.iter().zip(arities)).map(describe).collect()
}

/// How many parameters a function's type has.
fn parameters(env: &Env<'_>, subprog: &Subprog) -> u8 {
    let btf = env.spec.btf.as_deref();
    let proto = btf.zip(subprog.btf_id).and_then(|(btf, id)| btf.func_proto(id));
    proto.and_then(|proto| u8::try_from(proto.len()).ok()).map_or(0, |count| count.min(5))
}

/// The source lines of instructions that are left.
fn lines(env: &Env<'_>, places: &Places, program: &Program) -> Vec<SourceLine> {
    let ends = env.debug.lines.iter().skip(1).map(|line| line.pc);
    let ends = ends.chain([Pc(u32::try_from(env.program.len()).unwrap_or(u32::MAX))]);
    let lines = env.debug.lines.iter().zip(ends);
    lines
        .filter_map(|(line, end)| {
            let pc = places.of(line.pc);
            let is_left = pc < places.of(end) && pc.index() < program.len();
            is_left.then(|| SourceLine {
                pc,
                file: line.file.clone(),
                line: line.line,
                text: line.text.trim().to_owned(),
            })
        })
        .collect()
}
