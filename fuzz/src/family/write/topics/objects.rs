//! Objects that programs allocate, and what owns them.

use super::super::state::{AREA, Held, MORE as SPILLED};
use super::super::{Uses, Writer, map, place};
use crate::family::types::{node, owner};
use crate::op::{self, FP, JMP, Op};

impl Writer<'_> {
    /// An object is made, or taken out of where it is.
    pub(super) fn object(&mut self) {
        if self.owes > 0 || self.random.chance(20) {
            self.arithmetic();
            return;
        }
        match self.random.below(10) {
            0..5 => self.make_object(None),
            5..7 => self.take_from_list(),
            7..9 => self.take_from_tree(),
            _ => self.exchange(None),
        }
    }

    /// An object is made and goes into the tree in the order that this function says.
    pub(in super::super) fn add_to_tree(&mut self, less: usize) {
        self.make_object(Some(less));
    }

    /// The order of objects: by their numbers.
    pub(in super::super) fn compare_objects(&mut self) {
        let off = i16::try_from(-node::TREE).unwrap_or(0);
        self.put(op::load(8, 1, 1, off));
        self.put(op::load(8, 2, 2, off));
        self.put(op::set(0, 0));
        let condition = self.random.pick(&[op::LT, op::LT, op::GT, 0xc0]);
        self.put(op::jump_if_reg(JMP, condition, 1, 2, 1));
        self.put(op::jump(1));
        self.put(op::set(0, 1));
        self.put(op::exit());
    }

    fn owner(&mut self, reg: u8, part: i32) {
        self.put_wide(reg, 2, map(place::OWNER), part);
    }

    /// Takes the lock, or gives it back.
    fn owner_lock(&mut self, helper: i32) {
        self.owner(1, owner::LOCK);
        self.helper(helper);
        self.hold(0, Held::Nothing);
    }

    fn make_object(&mut self, less: Option<usize>) {
        let Some(kept) = self.free_kept(Held::Nothing) else { return };
        self.uses |= Uses::OBJECTS;
        let ty = i32::try_from(self.plan.types.values.node.0).unwrap_or(0);
        self.put(op::set(1, ty));
        self.put(op::set(2, 0));
        self.kernel_function("bpf_obj_new_impl");
        let number =
            self.holding(|held| held == Held::Number).filter(|reg| *reg > 5 && *reg != kept);
        self.hold(0, Held::Nothing);
        self.put(op::copy(kept, 0));
        self.hold(kept, Held::Nothing);
        let block = self.apart(|writer| {
            match number {
                Some(number) => writer.put(op::store(8, kept, 0, number)),
                None => {
                    let imm = writer.random.pick(&super::super::EDGES);
                    writer.put(op::store_imm(8, kept, 0, imm));
                }
            }
            match less {
                Some(less) => writer.put_in_tree(kept, less),
                None => match writer.random.below(6) {
                    0 => writer.drop_object(kept, 0),
                    1 => writer.exchange(Some(kept)),
                    2 | 3 => writer.share_object(kept),
                    _ => writer.push_to_list(kept),
                },
            }
        });
        self.if_not_null(kept, block);
    }

    fn drop_object(&mut self, reg: u8, back: i32) {
        self.put(op::copy(1, reg));
        if back != 0 {
            self.put(op::add(1, -back));
        }
        self.put(op::set(2, 0));
        self.kernel_function("bpf_obj_drop_impl");
        self.hold(0, Held::Nothing);
    }

    /// An object that two own: the list, if it is not in it already, and nobody else in the end.
    fn share_object(&mut self, reg: u8) {
        self.put(op::copy(1, reg));
        self.put(op::set(2, 0));
        self.kernel_function("bpf_refcount_acquire_impl");
        self.put(op::store(8, FP, SPILLED, 0));
        self.push_to_list(reg);
        self.put(op::load(8, reg, FP, SPILLED));
        match self.random.below(3) {
            0 => self.drop_object(reg, 0),
            1 => self.exchange(Some(reg)),
            _ => self.push_to_list(reg),
        }
    }

    fn push_to_list(&mut self, reg: u8) {
        self.owner_lock(93);
        self.owner(1, owner::LIST);
        self.put(op::copy(2, reg));
        self.put(op::add(2, node::LIST));
        self.put(op::set(3, 0));
        self.put(op::set(4, 0));
        let name = self.random.pick(&["bpf_list_push_front_impl", "bpf_list_push_back_impl"]);
        self.kernel_function(name);
        self.put(op::store(8, FP, AREA, 0));
        self.owner_lock(94);
    }

    fn put_in_tree(&mut self, reg: u8, less: usize) {
        self.owner_lock(93);
        self.owner(1, owner::TREE);
        self.put(op::copy(2, reg));
        self.put(op::add(2, node::TREE));
        self.code.push(Op::Address { dst: 3, function: less });
        self.put(op::set(4, 0));
        self.put(op::set(5, 0));
        self.kernel_function("bpf_rbtree_add_impl");
        self.put(op::store(8, FP, AREA, 0));
        self.owner_lock(94);
    }

    /// An object's number goes onto the stack.
    fn show_object(&mut self, reg: u8, back: i32) {
        let word = i16::try_from(self.random.below(6)).unwrap_or(0);
        self.put(op::load(8, 3, reg, i16::try_from(-back).unwrap_or(0)));
        self.put(op::store(8, FP, AREA + 8 * word, 3));
    }

    fn take_from_list(&mut self) {
        let Some(kept) = self.free_kept(Held::Nothing) else { return };
        self.uses |= Uses::OBJECTS;
        self.owner_lock(93);
        self.owner(1, owner::LIST);
        let name = self.random.pick(&["bpf_list_pop_front", "bpf_list_pop_back"]);
        self.kernel_function(name);
        self.put(op::copy(kept, 0));
        self.hold(kept, Held::Nothing);
        self.owner_lock(94);
        let block = self.apart(|writer| {
            writer.show_object(kept, node::LIST);
            writer.drop_object(kept, node::LIST);
        });
        self.if_not_null(kept, block);
    }

    /// The first of the tree, or the one at its top, or one below that.
    fn take_from_tree(&mut self) {
        let Some(kept) = self.free_kept(Held::Nothing) else { return };
        self.uses |= Uses::OBJECTS;
        self.owner_lock(93);
        self.owner(1, owner::TREE);
        let (name, child) = self.random.pick(&[
            ("bpf_rbtree_first", None),
            ("bpf_rbtree_first", None),
            ("bpf_rbtree_root", None),
            ("bpf_rbtree_root", Some("bpf_rbtree_left")),
            ("bpf_rbtree_root", Some("bpf_rbtree_right")),
        ]);
        self.kernel_function(name);
        self.hold(0, Held::Nothing);
        let without = self.apart(|writer| writer.owner_lock(94));
        let mut take = self.apart(|writer| {
            writer.show_object(0, node::TREE);
            writer.put(op::copy(2, 0));
            writer.owner(1, owner::TREE);
            writer.kernel_function("bpf_rbtree_remove");
            writer.put(op::copy(kept, 0));
            writer.hold(kept, Held::Nothing);
            writer.owner_lock(94);
            let block = writer.apart(|writer| writer.drop_object(kept, node::TREE));
            writer.if_not_null(kept, block);
        });
        take.push(Op::Slot(op::jump(op::over(&without, 0))));
        if let Some(child) = child {
            let call = self.apart(|writer| {
                writer.put(op::copy(2, 0));
                writer.owner(1, owner::TREE);
                writer.kernel_function(child);
                writer.hold(0, Held::Nothing);
            });
            let skip = op::over(&call, op::over(&take, 1));
            self.put(op::jump_if(JMP, op::EQ, 0, 0, skip));
            self.code.extend(call);
        }
        self.put(op::jump_if(JMP, op::EQ, 0, 0, op::over(&take, 0)));
        self.code.extend(take);
        self.code.extend(without);
        self.state.call();
    }

    /// An object, or none, goes into the value's pointer; what was there is freed.
    fn exchange(&mut self, reg: Option<u8>) {
        self.uses |= Uses::OBJECTS;
        self.owner(1, owner::POINTER);
        self.put(reg.map_or(op::set(2, 0), |reg| op::copy(2, reg)));
        // `bpf_kptr_xchg`
        self.helper(194);
        self.hold(0, Held::Nothing);
        let block = self.apart(|writer| {
            writer.show_object(0, 0);
            writer.drop_object(0, 0);
        });
        self.if_not_null(0, block);
        self.state.call();
    }
}
