//! Calling programs of the host's own types.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::TypeObject;
use crate::enter;
use crate::env::{Env, Place};
use crate::error::Error;
use crate::helpers::args::low;
use crate::memory::Memory;
use crate::objects::program::Program;
use crate::plain::Plain;

/// A loaded program of a type of the host's own.
///
/// A cheap handle: clones are the same program. Any number of threads may call it at once.
pub struct OwnProgram<T> {
    program: Program,
    ty: Arc<TypeObject>,
    context: PhantomData<fn(&mut T)>,
}

impl<T> Clone for OwnProgram<T> {
    fn clone(&self) -> Self {
        let (program, ty) = (self.program.clone(), Arc::clone(&self.ty));
        Self { program, ty, context: PhantomData }
    }
}

impl<T> fmt::Debug for OwnProgram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnProgram").field(&self.program).finish()
    }
}

impl<T: Plain> OwnProgram<T> {
    pub(super) const fn new(program: Program, ty: Arc<TypeObject>) -> Self {
        Self { program, ty, context: PhantomData }
    }

    /// The program, without its type.
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// Calls the program; it may change what the type lets it. Returns its result.
    ///
    /// Room for the context is made each time: whoever calls often takes a
    /// [`caller`](Self::caller).
    ///
    /// # Errors
    ///
    /// Returns an error if the program does what no verified program can do.
    ///
    /// # Panics
    ///
    /// Panics if a helper of the host did.
    pub fn call(&self, context: &mut T) -> Result<u32, Error> {
        self.caller().call(context)
    }

    /// Room for one thread to call the program again and again.
    pub fn caller(&self) -> Caller<T> {
        let shared = Arc::clone(&self.program.runtime.shared);
        let mut env = Box::new(Env::new(shared, Place::Bytes(Memory::new(T::SIZE))));
        env.own = Some(Arc::clone(&self.ty));
        let bytes = vec![0; T::SIZE].into();
        Caller { program: self.program.clone(), env, bytes, context: PhantomData }
    }
}

/// Calls one program again and again.
#[derive(Debug)]
pub struct Caller<T> {
    program: Program,
    env: Box<Env>,
    /// The context, on its way to the program and back.
    bytes: Box<[u8]>,
    context: PhantomData<fn(&mut T)>,
}

impl<T: Plain> Caller<T> {
    /// Calls the program, as [`OwnProgram::call`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if the program does what no verified program can do.
    ///
    /// # Panics
    ///
    /// Panics if a helper of the host did.
    #[inline]
    pub fn call(&mut self, context: &mut T) -> Result<u32, Error> {
        let Place::Bytes(memory) = &self.env.place else { return Ok(0) };
        context.store(&mut self.bytes);
        let _ = memory.write(0, &self.bytes);
        let on = self.program.runtime.shared.cpus.enter();
        let outcome = enter::run(self.program.object.running(), &mut self.env, &on);
        drop(on);
        let outcome = outcome.map_err(|fault| self.program.stopped(fault))?;
        if let Place::Bytes(memory) = &self.env.place {
            let _ = memory.read(0, &mut self.bytes);
        }
        *context = T::load(&self.bytes);
        Ok(low(outcome.r0))
    }
}
