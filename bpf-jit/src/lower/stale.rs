//! Loads from addresses that may be stale: what is not there reads as zero.
//!
//! Such a load asks the system for the bytes, which takes a microsecond. Programs meet these
//! addresses behind objects of the kernel, and what a runtime hands to programs has none.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bpf_isa::{Extension, Reg, Size};
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::I64;

use super::Lower;
use super::alu::int;
use crate::abi;
use crate::symbol::Symbol;

/// What lies at an address, or zero.
pub(crate) extern "C" fn look(_: u64, address: u64, size: u64) -> u64 {
    let mut bytes = [0; 8];
    let wanted = usize::try_from(size).ok().and_then(|size| bytes.get_mut(..size));
    let Some(wanted) = wanted else { return 0 };
    // Opened anew each time, so that it is this process's memory in a child too.
    let memory = File::open("/proc/self/mem");
    let found = memory.is_ok_and(|memory| memory.read_exact_at(wanted, address).is_ok());
    if found { u64::from_le_bytes(bytes) } else { 0 }
}

impl Lower<'_> {
    /// `dst = *(size *)(base + off)`, or zero if there is no memory.
    pub(super) fn load_stale(
        &mut self,
        size: Size,
        extension: Extension,
        dst: Reg,
        base: Reg,
        off: i16,
    ) {
        let base = self.get(base);
        let signature = self.b.import_signature(abi::helper(2));
        let nothing = self.b.ins().iconst(I64, 0);
        let address = self.b.ins().iadd_imm_s(base, i64::from(off));
        let bytes = self.b.ins().iconst(I64, i64::from(size.bytes()));
        let callee = self.address(Symbol::Look, 0);
        let call = self.b.ins().call_indirect(signature, callee, &[nothing, address, bytes]);
        let mut value = self.b.inst_results(call)[0];
        if extension == Extension::Signed && size != Size::DW {
            let narrow = self.b.ins().ireduce(int(size), value);
            value = self.b.ins().sextend(I64, narrow);
        }
        self.set(dst, value);
    }
}
