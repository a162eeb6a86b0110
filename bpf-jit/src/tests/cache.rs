//! Code that is kept: found again for the same program, and for no other; believed if it is what
//! was kept, and not otherwise.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bpf_abi::exec::ProgCounters;
use bpf_abi::helper::RetKind;
use bpf_abi::image::{Facts, ImageSubprog, MemoryClass};
use bpf_isa::Pc;

use super::*;
use crate::cache::entry::{self, Corrupt, HEADER};
use crate::input::{Helper, Input, Map, Numbers, Percpu, Repeats, Shape, Subprog};
use crate::key::{EngineId, Key};
use crate::lower::Mode;
use crate::unplaced::Unplaced;
use crate::{CacheError, CacheStats, CodeCache, SlotMode};

/// A directory that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bpf-jit-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn jit_with(cache: &CodeCache) -> Jit {
    let cache = Some(cache.clone());
    Jit::new(JitOptions { cache, reserve: 1 << 20, ..JitOptions::default() }).unwrap()
}

/// A program that returns what it finds at `values[1]`, and what a function of it adds.
fn reading(values: &[u64; 4]) -> ImageParts {
    let values = values.as_ptr().expose_provenance() as u64;
    let layout = MapLayout::Array { values, stride: 8, max_entries: 4 };
    let mut insns = vec![store_imm(Size::W, Reg::FP, -4, 1)];
    insns.extend(load_map(Reg::R1, 0));
    insns.extend([
        mov(Reg::R2, Reg::FP),
        add_imm(Reg::R2, -4),
        helper(1),
        jump_if(JumpOp::Ne, Reg::R0, 0, 1),
        Insn::Exit,
        load(Size::DW, Reg::R1, Reg::R0, 0),
        local(1),
        Insn::Exit,
        mov(Reg::R0, Reg::R1),
        add_imm(Reg::R0, 1),
        Insn::Exit,
    ]);
    let mut parts = parts(insns);
    parts.maps.push(map(MapType::Array, layout));
    parts
}

fn returning(number: i32) -> ImageParts {
    parts(vec![mov_imm(Reg::R0, number), Insn::Exit])
}

/// Hits, misses, stored, refused.
fn counts(cache: &CodeCache) -> [u64; 4] {
    let CacheStats { hits, misses, stored, refused, .. } = cache.stats();
    [hits, misses, stored, refused]
}

#[test]
fn kept_code_runs_with_the_maps_of_the_day() {
    let cache = CodeCache::in_memory(1 << 20);
    let (first, second) = ([10, 20, 30, 40], [100, 200, 300, 400]);
    let (one, other) = (jit_with(&cache), jit_with(&cache));
    let compiled = one.compile(&vouch(reading(&first))).unwrap();
    assert_eq!((run(&compiled, &mut 0), counts(&cache)), (21, [0, 1, 1, 0]));
    // Other maps, and another place.
    for jit in [&one, &other] {
        let again = jit.compile(&vouch(reading(&second))).unwrap();
        assert_eq!((run(&again, &mut 0), run(&compiled, &mut 0)), (201, 21));
        assert_eq!(again.functions(), 2);
        assert_eq!(again.slot(1).unwrap().address() % 8, 0);
        assert_eq!(again.arity(1), compiled.arity(1));
    }
    assert_eq!(counts(&cache), [2, 1, 1, 0]);
    let stats = cache.stats();
    assert!(stats.entries == 1 && stats.bytes > compiled.code_size());
}

#[test]
fn kept_code_is_listed_as_it_was() {
    let cache = CodeCache::in_memory(1 << 20);
    let jit = jit_with(&cache);
    let image = vouch(reading(&[0; 4]));
    // What differs is where it is.
    let listing = |compiled: &Compiled| {
        let text = compiled.listing(&image);
        text.lines().filter(|line| !line.contains("0x")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (made, kept) = (jit.compile(&image).unwrap(), jit.compile(&image).unwrap());
    assert_eq!(counts(&cache), [1, 1, 1, 0]);
    assert_eq!(listing(&made), listing(&kept));
    assert!(listing(&made).len() > 10);
}

#[test]
fn kept_code_counts_in_the_counters_of_the_day() {
    let cache = CodeCache::in_memory(1 << 20);
    let jit = jit_with(&cache);
    let image = vouch(returning(3));
    let counters: [Arc<ProgCounters>; 2] = Default::default();
    let programs = counters.clone().map(|one| jit.compile_counted(&image, one).unwrap());
    assert_eq!(counts(&cache), [1, 1, 1, 0]);
    run(&programs[0], &mut 0);
    run(&programs[1], &mut 0);
    run(&programs[1], &mut 0);
    let runs = |one: &ProgCounters| one.runs.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(counters.each_ref().map(|one| runs(one)), [1, 2]);
    // Code that does not count is other code.
    assert!(jit.cached(&image, None).is_none());
    assert!(jit.cached(&image, Some(&counters[0])).is_some());
}

#[test]
fn other_options_are_other_code() {
    let cache = CodeCache::in_memory(1 << 20);
    let defaults = || JitOptions { reserve: 1 << 20, ..JitOptions::default() };
    let options = [
        defaults(),
        JitOptions { optimize: false, ..defaults() },
        JitOptions { slots: SlotMode::Displacement, ..defaults() },
        JitOptions { slots: SlotMode::Absent, ..defaults() },
    ];
    for (number, options) in (1..).zip(options) {
        let jit = Jit::new(JitOptions { cache: Some(cache.clone()), ..options }).unwrap();
        let image = vouch(returning(3));
        for _ in 0..2 {
            assert_eq!(run(&jit.compile(&image).unwrap(), &mut 0), 3);
        }
        assert_eq!(counts(&cache), [number, number, number, 0]);
    }
}

/// A function, a map and a helper, each of which has something that may change.
const SUBPROG: Subprog = Subprog {
    start: Pc(0),
    end: Pc(2),
    arity: 1,
    stack_depth: 8,
    tail_calls: false,
    is_callback: false,
    is_global: false,
    has_type: false,
};
const MAP: Map = Map { key_size: 4, has_value: false, shape: Shape::Opaque };
const HELPER: Helper = Helper {
    id: 5,
    registers: 0,
    ret: RetKind::Integer,
    is_near: true,
    numbers: None,
    is_random: false,
    repeats: None,
};

const PERCPU: Percpu = Percpu { stride: 8, cpu_stride: 64 };

const SHAPES: [Shape; 17] = [
    Shape::Array { stride: 8, max_entries: 4 },
    Shape::Array { stride: 16, max_entries: 4 },
    Shape::Array { stride: 8, max_entries: 5 },
    Shape::PercpuArray { stride: 8, cpu_stride: 64, max_entries: 4, cpus: 2 },
    Shape::PercpuArray { stride: 8, cpu_stride: 128, max_entries: 4, cpus: 2 },
    Shape::PercpuArray { stride: 8, cpu_stride: 64, max_entries: 5, cpus: 2 },
    Shape::PercpuArray { stride: 16, cpu_stride: 64, max_entries: 4, cpus: 2 },
    Shape::PercpuArray { stride: 8, cpu_stride: 64, max_entries: 4, cpus: 3 },
    Shape::Hash { mask: 7, stride: 32, marks: false, percpu: None },
    Shape::Hash { mask: 15, stride: 32, marks: false, percpu: None },
    Shape::Hash { mask: 7, stride: 40, marks: false, percpu: None },
    Shape::Hash { mask: 7, stride: 32, marks: true, percpu: None },
    Shape::Hash { mask: 7, stride: 32, marks: false, percpu: Some(PERCPU) },
    Shape::Hash {
        mask: 7,
        stride: 32,
        marks: false,
        percpu: Some(Percpu { stride: 16, ..PERCPU }),
    },
    Shape::Hash {
        mask: 7,
        stride: 32,
        marks: false,
        percpu: Some(Percpu { cpu_stride: 128, ..PERCPU }),
    },
    Shape::ProgArray { max_entries: 4 },
    Shape::ProgArray { max_entries: 5 },
];

/// Ways to change an input, each of which makes another.
const CHANGES: [fn(&mut Input<'_>); 31] = [
    |input| input.prog_type = ProgType::Ext,
    |input| input.mode = Mode::Counted,
    |input| input.mode = Mode::Checked,
    |input| input.slots = SlotMode::Displacement,
    |input| input.slots = SlotMode::Absent,
    |input| input.inlines = true,
    |input| input.subprogs.clear(),
    |input| input.subprogs.push(SUBPROG),
    |input| input.subprogs[0].start = Pc(1),
    |input| input.subprogs[0].end = Pc(1),
    |input| input.subprogs[0].arity = 2,
    |input| input.subprogs[0].stack_depth = 16,
    |input| input.subprogs[0].tail_calls = true,
    |input| input.subprogs[0].is_callback = true,
    |input| input.subprogs[0].is_global = true,
    |input| input.subprogs[0].has_type = true,
    |input| input.maps.clear(),
    |input| input.maps.push(MAP),
    |input| input.maps[0].key_size = 8,
    |input| input.maps[0].has_value = true,
    |input| input.helpers.clear(),
    |input| input.helpers[0].id = 6,
    |input| input.helpers[0].registers = 1,
    |input| input.helpers[0].is_near = false,
    |input| input.helpers[0].numbers = Some(Numbers::New),
    |input| input.helpers[0].numbers = Some(Numbers::Next),
    |input| input.helpers[0].is_random = true,
    |input| input.helpers[0].repeats = Some(Repeats::Numbers),
    |input| input.helpers[0].repeats = Some(Repeats::Elements),
    |input| input.exception_callback = Some(Pc(0)),
    |input| input.exception_callback = Some(Pc(1)),
];

/// Notes of programs of two instructions.
fn all_notes() -> Vec<Vec<Note>> {
    let nothing = Note::default();
    let noted = [
        Note { memory: MemoryClass::Packet, ..nothing },
        Note { memory: MemoryClass::Stack, ..nothing },
        Note { map: Some(0), ..nothing },
        Note { map: Some(1), ..nothing },
        Note { key: Some(0), ..nothing },
        Note { key: Some(1), ..nothing },
        Note { facts: Facts::NONZERO_DIVISOR, ..nothing },
        Note { facts: Facts::MAY_FAULT, ..nothing },
    ];
    let mut all = vec![Vec::new(), vec![nothing]];
    all.extend(noted.iter().flat_map(|note| [vec![*note, nothing], vec![nothing, *note]]));
    all
}

#[test]
fn whatever_code_is_made_of_is_in_its_key() {
    let program = |number| Program::new(vec![mov_imm(Reg::R0, number), Insn::Exit]);
    let (program, other_program) = (program(1), program(2));
    let notes = [Note::default(); 2];
    let plain = Input {
        prog_type: ProgType::Xdp,
        program: &program,
        subprogs: vec![SUBPROG],
        maps: vec![MAP],
        helpers: vec![HELPER],
        notes: &notes,
        exception_callback: None,
        mode: Mode::Plain,
        slots: SlotMode::Word,
        inlines: false,
    };
    let with = |change: &dyn Fn(&mut Input<'_>)| {
        let mut input = plain.clone();
        change(&mut input);
        input
    };
    let notes = all_notes();
    let mut inputs = vec![plain.clone(), Input { program: &other_program, ..plain.clone() }];
    inputs.extend(CHANGES.iter().map(|change| with(change)));
    inputs.extend(SHAPES.map(|shape| with(&|input| input.maps[0].shape = shape)));
    inputs.push(with(&|input| input.helpers[0].ret = RetKind::MapValue));
    inputs.extend(notes.iter().map(|notes| Input { notes, ..plain.clone() }));

    let jit = jit();
    let keys: Vec<Key> = inputs.iter().map(|input| jit.key(input).unwrap()).collect();
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(jit.key(&inputs[i]).unwrap(), *key);
        for (j, other) in keys.iter().enumerate().skip(i + 1) {
            assert_ne!(key, other, "{:?} and {:?}", inputs[i], inputs[j]);
        }
    }
}

/// Instructions of equal encoding are told apart too: the key takes them as they are.
#[test]
fn a_second_slot_that_is_missing_is_in_the_key() {
    let load = Insn::LoadImm64 { dst: Reg::R0, imm: Imm64::Value(1) };
    let images = [vec![load, Insn::SecondSlot, Insn::Exit], vec![load, Insn::Exit]]
        .map(|insns| vouch(parts(insns)));
    let keys = images.each_ref().map(|image| jit().key(&jit().input(image, Mode::Plain)).unwrap());
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn code_generators_are_told_apart() {
    use cranelift_codegen::isa::lookup_by_name;
    use cranelift_codegen::settings::{self, Configurable as _};
    let target = |flag: &str, level: &str| {
        let mut flags = settings::builder();
        flags.set("opt_level", level).unwrap();
        let mut builder = lookup_by_name("x86_64").unwrap();
        if !flag.is_empty() {
            builder.enable(flag).unwrap();
        }
        EngineId::new(&builder.finish(settings::Flags::new(flags)).unwrap())
    };
    let ids = [
        target("", "speed"),
        target("", "none"),
        target("has_bmi2", "speed"),
        target("has_avx2", "speed"),
    ];
    for (i, id) in ids.iter().enumerate() {
        assert!(!ids[i + 1..].contains(id));
    }
    assert_eq!(target("", "speed"), ids[0]);
}

#[test]
fn names_and_lines_are_not_in_the_key() {
    let named = |name: &str| {
        let mut parts = returning(3);
        name.clone_into(&mut parts.name);
        parts.subprogs.push(ImageSubprog {
            name: name.to_owned(),
            start: Pc(0),
            end: Pc(2),
            arity: 1,
            stack_depth: 0,
            tail_calls: false,
            is_callback: false,
            is_global: false,
            btf_id: 0,
        });
        parts
    };
    let cache = CodeCache::in_memory(1 << 20);
    let jit = jit_with(&cache);
    for name in ["one", "other"] {
        let image = vouch(named(name));
        let listing = jit.compile(&image).unwrap().listing(&image);
        assert!(listing.starts_with(name), "{listing}");
    }
    assert_eq!(counts(&cache), [1, 1, 1, 0]);
}

#[test]
fn another_process_finds_code_in_the_directory() {
    let folder = Folder::new("found");
    let image = |values| vouch(reading(values));
    let first = CodeCache::on_disk(&folder.0).unwrap();
    assert_eq!(first.directory(), Some(&*folder.0));
    jit_with(&first).compile(&image(&[0; 4])).unwrap();
    assert_eq!(counts(&first), [0, 1, 1, 0]);
    assert_eq!(folder.files().len(), 1);
    // What one cache has in memory, another has not.
    let second = CodeCache::on_disk(&folder.0).unwrap();
    let jit = jit_with(&second);
    assert_eq!(run(&jit.compile(&image(&[5, 6, 7, 8])).unwrap(), &mut 0), 7);
    assert_eq!(counts(&second), [1, 0, 0, 0]);
    // From now on it has.
    fs::remove_file(&folder.files()[0]).unwrap();
    assert_eq!(run(&jit.compile(&image(&[5, 7, 7, 8])).unwrap(), &mut 0), 8);
    assert_eq!(counts(&second), [2, 0, 0, 0]);
}

#[test]
fn what_is_not_what_was_kept_is_compiled_again() {
    let folder = Folder::new("changed");
    let compile = || {
        let cache = CodeCache::on_disk(&folder.0).unwrap();
        let compiled = jit_with(&cache).compile(&vouch(reading(&[1, 2, 3, 4]))).unwrap();
        assert_eq!(run(&compiled, &mut 0), 3);
        counts(&cache)
    };
    assert_eq!(compile(), [0, 1, 1, 0]);
    let file = folder.files().remove(0);
    let good = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let bad = [
        Vec::new(),
        good[..HEADER - 1].to_vec(),
        good[..HEADER].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&*good, &[0]].concat(),
        vec![0; good.len()],
        flipped(0),
        flipped(9),
        flipped(13),
        flipped(20),
        flipped(50),
        flipped(HEADER + 3),
        flipped(good.len() - 1),
    ];
    for bytes in bad {
        fs::write(&file, &bytes).unwrap();
        assert_eq!(compile(), [0, 1, 1, 1], "{} bytes", bytes.len());
        assert_eq!(fs::read(&file).unwrap(), good);
        assert_eq!(compile(), [1, 0, 0, 0]);
    }
    // Another program's entry under this one's name.
    let other = CodeCache::on_disk(&folder.0).unwrap();
    jit_with(&other).compile(&vouch(returning(1))).unwrap();
    let name = folder.files().into_iter().find(|other| *other != file).unwrap();
    fs::copy(&name, &file).unwrap();
    assert_eq!(compile(), [0, 1, 1, 1]);
    // No file at all: a folder, a link.
    for make in [
        &(|| fs::create_dir(&file).unwrap()) as &dyn Fn(),
        &(|| std::os::unix::fs::symlink("/dev/zero", &file).unwrap()),
    ] {
        fs::remove_file(&file).unwrap();
        make();
        let [hits, misses, ..] = compile();
        assert_eq!((hits, misses), (0, 1));
        let _ = fs::remove_dir(&file);
        fs::write(&file, &good).unwrap();
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let folder = Folder::new("open");
    fs::create_dir(&folder.0).unwrap();
    for (mode, may) in
        [(0o700, true), (0o755, true), (0o770, false), (0o707, false), (0o1777, false)]
    {
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(mode)).unwrap();
        match CodeCache::on_disk(&folder.0) {
            Ok(_) => assert!(may, "{mode:o}"),
            Err(error) => {
                assert!(!may && matches!(error, CacheError::Untrusted { .. }));
                let text = error.to_string();
                assert!(text.ends_with("others than its owner may write to it"), "{text}");
            }
        }
    }
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(CodeCache::on_disk(&file), Err(CacheError::Directory { .. })));
    // One that is made belongs to its user alone.
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
    let made = folder.0.join("a/b");
    CodeCache::on_disk(&made).unwrap();
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_does_not_grow_beyond_its_limit() {
    let folder = Folder::new("full");
    let size = {
        let cache = CodeCache::on_disk(&folder.0).unwrap();
        jit_with(&cache).compile(&vouch(returning(0))).unwrap();
        fs::metadata(&folder.files()[0]).unwrap().len()
    };
    let cache = CodeCache::on_disk_within(&folder.0, 8 * size).unwrap();
    let jit = jit_with(&cache);
    // A file that nobody goes on writing, and one that is none of ours.
    let old = fs::File::create(folder.0.join(".unfinished-1-1")).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::write(folder.0.join("README"), "").unwrap();
    for number in 1..40 {
        jit.compile(&vouch(returning(number))).unwrap();
        let bytes: u64 = folder.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(bytes <= 8 * size, "{bytes} of {}", 8 * size);
    }
    // The last is there still.
    let last = CodeCache::on_disk(&folder.0).unwrap();
    jit_with(&last).compile(&vouch(returning(39))).unwrap();
    assert_eq!(counts(&last), [1, 0, 0, 0]);
    let names: Vec<PathBuf> = folder.files();
    assert!(names.contains(&folder.0.join("README")));
    assert!(!names.contains(&folder.0.join(".unfinished-1-1")));
}

/// An entry, with the checksum that it must have.
fn signed(mut entry: Vec<u8>) -> Vec<u8> {
    if entry.len() >= HEADER {
        let length = u32::try_from(entry.len() - HEADER).unwrap();
        entry[12..16].copy_from_slice(&length.to_le_bytes());
        let checksum = entry::checksum(&entry);
        entry[48..80].copy_from_slice(&checksum);
    }
    entry
}

/// What of `code` an image must still agree to is put in place, or is not; nothing panics.
fn try_to_place(jit: &Jit, code: &Unplaced, image: &Image) {
    if let Ok(compiled) = jit.settle(code, image, None, || jit.key(&jit.input(image, Mode::Plain)))
    {
        let _ = compiled.listing(image);
        for function in 0..compiled.functions() + 1 {
            if let Some(slot) = compiled.slot(function) {
                assert!(compiled.entry() >= compiled.slot(0).unwrap().body());
                slot.reset();
                assert!(compiled.arity(function).unwrap() <= 5);
            }
        }
    }
}

#[test]
fn an_entry_with_the_right_checksum_is_looked_at_all_the_same() {
    let cache = CodeCache::in_memory(1 << 20);
    let jit = jit_with(&cache);
    let image = vouch(reading(&[1, 2, 3, 4]));
    let code = jit.translate(&jit.input(&image, Mode::Plain)).unwrap();
    let key = Key([7; 32]);
    let good = entry::write(&key, &code).unwrap();
    assert_eq!(signed(good.clone()), good);
    assert_eq!(entry::read(&key, &good), Ok(code));
    let (mut refused, mut placed) = (0, 0);
    let mut look = |bytes: Vec<u8>| match entry::read(&key, &signed(bytes)) {
        Ok(code) => {
            placed += 1;
            try_to_place(&jit, &code, &image);
        }
        Err(Corrupt::Content(_) | Corrupt::Header) => refused += 1,
        Err(other) => panic!("{other:?}"),
    };
    // Every byte of what describes the code is changed, in several ways, and cut off.
    let described = good.len() - jit.compile(&image).unwrap().code_size();
    for at in HEADER..described {
        for change in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            look(bytes);
        }
        look(good[..at].to_vec());
        look([&good[..at], &[0; 4], &good[at..]].concat());
        look([&good[..at], &[0xff; 4], &good[(at + 4).min(good.len())..]].concat());
    }
    assert!(refused > 300 && placed > 100, "{refused} {placed}");
}

#[test]
fn flaws_are_named() {
    let image = vouch(reading(&[1, 2, 3, 4]));
    let code = jit().translate(&jit().input(&image, Mode::Plain)).unwrap();
    assert_eq!(code.flaw(), None);
    let flaw_of = |change: &dyn Fn(&mut Unplaced)| {
        let mut code = code.clone();
        change(&mut code);
        code.flaw()
    };
    let piece = |change: &dyn Fn(&mut [crate::unplaced::Piece])| {
        flaw_of(&|code| change(Arc::make_mut(&mut code.pieces)))
    };
    let out_of_place = Some("a piece that is not where pieces are");
    assert_eq!(piece(&|pieces| pieces[1].end += 1), out_of_place);
    assert_eq!(piece(&|pieces| pieces[0].end = pieces[1].start + 1), out_of_place);
    assert_eq!(piece(&|pieces| pieces[0].start = usize::MAX), out_of_place);
    assert_eq!(piece(&|pieces| pieces[1].start += 1), Some("a slot that is not aligned"));
    assert_eq!(flaw_of(&|code| code.bytes[3] = 1), Some("a slot that is not idle"));
    let slots = SlotMode::Displacement;
    assert_eq!(flaw_of(&|code| code.slots = slots), Some("a slot that is not idle"));
    let missing = Some("functions that are not all there");
    assert_eq!(flaw_of(&|code| code.arities = [1].into()), missing);
    assert_eq!(flaw_of(&|code| code.arities = [1, 1, 1].into()), missing);
    assert_eq!(flaw_of(&|code| code.pieces = [].into()), missing);
    assert_eq!(flaw_of(&|code| code.arities = [1, 6].into()), Some("too many arguments"));
    let no_frame = Some("a main function that no tail call can enter");
    assert_eq!(flaw_of(&|code| code.bytes[9] ^= 1), no_frame);
    let outside = Some("an address outside of the code");
    for at in [0, 4, code.bytes.len() - 3, usize::MAX] {
        assert_eq!(flaw_of(&|code| code.fixups[0].at = at), outside);
    }
    let nothing = Some("an address of nothing");
    let lead = |name| flaw_of(&|code| code.fixups.last_mut().unwrap().name = name);
    assert_eq!(lead(crate::abi::Name::Function(2)), nothing);
    assert_eq!(lead(crate::abi::Name::Callback(0)), nothing);
}
