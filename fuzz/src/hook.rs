//! What a program is for: its type, and what else a load must say for it.

use bpf_abi::ctx::{Context, ContextKind, context_of};
use bpf_abi::prog::{AttachType, ProgFlags, ProgType};

/// A kind of program that the kernel judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its type.
    pub prog_type: ProgType,
    /// The attach type expected at load.
    pub attach: AttachType,
    /// What it attaches to, for tracing programs.
    pub target: Option<&'static str>,
    /// Whether it sleeps.
    pub sleepable: bool,
    /// Of how many programs it is one.
    weight: usize,
}

const fn hook(prog_type: ProgType, attach: AttachType, weight: usize) -> Hook {
    Hook { prog_type, attach, target: None, sleepable: false, weight }
}

/// Every kind, with how often it is chosen.
pub static HOOKS: &[Hook] = {
    use {AttachType as A, ProgType as P};
    // The attach type with the number 0, which says nothing for most types.
    const NONE: AttachType = AttachType::CgroupInetIngress;
    &[
        hook(P::SocketFilter, NONE, 6),
        hook(P::SchedCls, NONE, 10),
        hook(P::Xdp, NONE, 10),
        hook(P::Xdp, A::Xdp, 1),
        hook(P::Xdp, A::XdpDevmap, 1),
        hook(P::Kprobe, NONE, 4),
        hook(P::Tracepoint, NONE, 3),
        hook(P::PerfEvent, NONE, 2),
        hook(P::RawTracepoint, NONE, 3),
        hook(P::CgroupSkb, NONE, 3),
        hook(P::CgroupSkb, A::CgroupInetEgress, 2),
        hook(P::CgroupSock, A::CgroupInetSockCreate, 1),
        hook(P::CgroupSock, A::CgroupInet4PostBind, 1),
        hook(P::LwtIn, NONE, 1),
        hook(P::LwtXmit, NONE, 1),
        hook(P::LwtSeg6local, NONE, 1),
        hook(P::SockOps, A::CgroupSockOps, 2),
        hook(P::SkSkb, A::SkSkbStreamVerdict, 2),
        hook(P::SkMsg, A::SkMsgVerdict, 2),
        hook(P::CgroupDevice, A::CgroupDevice, 1),
        hook(P::CgroupSockAddr, A::CgroupInet4Connect, 2),
        hook(P::CgroupSockAddr, A::CgroupInet6Bind, 1),
        hook(P::CgroupSockAddr, A::CgroupUdp6Recvmsg, 1),
        hook(P::SkReuseport, A::SkReuseportSelect, 1),
        hook(P::FlowDissector, A::FlowDissector, 2),
        hook(P::CgroupSysctl, A::CgroupSysctl, 1),
        hook(P::CgroupSockopt, A::CgroupGetsockopt, 1),
        hook(P::CgroupSockopt, A::CgroupSetsockopt, 1),
        hook(P::SkLookup, A::SkLookup, 2),
        hook(P::Netfilter, A::Netfilter, 2),
        Hook { sleepable: true, ..hook(P::Syscall, NONE, 2) },
        Hook { target: Some("sched_switch"), ..hook(P::Tracing, A::TraceRawTp, 3) },
        Hook { target: Some("task_newtask"), ..hook(P::Tracing, A::TraceRawTp, 2) },
        Hook { target: Some("task"), ..hook(P::Tracing, A::TraceIter, 2) },
        Hook { target: Some("bpf_map_elem"), ..hook(P::Tracing, A::TraceIter, 1) },
    ]
};

impl Hook {
    /// The place in [`HOOKS`] of one of them, for a random `number`.
    pub fn choose(number: u64) -> usize {
        let all: u64 = HOOKS.iter().map(|hook| hook.weight as u64).sum();
        let mut left = number % all;
        for (place, hook) in HOOKS.iter().enumerate() {
            match left.checked_sub(hook.weight as u64) {
                Some(rest) => left = rest,
                None => return place,
            }
        }
        0
    }

    /// The flags that its load needs.
    pub fn flags(&self) -> ProgFlags {
        if self.sleepable { ProgFlags::SLEEPABLE } else { ProgFlags::empty() }
    }

    /// The table of its context, if it has one.
    pub fn table(&self) -> Option<&'static Context> {
        match context_of(self.prog_type, Some(self.attach)) {
            Some(ContextKind::Table(table)) => Some(table),
            Some(ContextKind::Bytes { .. } | ContextKind::Arguments) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_chosen() {
        let mut chosen = vec![0; HOOKS.len()];
        for number in 0..1000 {
            chosen[Hook::choose(number)] += 1;
        }
        for (hook, times) in HOOKS.iter().zip(chosen) {
            assert_eq!(times > 0, hook.weight > 0, "{hook:?}");
        }
    }
}
