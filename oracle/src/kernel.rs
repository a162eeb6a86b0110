//! The running kernel: maps, programs, test runs.

use std::fs::File;

use bpf_abi::errno::Errno;

use crate::sys::{Attr, Command};

/// How a map is made: the numbers of `BPF_MAP_CREATE`.
#[derive(Debug, Default)]
pub struct MapAttr<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type's number.
    pub map_type: u32,
    /// The size of a key, in bytes.
    pub key_size: u32,
    /// The size of a value, in bytes.
    pub value_size: u32,
    /// How many entries it holds at most.
    pub max_entries: u32,
    /// Its flags.
    pub flags: u32,
    /// A further number whose meaning the type knows.
    pub map_extra: u64,
    /// What the maps inside look like.
    pub inner: Option<&'a Map>,
    /// The types of keys and values.
    pub btf: Option<(&'a Btf, u32, u32)>,
    /// The kernel structure that a `struct_ops` map holds; 0 for none.
    pub btf_vmlinux_value: u32,
}

/// A map of the kernel's.
#[derive(Debug)]
pub struct Map {
    file: File,
    key_size: usize,
    /// The size of what a look-up copies out, in bytes.
    copied: usize,
    max_entries: usize,
}

impl Map {
    /// Makes a map.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn create(attr: &MapAttr<'_>) -> Result<Self, Errno> {
        let mut at = Attr::new(72);
        at.u32(0, attr.map_type).u32(4, attr.key_size).u32(8, attr.value_size);
        at.u32(12, attr.max_entries).u32(16, attr.flags).name(28, attr.name);
        if let Some(inner) = attr.inner {
            at.fd(20, &inner.file);
        }
        if let Some((btf, key, value)) = attr.btf {
            at.fd(48, &btf.0).u32(52, key).u32(56, value);
        }
        at.u32(60, attr.btf_vmlinux_value).u64(64, attr.map_extra);
        let file = at.open(Command::MapCreate)?;
        let value_size = attr.value_size as usize;
        let percpu = matches!(attr.map_type, 5 | 6 | 10 | 21);
        let copied =
            if percpu { value_size.next_multiple_of(8) * possible_cpus() } else { value_size };
        let (key_size, max_entries) = (attr.key_size as usize, attr.max_entries as usize);
        Ok(Self { file, key_size, copied, max_entries })
    }

    /// The descriptor's number, as instructions carry it.
    pub fn fd(&self) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(&self.file)
    }

    /// Sets the value at `key`.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        Attr::new(32).fd(0, &self.file).key(8, key).input(16, value).call(Command::MapUpdate)?;
        Ok(())
    }

    /// Sets the value at `key`, with these flags.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn update_with(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let mut at = Attr::new(32);
        at.fd(0, &self.file).key(8, key).input(16, value).u64(24, flags);
        at.call(Command::MapUpdate)?;
        Ok(())
    }

    /// Removes the entry at `key`.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        Attr::new(32).fd(0, &self.file).input(8, key).call(Command::MapDelete)?;
        Ok(())
    }

    /// Puts a program into the slot at `key`.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn update_program(&self, key: &[u8], program: &Program) -> Result<(), Errno> {
        self.update(key, &std::os::fd::AsRawFd::as_raw_fd(&program.0).to_ne_bytes())
    }

    /// The value at `key`; for per-CPU maps the values of all CPUs, eight-byte aligned.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn lookup(&self, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.copied];
        Attr::new(32)
            .fd(0, &self.file)
            .input(8, key)
            .output(16, &mut value)
            .call(Command::MapLookup)?;
        Ok(value)
    }

    /// Takes a value out of a map without keys: a queue or a stack.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn take(&self) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; self.copied];
        Attr::new(32).fd(0, &self.file).output(16, &mut value).call(Command::MapTake)?;
        Ok(value)
    }

    /// Whether a bloom filter may have this value.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn may_have(&self, value: &[u8]) -> Result<bool, Errno> {
        let mut value = value.to_vec();
        let mut at = Attr::new(32);
        match at.fd(0, &self.file).output(16, &mut value).call(Command::MapLookup) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The records of a ring buffer that nobody has taken, in their order; those that were given up
    /// are left out.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn records(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let produced = crate::sys::ring_bytes(&self.file, self.max_entries)?;
        Ok(records(&produced))
    }

    /// The kernel's number of it.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn id(&self) -> Result<u32, Errno> {
        let mut info = [0; 16];
        let mut at = Attr::new(16);
        at.fd(0, &self.file).u32(4, 16).output(8, &mut info).call(Command::Info)?;
        Ok(u32::from_ne_bytes([info[4], info[5], info[6], info[7]]))
    }

    /// All keys and their values, in the kernel's order.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let mut entries = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let mut next = vec![0; self.key_size];
            let mut at = Attr::new(32);
            at.fd(0, &self.file).output(16, &mut next);
            if let Some(last) = &last {
                at.input(8, last);
            }
            match at.call(Command::MapNextKey) {
                Ok(_) => {}
                Err(Errno::ENOENT) => return Ok(entries),
                Err(error) => return Err(error),
            }
            match self.lookup(&next) {
                Ok(value) => entries.push((next.clone(), value)),
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
            last = Some(next);
        }
    }

    /// Passes over all records of a ring buffer: it is empty afterwards.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error, of what is no ring buffer too.
    pub fn skip_records(&self) -> Result<(), Errno> {
        crate::sys::skip_records(&self.file)
    }

    /// Gives up changing it.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn freeze(&self) -> Result<(), Errno> {
        Attr::new(8).fd(0, &self.file).call(Command::MapFreeze)?;
        Ok(())
    }
}

/// The records in the bytes of a ring: each a word with its length, a word, what it holds, and padding
/// to eight bytes.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    /// It is being written. Linux: `BPF_RINGBUF_BUSY_BIT`.
    const BUSY: u32 = 1 << 31;
    /// It was given up. Linux: `BPF_RINGBUF_DISCARD_BIT`.
    const GIVEN_UP: u32 = 1 << 30;
    let mut records = Vec::new();
    while let Some((&[a, b, c, d, ..], rest)) = bytes.split_at_checked(8) {
        let head = u32::from_ne_bytes([a, b, c, d]);
        let len = (head & !(BUSY | GIVEN_UP)) as usize;
        let Some(record) = rest.get(..len).filter(|_| head & BUSY == 0) else { break };
        if head & GIVEN_UP == 0 {
            records.push(record.to_vec());
        }
        bytes = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    records
}

/// A key and what a look-up of it copies out.
pub type Entry = (Vec<u8>, Vec<u8>);

/// How many CPUs the kernel keeps per-CPU values for.
pub fn possible_cpus() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    text.trim()
        .rsplit(['-', ','])
        .next()
        .and_then(|last| last.parse::<usize>().ok())
        .map_or(1, |last| last + 1)
}

/// Types that the kernel has taken.
#[derive(Debug)]
pub struct Btf(File);

impl Btf {
    /// Hands types to the kernel.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error and its log.
    pub fn load(bytes: &[u8]) -> Result<Self, (Errno, String)> {
        let len = u32::try_from(bytes.len()).map_err(|_| (Errno::E2BIG, String::new()))?;
        let mut at = Attr::new(32);
        at.input(0, bytes).u32(16, len);
        let error = match at.open(Command::BtfLoad) {
            Ok(file) => return Ok(Self(file)),
            Err(error) => error,
        };
        let mut log = vec![0; 1 << 20];
        at.output(8, &mut log).u32(20, 1 << 20).u32(24, 1);
        match at.open(Command::BtfLoad) {
            Ok(file) => Ok(Self(file)),
            Err(_) => Err((error, text(&log))),
        }
    }
}

/// How a program is loaded: what `BPF_PROG_LOAD` is given.
#[derive(Debug, Default)]
pub struct ProgAttr<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type's number.
    pub prog_type: u32,
    /// The number of the attach type expected at load.
    pub expected_attach_type: u32,
    /// The flags of the load.
    pub flags: u32,
    /// The kernel version.
    pub kern_version: u32,
    /// The licence, without an end mark.
    pub license: &'a str,
    /// The instructions.
    pub insns: &'a [u8],
    /// The program's types.
    pub btf: Option<&'a Btf>,
    /// Which function begins where, and the size of a record.
    pub func_info: (&'a [u8], u32),
    /// Which line an instruction comes from, and the size of a record.
    pub line_info: (&'a [u8], u32),
    /// What it attaches to.
    pub attach_btf_id: u32,
    /// The program that it attaches to.
    pub attach_prog: Option<&'a Program>,
    /// Maps handed over by their place.
    pub fd_array: &'a [i32],
}

/// What came of a load.
#[derive(Debug)]
pub struct Loaded {
    /// The program, or the kernel's error.
    pub result: Result<Program, Errno>,
    /// The log.
    pub log: String,
}

/// A program of the kernel's.
#[derive(Debug)]
pub struct Program(File);

impl Program {
    /// Loads a program at this log level; with level 0 there is no log.
    pub fn load(attr: &ProgAttr<'_>, log_level: u32) -> Loaded {
        let mut size = if log_level & 3 == 0 { 256 << 10 } else { 4 << 20 };
        loop {
            let loaded = Self::load_with(attr, log_level, size);
            if !matches!(loaded.result, Err(Errno::ENOSPC)) || size >= 1 << 30 {
                return loaded;
            }
            size *= 8;
        }
    }

    fn load_with(attr: &ProgAttr<'_>, log_level: u32, log_size: u32) -> Loaded {
        let mut at = Attr::new(152);
        let license = [attr.license.as_bytes(), b"\0"].concat();
        let count =
            |bytes: &[u8], size: u32| u32::try_from(bytes.len()).unwrap_or(u32::MAX) / size.max(1);
        let fds: Vec<u8> = attr.fd_array.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        at.u32(0, attr.prog_type).u32(4, count(attr.insns, 8)).input(8, attr.insns);
        at.input(16, &license).u32(40, attr.kern_version).u32(44, attr.flags).name(48, attr.name);
        at.u32(68, attr.expected_attach_type).u32(108, attr.attach_btf_id);
        if let Some(target) = attr.attach_prog {
            at.fd(112, &target.0);
        }
        if let Some(btf) = attr.btf {
            at.fd(72, &btf.0);
            for ((bytes, size), off) in [(attr.func_info, 76), (attr.line_info, 92)] {
                if !bytes.is_empty() {
                    at.u32(off, size).input(off + 4, bytes).u32(off + 12, count(bytes, size));
                }
            }
        }
        if !fds.is_empty() {
            at.input(120, &fds);
        }
        let mut log = vec![0; if log_level == 0 { 0 } else { log_size as usize }];
        if log_level != 0 {
            at.u32(24, log_level).u32(28, log_size).output(32, &mut log);
        }
        let result = at.open(Command::ProgLoad).map(Self);
        Loaded { result, log: text(&log) }
    }

    /// The descriptor's number, as slots of program arrays are filled with.
    pub fn fd(&self) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(&self.0)
    }

    /// Runs the program as `BPF_PROG_TEST_RUN` does.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<TestRunOutput, Errno> {
        let mut data = vec![0; if run.data.is_some() { run.room } else { 0 }];
        let mut ctx = vec![0; if run.ctx.is_some() { 4096 } else { 0 }];
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let mut at = Attr::new(80);
        at.fd(0, &self.0).u32(32, run.repeat).u32(64, run.flags).u32(68, run.cpu);
        if let Some(bytes) = run.data {
            at.u32(8, size(bytes)).input(16, bytes);
            if !data.is_empty() {
                at.u32(12, size(&data)).output(24, &mut data);
            }
        }
        if let Some(bytes) = run.ctx {
            at.u32(40, size(bytes)).input(48, bytes).u32(44, size(&ctx)).output(56, &mut ctx);
        }
        let first = at.call(Command::TestRun);
        // Types that take a context but give none back say so by this error.
        if first == Err(Errno::EINVAL) && run.ctx.is_some() {
            ctx.clear();
            at.u32(44, 0).u64(56, 0).call(Command::TestRun)?;
        } else {
            first?;
        }
        data.truncate(at.get(12) as usize);
        ctx.truncate(at.get(44) as usize);
        Ok(TestRunOutput { retval: at.get(4), duration: at.get(36), data, ctx })
    }

    /// The numbers of `BPF_OBJ_GET_INFO_BY_FD`.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn info(&self) -> Result<ProgInfo, Errno> {
        let mut info = [0; 240];
        self.info_into(&mut info)?;
        let number = |off: usize| {
            u32::from_ne_bytes([info[off], info[off + 1], info[off + 2], info[off + 3]])
        };
        let mut tag = [0; 8];
        tag.copy_from_slice(&info[8..16]);
        Ok(ProgInfo {
            id: number(4),
            tag,
            jited_bytes: number(16),
            xlated_insns: number(20) / 8,
            verified_insns: number(216),
            funcs: number(108),
        })
    }

    /// The instructions as the kernel rewrote them.
    ///
    /// # Errors
    ///
    /// Returns the kernel's error.
    pub fn xlated(&self) -> Result<Vec<u8>, Errno> {
        let len = self.info()?.xlated_insns * 8;
        let mut insns = vec![0; len as usize];
        let mut info = [0; 240];
        info[20..24].copy_from_slice(&len.to_ne_bytes());
        let address = insns.as_mut_ptr().expose_provenance() as u64;
        info[32..40].copy_from_slice(&address.to_ne_bytes());
        self.info_into(&mut info)?;
        Ok(insns)
    }

    fn info_into(&self, info: &mut [u8; 240]) -> Result<(), Errno> {
        Attr::new(16).fd(0, &self.0).u32(4, 240).output(8, info).call(Command::Info)?;
        Ok(())
    }
}

/// A test run.
#[derive(Clone, Debug, Default)]
pub struct TestRun<'a> {
    /// The packet.
    pub data: Option<&'a [u8]>,
    /// The context.
    pub ctx: Option<&'a [u8]>,
    /// How often; 0 is once.
    pub repeat: u32,
    /// The flags of the run.
    pub flags: u32,
    /// The CPU, where a flag asks for one.
    pub cpu: u32,
    /// How much room there is for the packet that comes back; 0 asks for none.
    pub room: usize,
}

/// What came of a test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunOutput {
    /// R0, its low half.
    pub retval: u32,
    /// Nanoseconds a repeat, on average.
    pub duration: u32,
    /// The packet, if it was asked for.
    pub data: Vec<u8>,
    /// The context, if one was given and the type gives it back.
    pub ctx: Vec<u8>,
}

/// What the kernel tells of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgInfo {
    /// The number.
    pub id: u32,
    /// The tag.
    pub tag: [u8; 8],
    /// The size of the machine code.
    pub jited_bytes: u32,
    /// How many instructions the rewritten program has.
    pub xlated_insns: u32,
    /// How many instructions the verifier processed.
    pub verified_insns: u32,
    /// How many functions it has.
    pub funcs: u32,
}

/// Whether this process may ask the kernel about programs; if not, why.
///
/// # Errors
///
/// Returns the kernel's error for a program that every kernel with `bpf(2)` accepts.
pub fn available() -> Result<(), Errno> {
    const RETURN_ZERO: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let attr =
        ProgAttr { prog_type: 1, license: "GPL", insns: &RETURN_ZERO, ..ProgAttr::default() };
    Program::load(&attr, 0).result.map(|_| ())
}

/// The text before the end mark.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
