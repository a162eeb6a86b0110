//! How compiled code calls and is called.
//!
//! | what | convention | arguments |
//! |---|---|---|
//! | body of a function | `Tail` | as many of R1 to R5 as it takes, then the run if it wants it |
//! | body of the main function | `Tail`, or C | the context, the run |
//! | helper, [`HelperFn`](bpf_abi::exec::HelperFn) | C | the run, R1 to R5 |
//! | address of a function, as programs see it | C | the run, R1 to R5 |
//!
//! All programs share one prologue, [`enter`]: it saves what C wants saved and counts the tail
//! calls from zero. A tail call empties a body's frame and jumps into the next program's body, past
//! the prologue and past where that body sets up its frame pointer: the caller's frame pointer, which
//! lies where it points, is for the next body to restore. What is kept so need not be read back and
//! written again, which takes the processor as long as the rest of a tail call three times over.
//! The count is in r15 and nowhere else, so calls between functions share it by themselves, and
//! every body may assume that it alone changes it. It is counted up to zero, which is compared in
//! fewer bytes: see [`NO_TAIL_CALLS`].
//!
//! The prologue has saved all registers that C wants kept, so main functions that take tail calls
//! save none ([`saves`](crate::saves)): what is neither saved nor restored makes most tail calls fit
//! into one line of the processor's cache. A function that tail-calls returns as such a main function
//! does, so who calls it expects nothing to be kept; and so does the code that calls an extension that
//! takes tail calls, which stands where a function is expected that keeps its caller's registers.
//!
//! A program that takes no tail calls needs none of that: its main function is a C function, which
//! saves what it changes and nothing else. It may still be jumped to by a tail call.

#![expect(unsafe_code, reason = "the jumps into compiled code")]

use bpf_abi::exec::{NativeArgs, NativeFn, RunCx};
use bpf_abi::limits::MAX_TAIL_CALLS;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, Signature, UserExternalName};
use cranelift_codegen::isa::CallConv;

use crate::layout::Function;
use crate::symbol::Symbol;

/// What a name in generated code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A function of the program: its entry slot.
    Function(u32),
    /// The address of a function, as programs see it.
    Callback(u32),
    /// A helper, by its place among the image's helpers.
    Helper(u32),
    /// Something that code has the address of.
    Data(Symbol),
}

impl Name {
    /// As Cranelift knows it.
    pub(crate) const fn external(self) -> UserExternalName {
        match self {
            Self::Function(index) => UserExternalName { namespace: 0, index },
            Self::Callback(index) => UserExternalName { namespace: 1, index },
            Self::Helper(index) => UserExternalName { namespace: 2, index },
            Self::Data(symbol) => symbol.external(),
        }
    }

    /// What Cranelift's name stands for; `None` if it is none of these.
    pub(crate) fn of(name: &UserExternalName) -> Option<Self> {
        match name.namespace {
            0 => Some(Self::Function(name.index)),
            1 => Some(Self::Callback(name.index)),
            2 => Some(Self::Helper(name.index)),
            _ => Symbol::of(name).map(Self::Data),
        }
    }
}

fn signature(convention: CallConv, params: usize) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.resize(params, AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    signature
}

/// The signature of a function's body.
pub(crate) fn body(function: &Function) -> Signature {
    let convention = if function.is_c { CallConv::SystemV } else { CallConv::Tail };
    signature(convention, usize::from(function.arity) + usize::from(function.wants_cx))
}

/// The signature of a function's body as functions of the program call it.
///
/// Of what keeps no register, that of the one convention that promises none and is otherwise the
/// same: the arguments and the result are where `Tail` has them.
pub(crate) fn called_body(function: &Function) -> Signature {
    let mut signature = body(function);
    if function.keeps_nothing {
        signature.call_conv = CallConv::Winch;
    }
    signature
}

/// What r15 holds when no tail call has been taken; it holds 0 when no more may be.
pub(crate) const NO_TAIL_CALLS: i8 = {
    assert!(MAX_TAIL_CALLS < 128, "it fits into a signed byte");
    -MAX_TAIL_CALLS.to_le_bytes()[0].cast_signed()
};

/// The signature of the main functions that tail calls jump to. C's is the same but for what is
/// saved, and who jumps has nothing left to be saved.
pub(crate) fn main_body() -> Signature {
    signature(CallConv::Tail, 2)
}

/// The signature of a helper that takes so many arguments.
pub(crate) fn helper(args: u8) -> Signature {
    signature(CallConv::SystemV, 1 + usize::from(args))
}

/// The signature of a function as helpers call it.
pub(crate) fn callback() -> Signature {
    signature(CallConv::SystemV, 6)
}

/// The prologue that all programs share: enters `body` with `ctx` and `cx`, and returns its R0.
///
/// ```text
///   rdi ctx   rsi cx   rdx body        as C passes them and `Tail` wants them
/// ```
///
/// The frame holds what C wants kept and the run, in which it leaves the count of tail calls.
///
/// # Safety
///
/// `body` is the body of a main function, and running it with `ctx` and `cx` is what its image's
/// voucher had in mind: `[verified-memory]`, `[code-outlives-calls]`.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(ctx: u64, cx: *mut RunCx, body: u64) -> u64 {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push r15",
        "push r14",
        "push r13",
        "push r12",
        "push rbx",
        "push rsi",
        "mov r15, {none}",
        "call rdx",
        "pop rsi",
        "sub r15, {none}",
        "mov [rsi + {tail_calls}], r15d",
        "pop rbx",
        "pop r12",
        "pop r13",
        "pop r14",
        "pop r15",
        "pop rbp",
        "ret",
        none = const NO_TAIL_CALLS,
        tail_calls = const RunCx::TAIL_CALLS_OFFSET,
    )
}

/// How the interpreter goes on in compiled code: what [`RunCx::native`] is to be.
pub const NATIVE: Option<NativeFn> = Some(go_on);

/// Goes on in compiled code, whose helpers call functions of compiled code.
///
/// # Safety
///
/// As of [`enter_counting`].
unsafe extern "C" fn go_on(cx: *mut RunCx, args: *const NativeArgs, address: u64) -> u64 {
    // SAFETY: [run-context] by the caller: the run waits.
    let kept = unsafe { (*cx).callback.replace(call_back) };
    // SAFETY: [prog-entry] by the caller.
    let result = unsafe { enter_counting(cx, args, address) };
    // SAFETY: [run-context] by the caller.
    unsafe {
        (*cx).callback = kept;
    }
    result
}

/// The prologue for those who have taken tail calls before: it counts on.
///
/// # Safety
///
/// `[prog-entry]`: `address` is that of a body, or of the slot before it, which is kept as long as
/// this runs; `[run-context]`: the arguments are what it takes, and `cx` is the run's.
#[unsafe(naked)]
unsafe extern "C" fn enter_counting(cx: *mut RunCx, args: *const NativeArgs, address: u64) -> u64 {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push r15",
        "push r14",
        "push r13",
        "push r12",
        "push rbx",
        "push rdi",
        "mov r15d, [rdi + {tail_calls}]",
        "add r15, {none}",
        "mov rax, rdx",
        "mov r10, rsi",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov rcx, [r10 + 24]",
        "mov r8, [r10 + 32]",
        "mov r9, [r10 + 40]",
        "call rax",
        "pop rsi",
        "sub r15, {none}",
        "mov [rsi + {tail_calls}], r15d",
        "pop rbx",
        "pop r12",
        "pop r13",
        "pop r14",
        "pop r15",
        "pop rbp",
        "ret",
        none = const NO_TAIL_CALLS,
        tail_calls = const RunCx::TAIL_CALLS_OFFSET,
    )
}

/// Enters the body of a main function that is a C function.
///
/// # Safety
///
/// As for [`enter`]; and `body` is such a body, not a slot.
#[inline]
pub(crate) unsafe fn enter_directly(ctx: u64, cx: *mut RunCx, body: u64) -> u64 {
    let body = std::ptr::with_exposed_provenance::<()>(address(body));
    // SAFETY: [code-outlives-calls] the number is the address of a function of this very type.
    let body = unsafe {
        std::mem::transmute::<*const (), unsafe extern "C" fn(u64, *mut RunCx) -> u64>(body)
    };
    // SAFETY: [verified-memory] by the caller.
    unsafe { body(ctx, cx) }
}

/// How helpers call a function of the running program: see
/// [`RunCx::callback`](bpf_abi::exec::RunCx::callback).
///
/// # Safety
///
/// `function` is what a program of this crate passed as the address of one of its functions, the
/// program is running, and the arguments are what the helper's contract says.
pub(crate) unsafe extern "C" fn call_back(
    cx: *mut RunCx,
    function: u64,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    let function = std::ptr::with_exposed_provenance::<()>(address(function));
    // SAFETY: [callback-address] the number is the address of a function of this very type.
    let function = unsafe {
        std::mem::transmute::<
            *const (),
            unsafe extern "C" fn(*mut RunCx, u64, u64, u64, u64, u64) -> u64,
        >(function)
    };
    // SAFETY: [callback-address] the helper keeps its contract.
    unsafe { function(cx, r1, r2, r3, r4, r5) }
}

/// A register's number as an address.
#[inline]
fn address(number: u64) -> usize {
    usize::try_from(number).expect("this target's addresses have 64 bits")
}
