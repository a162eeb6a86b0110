//! Where the kernel that this runtime is like does otherwise than the kernel of the facts.
//!
//! The facts are those of Linux 6.12; the runtime is like 6.18.

use serde_json::{Value, json};

/// A case, a step of it, and what comes of it since 6.18.
struct Difference {
    case: &'static str,
    step: &'static str,
    /// The words of the facts that are otherwise; null for those that are no longer there.
    words: fn() -> Value,
}

/// A refusal of what was accepted.
fn refused() -> Value {
    json!({"rc": null, "errno": "EFAULT", "keylog": []})
}

/// What comes of steps with what was refused.
fn nowhere() -> Value {
    json!({"rc": null, "errno": "EBADF", "retval": null, "value": null})
}

/// Every difference.
const DIFFERENCES: &[Difference] = &[
    // Every program may ask for the name of the current task.
    Difference {
        case: "A03_helpers_by_target_type",
        step: "load E6 EX e_comm attach=X.xdp_main:f",
        words: || json!({"rc": 0, "errno": null, "keylog": []}),
    },
    // A callback may not take tail calls: the walk does not know what they would return to.
    Difference { case: "F17_tailcall_in_callback", step: "load A P inl", words: refused },
    Difference { case: "F17_tailcall_in_callback", step: "mapset A.arr 0 @L.leaf", words: nowhere },
    Difference { case: "F17_tailcall_in_callback", step: "run A.inl", words: nowhere },
    Difference { case: "F17_tailcall_in_callback", step: "var A after", words: nowhere },
    Difference { case: "F17_tailcall_in_callback", step: "load C P each", words: refused },
    Difference { case: "F17_tailcall_in_callback", step: "mapset C.arr 0 @L.leaf", words: nowhere },
    Difference { case: "F17_tailcall_in_callback", step: "run C.each", words: nowhere },
    Difference { case: "F17_tailcall_in_callback", step: "var C after", words: nowhere },
    // The message is another, and does not end its line.
    Difference { case: "F06_map_attrs", step: "load N P notmap", words: || json!({"log": []}) },
    // Packet pointers survive a failed tail call in the same function.
    Difference {
        case: "F20_regs_after_failed_call",
        step: "load D P pkt",
        words: || json!({"rc": 0, "errno": null, "keylog": []}),
    },
    // Global functions may be called with preemption disabled.
    Difference {
        case: "G10_locks",
        step: "load F P preempt_g",
        words: || json!({"rc": 0, "errno": null, "keylog": []}),
    },
];

/// The facts of a step, as they would be of the kernel that this runtime is like.
pub(crate) fn since(case: &str, facts: &Value) -> Value {
    let step = facts.get("cmd").and_then(Value::as_str).unwrap_or_default();
    let mut facts = facts.clone();
    let found = DIFFERENCES.iter().find(|known| known.case == case && known.step == step);
    let (Some(found), Some(words)) = (found, facts.as_object_mut()) else { return facts };
    let Value::Object(changes) = (found.words)() else { return facts };
    for (key, value) in changes {
        if value.is_null() {
            words.remove(&key);
        } else {
            words.insert(key, value);
        }
    }
    facts
}
