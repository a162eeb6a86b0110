//! Lookups in hash tables: the first element of the key's bucket, without a call.
//!
//! Where that is not the one, the helper looks for others. How tables lie and what is promised of
//! them says [`HashLayout`].

use bpf_abi::map::HashLayout;
use bpf_isa::{Reg, Size};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64, I128};
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value};

use super::Lower;
use super::alu::int;
use super::call::MAP_LOOKUP;
use crate::error::CompileError;
use crate::input::{Percpu, Shape};
use crate::layout::BlockNo;
use crate::symbol::Symbol;

/// A hash table whose keys are short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    map: u16,
    key_size: u32,
    mask: u32,
    stride: u32,
    marks: bool,
    percpu: Option<Percpu>,
}

/// The size of a word, in bytes.
const WORD: u32 = 8;

/// The ways a look at the first element turns out.
struct Outcome {
    /// The address of the value, in the current block.
    value: Value,
    /// Where the bucket is empty.
    empty: Block,
    /// Where another element may have the key.
    unknown: Block,
}

impl Lower<'_> {
    /// The hash table that R1 holds, if it is one whose elements can be looked at.
    pub(super) fn table(&self) -> Result<Option<Table>, CompileError> {
        let Some(map) = self.note().map.or(self.maps[Reg::R1.index()]) else { return Ok(None) };
        let (number, map) = self.map(i32::from(map))?;
        let is_short = (1..=HashLayout::LONGEST_KEY).contains(&map.key_size);
        Ok(match map.shape {
            Shape::Hash { mask, stride, marks, percpu } if is_short => {
                let key_size = map.key_size;
                Some(Table { map: number, key_size, mask, stride, marks, percpu })
            }
            Shape::Opaque
            | Shape::Array { .. }
            | Shape::PercpuArray { .. }
            | Shape::Hash { .. }
            | Shape::ProgArray { .. } => None,
        })
    }

    /// A lookup whose result goes into R0.
    pub(super) fn find(&mut self, table: Table) -> Result<(), CompileError> {
        let Outcome { value, empty, unknown } = self.first_element(table);
        let done = self.b.create_block();
        let result = self.b.append_block_param(done, I64);
        self.b.ins().jump(done, &[BlockArg::Value(value)]);
        self.enter(empty);
        let null = self.b.ins().iconst(I64, 0);
        self.b.ins().jump(done, &[BlockArg::Value(null)]);
        self.enter(unknown);
        self.helper(MAP_LOOKUP)?;
        let other = self.get(Reg::R0);
        self.b.ins().jump(done, &[BlockArg::Value(other)]);
        self.enter(done);
        self.set(Reg::R0, result);
        Ok(())
    }

    /// A lookup and the test of its result: goes on with R0 in one of two blocks.
    pub(super) fn find_or_else(
        &mut self,
        table: Table,
        on_value: BlockNo,
        on_null: BlockNo,
    ) -> Result<(), CompileError> {
        // There are two ways to each.
        self.pending[on_value] += 1;
        self.pending[on_null] += 1;
        let Outcome { value, empty, unknown } = self.first_element(table);
        self.set(Reg::R0, value);
        self.goto(on_value);
        self.enter(empty);
        let null = self.b.ins().iconst(I64, 0);
        self.set(Reg::R0, null);
        self.goto(on_null);
        self.enter(unknown);
        self.helper(MAP_LOOKUP)?;
        let other = self.get(Reg::R0);
        self.branch(other, on_value, on_null);
        Ok(())
    }

    /// Looks at the first element of the key's bucket.
    ///
    /// Its version, its key and its version again are read in this order by atomic loads, which
    /// are plain ones here. What is read is looked at in one branch.
    fn first_element(&mut self, table: Table) -> Outcome {
        let words = self.key_words(table.key_size);
        let hash = self.hash(table, &words);
        let flags = self.flags(crate::origin::Region::Memory);
        let buckets = self.address(Symbol::HashBuckets(table.map), 0);
        let bucket = self.b.ins().band_imm_u(hash, i64::from(table.mask));
        let bucket = self.b.ins().uextend(I64, bucket);
        let bucket = self.b.ins().ishl_imm_u(bucket, 3);
        let head = self.b.ins().iadd(buckets, bucket);
        let head = self.b.ins().atomic_load(I64, flags, head);
        let link = self.b.ins().ireduce(I32, head);
        let has_first = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, link, 0);
        let (first, empty) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(has_first, first, &[], empty, &[]);
        self.enter(first);
        let before_first = u64::from(table.stride).wrapping_neg();
        let elements = self.address(Symbol::HashElements(table.map), before_first);
        let link = self.b.ins().uextend(I64, link);
        let distance = self.b.ins().imul_imm_u(link, i64::from(table.stride));
        let element = self.b.ins().iadd(elements, distance);
        let version = self.b.ins().atomic_load(I64, flags, element);
        // The hash, and the version's lowest bit above it, which tells that the key is written.
        let hash = self.b.ins().uextend(I64, hash);
        let is_other = self.b.ins().bxor(version, hash);
        let mut differences = self.b.ins().ishl_imm_u(is_other, 31);
        for (at, word) in (0..).zip(&words) {
            let offset = HashLayout::KEY + WORD * at;
            let address = self.b.ins().iadd_imm_u(element, i64::from(offset));
            let theirs = self.b.ins().atomic_load(I64, flags, address);
            let difference = self.b.ins().bxor(theirs, *word);
            differences = self.b.ins().bor(differences, difference);
        }
        let again = self.b.ins().atomic_load(I64, flags, element);
        let change = self.b.ins().bxor(again, version);
        let mut differences = self.b.ins().bor(differences, change);
        if table.marks {
            let lack = self.lacks_mark(table, link);
            differences = self.b.ins().bor(differences, lack);
        }
        let (unknown, found) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(unknown);
        self.b.ins().brif(differences, unknown, &[], found, &[]);
        self.enter(found);
        let value = if let Some(percpu) = table.percpu {
            self.value_on_this_cpu(table, percpu, link)
        } else {
            let value = HashLayout::KEY + table.key_size.next_multiple_of(WORD);
            self.b.ins().iadd_imm_u(element, i64::from(value))
        };
        Outcome { value, empty, unknown }
    }

    /// 1 if the element that `link` leads to has no mark of use, otherwise 0.
    fn lacks_mark(&mut self, table: Table, link: Value) -> Value {
        let flags = self.flags(crate::origin::Region::Memory);
        let element = self.b.ins().iadd_imm_s(link, -1);
        let word = self.b.ins().ushr_imm_u(element, 6);
        let word = self.b.ins().ishl_imm_u(word, 3);
        let marks = self.address(Symbol::HashMarks(table.map), 0);
        let word = self.b.ins().iadd(marks, word);
        let word = self.b.ins().atomic_load(I64, flags, word);
        // Only the lowest six bits of what is shifted by count.
        let from_mark = self.b.ins().ushr(word, element);
        let mark = self.b.ins().band_imm_u(from_mark, 1);
        self.b.ins().bxor_imm_u(mark, 1)
    }

    /// The value of the element that `link` leads to, where each CPU has its own.
    fn value_on_this_cpu(&mut self, table: Table, percpu: Percpu, link: Value) -> Value {
        let before_first = u64::from(percpu.stride).wrapping_neg();
        let values = self.address(Symbol::HashValues(table.map), before_first);
        let distance = self.b.ins().imul_imm_u(link, i64::from(percpu.stride));
        let value = self.b.ins().iadd(values, distance);
        let cpu = self.cpu();
        let distance = self.b.ins().imul_imm_u(cpu, percpu.cpu_stride.cast_signed());
        self.b.ins().iadd(value, distance)
    }

    /// The hash of a key.
    fn hash(&mut self, table: Table, words: &[Value]) -> Value {
        let mut state = self.address(Symbol::HashSeed(table.map), 0);
        let factor = self.address(Symbol::HashFactor(table.map), 0);
        for pair in words.chunks(2) {
            let mut a = state;
            let mut b = factor;
            if let Some(first) = pair.first() {
                a = self.b.ins().bxor(a, *first);
            }
            if let Some(second) = pair.get(1) {
                b = self.b.ins().bxor(b, *second);
            }
            let a = self.b.ins().uextend(I128, a);
            let b = self.b.ins().uextend(I128, b);
            let product = self.b.ins().imul(a, b);
            let (low, high) = self.b.ins().isplit(product);
            state = self.b.ins().bxor(low, high);
        }
        let upper = self.b.ins().ushr_imm_u(state, 32);
        let mixed = self.b.ins().bxor(state, upper);
        self.b.ins().ireduce(I32, mixed)
    }

    /// The key that R2 points to, in words.
    ///
    /// Programs write keys in small pieces, and a load of several of them at once would wait for
    /// all of them to be in the cache. So pieces are loaded, which may be in registers still.
    fn key_words(&mut self, key_size: u32) -> Vec<Value> {
        let in_frame = self.points_into_frame(Reg::R2);
        if !in_frame {
            // Which kind of memory it is in is not known: nothing moves across.
            self.b.ins().sequence_point();
        }
        let mut words = Vec::new();
        for start in (0..key_size).step_by(WORD as usize) {
            let end = key_size.min(start + WORD);
            let mut word: Option<Value> = None;
            let mut at = start;
            while at < end {
                let size = match end - at {
                    8.. if !in_frame => Size::DW,
                    4.. => Size::W,
                    2.. => Size::H,
                    _ => Size::B,
                };
                let piece = self.key_piece(at, size);
                let shifted = self.b.ins().ishl_imm_u(piece, i64::from(8 * (at - start)));
                word = Some(match word {
                    Some(word) => self.b.ins().bor(word, shifted),
                    None => piece,
                });
                at += size.bytes();
            }
            words.extend(word);
        }
        words
    }

    /// A piece of the key that R2 points to.
    fn key_piece(&mut self, at: u32, size: Size) -> Value {
        let off = i16::try_from(at).expect("keys are short");
        let place = self.place(Reg::R2, off, size);
        let piece = self.b.ins().load(int(size), place.flags, place.base, place.off);
        self.widen(piece, size)
    }
}
