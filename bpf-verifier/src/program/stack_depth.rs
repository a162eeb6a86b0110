//! How much stack functions use that call each other, and how deep they do.
//!
//! All chains of calls from the main function, and from each function that is called back at
//! another time, are followed. This comes after the walk, which finds what each function uses.

use bpf_abi::limits::{MAX_CALL_FRAMES, MAX_STACK};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_isa::Pc;

use crate::env::Env;
use crate::error::Reason;
use crate::program::ProgramError;
use crate::program::flow::{called_kfunc, is_func_address, is_local_call};
use crate::program::kfuncs;
use crate::program::subprogs::callee_at;

/// How much stack must be in use when a function may not tail-call any more, in bytes.
const TAIL_CALL_LIMIT: u32 = 256;

/// From how much stack on a function may have a stack of its own, in bytes.
/// Linux: `BPF_PRIV_STACK_MIN_SIZE`.
const OWN_STACK_MIN: u32 = 64;

/// Checks the stack of all chains of calls, and notes which functions can come to a tail call
/// and which have a stack of their own.
///
/// Linux: `check_max_stack_depth`.
///
/// # Errors
///
/// Returns an error if a chain uses too much or is too long.
pub fn check(env: &mut Env<'_>) -> Result<(), Reason> {
    let tail_calls = env.subprogs.iter().any(|subprog| subprog.has_tail_call);
    let may_own = !tail_calls && has_own_stacks(env);
    let mut chains = Chains {
        own: vec![Own::Undecided; env.subprogs.len()],
        may_own: false,
        depth: 0,
        tail_call_reachable: false,
        callers: Vec::new(),
    };
    for root in (0..env.subprogs.len()).rev() {
        if root == 0 || env.subprogs[root].is_async_callback {
            chains.start(may_own && root == 0);
            chains.follow(env, root)?;
        }
    }
    for (subprog, own) in env.subprogs.iter_mut().zip(chains.own) {
        subprog.private_stack = own == Own::Yes;
    }
    Ok(())
}

/// Whether functions of this program may have stacks of their own: where a program may be
/// entered while another is running, on top of a stack of unknown size.
///
/// Linux: `bpf_enable_priv_stack`.
fn has_own_stacks(env: &Env<'_>) -> bool {
    let attach = env.spec.expected_attach_type;
    let prog_type = env.spec.prog_type;
    matches!(
        prog_type,
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent | ProgType::RawTracepoint
    ) || prog_type == ProgType::Tracing && attach != Some(AttachType::TraceIter)
        || prog_type == ProgType::Lsm && attach != Some(AttachType::LsmCgroup)
}

/// Whether a function has a stack of its own. Linux: `priv_stack_mode`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Undecided,
    No,
    Yes,
}

struct Chains {
    own: Vec<Own>,
    may_own: bool,
    /// The shared stack in use.
    depth: u32,
    tail_call_reachable: bool,
    callers: Vec<Caller>,
}

struct Caller {
    subprog: usize,
    resume: Pc,
}

impl Chains {
    fn start(&mut self, may_own: bool) {
        self.may_own = may_own;
        self.depth = 0;
        self.tail_call_reachable = false;
        self.callers.clear();
    }

    fn follow(&mut self, env: &mut Env<'_>, root: usize) -> Result<(), Reason> {
        let mut subprog = root;
        let mut pc = env.subprogs[root].start;
        self.enter(env, subprog)?;
        loop {
            if let Some((call, callee)) = self.next_call(env, subprog, pc)? {
                self.callers.push(Caller { subprog, resume: Pc(call.0 + 1) });
                subprog = callee;
                pc = env.subprogs[callee].start;
                self.tail_call_reachable |= env.subprogs[callee].has_tail_call;
                if self.callers.len() >= MAX_CALL_FRAMES {
                    let frames = self.callers.len();
                    return Err(ProgramError::TooManyFrames { frames }.into());
                }
                self.enter(env, subprog)?;
                continue;
            }
            if self.tail_call_reachable {
                self.mark_tail_call_reachable(env)?;
            }
            let Some(caller) = self.callers.pop() else { return Ok(()) };
            if self.own[subprog] != Own::Yes {
                self.depth -= rounded(env, subprog);
            }
            subprog = caller.subprog;
            pc = caller.resume;
        }
    }

    /// Takes the stack of a function.
    fn enter(&mut self, env: &Env<'_>, index: usize) -> Result<(), ProgramError> {
        let subprog = &env.subprogs[index];
        if !self.may_own {
            self.own[index] = Own::No;
        }
        if index != 0 && subprog.has_tail_call && self.depth >= TAIL_CALL_LIMIT {
            return Err(ProgramError::TailCallTooDeep { depth: self.depth });
        }
        let depth = rounded(env, index);
        if self.may_own && self.own[index] == Own::Undecided && depth >= OWN_STACK_MIN {
            self.own[index] = Own::Yes;
        }
        if self.own[index] == Own::Yes {
            if depth > MAX_STACK {
                return Err(ProgramError::OwnStack { subprog: index, depth });
            }
            return Ok(());
        }
        self.depth += depth;
        if self.depth > MAX_STACK {
            let calls = self.callers.len() + 1;
            return Err(ProgramError::CombinedStack { calls, depth: self.depth });
        }
        Ok(())
    }

    /// The next call from `pc` on in this function that uses stack on top of it, and its callee.
    fn next_call(
        &self,
        env: &Env<'_>,
        index: usize,
        from: Pc,
    ) -> Result<Option<(Pc, usize)>, ProgramError> {
        for pc in (from.0..env.subprogs[index].end.0).map(Pc) {
            let slot = env.spec.insns[pc.index()];
            if called_kfunc(slot).is_some_and(|(id, btf)| btf == 0 && kfuncs::is_throw(env, id)) {
                let in_callback = env.subprogs[index].is_callback
                    || self.callers.iter().any(|caller| env.subprogs[caller.subprog].is_callback);
                if in_callback {
                    return Err(ProgramError::ThrowInCallback { pc, subprog: index });
                }
            }
            if !is_local_call(slot) && !is_func_address(slot) {
                continue;
            }
            let Some(callee) = callee_at(env, pc) else { continue };
            let subprog = env.subprog(callee);
            if subprog.is_async_callback {
                if !is_local_call(slot) {
                    continue;
                }
                if subprog.is_exception_callback {
                    return Err(ProgramError::ExceptionCallbackCalled { pc });
                }
            }
            return Ok(Some((pc, callee.index())));
        }
        Ok(None)
    }

    fn mark_tail_call_reachable(&self, env: &mut Env<'_>) -> Result<(), ProgramError> {
        for caller in &self.callers {
            let subprog = &mut env.subprogs[caller.subprog];
            if subprog.is_exception_callback {
                return Err(ProgramError::TailCallInExceptionCallback);
            }
            subprog.tail_call_reachable = true;
        }
        Ok(())
    }
}

/// What a function's frame takes of the stack: interpreters have frames of few sizes.
/// Linux: `round_up_stack_depth`.
fn rounded(env: &Env<'_>, subprog: usize) -> u32 {
    let depth = env.subprogs[subprog].stack_depth;
    if env.host.compiles() { depth.next_multiple_of(16) } else { depth.max(1).next_multiple_of(32) }
}
