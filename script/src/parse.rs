//! A script's lines, understood.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A case: a source and its script.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name: the file's, without `.bpf.c`.
    pub name: String,
    /// The source.
    pub source: PathBuf,
    /// What it shows.
    pub desc: String,
    /// What the source is built into.
    pub objects: Vec<ObjectDecl>,
    /// What is done.
    pub steps: Vec<Step>,
}

/// An object that a source is built into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDecl {
    /// Its name, and the macro that is defined for it.
    pub name: String,
    /// Further flags of the compiler.
    pub flags: Vec<String>,
    /// Whether it keeps its types.
    pub keeps_btf: bool,
}

/// One line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line in the source, from 1.
    pub line: usize,
    /// The line, without `//@`.
    pub text: String,
    /// What it says.
    pub kind: StepKind,
}

/// `X.prog`: a program of an opened object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProgramRef {
    /// The object, as the script calls it; empty for a program opened by its number.
    pub object: String,
    /// The program.
    pub program: String,
}

impl ProgramRef {
    fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((object, program)) => Self { object: object.into(), program: program.into() },
            None => Self { object: String::new(), program: text.into() },
        }
    }
}

impl fmt::Display for ProgramRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.object.is_empty() {
            f.write_str(&self.program)
        } else {
            write!(f, "{}.{}", self.object, self.program)
        }
    }
}

/// Which function of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionRef {
    /// The function of this name.
    Name(String),
    /// The type with this number, whatever it is.
    Id(u32),
    /// The type of this name, of any kind.
    AnyKind(String),
}

/// `Y.prog:func`: what a program is attached to. No program is written `0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRef {
    /// The program.
    pub program: Option<ProgramRef>,
    /// The function.
    pub function: FunctionRef,
}

impl TargetRef {
    fn parse(text: &str) -> Self {
        let (program, function) = text.split_once(':').unwrap_or((text, ""));
        let number = function.strip_prefix('#').and_then(|number| number.parse().ok());
        let function = match (number, function.strip_prefix('=')) {
            (Some(id), _) => FunctionRef::Id(id),
            (None, Some(name)) => FunctionRef::AnyKind(name.into()),
            (None, None) => FunctionRef::Name(function.into()),
        };
        let program = (program != "0").then(|| ProgramRef::parse(program));
        Self { program, function }
    }
}

/// What is put into a map, or expected in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A program: `@Y.prog`.
    Program(ProgramRef),
    /// A map: `%Y.map`.
    Map(ProgramRef),
}

impl Value {
    fn parse(text: &str) -> Option<Self> {
        if let Some(program) = text.strip_prefix('@') {
            return Some(Self::Program(ProgramRef::parse(program)));
        }
        if let Some(map) = text.strip_prefix('%') {
            return Some(Self::Map(ProgramRef::parse(map)));
        }
        number(text).map(Self::Number)
    }
}

/// `load X NAME progs …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What the opened object is called from now on.
    pub name: String,
    /// Which object is opened.
    pub object: String,
    /// The programs that are loaded; empty for all.
    pub programs: Vec<String>,
    /// What extensions and tracing programs are for.
    pub attach: Option<TargetRef>,
    /// The attach type expected at load, where it is not the section's.
    pub expected_attach_type: Option<u32>,
    /// Flags of the load, besides the section's.
    pub flags: Option<u32>,
    /// The program type, where it is not the section's.
    pub prog_type: Option<u32>,
    /// The level of the log.
    pub log_level: Option<u32>,
    /// Maps of other objects that are used in the place of its own.
    pub reuse: Vec<(String, ProgramRef)>,
}

/// A way to end what a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `BPF_LINK_DETACH`.
    Detach,
    /// The link's descriptor is closed.
    Unlink,
    /// The map's descriptor is closed.
    CloseMap,
    /// The program's descriptor is closed.
    CloseProgram,
    /// All descriptors of an object are closed.
    Drop,
}

/// What a line says. Names are those of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Loads programs.
    Load(Box<Load>),
    /// `BPF_LINK_CREATE`.
    Link {
        /// What the link is called.
        link: String,
        /// What is attached.
        program: ProgramRef,
        /// To what, if it is said.
        target: Option<TargetRef>,
        /// The attach type.
        at: Option<u32>,
    },
    /// `BPF_RAW_TRACEPOINT_OPEN` without a name.
    RawTracepoint {
        /// What the link is called.
        link: String,
        /// What is attached.
        program: ProgramRef,
    },
    /// Ends something.
    End {
        /// How.
        how: Ending,
        /// What.
        name: ProgramRef,
    },
    /// `BPF_LINK_UPDATE`.
    Update {
        /// The link.
        link: String,
        /// What it is to attach.
        program: ProgramRef,
    },
    /// What a link says of itself.
    LinkInfo(String),
    /// `BPF_PROG_TEST_RUN`.
    Run {
        /// The program.
        program: ProgramRef,
        /// How often.
        repeat: u32,
        /// Whether it gets a packet.
        data: bool,
        /// The size of its context, in bytes.
        ctx: Option<usize>,
    },
    /// Reads a global variable.
    Var(ProgramRef),
    /// Sets a global variable.
    SetVar(ProgramRef, u64),
    /// Sets an entry of a map.
    MapSet {
        /// The map.
        map: ProgramRef,
        /// The key.
        key: u64,
        /// The value.
        value: Value,
        /// Flags of the update.
        flags: u64,
    },
    /// Reads an entry of a map.
    MapGet {
        /// The map.
        map: ProgramRef,
        /// The key.
        key: u64,
        /// The program that is expected there.
        program: Option<ProgramRef>,
    },
    /// Removes an entry of a map.
    MapDel(ProgramRef, u64),
    /// The key after a key.
    MapNext(ProgramRef, u64),
    /// Freezes a map.
    MapFreeze(ProgramRef),
    /// Makes a map.
    MapNew {
        /// What it is called.
        name: String,
        /// Its type, the sizes of its keys and values, how many entries it has, its flags.
        numbers: [u32; 5],
    },
    /// What `/proc` says of a map's descriptor.
    FdInfo(ProgramRef),
    /// Remembers the number of a map.
    SaveId(ProgramRef),
    /// Opens the map whose number was remembered.
    Reopen(String),
    /// Remembers the number of a program.
    SaveProgram(ProgramRef),
    /// Opens the program whose number was remembered.
    Reprogram(String),
    /// What a program says of itself.
    Info(ProgramRef),
    /// Attaches a program to an interface.
    Interface {
        /// What the link is called.
        link: String,
        /// What is attached.
        program: ProgramRef,
    },
    /// Sends packets.
    Send(u32),
    /// Turns the compiler on or off, for later loads; or asks.
    Jit(Option<bool>),
    /// Nothing.
    Ignored,
}

/// A script that is not understood.
#[derive(Debug, Error)]
#[error("{}:{line}: {what}", path.display())]
pub struct ParseError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl Case {
    /// Reads a source.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read, or if a line of its script is not understood.
    pub fn read(path: &Path) -> Result<Self, ParseError> {
        let text = std::fs::read_to_string(path).map_err(|error| ParseError {
            path: path.to_owned(),
            line: 0,
            what: error.to_string(),
        })?;
        Self::parse(path, &text)
    }

    /// Reads a source's text.
    ///
    /// # Errors
    ///
    /// Returns an error if a line of its script is not understood.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ParseError> {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split_once('.').map_or(&*file, |(name, _)| name).to_owned();
        let (mut desc, mut objects, mut steps) = (String::new(), Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let Some(text) = line.trim_start().strip_prefix("//@") else { continue };
            let (text, line) = (text.trim(), number + 1);
            let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            match word {
                "desc" => desc = rest.trim().to_owned(),
                "obj" => objects.push(object(rest)),
                "" => {}
                _ => {
                    let kind = step(word, rest).ok_or_else(|| ParseError {
                        path: path.to_owned(),
                        line,
                        what: format!("not understood: {text}"),
                    })?;
                    steps.push(Step { line, text: text.to_owned(), kind });
                }
            }
        }
        if steps.is_empty() {
            let what = "no script: no line begins with //@ and says what to do".to_owned();
            return Err(ParseError { path: path.to_owned(), line: 0, what });
        }
        Ok(Self { name, source: path.to_owned(), desc, objects, steps })
    }
}

fn object(text: &str) -> ObjectDecl {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default().to_owned();
    let mut keeps_btf = true;
    let mut flags = Vec::new();
    for word in words {
        if word == "-nobtf" { keeps_btf = false } else { flags.push(word.to_owned()) }
    }
    ObjectDecl { name, flags, keeps_btf }
}

/// A number as C writes it; negative ones as two's complement.
fn number(text: &str) -> Option<u64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some(if is_negative { value.wrapping_neg() } else { value })
}

fn small(text: &str) -> Option<u32> {
    number(text).and_then(|value| u32::try_from(value).ok())
}

/// What a line says; `None` if it is not understood.
fn step(word: &str, rest: &str) -> Option<StepKind> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let program = |at: usize| words.get(at).map(|word| ProgramRef::parse(word));
    let name = |at: usize| words.get(at).map(|word| (*word).to_owned());
    let key = |at: usize| words.get(at).map_or(Some(0), |word| number(word));
    let option =
        |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let end = |how| Some(StepKind::End { how, name: program(0)? });
    Some(match word {
        "load" => StepKind::Load(Box::new(load(&words)?)),
        "link" => {
            let target = words.get(2..)?.iter().find(|word| !word.contains('='));
            // `=` also stands in targets of any kind, after the colon.
            let target = target.or_else(|| words.get(2..)?.iter().find(|word| word.contains(":=")));
            StepKind::Link {
                link: name(0)?,
                program: program(1)?,
                target: target.map(|text| TargetRef::parse(text)),
                at: option("at").map(small).map_or(Some(None), |at| at.map(Some))?,
            }
        }
        "rawtp" => StepKind::RawTracepoint { link: name(0)?, program: program(1)? },
        "unlink" => end(Ending::Unlink)?,
        "detach" => end(Ending::Detach)?,
        "closemap" => end(Ending::CloseMap)?,
        "closeprog" => end(Ending::CloseProgram)?,
        "drop" => end(Ending::Drop)?,
        "update" => StepKind::Update { link: name(0)?, program: program(1)? },
        "linkinfo" => StepKind::LinkInfo(name(0)?),
        "run" => StepKind::Run {
            program: program(0)?,
            repeat: option("n").map_or(Some(1), small)?,
            data: !words.contains(&"nodata"),
            ctx: match option("ctx") {
                Some(size) => Some(small(size)? as usize),
                None => None,
            },
        },
        "var" => StepKind::Var(variable(&words)?),
        "setvar" => StepKind::SetVar(variable(&words)?, number(words.get(2)?)?),
        "mapset" => StepKind::MapSet {
            map: program(0)?,
            key: key(1)?,
            value: Value::parse(words.get(2)?)?,
            flags: option("flags").map_or(Some(0), number)?,
        },
        "mapget" => {
            let expected = words.get(2).and_then(|word| word.strip_prefix('@'));
            let expected = expected.map(ProgramRef::parse);
            StepKind::MapGet { map: program(0)?, key: key(1)?, program: expected }
        }
        "mapdel" => StepKind::MapDel(program(0)?, key(1)?),
        "mapnext" => StepKind::MapNext(program(0)?, key(1)?),
        "mapfreeze" => StepKind::MapFreeze(program(0)?),
        "mapnew" => {
            let at = |at: usize| words.get(at).and_then(|word| small(word));
            let flags = option("flags").map_or(Some(0), small)?;
            StepKind::MapNew { name: name(0)?, numbers: [at(1)?, at(2)?, at(3)?, at(4)?, flags] }
        }
        "fdinfo" => StepKind::FdInfo(program(0)?),
        "saveid" => StepKind::SaveId(program(0)?),
        "reopen" => StepKind::Reopen(name(0)?),
        "saveprog" => StepKind::SaveProgram(program(0)?),
        "reprog" => StepKind::Reprogram(name(0)?),
        "info" => StepKind::Info(program(0)?),
        "xdp" | "tcx" => StepKind::Interface { link: name(0)?, program: program(1)? },
        "udp" => StepKind::Send(words.first().map_or(Some(1), |word| small(word))?),
        "sysctl" if words.first()?.ends_with("bpf_jit_enable") => {
            StepKind::Jit(words.get(1).map(|word| *word != "0"))
        }
        "sysctl" | "jit" | "sleep" | "note" => StepKind::Ignored,
        _ => return None,
    })
}

/// `X name`: a global variable.
fn variable(words: &[&str]) -> Option<ProgramRef> {
    let (object, name) = (words.first()?, words.get(1)?);
    Some(ProgramRef { object: (*object).to_owned(), program: (*name).to_owned() })
}

fn load(words: &[&str]) -> Option<Load> {
    let mut load = Load {
        name: (*words.first()?).to_owned(),
        object: (*words.get(1)?).to_owned(),
        ..Load::default()
    };
    let programs = words.get(2)?;
    if *programs != "*" {
        load.programs = programs.split(',').map(str::to_owned).collect();
    }
    for word in &words[3..] {
        let Some((key, value)) = word.split_once('=') else {
            match *word {
                "nolog" => load.log_level = Some(0),
                _ => return None,
            }
            continue;
        };
        match key {
            "attach" => load.attach = Some(TargetRef::parse(value)),
            "eat" => load.expected_attach_type = Some(small(value)?),
            "flags" => load.flags = Some(small(value)?),
            "type" => load.prog_type = Some(small(value)?),
            "log" => load.log_level = Some(small(value)?),
            "reuse" => {
                let (map, other) = value.split_once(':')?;
                load.reuse.push((map.to_owned(), ProgramRef::parse(other)));
            }
            _ => return None,
        }
    }
    Some(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> StepKind {
        let (word, rest) = text.split_once(' ').unwrap();
        step(word, rest).unwrap()
    }

    #[test]
    fn a_load_says_what_it_is_for() {
        let StepKind::Load(load) =
            kind("load M T a,b eat=0 reuse=arr:L.arr reuse=.bss:L..bss attach=T.main:=foo log=2")
        else {
            panic!("no load");
        };
        assert_eq!(load.programs, ["a", "b"]);
        assert_eq!(load.expected_attach_type, Some(0));
        let reuse: Vec<_> =
            load.reuse.iter().map(|(map, other)| format!("{map} {other}")).collect();
        assert_eq!(reuse, ["arr L.arr", ".bss L..bss"]);
        let target = load.attach.unwrap();
        assert_eq!(target.program.unwrap().to_string(), "T.main");
        assert_eq!(target.function, FunctionRef::AnyKind("foo".into()));
    }

    #[test]
    fn links_name_a_target_or_none() {
        let StepKind::Link { target, at, .. } = kind("link L R1.fe T.xdp_main:f at=24") else {
            panic!("no link");
        };
        assert_eq!(target.unwrap().function, FunctionRef::Name("f".into()));
        assert_eq!(at, Some(24));
        let StepKind::Link { target, at, .. } = kind("link L E.e at=37") else { panic!("no link") };
        assert_eq!((target, at), (None, Some(37)));
        let none = kind("load E EXT e attach=0:#5");
        assert!(
            matches!(none, StepKind::Load(load) if load.attach.as_ref().unwrap().program.is_none())
        );
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_line() {
        let error = Case::parse(Path::new("a/X.bpf.c"), "//@ desc x\n//@ dance A\n").unwrap_err();
        assert_eq!(error.to_string(), "a/X.bpf.c:2: not understood: dance A");
        assert!(Case::parse(Path::new("a/X.bpf.c"), "//@ load A\n").is_err());
        assert!(Case::parse(Path::new("a/X.bpf.c"), "//@ mapset A.b 0 zero\n").is_err());
    }
}
