//! The types that programs with several functions come with, and those of values with something
//! special in them.

use std::sync::Arc;

use bpf_btf::{Btf, Builder, FuncLinkage, TypeId};

use super::Kind;
use super::write::{FunctionType, Signature};

/// The types.
#[derive(Clone, Debug)]
pub struct Types {
    pub(super) btf: Arc<Btf>,
    pub(super) kernel: Option<Arc<Btf>>,
    main: TypeId,
    local: TypeId,
    /// Global functions with one to five numbers.
    global: [TypeId; 5],
    memory: TypeId,
    not_null: TypeId,
    /// With the context of XDP, and of the network stack.
    context: [TypeId; 2],
    pub(super) values: Values,
}

/// The types of values, keys and objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    /// Of keys.
    pub(super) number: TypeId,
    /// Of [`LOCKED`](super::maps::LOCKED).
    pub(super) locked: TypeId,
    /// Of [`OWNER`](super::maps::OWNER).
    pub(super) owner: TypeId,
    /// Of the objects in it.
    pub(super) node: TypeId,
}

/// Where the things are that own objects, in a value that does.
pub(super) mod owner {
    pub(in super::super) const LOCK: i32 = 0;
    pub(in super::super) const LIST: i32 = 8;
    pub(in super::super) const TREE: i32 = 24;
    pub(in super::super) const POINTER: i32 = 40;
    pub(super) const SIZE: u32 = 48;
}

/// Where an object is held.
pub(super) mod node {
    /// Its number is at 0.
    pub(in super::super) const LIST: i32 = 8;
    pub(in super::super) const TREE: i32 = 32;
    /// What is in two of them counts its owners.
    pub(super) const REFCOUNT: i32 = 64;
    pub(super) const SIZE: u32 = 72;
}

impl Types {
    /// The types; every call makes the same. `kernel` are the kernel's, where they are known.
    ///
    /// # Panics
    ///
    /// Panics if they do not hold together.
    pub fn new(kernel: Option<Arc<Btf>>) -> Self {
        let mut types = Builder::new();
        let int = types.int("int", 4, true);
        let long = types.int("u64", 8, false);
        let anything = types.ptr(TypeId(0));
        let proto = types.proto(int, &[("ctx", anything)]);
        let main = types.func("main", proto, FuncLinkage::Global);
        let names = ["a", "b", "c", "d", "e"];
        let params = names.map(|name| (name, long));
        let proto = types.proto(int, &params);
        let local = types.func("local", proto, FuncLinkage::Static);
        let global = [1, 2, 3, 4, 5].map(|count| {
            let proto = types.proto(int, &params[..count]);
            types.func(&format!("global{count}"), proto, FuncLinkage::Global)
        });
        let pair = types.structure("pair", 16, &[("a", long, 0), ("b", long, 64)]);
        let pair = types.ptr(pair);
        let proto = types.proto(int, &[("at", pair), ("a", long)]);
        let memory = types.func("memory", proto, FuncLinkage::Global);
        let not_null = types.func("not_null", proto, FuncLinkage::Global);
        types.decl_tag("arg:nonnull", not_null, Some(0));
        let context = ["xdp_md", "__sk_buff"].map(|name| {
            let ctx = types.structure(name, 0, &[]);
            let ctx = types.ptr(ctx);
            let proto = types.proto(int, &[("ctx", ctx), ("a", long)]);
            types.func(&format!("of_{name}"), proto, FuncLinkage::Global)
        });
        let values = Values::new(&mut types, long);
        let btf = Arc::new(types.finish().expect("the types hold together"));
        Self { btf, kernel, main, local, global, memory, not_null, context, values }
    }

    /// The types as they are handed to the kernel.
    pub fn encode(&self) -> Vec<u8> {
        self.btf.encode()
    }

    /// The kernel's types, where they are known.
    pub fn kernel(&self) -> Option<Arc<Btf>> {
        self.kernel.clone()
    }

    pub(super) const fn of(&self, what: FunctionType, kind: Kind) -> TypeId {
        match what {
            FunctionType::Main => self.main,
            FunctionType::Local => self.local,
            FunctionType::Global(params) => self.global[params - 1],
            FunctionType::Typed(Signature::Memory) => self.memory,
            FunctionType::Typed(Signature::NotNull) => self.not_null,
            FunctionType::Typed(Signature::Context) => match kind {
                Kind::Xdp => self.context[0],
                Kind::SchedCls | Kind::SocketFilter | Kind::CgroupSkb => self.context[1],
            },
        }
    }
}

impl Values {
    fn new(types: &mut Builder, long: TypeId) -> Self {
        let number = types.int("u32", 4, false);
        let spin = types.structure("bpf_spin_lock", 4, &[("val", number, 0)]);
        let fields = [("a", long, 0), ("b", long, 64), ("lock", spin, 128), ("c", number, 160)];
        let locked = types.structure("locked", 24, &fields);

        let mut opaque = |name: &str, words: u32| {
            let array = types.array(long, number, words);
            types.structure(name, 8 * words, &[("__opaque", array, 0)])
        };
        let (head, list) = (opaque("bpf_list_head", 2), opaque("bpf_list_node", 3));
        let (root, tree) = (opaque("bpf_rb_root", 2), opaque("bpf_rb_node", 4));
        let at = |bytes: i32| 8 * bytes.cast_unsigned();
        let refcount = types.array(number, number, 1);
        let refcount = types.structure("bpf_refcount", 4, &[("__opaque", refcount, 0)]);
        let fields = [
            ("key", long, 0),
            ("list", list, at(node::LIST)),
            ("tree", tree, at(node::TREE)),
            ("owners", refcount, at(node::REFCOUNT)),
        ];
        // The kernel has no structure of this name, whose pointers would be another thing.
        let node = types.structure("kept", node::SIZE, &fields);
        let tagged = types.type_tag("kptr", node);
        let pointer = types.ptr(tagged);
        let fields = [
            ("lock", spin, at(owner::LOCK)),
            ("list", head, at(owner::LIST)),
            ("tree", root, at(owner::TREE)),
            ("pointer", pointer, at(owner::POINTER)),
        ];
        let owner = types.structure("owner", owner::SIZE, &fields);
        types.decl_tag("contains:kept:list", owner, Some(1));
        types.decl_tag("contains:kept:tree", owner, Some(2));
        Self { number, locked, owner, node }
    }
}
