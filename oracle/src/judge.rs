//! A raw document, put before the running kernel.

use std::sync::{Arc, OnceLock};

use bpf_abi::errno::Errno;
use bpf_abi::prog::ProgType;
use bpf_btf::KindCode;
use serde_json::{Value, json};

use crate::document::{Document, Fixup, MapDocument};
use crate::hex;
use crate::kernel::{Btf, Map, MapAttr, ProgAttr, Program, TestRun};
use crate::report::{self, Report};

/// What the kernel is asked for besides its verdict.
#[derive(Clone, Debug)]
pub struct Questions {
    /// The log levels: one load each; the first decides the verdict.
    pub levels: Vec<u32>,
    /// Whether the logs' texts are reported.
    pub text: bool,
    /// Whether the document's test runs are made.
    pub runs: bool,
}

/// What the kernel says of a document.
pub fn judge(document: &Document, questions: &Questions) -> Report {
    let mut report = Report {
        id: document.id.clone(),
        file: document.file.clone(),
        section: document.section.clone(),
        name: document.name.clone(),
        prog_type: prog_type_name(document),
        ..Report::default()
    };
    match Prepared::new(document, None) {
        Ok(prepared) => prepared.ask(document, questions, &mut report),
        Err(early) => {
            report.verdict = "error".to_owned();
            report.stage = Some(early.stage.to_owned());
            report.errno = early.errno.0;
            report.errno_name = early.errno.to_string();
            report.last = early.text;
        }
    }
    report
}

fn prog_type_name(document: &Document) -> String {
    match document.prog_type_number() {
        Ok(number) => {
            ProgType::new(number).map_or_else(|| number.to_string(), |ty| ty.name().to_owned())
        }
        Err(_) => document.prog_type.to_string(),
    }
}

/// Why a program never came before the verifier.
struct Early {
    stage: &'static str,
    errno: Errno,
    text: String,
}

impl Early {
    fn format(text: impl Into<String>) -> Self {
        Self { stage: "format", errno: Errno::EINVAL, text: text.into() }
    }
}

/// A document whose maps and types the kernel has.
struct Prepared {
    insns: Vec<u8>,
    btf: Option<Btf>,
    func_info: (Vec<u8>, u32),
    line_info: (Vec<u8>, u32),
    attach_btf_id: u32,
    expected_attach_type: u32,
    attach_prog: Option<Program>,
    fd_array: Vec<i32>,
    prog_type: u32,
    maps: Vec<Map>,
}

impl Prepared {
    fn new(document: &Document, own: Option<&Map>) -> Result<Self, Early> {
        let bytes = document.btf_bytes().map_err(Early::format)?;
        let btf = if bytes.is_empty() { None } else { Some(load_btf(&bytes)?) };
        let mut maps = Vec::new();
        for map in &document.maps {
            maps.push(create_map(document, map, btf.as_ref())?);
        }
        let mut insns = document.insn_bytes().map_err(Early::format)?;
        for fixup in &document.fixups {
            apply(fixup, &mut insns, &maps, own)?;
        }
        let info = |text: &str, size: Option<u32>, usual: u32| {
            hex::decode(text).map(|bytes| (bytes, size.unwrap_or(usual))).map_err(Early::format)
        };
        Ok(Self {
            insns,
            func_info: info(&document.func_info, document.func_info_rec_size, 8)?,
            line_info: info(&document.line_info, document.line_info_rec_size, 16)?,
            attach_btf_id: attach_id(document)?,
            expected_attach_type: attach_type(document)?,
            attach_prog: document.attach_prog.as_deref().map(load_target).transpose()?,
            fd_array: document.fd_array.iter().map(|n| maps.get(*n).map_or(-1, Map::fd)).collect(),
            prog_type: document.prog_type_number().map_err(Early::format)?,
            btf,
            maps,
        })
    }

    fn attr<'a>(&'a self, document: &'a Document) -> ProgAttr<'a> {
        ProgAttr {
            name: document.name.as_deref().unwrap_or(""),
            prog_type: self.prog_type,
            expected_attach_type: self.expected_attach_type,
            flags: document.prog_flags,
            kern_version: document.kern_version,
            license: document.license.as_deref().unwrap_or("GPL"),
            insns: &self.insns,
            btf: self.btf.as_ref(),
            func_info: (&self.func_info.0, self.func_info.1),
            line_info: (&self.line_info.0, self.line_info.1),
            attach_btf_id: self.attach_btf_id,
            attach_prog: self.attach_prog.as_ref(),
            fd_array: &self.fd_array,
        }
    }

    fn ask(&self, document: &Document, questions: &Questions, report: &mut Report) {
        let attr = self.attr(document);
        report.insns_loaded = self.insns.len() / 8;
        report.insns_sha = report::insns_sha(&self.insns);
        let mut program = None;
        for (n, level) in questions.levels.iter().enumerate() {
            let loaded = Program::load(&attr, *level);
            if n == 0 {
                let errno = loaded.result.as_ref().err().copied();
                report.verdict = if errno.is_none() { "accept" } else { "reject" }.to_owned();
                report.errno = errno.map_or(0, |errno| errno.0);
                report.errno_name = errno.map_or_else(|| "0".to_owned(), |errno| errno.to_string());
                report.last = report::last_message(&loaded.log);
                report.stats = report::statistics(&loaded.log);
            }
            report
                .logs
                .insert(level.to_string(), report::log_entry(&loaded.log, None, questions.text));
            program = loaded.result.ok().or(program);
        }
        let Some(program) = program else { return };
        report.info = program.info().ok().map(|info| {
            json!({
                "tag": hex::encode(&info.tag),
                "xlated_insns": info.xlated_insns,
                "jited_bytes": info.jited_bytes,
                "verified_insns": info.verified_insns,
                "funcs": info.funcs,
            })
        });
        if questions.runs {
            report.runs = document.runs.iter().map(|run| test_run(&program, run)).collect();
        }
        drop(program);
        debug_assert!(self.maps.len() == document.maps.len(), "maps live as long as the program");
    }
}

fn test_run(program: &Program, run: &crate::document::RunDocument) -> Value {
    let decode = |text: &Option<String>| text.as_deref().map(hex::decode).transpose();
    let (data, ctx) = match (decode(&run.data), decode(&run.ctx)) {
        (Ok(data), Ok(ctx)) => (data, ctx),
        (Err(error), _) | (_, Err(error)) => return json!({"errno": 22, "errno_name": error}),
    };
    let run = TestRun {
        data: data.as_deref(),
        ctx: ctx.as_deref(),
        repeat: run.repeat,
        flags: run.flags,
        room: 1 << 16,
        ..TestRun::default()
    };
    match program.test_run(&run) {
        Ok(out) => {
            let mut value = json!({"errno": 0, "retval": out.retval, "duration_ns": out.duration});
            if data.is_some() {
                value["data_out"] = json!(hex::encode(&out.data));
            }
            if !out.ctx.is_empty() {
                value["ctx_out"] = json!(hex::encode(&out.ctx));
            }
            value
        }
        Err(errno) => json!({"errno": errno.0, "errno_name": errno.to_string()}),
    }
}

fn load_btf(bytes: &[u8]) -> Result<Btf, Early> {
    Btf::load(bytes).map_err(|(errno, text)| Early { stage: "btf", errno, text })
}

fn create_map(document: &Document, map: &MapDocument, btf: Option<&Btf>) -> Result<Map, Early> {
    let refused = |stage: &'static str| {
        move |errno: Errno| Early {
            stage,
            errno,
            text: format!(
                "map {:?} ({}): {errno}",
                map.name.as_deref().unwrap_or(""),
                map.map_type
            ),
        }
    };
    let inner = map.inner.as_deref().map(|inner| create_map(document, inner, btf)).transpose()?;
    let of_program = map.btf == json!("prog");
    let own_btf = if map.btf.is_null() || of_program {
        None
    } else {
        Some(load_btf(&document.blob(&map.btf).map_err(Early::format)?)?)
    };
    let types = if of_program { btf } else { own_btf.as_ref() };
    let value_type = match &map.btf_vmlinux_value {
        Some(name) => kernel_type(name, &[KindCode::Struct]).ok_or_else(|| Early {
            stage: "map",
            errno: Errno::ENOENT,
            text: format!("no struct {name} in the kernel's BTF"),
        })?,
        None => 0,
    };
    let mut attr = MapAttr {
        name: map.name.as_deref().unwrap_or(""),
        map_type: map.type_number().map_err(Early::format)?,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.map_flags,
        map_extra: map.map_extra,
        inner: inner.as_ref(),
        btf: types.map(|btf| (btf, map.btf_key_type_id, map.btf_value_type_id)),
        btf_vmlinux_value: value_type,
    };
    let created = match Map::create(&attr) {
        // Some types of map take no name.
        Err(Errno::EINVAL) if !attr.name.is_empty() => {
            attr.name = "";
            Map::create(&attr)
        }
        result => result,
    };
    let made = created.map_err(refused("map"))?;
    for entry in &map.init {
        let key = hex::decode(&entry.key).map_err(Early::format)?;
        let result = match &entry.prog {
            Some(inner) => {
                let prepared = Prepared::new(inner, Some(&made))?;
                let loaded = Program::load(&prepared.attr(inner), 1);
                let program = loaded.result.map_err(|errno| Early {
                    stage: "map-init",
                    errno,
                    text: loaded.log.clone(),
                })?;
                made.update_program(&key, &program)
            }
            None => made.update(&key, &hex::decode(&entry.value).map_err(Early::format)?),
        };
        if !entry.optional {
            result.map_err(refused("map-init"))?;
        }
    }
    if map.frozen {
        made.freeze().map_err(refused("map-init"))?;
    }
    Ok(made)
}

fn apply(fixup: &Fixup, insns: &mut [u8], maps: &[Map], own: Option<&Map>) -> Result<(), Early> {
    let at = fixup.insn.saturating_mul(8);
    let Some(insn) = insns.get_mut(at..at.saturating_add(8)) else {
        return Err(Early::format(format!("fixup of instruction {}, past the end", fixup.insn)));
    };
    let map_fd = || {
        if fixup.map == json!("self") {
            return own
                .map(Map::fd)
                .ok_or_else(|| Early::format("\"self\" outside of a map's entries"));
        }
        let index = fixup.map.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        maps.get(index).map(Map::fd).ok_or_else(|| Early::format(format!("no map {}", fixup.map)))
    };
    let missing = |stage, what| Early {
        stage,
        errno: Errno::ENOENT,
        text: format!("no kernel {what} {} here", fixup.name),
    };
    let number = match fixup.kind.as_str() {
        "imm_map_fd" => map_fd()?.cast_unsigned(),
        "map_fd" | "map_value" => {
            let source = if fixup.kind == "map_fd" { 1 } else { 2 };
            insn[1] = (insn[1] & 15) | source << 4;
            map_fd()?.cast_unsigned()
        }
        "kfunc" => match kernel_type(&fixup.name, &[KindCode::Func]) {
            Some(id) => id,
            None if fixup.or_zero => 0,
            None => return Err(missing("kfunc", "function")),
        },
        "ksym" => kernel_type(&fixup.name, &[KindCode::Var, KindCode::Func])
            .ok_or_else(|| missing("ksym", "variable"))?,
        other => return Err(Early::format(format!("a fixup of kind {other:?}"))),
    };
    insn[4..].copy_from_slice(&number.to_ne_bytes());
    Ok(())
}

/// What a tracing program attaches to, as a number of the kernel's BTF; 0 for nothing.
fn attach_id(document: &Document) -> Result<u32, Early> {
    const TRACE_RAW_TP: u32 = 23;
    const LSM_MAC: u32 = 27;
    const TRACE_ITER: u32 = 28;
    let Some(attach) = &document.attach_btf else { return Ok(document.attach_btf_id) };
    let name = &attach.name;
    if let Some(target) = &document.attach_prog {
        let bytes = target.btf_bytes().map_err(Early::format)?;
        let types = bpf_btf::Btf::parse(&bytes).ok();
        let id = types.and_then(|types| types.by_name_kind(name, KindCode::Func));
        return id.map(|id| id.0).ok_or_else(|| nothing_called(name));
    }
    let (name, kind) = match (attach.kind.as_str(), document.expected_attach_type) {
        ("struct", _) => (name.clone(), KindCode::Struct),
        ("hook", TRACE_RAW_TP) => (format!("btf_trace_{name}"), KindCode::Typedef),
        ("hook", LSM_MAC) => (format!("bpf_lsm_{name}"), KindCode::Func),
        ("hook", TRACE_ITER) => (format!("bpf_iter_{name}"), KindCode::Func),
        _ => (name.clone(), KindCode::Func),
    };
    kernel_type(&name, &[kind, KindCode::Typedef]).ok_or_else(|| nothing_called(&name))
}

fn nothing_called(name: &str) -> Early {
    let text = format!("nothing called {name} to attach to");
    Early { stage: "attach", errno: Errno::ENOENT, text }
}

/// Loads the program that another attaches to.
fn load_target(document: &Document) -> Result<Program, Early> {
    let prepared = Prepared::new(document, None)?;
    let loaded = Program::load(&prepared.attr(document), 0);
    loaded.result.map_err(|errno| {
        let text = "the target is refused".to_owned();
        Early { stage: "attach", errno, text }
    })
}

/// The attach type: of a function of a kernel structure, its number among the members.
fn attach_type(document: &Document) -> Result<u32, Early> {
    let Some(attach) = &document.attach_btf else { return Ok(document.expected_attach_type) };
    let Some(member) = &attach.member else { return Ok(document.expected_attach_type) };
    let place = kernel().and_then(|btf| {
        let id = btf.by_name_kind(&attach.name, KindCode::Struct)?;
        let place =
            btf.get(id)?.composite()?.members().position(|of| btf.name(of.name_off) == member);
        u32::try_from(place?).ok()
    });
    place.ok_or_else(|| Early {
        stage: "attach",
        errno: Errno::ENOENT,
        text: format!("{} has no member {member}", attach.name),
    })
}

/// The running kernel's types.
fn kernel() -> Option<&'static Arc<bpf_btf::Btf>> {
    static KERNEL: OnceLock<Option<Arc<bpf_btf::Btf>>> = OnceLock::new();
    let read = || {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
        bpf_btf::Btf::parse(&bytes).ok().map(Arc::new)
    };
    KERNEL.get_or_init(read).as_ref()
}

/// The number of a type of the running kernel's BTF.
pub(crate) fn kernel_type(name: &str, kinds: &[KindCode]) -> Option<u32> {
    let btf = kernel()?;
    kinds.iter().find_map(|kind| btf.by_name_kind(name, *kind)).map(|id| id.0)
}
