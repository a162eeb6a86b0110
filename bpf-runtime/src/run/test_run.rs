//! `BPF_PROG_TEST_RUN`.

use std::time::Instant;

use bpf_abi::errno::Errno;
use bpf_abi::prog::{AttachType, ProgType};

use super::context::{Wrong, XdpIn, cut, fill_skb, read_skb, read_xdp};
use super::packet::Packet;
use crate::enter;
use crate::env::Place;
use crate::error::Error;
use crate::helpers::args::low;
use crate::memory::Memory;
use crate::objects::program::Program;
use crate::packet::{ContextKind, Redirect, skb, xdp};

/// How to run a program by hand. Linux: `BPF_PROG_TEST_RUN`.
///
/// ```
/// use bpf_runtime::TestRun;
///
/// let run = TestRun::packet(&[0; 64]).repeat(1_000);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestRun<'a> {
    data: Option<&'a [u8]>,
    ctx: Option<&'a [u8]>,
    ctx_out: bool,
    data_out: Option<usize>,
    repeat: u32,
    flags: u32,
    cpu: u32,
    batch_size: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRunOutput {
    /// The program's result: the lower half of R0.
    pub return_value: u32,
    /// The packet as the program left it, metadata before it.
    pub data: Vec<u8>,
    /// The context as the program left it, if it was asked for.
    pub ctx: Vec<u8>,
    /// How long a run took on average, in nanoseconds.
    pub duration: u32,
    /// Where the program sent the packet, if it did.
    pub redirect: Option<Redirect>,
    /// How many tail calls the last run took.
    pub tail_calls: u32,
}

/// Linux: `BPF_F_TEST_RUN_ON_CPU`, `BPF_F_TEST_XDP_LIVE_FRAMES`, `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`.
const ON_CPU: u32 = 1;
const LIVE_FRAMES: u32 = 2;
const CHECKSUM_COMPLETE: u32 = 4;

impl<'a> TestRun<'a> {
    /// With neither packet nor context.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this packet.
    pub fn packet(data: &'a [u8]) -> Self {
        Self { data: Some(data), ..Self::default() }
    }

    /// With this context; it is given back too.
    #[must_use]
    pub const fn ctx(mut self, ctx: &'a [u8]) -> Self {
        self.ctx = Some(ctx);
        self.ctx_out = true;
        self
    }

    /// Whether the context is given back.
    ///
    /// For XDP programs, asking for it without giving one counts as giving one of zeros, whose
    /// packet has no linear part, as in Linux.
    #[must_use]
    pub const fn ctx_out(mut self, wanted: bool) -> Self {
        self.ctx_out = wanted;
        self
    }

    /// How much room there is for the packet that is given back; any amount if not said.
    #[must_use]
    pub const fn data_out(mut self, room: usize) -> Self {
        self.data_out = Some(room);
        self
    }

    /// How often to run the program, on the same packet, as the run before left it. 0 counts as
    /// 1.
    #[must_use]
    pub const fn repeat(mut self, repeat: u32) -> Self {
        self.repeat = repeat;
        self
    }

    /// Flags, as Linux numbers them.
    #[must_use]
    pub const fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// The CPU to run on, with flag 1.
    #[must_use]
    pub const fn cpu(mut self, cpu: u32) -> Self {
        self.cpu = cpu;
        self
    }

    /// How many packets to run at once; refused but for live frames.
    #[must_use]
    pub const fn batch_size(mut self, batch_size: u32) -> Self {
        self.batch_size = batch_size;
        self
    }
}

impl Program {
    /// Runs the program by hand, by the rules of `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// Returns an error where Linux does: for program types that cannot be run so, for packets
    /// and contexts that cannot be, for flags that are not known.
    pub fn test_run(&self, run: &TestRun<'_>) -> Result<TestRunOutput, Error> {
        let ran = match self.object.kind {
            ContextKind::Xdp => self.test_xdp(run),
            ContextKind::SkbFromL2 | ContextKind::SkbFromL3
                if runs_with_packets(self.prog_type()) =>
            {
                self.test_skb(run)
            }
            ContextKind::RawTracepoint if self.prog_type() == ProgType::RawTracepoint => {
                self.test_raw_tracepoint(run)
            }
            ContextKind::Syscall => self.test_syscall(run),
            ContextKind::Hook if linux_alone_runs(self.prog_type()) => Err(Wrong(
                "this runtime cannot run programs of this type by hand",
                Errno::EOPNOTSUPP,
            )),
            ContextKind::SkbFromL2
            | ContextKind::SkbFromL3
            | ContextKind::RawTracepoint
            | ContextKind::Hook => {
                Err(Wrong("programs of this type cannot be run by hand", Errno::ENOTSUPP))
            }
        };
        ran.map_err(|Wrong(reason, errno)| Error::TestRun {
            program: self.name().to_owned(),
            reason: reason.to_owned(),
            errno,
        })
    }

    /// Linux: `bpf_prog_test_run_xdp`.
    fn test_xdp(&self, run: &TestRun<'_>) -> Result<TestRunOutput, Wrong> {
        let attach = self.object.spec.expected_attach_type;
        if matches!(attach, Some(AttachType::XdpDevmap | AttachType::XdpCpumap)) {
            return Err(Wrong(
                "programs of device and CPU maps cannot be run by hand",
                Errno::EINVAL,
            ));
        }
        if run.flags & LIVE_FRAMES != 0 {
            return Err(Wrong("live frames need a network device", Errno::EOPNOTSUPP));
        }
        if run.flags != 0 || run.batch_size != 0 {
            return Err(Wrong("flags or a batch size that are not for this", Errno::EINVAL));
        }
        let data = run.data.unwrap_or_default();
        if data.len() < skb::ETH_LEN {
            return Err(Wrong("the packet is shorter than an Ethernet header", Errno::EINVAL));
        }
        if data.len() > xdp::MAX_LEN {
            return Err(Wrong("the packet is longer than 73152 bytes", Errno::ENOMEM));
        }
        let given = match run.ctx {
            Some(ctx) => XdpIn::read(&cut(ctx, xdp::UAPI_SIZE)?, data.len())?,
            None if run.ctx_out => XdpIn::read(&[], data.len())?,
            None => XdpIn::whole(data.len()),
        };
        let buff = xdp::XdpBuff::new();
        buff.fill_cut(data, given.meta, given.end, given.ifindex);
        let mut packet = Packet::with_place(&self.runtime, ContextKind::Xdp, Place::Xdp(buff));
        let (return_value, duration) = self.timed(&mut packet, run.repeat)?;

        let Place::Xdp(buff) = &packet.env().place else {
            return Err(Wrong("the packet is gone", Errno::EFAULT));
        };
        let ctx = if run.ctx_out { read_xdp(buff, given.given_ifindex) } else { Vec::new() };
        let data = buff.to_vec_with_meta();
        finish(run, &packet, return_value, duration, data, ctx)
    }

    /// Linux: `bpf_prog_test_run_skb`.
    fn test_skb(&self, run: &TestRun<'_>) -> Result<TestRunOutput, Wrong> {
        if run.flags & !CHECKSUM_COMPLETE != 0 || run.cpu != 0 || run.batch_size != 0 {
            return Err(Wrong("flags, a CPU or a batch size that are not for this", Errno::EINVAL));
        }
        let data = run.data.unwrap_or_default();
        if data.len() > skb::MAX_LEN {
            return Err(Wrong("the packet is longer than 3712 bytes", Errno::EINVAL));
        }
        let mut packet = Packet::new(&self.runtime, self.prog_type())
            .map_err(|_| Wrong("programs of this type cannot be run by hand", Errno::ENOTSUPP))?;
        let given = run.ctx.map(|ctx| cut(ctx, skb::UAPI_SIZE)).transpose()?;
        if let Place::Skb(skb) = &packet.env().place {
            skb.fill(data, 1).map_err(|errno| {
                Wrong("the packet is shorter than the headers it must have", errno)
            })?;
            if run.ctx_out || given.is_some() {
                let len = u32::try_from(skb.frame.len()).unwrap_or(0);
                fill_skb(skb, given.as_deref().unwrap_or_default(), len)?;
            }
        }
        let (return_value, duration) = self.timed(&mut packet, run.repeat)?;

        let Place::Skb(skb) = &packet.env().place else {
            return Err(Wrong("the packet is gone", Errno::EFAULT));
        };
        let ctx = if run.ctx_out {
            read_skb(skb, given.as_deref().unwrap_or_default())
        } else {
            Vec::new()
        };
        let data = skb.to_vec();
        finish(run, &packet, return_value, duration, data, ctx)
    }

    /// Linux: `bpf_prog_test_run_raw_tp`.
    fn test_raw_tracepoint(&self, run: &TestRun<'_>) -> Result<TestRunOutput, Wrong> {
        const MOST: usize = 12 * 8;
        let invalid = |what| Err(Wrong(what, Errno::EINVAL));
        if run.data.is_some() || run.repeat != 0 || run.batch_size != 0 || run.data_out.is_some() {
            return invalid("a tracepoint's program takes no packet and no repeat");
        }
        let ctx = run.ctx.unwrap_or_default();
        if ctx.len() > MOST || ctx.len() < self.context_reach() {
            return invalid("the context has fewer bytes than the program reads, or more than 96");
        }
        let on_cpu = run.flags & ON_CPU != 0;
        if run.cpu != 0 && !on_cpu {
            return invalid("a CPU without the flag that says so");
        }
        if on_cpu && run.cpu >= self.runtime.cpus() {
            return Err(Wrong("there is no such CPU", Errno::ENXIO));
        }
        let memory = Memory::new(MOST);
        let _ = memory.write(0, ctx);
        let mut packet =
            Packet::with_place(&self.runtime, ContextKind::RawTracepoint, Place::Bytes(memory));
        let (return_value, duration) = self.timed(&mut packet, 1)?;
        finish(run, &packet, return_value, duration, Vec::new(), Vec::new())
    }

    /// Linux: `bpf_prog_test_run_syscall`.
    fn test_syscall(&self, run: &TestRun<'_>) -> Result<TestRunOutput, Wrong> {
        const MOST: usize = 0xffff;
        let invalid = |what| Err(Wrong(what, Errno::EINVAL));
        if run.data.is_some() || run.repeat != 0 || run.flags != 0 || run.batch_size != 0 {
            return invalid("a system call's program takes no packet, flags or repeat");
        }
        let ctx = run.ctx.unwrap_or_default();
        if ctx.len() > MOST || ctx.len() < self.context_reach() {
            return invalid(
                "the context has fewer bytes than the program uses, or more than 65535",
            );
        }
        let memory = Memory::new(MOST + 1);
        let _ = memory.write(0, ctx);
        let mut packet =
            Packet::with_place(&self.runtime, ContextKind::Syscall, Place::Bytes(memory));
        let (return_value, duration) = self.timed(&mut packet, 1)?;
        let Place::Bytes(memory) = &packet.env().place else {
            return Err(Wrong("the context is gone", Errno::EFAULT));
        };
        let ctx = memory.copy(0, ctx.len());
        finish(run, &packet, return_value, duration, Vec::new(), ctx)
    }

    /// How many bytes of its context the program touches.
    fn context_reach(&self) -> usize {
        use bpf_abi::image::MemoryClass;
        use bpf_isa::Insn;
        let image = &self.object.image;
        let reach = |(insn, note): (&Insn, &bpf_abi::image::Note)| {
            let (Insn::Load { size, off, .. } | Insn::Store { size, off, .. }) = insn else {
                return 0;
            };
            if note.memory != MemoryClass::Context {
                return 0;
            }
            usize::try_from(*off).unwrap_or(0) + size.bytes() as usize
        };
        image.program.insns().iter().zip(&image.notes).map(reach).max().unwrap_or(0)
    }

    /// Runs the program on one packet, again and again: its last result, and the nanoseconds a
    /// run took on average. Nothing but the program is between the two looks at the clock.
    ///
    /// Linux: `bpf_test_run`.
    fn timed(&self, packet: &mut Packet, repeat: u32) -> Result<(u32, u32), Wrong> {
        let repeat = repeat.max(1);
        let on = self.runtime.shared.cpus.enter();
        let code = self.object.running();
        let begun = Instant::now();
        let mut outcome = enter::run(code, packet.env_mut(), &on)?;
        for _ in 1..repeat {
            outcome = enter::run(code, packet.env_mut(), &on)?;
        }
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        drop(on);
        packet.set_tail_calls(outcome.tail_calls);
        self.object.runs.add(u64::from(repeat));
        self.object.run_time.add(took);
        let average = u32::try_from(took / u64::from(repeat)).unwrap_or(u32::MAX);
        Ok((low(outcome.r0), average))
    }
}

/// Whether Linux runs programs of this type by hand with packets.
const fn runs_with_packets(prog_type: ProgType) -> bool {
    matches!(
        prog_type,
        ProgType::SocketFilter
            | ProgType::SchedCls
            | ProgType::SchedAct
            | ProgType::CgroupSkb
            | ProgType::LwtIn
            | ProgType::LwtOut
            | ProgType::LwtXmit
    )
}

/// Whether Linux runs programs of this type by hand, and this runtime does not.
const fn linux_alone_runs(prog_type: ProgType) -> bool {
    matches!(prog_type, ProgType::FlowDissector | ProgType::SkLookup | ProgType::Netfilter)
}

fn finish(
    run: &TestRun<'_>,
    packet: &Packet,
    return_value: u32,
    duration: u32,
    data: Vec<u8>,
    ctx: Vec<u8>,
) -> Result<TestRunOutput, Wrong> {
    if run.data_out.is_some_and(|room| room < data.len()) {
        return Err(Wrong("there is no room for the packet that comes back", Errno::ENOSPC));
    }
    let (redirect, tail_calls) = (packet.redirect(), packet.tail_calls());
    Ok(TestRunOutput { return_value, data, ctx, duration, redirect, tail_calls })
}
