//! Links: a program at a hook, until the link is dropped.

use std::sync::Arc;

use bpf_abi::id::LinkId;

use crate::attach::HookObject;
use crate::objects::program::Program;

/// A program that is attached to a hook. Dropping the link detaches it.
#[derive(Debug)]
#[must_use = "the program is detached when its link is dropped"]
pub struct Link {
    pub(crate) id: LinkId,
    pub(crate) hook: Arc<HookObject>,
    pub(crate) program: Program,
}

impl Link {
    /// Its number.
    pub const fn id(&self) -> LinkId {
        self.id
    }

    /// The program.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The name of the hook.
    pub fn hook(&self) -> &str {
        self.hook.name()
    }

    /// Detaches the program.
    pub fn detach(self) {
        drop(self);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hook.remove(self.id);
    }
}
