//! A filter of system calls in a host: a program type of the host's own, dispatched by number.
//!
//! ```sh
//! cargo run --release -p bpfkit --example syscalls
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use bpfkit::prelude::*;

bpfkit::plain! {
    /// A system call, as programs see it.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Syscall {
        /// Its number.
        pub nr: u32,
        /// Who calls.
        pub pid: u32,
        /// The arguments.
        pub args: [u64; 6],
    }
}

/// What becomes of a call.
const VERDICTS: [&str; 3] = ["allow", "deny", "log"];

/// The calls: name, number, process, first and third argument.
const CALLS: [(&str, u32, u32, u64, u64); 6] = [
    ("read", 0, 7, 3, 4096),
    ("read", 0, 7, 3, 1 << 30),
    ("write", 1, 7, 1, 100),
    ("write", 1, 7, 9, 100),
    ("write", 1, 8, 1, 5),
    ("ptrace", 101, 8, 0, 0),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::new()?;
    let filters = runtime
        .program_type::<Syscall>("syscall_filter")
        .structure("syscall")
        .helper(1000, "host_may_write", |pid: u32, fd: u32| u32::from(pid == 8 || fd < 3))
        .returns(0..=2)
        .register()?;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/syscalls.bpf.o");
    let object = runtime.open_file(path)?.load()?;
    let entry = filters.program(&object, "syscall_entry")?;

    let mut caller = entry.caller();
    for (name, nr, pid, fd, len) in CALLS {
        let mut call = Syscall { nr, pid, args: [fd, 0, len, 0, 0, 0] };
        let verdict = caller.call(&mut call)?;
        let verdict = VERDICTS.get(verdict as usize).copied().unwrap_or("?");
        println!("{name:8} pid {pid}  fd {fd}  {len:>10} bytes  {verdict}");
    }

    println!();
    let written = object.map("written")?.hash::<u32, u64>()?;
    for (pid, bytes) in written.entries()? {
        println!("pid {pid} wrote {bytes} bytes");
    }
    Ok(())
}
