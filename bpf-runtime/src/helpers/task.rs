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

/// The number of this thread.
fn thread_id() -> Option<u64> {
    u64::try_from(rustix::thread::gettid().as_raw_nonzero().get()).ok()
}
