//! Program types of the host's own: what programs are given, may call and may return.
//!
//! Linux does not know them, so they have the type [`ProgType::Unspec`]; which one is meant says
//! the section of a program, as for the types that Linux knows: `SEC("NAME")` or `SEC("NAME/…")`.

mod call;
mod helper;

pub use call::{Caller, OwnProgram};
pub use helper::{Bytes, HostArg, HostHelper, HostRet};

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use bpf_abi::ctx::pattern::Pattern;
use bpf_abi::ctx::{Context, Field, Yields};
use bpf_abi::exec::HelperFn;
use bpf_abi::helper::hooks::{Hook, Lookup};
use bpf_abi::helper::{HelperFlags, HelperProto, RetKind, RetProto, TypeFlags};
use bpf_abi::prog::ProgType;
use bpf_abi::spec::ProgramSpec;

use crate::collection::Object;
use crate::error::Error;
use crate::helpers;
use crate::plain::{Plain, PlainField};
use crate::runtime::{Runtime, Shared};

use helper::{Code, ENTRIES};

/// The smallest number that a helper of the host can have. Linux's are far below.
pub const FIRST_HELPER: u32 = 1000;

/// The largest context, in bytes: what the offsets of instructions reach.
const MAX_CONTEXT: usize = 0x7fff;

/// A program type of the host: programs of it are called with a `T`.
///
/// A cheap handle: clones are the same type.
///
/// ```
/// use bpf_runtime::{Runtime, plain};
///
/// plain! {
///     /// What a filter is asked about.
///     pub struct Request {
///         pub len: u32,
///         pub port: u16,
///         pub verdict: u16,
///     }
/// }
///
/// let runtime = Runtime::new()?;
/// let filters = runtime
///     .program_type::<Request>("http_filter")
///     .writable("verdict")
///     .helper(1000, "host_score", |len: u32, port: u32| u64::from(len ^ port))
///     .returns(0..=1)
///     .register()?;
/// assert_eq!(filters.name(), "http_filter");
/// # Ok::<(), bpf_runtime::Error>(())
/// ```
pub struct ProgramType<T> {
    object: Arc<TypeObject>,
    context: PhantomData<fn(&mut T)>,
}

impl<T> Clone for ProgramType<T> {
    fn clone(&self) -> Self {
        Self { object: Arc::clone(&self.object), context: PhantomData }
    }
}

impl<T> fmt::Debug for ProgramType<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProgramType").field(&self.object.name).finish()
    }
}

impl<T: Plain> ProgramType<T> {
    /// Its name: the section that its programs are in.
    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// A program of this type.
    ///
    /// # Errors
    ///
    /// Returns an error if the object has no program of this name, or if it is of another type.
    pub fn program(&self, object: &Object, name: &str) -> Result<OwnProgram<T>, Error> {
        let program = object.program(name)?;
        let is_ours = |own: &Arc<TypeObject>| Arc::ptr_eq(own, &self.object);
        if program.object.own.as_ref().is_some_and(is_ours) {
            return Ok(OwnProgram::new(program, Arc::clone(&self.object)));
        }
        let section = &program.spec().section;
        let other = match &program.object.own {
            Some(own) => format!("type {:?}", own.name),
            None => format!("Linux's type {}", program.prog_type()),
        };
        let reason = format!("program {name:?} in section {section:?} is of {other}");
        Err(Error::ProgramType { name: self.object.name.clone(), reason })
    }
}

/// What is known of a program type of the host.
#[derive(Debug)]
pub(crate) struct TypeObject {
    name: String,
    /// Tells program types apart; not zero.
    pub(crate) number: u64,
    pub(crate) context: &'static Context,
    pub(crate) returns: Option<RangeInclusive<i32>>,
    helpers: Vec<OwnHelper>,
}

/// A helper of the host.
#[derive(Debug)]
struct OwnHelper {
    proto: &'static HelperProto,
    code: Code,
}

impl TypeObject {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The contract of a helper that programs of this type may call.
    pub(crate) fn helper(&self, id: u32) -> Option<&'static HelperProto> {
        if let Some(own) = self.helpers.iter().find(|own| own.proto.id == id) {
            return Some(own.proto);
        }
        helpers::find(id).filter(|helper| helper.works_for(ProgType::Unspec))?;
        // Of those that do not look at the context, all that any type has.
        let anywhere =
            Hook { prog_type: ProgType::SchedCls, attach_type: None, sleepable: false, target: "" };
        match anywhere.helper(id) {
            Lookup::Found(proto) => Some(proto),
            Lookup::NotHere(_) | Lookup::Unknown => None,
        }
    }

    /// What engines call for a helper of the host.
    pub(crate) fn code(&self, proto: &'static HelperProto) -> Option<HelperFn> {
        let at = self.helpers.iter().position(|own| own.proto.id == proto.id)?;
        ENTRIES.get(at).copied()
    }

    fn call(&self, at: usize, registers: [u64; 5]) -> Option<u64> {
        Some((self.helpers.get(at)?.code.0)(registers))
    }
}

/// The program types of a runtime.
#[derive(Debug, Default)]
pub(crate) struct OwnTypes(Mutex<Vec<Arc<TypeObject>>>);

impl OwnTypes {
    /// The type that a program's section names, if Linux does not know its type.
    pub(crate) fn of(&self, spec: &ProgramSpec) -> Option<Arc<TypeObject>> {
        if spec.prog_type != ProgType::Unspec {
            return None;
        }
        let named = |own: &&Arc<TypeObject>| {
            let rest = spec.section.strip_prefix(own.name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(named).cloned()
    }

    /// Takes in a type that `make` makes of its number, unless there is one of this name.
    fn add(&self, name: &str, make: impl FnOnce(u64) -> TypeObject) -> Option<Arc<TypeObject>> {
        let mut types = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if types.iter().any(|own| own.name == name) {
            return None;
        }
        let own = Arc::new(make(types.len() as u64 + 1));
        types.push(Arc::clone(&own));
        Some(own)
    }
}

/// How a program type of the host is to be.
#[must_use = "there is a type only once it is registered"]
pub struct TypeBuilder<T> {
    runtime: Runtime,
    name: String,
    structure: String,
    writable: Vec<String>,
    hidden: Vec<String>,
    helpers: Vec<(u32, String, Vec<bpf_abi::helper::ArgProto>, Code)>,
    returns: Option<RangeInclusive<i32>>,
    context: PhantomData<fn(&mut T)>,
}

impl<T> fmt::Debug for TypeBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypeBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Begins to say what programs in the section `name` are: they are called with a `T`, which they
    /// may read.
    pub fn program_type<T: Plain>(&self, name: &str) -> TypeBuilder<T> {
        let rust = std::any::type_name::<T>();
        TypeBuilder {
            runtime: self.clone(),
            name: name.to_owned(),
            structure: rust.rsplit("::").next().unwrap_or(rust).to_owned(),
            writable: Vec::new(),
            hidden: Vec::new(),
            helpers: Vec::new(),
            returns: None,
            context: PhantomData,
        }
    }
}

impl<T: Plain> TypeBuilder<T> {
    /// What programs call the structure, so that their global functions can take a pointer to it;
    /// as in Rust if not said.
    pub fn structure(mut self, name: &str) -> Self {
        name.clone_into(&mut self.structure);
        self
    }

    /// Lets programs write a field.
    pub fn writable(mut self, field: &str) -> Self {
        self.writable.push(field.to_owned());
        self
    }

    /// Does not let programs read a field.
    pub fn hidden(mut self, field: &str) -> Self {
        self.hidden.push(field.to_owned());
        self
    }

    /// Lets programs call the host: a function of up to five numbers or byte strings, under a number
    /// of the host's choice from [`FIRST_HELPER`] on.
    ///
    /// Programs declare it as Linux's helpers are: `static long (*host_score)(__u32 len, __u32 port)
    /// = (void *)1000;`. Any number of threads may call it at once. If it panics, the program goes on
    /// with 0 and the panic goes on where the program was called.
    pub fn helper<A>(mut self, id: u32, name: &str, code: impl HostHelper<A>) -> Self {
        let (args, code) = code.erase();
        self.helpers.push((id, name.to_owned(), args, code));
        self
    }

    /// What programs may return; anything if not said.
    pub fn returns(mut self, range: RangeInclusive<i32>) -> Self {
        self.returns = Some(range);
        self
    }

    /// Makes it a type of the runtime: from now on programs of it can be loaded. Its tables stay in
    /// memory as long as the process lives.
    ///
    /// # Errors
    ///
    /// Returns an error if the runtime has a type of this name, if it is no name of a section, if the
    /// context is too large or has no such field, if no result is allowed, or if a helper's number is
    /// taken or too small.
    pub fn register(self) -> Result<ProgramType<T>, Error> {
        self.check().map_err(|reason| Error::ProgramType { name: self.name.clone(), reason })?;
        let context = self.table();
        let Self { runtime, name, helpers, returns, .. } = self;
        let helpers = helpers.into_iter().map(|(id, name, args, code)| {
            let proto: &'static HelperProto = Box::leak(Box::new(HelperProto {
                id,
                name: name.leak(),
                flags: HelperFlags::empty(),
                ret: RetProto { kind: RetKind::Integer, flags: TypeFlags::empty(), btf: None },
                args: args.leak(),
            }));
            OwnHelper { proto, code }
        });
        let helpers = helpers.collect();
        let shared: &Shared = &runtime.shared;
        let object = shared.own_types.add(&name, |number| TypeObject {
            name: name.clone(),
            number,
            context,
            returns,
            helpers,
        });
        let taken =
            || Error::ProgramType { name, reason: "the runtime has one of this name".to_owned() };
        Ok(ProgramType { object: object.ok_or_else(taken)?, context: PhantomData })
    }

    /// What is wrong with it, if anything is.
    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.contains('/') {
            return Err("it is no name of a section".to_owned());
        }
        if let Some(range) = self.returns.as_ref().filter(|range| range.is_empty()) {
            return Err(format!("programs can return nothing from {range:?}"));
        }
        if T::SIZE > MAX_CONTEXT {
            return Err(format!("the context has {} bytes, more than {MAX_CONTEXT}", T::SIZE));
        }
        let names = || self.writable.iter().chain(&self.hidden);
        if let Some(name) = names().find(|name| T::FIELDS.iter().all(|field| field.name != **name))
        {
            return Err(format!("the context has no field {name:?}"));
        }
        if self.helpers.len() > ENTRIES.len() {
            return Err(format!("more than {} helpers", ENTRIES.len()));
        }
        for (nth, (id, name, args, _)) in self.helpers.iter().enumerate() {
            if *id < FIRST_HELPER || i32::try_from(*id).is_err() {
                return Err(format!(
                    "helper {name:?} has number {id}, not one from {FIRST_HELPER} on"
                ));
            }
            if args.len() > 5 {
                return Err(format!("helper {name:?} takes {} registers, more than 5", args.len()));
            }
            if let Some((_, other, ..)) = self.helpers[..nth].iter().find(|(other, ..)| other == id)
            {
                return Err(format!("helpers {other:?} and {name:?} have number {id}"));
            }
        }
        Ok(())
    }

    /// The context's table.
    fn table(&self) -> &'static Context {
        let whole = [PlainField { name: "", offset: 0, size: T::SIZE }];
        let layout = if T::FIELDS.is_empty() { whole.as_slice() } else { T::FIELDS };
        let names =
            |list: &[String], field: &PlainField| list.iter().any(|name| name == field.name);
        let fields: Vec<Field> = layout
            .iter()
            .map(|field| {
                let all: &'static Pattern = Box::leak(Box::new(parts(field)));
                let or_none = |allowed| if allowed { all } else { &NOTHING };
                Field {
                    name: field.name,
                    off: at(field.offset),
                    size: at(field.size),
                    read: or_none(!names(&self.hidden, field)),
                    sign_extends: true,
                    write: or_none(names(&self.writable, field)),
                    yields: Yields::Scalar,
                    host: None,
                }
            })
            .collect();
        let (size, name) = (at(T::SIZE), self.structure.clone().leak());
        Box::leak(Box::new(Context { name, size, host_size: size, fields: fields.leak() }))
    }
}

const NOTHING: Pattern = Pattern([&[]; 4]);

/// An offset or size in a context, which is known to be small.
fn at(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// Every aligned part of a field.
fn parts(field: &PlainField) -> Pattern {
    Pattern([1, 2, 4, 8].map(|size| {
        let fits =
            |part: &usize| (field.offset + part).is_multiple_of(size) && part + size <= field.size;
        let places: Vec<u32> = (0..field.size).filter(fits).map(at).collect();
        &*places.leak()
    }))
}
