//! Attaching to functions of programs: extensions and probes.

use bpf_abi::errno::Errno;
use bpf_btf::TypeId;

use crate::error::Error;
use crate::objects::link::Link;
use crate::objects::program::Program;

impl Program {
    /// Attaches the extension or probe to what it was loaded for.
    ///
    /// What it was loaded for is used up by the first link, whatever that is on: later ones name
    /// their target, which only extensions can.
    ///
    /// # Errors
    ///
    /// Returns an error if the program is of another type, if what it was loaded for is used up,
    /// or if something is attached there that does not bear company.
    pub fn attach(&self) -> Result<Link, Error> {
        self.link(None)
    }

    /// Attaches the extension to a function of another program that it fits too.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach), and if it does not fit.
    pub fn attach_to(&self, target: &Self, function: &str) -> Result<Link, Error> {
        let id = target.object.facts.function_id(function);
        let id = id.ok_or_else(|| self.refused("there is no such function", Errno::EINVAL))?;
        self.link(Some((target, id)))
    }

    /// Attaches the extension or probe, to a program and a type of its types or to what it was
    /// loaded for. Linux: `BPF_LINK_CREATE`.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach) and [`attach_to`](Self::attach_to).
    pub fn link(&self, target: Option<(&Self, TypeId)>) -> Result<Link, Error> {
        let _ = target;
        Err(self.refused("not supported", Errno::ENOTSUPP))
    }

    fn refused(&self, reason: &str, errno: Errno) -> Error {
        Error::Attach { program: self.name().to_owned(), reason: reason.to_owned(), errno }
    }
}
