//! Why memory may not be touched.

use bpf_isa::Reg;

use crate::refusals::refusals;
use crate::scalar::Tnum;

refusals! {
    /// Why memory may not be touched.
    pub enum MemoryError {
        // What a pointer may be used for.
        EACCES NotMemory { reg: Reg, ty: String } "{reg} invalid mem access '{ty}'";
        EACCES ReadOnly { reg: Reg, ty: String } "{reg} cannot write into {ty}";
        EACCES KeyWritten { reg: Reg } "write to change key {reg} not allowed";
        EACCES PacketReadOnly "cannot write into packet";

        // Offsets and sizes.
        EACCES Misaligned { what: &'static str, var: Tnum, fixed: i32, off: i64, size: u32 }
            "misaligned {what}access off {var}+{fixed}+{off} size {size}";
        EACCES MisalignedPacket { ip_align: u32, var: Tnum, fixed: i32, off: i64, size: u32 }
            "misaligned packet access off {ip_align}+{var}+{fixed}+{off} size {size}";
        EACCES NegativeMin { reg: Reg }
            "{reg} min value is negative, either use unsigned index or do a if (index >=0) check.";
        EACCES MinOutside { miss: Box<Self>, reg: Reg }
            "{miss}\n{reg} min value is outside of the allowed memory range";
        EACCES MaxOutside { miss: Box<Self>, reg: Reg }
            "{miss}\n{reg} max value is outside of the allowed memory range";
        EACCES Unbounded { reg: Reg }
            "{reg} unbounded memory access, make sure to bounds check any such access";
        EACCES OutsideKey { room: u32, off: i64, size: i64 }
            "invalid access to map key, key_size={room} off={off} size={size}";
        EACCES OutsideValue { room: u32, off: i64, size: i64 }
            "invalid access to map value, value_size={room} off={off} size={size}";
        EACCES OutsideMem { room: u32, off: i64, size: i64 }
            "invalid access to memory, mem_size={room} off={off} size={size}";
        EACCES OutsideRange { off: i64, size: i64, reg: Reg, id: u32, range: i32 }
            "invalid access to packet, off={off} size={size}, {reg}(id={id},off={off},r={range})";
        EACCES PacketOutside { miss: Box<Self>, reg: Reg }
            "{miss}\n{reg} offset is outside of the packet";
        EINVAL PacketEndReached { reg: Reg } "{reg} offset is outside of the packet";
        EACCES NegativeOffset { ty: String, reg: Reg, off: i32 }
            "negative offset {ty} ptr {reg} off={off} disallowed";
        EACCES Moved { ty: String, reg: Reg, off: i32 }
            "dereference of modified {ty} ptr {reg} off={off} disallowed";
        EACCES Variable { ty: String, var: Tnum } "variable {ty} access var_off={var} disallowed";
        EINVAL NegativeOffsetReleased { ty: String, reg: Reg, off: i32 }
            "negative offset {ty} ptr {reg} off={off} disallowed";

        // Map values.
        EACCES MapWriteForbidden { value_size: u32, off: i64, size: i64 }
            "write into map forbidden, value_size={value_size} off={off} size={size}";
        EACCES MapReadForbidden { value_size: u32, off: i64, size: i64 }
            "read from map forbidden, value_size={value_size} off={off} size={size}";
        EACCES KptrByHelper { what: &'static str } "{what} cannot be accessed indirectly by helper";
        EACCES KptrVariable { what: &'static str } "{what} access cannot have variable offset";
        EACCES KptrMisaligned { what: &'static str, expected: u32, off: i64 }
            "{what} access misaligned expected={expected} off={off}";
        EACCES KptrSize { what: &'static str } "{what} access size must be BPF_DW";
        EACCES SpecialField { field: &'static str }
            "{field} cannot be accessed directly by load/store";
        EACCES KptrMode "kptr in map can only be accessed using BPF_MEM instruction mode";
        EACCES UptrStore "store to uptr disallowed";
        EACCES KptrStore "store to referenced kptr disallowed";
        EACCES KptrImmediate { off: i64 }
            "BPF_ST imm must be 0 when storing to kptr at off={off}";
        EINVAL KptrType { reg: Reg, ty: String, name: String, expected: String, expected_name: String }
            "invalid kptr access, {reg} type={ty}{name} expected={expected}{expected_name}";

        // The stack.
        EACCES StackOutside { way: &'static str, reg: Reg, off: i64, size: i64 }
            "invalid{way} stack {reg} off={off} size={size}";
        EINVAL StackAbove { way: &'static str, reg: Reg, off: i64, size: i64 }
            "invalid{way} stack {reg} off={off} size={size}";
        EACCES StackUnbounded { way: &'static str, reg: Reg }
            "invalid unbounded variable-offset{way} stack {reg}";
        EACCES StackVariableOutside { way: &'static str, reg: Reg, var: Tnum, off: i64, size: i64 }
            "invalid variable-offset{way} stack {reg} var_off={var} off={off} size={size}";
        EINVAL StackVariableAbove { way: &'static str, reg: Reg, var: Tnum, off: i64, size: i64 }
            "invalid variable-offset{way} stack {reg} var_off={var} off={off} size={size}";
        EACCES StackHelperVariable { var: Tnum, off: i64, size: u32 }
            "variable offset stack pointer cannot be passed into helper function; var_off={var} off={off} size={size}";
        EACCES StackUnread { off: i64, at: i64, size: u32 }
            "invalid read from stack off {off}+{at} size {size}";
        EACCES StackUninit { reg: Reg, off: i64, at: i64, size: i64 }
            "invalid read from stack {reg} off {off}+{at} size {size}";
        EACCES StackUninitVariable { reg: Reg, var: Tnum, at: i64, size: i64 }
            "invalid read from stack {reg} var_off {var}+{at} size {size}";
        EACCES ZeroSizedRead "invalid zero-sized read";
        EACCES DynptrOverwritten { off: i64 } "potential write to dynptr at off={off} disallowed";
        EINVAL ReferencedDynptr "cannot overwrite referenced dynptr";
        EACCES SpillSize "invalid size of register spill";
        EACCES FillSize "invalid size of register fill";
        EINVAL SpillToCaller "cannot spill pointers to stack into stack frame of the caller";

        // The context.
        EACCES Context { off: i64, size: u32 } "invalid bpf_context access off={off} size={size}";
        EACCES ContextReleased { off: i64 }
            "invalid bpf_context access off={off}. Reference may already be released";

        // Other memory.
        EACCES Socket { reg: Reg, ty: String, off: i64, size: u32 }
            "{reg} invalid {ty} access off={off} size={size}";
        EACCES FlowKeys { off: i64, size: u32 }
            "invalid access to flow keys off={off} size={size}";
        EACCES BufferNegative { reg: Reg, buffer: &'static str, off: i64, size: u32 }
            "{reg} invalid {buffer} buffer access: off={off}, size={size}";
        EACCES BufferVariable { reg: Reg, off: i64, var: Tnum }
            "{reg} invalid variable buffer offset: off={off}, var_off={var}";

        // Kernel objects.
        EACCES BtfNegative { reg: Reg, name: String, off: i64 }
            "{reg} is ptr_{name} invalid negative access: off={off}";
        EACCES BtfVariable { reg: Reg, name: String, off: i64, var: Tnum }
            "{reg} is ptr_{name} invalid variable offset: off={off}, var_off={var}";
        EACCES BtfUser { reg: Reg, name: String, off: i64 }
            "{reg} is ptr_{name} access user memory: off={off}";
        EACCES BtfPercpu { reg: Reg, name: String, off: i64 }
            "{reg} is ptr_{name} access percpu memory: off={off}";
        EACCES BtfReadOnly "only read is supported";
        EACCES BtfNoWrite { structure: String, off: i64 }
            "no write support to {structure} at off {off}";
        EACCES BtfWriteBeyond { structure: String, off: i64, size: u32, end: i64 }
            "write access at off {off} with size {size} beyond the member of {structure} ended at {end}";
        EINVAL BtfNotGpl { name: String }
            "Cannot access kernel 'struct {name}' from non-GPL compatible program";
        EINVAL BtfUnknown { name: String } "BTF type {name} is not known";
        EFAULT MapBtf { name: &'static str } "map_ptr access not supported for map type {name}";
        EACCES MapPtrNegative { reg: Reg, name: String, off: i64 }
            "{reg} is {name} invalid negative access: off={off}";
        EACCES MapPtrWritten { name: String } "only read from {name} is supported";
        EACCES BtfWalk { text: String } "{text}";
        EINVAL BtfNoField { text: String } "{text}";
        EACCES BtfField { text: String } "{text}";
        EACCES NoKernelTypes
            "the types of the kernel are not known: no BTF was given";
    }
}
