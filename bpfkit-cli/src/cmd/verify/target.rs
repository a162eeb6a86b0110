//! The program that extensions and probes are judged for.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bpfkit::abi::prog::{AttachType, ProgType};
use bpfkit::abi::spec::{AttachTo, ProgramSpec};
use bpfkit::verifier::described::DescribedWorld;
use bpfkit::verifier::host::ProgramFacts;
use bpfkit::verifier::{LogOptions, Options, check};

use super::{Kernel, open, world};

/// A program, and a function of it: `OBJ`, `OBJ:PROG` or `OBJ:PROG:FUNC`.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    object: PathBuf,
    program: Option<String>,
    function: Option<String>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let object = parts.next().filter(|object| !object.is_empty());
        let (program, function) = (parts.next(), parts.next());
        let object = match (object, parts.next()) {
            (Some(object), None) => PathBuf::from(object),
            _ => return Err("not of the form OBJ:PROG:FUNC".to_owned()),
        };
        Ok(Self {
            object,
            program: program.map(str::to_owned),
            function: function.map(str::to_owned),
        })
    }
}

/// A program that was accepted, so that others can be judged for it.
#[derive(Debug)]
pub(super) struct Target {
    named: Named,
    facts: ProgramFacts,
}

impl Target {
    /// Judges the program that is named.
    pub(super) fn new(named: &Named, kernel: Kernel<'_>) -> anyhow::Result<Self> {
        let object = open(&named.object, kernel)?;
        let path = named.object.display();
        let names = || object.programs.iter().map(|program| program.name.as_str());
        let known = || names().collect::<Vec<_>>().join(", ");
        let program = match (&named.program, object.programs.as_slice()) {
            (Some(name), programs) => programs.iter().find(|program| program.name == *name),
            (None, [only]) => Some(only),
            (None, _) => {
                bail!("{path} has several programs, say which as {path}:PROG: {}", known())
            }
        };
        let program = program.with_context(|| match &named.program {
            Some(name) => format!("{path} has no program {name}: it has {}", known()),
            None => format!("{path} has no program"),
        })?;
        let log = LogOptions { level: 0, ..LogOptions::default() };
        let options = Options { log, ..Options::default() };
        let world = world(&object, kernel.types);
        let checked = check(&world.resolved(program), &world, &options);
        match (checked.result, checked.facts) {
            (Ok(()), Some(facts)) => Ok(Self { named: named.clone(), facts }),
            (Err(rejection), _) => bail!("{path}: {}: {rejection}", program.name),
            (Ok(()), None) => bail!("{path}: {}: nothing is known of it", program.name),
        }
    }

    /// Has a program attach to it, if it is one that attaches to programs.
    pub(super) fn apply(
        &self,
        program: &mut ProgramSpec,
        world: &mut DescribedWorld,
    ) -> anyhow::Result<()> {
        if !attaches(program) {
            return Ok(());
        }
        let section = match &program.attach_to {
            Some(AttachTo::Function(name) | AttachTo::Kernel(name)) => Some(name),
            Some(AttachTo::StructOps { .. } | AttachTo::Other(_)) | None => None,
        };
        let function = self.named.function.as_ref().or(section);
        let function = function
            .with_context(|| format!("{}: say which function, as OBJ:PROG:FUNC", program.name))?;
        let id = self.facts.function_id(function);
        let id = id.with_context(|| format!("{} has no function {function}", self.facts.name))?;
        program.attach_btf_id = id.0;
        program.attach_prog = Some(world.add_program(self.facts.clone()));
        Ok(())
    }
}

/// Whether a program attaches to functions of programs.
fn attaches(program: &ProgramSpec) -> bool {
    let is_probe = [
        Some(AttachType::TraceFentry),
        Some(AttachType::TraceFexit),
        Some(AttachType::ModifyReturn),
    ];
    program.prog_type == ProgType::Ext
        || program.prog_type == ProgType::Tracing
            && is_probe.contains(&program.expected_attach_type)
}

/// What a program does to a function of another, if nothing can be said of it without that.
pub(super) fn misses_target(program: &ProgramSpec) -> Option<&'static str> {
    if program.attach_prog.is_some() {
        return None;
    }
    match (program.prog_type, program.expected_attach_type) {
        (ProgType::Ext, _) => Some("replaces"),
        // The kernel has no such function, so it is one of a program.
        (ProgType::Tracing, Some(AttachType::TraceFentry | AttachType::TraceFexit))
            if program.attach_btf_id == 0 =>
        {
            Some("looks at")
        }
        _ => None,
    }
}
