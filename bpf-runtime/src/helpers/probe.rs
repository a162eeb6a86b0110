//! What probes ask about the function that they are on.

use bpf_abi::errno::Errno;

use super::args::FuncArgs;
use super::args::number::NumberOut;
use super::define::helper;

helper! {
    /// Writes argument `n` of the probed function, counted from zero, to `value`. There must be so
    /// many.
    183 Probe => fn get_func_arg(_cx, ctx: FuncArgs<'a>, n: u32, value: NumberOut<'a>) -> Result<u64, Errno> {
        let mut value = value;
        value.set(0);
        value.set(ctx.argument(n).ok_or(Errno::EINVAL)?);
        Ok(0)
    }
}

helper! {
    /// Writes what the probed function returned to `value`. Only probes behind it know that.
    184 Probe => fn get_func_ret(_cx, ctx: FuncArgs<'a>, value: NumberOut<'a>) -> Result<u64, Errno> {
        let mut value = value;
        value.set(0);
        value.set(ctx.result().ok_or(Errno::EOPNOTSUPP)?);
        Ok(0)
    }
}

helper! {
    /// Returns how many arguments the probed function has.
    185 Probe => fn get_func_arg_cnt(_cx, ctx: FuncArgs<'a>) -> u64 {
        ctx.count()
    }
}
