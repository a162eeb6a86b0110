//! Loading a program, as a story: look at what it asks for, verify, prepare, number.

use std::sync::Arc;

use bpf_abi::image::Image;
use bpf_abi::prog::ProgType;
use bpf_abi::spec::{ProgramSpec, Reference, ReferenceTo};
use bpf_btf::{KindCode, TypeId};
use bpf_verifier::described::{DescribedWorld, kernel_symbol};
use bpf_verifier::fixup::BindError;
use bpf_verifier::host::ProgramFacts;
use bpf_verifier::{LogOptions, Options, Reason, Rejection, Stats, Verdict, verify};

use crate::attach::function::LoadedFor;
use crate::error::{LoadError, Place, Rejected};
use crate::host::{LoadHost, target_of};
use crate::objects::map::MapObject;
use crate::objects::program::{Parts, Program, owner_of};
use crate::runtime::Runtime;

/// What a missing one is called.
const KERNEL_FUNCTION: &str = "kernel function";

/// What a program comes with, besides its description.
pub(crate) struct Surroundings<'a> {
    /// The name of its object; empty for none.
    pub(crate) object: &'a str,
    /// The maps it names by their places.
    pub(crate) maps: &'a [Arc<MapObject>],
    /// The programs that programs of the object attach to, which it names by their places.
    pub(crate) programs: &'a [Program],
    /// How to verify it.
    pub(crate) options: &'a Options,
}

/// What the verifier made of a program that it accepted.
struct Accepted {
    image: Arc<Image>,
    log: String,
    stats: Stats,
    facts: ProgramFacts,
    /// The number that its code is given for it, if it is.
    number: Option<u64>,
}

impl Runtime {
    /// Loads one program. Linux: `BPF_PROG_LOAD`.
    pub(crate) fn load_program(
        &self,
        spec: &ProgramSpec,
        around: &Surroundings<'_>,
    ) -> Result<Program, LoadError> {
        let shared = &self.shared;
        let place = Place {
            object: around.object.to_owned(),
            section: spec.section.clone(),
            program: spec.name.clone(),
        };
        check_type(spec.prog_type, &place)?;
        if spec.prog_type == ProgType::Unspec && shared.own_types.of(spec).is_none() {
            let reason = "its section names no program type of Linux, nor one that was registered";
            return Err(LoadError::BadProgram {
                place: Box::new(place),
                reason: reason.to_owned(),
            });
        }
        self.check_references(spec, around, &place)?;

        let compiled = shared.compiles();
        let host = LoadHost::new(shared, spec, around.maps, around.programs, compiled);
        let resolved = self.with_kernel_functions(spec);
        let verdict = judged(resolved.as_ref().unwrap_or(spec), &host, around.options);
        let Verdict { result, log, stats, facts, .. } = verdict;
        match result {
            Ok(image) => {
                let facts = facts.expect("an accepted program comes with its facts");
                let facts = ProgramFacts { compiled, ..facts };
                self.accept(
                    spec,
                    around,
                    place,
                    Accepted {
                        image: Arc::new(image),
                        log,
                        stats,
                        facts,
                        number: host.number.get().copied(),
                    },
                )
            }
            Err(rejection) => Err(self.refused(rejection, log, spec, place)),
        }
    }

    /// Takes in a program that was verified.
    fn accept(
        &self,
        spec: &ProgramSpec,
        around: &Surroundings<'_>,
        place: Place,
        accepted: Accepted,
    ) -> Result<Program, LoadError> {
        let Accepted { image, log, stats: verified, facts, number } = accepted;
        let shared = &self.shared;
        let compiled = facts.compiled;
        let (code, counters) = shared.engines.prepare(&image, facts.compiled).map_err(|error| {
            LoadError::Engine { place: Box::new(place), error: Box::new(error) }
        })?;

        let traces = matches!(spec.prog_type, ProgType::Tracing | ProgType::Lsm);
        let own = shared.own_types.of(spec);
        let parts = Parts {
            spec: spec.clone(),
            object: around.object.to_owned(),
            maps: used_maps(spec, around.maps),
            image,
            log,
            verified,
            facts,
            loaded_for: target_of(spec, around.programs).map(|program| LoadedFor {
                program: program.clone(),
                function: TypeId(spec.attach_btf_id),
            }),
            strict_holes: around.options.strict_holes,
            owner: owner_of(
                spec,
                around.programs,
                compiled,
                own.as_deref(),
                traces.then(|| shared.kernel_types()).flatten(),
            ),
            code,
            counters,
        };
        let object = shared
            .registry
            .add_program(|id| crate::objects::program::ProgramObject::new(id, parts, shared));
        if let Some(number) = number {
            shared.timers.name_program(number, &object);
        }
        Ok(Program::new(object, self.clone()))
    }

    /// Sees to it that what the program refers to is there.
    fn check_references(
        &self,
        spec: &ProgramSpec,
        around: &Surroundings<'_>,
        place: &Place,
    ) -> Result<(), LoadError> {
        for reference in &spec.references {
            match &reference.to {
                ReferenceTo::Map(index) | ReferenceTo::MapValue(index) => {
                    if *index >= around.maps.len() {
                        let reason = format!(
                            "insn {}: map {index} of {} maps",
                            reference.at,
                            around.maps.len()
                        );
                        return Err(LoadError::BadProgram {
                            place: Box::new(place.clone()),
                            reason,
                        });
                    }
                }
                ReferenceTo::Kfunc { weak: true, .. } | ReferenceTo::Ksym { weak: true, .. } => {}
                ReferenceTo::Kfunc { name, .. } => {
                    let known = self.shared.kernel_types().and_then(|kernel| {
                        kernel_symbol(kernel, spec.btf.as_deref(), name, &[KindCode::Func])
                    });
                    if known.is_none() {
                        return Err(self.missing(place, KERNEL_FUNCTION, name));
                    }
                }
                ReferenceTo::Ksym { name, .. } => {
                    return Err(self.missing(place, "kernel variable", name));
                }
            }
        }
        Ok(())
    }

    /// The program with the numbers of the kernel functions that it calls, if it calls any.
    fn with_kernel_functions(&self, spec: &ProgramSpec) -> Option<ProgramSpec> {
        let is_symbol = |reference: &Reference| {
            matches!(reference.to, ReferenceTo::Kfunc { .. } | ReferenceTo::Ksym { .. })
        };
        let names_some = spec.references.iter().any(is_symbol);
        names_some.then(|| DescribedWorld::new(self.shared.kernel_types().cloned()).resolved(spec))
    }

    /// Why an accepted program's parts could not be bound, or why the program was refused.
    fn refused(
        &self,
        rejection: Rejection,
        log: String,
        spec: &ProgramSpec,
        place: Place,
    ) -> LoadError {
        if let Reason::Bind(error) = &rejection.reason {
            if let BindError::Helper { name, .. } = error.as_ref() {
                let (helper, prog_type) = (name.clone(), spec.prog_type);
                return LoadError::MissingHelper { place: Box::new(place), helper, prog_type };
            }
            if let BindError::Kfunc { name, .. } = error.as_ref() {
                return self.missing(&place, KERNEL_FUNCTION, name);
            }
        }
        LoadError::Rejected(Box::new(Rejected { place, rejection, log }))
    }

    /// Why a kernel function or variable cannot be had.
    fn missing(&self, place: &Place, what: &'static str, name: &str) -> LoadError {
        let reason = if self.shared.kernel_types().is_none() {
            "the types of a kernel are needed to find it, and none were given"
        } else if what == KERNEL_FUNCTION {
            "this runtime has no code for it: docs/kfuncs.md lists those that run"
        } else {
            "this runtime does not provide it"
        };
        LoadError::MissingSymbol {
            place: Box::new(place.clone()),
            what,
            name: name.to_owned(),
            reason,
        }
    }
}

/// Verifies a program. What was asked to be done without words is done again with words if it is
/// refused: writing a log takes longer than verifying.
fn judged(spec: &ProgramSpec, host: &LoadHost<'_>, options: &Options) -> Verdict {
    /// The bits of the levels that tell of instructions. Linux: `BPF_LOG_LEVEL`.
    const TELLS: u32 = 1 | 2;
    let verdict = verify(spec, host, options);
    if verdict.result.is_ok() || options.log.level & TELLS != 0 {
        return verdict;
    }
    let log = LogOptions { level: options.log.level | 1, ..options.log };
    verify(spec, host, &Options { log, trace: None, ..options.clone() })
}

/// Refuses program types that need more than a verifier and an engine.
fn check_type(prog_type: ProgType, place: &Place) -> Result<(), LoadError> {
    const LATER: &[(ProgType, &str)] = &[
        (ProgType::Lsm, "a security module's program"),
        (ProgType::StructOps, "a member of a table of functions"),
    ];
    match LATER.iter().find(|(later, _)| *later == prog_type) {
        None => Ok(()),
        Some((_, what)) => {
            let (place, what) = (Box::new(place.clone()), (*what).to_owned());
            Err(LoadError::Unsupported { place, what })
        }
    }
}

/// The maps that a program names, each once, in the order of their first mention.
fn used_maps(spec: &ProgramSpec, maps: &[Arc<MapObject>]) -> Vec<Arc<MapObject>> {
    const LOAD_IMM64: u8 = 0x18;
    let mut used: Vec<Arc<MapObject>> = Vec::new();
    let named = spec
        .insns
        .iter()
        .filter(|slot| slot.opcode == LOAD_IMM64 && matches!(slot.src, 1 | 2 | 5 | 6));
    for slot in named {
        let Some(map) = usize::try_from(slot.imm).ok().and_then(|index| maps.get(index)) else {
            continue;
        };
        if !used.iter().any(|other| other.id == map.id) {
            used.push(Arc::clone(map));
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use bpf_abi::prog::ProgType;
    use bpf_abi::spec::{ObjectSpec, ProgramSpec};
    use bpf_isa::{AluOp, Insn, Operand, Program, Reg, Width};

    use crate::Runtime;
    use crate::error::LoadError;

    /// A program that returns 0, or R5 that it never set.
    fn opened(is_good: bool) -> crate::OpenObject {
        let src = if is_good { Operand::Imm(0) } else { Operand::Reg(Reg::R5) };
        let mov = Insn::Alu { op: AluOp::Mov, width: Width::W64, dst: Reg::R0, src };
        let insns = Program::new(vec![mov, Insn::Exit]).to_slots();
        let programs = vec![ProgramSpec::new("p", ProgType::Xdp, insns)];
        let spec = ObjectSpec { name: "o".to_owned(), programs, ..ObjectSpec::default() };
        Runtime::builder().build().unwrap().open(spec)
    }

    #[test]
    fn accepted_programs_have_the_log_that_was_asked_for() {
        let log = |level| {
            let mut object = opened(true);
            object.verifier().log.level = level;
            object.load().unwrap().program("p").unwrap().log().to_owned()
        };
        assert_eq!(opened(true).load().unwrap().program("p").unwrap().log(), "");
        assert_eq!(log(4).lines().count(), 3, "{}", log(4));
        assert!(log(2).contains("0: (b7) r0 = 0 "), "{}", log(2));
    }

    #[test]
    fn refused_programs_are_told_of_at_any_level() {
        for level in [0, 1, 2, 4] {
            let mut object = opened(false);
            object.verifier().log.level = level;
            let Err(LoadError::Rejected(rejected)) = object.load() else { panic!("accepted") };
            assert!(rejected.log().contains("R5 !read_ok\n"), "{level}: {}", rejected.log());
            assert_eq!(rejected.log().contains("verification time"), level & 4 != 0);
        }
    }
}
