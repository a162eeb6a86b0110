//! A witness of every step, for tests and for tools that show what a program does.

use bpf_isa::Pc;

/// What is told of each instruction, before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The instruction.
    pub pc: Pc,
    /// How many functions have called each other to get here: 0 in the first.
    pub frame: usize,
    /// How many tail calls the run has taken.
    pub tail_calls: u32,
    /// The registers.
    pub regs: &'a [u64; 11],
}

/// Sees every step of a run.
pub trait Witness {
    /// Whether it is told at all; if not, watching costs nothing.
    const WATCHES: bool = true;

    /// Called before each instruction.
    fn step(&mut self, step: Step<'_>);
}

/// Sees nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWitness;

impl Witness for NoWitness {
    const WATCHES: bool = false;

    fn step(&mut self, _: Step<'_>) {}
}

impl<F: FnMut(Step<'_>)> Witness for F {
    fn step(&mut self, step: Step<'_>) {
        self(step);
    }
}
