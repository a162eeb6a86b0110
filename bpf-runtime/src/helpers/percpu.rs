//! Objects that each CPU has its own of.

use super::args::object::{OnCpuOrNull, OnThisCpu, PercpuAt};
use super::define::helper;

helper! {
    /// Returns where the CPU `cpu` has its own of the object `percpu_ptr`. If there is no such CPU it
    /// is an object of zeros that is no CPU's, since the verifier lets programs use it all the same.
    153 Any => fn per_cpu_ptr(cx, percpu_ptr: PercpuAt<'a>, cpu: u32) -> OnCpuOrNull {
        OnCpuOrNull(Some(cx.env().shared.objects.on_cpu(percpu_ptr.address(), cpu)))
    }
}

helper! {
    /// Returns where the CPU that the program runs on has its own of the object `percpu_ptr`.
    154 Any => fn this_cpu_ptr(cx, percpu_ptr: PercpuAt<'a>) -> OnThisCpu {
        OnThisCpu(cx.env().shared.objects.on_cpu(percpu_ptr.address(), cx.cpu()))
    }
}
