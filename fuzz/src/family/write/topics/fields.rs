//! Parts of fields of the context, and its socket.

use super::super::state::{AREA, Held};
use super::super::{EDGES, Kind, Uses, Writer};
use crate::op::{self, FP, Op};

/// Where the control bytes of a `__sk_buff` begin, and how many there are.
const CB: i16 = 48;
const CB_LEN: u8 = 20;
/// Where its socket is.
const SK: i16 = 168;
/// Fields of sockets: an offset and a size.
const OF_COMMON: [(i16, u8); 5] = [(4, 4), (4, 1), (24, 4), (72, 4), (72, 1)];
const OF_FULL: [(i16, u8); 9] =
    [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4), (20, 4), (24, 4), (44, 4), (72, 4)];

impl Writer<'_> {
    /// A part of a field, or a field of the socket.
    pub(super) fn part_of_context(&mut self) {
        let Some(context) = self.holding(|held| held == Held::Context) else {
            self.arithmetic();
            return;
        };
        if self.plan.kind == Kind::Xdp {
            self.context();
            self.uses |= Uses::FIELDS;
            return;
        }
        self.uses |= Uses::FIELDS | Uses::CONTEXT;
        match self.random.below(8) {
            0..3 => {
                let (size, off) = self.control_bytes();
                let dst = self.free(Held::Number);
                self.put(op::load(size, dst, context, off));
                self.hold(dst, Held::Number);
            }
            3..6 => {
                let (size, off) = self.control_bytes();
                let src = self.holding(Held::is_number);
                match src.filter(|_| self.random.chance(75)) {
                    Some(src) => self.put(op::store(size, context, off, src)),
                    None => {
                        let imm = self.random.pick(&EDGES);
                        self.put(op::store_imm(size, context, off, imm));
                    }
                }
            }
            6 => {
                self.load_field();
            }
            _ => self.socket(context),
        }
    }

    fn control_bytes(&mut self) -> (u8, i16) {
        let size: u8 = self.random.pick(&[1, 2, 4, 8]);
        let places = usize::from(CB_LEN / size);
        let place = i16::try_from(self.random.below(places)).unwrap_or(0);
        (size, CB + i16::from(size) * place)
    }

    /// Fields of the socket, if there is one.
    fn socket(&mut self, context: u8) {
        if self.plan.kind == Kind::SocketFilter {
            return;
        }
        self.put(op::load(8, 1, context, SK));
        self.hold(1, Held::Nothing);
        let is_full = self.random.chance(60);
        let block = self.apart(|writer| {
            if is_full {
                // `bpf_sk_fullsock`
                writer.helper(95);
                writer.hold(0, Held::Nothing);
                let block = writer.fields_of(0, &OF_FULL);
                writer.if_not_null(0, block);
            } else {
                let block = writer.fields_of(1, &OF_COMMON);
                writer.code.extend(block);
            }
        });
        self.if_not_null(1, block);
        self.state.call();
    }

    fn fields_of(&mut self, socket: u8, fields: &[(i16, u8)]) -> Vec<Op> {
        let mut block = Vec::new();
        for _ in 0..=self.random.below(3) {
            let (off, size) = self.random.pick(fields);
            let word = i16::try_from(self.random.below(6)).unwrap_or(0);
            block.push(Op::Slot(op::load(size, 3, socket, off)));
            block.push(Op::Slot(op::store(8, FP, AREA + 8 * word, 3)));
        }
        block
    }
}
