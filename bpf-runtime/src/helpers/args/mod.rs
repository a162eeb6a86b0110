//! What may cross the border between programs and helpers, and where contracts come from.
//!
//! Each type that a helper takes says in its [`Arg::PROTO`] what the verifier must demand of
//! the register, and reads itself out of the register on the strength of that demand. So a
//! helper's contract is the list of its parameters' types, and cannot drift from its code.
#![expect(unsafe_code, reason = "turns registers into arguments")]

mod bytes;
pub(crate) mod dynptr;
pub(crate) mod iter;
pub(crate) mod number;
pub(crate) mod sock;
pub(crate) mod object;
pub(crate) mod later;

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use bpf_abi::errno::Errno;
use bpf_abi::exec::{HelperFn, ProbeArgs, RunCx};
use bpf_abi::helper::{ArgKind, ArgProto, RetKind, RetProto, TypeFlags};
use bpf_maps::types::ringbuf::RingBuf;
use bpf_maps::{CpuId, Map, MapHandle};
use smallvec::SmallVec;

pub(crate) use self::bytes::with_room;
use self::bytes::{byte_at, copied, copy_in, copy_out, terminated, word_at};
use crate::env::Env;

/// What a helper finds besides its arguments: the run it is part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cx<'a> {
    run: NonNull<RunCx>,
    env: &'a Env,
}

impl<'a> Cx<'a> {
    /// What a helper that was called with `run` finds.
    ///
    /// # Safety
    ///
    /// `[run-env]`: `run` is that of the run that is calling the helper, its `env` is an [`Env`], and
    /// it lies on the stack of this thread.
    #[inline]
    pub(crate) unsafe fn of(run: *mut RunCx) -> Self {
        // SAFETY: [run-env] an engine passes the run that it was entered with, which is a place.
        let run = unsafe { NonNull::new_unchecked(run) };
        // SAFETY: [run-env] as above.
        let env = unsafe { (*run.as_ptr()).env }.cast::<Env>();
        // SAFETY: [run-env] `env` is the environment of this run, which outlives the call, and
        // nobody holds a mutable reference to it while its program runs.
        Self { run, env: unsafe { &*env } }
    }

    /// The virtual CPU the run is on.
    pub(crate) fn cpu(&self) -> u32 {
        // SAFETY: [run-env] `run` is that of the run that is calling this helper.
        unsafe { (*self.run.as_ptr()).cpu }
    }

    /// Where the program runs: its packet, its runtime.
    pub(crate) const fn env(&self) -> &'a Env {
        self.env
    }

    /// Copies bytes of the program's stack, if they lie between this function and the run.
    pub(crate) fn stack(&self, at: u64, out: &mut [u8]) -> Option<()> {
        let here = 0_u8;
        let bottom = std::ptr::from_ref(&here).expose_provenance() as u64;
        let top = self.run.as_ptr().expose_provenance() as u64;
        let end = at.checked_add(out.len() as u64)?;
        if at < bottom || end > top {
            return None;
        }
        // SAFETY: [run-env] the run lies on the stack of this thread, above whatever it calls, so
        // that all between it and here is there.
        unsafe { copy_in(at, out) };
        Some(())
    }

    /// Calls a function of the running program.
    pub(crate) fn call(&self, function: Func, args: [u64; 4]) -> Result<u64, Errno> {
        // SAFETY: [run-env] `run` is that of the run that is calling this helper.
        let callback = unsafe { (*self.run.as_ptr()).callback };
        let callback = callback.ok_or(Errno::EOPNOTSUPP)?;
        let [r1, r2, r3, r4] = args;
        // SAFETY: [helper-args] the verifier held the program to a function that may be called
        // with what this helper's contract gives it, and `run` is the engine's own.
        Ok(unsafe { callback(self.run.as_ptr(), function.0, r1, r2, r3, r4, 0) })
    }
}

/// A helper's code, apart from how it is called.
pub(crate) trait Body {
    /// Its parameters, as a tuple.
    type Args<'a>: Args<'a>;
    /// Its result.
    type Ret: Ret;

    /// Does what the helper does.
    fn call<'a>(cx: Cx<'a>, args: Self::Args<'a>) -> Self::Ret;
}

/// The function that engines call for a helper.
pub(crate) const fn entry<B: Body>() -> HelperFn {
    enter::<B>
}

/// Reads the arguments, calls the helper, gives back its result.
///
/// # Safety
///
/// `run` must be that of the calling run, whose `env` is an [`Env`] of this crate, and the
/// registers must hold what `B`'s contract demands.
unsafe extern "C" fn enter<B: Body>(
    run: *mut RunCx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    // SAFETY: [run-env] the caller's promise.
    let cx = unsafe { Cx::of(run) };
    let mut registers = Registers::new([r1, r2, r3, r4, r5]);
    // SAFETY: [helper-args] the verifier held the program to the contract that is read off
    // these very types.
    let args = unsafe { B::Args::read(&mut registers) };
    B::call(cx, args).into_register()
}

/// Arguments that are still to be read.
#[derive(Debug)]
pub(crate) struct Registers<'a> {
    registers: [u64; 5],
    next: usize,
    /// The map among the arguments before this one.
    map: Option<&'a MapHandle>,
}

impl Registers<'_> {
    /// R1 to R5.
    pub(crate) const fn new(registers: [u64; 5]) -> Self {
        Self { registers, next: 0, map: None }
    }

    /// Takes the next register.
    fn take(&mut self) -> u64 {
        let value = self.peek();
        self.next += 1;
        value
    }

    /// The next register, which stays.
    fn peek(&self) -> u64 {
        self.registers.get(self.next).copied().unwrap_or(0)
    }

    /// Takes an address, and looks at the length in the register behind it.
    fn sized(&mut self) -> (u64, usize) {
        let address = self.take();
        let len = low(self.peek()) as usize;
        (address, if address == 0 { 0 } else { len })
    }
}

/// A type that a helper can take.
pub(crate) trait Arg<'a>: Sized {
    /// What the verifier demands of the register.
    const PROTO: ArgProto;
    /// Whether it demands anything: [`Unchecked`] arguments are not in the contract.
    const IS_CHECKED: bool = true;

    /// Reads it.
    ///
    /// # Safety
    ///
    /// The register must hold what [`PROTO`](Self::PROTO) says.
    unsafe fn read(registers: &mut Registers<'a>) -> Self;
}

/// All that a helper takes.
pub(crate) trait Args<'a>: Sized {
    /// What the verifier demands of the registers.
    const PROTOS: &'static [ArgProto];

    /// Reads them.
    ///
    /// # Safety
    ///
    /// The registers must hold what [`PROTOS`](Self::PROTOS) says.
    unsafe fn read(registers: &mut Registers<'a>) -> Self;
}

/// Implements [`Args`] for tuples.
macro_rules! tuples {
    ($( ($($A:ident)*) )+) => { $(
        impl<'a, $($A: Arg<'a>),*> Args<'a> for ($($A,)*) {
            const PROTOS: &'static [ArgProto] = {
                let all: &'static [ArgProto] = &[$( $A::PROTO ),*];
                all.split_at(0 $( + $A::IS_CHECKED as usize )*).0
            };

            unsafe fn read(registers: &mut Registers<'a>) -> Self {
                ($(
                    // SAFETY: [helper-args] the caller's promise, one register each, in order.
                    unsafe { $A::read(registers) },
                )*)
            }
        }
    )+ };
}

impl<'a> Args<'a> for () {
    const PROTOS: &'static [ArgProto] = &[];

    unsafe fn read(_: &mut Registers<'a>) -> Self {}
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) }

const fn arg(kind: ArgKind, flags: TypeFlags) -> ArgProto {
    ArgProto { kind, flags, size: 0, btf: None }
}

/// The low half of a register.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(crate) const fn low(raw: u64) -> u32 {
    raw as u32
}

/// The context. Helpers find what it stands for in the [`Env`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ctx;

/// The context, or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CtxOrNull;

/// The arguments of the function that a probe is on: the probe's context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FuncArgs<'a> {
    address: u64,
    borrowed: PhantomData<&'a ()>,
}

impl FuncArgs<'_> {
    fn header(&self) -> ProbeArgs {
        ProbeArgs::of_header(self.word(self.address.wrapping_sub(ProbeArgs::HEADER)))
    }

    fn word(&self, address: u64) -> u64 {
        let word = std::ptr::with_exposed_provenance::<u64>(address_of(address));
        // SAFETY: [helper-args] it is the context of a probe, which lies among words that whoever
        // runs probes has made; the header was asked for how many there are.
        unsafe { word.read() }
    }

    /// How many arguments there are.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.header().count)
    }

    /// One of them.
    pub(crate) fn argument(&self, number: u32) -> Option<u64> {
        let is_there = u64::from(number) < self.count();
        is_there.then(|| self.word(self.address + 8 * u64::from(number)))
    }

    /// What the function returned, once it has.
    pub(crate) fn result(&self) -> Option<u64> {
        let header = self.header();
        header.returned.then(|| self.word(self.address + 8 * u64::from(header.count)))
    }
}

impl<'a> Arg<'a> for FuncArgs<'a> {
    const PROTO: ArgProto = Ctx::PROTO;

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self { address: registers.take(), borrowed: PhantomData }
    }
}

/// A register's number as an address.
fn address_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// Whatever is in the register, behind the arguments of the contract. Linux: the arguments of
/// `bpf_trace_printk` behind the format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unchecked(pub(crate) u64);

impl<'a> Arg<'a> for Unchecked {
    const PROTO: ArgProto = arg(ArgKind::Anything, TypeFlags::empty());
    const IS_CHECKED: bool = false;

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self(registers.take())
    }
}

/// The size of the memory before it, not zero; [`MemIn`] and [`MemOut`] have it already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size;

/// The size of the memory before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeOrZero;

/// The size of the memory that the helper returns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllocSize(pub(crate) u64);

/// A function of the running program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Func(u64);

/// What a program hands to its own callback, unseen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallbackCx(pub(crate) u64);

/// A record that was reserved in a ring buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// The buffer.
    pub(crate) ring: &'a RingBuf,
    /// Where the record is.
    pub(crate) address: u64,
}

impl<'a> Arg<'a> for Record<'a> {
    const PROTO: ArgProto = arg(ArgKind::RingbufMem, TypeFlags::RELEASE);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let address = registers.take();
        // SAFETY: [ringbuf-record] the verifier held the program to a record that it reserved,
        // and the program keeps the map.
        Self { ring: unsafe { RingBuf::of_record(address) }, address }
    }
}

/// Defines arguments that are numbers or opaque addresses: type, contract, how they are read.
macro_rules! words {
    ($( $Type:ty, $kind:ident, $flags:expr, |$raw:ident| $read:expr; )+) => { $(
        impl<'a> Arg<'a> for $Type {
            const PROTO: ArgProto = arg(ArgKind::$kind, $flags);

            unsafe fn read(registers: &mut Registers<'a>) -> Self {
                let $raw = registers.take();
                $read
            }
        }
    )+ };
}

const PLAIN: TypeFlags = TypeFlags::empty();

words! {
    u64, Anything, PLAIN, |raw| raw;
    u32, Anything, PLAIN, |raw| low(raw);
    i32, Anything, PLAIN, |raw| low(raw).cast_signed();
    i64, Anything, PLAIN, |raw| raw.cast_signed();
    Ctx, Ctx, PLAIN, |_raw| Self;
    CtxOrNull, Ctx, TypeFlags::MAYBE_NULL, |_raw| Self;
    Size, ConstSize, PLAIN, |_raw| Self;
    SizeOrZero, ConstSizeOrZero, PLAIN, |_raw| Self;
    AllocSize, ConstAllocSizeOrZero, PLAIN, |raw| Self(raw);
    Func, Func, PLAIN, |raw| Self(raw);
    CallbackCx, Stack, TypeFlags::MAYBE_NULL, |raw| Self(raw);
}

/// A map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapRef<'a>(&'a MapHandle);

impl<'a> MapRef<'a> {
    /// What programs hold it by.
    pub(crate) const fn handle(self) -> &'a MapHandle {
        self.0
    }

    /// The map.
    pub(crate) fn map(self) -> &'a dyn Map {
        &**self.0.map()
    }

    /// What a register holds for it.
    pub(crate) fn register(self) -> u64 {
        std::ptr::from_ref(self.0).expose_provenance() as u64
    }

    /// The address of the value at a key, as a CPU sees it, or 0.
    pub(crate) fn lookup(self, cpu: u32, key: KeyAt<'a>) -> u64 {
        // SAFETY: [sized-by-map] the verifier measured the key by the map before it.
        unsafe { self.0.lookup_raw(CpuId(cpu), key.0) }
    }
}

impl<'a> Arg<'a> for MapRef<'a> {
    const PROTO: ArgProto = arg(ArgKind::ConstMapPtr, PLAIN);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        // SAFETY: [const-map] the register holds the handle of a map that the program, or the
        // map it was found in, keeps alive.
        let map = unsafe { MapHandle::from_addr(registers.take()) };
        registers.map = Some(map);
        Self(map)
    }
}

/// The size of a map's keys.
fn key_size(map: &MapHandle) -> usize {
    map.map().shape().key_size as usize
}

/// The size of a map's values: of one CPU's, where each CPU has its own.
fn value_size(map: &MapHandle) -> usize {
    map.map().shape().value_size as usize
}

/// The bytes of a key, where the program has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyAt<'a>(u64, PhantomData<&'a ()>);

impl<'a> Arg<'a> for KeyAt<'a> {
    const PROTO: ArgProto = arg(ArgKind::MapKey, PLAIN);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self(registers.take(), PhantomData)
    }
}

/// The bytes of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a>(pub(crate) MemIn<'a>);

impl<'a> Arg<'a> for Key<'a> {
    const PROTO: ArgProto = arg(ArgKind::MapKey, PLAIN);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        // The verifier measured the key by the map before it: [sized-by-map].
        let len = registers.map.map_or(0, key_size);
        Self(MemIn { address: registers.take(), len, borrowed: PhantomData })
    }
}

/// The bytes of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(pub(crate) MemIn<'a>);

impl<'a> Arg<'a> for Value<'a> {
    const PROTO: ArgProto = arg(ArgKind::MapValue, PLAIN);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        // The verifier measured the value by the map before it: [sized-by-map].
        let len = registers.map.map_or(0, value_size);
        Self(MemIn { address: registers.take(), len, borrowed: PhantomData })
    }
}

/// Where a value of the map before it is wanted.
#[derive(Debug)]
pub(crate) struct ValueOut<'a>(pub(crate) MemOut<'a>);

impl<'a> Arg<'a> for ValueOut<'a> {
    const PROTO: ArgProto = arg(ArgKind::MapValue, TypeFlags::UNINIT.union(TypeFlags::WRITE));

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let len = registers.map.map_or(0, value_size);
        Self(MemOut { address: registers.take(), len, borrowed: PhantomData })
    }
}

/// Memory to read, as much as the argument behind it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemIn<'a> {
    address: u64,
    len: usize,
    borrowed: PhantomData<&'a ()>,
}

impl MemIn<'_> {
    /// How many bytes there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// A copy of the bytes.
    pub(crate) fn copy(&self) -> SmallVec<[u8; 128]> {
        // SAFETY: [helper-args] the verifier measured the memory; the lifetime is the call's.
        unsafe { copied(self.address, self.len) }
    }

    /// A copy of the bytes, of its own.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // SAFETY: [helper-args] the verifier measured the memory; the lifetime is the call's.
        unsafe { copy_in(self.address, &mut bytes) };
        bytes
    }

    /// Looks at a copy of the bytes: as [`copy`](Self::copy), but the copy moves nowhere.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        with_room(self.len, |room| {
            // SAFETY: [helper-args] the verifier measured the memory; the lifetime is the call's.
            unsafe { copy_in(self.address, room) };
            look(room)
        })
    }
}

impl<'a> Arg<'a> for MemIn<'a> {
    const PROTO: ArgProto = arg(ArgKind::Mem, TypeFlags::RDONLY);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let (address, len) = registers.sized();
        Self { address, len, borrowed: PhantomData }
    }
}

/// Memory to write, as much as the argument behind it says; the program need not have written
/// to it before.
#[derive(Debug)]
pub(crate) struct MemOut<'a> {
    address: u64,
    len: usize,
    borrowed: PhantomData<&'a mut ()>,
}

impl MemOut<'_> {
    /// How many bytes there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Writes `bytes`, as many as fit, and leaves the rest alone.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..self.len).unwrap_or(bytes);
        // SAFETY: [helper-args] the verifier measured the memory; the lifetime is the call's.
        unsafe { copy_out(self.address, bytes) };
    }

    /// Writes `bytes`, as many as fit, and zeros behind them.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        self.make(|all| {
            let len = bytes.len().min(all.len());
            all[..len].copy_from_slice(&bytes[..len]);
        });
    }

    /// Writes all of the bytes: what `make` makes of as many zeros.
    #[inline]
    pub(crate) fn make<R>(&mut self, make: impl FnOnce(&mut [u8]) -> R) -> R {
        with_room(self.len, |room| {
            let made = make(room);
            self.write(room);
            made
        })
    }

    /// Changes all of the bytes, for memory that the program has written to before.
    #[inline]
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut [u8]) -> R) -> R {
        let address = self.address;
        self.make(|room| {
            // SAFETY: [helper-args] the verifier measured the memory; the lifetime is the call's.
            unsafe { copy_in(address, room) };
            change(room)
        })
    }

    /// A copy of the bytes, for memory that the program has written to before.
    pub(super) fn copy(&self) -> SmallVec<[u8; 128]> {
        // SAFETY: [helper-args] the verifier measured the memory; the lifetime is the call's.
        unsafe { copied(self.address, self.len) }
    }
}

impl<'a> Arg<'a> for MemOut<'a> {
    const PROTO: ArgProto = arg(ArgKind::Mem, TypeFlags::UNINIT.union(TypeFlags::WRITE));

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let (address, len) = registers.sized();
        Self { address, len, borrowed: PhantomData }
    }
}

/// Memory to read, or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemInOrNull<'a>(pub(crate) MemIn<'a>);

impl<'a> Arg<'a> for MemInOrNull<'a> {
    const PROTO: ArgProto = arg(ArgKind::Mem, TypeFlags::RDONLY.union(TypeFlags::MAYBE_NULL));

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        // SAFETY: [helper-args] the same, an address of zero having no bytes.
        Self(unsafe { MemIn::read(registers) })
    }
}

/// Memory to write, which the program has written to before.
#[derive(Debug)]
pub(crate) struct MemWrite<'a>(pub(crate) MemOut<'a>);

impl<'a> Arg<'a> for MemWrite<'a> {
    const PROTO: ArgProto = arg(ArgKind::Mem, TypeFlags::WRITE);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        // SAFETY: [helper-args] the same.
        Self(unsafe { MemOut::read(registers) })
    }
}

/// Memory to write, which the program has written to before, or nothing.
#[derive(Debug)]
pub(crate) struct MemWriteOrNull<'a>(pub(crate) MemOut<'a>);

impl<'a> Arg<'a> for MemWriteOrNull<'a> {
    const PROTO: ArgProto = arg(ArgKind::Mem, TypeFlags::WRITE.union(TypeFlags::MAYBE_NULL));

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        // SAFETY: [helper-args] the same, an address of zero having no bytes.
        Self(unsafe { MemOut::read(registers) })
    }
}

/// A constant string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    address: u64,
    borrowed: PhantomData<&'a ()>,
}

impl Text<'_> {
    /// A copy of its bytes, without its end mark.
    pub(crate) fn copy(&self) -> SmallVec<[u8; 64]> {
        // SAFETY: [helper-args] the verifier found the end mark in a map's value that no one can
        // change.
        unsafe { terminated(self.address) }
    }

    /// Its bytes one after the other, its end mark the last.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        let mut next = Some(self.address);
        std::iter::from_fn(move || {
            let at = next?;
            // SAFETY: [helper-args] as above: the end mark has not been passed yet.
            let byte = unsafe { byte_at(at) }.load(Ordering::Relaxed);
            next = (byte != 0).then_some(at + 1);
            Some(byte)
        })
    }
}

impl<'a> Arg<'a> for Text<'a> {
    const PROTO: ArgProto = arg(ArgKind::ConstStr, PLAIN);

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        Self { address: registers.take(), borrowed: PhantomData }
    }
}

/// A spin lock in a map value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lock<'a>(pub(crate) &'a AtomicU32);

impl<'a> Arg<'a> for Lock<'a> {
    const PROTO: ArgProto =
        ArgProto { kind: ArgKind::SpinLock, flags: PLAIN, size: 0, btf: Some("(dynamic)") };

    unsafe fn read(registers: &mut Registers<'a>) -> Self {
        let lock = std::ptr::with_exposed_provenance::<AtomicU32>(address(registers.take()));
        // SAFETY: [helper-args] the register holds the address of a lock's four bytes, aligned,
        // in a value that the program holds; programs cannot touch them otherwise.
        Self(unsafe { &*lock })
    }
}

/// A type that a helper can return.
pub(crate) trait Ret {
    /// What the verifier may assume of R0.
    const PROTO: RetProto;

    /// R0.
    fn into_register(self) -> u64;
}

const fn ret(kind: RetKind, flags: TypeFlags) -> RetProto {
    RetProto { kind, flags, btf: None }
}

/// An `int`, as functions of the kernel return it: the upper half of R0 is clear.
pub(crate) type Int = Result<i32, Errno>;

/// The address of a map value, or null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueOrNull(pub(crate) Option<u64>);

/// The address of a map value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValueAt(pub(crate) u64);

/// The address of a record in a ring buffer, or null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordOrNull(pub(crate) Option<u64>);

/// The address of memory as large as the program asked for, or null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemOrNull(pub(crate) Option<u64>);

/// Defines results: type, contract, how they go into the register.
macro_rules! results {
    ($( $Type:ty, $kind:ident, $flags:expr, |$value:ident| $write:expr; )+) => { $(
        impl Ret for $Type {
            const PROTO: RetProto = ret(RetKind::$kind, $flags);

            fn into_register(self) -> u64 {
                let $value = self;
                $write
            }
        }
    )+ };
}

results! {
    u64, Integer, PLAIN, |value| value;
    u32, Integer, PLAIN, |value| u64::from(value);
    i64, Integer, PLAIN, |value| value.cast_unsigned();
    Result<(), Errno>, Integer, PLAIN, |value| value.map_or_else(Errno::to_register, |()| 0);
    Result<u64, Errno>, Integer, PLAIN, |value| value.unwrap_or_else(Errno::to_register);
    Int, Integer, PLAIN, |value| u64::from(value.unwrap_or_else(|errno| low(errno.to_register()).cast_signed()).cast_unsigned());
    (), Void, PLAIN, |_value| 0;
    ValueAt, MapValue, PLAIN, |value| value.0;
    ValueOrNull, MapValue, TypeFlags::MAYBE_NULL, |value| value.0.unwrap_or(0);
    MemOrNull, Mem, TypeFlags::MAYBE_NULL, |value| value.0.unwrap_or(0);
    RecordOrNull, Mem, TypeFlags::RINGBUF.union(TypeFlags::MAYBE_NULL), |value| value.0.unwrap_or(0);
}

/// An address, as a Rust number.
#[expect(clippy::cast_possible_truncation, reason = "hosts have 64-bit addresses")]
const fn address(raw: u64) -> usize {
    raw as usize
}
