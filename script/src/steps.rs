//! Doing what a line says, and saying what came of it in the words of the facts.

use std::path::Path;

use bpfkit::abi::Errno;
use bpfkit::abi::map::{MapFlags, MapSpec, MapType, UpdateFlags};
use bpfkit::abi::prog::{AttachType, ProgFlags, ProgType};
use bpfkit::btf::{FuncLinkage, Kind, KindCode};
use bpfkit::prelude::OpenElf as _;
use bpfkit::{LoadError, OpenObject, TestRun};
use serde_json::{Map as Json, Value as Word, json};

use crate::globals::number;
use crate::parse::{Case, Ending, Load, ProgramRef, Step, StepKind, Value};
use crate::world::World;

/// The packet of a test run.
const PACKET: [u8; 64] = [0; 64];

/// What came of a step: `rc` or `errno`, and what else there is to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) words: Json<String, Word>,
    /// The verifier's log, of a load.
    pub(crate) log: String,
    /// Whether a load was refused where the kernel is known to be wrong.
    pub(crate) is_hole: bool,
}

impl Outcome {
    pub(crate) fn of(words: Word) -> Self {
        let words = if let Word::Object(words) = words { words } else { Json::new() };
        Self { words, ..Self::default() }
    }

    pub(crate) fn ok() -> Self {
        Self::of(json!({"rc": 0}))
    }
}

impl From<Errno> for Outcome {
    fn from(errno: Errno) -> Self {
        Self::of(json!({"errno": errno.to_string()}))
    }
}

pub(crate) type Done = Result<Outcome, Errno>;

impl World {
    /// Does a step.
    pub(crate) fn step(&mut self, case: &Case, step: &Step) -> Outcome {
        self.done(case, &step.kind).unwrap_or_else(Outcome::from)
    }

    fn done(&mut self, case: &Case, step: &StepKind) -> Done {
        match step {
            StepKind::Load(load) => Ok(self.load(case, load)),
            StepKind::Link { link, program, target, at } => {
                self.link(link, program, target.as_ref(), *at)
            }
            StepKind::RawTracepoint { link, program } => self.raw_tracepoint(link, program),
            StepKind::End { how, name } => self.end(*how, name),
            StepKind::Update { link, program } => {
                let (link, program) = (self.links.get(link), self.program(program)?);
                let updated = link.ok_or(Errno::EBADF)?.update(program);
                updated.map(|()| Outcome::ok()).map_err(|error| error.errno())
            }
            StepKind::LinkInfo(link) => self.link_info(link),
            StepKind::Run { program, repeat, data, ctx } => self.run(program, *repeat, *data, *ctx),
            StepKind::Var(name) => {
                let (key, value) = self.read_global(name)?;
                Ok(Outcome::of(json!({key: value})))
            }
            StepKind::SetVar(name, value) => {
                self.write_global(name, *value)?;
                Ok(Outcome::ok())
            }
            StepKind::MapSet { map, key, value, flags } => self.map_set(map, *key, value, *flags),
            StepKind::MapGet { map, key, program } => self.map_get(map, *key, program.as_ref()),
            StepKind::MapDel(map, key) => {
                let map = self.map(map)?;
                let deleted = map.delete(&sized(*key, map.info().key_size));
                deleted.map(|()| Outcome::ok()).map_err(|error| error.errno())
            }
            StepKind::MapNext(map, key) => {
                let map = self.map(map)?;
                let key = sized(*key, map.info().key_size);
                let next = map.raw().host().next_key(Some(&key)).map_err(|error| error.errno())?;
                Ok(Outcome::of(json!({"rc": 0, "next": number(&next, false)})))
            }
            StepKind::MapFreeze(map) => {
                let frozen = self.map(map)?.freeze();
                frozen.map(|()| Outcome::ok()).map_err(|error| error.errno())
            }
            StepKind::MapNew { name, numbers } => self.map_new(name, *numbers),
            StepKind::FdInfo(map) => Ok(self.fd_info(map)),
            StepKind::SaveId(map) => {
                let id = self.map(map)?.id();
                self.saved_map = Some(id);
                Ok(Outcome::of(json!({"id": id.0})))
            }
            StepKind::Reopen(name) => {
                let map = self.saved_map.and_then(|id| self.runtime.map(id));
                self.maps.insert(alone(name), map.ok_or(Errno::ENOENT)?);
                Ok(Outcome::ok())
            }
            StepKind::SaveProgram(program) => {
                let id = self.program(program)?.id();
                self.saved_program = Some(id);
                Ok(Outcome::of(json!({"id": id.0})))
            }
            StepKind::Reprogram(name) => {
                let program = self.saved_program.and_then(|id| self.runtime.program(id));
                self.programs.insert(alone(name), program.ok_or(Errno::ENOENT)?);
                Ok(Outcome::ok())
            }
            StepKind::Info(program) => self.info(program),
            StepKind::Interface { link, program } => self.interface(link, program),
            StepKind::Send(count) => self.send(*count),
            StepKind::Jit(None) => {
                let value = if self.runtime.jit_enabled() { "1" } else { "0" };
                Ok(Outcome::of(json!({"value": value})))
            }
            StepKind::Jit(Some(on)) => {
                self.runtime.enable_jit(*on);
                Ok(Outcome::ok())
            }
            StepKind::Ignored => Ok(Outcome::default()),
        }
    }

    fn load(&mut self, case: &Case, load: &Load) -> Outcome {
        self.forget(&load.name);
        let path = case.object_path(case.object_of(&load.object));
        if is_static(&path, &load.programs) {
            return Outcome::from(Errno::EOPNOTSUPP);
        }
        let mut open = match self.runtime.open_file(&path) {
            Ok(open) => open,
            Err(error) => {
                let mut outcome = Outcome::from(error.errno());
                outcome.log = chain(&error);
                return outcome;
            }
        };
        if let Err(outcome) = self.prepare(&mut open, load) {
            return outcome;
        }
        let again = open.clone();
        match open.load() {
            Ok(object) => {
                for program in object.programs() {
                    self.programs.insert(of(&load.name, program.name()), program.clone());
                }
                for (name, map) in object.maps() {
                    self.maps.insert(of(&load.name, name), map.clone());
                }
                if let Some(btf) = object.btf() {
                    self.types.insert(load.name.clone(), btf.clone());
                }
                let mut outcome = Outcome::ok();
                let logs = object.programs().iter().map(bpfkit::Program::log);
                outcome.log = logs.collect::<Vec<_>>().join("");
                outcome
            }
            Err(error) => {
                let mut outcome = Outcome::from(error.errno());
                outcome.log = error.log().map_or_else(|| chain(&error), str::to_owned);
                outcome.is_hole = matches!(error, LoadError::Rejected(_)) && loads_by_holes(again);
                outcome
            }
        }
    }

    /// Changes what an object says to what the line asks for.
    fn prepare(&self, open: &mut OpenObject, load: &Load) -> Result<(), Outcome> {
        // The facts have the log of programs that were accepted, too.
        open.verifier().log.level = load.log_level.unwrap_or(1);
        let names: Vec<&str> = load.programs.iter().map(String::as_str).collect();
        if !names.is_empty() {
            open.choose(&names).map_err(|error| Outcome::from(error.errno()))?;
        }
        for (map, other) in &load.reuse {
            let other = self.map(other).map_err(Outcome::from)?;
            open.reuse_map(map, other).map_err(|error| Outcome::from(error.errno()))?;
        }
        let target = match &load.attach {
            None => None,
            Some(target) => Some(self.target(target).ok_or_else(|| {
                Outcome::of(json!({"attach_btf_id": -1, "harness": "target not resolved"}))
            })?),
        };
        let chosen = open.spec_mut().programs.iter_mut().filter(|program| program.autoload);
        for program in chosen {
            if let Some(attach) = load.expected_attach_type {
                program.expected_attach_type = AttachType::new(attach);
            }
            if let Some(flags) = load.flags {
                program.flags |= ProgFlags::from_bits_retain(flags);
            }
            if let Some(prog_type) = load.prog_type.and_then(ProgType::new) {
                program.prog_type = prog_type;
            }
        }
        if let Some((program, function)) = target {
            open.attach_target(program.as_ref(), function);
        }
        Ok(())
    }

    fn end(&mut self, how: Ending, name: &ProgramRef) -> Done {
        let is_gone = match how {
            Ending::Detach => {
                let link = self.links.get(&name.program).ok_or(Errno::EBADF)?;
                return link.force_detach().map(|()| Outcome::ok()).map_err(|error| error.errno());
            }
            Ending::Unlink => self.links.remove(&name.program).is_none(),
            Ending::CloseMap => self.maps.remove(name).is_none(),
            Ending::CloseProgram => self.programs.remove(name).is_none(),
            Ending::Drop => {
                let object = if name.object.is_empty() { &name.program } else { &name.object };
                self.forget(object);
                false
            }
        };
        if is_gone { Err(Errno::EBADF) } else { Ok(Outcome::ok()) }
    }

    fn run(&self, program: &ProgramRef, repeat: u32, data: bool, ctx: Option<usize>) -> Done {
        let program = self.program(program)?;
        let ctx = ctx.map(|size| vec![0; size]);
        let mut run = if data { TestRun::packet(&PACKET) } else { TestRun::new() };
        if data || repeat > 1 {
            run = run.repeat(repeat);
        }
        if let Some(ctx) = &ctx {
            run = run.ctx(ctx);
        }
        let out = program.test_run(&run).map_err(|error| error.errno())?;
        Ok(Outcome::of(json!({"rc": 0, "retval": out.return_value})))
    }

    fn map_set(&self, name: &ProgramRef, key: u64, value: &Value, flags: u64) -> Done {
        let map = self.map(name)?;
        let info = map.info();
        let flags = UpdateFlags::from_bits_retain(flags);
        let refused = |error: bpfkit::Error| error.errno();
        let key = sized(key, info.key_size);
        if info.map_type == MapType::ProgArray {
            // Whatever is no program's descriptor is no descriptor of one.
            let program = match value {
                Value::Program(program) => self.program(program)?,
                Value::Map(_) => return Err(Errno::EINVAL),
                Value::Number(_) => return Err(Errno::EBADF),
            };
            let array = map.prog_array().map_err(refused)?;
            let index = u32::from_le_bytes(key.try_into().map_err(|_| Errno::EINVAL)?);
            array.set_with(index, program, flags).map_err(refused)?;
            return Ok(Outcome::ok());
        }
        match value {
            Value::Number(value) => {
                map.update(&key, &sized(*value, info.value_size), flags).map_err(refused)?;
            }
            Value::Map(inner) => map.set_inner(&key, self.map(inner)?).map_err(refused)?,
            Value::Program(program) => {
                let id = self.program(program)?.id().0;
                let value = sized(u64::from(id), info.value_size);
                map.update(&key, &value, flags).map_err(refused)?;
            }
        }
        Ok(Outcome::ok())
    }

    fn map_get(&self, name: &ProgramRef, key: u64, program: Option<&ProgramRef>) -> Done {
        let map = self.map(name)?;
        let found = map.lookup(&sized(key, map.info().key_size)).map_err(|error| error.errno())?;
        let found = found.ok_or(Errno::ENOENT)?;
        let mut outcome = Outcome::of(json!({"value": number(&found, false)}));
        if let Some(program) = program {
            let id = self.program(program)?.id().0;
            outcome.words.insert("prog_id".to_owned(), json!(id));
        }
        Ok(outcome)
    }

    fn map_new(&mut self, name: &str, numbers: [u32; 5]) -> Done {
        let [map_type, key_size, value_size, max_entries, flags] = numbers;
        let map_type = MapType::new(map_type).ok_or(Errno::EINVAL)?;
        let mut spec = MapSpec::new(name, map_type, key_size, value_size, max_entries);
        spec.flags = MapFlags::from_bits_retain(flags);
        let map = self.runtime.create_map(&spec).map_err(|error| error.errno())?;
        self.maps.insert(alone(name), map);
        Ok(Outcome::ok())
    }

    /// As `/proc/PID/fdinfo` has it, the lines that are about programs.
    fn fd_info(&self, name: &ProgramRef) -> Outcome {
        let Ok(map) = self.map(name) else { return Outcome::of(json!({"fdinfo": ""})) };
        let info = map.info();
        let mut text =
            format!("map_type: {};frozen: {};", info.map_type.number(), u8::from(info.frozen));
        if let Some(owner) = map.raw().as_prog_array().and_then(|array| array.owner()) {
            let is_jited = u8::from(owner.engine == bpfkit::abi::exec::Engine::Jit);
            text +=
                &format!("owner_prog_type: {};owner_jited: {is_jited};", owner.prog_type.number());
        }
        Outcome::of(json!({"fdinfo": text}))
    }

    fn info(&self, program: &ProgramRef) -> Done {
        let program = self.program(program)?;
        let info = program.info();
        Ok(Outcome::of(json!({
            "type": info.prog_type.number(),
            "id": info.id.0,
            "attach_btf_id": info.attach_btf_id,
            "nr_funcs": program.image().subprogs.len(),
            "verified_insns": info.verified_insns,
            "nr_map_ids": info.map_ids.len(),
        })))
    }
}

/// Whether one of these programs is a static function, which libbpf refuses before it loads anything.
fn is_static(path: &Path, programs: &[String]) -> bool {
    let btf = std::fs::read(path).ok().and_then(|bytes| bpfkit::object::read_btf(&bytes).ok());
    btf.is_some_and(|btf| {
        programs.iter().any(|program| {
            let id = btf.by_name_kind(program, KindCode::Func);
            let kind = id.and_then(|id| btf.get(id)).map(|ty| ty.kind);
            matches!(kind, Some(Kind::Func(func)) if func.linkage == FuncLinkage::Static)
        })
    })
}

/// Whether an object that was refused is accepted as the kernel is known to accept it wrongly.
fn loads_by_holes(mut open: OpenObject) -> bool {
    open.verifier().strict_holes = false;
    open.load().is_ok()
}

/// A number in so many bytes.
fn sized(value: u64, size: u32) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(size as usize, 0);
    bytes
}

/// A name that is no object's.
pub(crate) fn alone(name: &str) -> ProgramRef {
    of("", name)
}

fn of(object: &str, name: &str) -> ProgramRef {
    ProgramRef { object: object.to_owned(), program: name.to_owned() }
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
