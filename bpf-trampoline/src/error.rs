//! Why something could not be attached.

use bpf_abi::Errno;
use thiserror::Error;

/// Why something may not be attached: a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Something else is attached that does not bear company.
    #[error("the function is replaced or probed already")]
    Occupied,
    /// This very program is attached already.
    #[error("the program is attached to the function already")]
    Attached,
    /// As many probes as there may be are attached.
    #[error("the function has as many probes as it may have")]
    TooMany,
    /// What was to be detached is not attached.
    #[error("not attached")]
    NotAttached,
    /// The program is in a program array, so no function of it may be replaced.
    #[error("the program is in a program array")]
    InProgArray,
    /// A function of the program is replaced, so it may not be in a program array.
    #[error("a function of the program is replaced")]
    Extended,
}

impl Refusal {
    /// The error number `bpf(2)` returns for it.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Occupied | Self::Attached | Self::InProgArray | Self::Extended => Errno::EBUSY,
            Self::TooMany => Errno::E2BIG,
            Self::NotAttached => Errno::ENOENT,
        }
    }
}

/// A thunk could not be made.
#[derive(Debug, Error)]
#[error("no thunk could be made for the probes")]
pub struct ThunkError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why something was not attached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// A rule forbids it.
    #[error("it may not be attached")]
    Refused(#[source] Refusal),
    /// The code that runs the probes could not be made.
    #[error("it could not be attached")]
    Thunk(#[source] ThunkError),
    /// The slot cannot jump that far.
    #[error("the code at {to:#x} is out of reach of the function at {from:#x}")]
    OutOfReach {
        /// The function.
        from: u64,
        /// What it was to jump to.
        to: u64,
    },
}

impl AttachError {
    /// The error number `bpf(2)` returns for it.
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Refused(refusal) => refusal.errno(),
            Self::Thunk(_) => Errno::ENOMEM,
            Self::OutOfReach { .. } => Errno::ERANGE,
        }
    }
}

impl From<Refusal> for AttachError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ThunkError> for AttachError {
    fn from(error: ThunkError) -> Self {
        Self::Thunk(error)
    }
}
