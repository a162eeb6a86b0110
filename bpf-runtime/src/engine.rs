//! The engines, and what they make of a program.

use std::sync::Arc;

use bpf_abi::exec::{Engine, ProgCounters};
use bpf_abi::image::Image;
use bpf_interp::{Interp, PrepareError};
use bpf_jit::{CompileError, Compiled, Jit, JitOptions};
use thiserror::Error;

use crate::background::{Compiler, Prepared, compile};
use crate::error::Error as RuntimeError;

/// Which engine runs programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// Compiled code where there can be any, else the interpreter.
    #[default]
    Auto,
    /// Compiled code.
    Jit,
    /// The interpreter.
    Interp,
}

/// When programs are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JitMode {
    /// As they are loaded.
    #[default]
    Eager,
    /// In the background: a program is interpreted from when it is verified to when its code is
    /// there. Meanwhile it may be put into program arrays; attaching it, or to its functions, has
    /// the thread that attaches compile it first.
    Background,
    /// Never: the interpreter runs them.
    Off,
}

/// Why an engine could not make anything of a program.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The compiler.
    #[error(transparent)]
    Jit(#[from] CompileError),
    /// The interpreter.
    #[error(transparent)]
    Interp(#[from] PrepareError),
}

/// The engines of a runtime.
#[derive(Debug)]
pub(crate) struct Engines {
    jit: Option<Jit>,
    /// Whether a program that cannot be compiled may be interpreted.
    falls_back: bool,
    /// Whether programs count their runs and tail calls.
    counts: bool,
    /// What compiles in the background, if that is where programs are compiled.
    compiler: Option<Compiler>,
}

/// What an engine made of a program.
#[derive(Debug)]
pub(crate) enum Code {
    Jit(Arc<Compiled>),
    Interp(Arc<Interp>),
}

impl Engines {
    pub(crate) fn new(
        choice: EngineChoice,
        mode: JitMode,
        counts: bool,
        options: JitOptions,
    ) -> Result<Self, RuntimeError> {
        let choice = if mode == JitMode::Off { EngineChoice::Interp } else { choice };
        let jit = match choice {
            EngineChoice::Auto => Jit::new(options).ok(),
            EngineChoice::Jit => {
                Some(Jit::new(options).map_err(|error| RuntimeError::NoJit(Box::new(error)))?)
            }
            EngineChoice::Interp => None,
        };
        let compiler = (mode == JitMode::Background).then(Compiler::default);
        Ok(Self { jit, falls_back: choice == EngineChoice::Auto, counts, compiler })
    }

    /// The compiler, if there is one.
    pub(crate) const fn jit(&self) -> Option<&Jit> {
        self.jit.as_ref()
    }

    /// What compiles in the background, if anything does.
    pub(crate) const fn compiler(&self) -> Option<&Compiler> {
        self.compiler.as_ref()
    }

    /// Prepares a program, to be compiled or not; also gives the counters that it counts in, if it
    /// does.
    pub(crate) fn prepare(
        &self,
        image: &Arc<Image>,
        compiled: bool,
    ) -> Result<(Prepared, Option<Arc<ProgCounters>>), EngineError> {
        let counters = self.counts.then(Arc::<ProgCounters>::default);
        let interpreted = || match &counters {
            None => Interp::new(Arc::clone(image)),
            Some(counters) => Interp::counted(Arc::clone(image), Arc::clone(counters)),
        };
        let prepared = match (self.jit.as_ref().filter(|_| compiled), &self.compiler) {
            (None, _) => Prepared::settled(Code::Interp(interpreted()?)),
            (Some(jit), None) => match compile(jit, image, counters.as_ref()) {
                Ok(compiled) => Prepared::settled(Code::Jit(Arc::new(compiled))),
                Err(error) if self.falls_back => match interpreted() {
                    Ok(program) => Prepared::interpreted(program, jit),
                    Err(_) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            },
            (Some(jit), Some(compiler)) => match jit.cached(image, counters.as_ref()) {
                Some(compiled) => Prepared::settled(Code::Jit(Arc::new(compiled))),
                None => compiler.begin(interpreted()?, jit, image, counters.as_ref()),
            },
        };
        Ok((prepared, counters))
    }
}

impl Code {
    /// Which engine it is for.
    pub(crate) const fn engine(&self) -> Engine {
        match self {
            Self::Jit(_) => Engine::Jit,
            Self::Interp(_) => Engine::Interp,
        }
    }

    /// How many bytes of machine code there are.
    pub(crate) fn jited_len(&self) -> usize {
        match self {
            Self::Jit(compiled) => compiled.code_size(),
            Self::Interp(_) => 0,
        }
    }
}
