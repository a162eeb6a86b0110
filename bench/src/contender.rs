//! Who takes part: something that runs one program.

use std::time::Instant;

use bpf_abi::map::MapSpec;
use bpf_abi::spec::{ObjectSpec, ProgramSpec};

use crate::stats::Times;

/// How long a round of one contender aims to be, in nanoseconds.
const ROUND: f64 = 60_000.0;

/// How often a length is tried for a round.
const ATTEMPTS: u32 = 3;

/// How many runs a round has at most.
const MOST: u32 = 40_000;

/// Something that runs one program on one packet.
pub(crate) trait Contender {
    /// Puts the maps back as they were in the beginning.
    fn reset(&mut self) -> anyhow::Result<()>;

    /// Runs the program once; returns its result.
    fn run(&mut self) -> anyhow::Result<u32>;

    /// Runs it `repeat` times; returns nanoseconds a run.
    fn time(&mut self, repeat: u32) -> anyhow::Result<f64> {
        let start = Instant::now();
        for _ in 0..repeat {
            self.run()?;
        }
        #[expect(clippy::cast_precision_loss, reason = "a round is far from 2^52 nanoseconds")]
        let total = start.elapsed().as_nanos() as f64;
        Ok(total / f64::from(repeat))
    }
}

/// A contender in a race.
pub(crate) struct Runner {
    contender: Box<dyn Contender>,
    repeat: u32,
    /// What its rounds took.
    pub(crate) times: Times,
}

impl Runner {
    /// Gets ready: how many runs make a round.
    pub(crate) fn new(mut contender: Box<dyn Contender>) -> anyhow::Result<Self> {
        let mut repeat = 5;
        // A round is long enough only if it always is: one may have been long because something
        // else ran meanwhile, or because nothing was in the caches.
        while repeat < MOST {
            let mut least = f64::INFINITY;
            for _ in 0..ATTEMPTS {
                least = least.min(contender.time(repeat)? * f64::from(repeat));
            }
            if least >= ROUND {
                break;
            }
            repeat *= 2;
        }
        Ok(Self { contender, repeat, times: Times::default() })
    }

    /// Runs one round. Those before it had the caches to themselves: it begins with some runs
    /// that do not count.
    pub(crate) fn round(&mut self) -> anyhow::Result<()> {
        self.contender.time(self.repeat / 4 + 1)?;
        let time = self.contender.time(self.repeat)?;
        self.times.push(time);
        Ok(())
    }

    /// What the program returns from the beginning.
    pub(crate) fn result(&mut self) -> anyhow::Result<u32> {
        self.contender.reset()?;
        self.contender.run()
    }
}

/// The only program of an object, and its maps.
pub(crate) fn only_program(spec: &ObjectSpec) -> anyhow::Result<(&ProgramSpec, &[MapSpec])> {
    match spec.programs.as_slice() {
        [program] => Ok((program, &spec.maps)),
        programs => anyhow::bail!("an object of {} programs", programs.len()),
    }
}
