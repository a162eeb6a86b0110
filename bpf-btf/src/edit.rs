//! Changes in place: what a loader corrects in the types of an object.
//!
//! A compiler leaves sizes and places of sections to the linker, and a loader may hide functions. None of these
//! changes moves a type or a name, so numbers and offsets stay what they were.

use crate::btf::Btf;
use crate::raw::{self, KindCode};
use crate::types::{FuncLinkage, SectionVar, TypeId, VarLinkage};

impl Btf {
    /// Sets the size of a section and the places of its variables; those beyond the variables it has are left out.
    /// Does nothing if the type is no section of its own.
    pub fn set_datasec(&mut self, id: TypeId, size: u32, vars: &[SectionVar]) {
        let Some(at) = self.own_record(id, KindCode::Datasec) else { return };
        let count = raw::Record::read(self.type_bytes(), at).map_or(0, |record| record.vlen());
        self.put(at + 8, size);
        for (n, var) in vars.iter().take(count).enumerate() {
            let at = at + raw::RECORD_SIZE + n * 12;
            self.put(at, var.ty.0);
            self.put(at + 4, var.offset);
            self.put(at + 8, var.size);
        }
    }

    /// Sets the linkage of a function. Does nothing if the type is no function of its own.
    pub fn set_func_linkage(&mut self, id: TypeId, linkage: FuncLinkage) {
        if let Some(at) = self.own_record(id, KindCode::Func) {
            let info = (KindCode::Func as u32) << 24 | u32::from(linkage.code());
            self.put(at + 4, info);
        }
    }

    /// Sets the linkage of a variable. Does nothing if the type is no variable of its own.
    pub fn set_var_linkage(&mut self, id: TypeId, linkage: VarLinkage) {
        if let Some(at) = self.own_record(id, KindCode::Var) {
            self.put(at + raw::RECORD_SIZE, linkage.code());
        }
    }
}
