//! What a helper demands and gives: the contract, apart from the code.

pub mod hooks;
pub mod protos;

use bitflags::bitflags;

/// The number under which an [`Image`](crate::image::Image) binds the code of `LD_ABS` and `LD_IND`.
///
/// No program can call it. It is called with the context, the offset as a signed number and the
/// size in bytes (1, 2 or 4), and gives the bytes as a number in host order, or
/// [`LOAD_PACKET_FAILED`] if they are not in the packet: then the function returns 0.
pub const LOAD_PACKET: u32 = 0x7fff_ff00;

/// The first of the numbers under which an [`Image`](crate::image::Image) binds the code of kernel
/// functions, of which each host numbers its own. No program can call them so.
pub const FIRST_KFUNC: u32 = 0x7ffe_0000;

/// The number under which an [`Image`](crate::image::Image) has calls of `bpf_throw`, which engines
/// do themselves: R1 is the exception's value, and what follows the call is an `exit`.
///
/// The program ends, whatever functions it is in, none of which a helper has called. Its result is that of its
/// [exception callback](crate::image::ImageParts::exception_callback), or the value itself if it has
/// none.
pub const THROW: i32 = 0x7ffd_ffff;

/// What [`LOAD_PACKET`] gives if the bytes are not in the packet.
pub const LOAD_PACKET_FAILED: u64 = u64::MAX;

/// What a helper demands of its arguments and promises of its result.
///
/// Linux: `struct bpf_func_proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperProto {
    /// The number programs call it by.
    pub id: u32,
    /// Its name, without `bpf_`.
    pub name: &'static str,
    /// What else is to be known about it.
    pub flags: HelperFlags,
    /// What its result is.
    pub ret: RetProto,
    /// What its arguments must be; as many as it takes.
    pub args: &'static [ArgProto],
}

impl HelperProto {
    /// How many of R1 to R5 its code reads: as many as it has arguments, but for
    /// `bpf_trace_printk` and `bpf_get_branch_snapshot`, which read three more and one more that
    /// nobody checks, and `bpf_timer_set_callback`, which is told of the program.
    pub const fn registers(&self) -> usize {
        const TRACE_PRINTK: u32 = 6;
        const TIMER_SET_CALLBACK: u32 = 170;
        const GET_BRANCH_SNAPSHOT: u32 = 176;
        match self.id {
            TRACE_PRINTK => 5,
            TIMER_SET_CALLBACK | GET_BRANCH_SNAPSHOT => 3,
            _ => self.args.len(),
        }
    }
}

bitflags! {
    /// What is to be known about a helper besides its arguments and its result.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct HelperFlags: u32 {
        /// Only for programs under a licence compatible with the GPL.
        const GPL_ONLY = 1 << 0;
        /// May read and write packets through its arguments.
        const PKT_ACCESS = 1 << 1;
        /// Only for sleepable programs.
        const MIGHT_SLEEP = 1 << 2;
        /// Leaves caller-saved registers alone but for R0 and the arguments it takes.
        const ALLOW_FASTCALL = 1 << 3;
        /// Makes packet pointers of the caller invalid.
        const CHANGES_PKT_DATA = 1 << 4;
        /// Its result must be released.
        const ACQUIRES_REF = 1 << 5;
        /// Releases an argument.
        const RELEASES_REF = 1 << 6;
        /// Its result is its argument, seen as another type.
        const PTR_CAST = 1 << 7;
        /// Calls a function of the program before it returns.
        const SYNC_CALLBACK = 1 << 8;
        /// Arranges for a function of the program to be called later.
        const ASYNC_CALLBACK = 1 << 9;
        /// Gets an element of a local storage.
        const STORAGE_GET = 1 << 10;
        /// Only with `CAP_PERFMON`.
        const NEEDS_PERFMON = 1 << 11;
    }
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgProto {
    /// Its kind.
    pub kind: ArgKind,
    /// What qualifies the kind.
    pub flags: TypeFlags,
    /// How many bytes, with [`TypeFlags::FIXED_SIZE`]; else 0.
    pub size: u32,
    /// The name of the kernel structure it points to, where one is asked for.
    pub btf: Option<&'static str>,
}

/// The kind of an argument. Linux: `enum bpf_arg_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// Anything that was written.
    Anything,
    /// A number.
    Scalar,
    /// A map known at load.
    ConstMapPtr,
    /// Bytes of a key of the map before it.
    MapKey,
    /// Bytes of a value of the map before it.
    MapValue,
    /// Memory, as much as the argument after it says, or a fixed size.
    Mem,
    /// How much memory the argument before it points to; not zero.
    ConstSize,
    /// How much memory the argument before it points to.
    ConstSizeOrZero,
    /// How much memory the result points to.
    ConstAllocSizeOrZero,
    /// The context.
    Ctx,
    /// A spin lock in a map value.
    SpinLock,
    /// A socket's common part.
    SockCommon,
    /// A full socket.
    Socket,
    /// A kernel object.
    BtfId,
    /// A socket's common part, as one of the socket types or as a kernel object.
    BtfIdSockCommon,
    /// A per-CPU kernel variable.
    PercpuBtfId,
    /// A record reserved in a ring buffer.
    RingbufMem,
    /// A function of the program.
    Func,
    /// The stack.
    Stack,
    /// A constant string.
    ConstStr,
    /// A timer in a map value.
    Timer,
    /// Where a kernel object's pointer is kept.
    KptrXchgDest,
    /// A dynptr.
    Dynptr,
}

bitflags! {
    /// What qualifies the kind of an argument or a result.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TypeFlags: u32 {
        /// Linux: `PTR_MAYBE_NULL`.
        const MAYBE_NULL = 1 << 0;
        /// Linux: `MEM_RDONLY`.
        const RDONLY = 1 << 1;
        /// Linux: `MEM_UNINIT`.
        const UNINIT = 1 << 2;
        /// Linux: `MEM_WRITE`.
        const WRITE = 1 << 3;
        /// Linux: `MEM_FIXED_SIZE`.
        const FIXED_SIZE = 1 << 4;
        /// Linux: `MEM_ALIGNED`.
        const ALIGNED = 1 << 5;
        /// Linux: `MEM_RINGBUF`.
        const RINGBUF = 1 << 6;
        /// Linux: `OBJ_RELEASE`.
        const RELEASE = 1 << 7;
        /// Linux: `PTR_TRUSTED`.
        const TRUSTED = 1 << 8;
        /// Linux: `DYNPTR_TYPE_LOCAL`.
        const DYNPTR_LOCAL = 1 << 9;
        /// Linux: `DYNPTR_TYPE_RINGBUF`.
        const DYNPTR_RINGBUF = 1 << 10;
    }
}

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetProto {
    /// Its kind.
    pub kind: RetKind,
    /// What qualifies the kind.
    pub flags: TypeFlags,
    /// The name of the kernel structure it points to, where it does.
    pub btf: Option<&'static str>,
}

/// The kind of a result. Linux: `enum bpf_return_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetKind {
    /// A number.
    Integer,
    /// Nothing.
    Void,
    /// A value of the map among the arguments.
    MapValue,
    /// A full socket.
    Socket,
    /// A TCP socket.
    TcpSock,
    /// A socket's common part.
    SockCommon,
    /// Memory.
    Mem,
    /// Memory or a kernel object, by the type of the variable asked for.
    MemOrBtfId,
    /// A kernel object.
    BtfId,
}
