//! Hooks: where programs are attached and called in order.

pub(crate) mod function;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpf_abi::id::LinkId;
use bpf_abi::prog::ProgType;

use crate::error::Error;
use crate::objects::link::{At, Link, LinkObject};
use crate::objects::program::Program;
use crate::packet::ContextKind;
use crate::run::Packet;
use crate::runtime::Runtime;

/// A named place where packets pass and programs judge them: an XDP or tc hook of the embedder.
///
/// Programs run in the order in which they were attached. A cheap handle: clones are the same
/// hook.
#[derive(Clone, Debug)]
pub struct Hook {
    object: Arc<HookObject>,
    runtime: Runtime,
}

/// What the handles of a hook and its links share.
#[derive(Debug)]
pub(crate) struct HookObject {
    name: String,
    prog_type: ProgType,
    programs: Mutex<Arc<[(LinkId, Program)]>>,
}

/// What programs say of a packet that may pass. Linux: `XDP_PASS`.
const XDP_PASS: u32 = 2;
/// What classifiers say of a packet that the next program is to look at. Linux: `TCX_NEXT`.
const TCX_NEXT: u32 = u32::MAX;

impl HookObject {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn lock(&self) -> MutexGuard<'_, Arc<[(LinkId, Program)]>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(LinkId, Program)>)) {
        let mut programs = self.lock();
        let mut list = programs.to_vec();
        change(&mut list);
        let old = std::mem::replace(&mut *programs, list.into());
        drop(programs);
        drop(old);
    }

    /// Has another program in the place of what this link attached.
    pub(crate) fn replace(&self, link: LinkId, program: &Program) {
        self.change(|list| {
            let place = list.iter_mut().find(|(id, _)| *id == link);
            if let Some((_, there)) = place {
                *there = program.clone();
            }
        });
    }

    /// Lets go of what this link attached.
    pub(crate) fn remove(&self, link: LinkId) {
        self.change(|list| list.retain(|(id, _)| *id != link));
    }
}

impl Runtime {
    /// A hook for programs of this type: XDP, or one that looks at packets of the network stack.
    ///
    /// # Errors
    ///
    /// Returns an error for program types that are not called with packets.
    pub fn hook(&self, name: &str, prog_type: ProgType) -> Result<Hook, Error> {
        match ContextKind::of(prog_type) {
            ContextKind::Xdp | ContextKind::SkbFromL2 | ContextKind::SkbFromL3 => {}
            ContextKind::RawTracepoint | ContextKind::Syscall | ContextKind::Hook => {
                return Err(Error::Unsupported(format!("a hook for programs of type {prog_type}")));
            }
        }
        let object =
            HookObject { name: name.to_owned(), prog_type, programs: Mutex::new(Arc::new([])) };
        Ok(Hook { object: Arc::new(object), runtime: self.clone() })
    }
}

impl Hook {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.name
    }

    /// Attaches a program behind those that are attached.
    ///
    /// # Errors
    ///
    /// Returns an error if the program is of another type than the hook.
    pub fn attach(&self, program: &Program) -> Result<Link, Error> {
        if program.prog_type() != self.object.prog_type {
            return Err(Error::WrongHook {
                hook: self.object.name.clone(),
                wanted: self.object.prog_type,
                program: program.name().to_owned(),
                prog_type: program.prog_type(),
            });
        }
        let id = self.runtime.shared.registry.next_link();
        self.object.change(|list| list.push((id, program.clone())));
        Ok(Link::new(LinkObject {
            id,
            program: program.clone(),
            place: At::Hook(Arc::clone(&self.object)),
        }))
    }

    /// The type of the programs that it takes.
    pub fn prog_type(&self) -> ProgType {
        self.object.prog_type
    }

    /// A packet for its programs.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are too short for the headers that they must have.
    pub fn packet(&self, bytes: &[u8]) -> Result<Packet, Error> {
        let mut packet = Packet::new(&self.runtime, self.object.prog_type)?;
        packet.set(bytes)?;
        Ok(packet)
    }

    /// How many programs are attached.
    pub fn len(&self) -> usize {
        self.object.lock().len()
    }

    /// Whether no program is attached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands a packet to the attached programs, one after the other, until one does not pass it
    /// on; returns the last verdict. Without programs, packets pass.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is for programs of another type.
    pub fn run(&self, packet: &mut Packet) -> Result<u32, Error> {
        let programs = Arc::clone(&self.object.lock());
        let (pass, next) = if self.object.prog_type == ProgType::Xdp {
            (XDP_PASS, XDP_PASS)
        } else {
            (0, TCX_NEXT)
        };
        let mut verdict = pass;
        for (_, program) in programs.iter() {
            verdict = program.run(packet)?;
            if verdict != next {
                return Ok(verdict);
            }
        }
        Ok(if verdict == next { pass } else { verdict })
    }
}
