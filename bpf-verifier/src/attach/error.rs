//! Why a program may not attach to what it names, whatever its instructions do.

use bpf_abi::prog::ProgType;

use crate::refusals::refusals;

refusals! {
    /// Why a program may not attach to what it names, whatever its instructions do.
    pub enum AttachError {
        // What the load says, by itself: the kernel refuses without a word.
        E2BIG Length "";
        EINVAL NoType "";
        EINVAL AttachType "";
        EINVAL Flags "";
        EINVAL TargetUnexpected "";
        EINVAL Sleepable
            "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable";
        EINVAL NotSleepable "Syscall programs can only be sleepable";
        ENOTSUPP Unsupported { prog_type: ProgType }
            "programs of type {prog_type} are not verified by this version";

        // Which function of which program.
        EINVAL NoTargetId "Tracing programs must provide btf_id";
        EINVAL NoTargetBtf
            "FENTRY/FEXIT program can only be attached to another program annotated with BTF";
        EINVAL NoSuchId { id: u32 } "attach_btf_id {id} is invalid";
        EINVAL NoSubprog { name: String } "Subprog {name} doesn't exist";
        EINVAL ToExceptionCallback { who: &'static str }
            "{who} programs cannot attach to exception callback";
        EINVAL Static "Cannot replace static functions";
        EINVAL Interpreted "Extension programs should be JITed";
        EINVAL ChangesPacket "Extension program changes packet data, while original does not";
        EINVAL MightSleep "Extension program may sleep, while original does not";
        EINVAL TargetInterpreted "Can attach to only JITed progs";
        EINVAL Nested "Cannot nest tracing program attach more than once";
        EINVAL Recursive "Cannot recursively attach";
        EINVAL ExtendsProbe "Cannot extend fentry/fexit";
        EINVAL ReplacesKernel "Cannot replace kernel functions";
        EINVAL OnlyProbes "Only FENTRY/FEXIT progs are attachable to another BPF prog";
        EINVAL OtherKind "";
        EINVAL TargetSleeps { name: String } "{name} is not sleepable";
        EINVAL ChangesResult "can't modify return codes of BPF programs";

        // The two functions' types.
        EINVAL NoOwnBtf "Program extension requires BTF";
        EINVAL NotGlobal { name: String } "{name}() is not a global function";
        EINVAL ArgCount { own: String, count: usize, target: String, wanted: usize }
            "{own}() has {count} args while {target}() has {wanted} args";
        EINVAL ReturnKind { own: String, kind: &'static str, target: String, wanted: &'static str }
            "Return type {kind} of {own}() doesn't match type {wanted} of {target}()";
        EINVAL ArgKind {
            arg: usize, own: String, kind: &'static str, target: String, wanted: &'static str,
        } "arg{arg} in {own}() is {kind} while {target}() has {wanted}";
        EINVAL ArgSize { arg: usize, own: String, size: u32, target: String, wanted: u32 }
            "arg{arg} in {own}() has size {size} while {target}() has {wanted}";
        EINVAL ArgUnknown { arg: usize, own: String } "arg{arg} in {own}() has unrecognized type";
        EINVAL ArgNotStruct { arg: usize, name: String }
            "arg{arg} in {name}() is not a pointer to context";
        EINVAL ArgStruct { arg: usize, own: String, given: String, target: String, wanted: String }
            "arg{arg} {own}(struct {given} *) doesn't match {target}(struct {wanted} *)";

        // Where the kernel is wrong: what an extension demands, and its target does not grant.
        EINVAL ArgNull { arg: usize, own: String, target: String }
            "arg{arg} in {own}() must not be NULL while {target}() may be given NULL";
        EINVAL ArgDemand {
            arg: usize, own: String, given: &'static str, target: String, wanted: &'static str,
        } "arg{arg} in {own}() is {given} while {target}() has {wanted}";
        EINVAL ArgLarger {
            arg: usize, own: String, name: String, size: u32, target: String, wanted: u32,
        } "arg{arg} {own}(struct {name} *) has size {size} while {target}(struct {name} *) has {wanted}";
        EINVAL ArgLayout { arg: usize, own: String, name: String, target: String }
            "arg{arg} {own}(struct {name} *) has another layout than {target}(struct {name} *)";
    }
}
