//! A packet, ready for programs: the fast way in.

use bpf_abi::prog::ProgType;
use bpf_maps::cpu::OnCpu;

use crate::enter;
use crate::env::{Env, Place};
use crate::error::Error;
use crate::helpers::args::low;
use crate::objects::program::Program;
use crate::packet::skb::SkBuff;
use crate::packet::xdp::XdpBuff;
use crate::packet::{ContextKind, Redirect};
use crate::runtime::Runtime;

/// A packet and its context, in memory that programs can be pointed at.
///
/// Made once and filled again for each packet, it costs nothing to hand to a program but entering
/// it.
///
/// ```no_run
/// # fn f(program: &bpf_runtime::Program, capture: &[Vec<u8>]) -> Result<(), bpf_runtime::Error> {
/// let mut packet = program.packet(&capture[0])?;
/// for bytes in capture {
///     packet.set(bytes)?;
///     let verdict = program.run(&mut packet)?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Packet {
    env: Box<Env>,
    kind: ContextKind,
    tail_calls: u32,
}

impl Packet {
    /// A packet for programs of this type.
    pub(crate) fn new(runtime: &Runtime, prog_type: ProgType) -> Result<Self, Error> {
        let kind = ContextKind::of(prog_type);
        let place = match kind {
            ContextKind::Xdp => Place::Xdp(XdpBuff::new()),
            ContextKind::SkbFromL2 => Place::Skb(SkBuff::new(true)),
            ContextKind::SkbFromL3 => Place::Skb(SkBuff::new(false)),
            ContextKind::RawTracepoint | ContextKind::Syscall | ContextKind::Hook => {
                return Err(Error::Unsupported(format!(
                    "a packet for programs of type {prog_type}"
                )));
            }
        };
        Ok(Self::with_place(runtime, kind, place))
    }

    pub(crate) fn with_place(runtime: &Runtime, kind: ContextKind, place: Place) -> Self {
        let env = Box::new(Env::new(std::sync::Arc::clone(&runtime.shared), place));
        Self { env, kind, tail_calls: 0 }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn env_mut(&mut self) -> &mut Env {
        &mut self.env
    }

    pub(crate) const fn set_tail_calls(&mut self, tail_calls: u32) {
        self.tail_calls = tail_calls;
    }

    /// Makes it another packet, which came in on the first interface.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are too short for the headers that they must have: those of
    /// Ethernet and, in the network stack, IP.
    pub fn set(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.env.redirect.set(None);
        self.tail_calls = 0;
        let too_short = |errno| Error::ShortPacket { len: bytes.len(), errno };
        match &self.env.place {
            Place::Xdp(buff) => {
                if bytes.len() < crate::packet::skb::ETH_LEN {
                    return Err(too_short(bpf_abi::Errno::EINVAL));
                }
                buff.fill(bytes, 1, 0);
            }
            Place::Skb(skb) => skb.fill(bytes, 1).map_err(too_short)?,
            Place::Bytes(_) => {}
        }
        Ok(())
    }

    /// The packet as programs have left it, with its Ethernet header.
    pub fn to_vec(&self) -> Vec<u8> {
        match &self.env.place {
            Place::Xdp(buff) => buff.frame.to_vec(),
            Place::Skb(skb) => skb.to_vec_whole(),
            Place::Bytes(memory) => memory.copy(0, memory.len()),
        }
    }

    /// How many bytes it has, as programs see it.
    pub fn len(&self) -> usize {
        match &self.env.place {
            Place::Xdp(buff) => buff.frame.len(),
            Place::Skb(skb) => skb.frame.len(),
            Place::Bytes(memory) => memory.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the last program sends it, if its verdict is to redirect.
    pub fn redirect(&self) -> Option<Redirect> {
        self.env.redirect.get()
    }

    /// How many tail calls the last run took.
    pub const fn tail_calls(&self) -> u32 {
        self.tail_calls
    }
}

impl Program {
    /// A packet for this program.
    ///
    /// # Errors
    ///
    /// Returns an error if programs of this type are not called with packets, or if the bytes are
    /// too short for the headers that they must have.
    pub fn packet(&self, bytes: &[u8]) -> Result<Packet, Error> {
        if let Some(own) = &self.object.own {
            let what = format!("a packet for a program of the host's own type {:?}", own.name());
            return Err(Error::Unsupported(what));
        }
        let mut packet = Packet::new(&self.runtime, self.prog_type())?;
        packet.set(bytes)?;
        Ok(packet)
    }

    /// Runs the program on a packet, as it is; returns its verdict. Any number of threads may run
    /// a program at the same time, each on a CPU of its own; if there are fewer CPUs than threads,
    /// some wait.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is for programs of another type.
    #[inline(always)]
    pub fn run(&self, packet: &mut Packet) -> Result<u32, Error> {
        self.run_on(packet, &self.runtime.shared.cpus.enter())
    }

    /// Runs the program on each of these packets, in their order, and appends the verdicts: a CPU is
    /// taken once for all of them.
    ///
    /// # Errors
    ///
    /// Returns an [`Error::InBatch`] at the first packet that is for programs of another type; those
    /// before it were run, and their verdicts are there.
    pub fn run_batch(&self, packets: &mut [Packet], verdicts: &mut Vec<u32>) -> Result<(), Error> {
        let runner = self.runner();
        verdicts.reserve(packets.len());
        for (at, packet) in packets.iter_mut().enumerate() {
            match runner.run(packet) {
                Ok(verdict) => verdicts.push(verdict),
                Err(error) => return Err(Error::InBatch { at, error: Box::new(error) }),
            }
        }
        Ok(())
    }

    /// Runs the program on a packet, as it is, and counts the instructions that it takes: its own and
    /// those of programs it jumps to, not those of functions that helpers call.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is for programs of another type, or if the program is
    /// compiled.
    pub fn steps(&self, packet: &mut Packet) -> Result<u64, Error> {
        if packet.kind != self.object.kind {
            return Err(self.wrong_packet());
        }
        let on = self.runtime.shared.cpus.enter();
        match enter::count(self.object.running(), &mut packet.env, &on) {
            Ok(Some(count)) => Ok(count),
            Ok(None) => Err(Error::Unsupported("instructions of compiled code".to_owned())),
            Err(fault) => Err(self.stopped(fault)),
        }
    }

    /// Takes a CPU to run the program on many times. It is kept until the result is dropped, and
    /// what was unloaded meanwhile is kept with it: so it is for a batch of packets, not for a
    /// program's life.
    pub fn runner(&self) -> Runner<'_> {
        Runner { program: self, on: self.runtime.shared.cpus.enter() }
    }

    #[inline(always)]
    fn run_on(&self, packet: &mut Packet, on: &OnCpu<'_>) -> Result<u32, Error> {
        if packet.kind != self.object.kind {
            return Err(self.wrong_packet());
        }
        match enter::run(self.object.running(), &mut packet.env, on) {
            Ok(outcome) => {
                packet.tail_calls = outcome.tail_calls;
                Ok(low(outcome.r0))
            }
            Err(fault) => Err(self.stopped(fault)),
        }
    }

    #[cold]
    pub(crate) fn stopped(&self, fault: Box<bpf_interp::Fault>) -> Error {
        Error::Fault { program: self.name().to_owned(), fault }
    }

    #[cold]
    fn wrong_packet(&self) -> Error {
        Error::WrongPacket { program: self.name().to_owned(), prog_type: self.prog_type() }
    }
}

/// A program on a CPU that is taken: the fastest way to run it again and again.
///
/// It belongs to the thread that made it.
#[derive(Debug)]
pub struct Runner<'a> {
    program: &'a Program,
    on: OnCpu<'a>,
}

impl Runner<'_> {
    /// Runs the program on a packet, as [`Program::run`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if the packet is for programs of another type.
    #[inline(always)]
    pub fn run(&self, packet: &mut Packet) -> Result<u32, Error> {
        self.program.run_on(packet, &self.on)
    }

    /// The number of the CPU.
    pub const fn cpu(&self) -> u32 {
        self.on.cpu().0
    }
}
