//! What the passes need to know of a kernel function before any path is walked.

use bpf_abi::helper::HelperFlags;
use bpf_abi::kfunc::{self, KfuncFlags};
use bpf_btf::{Btf, Kind, TypeId};

use crate::env::Env;
use crate::program::ProgramError;
use crate::program::calls::{Effects, Summary};

/// How many different kernel functions a program may call. Linux: `MAX_KFUNC_DESCS`.
const MAX_KFUNCS: usize = 256;

/// Kernel functions that ask a device about a packet. Linux: `xdp_metadata_kfunc_ids`.
const METADATA: &[&str] =
    &["bpf_xdp_metadata_rx_hash", "bpf_xdp_metadata_rx_timestamp", "bpf_xdp_metadata_rx_vlan_tag"];

/// The kernel functions that a program calls.
#[derive(Debug, Default)]
pub(super) struct Called {
    known: Vec<(i32, i16)>,
}

impl Called {
    /// Takes in one more call.
    ///
    /// Linux: `add_kfunc_call`.
    pub(super) fn add(&mut self, env: &Env<'_>, id: i32, btf: i16) -> Result<(), ProgramError> {
        let Some(types) = env.host.kernel_btf() else { return Err(ProgramError::KfuncWithoutBtf) };
        if !env.host.compiles() {
            return Err(ProgramError::KfuncInterpreted);
        }
        if !is_gpl(&env.spec.license) {
            return Err(ProgramError::KfuncLicense);
        }
        // A weak function that this kernel has not; refused only where it is reached.
        if (id, btf) == (0, 0) {
            return Ok(());
        }
        if btf < 0 {
            return Err(ProgramError::KfuncModuleNegative);
        }
        if btf > 0 {
            return Err(ProgramError::KfuncModule);
        }
        if self.known.contains(&(id, btf)) {
            return Ok(());
        }
        if self.known.len() == MAX_KFUNCS {
            return Err(ProgramError::TooManyKfuncs);
        }
        match function(types, id) {
            None => return Err(ProgramError::KfuncId { id: id.cast_unsigned() }),
            // No program here is bound to a device.
            Some(name) if METADATA.contains(&name) => return Err(ProgramError::KfuncDeviceBound),
            Some(_) => {}
        }
        self.known.push((id, btf));
        Ok(())
    }
}

/// Whether programs under this licence may use what is for the GPL only.
///
/// Linux: `license_is_gpl_compatible`.
pub fn is_gpl(license: &str) -> bool {
    matches!(
        license,
        "GPL"
            | "GPL v2"
            | "GPL and additional rights"
            | "Dual BSD/GPL"
            | "Dual MIT/GPL"
            | "Dual MPL/GPL"
    )
}

/// The name of a function of this BTF.
fn function(btf: &Btf, id: i32) -> Option<&str> {
    let ty = btf.get(TypeId(u32::try_from(id).ok()?))?;
    matches!(ty.kind, Kind::Func(_)).then(|| ty.name())
}

/// The name of a kernel function that is called; `None` if it is not known.
pub fn name<'a>(env: &'a Env<'_>, id: i32, btf: i16) -> Option<&'a str> {
    if btf != 0 {
        return None;
    }
    function(env.host.kernel_btf()?, id)
}

/// Whether it throws an exception. Linux: `is_bpf_throw_kfunc`.
pub(super) fn is_throw(env: &Env<'_>, id: i32) -> bool {
    name(env, id, 0) == Some("bpf_throw")
}

/// What it does besides computing.
pub(super) fn effects(env: &Env<'_>, id: i32, btf: i16) -> Effects {
    let Some(row) = name(env, id, btf).and_then(kfunc::find) else { return Effects::default() };
    let mut flags = HelperFlags::empty();
    for (of_row, flag) in [
        (KfuncFlags::SYNC_CALLBACK, HelperFlags::SYNC_CALLBACK),
        (KfuncFlags::ASYNC_CALLBACK, HelperFlags::ASYNC_CALLBACK),
        (KfuncFlags::CHANGES_PKT_DATA, HelperFlags::CHANGES_PKT_DATA),
        (KfuncFlags::SLEEPABLE, HelperFlags::MIGHT_SLEEP),
    ] {
        flags.set(flag, row.flags.contains(of_row));
    }
    let is_iter_next = row.flags.contains(KfuncFlags::ITER_NEXT);
    Effects { flags, is_iter_next }
}

/// How a call of it uses registers.
pub(super) fn summary(env: &Env<'_>, id: i32, btf: i16) -> Option<Summary> {
    let called = name(env, id, btf)?;
    let row = kfunc::find(called)?;
    if !row.callers.include(env.kind.prog_type, env.kind.expected_attach_type) {
        return None;
    }
    let types = env.host.kernel_btf()?;
    let proto = types.func_proto(TypeId(u32::try_from(id).ok()?))?;
    Some(Summary {
        arity: u8::try_from(proto.len()).unwrap_or(5),
        is_void: proto.ret.is_void(),
        fastcall: row.flags.contains(KfuncFlags::FASTCALL),
    })
}
