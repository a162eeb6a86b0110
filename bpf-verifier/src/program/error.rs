//! Why a program is refused before any path is walked, or for its call graph afterwards.

use bpf_abi::errno::Errno;
use bpf_isa::{DecodeErrorKind, Pc};
use thiserror::Error;

use crate::error::Refusal;
use crate::told::told;

/// Why a program is refused before any path is walked, or for its call graph afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// A slot is no instruction.
    #[error("{0}")]
    Malformed(DecodeErrorKind),

    /// A call or the address of a function leads out of the program.
    #[error("call to invalid destination")]
    CalleeOutside,
    /// There are more functions than a program may have.
    #[error("too many subprograms")]
    TooManySubprogs,
    /// A jump leads out of its function.
    #[error("jump out of range from insn {from} to {to}")]
    JumpOutOfRange {
        /// The jump.
        from: Pc,
        /// Where it leads, counted in slots.
        to: i32,
    },
    /// A function does not end with an exit or a jump.
    #[error("last insn is not an exit or jmp")]
    FallsOff,
    /// No path leads to an instruction.
    #[error("unreachable insn {pc}")]
    Unreachable {
        /// The instruction.
        pc: Pc,
    },
    /// A path leads to the second slot of a wide immediate.
    #[error("jump into the middle of ldimm64 insn {pc}")]
    IntoImmediate {
        /// The first slot.
        pc: Pc,
    },

    /// Functions other than the main one use the legacy packet loads, but have no types.
    #[error("LD_ABS is not allowed in subprogs without BTF")]
    PacketLoadWithoutBtf,
    /// Functions other than the main one tail-call, but have no types.
    #[error("tail_call is not allowed in subprogs without BTF")]
    TailCallWithoutBtf,
    /// The records of `func_info` have no possible size.
    #[error("invalid func info rec size {size}")]
    FuncInfoSize {
        /// The size.
        size: u32,
    },
    /// A record of `func_info` has bytes that mean nothing.
    #[error("nonzero tailing record in func info")]
    FuncInfoTail,
    /// The first record of `func_info` is not about the main function.
    #[error("nonzero insn_off {off} for the first func info record")]
    FuncInfoFirst {
        /// What it is about.
        off: u32,
    },
    /// The records of `func_info` are not in order.
    #[error("same or smaller insn offset ({off}) than previous func info record ({previous})")]
    FuncInfoOrder {
        /// The record's instruction.
        off: u32,
        /// That of the record before it.
        previous: u32,
    },
    /// A record of `func_info` names a type that is no function.
    #[error("invalid type id {id} in func info")]
    FuncInfoType {
        /// The type, as a signed number.
        id: i32,
    },
    /// There are more or fewer records of `func_info` than functions.
    #[error("number of funcs in func_info doesn't match number of subprogs")]
    FuncInfoCount,
    /// A record of `func_info` is about no beginning of a function.
    #[error("func_info BTF section doesn't match subprog layout in BPF program")]
    FuncInfoLayout,
    /// A function with legacy packet loads returns no number.
    #[error("LD_ABS is only allowed in functions that return 'int'.")]
    PacketLoadReturn,
    /// A function with tail calls returns no number.
    #[error("tail_call is only allowed in functions that return 'int'.")]
    TailCallReturn,
    /// There is `func_info` or `line_info`, but no types it could refer to.
    #[error("")]
    NoBtf,
    /// The records of `line_info` have no possible size.
    #[error("")]
    LineInfoSize,
    /// A record of `line_info` has bytes that mean nothing.
    #[error("nonzero tailing record in line_info")]
    LineInfoTail,
    /// The records of `line_info` are not in order, or lead out of the program.
    #[error("Invalid line_info[{index}].insn_off:{off} (prev_offset:{previous} prog->len:{len})")]
    LineInfoOrder {
        /// The record's place.
        index: usize,
        /// The record's instruction.
        off: u32,
        /// That of the record before it.
        previous: u32,
        /// How many slots the program has.
        len: usize,
    },
    /// A record of `line_info` is about the second slot of a wide immediate.
    #[error("Invalid insn code at line_info[{index}].insn_off")]
    LineInfoCode {
        /// The record's place.
        index: usize,
    },
    /// A record of `line_info` names a string that is not there.
    #[error("Invalid line_info[{index}].line_off or .file_name_off")]
    LineInfoName {
        /// The record's place.
        index: usize,
    },
    /// No record of `line_info` is about the beginning of a function.
    #[error("missing bpf_line_info for func#{subprog}")]
    LineInfoMissing {
        /// The function.
        subprog: usize,
    },
    /// `line_info` ends before the last functions.
    #[error("missing bpf_line_info for {missing} funcs starting from func#{subprog}")]
    LineInfoShort {
        /// How many functions have none.
        missing: usize,
        /// The first of them.
        subprog: usize,
    },

    /// A wide immediate names an entry of a list of maps that is not there.
    #[error("fd_idx without fd_array is invalid")]
    NoFdArray,
    /// A wide immediate names a map that is not there.
    #[error("fd {fd} is not pointing to valid bpf_map")]
    NoMap {
        /// The number.
        fd: i32,
        /// What the host says.
        errno: Errno,
    },
    /// The program uses more maps than it may.
    #[error("The total number of maps per program has reached the limit of {limit}")]
    TooManyMaps {
        /// How many it may use.
        limit: usize,
    },
    /// Values of maps of this type have no address to be known at load.
    #[error("no direct value access support for this map type")]
    NoDirectValue,
    /// The byte of the value that a wide immediate names is further away than any may be.
    #[error("direct value offset of {off} is not allowed")]
    DirectValueFar {
        /// The byte.
        off: u32,
    },
    /// The byte of the value that a wide immediate names is not there.
    #[error("invalid access to map value pointer, value_size={value_size} off={off}")]
    DirectValueOutside {
        /// The size of the map's value.
        value_size: u32,
        /// The byte.
        off: u32,
        /// The map's type says which.
        errno: Errno,
    },
    /// Programs of this type may not use maps with this in their values.
    #[error("{who} progs cannot use {what} yet")]
    MapField {
        /// The programs.
        who: &'static str,
        /// What is in the values.
        what: &'static str,
    },
    /// A map of a structure of functions is not for programs.
    #[error("bpf_struct_ops map cannot be used in prog")]
    StructOpsMap,
    /// A sleepable program may not use maps of this type.
    #[error("Sleepable programs can only use array, hash, ringbuf and local storage maps")]
    SleepableMap,
    /// A program may use one storage of a cgroup only.
    #[error("only one cgroup storage of each type is allowed")]
    SecondCgroupStorage,
    /// A program may use one arena only.
    #[error("Only one arena per program")]
    SecondArena,
    /// An arena is used by a program that will not be compiled.
    #[error("JIT is required to use arena")]
    ArenaInterpreted,
    /// An arena has no address in user space.
    #[error("arena's user address must be set via map_extra or mmap()")]
    ArenaWithoutAddress,
    /// The map belongs to programs of another kind.
    #[error("")]
    MapOwner(Errno),

    /// The types of the kernel are asked for, but not known.
    #[error("kernel is missing BTF, make sure CONFIG_DEBUG_INFO_BTF=y is specified in Kconfig.")]
    NoKernelBtf,
    /// A wide immediate names a module's BTF that is not there.
    #[error("invalid module BTF object FD specified.")]
    NoModuleBtf,
    /// A wide immediate names a type that is not there.
    #[error("ldimm64 insn specifies invalid btf_id {id}.")]
    VariableId {
        /// The type.
        id: i32,
    },
    /// A wide immediate names a type that is neither variable nor function.
    #[error("pseudo btf_id {id} in ldimm64 isn't KIND_VAR or KIND_FUNC")]
    VariableKind {
        /// The type.
        id: i32,
    },
    /// The size of a kernel variable is not known.
    #[error("ldimm64 unable to resolve the size of type '{name}': -22")]
    VariableSize {
        /// Its type.
        name: String,
    },

    /// Kernel functions are called, but the types of the kernel are not known.
    #[error("calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF")]
    KfuncWithoutBtf,
    /// Kernel functions are called by a program that will not be compiled.
    #[error("JIT is required for calling kernel function")]
    KfuncInterpreted,
    /// Kernel functions are for programs under a licence compatible with the GPL.
    #[error("cannot call kernel function from non-GPL compatible program")]
    KfuncLicense,
    /// A kernel function of a module is called by a number that can be none.
    #[error(
        "negative offset disallowed for kernel module function call\nfailed to find BTF for kernel function"
    )]
    KfuncModuleNegative,
    /// A kernel function of a module is called, but the module's types are not known.
    #[error("kfunc offset > 0 without fd_array is invalid\nfailed to find BTF for kernel function")]
    KfuncModule,
    /// A kernel function asks a device about a packet, and the program is bound to none.
    #[error("metadata kfuncs require device-bound program")]
    KfuncDeviceBound,
    /// There are more kernel functions called than may be.
    #[error("too many different kernel function calls")]
    TooManyKfuncs,
    /// What is called is no function.
    #[error("kernel btf_id {id} is not a function")]
    KfuncId {
        /// The type.
        id: u32,
    },

    /// A tail call would begin on top of too much stack.
    #[error(
        "tail_calls are not allowed when call stack of previous frames is {depth} bytes. Too large"
    )]
    TailCallTooDeep {
        /// How much there is, in bytes.
        depth: u32,
    },
    /// A function with a stack of its own uses too much of it.
    #[error("stack size of subprog {subprog} is {depth}. Too large")]
    OwnStack {
        /// The function.
        subprog: usize,
        /// How much it uses, in bytes.
        depth: u32,
    },
    /// Functions that call each other use too much stack.
    #[error("combined stack size of {calls} calls is {depth}. Too large")]
    CombinedStack {
        /// How many.
        calls: usize,
        /// How much they use, in bytes.
        depth: u32,
    },
    /// Too many functions call each other.
    #[error("the call stack of {frames} frames is too deep !")]
    TooManyFrames {
        /// How many.
        frames: usize,
    },
    /// An exception is thrown in a function that is called back.
    #[error("bpf_throw kfunc (insn {pc}) cannot be called from callback subprog {subprog}")]
    ThrowInCallback {
        /// The call.
        pc: Pc,
        /// The function.
        subprog: usize,
    },
    /// More than one function for exceptions is named.
    #[error("multiple exception callback tags for main subprog")]
    ExceptionCallbacks,
    /// The function for exceptions that is named is not there.
    #[error("exception callback '{name}' could not be found in BTF")]
    NoExceptionCallback {
        /// The name.
        name: String,
    },
    /// The function for exceptions may not be replaced or called by others.
    #[error("exception callback '{name}' must have global linkage")]
    ExceptionCallbackLinkage {
        /// The name.
        name: String,
    },
    /// The program itself is named as the function for exceptions.
    #[error("invalid exception callback insn_off in func_info: 0")]
    ExceptionCallbackFirst,
    /// The function for exceptions has no code.
    #[error("exception callback type id not found in func_info")]
    ExceptionCallbackUnknown,
    /// The function for exceptions is called like any other.
    #[error("insn {pc} cannot call exception cb directly")]
    ExceptionCallbackCalled {
        /// The call.
        pc: Pc,
    },
    /// The function for exceptions leads to a tail call.
    #[error("cannot tail call within exception cb")]
    TailCallInExceptionCallback,
}

impl Refusal for ProgramError {
    fn errno(&self) -> Errno {
        match self {
            Self::TooManySubprogs
            | Self::FuncInfoTail
            | Self::LineInfoTail
            | Self::TooManyMaps { .. }
            | Self::TooManyKfuncs
            | Self::TooManyFrames { .. } => Errno::E2BIG,
            Self::NoBtf => Errno::EBADF,
            Self::NoFdArray | Self::KfuncModule => Errno::EPROTO,
            Self::NoMap { errno, .. }
            | Self::DirectValueOutside { errno, .. }
            | Self::MapOwner(errno) => *errno,
            Self::SecondCgroupStorage | Self::SecondArena => Errno::EBUSY,
            Self::VariableId { .. } | Self::NoExceptionCallback { .. } => Errno::ENOENT,
            Self::ExceptionCallbacks => Errno::EEXIST,
            Self::KfuncWithoutBtf | Self::KfuncInterpreted => Errno::ENOTSUPP,
            Self::ArenaInterpreted => Errno::EOPNOTSUPP,
            Self::TailCallTooDeep { .. } | Self::OwnStack { .. } | Self::CombinedStack { .. } => {
                Errno::EACCES
            }
            Self::Malformed(_)
            | Self::CalleeOutside
            | Self::JumpOutOfRange { .. }
            | Self::FallsOff
            | Self::Unreachable { .. }
            | Self::IntoImmediate { .. }
            | Self::PacketLoadWithoutBtf
            | Self::TailCallWithoutBtf
            | Self::FuncInfoSize { .. }
            | Self::FuncInfoFirst { .. }
            | Self::FuncInfoOrder { .. }
            | Self::FuncInfoType { .. }
            | Self::FuncInfoCount
            | Self::FuncInfoLayout
            | Self::PacketLoadReturn
            | Self::TailCallReturn
            | Self::LineInfoSize
            | Self::LineInfoOrder { .. }
            | Self::LineInfoCode { .. }
            | Self::LineInfoName { .. }
            | Self::LineInfoMissing { .. }
            | Self::LineInfoShort { .. }
            | Self::NoDirectValue
            | Self::MapField { .. }
            | Self::DirectValueFar { .. }
            | Self::StructOpsMap
            | Self::SleepableMap
            | Self::ArenaWithoutAddress
            | Self::NoKernelBtf
            | Self::NoModuleBtf
            | Self::VariableKind { .. }
            | Self::VariableSize { .. }
            | Self::KfuncLicense
            | Self::KfuncModuleNegative
            | Self::KfuncDeviceBound
            | Self::ExceptionCallbackLinkage { .. }
            | Self::ExceptionCallbackFirst
            | Self::ExceptionCallbackUnknown
            | Self::KfuncId { .. }
            | Self::ThrowInCallback { .. }
            | Self::ExceptionCallbackCalled { .. }
            | Self::TailCallInExceptionCallback => Errno::EINVAL,
        }
    }

    fn ends_line(&self) -> bool {
        !matches!(
            self,
            Self::FuncInfoTail
                | Self::FuncInfoFirst { .. }
                | Self::FuncInfoOrder { .. }
                | Self::FuncInfoType { .. }
                | Self::LineInfoTail
                | Self::ExceptionCallbackCalled { .. }
        )
    }

    told! {
        Malformed(kind),
        CalleeOutside,
        TooManySubprogs,
        JumpOutOfRange { from, to },
        FallsOff,
        Unreachable { pc },
        IntoImmediate { pc },
        PacketLoadWithoutBtf,
        TailCallWithoutBtf,
        FuncInfoSize { size },
        FuncInfoTail,
        FuncInfoFirst { off },
        FuncInfoOrder { off, previous },
        FuncInfoType { id },
        FuncInfoCount,
        FuncInfoLayout,
        PacketLoadReturn,
        TailCallReturn,
        NoBtf,
        LineInfoSize,
        LineInfoTail,
        LineInfoOrder { index, off, previous, len },
        LineInfoCode { index },
        LineInfoName { index },
        LineInfoMissing { subprog },
        LineInfoShort { missing, subprog },
        NoFdArray,
        NoMap { fd, errno },
        TooManyMaps { limit },
        NoDirectValue,
        DirectValueFar { off },
        DirectValueOutside { value_size, off, errno },
        MapField { who, what },
        StructOpsMap,
        SleepableMap,
        SecondCgroupStorage,
        SecondArena,
        ArenaInterpreted,
        ArenaWithoutAddress,
        MapOwner(errno),
        NoKernelBtf,
        NoModuleBtf,
        VariableId { id },
        VariableKind { id },
        VariableSize { name },
        KfuncWithoutBtf,
        KfuncInterpreted,
        KfuncLicense,
        KfuncModule,
        KfuncDeviceBound,
        TooManyKfuncs,
        KfuncId { id },
        TailCallTooDeep { depth },
        OwnStack { subprog, depth },
        CombinedStack { calls, depth },
        TooManyFrames { frames },
        ThrowInCallback { pc, subprog },
        ExceptionCallbacks,
        NoExceptionCallback { name },
        ExceptionCallbackLinkage { name },
        ExceptionCallbackFirst,
        ExceptionCallbackUnknown,
        ExceptionCallbackCalled { pc },
        TailCallInExceptionCallback,
        KfuncModuleNegative,
    }
}
