//! From BPF instructions to Cranelift's: one function at a time.
//!
//! Registers are Cranelift variables of 64 bits; R10 is an address in the function's one stack
//! slot. A block of the program is a block of Cranelift's, and instructions that branch inside
//! (a division, a tail call) add some of their own.

mod alu;
mod branch;
mod memory;
pub(crate) mod stale;
mod atomic;
mod call;
mod map;
mod hash;
mod iter;
mod inline;
mod repeat;
mod throw;
mod checked;

use std::collections::HashMap;

use bpf_abi::exec::ProgCounters;
use bpf_abi::image::Note;
use bpf_isa::{AluOp, Imm64, Insn, Operand, Pc, Reg, Width};
use cranelift_codegen::ir::immediates::Imm64 as Number;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AliasRegion, Block, BlockArg, ExtFuncData, ExternalName, FuncRef, Function as IrFunction,
    GlobalValueData, InstBuilder, SigRef, Signature, SourceLoc, StackSlot, StackSlotData,
    StackSlotKind, Type, Value,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use crate::abi::{self, Name};
use crate::error::CompileError;
use crate::inline::{Body, Plan};
use crate::input::{Input, Map};
use crate::layout::{BlockNo, Exit, Function, Layout};
use crate::origin::{self, Memory, Origins, Region};
use crate::symbol::Symbol;

/// What all functions of a program share.
#[derive(Clone, Copy)]
pub(crate) struct Unit<'a> {
    /// The program: what an image says of it that may decide about code.
    pub(crate) image: &'a Input<'a>,
    pub(crate) layout: &'a Layout,
    pub(crate) plans: &'a [Plan],
    pub(crate) config: TargetFrontendConfig,
    pub(crate) mode: Mode,
}

/// What code does besides what the program says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Nothing: the program was vouched for.
    Plain,
    /// It counts in [`ProgCounters`](bpf_abi::exec::ProgCounters).
    Counted,
    /// It checks each access, call and loop: see [`checked`](crate::checked).
    Checked,
}

/// Translates one function into `ir`, which must be empty.
pub(crate) fn function(
    unit: Unit<'_>,
    number: usize,
    ir: &mut IrFunction,
    cx: &mut FunctionBuilderContext,
) -> Result<(), CompileError> {
    let function = &unit.layout.functions[number];
    ir.signature = abi::body(function);
    let Plan { memory, body } = &unit.plans[number];
    if memory.depth > MAX_FRAME {
        return Err(CompileError::Malformed { pc: function.start, what: "a frame too large" });
    }
    let regions = Region::ALL.map(|region| ir.dfg.alias_regions.insert(region.data()));
    let mut lower = Lower::new(unit, memory, body, regions, FunctionBuilder::new(ir, cx));
    lower.prologue(number);
    lower.blocks()?;
    lower.b.seal_all_blocks();
    lower.b.finalize(unit.config);
    Ok(())
}

/// Translates the function by which helpers call function `number`: it takes the registers as C
/// passes them and keeps the count of tail calls that was there.
pub(crate) fn callback(
    unit: Unit<'_>,
    number: usize,
    ir: &mut IrFunction,
    cx: &mut FunctionBuilderContext,
) {
    let function = &unit.layout.functions[number];
    ir.signature = abi::callback();
    let mut b = FunctionBuilder::new(ir, cx);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    let mut args = params[1..=usize::from(function.arity)].to_vec();
    if function.wants_cx {
        args.push(params[0]);
    }
    let body = import(&mut b, Name::Function(index(number)), abi::called_body(function));
    let count = b.ins().get_pinned_reg(I64);
    let none = b.ins().iconst(I64, i64::from(abi::NO_TAIL_CALLS));
    b.ins().set_pinned_reg(none);
    let call = b.ins().call(body, &args);
    let result = b.inst_results(call)[0];
    b.ins().set_pinned_reg(count);
    b.ins().return_(&[result]);
    b.seal_all_blocks();
    b.finalize(unit.config);
}

/// The largest frame, in bytes: far above what any program has.
const MAX_FRAME: u32 = 1 << 16;

/// A place in a list as Cranelift counts it.
fn index(number: usize) -> u32 {
    u32::try_from(number).expect("fewer functions and helpers than instructions")
}

/// Makes `name` callable; what it stands for is in reach of a 32-bit displacement.
fn import(b: &mut FunctionBuilder<'_>, name: Name, signature: Signature) -> FuncRef {
    let signature = b.import_signature(signature);
    let name = b.func.declare_imported_user_function(name.external());
    let name = ExternalName::user(name);
    b.import_function(ExtFuncData { name, signature, colocated: true, patchable: false })
}

/// One function on its way.
struct Lower<'a> {
    unit: Unit<'a>,
    /// The function that is translated: it, or one that is part of it.
    function: &'a Function,
    body: &'a Body,
    memory: &'a Memory,
    regions: [AliasRegion; Region::ALL.len()],
    b: FunctionBuilder<'a>,
    /// R0 to R9.
    regs: [Variable; 10],
    /// How often `may_goto` may still fall through.
    budget: Variable,
    frame: Option<StackSlot>,
    /// R10.
    fp: Option<Value>,
    /// Where it goes on with the result, if the function is part of another.
    end: Option<Block>,
    /// The run.
    cx: Option<Value>,
    blocks: Vec<Block>,
    /// How many edges into each block are still to come.
    pending: Vec<usize>,
    /// Which blocks have all their edges.
    sealed: Vec<bool>,
    /// The block that is translated.
    current: BlockNo,
    /// Where the registers' values come from, at the instruction that is translated.
    origins: Origins,
    /// Which map a register holds, where that is known.
    maps: [Option<u16>; 11],
    /// Whether R0 is known to be other than zero.
    found: bool,
    names: HashMap<(u32, u32), FuncRef>,
    tail_call: Option<SigRef>,
    /// How many loads of shared memory there have been.
    shared_loads: i32,
    pc: Pc,
}

impl<'a> Lower<'a> {
    fn new(
        unit: Unit<'a>,
        memory: &'a Memory,
        body: &'a Body,
        regions: [AliasRegion; Region::ALL.len()],
        mut b: FunctionBuilder<'a>,
    ) -> Self {
        let function = &unit.layout.functions[body.function];
        let regs = std::array::from_fn(|_| b.declare_var(I64));
        let budget = b.declare_var(I64);
        let frame = (memory.depth > 0).then(|| {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, memory.depth, 3);
            b.create_sized_stack_slot(data)
        });
        let blocks: Vec<Block> = function.blocks.iter().map(|_| b.create_block()).collect();
        Self {
            unit,
            function,
            body,
            memory,
            regions,
            b,
            regs,
            budget,
            frame,
            fp: None,
            end: None,
            cx: None,
            sealed: vec![false; blocks.len()],
            current: 0,
            blocks,
            pending: edges(function),
            origins: Origins::at_entry(),
            maps: [None; 11],
            found: false,
            names: HashMap::new(),
            tail_call: None,
            shared_loads: 0,
            pc: function.start,
        }
    }

    /// Takes the arguments and goes to the first block.
    fn prologue(&mut self, number: usize) {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        self.b.seal_block(entry);
        let params = self.b.block_params(entry).to_vec();
        let arity = usize::from(self.function.arity);
        for (reg, value) in Reg::ARGS.into_iter().zip(&params[..arity]) {
            self.b.def_var(self.regs[reg.index()], *value);
        }
        self.cx = params.get(arity).copied();
        self.begin();
        if self.body.has_others() {
            self.go_apart(number, &params);
        }
        match self.unit.mode {
            Mode::Counted if number == 0 => {
                self.count(std::mem::offset_of!(ProgCounters, runs));
            }
            Mode::Plain | Mode::Counted => {}
            Mode::Checked => self.checked_prologue(number),
        }
        self.b.ins().jump(self.blocks[0], &[]);
    }

    /// What begins a function, whichever code it is part of.
    fn begin(&mut self) {
        if self.uses_budget() {
            let budget = bpf_abi::limits::MAX_MAY_GOTO.cast_signed();
            let budget = self.b.ins().iconst(I64, budget);
            self.b.def_var(self.budget, budget);
        }
        self.fp = self.frame.map(|slot| {
            let depth = i32::try_from(self.memory.depth).expect("at most MAX_FRAME");
            self.b.ins().stack_addr(I64, slot, depth + self.body.fp)
        });
    }

    /// Adds one to the number at `offset` of the program's counters.
    fn count(&mut self, offset: usize) {
        let at = self.address(Symbol::Counters, offset as u64);
        let flags = self.flags(Region::Counters);
        let count = self.b.ins().load(I64, flags, at, 0);
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(flags, count, at, 0);
    }

    fn uses_budget(&self) -> bool {
        self.function.blocks.iter().any(|block| matches!(block.exit, Exit::MayGoto { .. }))
    }

    fn blocks(&mut self) -> Result<(), CompileError> {
        (0..self.function.blocks.len()).try_for_each(|number| self.block(number))
    }

    fn block(&mut self, number: usize) -> Result<(), CompileError> {
        let function = self.function;
        let block = &function.blocks[number];
        self.current = number;
        self.b.switch_to_block(self.blocks[number]);
        self.seal_if_complete(number);
        self.origins = self.body.entries[number];
        self.maps = [None; 11];
        self.found = false;
        let mut pc = block.start;
        while pc < block.end {
            let insn = self.insn(pc)?;
            self.at(pc);
            if let Insn::JumpIf { .. } = insn {
                pc = self.choose(pc)?;
                continue;
            }
            let after = Pc(pc.0 + insn.slots());
            let ends = after >= block.end;
            if ends
                && (self.fused_lookup(insn, block.exit)? || self.fused_next(insn, block.exit)?)
            {
                return Ok(());
            }
            self.insn_at(insn)?;
            self.origins.step(self.unit.image, self.pc, insn);
            pc = after;
        }
        self.exit(block.exit)
    }

    /// Leaves the function with its result.
    fn leave(&mut self, result: Value) {
        match self.end {
            Some(end) => self.b.ins().jump(end, &[BlockArg::Value(result)]),
            None => self.b.ins().return_(&[result]),
        };
    }

    /// From here on code is made for the instruction at `pc`.
    fn at(&mut self, pc: Pc) {
        self.pc = pc;
        self.b.set_srcloc(SourceLoc::new(pc.0));
    }

    fn insn(&self, pc: Pc) -> Result<Insn, CompileError> {
        let insn = self.unit.image.program.get(pc);
        insn.ok_or(CompileError::Malformed { pc, what: "no instruction" })
    }

    fn insn_at(&mut self, insn: Insn) -> Result<(), CompileError> {
        if insn.writes().contains(Reg::R0) {
            self.found = false;
        }
        let known = self.map_moved(insn);
        match insn {
            Insn::Alu { op, width, dst, src } => self.alu(op, width, dst, src),
            Insn::AluSigned { op, width, dst, src } => self.alu_signed(op, width, dst, src)?,
            Insn::Neg { width, dst } => self.neg(width, dst),
            Insn::MovSx { width, dst, src, from } => self.mov_sx(width, dst, src, from),
            Insn::Endian { kind, size, dst } => self.endian(kind, size, dst),
            Insn::AddrSpaceCast { .. } => return Err(self.unsupported("addr_space_cast")),
            Insn::LoadImm64 { dst, imm } => self.load_imm64(dst, imm)?,
            Insn::SecondSlot => return Err(self.malformed("the second slot of an immediate")),
            Insn::Load { size, ext, dst, base, off } => self.load(size, ext, dst, base, off)?,
            Insn::Store { size, base, off, src } => self.store(size, base, off, src)?,
            Insn::Atomic { op, size, base, off, src } => self.atomic(op, size, base, off, src)?,
            Insn::LoadAcquire { size, dst, base, off } => self.load_acquire(size, dst, base, off),
            Insn::StoreRelease { size, base, off, src } => self.store_release(size, base, off, src),
            Insn::LoadAbs { size, imm } => self.load_packet(size, None, imm)?,
            Insn::LoadInd { size, src, imm } => self.load_packet(size, Some(src), imm)?,
            Insn::Call(call) => self.call(call)?,
            Insn::Jump { .. } | Insn::JumpIf { .. } | Insn::MayGoto { .. } | Insn::Exit => {
                return Err(self.malformed("control flow inside of a block"));
            }
        }
        for reg in insn.writes().iter() {
            self.maps[reg.index()] = None;
        }
        if let Some((dst, map)) = known {
            self.maps[dst.index()] = map;
        }
        Ok(())
    }

    /// The register that `insn` gives a known map, and which.
    fn map_moved(&self, insn: Insn) -> Option<(Reg, Option<u16>)> {
        if let Insn::Alu { op: AluOp::Mov, width: Width::W64, dst, src: Operand::Reg(src) } = insn {
            Some((dst, self.maps[src.index()]))
        } else if let Insn::LoadImm64 { dst, imm: Imm64::MapFd(map) } = insn {
            Some((dst, u16::try_from(map).ok()))
        } else {
            None
        }
    }

    fn load_imm64(&mut self, dst: Reg, imm: Imm64) -> Result<(), CompileError> {
        if self.unit.mode == Mode::Checked && !matches!(imm, Imm64::Value(_)) {
            return Err(self.unsupported("an address as an immediate"));
        }
        let value = match imm {
            Imm64::Value(value) => self.b.ins().iconst(I64, value.cast_signed()),
            Imm64::MapFd(map) => {
                let (map, _) = self.map(map)?;
                self.address(Symbol::Map(map), 0)
            }
            Imm64::MapValue { fd, off } => {
                let (number, map) = self.map(fd)?;
                if !map.has_value {
                    return Err(self.malformed("the value of a map that has no single one"));
                }
                self.address(Symbol::MapValue(number), u64::from(off))
            }
            Imm64::Func { off } => {
                let number = self.unit.layout.function_at(self.pc, off)?;
                let callback = self.name(Name::Callback(index(number)), abi::callback());
                self.b.ins().func_addr(I64, callback)
            }
            Imm64::MapIdx(_) | Imm64::MapIdxValue { .. } | Imm64::BtfId { .. } => {
                return Err(self.malformed("an immediate that was not resolved"));
            }
        };
        self.set(dst, value);
        Ok(())
    }

    /// The address of what is `offset` bytes behind what `symbol` stands for.
    ///
    /// Addresses come from here and from nowhere else: code is made before they are known, and
    /// the same code is put in place for other maps and in other processes. So the optimizer may
    /// not know them either. It takes each for another value, even of one symbol, which leaves
    /// each near to its use.
    pub(super) fn address(&mut self, symbol: Symbol, offset: u64) -> Value {
        let name = self.b.func.declare_imported_user_function(Name::Data(symbol).external());
        let address = self.b.func.create_global_value(GlobalValueData::Symbol {
            name: ExternalName::user(name),
            offset: Number::new(offset.cast_signed()),
            colocated: false,
            tls: false,
        });
        self.b.ins().symbol_value(I64, address)
    }

    /// The image's map with this number, and the number as symbols have it.
    fn map(&self, number: i32) -> Result<(u16, Map), CompileError> {
        let number = u16::try_from(number).ok();
        let map = number.and_then(|at| Some((at, *self.unit.image.maps.get(usize::from(at))?)));
        map.ok_or_else(|| self.malformed("a map that the image does not have"))
    }

    fn note(&self) -> Note {
        origin::note(self.unit.image, self.pc)
    }

    /// The value of a register.
    fn get(&mut self, reg: Reg) -> Value {
        match self.regs.get(reg.index()) {
            Some(variable) => self.b.use_var(*variable),
            None => match self.fp {
                Some(fp) => fp,
                None => self.b.ins().iconst(I64, 0),
            },
        }
    }

    /// The value of a register, or of its low half.
    fn read(&mut self, reg: Reg, width: Width) -> Value {
        let value = self.get(reg);
        match width {
            Width::W64 => value,
            Width::W32 => self.b.ins().ireduce(I32, value),
        }
    }

    fn operand(&mut self, src: Operand, width: Width) -> Value {
        match src {
            Operand::Reg(reg) => self.read(reg, width),
            Operand::Imm(imm) => self.imm(i64::from(imm), ty(width)),
        }
    }

    /// A number as a constant of this type.
    fn imm(&mut self, imm: i64, ty: Type) -> Value {
        let bits = ty.bits();
        let imm = if bits < 64 { imm & ((1 << bits) - 1) } else { imm };
        self.b.ins().iconst(ty, imm)
    }

    fn set(&mut self, reg: Reg, value: Value) {
        // A frame pointer that is written to belongs to no verified program.
        if let Some(variable) = self.regs.get(reg.index()) {
            self.b.def_var(*variable, value);
        }
    }

    /// Sets a register to a result of this width.
    fn write(&mut self, reg: Reg, width: Width, value: Value) {
        let value = match width {
            Width::W64 => value,
            Width::W32 => self.b.ins().uextend(I64, value),
        };
        self.set(reg, value);
    }

    /// The run.
    fn cx(&mut self) -> Value {
        match self.cx {
            Some(cx) => cx,
            None => self.b.ins().iconst(I64, 0),
        }
    }

    /// What `name` stands for, callable.
    fn name(&mut self, name: Name, signature: Signature) -> FuncRef {
        let key = name.external();
        if let Some(known) = self.names.get(&(key.namespace, key.index)) {
            return *known;
        }
        let imported = import(&mut self.b, name, signature);
        self.names.insert((key.namespace, key.index), imported);
        imported
    }

    /// Tells the builder that no more edges into a block will come, if so.
    fn seal_if_complete(&mut self, number: BlockNo) {
        if self.pending[number] == 0 && !self.sealed[number] {
            self.b.seal_block(self.blocks[number]);
            self.sealed[number] = true;
        }
    }

    /// A new block that is entered from the current one alone: the current one must end by
    /// going there.
    fn enter(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
    }

    fn unsupported(&self, what: &str) -> CompileError {
        CompileError::Unsupported { pc: self.pc, what: format!("{what} is not supported") }
    }

    const fn malformed(&self, what: &'static str) -> CompileError {
        CompileError::Malformed { pc: self.pc, what }
    }
}

/// How many edges lead into each block of a function.
fn edges(function: &Function) -> Vec<usize> {
    let mut edges = vec![0; function.blocks.len()];
    for next in function.blocks.iter().flat_map(|block| block.exit.successors()) {
        edges[next] += 1;
    }
    edges
}

/// The type of an operation's operands.
const fn ty(width: Width) -> Type {
    match width {
        Width::W32 => I32,
        Width::W64 => I64,
    }
}
