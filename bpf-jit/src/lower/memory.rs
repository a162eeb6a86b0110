//! Loads and stores.
//!
//! No access is checked: whoever vouched for the image has done that.

use bpf_abi::image::{Facts, MemoryClass};
use bpf_isa::{Extension, Operand, Reg, Size};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AliasRegionData, InstBuilder, MemFlagsData, Value};

use super::alu::int;
use super::{Lower, Mode};
use crate::error::CompileError;
use crate::origin::{Origin, Region, Touched, touched};

/// An address, and what lies there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) base: Value,
    pub(super) off: i32,
    pub(super) flags: MemFlagsData,
    /// Whether it is in this function's frame, at a place known now.
    pub(super) in_frame: bool,
    /// Whether other threads may change it.
    pub(super) is_shared: bool,
}

/// How many addresses are taken apart each in its own way.
const MAX_APART: i32 = 1 << 20;

impl Lower<'_> {
    /// `dst = *(size *)(base + off)`.
    pub(super) fn load(
        &mut self,
        size: Size,
        ext: Extension,
        dst: Reg,
        base: Reg,
        off: i16,
    ) -> Result<(), CompileError> {
        if self.note().facts.contains(Facts::MAY_FAULT) && self.unit.mode != Mode::Checked {
            self.load_stale(size, ext, dst, base, off);
            return Ok(());
        }
        let place = self.place(base, off, size);
        let Place { base, off, flags, in_frame, is_shared } = place;
        let (base, off) = if is_shared { self.own_address(base, off) } else { (base, off) };
        let b = &mut self.b;
        let value = match (size, ext) {
            (Size::DW, _) => b.ins().load(I64, flags, base, off),
            // In the frame loads have the type of the stores, so that they find each other.
            (_, Extension::Unsigned) if in_frame => {
                let value = b.ins().load(int(size), flags, base, off);
                b.ins().uextend(I64, value)
            }
            (_, Extension::Signed) if in_frame => {
                let value = b.ins().load(int(size), flags, base, off);
                b.ins().sextend(I64, value)
            }
            (Size::B, Extension::Unsigned) => b.ins().uload8(I64, flags, base, off),
            (Size::H, Extension::Unsigned) => b.ins().uload16(I64, flags, base, off),
            (Size::W, Extension::Unsigned) => b.ins().uload32(flags, base, off),
            (Size::B, Extension::Signed) => b.ins().sload8(I64, flags, base, off),
            (Size::H, Extension::Signed) => b.ins().sload16(I64, flags, base, off),
            (Size::W, Extension::Signed) => b.ins().sload32(flags, base, off),
        };
        self.set(dst, value);
        Ok(())
    }

    /// `*(size *)(base + off) = src`.
    pub(super) fn store(
        &mut self,
        size: Size,
        base: Reg,
        off: i16,
        src: Operand,
    ) -> Result<(), CompileError> {
        self.refuse_faults()?;
        let Place { base, off, flags, .. } = self.place(base, off, size);
        let value = match src {
            Operand::Reg(reg) => {
                let value = self.get(reg);
                self.narrow(value, size)
            }
            Operand::Imm(imm) => self.imm(i64::from(imm), int(size)),
        };
        self.b.ins().store(flags, value, base, off);
        Ok(())
    }

    /// The address `base + off`.
    ///
    /// A place in the frame always has the same address, whichever way the program takes to it:
    /// the optimizer knows places by their addresses.
    pub(super) fn place(&mut self, base: Reg, off: i16, size: Size) -> Place {
        if self.unit.mode == Mode::Checked {
            return self.checked_place(base, off, size);
        }
        let touched = touched(self.origins.of(base), off, self.note());
        let flags = self.flags(self.memory.region(touched));
        if let Touched::Frame(Some(at)) = touched
            && let Some(base) = self.frame_address(at)
        {
            return Place { base, off: 0, flags, in_frame: true, is_shared: false };
        }
        let is_shared = match touched {
            Touched::Other(MemoryClass::Unknown | MemoryClass::MapValue) | Touched::Anything => {
                true
            }
            Touched::Other(MemoryClass::Stack | MemoryClass::Context | MemoryClass::Packet)
            | Touched::Frame(_)
            | Touched::SomeFrame => false,
        };
        let base = self.get(base);
        Place { base, off: i32::from(off), flags, in_frame: false, is_shared }
    }

    /// The same address, taken apart as no other load of this function does.
    ///
    /// Memory that is shared with other threads is loaded as often and in the order that the
    /// program says: who waits for a change, or reads a sequence number before and after, must
    /// not be given an old value again. The optimizer knows places by base and offset; in the
    /// instruction the two become one again.
    fn own_address(&mut self, base: Value, off: i32) -> (Value, i32) {
        self.shared_loads = (self.shared_loads + 1) % MAX_APART;
        let apart = self.shared_loads * 8;
        (self.b.ins().iadd_imm_s(base, i64::from(-apart)), off + apart)
    }

    /// The address of what `reg` points to, for instructions that take no offset.
    pub(super) fn pointee(&mut self, reg: Reg, size: Size) -> Place {
        self.place(reg, 0, size)
    }

    fn frame_address(&mut self, at: i32) -> Option<Value> {
        let depth = i32::try_from(self.memory.depth).ok()?;
        let from_bottom = depth.checked_add(at).filter(|from| (0..depth).contains(from))?;
        self.frame.map(|slot| self.b.ins().stack_addr(I64, slot, from_bottom))
    }

    /// The flags of an access: it never traps, and meets only others of its region.
    pub(super) fn flags(&self, region: Region) -> MemFlagsData {
        let region = self.regions[region.index()];
        MemFlagsData::new().with_notrap().with_alias_region(Some(region))
    }

    /// Whether `reg` is known to point into this function's frame.
    pub(super) const fn points_into_frame(&self, reg: Reg) -> bool {
        matches!(self.origins.of(reg), Origin::Frame(_))
    }

    /// Only loads survive a stale address.
    pub(super) fn refuse_faults(&self) -> Result<(), CompileError> {
        if self.note().facts.contains(Facts::MAY_FAULT) {
            return Err(self.unsupported("a store that may fault"));
        }
        Ok(())
    }
}

impl Region {
    /// All of them, in the order of their indices.
    pub(crate) const ALL: [Self; 6] =
        [Self::Memory, Self::Stack, Self::Context, Self::Packet, Self::MapValue, Self::Counters];

    /// Its place in [`ALL`](Self::ALL).
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// As Cranelift knows it.
    pub(crate) fn data(self) -> AliasRegionData {
        let (user_id, description) = match self {
            Self::Memory => (1, "memory"),
            Self::Stack => (2, "stack"),
            Self::Context => (3, "context"),
            Self::Packet => (4, "packet"),
            Self::MapValue => (5, "map value"),
            Self::Counters => (6, "counters"),
        };
        AliasRegionData { user_id, description: description.into() }
    }
}
