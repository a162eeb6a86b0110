//! Who runs, where, and chance.

use bpf_abi::errno::Errno;

use super::args::{MemOut, Size};
use super::define::helper;

helper! {
    /// Returns a number that programs cannot guess, or the next of a row if the runtime was
    /// built with a seed.
    7 Any => fn get_prandom_u32(cx) -> u32 {
        cx.env().shared.random.next(cx.cpu())
    }
}

helper! {
    /// Returns the number of the CPU the program runs on.
    8 Any => fn get_smp_processor_id(cx) -> u32 {
        cx.cpu()
    }
}

helper! {
    /// Returns the number of the memory node the program runs on: there is one.
    42 Any => fn get_numa_node_id(_cx) -> u32 {
        0
    }
}

helper! {
    /// Returns the number of the process that runs the program, in the upper half, and that of
    /// the thread in the lower.
    14 Any => fn get_current_pid_tgid(_cx) -> u64 {
        let process = u64::from(std::process::id());
        process << 32 | thread_id().unwrap_or(process)
    }
}

helper! {
    /// Returns the group of the process that runs the program, in the upper half, and its user
    /// in the lower.
    15 Any => fn get_current_uid_gid(_cx) -> u64 {
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        u64::from(group.as_raw()) << 32 | u64::from(user.as_raw())
    }
}

helper! {
    /// Writes the name of the thread that runs the program to `buf`, with its end mark, cut to
    /// `size_of_buf` bytes.
    16 Any => fn get_current_comm(_cx, buf: MemOut<'a>, _size_of_buf: Size) -> Result<(), Errno> {
        let mut buf = buf;
        let name = rustix::thread::name().map_err(|_| Errno::EINVAL)?;
        let room = buf.len().saturating_sub(1);
        let name = name.to_bytes();
        buf.fill(name.get(..room).unwrap_or(name));
        Ok(())
    }
}

helper! {
    /// Returns a number that stands for the thread that runs the program: an address at which no
    /// program can read.
    35 Any => fn get_current_task(_cx) -> u64 {
        thread_local!(static TASK: u8 = const { 0 });
        TASK.with(|task| std::ptr::from_ref(task).addr() as u64)
    }
}

helper! {
    /// Sends the signal `sig` to the process: programs here may not, `EPERM`.
    109 Any => fn send_signal(_cx, sig: u32) -> Result<(), Errno> {
        refused(sig)
    }
}

helper! {
    /// Sends the signal `sig` to the thread: programs here may not, `EPERM`.
    117 Any => fn send_signal_thread(_cx, sig: u32) -> Result<(), Errno> {
        refused(sig)
    }
}

/// Why a signal is not sent.
const fn refused(signal: u32) -> Result<(), Errno> {
    /// Linux: `_NSIG`.
    const LAST: u32 = 64;
    match signal {
        0 => Ok(()),
        1..=LAST => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

helper! {
    /// Writes the numbers of the thread and the process, as the namespace of processes whose device
    /// and file numbers are `dev` and `ino` counts them, to `nsdata`, four bytes each.
    120 Any => fn get_ns_current_pid_tgid(_cx, dev: u64, ino: u64, nsdata: MemOut<'a>, _size: Size) -> Result<(), Errno> {
        let mut nsdata = nsdata;
        let found = if nsdata.len() == 8 { numbers_in(dev, ino) } else { None };
        nsdata.fill(&found.unwrap_or_default());
        found.map(drop).ok_or(Errno::EINVAL)
    }
}

/// The numbers of thread and process, if their namespace is this one.
fn numbers_in(dev: u64, ino: u64) -> Option<[u8; 8]> {
    let space = rustix::fs::stat("/proc/self/ns/pid").ok()?;
    if (space.st_dev, space.st_ino) != (dev, ino) {
        return None;
    }
    let thread = u32::try_from(thread_id()?).ok()?;
    let both = u64::from(std::process::id()) << 32 | u64::from(thread);
    Some(both.to_le_bytes())
}

/// The number of this thread.
fn thread_id() -> Option<u64> {
    u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).ok()
}
