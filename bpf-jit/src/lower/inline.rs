//! Functions that are part of others: see [`inline`](crate::inline).

use bpf_isa::{Pc, Reg};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_frontend::Variable;

use super::{Lower, edges, index};
use crate::abi;
use crate::error::CompileError;
use crate::inline::Body;
use crate::layout::{BlockNo, Function};
use crate::origin::Origins;
use crate::symbol::Symbol;

/// What is a function's own, while one that is part of it is translated.
struct Waiting<'a> {
    function: &'a Function,
    body: &'a Body,
    regs: [Variable; 10],
    budget: Variable,
    fp: Option<Value>,
    end: Option<Block>,
    blocks: Vec<Block>,
    pending: Vec<usize>,
    sealed: Vec<bool>,
    current: BlockNo,
    origins: Origins,
    maps: [Option<u16>; 11],
    found: bool,
    pc: Pc,
}

impl<'a> Lower<'a> {
    /// Goes on in the code that was compiled apart, with nothing but this function in it, if there
    /// is such.
    pub(super) fn go_apart(&mut self, number: usize, params: &[Value]) {
        let (apart, here) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(apart);
        let cell = self.address(Symbol::Apart(index(number)), 0);
        let body = self.b.ins().atomic_load(I64, MemFlagsData::trusted(), cell);
        self.b.ins().brif(body, apart, &[], here, &[]);
        self.enter(apart);
        let signature = self.b.import_signature(abi::called_body(self.function));
        let call = self.b.ins().call_indirect(signature, body, params);
        let result = self.b.inst_results(call)[0];
        self.b.ins().return_(&[result]);
        self.enter(here);
    }

    /// Puts a function here that is given these arguments; goes on behind it with its result.
    pub(super) fn inline(&mut self, body: &'a Body, args: &[Value]) -> Result<Value, CompileError> {
        let function = &self.unit.layout.functions[body.function];
        let end = self.b.create_block();
        let result = self.b.append_block_param(end, I64);
        let caller = self.wait(function, body, end);
        let nothing = self.b.ins().iconst(I64, 0);
        for variable in self.regs {
            self.b.def_var(variable, nothing);
        }
        for (reg, value) in Reg::ARGS.into_iter().zip(args) {
            self.b.def_var(self.regs[reg.index()], *value);
        }
        self.begin();
        self.b.ins().jump(self.blocks[0], &[]);
        self.blocks()?;
        self.go_on(caller);
        self.enter(end);
        Ok(result)
    }

    /// Turns to another function.
    fn wait(&mut self, function: &'a Function, body: &'a Body, end: Block) -> Waiting<'a> {
        let blocks: Vec<Block> = function.blocks.iter().map(|_| self.b.create_block()).collect();
        let regs = std::array::from_fn(|_| self.b.declare_var(I64));
        let budget = self.b.declare_var(I64);
        let count = blocks.len();
        Waiting {
            function: std::mem::replace(&mut self.function, function),
            body: std::mem::replace(&mut self.body, body),
            regs: std::mem::replace(&mut self.regs, regs),
            budget: std::mem::replace(&mut self.budget, budget),
            fp: self.fp.take(),
            end: self.end.replace(end),
            blocks: std::mem::replace(&mut self.blocks, blocks),
            pending: std::mem::replace(&mut self.pending, edges(function)),
            sealed: std::mem::replace(&mut self.sealed, vec![false; count]),
            current: std::mem::take(&mut self.current),
            origins: self.origins,
            maps: self.maps,
            found: self.found,
            pc: self.pc,
        }
    }

    /// Turns back to the function that waits.
    fn go_on(&mut self, caller: Waiting<'a>) {
        let Waiting {
            function,
            body,
            regs,
            budget,
            fp,
            end,
            blocks,
            pending,
            sealed,
            current,
            origins,
            maps,
            found,
            pc,
        } = caller;
        (self.function, self.body, self.regs, self.budget) = (function, body, regs, budget);
        (self.fp, self.end, self.blocks) = (fp, end, blocks);
        (self.pending, self.sealed, self.current) = (pending, sealed, current);
        (self.origins, self.maps, self.found, self.pc) = (origins, maps, found, pc);
        self.b.set_srcloc(SourceLoc::new(pc.0));
    }
}
