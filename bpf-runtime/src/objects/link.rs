//! Links: a program at a hook or on a function, until the link is dropped.

use std::sync::Arc;

use bpf_abi::errno::Errno;
use bpf_abi::id::{LinkId, ProgId};
use bpf_abi::prog::{AttachType, ProgType};
use bpf_btf::TypeId;

use crate::attach::HookObject;
use crate::error::Error;
use crate::objects::program::Program;

/// A program that is attached to a hook, or to a function of a program.
///
/// A cheap handle: clones are the same link. Dropping the last one detaches, unless the link is
/// pinned.
#[derive(Clone, Debug)]
#[must_use = "the program is detached when its link is dropped"]
pub struct Link {
    object: Arc<LinkObject>,
}

/// What the handles of a link share.
#[derive(Debug)]
pub(crate) struct LinkObject {
    pub(crate) id: LinkId,
    pub(crate) place: At,
    pub(crate) program: Program,
}

/// What a link is on.
#[derive(Debug)]
pub(crate) enum At {
    Hook(Arc<HookObject>),
    Function(Box<OnFunction>),
}

/// A function of a program, which is kept, and what is attached to it.
#[derive(Debug)]
pub(crate) struct OnFunction {
    pub(crate) target: Program,
    pub(crate) function: TypeId,
    pub(crate) name: String,
    pub(crate) _attachment: bpf_trampoline::Attachment,
}

/// What is known of a link. Linux: `struct bpf_link_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its number.
    pub id: LinkId,
    /// The program.
    pub program: ProgId,
    /// What kind of link it is, as Linux numbers them: 2 on a function, 6 at an XDP hook, 11 at
    /// others.
    pub link_type: u32,
    /// The attach type of the program; of extensions, 0.
    pub attach_type: u32,
    /// The program and its function, if it is on one.
    pub target: Option<(ProgId, TypeId)>,
}

/// Linux: `BPF_LINK_TYPE_TRACING`, `BPF_LINK_TYPE_XDP`, `BPF_LINK_TYPE_TCX`.
const TRACING: u32 = 2;
const XDP: u32 = 6;
const TCX: u32 = 11;

impl Link {
    pub(crate) fn new(object: LinkObject) -> Self {
        Self { object: Arc::new(object) }
    }

    /// Its number.
    pub fn id(&self) -> LinkId {
        self.object.id
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.object.program
    }

    /// The name of the hook or the function.
    pub fn hook(&self) -> &str {
        match &self.object.place {
            At::Hook(hook) => hook.name(),
            At::Function(on) => &on.name,
        }
    }

    /// The program whose function it is on, if it is on one.
    pub fn target(&self) -> Option<&Program> {
        match &self.object.place {
            At::Hook(_) => None,
            At::Function(on) => Some(&on.target),
        }
    }

    /// What is known of it.
    pub fn info(&self) -> LinkInfo {
        let program = self.program();
        let attach_type = program.spec().expected_attach_type.map_or(0, AttachType::number);
        let (link_type, target) = match &self.object.place {
            At::Hook(_) if program.prog_type() == ProgType::Xdp => (XDP, None),
            At::Hook(_) => (TCX, None),
            At::Function(on) => (TRACING, Some((on.target.id(), on.function))),
        };
        LinkInfo { id: self.id(), program: program.id(), link_type, attach_type, target }
    }

    /// Lets go of this handle. The program is detached when the last one goes.
    pub fn detach(self) {
        drop(self);
    }

    /// Detaches the program though the link stays. Linux: `BPF_LINK_DETACH`.
    ///
    /// # Errors
    ///
    /// Returns an error for links on functions, which cannot be detached so, as in Linux.
    pub fn force_detach(&self) -> Result<(), Error> {
        match &self.object.place {
            At::Hook(hook) => {
                hook.remove(self.id());
                Ok(())
            }
            At::Function(_) => Err(self.cannot("be detached by force", Errno::EOPNOTSUPP)),
        }
    }

    /// Attaches another program in the place of this link's. Linux: `BPF_LINK_UPDATE`.
    ///
    /// # Errors
    ///
    /// Returns an error for links on functions, whose program cannot be exchanged, as in Linux;
    /// and for programs of another type.
    pub fn update(&self, program: &Program) -> Result<(), Error> {
        match &self.object.place {
            At::Hook(hook) if program.prog_type() == self.program().prog_type() => {
                hook.replace(self.id(), program);
                Ok(())
            }
            At::Hook(_) => Err(self.cannot("take a program of another type", Errno::EINVAL)),
            At::Function(_) => Err(self.cannot("be given another program", Errno::EINVAL)),
        }
    }

    /// Keeps the link, under this name, though its handles may go.
    ///
    /// # Errors
    ///
    /// Returns an error if something is pinned under the name.
    pub fn pin(&self, name: &str) -> Result<(), Error> {
        let shared = &self.program().runtime.shared;
        if shared.registry.pin(name, self) {
            return Ok(());
        }
        Err(Error::Pinned { name: name.to_owned() })
    }

    fn cannot(&self, what: &'static str, errno: Errno) -> Error {
        Error::Link { hook: self.hook().to_owned(), what, errno }
    }
}

impl Drop for LinkObject {
    fn drop(&mut self) {
        match &self.place {
            At::Hook(hook) => hook.remove(self.id),
            At::Function(_) => {}
        }
    }
}
