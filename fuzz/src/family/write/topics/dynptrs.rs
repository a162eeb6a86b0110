//! Dynptrs: of a value, a record or the packet.

use super::super::state::{AREA, DYNPTRS, Held, MORE};
use super::super::{Kind, Uses, Writer, map, place};
use crate::op;

/// What a dynptr is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Value,
    Record,
    Packet,
}

impl Writer<'_> {
    /// A dynptr, and what is done with it.
    pub(super) fn dynptr(&mut self) {
        let of = match self.random.below(5) {
            0 | 1 => Of::Value,
            2 if self.owes == 0 => Of::Record,
            _ if self.context_argument() => Of::Packet,
            _ => Of::Value,
        };
        let size = self.random.pick(&[8, 13, 16, 32, 64]);
        match of {
            Of::Value => {
                let off = self.random.between(0, 128 - size);
                self.put_wide(1, 2, map(place::OUT), off);
                self.put(op::set(2, size));
                self.put(op::set(3, 0));
                self.stack_address(4, DYNPTRS[0]);
                self.helper(197);
            }
            Of::Record => {
                self.put_wide(1, 1, map(place::RING), 0);
                self.put(op::set(2, size));
                self.put(op::set(3, 0));
                self.stack_address(4, DYNPTRS[0]);
                self.helper(198);
                self.owes += 1;
                self.fill_record(size);
            }
            Of::Packet => {
                self.put(op::set(2, 0));
                self.stack_address(3, DYNPTRS[0]);
                let is_xdp = self.plan.kind == Kind::Xdp;
                self.kernel_function(if is_xdp {
                    "bpf_dynptr_from_xdp"
                } else {
                    "bpf_dynptr_from_skb"
                });
            }
        }
        self.uses |= Uses::DYNPTRS;
        let mut dynptrs = &DYNPTRS[..1];
        for _ in 0..=self.random.below(4) {
            self.keep_result();
            if dynptrs.len() == 1 && self.random.chance(25) {
                self.stack_address(1, DYNPTRS[0]);
                self.stack_address(2, DYNPTRS[1]);
                self.kernel_function("bpf_dynptr_clone");
                dynptrs = &DYNPTRS;
                continue;
            }
            let (one, other) = (self.random.pick(dynptrs), self.random.pick(dynptrs));
            self.use_dynptr(of, one, other);
        }
        if of == Of::Record {
            self.stack_address(1, DYNPTRS[0]);
            self.put(op::set(2, 1));
            // `bpf_ringbuf_submit_dynptr`, `bpf_ringbuf_discard_dynptr`
            let end = self.random.pick(&[199, 199, 200]);
            self.helper(end);
            self.hold(0, Held::Nothing);
            self.owes -= 1;
        }
    }

    /// All of a record is written, since what was there before is nobody's.
    fn fill_record(&mut self, size: i32) {
        self.stack_address(1, DYNPTRS[0]);
        self.put(op::set(2, 0));
        self.put(op::set(3, size));
        self.number_argument(4, 255);
        self.kernel_function("bpf_dynptr_memset");
    }

    /// A result is kept at times.
    fn keep_result(&mut self) {
        if self.held(0) == Held::Number
            && self.random.chance(30)
            && let Some(reg) = self.free_kept(Held::Number)
        {
            self.copy(reg, 0);
        }
    }

    fn use_dynptr(&mut self, of: Of, one: i16, other: i16) {
        let len = self.random.pick(&[1, 2, 4, 8, 16]);
        match self.random.below(11) {
            0 | 1 => {
                self.some_stack(1, 16);
                self.put(op::set(2, len));
                self.stack_address(3, one);
                self.number_argument(4, 63);
                self.put(op::set(5, 0));
                self.helper(201);
            }
            2 | 3 => {
                self.stack_address(1, one);
                self.number_argument(2, 63);
                self.some_stack(3, 16);
                self.put(op::set(4, len));
                self.put(op::set(5, 0));
                self.helper(202);
                self.state.lose_packets();
            }
            4 if of != Of::Packet => {
                self.stack_address(1, one);
                let off = self.random.between(0, 16);
                self.put(op::set(2, off));
                self.put(op::set(3, len));
                self.helper(203);
                self.use_slice(Held::Value(u8::try_from(len).unwrap_or(1)));
            }
            4 | 5 => self.slice(one, len, "bpf_dynptr_slice"),
            6 if matches!(self.plan.kind, Kind::Xdp | Kind::SchedCls) => {
                self.slice(one, len, "bpf_dynptr_slice_rdwr");
            }
            6 | 7 => {
                self.stack_address(1, one);
                self.number_argument(2, 15);
                self.number_argument(3, 63);
                self.kernel_function("bpf_dynptr_adjust");
            }
            8 => {
                self.stack_address(1, one);
                let name = self.random.pick(&[
                    "bpf_dynptr_is_null",
                    "bpf_dynptr_is_rdonly",
                    "bpf_dynptr_size",
                ]);
                self.kernel_function(name);
                if name != "bpf_dynptr_size" {
                    // Of the kernel's truth values only the lowest byte is anything.
                    self.put(op::alu(op::ALU64, op::AND, 0, 0xff));
                }
            }
            9 => {
                self.stack_address(1, one);
                self.number_argument(2, 31);
                self.stack_address(3, other);
                self.number_argument(4, 31);
                self.number_argument(5, 31);
                self.kernel_function("bpf_dynptr_copy");
                self.state.lose_packets();
            }
            _ => {
                self.stack_address(1, one);
                self.number_argument(2, 31);
                self.number_argument(3, 31);
                self.number_argument(4, 255);
                self.kernel_function("bpf_dynptr_memset");
                self.state.lose_packets();
            }
        }
    }

    fn slice(&mut self, dynptr: i16, len: i32, name: &str) {
        self.put(op::store_imm(8, op::FP, MORE, 1));
        self.put(op::store_imm(8, op::FP, MORE + 8, 2));
        self.stack_address(1, dynptr);
        self.number_argument(2, 63);
        self.stack_address(3, MORE);
        self.put(op::set(4, len));
        self.kernel_function(name);
        let len = u8::try_from(len).unwrap_or(1);
        let is_written = name != "bpf_dynptr_slice";
        self.use_slice(if is_written { Held::Value(len) } else { Held::Constant(len) });
    }

    /// Uses the bytes that R0 points to, if there are any. Nothing points to them afterwards.
    fn use_slice(&mut self, held: Held) {
        self.hold(0, Held::Nothing);
        let size: u8 = self.random.pick(&[1, 2, 4, 8]);
        let (Held::Value(len) | Held::Constant(len)) = held else { return };
        let size = size.min(len);
        let off = i16::from(len - size);
        let mut block = vec![
            op::load(size, 3, 0, 0),
            op::store(8, op::FP, AREA + 8 * i16::try_from(self.random.below(6)).unwrap_or(0), 3),
        ];
        if matches!(held, Held::Value(_)) {
            let imm = self.random.pick(&super::super::EDGES);
            block.push(op::store_imm(size, 0, off, imm));
            if size >= 4 && off == 0 && self.random.chance(40) {
                block.push(op::atomic(size, 0, off, 3, 0xa0));
            }
        }
        self.if_not_null(0, block.into_iter().map(op::Op::Slot).collect());
        self.state.call();
    }
}
