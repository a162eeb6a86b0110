//! Loops: strongly connected components of the flow within functions.
//!
//! Tarjan's algorithm without recursion. Each instruction gets a number when it is first met
//! (`order`), and the least number known to be reachable from it among those still on the stack
//! (`least`). When all its successors are done and nothing earlier is reachable, the instructions
//! above it on the stack are one component. A component gets a number of its own if it is a loop:
//! it has several members or an edge to itself.
//!
//! The numbers are shown in the log, so the order of visits is part of the interface.

use bpf_isa::Pc;

use crate::env::Env;

/// Not met yet.
const UNSEEN: u32 = 0;
/// Its component is complete.
const DONE: u32 = u32::MAX;

/// Numbers the loops, from 1 on, and notes for each instruction which it is in.
///
/// Linux: `compute_scc`.
pub(super) fn compute(env: &mut Env<'_>) {
    let len = env.spec.insns.len();
    let mut tarjan = Tarjan {
        order: vec![UNSEEN; len],
        least: vec![UNSEEN; len],
        next_order: 1,
        next_scc: 1,
        stack: Vec::new(),
    };
    for root in (0..).map(Pc).take(len) {
        tarjan.search(env, root);
    }
    env.flow.sccs = tarjan.next_scc;
}

struct Tarjan {
    order: Vec<u32>,
    least: Vec<u32>,
    next_order: u32,
    next_scc: u32,
    stack: Vec<Pc>,
}

impl Tarjan {
    fn search(&mut self, env: &mut Env<'_>, root: Pc) {
        if self.order[root.index()] != UNSEEN {
            return;
        }
        let mut path = vec![root];
        while let Some(&at) = path.last() {
            if self.order[at.index()] == UNSEEN {
                self.order[at.index()] = self.next_order;
                self.least[at.index()] = self.next_order;
                self.next_order += 1;
                self.stack.push(at);
            }
            match self.first_unseen(env, at) {
                Some(next) => path.push(next),
                None => {
                    if self.least[at.index()] == self.order[at.index()] {
                        self.close(env, at);
                    }
                    path.pop();
                }
            }
        }
    }

    /// The first successor that was not met yet. What those before it reach is taken in.
    fn first_unseen(&mut self, env: &Env<'_>, at: Pc) -> Option<Pc> {
        for next in env.flow.successors(at).iter() {
            if self.order[next.index()] == UNSEEN {
                return Some(next);
            }
            self.least[at.index()] = self.least[at.index()].min(self.least[next.index()]);
        }
        None
    }

    /// The component whose first member is `root` is complete.
    fn close(&mut self, env: &mut Env<'_>, root: Pc) {
        let is_loop = self.stack.last() != Some(&root)
            || env.flow.successors(root).iter().any(|next| next == root);
        while let Some(member) = self.stack.pop() {
            self.least[member.index()] = DONE;
            if is_loop {
                env.note_mut(member).scc = self.next_scc;
            }
            if member == root {
                break;
            }
        }
        self.next_scc += u32::from(is_loop);
    }
}
