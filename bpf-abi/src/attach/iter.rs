//! Kinds of iterators: what programs are called for, one object at a time.

/// What an argument of an iterator's programs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IterArg {
    /// A kernel object that may be null, at the end; alive for as long as the program runs.
    Trusted,
    /// A kernel object that may be null, at the end.
    Plain,
    /// Bytes that may be null, at the end: how many is known when the program is attached.
    Bytes {
        /// Whether they may be written.
        write: bool,
    },
}

/// A kind of iterator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IterTarget {
    /// Its name: programs attach to `bpf_iter_NAME`.
    pub name: &'static str,
    /// Its arguments about which the kernel knows more than their types say, by place, from 0.
    ///
    /// Linux: `ctx_arg_info`.
    pub args: &'static [(usize, IterArg)],
}

impl IterTarget {
    /// What is known of an argument besides its type.
    pub fn arg(&self, place: usize) -> Option<IterArg> {
        self.args.iter().find(|(at, _)| *at == place).map(|(_, arg)| *arg)
    }
}

/// The kind of iterator with this name.
pub fn find(name: &str) -> Option<&'static IterTarget> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Defines the table. The columns are: the name, and for each argument its place and what it is.
macro_rules! targets {
    ($( $name:literal [$( $place:literal $what:ident )*]; )+) => {
        /// Every kind of iterator. Linux: what `bpf_iter_reg_target` is called with.
        static TARGETS: &[IterTarget] = &[ $(
            IterTarget { name: $name, args: &[$( ($place, arg!($what)) ),*] },
        )+ ];
    };
}

/// The words of the table.
macro_rules! arg {
    (trusted) => {
        IterArg::Trusted
    };
    (plain) => {
        IterArg::Plain
    };
    (read) => {
        IterArg::Bytes { write: false }
    };
    (write) => {
        IterArg::Bytes { write: true }
    };
}

targets! {
    "bpf_link" [1 plain];
    "bpf_map" [1 trusted];
    "bpf_map_elem" [2 read 3 write];
    "bpf_prog" [1 plain];
    "bpf_sk_storage_map" [2 plain 3 write];
    "cgroup" [1 trusted];
    "dmabuf" [1 plain];
    "ipv6_route" [1 plain];
    "kmem_cache" [1 trusted];
    "ksym" [1 plain];
    "netlink" [1 plain];
    "sockmap" [2 read 3 plain];
    "task" [1 trusted];
    "task_file" [1 plain 3 plain];
    "task_vma" [1 plain 2 plain];
    "tcp" [1 trusted];
    "udp" [1 trusted];
    "unix" [1 plain];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_object_is_null() {
        let task = find("task").expect("there is such an iterator");
        assert_eq!((task.arg(0), task.arg(1)), (None, Some(IterArg::Trusted)));
        assert!(find("num_new").is_none());
    }
}
