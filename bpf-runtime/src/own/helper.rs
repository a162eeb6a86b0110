//! Helpers of the host: safe functions, called by programs.
#![expect(unsafe_code, reason = "takes what programs pass")]

use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, RunCx};
use bpf_abi::helper::ArgProto;
use smallvec::SmallVec;

pub(super) use sealed::Code;
use sealed::Passed;

use crate::helpers::args::{Arg, Cx, MemIn, Registers, SizeOrZero};

/// The functions that engines call: one a helper, by its place.
pub(super) const ENTRIES: [HelperFn; 16] = [
    enter::<0>,
    enter::<1>,
    enter::<2>,
    enter::<3>,
    enter::<4>,
    enter::<5>,
    enter::<6>,
    enter::<7>,
    enter::<8>,
    enter::<9>,
    enter::<10>,
    enter::<11>,
    enter::<12>,
    enter::<13>,
    enter::<14>,
    enter::<15>,
];

/// Calls the host's helper at place `AT`.
///
/// # Safety
///
/// `run` must be that of the calling run, whose `env` is the runtime's, and the
/// registers must hold what the helper's contract demands.
unsafe extern "C" fn enter<const AT: usize>(
    run: *mut RunCx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    // SAFETY: [run-env] the caller's promise.
    let cx = unsafe { Cx::of(run) };
    let env = cx.env();
    let Some(own) = &env.own else { return Errno::EINVAL.to_register() };
    let result = env.panic.call(|| own.call(AT, [r1, r2, r3, r4, r5]));
    result.map_or(0, |result| result.unwrap_or_else(|| Errno::EINVAL.to_register()))
}

/// Bytes that a program hands to a helper of the host: a pointer and a length, two of its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(SmallVec<[u8; 128]>);

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// What a helper of the host can take: integers, and [`Bytes`].
pub trait HostArg: Sized + sealed::Take {}

/// What a helper of the host can return: integers, or nothing.
pub trait HostRet {
    /// As a program finds it in R0.
    fn into_register(self) -> u64;
}

impl HostRet for () {
    fn into_register(self) -> u64 {
        0
    }
}

/// Integers, as registers hold them.
macro_rules! integers {
    ($($Int:ty => |$value:ident| $register:expr;)+) => { $(
        impl HostRet for $Int {
            fn into_register(self) -> u64 {
                let $value = self;
                $register
            }
        }

        impl HostArg for $Int {}

        impl sealed::Take for $Int {
            fn protos() -> Vec<ArgProto> {
                vec![<Self as Arg<'static>>::PROTO]
            }

            unsafe fn take(passed: &mut Passed) -> Self {
                // SAFETY: [helper-args] the contract demands nothing of it.
                unsafe { <Self as Arg<'_>>::read(&mut passed.0) }
            }
        }
    )+ };
}

integers! {
    u64 => |value| value;
    i64 => |value| value.cast_unsigned();
    u32 => |value| u64::from(value);
    i32 => |value| i64::from(value).cast_unsigned();
}

impl HostArg for Bytes {}

impl sealed::Take for Bytes {
    fn protos() -> Vec<ArgProto> {
        vec![<MemIn<'static> as Arg<'static>>::PROTO, <SizeOrZero as Arg<'static>>::PROTO]
    }

    unsafe fn take(passed: &mut Passed) -> Self {
        // SAFETY: [helper-args] the contract that `protos` makes demands memory here.
        let memory = unsafe { MemIn::read(&mut passed.0) };
        let bytes = Self(memory.copy());
        // SAFETY: [helper-args] and its size here.
        let SizeOrZero = unsafe { SizeOrZero::read(&mut passed.0) };
        bytes
    }
}

mod sealed {
    //! What others use without being able to name it.
    #![expect(unnameable_types, reason = "nobody else is to implement or make these")]

    use std::fmt;

    use bpf_abi::helper::ArgProto;

    use crate::helpers::args::Registers;

    /// What a program passes.
    #[derive(Debug)]
    pub struct Passed(pub(in crate::own) Registers<'static>);

    /// A helper's code, whatever it takes: from R1 to R5 to R0.
    pub struct Code(pub(in crate::own) Box<dyn Fn([u64; 5]) -> u64 + Send + Sync>);

    impl fmt::Debug for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Code")
        }
    }

    /// Reads itself out of registers.
    pub trait Take {
        /// What the verifier demands.
        fn protos() -> Vec<ArgProto>;

        /// Takes it.
        ///
        /// # Safety
        ///
        /// The registers must hold what [`protos`](Self::protos) says.
        unsafe fn take(passed: &mut Passed) -> Self;
    }
}

/// A function of the host that programs can call: a closure of up to five arguments, of types that
/// are a [`HostArg`], and a result that is a [`HostRet`].
pub trait HostHelper<A>: Send + Sync + 'static {
    /// Its contract, and its code.
    #[doc(hidden)]
    fn erase(self) -> (Vec<ArgProto>, Code);
}

/// Implements [`HostHelper`] for closures.
macro_rules! closures {
    ($( ($($A:ident)*) )+) => { $(
        impl<F, R: HostRet, $($A: HostArg),*> HostHelper<($($A,)*)> for F
        where
            F: Fn($($A),*) -> R + Send + Sync + 'static,
        {
            fn erase(self) -> (Vec<ArgProto>, Code) {
                let protos: Vec<Vec<ArgProto>> = vec![$( <$A as sealed::Take>::protos() ),*];
                let code = move |values: [u64; 5]| {
                    let mut registers = Passed(Registers::new(values));
                    let _ = &mut registers;
                    self($({
                        // SAFETY: [helper-args] the verifier held the program to the contract that
                        // is made of these very types, in this order.
                        unsafe { <$A as sealed::Take>::take(&mut registers) }
                    }),*).into_register()
                };
                (protos.concat(), Code(Box::new(code)))
            }
        }
    )+ };
}

closures! { () (A) (A B) (A B C) (A B C D) (A B C D E) }
