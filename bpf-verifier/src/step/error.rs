//! Why an instruction is refused.

use bpf_isa::Reg;

use crate::refusals::refusals;

refusals! {
    /// Why an instruction is refused.
    pub enum StepError {
        // Arithmetic.
        EINVAL DivisionByZero "div by zero";
        EINVAL Shift { by: i32 } "invalid shift {by}";
        EACCES TwoPointers { dst: Reg, op: &'static str } "{dst} pointer {op} pointer prohibited";
        EACCES HalfPointer { dst: Reg } "{dst} 32-bit pointer arithmetic prohibited";
        EACCES MaybeNullMoved { dst: Reg, ty: String }
            "{dst} pointer arithmetic on {ty} prohibited, null-check it first";
        EACCES PointerMoved { dst: Reg, ty: String } "{dst} pointer arithmetic on {ty} prohibited";
        EINVAL FarOffset { ty: String, by: i64 }
            "math between {ty} pointer and {by} is not allowed";
        EINVAL FarPointer { ty: String, off: i32 } "{ty} pointer offset {off} is not allowed";
        EINVAL UnboundedMin { ty: String }
            "math between {ty} pointer and register with unbounded min value is not allowed";
        EINVAL FarMin { ty: String, smin: i64 }
            "value {smin} makes {ty} pointer be out of bounds";
        EACCES PointerSubtracted { dst: Reg } "{dst} tried to subtract pointer from scalar";
        EACCES StackSubtraction { dst: Reg } "{dst} subtraction from stack pointer prohibited";
        EACCES PointerBits { dst: Reg, op: &'static str }
            "{dst} bitwise operator {op} on pointer prohibited";
        EACCES PointerOperator { dst: Reg, op: &'static str }
            "{dst} pointer arithmetic with {op} operator prohibited";
        EFAULT Invariants { text: String } "verifier bug: REG INVARIANTS VIOLATION {text}";

        // Loads and stores.
        EINVAL DifferentPointers "same insn cannot be used with different pointers";
        EACCES AtomicStore { reg: Reg, ty: String }
            "BPF_ATOMIC stores into {reg} {ty} is not allowed";
        EACCES AtomicLoad { reg: Reg, ty: String }
            "BPF_ATOMIC loads from {reg} {ty} is not allowed";
        EINVAL NoKernelVariable "a kernel variable was not resolved";
        EINVAL CallbackWithoutBtf "missing btf func_info";
        EINVAL CallbackNotStatic "callback function not static";

        // Arenas.
        EINVAL NoArena
            "addr_space_cast insn can only be used in a program that has an associated arena";

        // Packets, the old way.
        EINVAL LegacyType
            "BPF_LD_[ABS|IND] instructions not allowed for this program type";
        EINVAL LegacyR6 "at the time of BPF_LD_ABS|IND R6 != pointer to skb";

        // Exits.
        EACCES ReturnScalar "R0 not a scalar value";
        EINVAL ReturnStack "cannot return stack pointer to the caller";
        EINVAL SubprogReturn { reg: &'static str, ty: String }
            "At subprogram exit the register {reg} is not a scalar value ({ty})";
        EINVAL AsyncReturn { reg: &'static str, ty: String }
            "At async callback return the register {reg} is not a known value ({ty})";
        EINVAL ProgramReturn { reg: &'static str, ty: String }
            "At program exit the register {reg} is not a known value ({ty})";
        EINVAL ReturnRange { place: &'static str, reg: &'static str, what: String, min: i32, max: i32 }
            "{place} the register {reg} has {what} should have been in [{min}, {max}]";
        ENOTSUPP NoResult "";
        EINVAL VoidReturn { text: String } "{text}";
        EINVAL LockHeld { place: String }
            "{place} cannot be used inside bpf_spin_lock-ed region";
        EINVAL ReferenceLeak { held: String, place: String }
            "{held}{place} would lead to reference leak";
        EINVAL InterruptsOff { place: String }
            "{place} cannot be used inside bpf_local_irq_save-ed region";
        EINVAL RcuHeld { place: String }
            "{place} cannot be used inside bpf_rcu_read_lock-ed region";
        EINVAL PreemptionOff { place: String }
            "{place} cannot be used inside bpf_preempt_disable-ed region";
    }
}
