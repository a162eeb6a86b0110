//! Functions of compiled programs, replaced while threads call them.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;

use bpf_abi::exec::RunCx;
use bpf_abi::image::{Image, ImageParts};
use bpf_abi::prog::ProgType;
use bpf_isa::{AluOp, Call, Insn, Operand, Program, Reg, Width};
use bpf_jit::{Compiled, Jit, JitOptions, SlotMode};
use bpf_trampoline::{Code, GracePeriods, JitSlot, Occupancy, ProgramGate, Target};

/// A program that returns what its function returns, which is this number.
fn caller(r0: i32) -> Image {
    let number =
        Insn::Alu { op: AluOp::Mov, width: Width::W64, dst: Reg::R0, src: Operand::Imm(r0) };
    let insns = vec![Insn::Call(Call::Local(1)), Insn::Exit, number, Insn::Exit];
    let parts = ImageParts {
        name: "caller".to_owned(),
        prog_type: ProgType::Xdp,
        program: Program::new(insns),
        subprogs: Vec::new(),
        maps: Vec::new(),
        helpers: Vec::new(),
        notes: Vec::new(),
        exception_callback: None,
        lines: Vec::new(),
    };
    #[expect(unsafe_code, reason = "the test vouches for its program")]
    // SAFETY: [verified-memory] it touches no memory.
    unsafe {
        Image::vouch(parts)
    }
}

#[expect(unsafe_code, reason = "runs a program of the test")]
fn run(compiled: &Compiled) -> u64 {
    // SAFETY: [run-context] the program touches no context.
    unsafe { compiled.run(&mut RunCx::new(0), 0) }
}

/// The code of a program's function.
#[expect(unsafe_code, reason = "vouches for code")]
fn function_of(compiled: Compiled) -> Code {
    let address = compiled.slot(1).unwrap().address();
    // SAFETY: [slot-target] all functions here take and return the same; the program is kept.
    unsafe { Code::vouch(address, Arc::new(compiled)) }
}

/// Programs run under a lock that is shared; what is deferred waits for it alone.
#[derive(Debug, Default)]
struct Grace {
    running: RwLock<()>,
}

#[expect(unsafe_code, reason = "implements the contract by waiting")]
// SAFETY: [grace-period] the lock is held by each thread that runs a program.
unsafe impl GracePeriods for Grace {
    fn defer(&self, what: Box<dyn FnOnce() + Send>) {
        drop(self.running.write().unwrap());
        what();
    }
}

#[test]
fn threads_run_the_old_function_or_the_new_one() {
    for slots in [SlotMode::Word, SlotMode::Displacement] {
        let jit = Jit::new(JitOptions { slots, ..JitOptions::default() }).unwrap();
        let program = Arc::new(jit.compile(&caller(0)).unwrap());
        assert!(JitSlot::new(Arc::clone(&program), 2).is_none());
        let slot = JitSlot::new(Arc::clone(&program), 1).unwrap();
        let grace = Arc::new(Grace::default());
        let target = Target::new(Box::new(slot), ProgramGate::new(), Arc::clone(&grace) as Arc<_>);
        let rounds = 200_u32;
        // What a call may return now: the function itself, or the extension of this round.
        let latest = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let running = grace.running.read().unwrap();
                        let before = latest.load(Ordering::SeqCst);
                        let r0 = run(&program);
                        let after = latest.load(Ordering::SeqCst);
                        drop(running);
                        assert!(r0 == 0 || (before.saturating_sub(1)..=after).contains(&r0));
                        thread::yield_now();
                    }
                });
            }
            for round in 1..=rounds {
                let extension = jit.compile(&caller(i32::try_from(round).unwrap())).unwrap();
                latest.store(round.into(), Ordering::SeqCst);
                let link = target.extend(function_of(extension)).unwrap();
                assert_eq!(run(&program), u64::from(round));
                drop(link);
                assert_eq!(run(&program), 0);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(target.occupancy(), Occupancy::Idle);
    }
}
