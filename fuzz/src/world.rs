//! What all programs share: maps, and types.

use std::sync::Arc;

use bpf_abi::map::{MapFlags, MapInit, MapInitValue, MapSpec, MapType};
use bpf_btf::{Btf, Builder, FuncLinkage, KindCode, TypeId};

use crate::hook::HOOKS;

/// The types of the running kernel, if it shows them.
pub fn kernel_types() -> Option<Arc<Btf>> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    Btf::parse(&bytes).ok().map(Arc::new)
}

/// The number by which programs name their first map: high enough that no other immediate is
/// taken for a map.
pub const FIRST_MAP: i32 = 0x4000_0000;

/// The places of the maps that the generator asks for by name.
pub mod map {
    /// Four values of 48 bytes.
    pub const ARRAY: usize = 0;
    /// Values of 64 bytes.
    pub const HASH: usize = 1;
    /// One value of 16 bytes, which programs address.
    pub const ONE: usize = 2;
    /// One value of 16 bytes that nobody changes: a string, and numbers.
    pub const CONSTANT: usize = 3;
    /// Programs may only write.
    pub const WRITE_ONLY: usize = 4;
    /// A ring buffer.
    pub const RING: usize = 5;
    /// Programs to jump to.
    pub const PROGRAMS: usize = 6;
    /// Values with a spin lock.
    pub const LOCK: usize = 7;
    /// Values with a timer.
    pub const TIMER: usize = 8;
    /// Values with a kernel object's pointer.
    pub const OBJECT: usize = 9;
    /// Maps in a map.
    pub const OUTER: usize = 10;
    /// A queue.
    pub const QUEUE: usize = 11;
    /// Sockets.
    pub const SOCKETS: usize = 12;
    /// A ring buffer that the host writes.
    pub const USER_RING: usize = 13;
    /// CPUs to redirect to.
    pub const CPUS: usize = 19;
    /// Devices to redirect to.
    pub const DEVICES: usize = 20;
    /// The maps that can hold programs: the first program that uses one decides what others must
    /// be that use it.
    pub const OWNED: [usize; 3] = [PROGRAMS, CPUS, DEVICES];
}

/// What an argument of a global function must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// A number.
    Number,
    /// The context.
    Context,
    /// Sixteen bytes, or null.
    Memory,
    /// Sixteen bytes.
    MemoryNotNull,
    /// A dynptr.
    Dynptr,
}

/// A global function, as its type describes it.
#[derive(Clone, Debug)]
pub struct Global {
    /// The function's type.
    pub func: TypeId,
    /// Its arguments.
    pub params: Vec<Param>,
}

/// Maps and types.
#[derive(Clone, Debug)]
pub struct World {
    /// The maps.
    pub maps: Vec<MapSpec>,
    /// The types that programs and maps refer to.
    pub btf: Arc<Btf>,
    /// The types of the kernel, if they are known.
    pub kernel_btf: Option<Arc<Btf>>,
    /// The main function's type, by the name of its context's structure.
    pub mains: Vec<(&'static str, TypeId)>,
    /// The main function's type where the context has no name.
    pub plain_main: TypeId,
    /// The type of static functions.
    pub local: TypeId,
    /// Global functions.
    pub globals: Vec<Global>,
}

impl World {
    /// The world; every call makes the same.
    ///
    /// # Panics
    ///
    /// Panics if its types do not hold together.
    pub fn new(kernel_btf: Option<Arc<Btf>>) -> Self {
        let mut types = Builder::new();
        let int = types.int("int", 4, true);
        let word = types.int("u32", 4, false);
        let long = types.int("u64", 8, false);
        let values = Values::new(&mut types, word, long);

        let anything = types.ptr(TypeId(0));
        let main_proto = types.proto(int, &[("ctx", anything)]);
        let plain_main = types.func("main", main_proto, FuncLinkage::Global);
        let local_proto = types.proto(int, &[("a", long), ("b", long)]);
        let local = types.func("local", local_proto, FuncLinkage::Static);

        let pair = types.structure("pair", 16, &[("a", int, 0), ("b", int, 32), ("c", long, 64)]);
        let pair = types.ptr(pair);
        let dynptr = types.structure("bpf_dynptr", 16, &[]);
        let dynptr = types.ptr(dynptr);
        let mut globals = Vec::new();
        let mut global = |types: &mut Builder, name: &str, ret, params: &[(TypeId, Param)]| {
            let names = ["a", "b", "c"];
            let args: Vec<(&str, TypeId)> =
                names.into_iter().zip(params.iter().map(|(ty, _)| *ty)).collect();
            let proto = types.proto(ret, &args);
            let func = types.func(name, proto, FuncLinkage::Global);
            for (place, (_, param)) in params.iter().enumerate() {
                if *param == Param::MemoryNotNull {
                    types.decl_tag("arg:nonnull", func, u32::try_from(place).ok());
                }
            }
            globals.push(Global { func, params: params.iter().map(|(_, param)| *param).collect() });
        };
        global(&mut types, "numbers", int, &[(int, Param::Number), (long, Param::Number)]);
        global(&mut types, "memory", int, &[(pair, Param::Memory), (int, Param::Number)]);
        global(&mut types, "not_null", long, &[(pair, Param::MemoryNotNull)]);
        global(&mut types, "nothing", TypeId(0), &[(long, Param::Number)]);
        global(&mut types, "dynptr", int, &[(dynptr, Param::Dynptr)]);

        let mut mains: Vec<(&'static str, TypeId)> = Vec::new();
        for table in HOOKS.iter().filter_map(crate::hook::Hook::table) {
            if mains.iter().any(|(name, _)| *name == table.name) {
                continue;
            }
            let ctx = types.structure(table.name, 0, &[]);
            let ctx = types.ptr(ctx);
            let proto = types.proto(int, &[("ctx", ctx)]);
            mains.push((table.name, types.func("main", proto, FuncLinkage::Global)));
            global(&mut types, table.name, int, &[(ctx, Param::Context), (int, Param::Number)]);
        }
        let btf = Arc::new(types.finish().expect("the types hold together"));
        let maps = maps(&values);
        Self { maps, btf, kernel_btf, mains, plain_main, local, globals }
    }

    /// The number of a kernel function, if there is one of this name.
    pub fn kfunc(&self, name: &str) -> Option<i32> {
        let id = self.kernel_btf.as_ref()?.by_name_kind(name, KindCode::Func)?;
        i32::try_from(id.0).ok()
    }

    /// The name of a kernel function.
    pub fn kfunc_name(&self, id: i32) -> Option<String> {
        let btf = self.kernel_btf.as_ref()?;
        let id = TypeId(u32::try_from(id).ok()?);
        let name = btf.name_of(id);
        (btf.by_name_kind(name, KindCode::Func) == Some(id)).then(|| name.to_owned())
    }
}

/// The types of values with something special in them.
struct Values {
    lock: TypeId,
    timer: TypeId,
    object: TypeId,
    number: TypeId,
}

impl Values {
    fn new(types: &mut Builder, word: TypeId, long: TypeId) -> Self {
        let spin = types.structure("bpf_spin_lock", 4, &[("val", word, 0)]);
        let lock = [("a", long, 0), ("lock", spin, 64), ("b", word, 96)];
        let lock = types.structure("locked", 16, &lock);
        let words = types.array(long, word, 2);
        let opaque = types.structure("bpf_timer", 16, &[("__opaque", words, 0)]);
        let timer = types.structure("timed", 24, &[("a", long, 0), ("timer", opaque, 64)]);
        let task = types.structure("task_struct", 0, &[]);
        let tagged = types.type_tag("kptr", task);
        let kptr = types.ptr(tagged);
        let object = types.structure("holder", 16, &[("a", long, 0), ("task", kptr, 64)]);
        Self { lock, timer, object, number: word }
    }
}

/// The maps, in the order that [`map`] says.
fn maps(values: &Values) -> Vec<MapSpec> {
    use MapType as T;
    let mut one = MapSpec::new("one", T::Array, 4, 16, 1);
    one.init.push(MapInit { key: vec![0; 4], value: MapInitValue::Bytes(vec![7; 16]) });
    let mut constant = MapSpec::new("constant", T::Array, 4, 16, 1);
    constant.flags = MapFlags::RDONLY_PROG;
    constant.frozen = true;
    let bytes = *b"%d %u\0\0\0\x05\0\0\0\xff\xff\xff\xff";
    constant.init.push(MapInit { key: vec![0; 4], value: MapInitValue::Bytes(bytes.to_vec()) });
    let mut write_only = MapSpec::new("write_only", T::Array, 4, 16, 1);
    write_only.flags = MapFlags::WRONLY_PROG;
    let typed = |name: &str, map_type, size, entries, value: TypeId| {
        let mut map = MapSpec::new(name, map_type, 4, size, entries);
        map.btf_key_type_id = values.number.0;
        map.btf_value_type_id = value.0;
        map
    };
    let mut outer = MapSpec::new("outer", T::ArrayOfMaps, 4, 4, 2);
    outer.inner = Some(Box::new(MapSpec::new("inner", T::Array, 4, 32, 4)));
    let mut trie = MapSpec::new("trie", T::LpmTrie, 8, 16, 4);
    trie.flags = MapFlags::NO_PREALLOC;
    vec![
        MapSpec::new("array", T::Array, 4, 48, 4),
        MapSpec::new("hash", T::Hash, 8, 64, 4),
        one,
        constant,
        write_only,
        MapSpec::new("ring", T::Ringbuf, 0, 0, 4096),
        MapSpec::new("programs", T::ProgArray, 4, 4, 4),
        typed("lock", T::Hash, 16, 4, values.lock),
        typed("timer", T::Array, 24, 2, values.timer),
        typed("object", T::Array, 16, 2, values.object),
        outer,
        MapSpec::new("queue", T::Queue, 0, 8, 4),
        MapSpec::new("sockets", T::Sockmap, 4, 4, 4),
        MapSpec::new("user_ring", T::UserRingbuf, 0, 0, 4096),
        MapSpec::new("percpu", T::PercpuArray, 4, 32, 2),
        MapSpec::new("lru", T::LruHash, 4, 24, 4),
        MapSpec::new("events", T::PerfEventArray, 4, 4, 2),
        MapSpec::new("traces", T::StackTrace, 4, 40, 4),
        MapSpec::new("sockhash", T::Sockhash, 8, 4, 4),
        MapSpec::new("cpus", T::Cpumap, 4, 4, 2),
        MapSpec::new("devices", T::Devmap, 4, 4, 2),
        MapSpec::new("bloom", T::BloomFilter, 0, 8, 4),
        MapSpec::new("stack", T::Stack, 0, 16, 4),
        trie,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_where_their_names_say() {
        let world = World::new(None);
        let name = |place: usize| world.maps[place].name.as_str();
        assert_eq!((name(map::ARRAY), name(map::USER_RING)), ("array", "user_ring"));
        assert_eq!((name(map::LOCK), name(map::OUTER)), ("lock", "outer"));
    }
}
