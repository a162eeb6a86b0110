//! Questions about memory: contexts, sockets, packets.

use bpf_abi::ctx::{Context, ContextKind, Field, Yields, context_of};
use bpf_abi::map::MapType;
use bpf_abi::prog::AttachType;
use bpf_abi::spec::{Reference, ReferenceTo};
use bpf_isa::{Pc, Slot};

use super::calls::map_of;
use super::code::{
    EXIT, SIZES, add, alu, atomic_add, call, jump, jump_imm, load, load_signed, mov, packet_load,
    set, store, store_imm, wide,
};
use super::hooks::{HOOKS, Hook};
use super::{Item, Question};

/// How memory is accessed.
#[derive(Clone, Copy)]
enum Way {
    Read,
    ReadSigned,
    Write,
}

const WAYS: [(Way, &str); 3] =
    [(Way::Read, "read"), (Way::ReadSigned, "readsx"), (Way::Write, "write")];

/// Accesses what `base` points to at each offset, in every way; R0 is what was read. After a read
/// a helper that wants a map tells what it is.
fn every_access(
    hook: &Hook,
    name: &str,
    before: &[Slot],
    base: u8,
    offsets: std::ops::Range<i16>,
    each: &mut dyn FnMut(Question),
) {
    for (way, word) in WAYS {
        for (bytes, size) in SIZES {
            for off in offsets.clone() {
                let mut insns = before.to_vec();
                match way {
                    Way::Read => insns.push(load(size, 1, base, off)),
                    Way::ReadSigned if bytes == 8 => continue,
                    Way::ReadSigned => insns.push(load_signed(size, 1, base, off)),
                    Way::Write => {
                        insns.extend([set(2, 0), store(size, base, off, 2), set(0, 0), EXIT]);
                    }
                }
                if !matches!(way, Way::Write) {
                    const MAP_LOOKUP_ELEM: i32 = 1;
                    insns.extend([set(2, 0), call(MAP_LOOKUP_ELEM), set(0, 0), EXIT]);
                }
                let group = format!("{name} {word} {bytes}");
                each(hook.asks(group, Item::Number(off.into()), insns));
            }
        }
    }
}

/// Every access of every context.
pub(super) fn contexts(each: &mut dyn FnMut(Question)) {
    for hook in HOOKS {
        let end = match context(hook) {
            Some(context) => i16::try_from(context.size + 12).unwrap_or(i16::MAX),
            None => 40,
        };
        every_access(hook, hook.name, &[], 1, -8..end, each);
    }
}

/// The table of a hook's context, if it has one.
fn context(hook: &Hook) -> Option<&'static Context> {
    match context_of(hook.prog_type, AttachType::new(hook.attach)) {
        Some(ContextKind::Table(context)) => Some(context),
        Some(ContextKind::Bytes { .. } | ContextKind::Arguments) | None => None,
    }
}

/// A field of a hook's context that yields this.
fn field(hook: &Hook, yields: Yields) -> Option<&'static Field> {
    context(hook)?.fields.iter().find(|field| field.yields == yields)
}

/// Loads a pointer out of the context.
fn load_field(field: &Field, dst: u8) -> Slot {
    let size = if field.size == 8 { 0x18 } else { 0 };
    load(size, dst, 1, i16::try_from(field.off).unwrap_or(0))
}

/// A pointer into something else than a context: where, how it is called, and how R6 gets it.
struct Source {
    hook: &'static str,
    name: &'static str,
    insns: Vec<Slot>,
    map: Option<MapType>,
}

/// Every access of sockets and of what else contexts lead to, and what else may be done to them.
pub(super) fn sockets(each: &mut dyn FnMut(Question)) {
    for source in sources() {
        let Some(hook) = HOOKS.iter().find(|hook| hook.name == source.hook) else { continue };
        let mut ask = |question: Question| each(with_map(question, source.map));
        let checked = [&source.insns[..], &[jump_imm(0x50, 0, 0, 1), EXIT, mov(6, 0)]].concat();
        every_access(hook, source.name, &checked, 6, -4..120, &mut ask);
        let ways: [(&str, &[Slot], bool); 6] = [
            ("unchecked", &[load(0, 1, 0, 4)], false),
            ("moved", &[add(6, 4), load(0, 1, 6, 0)], true),
            ("variable", &[load(0, 2, 6, 4), alu(0x50, 2, 4), slot_add(6, 2)], true),
            ("atomic", &[set(2, 1), atomic_add(6, 0, 2)], true),
            ("pointer-stored", &[store(0x18, 6, 0, 10)], true),
            ("released", &[mov(1, 6), call(86)], true),
        ];
        for (way, insns, is_checked) in ways {
            let before = if is_checked { &checked } else { &source.insns };
            let all = [&before[..], insns, &[set(0, 0), EXIT]].concat();
            let item = Item::Name(way.to_owned());
            ask(hook.asks(format!("{} ways", source.name), item, all));
        }
    }
}

/// `dst += src`.
const fn slot_add(dst: u8, src: u8) -> Slot {
    Slot { opcode: 0x0f, dst, src, off: 0, imm: 0 }
}

/// Gives a question the map that its first wide immediate refers to.
fn with_map(mut question: Question, map_type: Option<MapType>) -> Question {
    let Some((map, types)) = map_type.and_then(map_of) else { return question };
    for program in &mut question.object.programs {
        let at = program.insns.iter().position(|slot| slot.opcode == 0x18 && slot.src == 1);
        let at = at.and_then(|at| u32::try_from(at).ok()).map(Pc);
        program.references.extend(at.map(|at| Reference { at, to: ReferenceTo::Map(0) }));
    }
    question.object.maps = vec![map];
    question.object.btf = types;
    question
}

fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    let mut add_source = |hook, name, insns: &[Slot], map| {
        all.push(Source { hook, name, insns: insns.to_vec(), map });
    };
    let skb_sk = [load(0x18, 0, 1, 168)];
    for (hook, name) in [
        ("socket_filter", "skb.sk-of-socket_filter"),
        ("sched_cls", "skb.sk-of-sched_cls"),
        ("cgroup_skb/ingress", "skb.sk-of-cgroup_skb"),
        ("lwt_xmit", "skb.sk-of-lwt_xmit"),
        ("sk_skb", "skb.sk-of-sk_skb"),
    ] {
        add_source(hook, name, &skb_sk, None);
    }
    for (number, name) in [(95, "sk_fullsock"), (96, "tcp_sock"), (98, "get_listener_sock")] {
        let insns = [skb_sk[0], jump_imm(0x50, 0, 0, 1), EXIT, mov(1, 0), call(number)];
        add_source("sched_cls", name, &insns, None);
    }
    for (hook, number, name) in [
        ("sched_cls", 84, "sk_lookup_tcp"),
        ("xdp", 85, "sk_lookup_udp"),
        ("sched_cls", 99, "skc_lookup_tcp"),
    ] {
        let tuple = [store_imm(0x18, 10, -16, 0), store_imm(0x18, 10, -8, 0), mov(2, 10)];
        let rest = [add(2, -16), set(3, 12), set(4, -1), set(5, 0), call(number)];
        add_source(hook, name, &[&tuple[..], &rest].concat(), None);
    }
    for (hook, off, name) in [
        ("sock_ops", 184, "sock_ops.sk"),
        ("sk_msg", 72, "sk_msg.sk"),
        ("sk_reuseport", 40, "sk_reuseport.sk"),
        ("sk_reuseport", 48, "sk_reuseport.migrating_sk"),
        ("sk_lookup", 0, "sk_lookup.sk"),
        ("cgroup_sock_addr/inet4_connect", 64, "sock_addr.sk"),
        ("cgroup_sockopt/getsockopt", 0, "sockopt.sk"),
        ("flow_dissector", 144, "flow_keys"),
        ("raw_tracepoint_writable", 0, "tp_buffer"),
    ] {
        add_source(hook, name, &[load(0x18, 0, 1, off)], None);
    }
    for (hook, map, name) in [
        ("xdp", MapType::Xskmap, "xskmap"),
        ("sk_skb", MapType::Sockmap, "sockmap"),
        ("sk_skb", MapType::Sockhash, "sockhash"),
    ] {
        let [first, second] = wide(1, 1, 0);
        let insns = [store_imm(0, 10, -4, 0), mov(2, 10), add(2, -4), first, second, call(1)];
        add_source(hook, name, &insns, Some(map));
    }
    all
}

/// What may be done to packets, in every hook.
pub(super) fn packets(each: &mut dyn FnMut(Question)) {
    for hook in HOOKS {
        let mut ask = |feature: &str, insns: Vec<Slot>| {
            let item = Item::Name(hook.name.to_owned());
            let question = hook.asks(feature.to_owned(), item, insns);
            each(with_map(question, Some(MapType::Hash)));
        };
        if let Some((data, end)) = field(hook, Yields::Packet).zip(field(hook, Yields::PacketEnd)) {
            area("packet", data, end, &mut ask);
        }
        if let Some((meta, data)) = field(hook, Yields::PacketMeta).zip(field(hook, Yields::Packet))
        {
            area("meta", meta, data, &mut ask);
        }
        for (bytes, size) in &SIZES[..3] {
            let begin = [mov(6, 1), set(2, 4)];
            let direct = [packet_load(*size, false, 0, 0), set(0, 0), EXIT];
            ask(&format!("ld_abs {bytes}"), [&begin[..], &direct].concat());
            let indirect = [packet_load(*size, true, 2, 0), set(0, 0), EXIT];
            ask(&format!("ld_ind {bytes}"), [&begin[..], &indirect].concat());
        }
    }
}

/// Accesses between two pointers of the context.
fn area(name: &str, from: &Field, to: &Field, ask: &mut dyn FnMut(&str, Vec<Slot>)) {
    let begin = [load_field(from, 6), load_field(to, 7), mov(8, 6), add(8, 8)];
    let key = |reg: u8| {
        let [first, second] = wide(1, 1, 0);
        [first, second, mov(2, reg), call(1)]
    };
    let (more, at_least, less) = (0x20, 0x30, 0xa0);
    let features: [(&str, u8, bool, Vec<Slot>); 13] = [
        ("read", more, false, vec![load(0x18, 0, 6, 0)]),
        ("read of the last byte", more, false, vec![load(0x10, 0, 6, 7)]),
        ("read past the end", more, false, vec![load(0x10, 0, 6, 8)]),
        ("read at the end", at_least, false, vec![load(0x10, 0, 6, 8)]),
        ("read on the wrong side", more, true, vec![load(0x10, 0, 6, 0)]),
        ("read below", less, true, vec![load(0x18, 0, 6, 0)]),
        ("read before", more, false, vec![load(0x10, 0, 6, -1)]),
        ("write", more, false, vec![set(2, 0), store(0x18, 6, 0, 2)]),
        ("write of an immediate", more, false, vec![store_imm(0, 6, 0, 0)]),
        ("write of a pointer", more, false, vec![store(0x18, 6, 0, 10)]),
        ("atomic", more, false, vec![set(2, 0), atomic_add(6, 0, 2)]),
        ("key of a map", more, false, key(6).to_vec()),
        ("end moved", more, false, vec![add(7, 1)]),
    ];
    for (feature, op, is_taken, access) in features {
        let skip = i16::try_from(access.len()).unwrap_or(0);
        let mut insns = begin.to_vec();
        if is_taken {
            insns.extend([jump(op, 8, 7, 2), set(0, 0), EXIT]);
        } else {
            insns.push(jump(op, 8, 7, skip));
        }
        insns.extend(access);
        insns.extend([set(0, 0), EXIT]);
        ask(&format!("{name} {feature}"), insns);
    }
    let unchecked = [&begin[..], &[load(0x10, 0, 6, 0), set(0, 0), EXIT]].concat();
    ask(&format!("{name} read unchecked"), unchecked);
}
