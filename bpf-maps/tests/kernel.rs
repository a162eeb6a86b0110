//! What Linux answers, row by row: a record of a running kernel, in `data/`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::panic, reason = "a test that cannot go on should stop")]
#![expect(clippy::wildcard_enum_match_arm, reason = "most types are alike in the record")]

use std::collections::HashMap;
use std::sync::Arc;

use bpf_abi::Errno;
use bpf_abi::exec::{Engine, EntryHolder, ProgArrayOwner, ProgEntry, Runnable};
use bpf_abi::id::ProgId;
use bpf_abi::image::Image;
use bpf_abi::map::{MapFlags, MapSpec, MapType, UpdateFlags};
use bpf_abi::prog::ProgType;
use bpf_maps::types::perf_events::{PerfBuffer, PerfEventArray};
use bpf_maps::{Map, MapError, MapHandle, World, create};

/// The words of each line of a record, comments left out.
fn rows(record: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = record.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
        None => text.parse().unwrap(),
    }
}

fn small(text: &str) -> u32 {
    u32::try_from(number(text)).unwrap()
}

fn said<T>(result: &Result<T, MapError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.errno().to_string(),
    }
}

fn map_type(name: &str) -> MapType {
    MapType::by_name(name).unwrap()
}

fn inner_spec(map_type: MapType) -> MapSpec {
    let (key, value, entries) = match map_type {
        MapType::Queue | MapType::Stack | MapType::BloomFilter => (0, 8, 4),
        MapType::Ringbuf => (0, 0, 4096),
        MapType::LpmTrie => (8, 8, 4),
        MapType::ProgArray | MapType::PerfEventArray => (4, 4, 4),
        MapType::ArrayOfMaps | MapType::HashOfMaps => (4, 4, 4),
        _ => (4, 8, 4),
    };
    let mut spec = MapSpec::new("inner", map_type, key, value, entries);
    if map_type == MapType::LpmTrie {
        spec.flags = MapFlags::NO_PREALLOC;
    }
    spec
}

/// A description with the attributes that work, one of which is then changed.
fn base_spec(row: &[&str]) -> MapSpec {
    let map_type = map_type(row[0]);
    let mut spec = MapSpec::new("m", map_type, small(row[2]), small(row[3]), small(row[4]));
    spec.flags = MapFlags::from_bits_retain(small(row[5]));
    if matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
        spec.inner = Some(Box::new(inner_spec(MapType::Array)));
    }
    spec
}

#[test]
fn maps_are_made_and_refused_as_by_linux() {
    let world = World::with_cpus(2);
    let mut bases: HashMap<String, MapSpec> = HashMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows(include_str!("data/create.txt")) {
        if row[1] == "base" {
            bases.insert(row[0].to_owned(), base_spec(&row));
            continue;
        }
        let mut spec = bases[row[0]].clone();
        match row[1] {
            "key_size" => spec.key_size = small(row[2]),
            "value_size" => spec.value_size = small(row[2]),
            "max_entries" => spec.max_entries = small(row[2]),
            "map_extra" => spec.map_extra = number(row[2]),
            "flags" => spec.flags = MapFlags::from_bits_retain(small(row[2])),
            "sizes" => {
                let (key, value) = row[2].split_once('/').unwrap();
                (spec.key_size, spec.value_size) = (small(key), small(value));
            }
            "inner" if row[2] == "none" => spec.inner = None,
            "inner" => spec.inner = Some(Box::new(inner_spec(map_type(row[2])))),
            other => panic!("{other}?"),
        }
        let bytes = u64::from(spec.value_size).saturating_mul(u64::from(spec.max_entries));
        if bytes > 1 << 28 {
            // Whether there is so much memory is no question of rules.
            continue;
        }
        count += 1;
        let ours = said(&create(&spec, &world));
        if ours != row[3] {
            wrong.push(format!("{}: we say {ours}", row.join(" ")));
        }
    }
    assert!(count > 1900, "{count} rows");
    assert_eq!(wrong, Vec::<String>::new());
}

/// A program for the slots of program arrays.
#[derive(Debug)]
struct Program;

impl Runnable for Program {
    fn id(&self) -> ProgId {
        ProgId(1)
    }

    fn entry(&self) -> ProgEntry {
        ProgEntry { native: 16, interp: 0 }
    }

    fn owner(&self) -> ProgArrayOwner {
        ProgArrayOwner {
            prog_type: ProgType::Xdp,
            expected_attach_type: None,
            engine: Engine::Jit,
            xdp_has_frags: false,
            attach_func: 0,
        }
    }

    fn image(&self) -> &Arc<Image> {
        panic!("no map asks for it")
    }

    fn enter_prog_array(&self, _: &Arc<dyn EntryHolder>) -> Result<(), Errno> {
        Ok(())
    }

    fn leave_prog_array(&self) {}
}

/// A map of two entries, as the host handles it in the record.
struct Session {
    world: World,
    map: Arc<dyn Map>,
}

impl Session {
    fn new(map_type: MapType, flags: MapFlags) -> Result<Self, MapError> {
        let world = World::with_cpus(2);
        let mut spec = inner_spec(map_type);
        if map_type != MapType::Ringbuf {
            spec.max_entries = 2;
        }
        spec.flags |= flags;
        if matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps) {
            spec.inner = Some(Box::new(inner_spec(MapType::Array)));
        }
        let map = create(&spec, &world)?;
        Ok(Self { world, map })
    }

    fn key(&self, n: u8) -> Vec<u8> {
        match self.map.shape().map_type {
            MapType::LpmTrie => vec![32, 0, 0, 0, 10, 0, 0, n],
            _ if self.map.shape().key_size == 0 => Vec::new(),
            _ => vec![n, 0, 0, 0],
        }
    }

    fn value(&self) -> Vec<u8> {
        vec![5; self.map.host_value_size()]
    }

    fn update(&self, n: u8, flags: u64) -> Result<(), MapError> {
        let (key, flags) = (self.key(n), UpdateFlags::from_bits_retain(flags));
        if let Some(array) = self.map.as_prog_array() {
            return array.set(n.into(), Arc::new(Program), flags);
        }
        if let Some(array) = self.map.as_type::<PerfEventArray>() {
            return array.set(n.into(), PerfBuffer::new(64), flags);
        }
        if let Some(maps) = self.map.as_map_of_maps() {
            let inner = create(&inner_spec(MapType::Array), &self.world)?;
            return maps.set(&key, MapHandle::new(inner), flags);
        }
        self.map.host().update(&key, &self.value(), flags)
    }

    fn lookup(&self, n: u8, flags: u64) -> Result<Vec<u8>, MapError> {
        self.map.host().lookup(&self.key(n), UpdateFlags::from_bits_retain(flags))
    }

    fn delete(&self, n: u8) -> Result<(), MapError> {
        self.map.host().delete(&self.key(n))
    }

    /// The end of the map is what Linux calls `ENOENT` here.
    fn batch(&self, takes: bool) -> String {
        let host = self.map.host();
        let batch =
            if takes { host.lookup_and_delete_batch(None, 2) } else { host.lookup_batch(None, 2) };
        match batch {
            Ok(batch) if batch.next.is_none() => "ENOENT".to_owned(),
            other => said(&other),
        }
    }

    fn update_batch(&self) -> String {
        let host = self.map.host();
        if self.map.as_map_of_maps().is_some() {
            // Two maps, which are no bytes: the same by hand.
            let done = self.update(0, 0).and_then(|()| self.update(1, 0));
            return said(&done);
        }
        let (keys, value) = ([self.key(0), self.key(1)], self.value());
        let entries = keys.each_ref().map(|key| (key.as_slice(), value.as_slice()));
        said(&host.update_batch(&entries, UpdateFlags::empty()).map_err(|error| error.error))
    }

    fn delete_batch(&self) -> String {
        let keys = [self.key(0), self.key(1)];
        let keys = keys.each_ref().map(Vec::as_slice);
        said(&self.map.host().delete_batch(&keys).map_err(|error| error.error))
    }

    /// Does what a row of the record says; `None` if it cannot be done without pointers.
    fn does(&self, operation: &str) -> Option<String> {
        let host = self.map.host();
        let next = |key: Option<Vec<u8>>| said(&host.next_key(key.as_deref()));
        Some(match operation {
            "lookup_missing" | "lookup_existing" | "lookup" => said(&self.lookup(0, 0)),
            "delete_missing" | "delete" => said(&self.delete(0)),
            "next_key_empty_null" | "next_key_null" | "next_key" => next(None),
            "update_EXIST_missing" | "update_EXIST_existing" => said(&self.update(0, 2)),
            "update_NOEXIST_missing" | "update_NOEXIST_existing" => said(&self.update(0, 1)),
            "unknown_flag_8" => said(&self.update(0, 8)),
            "flag_F_LOCK_4" => said(&self.update(0, 4)),
            "flag_16" => said(&self.update(0, 16)),
            "flags_NOEXIST_EXIST_3" => said(&self.update(0, 3)),
            "lookup_flag_1" => said(&self.lookup(0, 1)),
            "lookup_flag_4" => said(&self.lookup(0, 4)),
            "update_ANY" | "update_ANY_existing" | "update" => said(&self.update(0, 0)),
            "next_key_of_only" => next(Some(self.key(0))),
            "next_key_of_missing" => next(Some(self.key(9))),
            "second_key" => said(&self.update(1, 0)),
            "third_key_full_or_out_of_range" => said(&self.update(2, 0)),
            "lookup_key2" => said(&self.lookup(2, 0)),
            "delete_key2" => said(&self.delete(2)),
            "lookup_and_delete" => {
                said(&host.lookup_and_delete(&self.key(0), UpdateFlags::empty()))
            }
            "delete_key1" => said(&self.delete(1)),
            "freeze" | "freeze_again" => said(&host.freeze()),
            "batch.lookup" => self.batch(false),
            "batch.lookup_and_delete" => self.batch(true),
            "batch.update" => self.update_batch(),
            "batch.delete" => self.delete_batch(),
            _ => return None,
        })
    }
}

/// What the record says of one run, and is not settled: which entry an LRU map gives up, and
/// the bits of a bloom filter.
fn is_open(map_type: MapType, operation: &str) -> bool {
    match map_type {
        MapType::LruHash | MapType::LruPercpuHash => {
            matches!(operation, "lookup_and_delete" | "delete_key1")
        }
        _ => false,
    }
}

#[test]
fn the_host_is_answered_as_by_linux() {
    let mut sessions: HashMap<String, Result<Session, MapError>> = HashMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows(include_str!("data/operations.txt")) {
        let [name, operation, theirs] = row[..] else { panic!("{row:?}") };
        let map_type = map_type(name);
        // Maps that only the host may read, or write, are maps of their own.
        let (flags, step) = match operation.split_once('.') {
            Some(("map_RDONLY", step)) => (MapFlags::RDONLY, step),
            Some(("map_WRONLY", step)) => (MapFlags::WRONLY, step),
            Some(("frozen", step)) => (MapFlags::empty(), step),
            _ if operation == "map_RDONLY" => (MapFlags::RDONLY, ""),
            _ if operation == "map_WRONLY" => (MapFlags::WRONLY, ""),
            _ => (MapFlags::empty(), operation),
        };
        let session = sessions.entry(format!("{name} {flags:?}"));
        let session = session.or_insert_with(|| Session::new(map_type, flags));
        let ours = match session {
            Ok(session) => session.does(step),
            Err(error) => Some(error.errno().to_string()),
        };
        let Some(ours) = ours else { continue };
        count += 1;
        if ours != theirs && !is_open(map_type, step) {
            wrong.push(format!("{}: we say {ours}", row.join(" ")));
        }
    }
    assert!(count > 600, "{count} rows");
    assert_eq!(wrong, Vec::<String>::new());
}
