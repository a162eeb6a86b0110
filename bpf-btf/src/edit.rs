//! Changes in place: what a loader corrects in the types of an object.
//!
//! A compiler leaves sizes and places of sections to the linker, and a loader may hide functions and give externs a
//! place. None of these changes moves a type or a name, so numbers and offsets stay what they were; what is added
//! comes last.

use crate::btf::Btf;
use crate::raw::{self, KindCode};
use crate::types::{FuncLinkage, NameOff, SectionVar, TypeId, VarLinkage};

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

    /// Sets the type of a variable. Does nothing if the type is no variable of its own.
    pub fn set_var_type(&mut self, id: TypeId, ty: TypeId) {
        if let Some(at) = self.own_record(id, KindCode::Var) {
            self.put(at + 8, ty.0.min(self.end_id() - 1));
        }
    }

    /// Sets the name of a parameter. Does nothing if the type is no signature of its own, or has no such parameter.
    pub fn set_param_name(&mut self, proto: TypeId, index: usize, name: NameOff) {
        let Some(at) = self.own_record(proto, KindCode::FuncProto) else { return };
        let count = raw::Record::read(self.type_bytes(), at).map_or(0, |record| record.vlen());
        if index < count {
            self.put(at + raw::RECORD_SIZE + 8 * index, name.0);
        }
    }

    /// Adds a variable and its name, and returns both.
    pub fn add_var(&mut self, name: &str, ty: TypeId, linkage: VarLinkage) -> (TypeId, NameOff) {
        let name = self.find_or_add_name(name);
        let ty = ty.0.min(self.end_id() - 1);
        let id = self.add_record(&[name.0, (KindCode::Var as u32) << 24, ty, linkage.code()]);
        (id, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;

    #[test]
    fn changes_leave_everything_else_where_it_is() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let proto = b.proto(int, &[("", int)]);
        let func = b.func("f", proto, FuncLinkage::Extern);
        let var = b.var("v", int, VarLinkage::Extern);
        let section = b.datasec(".ksyms", 0, &[(var, 0, 0)]);
        let before = b.finish().unwrap();
        assert!(before.by_name_kind("dummy", KindCode::Var).is_none());

        let mut after = before.clone();
        after.set_func_linkage(func, FuncLinkage::Global);
        let (added, name) = after.add_var("dummy", int, VarLinkage::Global);
        after.set_param_name(proto, 0, name);
        after.set_param_name(proto, 1, name);
        after.set_datasec(section, 4, &[SectionVar { ty: added, offset: 0, size: 4 }]);
        after.set_var_linkage(func, VarLinkage::Static);

        assert_eq!(after.get(func).unwrap().func().unwrap().linkage, FuncLinkage::Global);
        assert_eq!(after.name(after.func_proto(func).unwrap().param(0).unwrap().name_off), "dummy");
        let section = after.get(section).unwrap().datasec().unwrap();
        assert_eq!((section.size, section.vars().next().unwrap().ty), (4, added));
        assert_eq!(after.get(var).unwrap().var(), before.get(var).unwrap().var());
        assert_eq!(after.by_name_kind("dummy", KindCode::Var), Some(added));
        assert!(after.string_bytes().starts_with(before.string_bytes()));
        assert_eq!(Btf::parse(&after.encode()).unwrap(), after);
    }

    #[test]
    fn a_name_that_is_there_is_not_added_again() {
        let mut b = Builder::new();
        let int = b.int("int", 4, true);
        let mut btf = b.finish().unwrap();
        let before = btf.string_bytes().len();
        let (_, name) = btf.add_var("int", int, VarLinkage::Global);
        assert_eq!(btf.name(name), "int");
        assert_eq!(btf.string_bytes().len(), before);
    }
}
