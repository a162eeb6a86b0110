//! Structures of functions that programs implement.
//!
//! Which there are, and what their functions take and return, the kernel's types say: a
//! structure `X` is one of them if there is a `bpf_struct_ops_X`.

/// What stands before the name of the structure that a map of such a structure holds.
///
/// Linux: `STRUCT_OPS_VALUE_PREFIX`.
pub const VALUE_PREFIX: &str = "bpf_struct_ops_";

/// What the kernel says of a structure besides its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ops {
    /// The structure.
    pub name: &'static str,
    /// The functions that programs can not stand for.
    unsupported: Members,
    /// The functions whose programs may sleep.
    sleepable: Members,
    /// Which kernel type programs see where the signature has another.
    pub seen_as: Option<(&'static str, &'static str)>,
    /// What programs may write to.
    pub writable: &'static [Writable],
    /// What is said of a structure without anything to write to; empty if nothing is ever said.
    pub refusal: &'static str,
}

/// Some functions of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Members {
    All,
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

impl Members {
    fn include(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(&name),
            Self::AllBut(names) => !names.contains(&name),
        }
    }
}

/// A kernel structure that programs may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writable {
    /// The structure.
    pub structure: &'static str,
    /// What of it may be written.
    pub parts: Parts,
}

/// What of a structure may be written. Members are named from the outermost structure in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// All of it.
    Whole,
    /// Of some members as much as is wanted from their beginning, of others any part.
    Members {
        /// The former.
        from_start: &'static [&'static str],
        /// The latter.
        anywhere: &'static [&'static str],
    },
}

impl Ops {
    /// Whether programs can stand for a function.
    pub fn supports(&self, member: &str) -> bool {
        !self.unsupported.include(member)
    }

    /// Whether a function's programs may sleep.
    pub fn may_sleep(&self, member: &str) -> bool {
        self.sleepable.include(member)
    }
}

/// What is known of the structure with this name besides its type.
pub fn find(name: &str) -> &'static Ops {
    OPS.iter().find(|ops| ops.name == name).unwrap_or(&OTHERS)
}

/// What holds for a structure that is not in the table.
static OTHERS: Ops = Ops {
    name: "",
    unsupported: Members::Only(&[]),
    sleepable: Members::All,
    seen_as: None,
    writable: &[],
    refusal: "only read is supported",
};

static OPS: &[Ops] = &[
    Ops {
        name: "bpf_dummy_ops",
        sleepable: Members::Only(&["test_sleepable"]),
        writable: &[Writable { structure: "bpf_dummy_ops_state", parts: Parts::Whole }],
        refusal: "only access for bpf_dummy_ops_state is supported",
        ..OTHERS
    },
    Ops {
        name: "tcp_congestion_ops",
        unsupported: Members::Only(&["get_info"]),
        seen_as: Some(("sock", "tcp_sock")),
        writable: &[Writable {
            structure: "tcp_sock",
            parts: Parts::Members {
                from_start: &[
                    "inet_conn.icsk_inet.sk.sk_pacing_rate",
                    "inet_conn.icsk_inet.sk.sk_pacing_status",
                    "inet_conn.icsk_ack.pending",
                    "snd_cwnd",
                    "snd_cwnd_cnt",
                    "snd_cwnd_stamp",
                    "snd_ssthresh",
                    "ecn_flags",
                    "app_limited",
                ],
                anywhere: &["inet_conn.icsk_ca_priv"],
            },
        }],
        ..OTHERS
    },
    Ops {
        name: "sched_ext_ops",
        sleepable: Members::Only(&[
            "cgroup_exit",
            "cgroup_init",
            "cgroup_prep_move",
            "cpu_offline",
            "cpu_online",
            "exit",
            "init",
            "init_task",
        ]),
        writable: &[Writable {
            structure: "task_struct",
            parts: Parts::Members {
                from_start: &[],
                anywhere: &["scx.slice", "scx.dsq_vtime", "scx.disallow"],
            },
        }],
        refusal: "",
        ..OTHERS
    },
    Ops {
        name: "hid_bpf_ops",
        sleepable: Members::Only(&["hid_hw_output_report", "hid_hw_request", "hid_rdesc_fixup"]),
        ..OTHERS
    },
    Ops {
        name: "Qdisc_ops",
        unsupported: Members::AllBut(&["dequeue", "destroy", "enqueue", "init", "reset"]),
        ..OTHERS
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_supported() {
        assert!(find("tcp_congestion_ops").supports("ssthresh"));
        assert!(!find("tcp_congestion_ops").supports("get_info"));
        assert!(!find("Qdisc_ops").supports("peek") && find("Qdisc_ops").supports("enqueue"));
        assert!(!find("bpf_dummy_ops").may_sleep("test_1"));
        assert!(find("something_else").supports("any") && find("something_else").may_sleep("any"));
    }
}
