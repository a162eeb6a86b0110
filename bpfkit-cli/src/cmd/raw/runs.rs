//! The test runs of raw documents, in the form of the kernel's.

use std::error::Error as _;
use std::sync::Arc;

use bpf_oracle::document::{Document, MapDocument, RunDocument};
use bpf_oracle::hex;
use bpfkit::abi::Errno;
use bpfkit::abi::map::MapSpec;
use bpfkit::abi::spec::ObjectSpec;
use bpfkit::btf::Btf;
use bpfkit::{KernelBtf, LoadError, Map, ProgArray, Program, Runtime, TestRun};
use serde_json::{Value, json};

use super::{Early, Engine, attach_id, map_spec, map_types, program_of, types};

/// How much room there is for a packet that comes back, beyond four times the one given.
const ROOM: usize = 256;

/// What errors call a document.
const NAME: &str = "document";

/// Where documents are run.
pub(super) struct Runs {
    runtime: Runtime,
    kernel: Option<Arc<Btf>>,
}

/// A program that is loaded, and what lives as long.
struct Loaded {
    program: Program,
    _maps: Vec<Map>,
}

impl Runs {
    /// With this engine and these types of the kernel.
    pub(super) fn new(engine: Engine, kernel: Option<&Arc<Btf>>) -> anyhow::Result<Self> {
        let types = kernel.cloned().map_or(KernelBtf::None, KernelBtf::Given);
        let runtime = Runtime::builder().engine(engine.into()).kernel_btf(types).build()?;
        Ok(Self { runtime, kernel: kernel.cloned() })
    }

    /// What comes of a document's runs, one after the other.
    pub(super) fn of(&self, document: &Document) -> Vec<Value> {
        if document.runs.is_empty() {
            return Vec::new();
        }
        match self.load(document, None) {
            Ok(loaded) => document.runs.iter().map(|run| report(&loaded.program, run)).collect(),
            Err(early) => document.runs.iter().map(|_| failed(early.errno, &early.text)).collect(),
        }
    }

    /// Makes a document's maps and loads its program; `own` is the map that it is put into.
    fn load(&self, document: &Document, own: Option<&Map>) -> Result<Loaded, Early> {
        let btf = types(&document.btf_bytes().map_err(Early::format)?)?;
        let maps = document.maps.iter().map(|map| self.map(document, map, btf.as_ref()));
        let maps: Vec<Map> = maps.collect::<Result<_, _>>()?;
        let all: Vec<&Map> = maps.iter().chain(own).collect();
        let fds: Vec<i32> = (0..).take(all.len()).collect();
        let own = own.and(fds.last().copied());
        let mut program = program_of(document, &fds, own, btf.clone(), self.kernel.as_ref())?;
        if document.attach_prog.is_some() {
            return Err(Early::at("load", Errno::ENOTSUPP, "extensions are not run by themselves"));
        }
        program.attach_btf_id = attach_id(document, self.kernel.as_ref())?;

        let mut object = ObjectSpec { name: NAME.to_owned(), btf, ..ObjectSpec::default() };
        object.license.clone_from(&program.license);
        object.programs.push(program);
        let place = |at: usize| format!("map{at}");
        for (at, map) in all.iter().enumerate() {
            object.maps.push(MapSpec::new(&place(at), map.map_type(), 0, 0, 0));
        }
        let mut open = self.runtime.open(object);
        for (at, map) in all.iter().enumerate() {
            open.reuse_map(&place(at), map).map_err(|error| early("load", &error))?;
        }
        let object = open.load().map_err(|error| refused("load", &error))?;
        let program = object.programs().first().cloned();
        let program = program.ok_or_else(|| Early::format("no program"))?;
        Ok(Loaded { program, _maps: maps })
    }

    /// Makes a map and fills it.
    fn map(
        &self,
        document: &Document,
        map: &MapDocument,
        btf: Option<&Arc<Btf>>,
    ) -> Result<Map, Early> {
        let mut spec = map_spec(map)?;
        spec.frozen = false;
        let types = map_types(document, map, btf)?;
        spec.name = "map".to_owned();
        let (name, maps) = (NAME.to_owned(), vec![spec]);
        let object = ObjectSpec { name, maps, btf: types, ..ObjectSpec::default() };
        let object = self.runtime.open(object).load();
        let object = object.map_err(|error| refused("map", &error))?;
        let made = object.map("map").map_err(|error| early("map", &error))?;
        let wrong = |error: bpfkit::Error| early("map-init", &error);
        for entry in &map.init {
            let Some(inner) = &entry.prog else { continue };
            let loaded = self.load(inner, Some(&made))?;
            let key = hex::decode(&entry.key).map_err(Early::format)?;
            let index = <[u8; 4]>::try_from(key).map(u32::from_le_bytes);
            let index = index.map_err(|_| Early::format("a key that is no index"))?;
            let array = ProgArray::try_from(made.clone()).map_err(wrong)?;
            let set = array.set(index, &loaded.program);
            if !entry.optional {
                set.map_err(wrong)?;
            }
        }
        if map.frozen {
            made.freeze().map_err(wrong)?;
        }
        Ok(made)
    }
}

fn refused(stage: &'static str, error: &LoadError) -> Early {
    let text = error.source().map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
    Early::at(stage, error.errno(), text)
}

fn early(stage: &'static str, error: &bpfkit::Error) -> Early {
    Early::at(stage, error.errno(), error.to_string())
}

fn failed(errno: Errno, reason: &str) -> Value {
    json!({"errno": errno.0, "errno_name": errno.to_string(), "reason": reason})
}

/// One run.
fn report(program: &Program, run: &RunDocument) -> Value {
    let decode = |text: &Option<String>| text.as_deref().map(hex::decode).transpose();
    let (data, ctx) = match (decode(&run.data), decode(&run.ctx)) {
        (Ok(data), Ok(ctx)) => (data, ctx),
        (Err(error), _) | (_, Err(error)) => return failed(Errno::EINVAL, &error),
    };
    let test = match &data {
        Some(data) => TestRun::packet(data).data_out(data.len() * 4 + ROOM),
        None => TestRun::new(),
    };
    let mut test = test.repeat(run.repeat).flags(run.flags);
    if let Some(ctx) = &ctx {
        test = test.ctx(ctx);
    }
    match program.test_run(&test) {
        Ok(out) => {
            let mut value =
                json!({"errno": 0, "retval": out.return_value, "duration_ns": out.duration});
            if data.is_some() {
                value["data_out"] = json!(hex::encode(&out.data));
            }
            if !out.ctx.is_empty() {
                value["ctx_out"] = json!(hex::encode(&out.ctx));
            }
            value
        }
        Err(error) => failed(error.errno(), &error.to_string()),
    }
}
