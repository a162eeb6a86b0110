//! How many slots the kernel's rewriting makes of an access to a context.
//!
//! The kernel keeps contexts as structures of its own, so that reading a field may take several
//! instructions there. Here none does; the numbers are for those who compare. What no row names
//! takes one.

use super::{Context, cgroup, skb, sock, tracing, xdp};

/// Whether a field is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Read.
    Read,
    /// Written.
    Write,
}

/// Accesses that become the same number of slots.
struct Row {
    context: &'static Context,
    way: Way,
    size: u32,
    /// How many, if the result replaces the pointer; and if not.
    slots: (u32, u32),
    offsets: &'static [u32],
}

/// The columns are: the context, the way, the size of the access, how many slots it becomes if
/// the result replaces the pointer and if not, and at which offsets.
macro_rules! rows {
    ($( $room:ident::$NAME:ident $way:ident $size:literal => $same:literal $other:literal [$($off:literal),*]; )+) => {
        static ROWS: &[Row] = &[ $(
            Row {
                context: &$room::$NAME,
                way: Way::$way,
                size: $size,
                slots: ($same, $other),
                offsets: &[$($off),*],
            },
        )+ ];
    };
}

/// How many slots the access becomes; `replaces` says whether the register that holds the pointer
/// is the one that is loaded.
pub fn slots(context: &Context, way: Way, off: u32, size: u32, replaces: bool) -> u32 {
    let fits = |row: &&Row| {
        std::ptr::eq(row.context, context)
            && row.way == way
            && row.size == size
            && row.offsets.contains(&off)
    };
    let row = ROWS.iter().find(fits);
    row.map_or(1, |row| if replaces { row.slots.0 } else { row.slots.1 })
}

/// Whether the kernel keeps the context as another structure: then a sign-extending load takes
/// one slot more.
pub fn is_rewritten(context: &Context) -> bool {
    ROWS.iter().any(|row| std::ptr::eq(row.context, context))
}

/// How many slots reading `size` bytes at `off` of a `struct bpf_sock` becomes.
pub const fn socket_slots(off: u32, size: u32) -> u32 {
    const STATE: u32 = 72;
    const QUEUE: u32 = 76;
    let is_half = matches!(off, 4 | 44 | 48);
    match (off, size) {
        (QUEUE, 1) => 4,
        (QUEUE, _) => 3,
        (_, 4) | (STATE, _) => 1,
        (_, 2) if is_half => 1,
        _ if off.is_multiple_of(4) => 2,
        _ => 3,
    }
}

rows! {
    skb::SOCKET_FILTER Read 1 => 2 2 [0, 4, 5, 6, 7, 8, 12, 16, 24, 28, 32, 36, 44, 68];
    skb::SOCKET_FILTER Read 1 => 3 3 [1, 2, 3, 9, 10, 11, 13, 14, 15, 17, 18, 19, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37, 38, 39, 45, 46, 47, 69, 70, 71];
    skb::SOCKET_FILTER Read 1 => 4 4 [20, 40, 84];
    skb::SOCKET_FILTER Read 1 => 5 5 [21, 22, 23, 41, 42, 43, 85, 86, 87, 164, 176];
    skb::SOCKET_FILTER Read 1 => 6 6 [165, 166, 167, 177, 178, 179];
    skb::SOCKET_FILTER Read 2 => 2 2 [0, 4, 6, 8, 32, 36, 68];
    skb::SOCKET_FILTER Read 2 => 3 3 [2, 10, 34, 38, 70];
    skb::SOCKET_FILTER Read 2 => 4 4 [20, 40, 84, 164, 166, 176, 178];
    skb::SOCKET_FILTER Read 2 => 5 5 [22, 42, 86];
    skb::SOCKET_FILTER Read 4 => 2 2 [4];
    skb::SOCKET_FILTER Read 4 => 3 3 [20, 40, 84];
    skb::SOCKET_FILTER Read 4 => 4 4 [164, 176];
    skb::SCHED Read 1 => 2 2 [0, 4, 5, 6, 7, 8, 12, 16, 24, 28, 32, 36, 44, 68, 72, 160, 180];
    skb::SCHED Read 1 => 3 3 [1, 2, 3, 9, 10, 11, 13, 14, 15, 17, 18, 19, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37, 38, 39, 40, 45, 46, 47, 69, 70, 71, 73, 74, 75, 161, 162, 163];
    skb::SCHED Read 1 => 4 4 [20, 41, 42, 43, 84];
    skb::SCHED Read 1 => 5 5 [21, 22, 23, 85, 86, 87, 164, 176];
    skb::SCHED Read 1 => 6 6 [165, 166, 167, 177, 178, 179];
    skb::SCHED Read 2 => 2 2 [0, 4, 6, 8, 32, 36, 68, 160];
    skb::SCHED Read 2 => 3 3 [2, 10, 34, 38, 40, 70, 162];
    skb::SCHED Read 2 => 4 4 [20, 42, 84, 164, 166, 176, 178];
    skb::SCHED Read 2 => 5 5 [22, 86];
    skb::SCHED Read 4 => 2 2 [4, 40];
    skb::SCHED Read 4 => 3 3 [20, 84];
    skb::SCHED Read 4 => 4 4 [164, 176];
    skb::SCHED Read 8 => 4 4 [184];
    skb::SCHED Read 8 => 8 8 [152];
    skb::SCHED Write 4 => 2 2 [12];
    skb::SCHED Write 8 => 6 6 [152];
    skb::CGROUP_SKB Read 1 => 2 2 [0, 4, 5, 6, 7, 8, 12, 16, 24, 28, 32, 36, 44, 68];
    skb::CGROUP_SKB Read 1 => 3 3 [1, 2, 3, 9, 10, 11, 13, 14, 15, 17, 18, 19, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37, 38, 39, 45, 46, 47, 69, 70, 71, 88, 136];
    skb::CGROUP_SKB Read 1 => 4 4 [20, 40, 84, 89, 90, 91, 132, 137, 138, 139];
    skb::CGROUP_SKB Read 1 => 5 5 [21, 22, 23, 41, 42, 43, 85, 86, 87, 133, 134, 135, 164, 176];
    skb::CGROUP_SKB Read 1 => 6 6 [165, 166, 167, 177, 178, 179];
    skb::CGROUP_SKB Read 2 => 2 2 [0, 4, 6, 8, 32, 36, 68, 88, 90, 136, 138];
    skb::CGROUP_SKB Read 2 => 3 3 [2, 10, 34, 38, 70, 132, 134];
    skb::CGROUP_SKB Read 2 => 4 4 [20, 40, 84, 164, 166, 176, 178];
    skb::CGROUP_SKB Read 2 => 5 5 [22, 42, 86];
    skb::CGROUP_SKB Read 4 => 2 2 [4, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124, 128, 136];
    skb::CGROUP_SKB Read 4 => 3 3 [20, 40, 84, 132];
    skb::CGROUP_SKB Read 4 => 4 4 [164, 176];
    skb::CGROUP_SKB Read 8 => 4 4 [184];
    skb::CGROUP_SKB Read 8 => 8 8 [152];
    skb::CGROUP_SKB Write 8 => 6 6 [152];
    skb::LWT Read 1 => 2 2 [0, 4, 5, 6, 7, 8, 12, 16, 24, 28, 32, 36, 44, 68];
    skb::LWT Read 1 => 3 3 [1, 2, 3, 9, 10, 11, 13, 14, 15, 17, 18, 19, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37, 38, 39, 45, 46, 47, 69, 70, 71];
    skb::LWT Read 1 => 4 4 [20, 40, 84];
    skb::LWT Read 1 => 5 5 [21, 22, 23, 41, 42, 43, 85, 86, 87, 164, 176];
    skb::LWT Read 1 => 6 6 [165, 166, 167, 177, 178, 179];
    skb::LWT Read 2 => 2 2 [0, 4, 6, 8, 32, 36, 68];
    skb::LWT Read 2 => 3 3 [2, 10, 34, 38, 70];
    skb::LWT Read 2 => 4 4 [20, 40, 84, 164, 166, 176, 178];
    skb::LWT Read 2 => 5 5 [22, 42, 86];
    skb::LWT Read 4 => 2 2 [4];
    skb::LWT Read 4 => 3 3 [20, 40, 84];
    skb::LWT Read 4 => 4 4 [164, 176];
    skb::SK_SKB Read 1 => 2 2 [0, 4, 5, 6, 7, 12, 16, 24, 28, 32, 36, 44, 68];
    skb::SK_SKB Read 1 => 3 3 [1, 2, 3, 13, 14, 15, 17, 18, 19, 25, 26, 27, 29, 30, 31, 33, 34, 35, 37, 38, 39, 45, 46, 47, 69, 70, 71, 88, 136];
    skb::SK_SKB Read 1 => 4 4 [20, 40, 84, 89, 90, 91, 132, 137, 138, 139];
    skb::SK_SKB Read 1 => 5 5 [21, 22, 23, 41, 42, 43, 85, 86, 87, 133, 134, 135, 164, 176];
    skb::SK_SKB Read 1 => 6 6 [165, 166, 167, 177, 178, 179];
    skb::SK_SKB Read 2 => 2 2 [0, 4, 6, 32, 36, 68, 88, 90, 136, 138];
    skb::SK_SKB Read 2 => 3 3 [2, 34, 38, 70, 132, 134];
    skb::SK_SKB Read 2 => 4 4 [20, 40, 84, 164, 166, 176, 178];
    skb::SK_SKB Read 2 => 5 5 [22, 42, 86];
    skb::SK_SKB Read 4 => 2 2 [4, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124, 128, 136];
    skb::SK_SKB Read 4 => 3 3 [20, 40, 84, 132];
    skb::SK_SKB Read 4 => 4 4 [164, 176];
    skb::SK_SKB Read 4 => 9 5 [80];
    xdp::XDP Read 4 => 2 2 [16];
    xdp::XDP Read 4 => 3 3 [12];
    xdp::XDP_DEVMAP Read 4 => 2 2 [16];
    xdp::XDP_DEVMAP Read 4 => 3 3 [12, 20];
    tracing::PERF_EVENT Read 1 => 3 3 [168, 176];
    tracing::PERF_EVENT Read 1 => 4 4 [169, 170, 171, 172, 173, 174, 175, 177, 178, 179, 180, 181, 182, 183];
    tracing::PERF_EVENT Read 2 => 3 3 [168, 176];
    tracing::PERF_EVENT Read 2 => 4 4 [170, 172, 174, 178, 180, 182];
    tracing::PERF_EVENT Read 4 => 3 3 [168, 176];
    tracing::PERF_EVENT Read 4 => 4 4 [172, 180];
    tracing::PERF_EVENT Read 8 => 2 2 [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 136, 144, 152, 160, 168, 176];
    sock::CGROUP_SOCK Read 1 => 2 2 [4, 8, 12, 48, 52, 56, 60, 64, 68];
    sock::CGROUP_SOCK Read 1 => 3 3 [49, 53, 54, 55, 57, 58, 59, 61, 62, 63, 65, 66, 67, 69, 70, 71];
    sock::CGROUP_SOCK Read 1 => 4 4 [76];
    sock::CGROUP_SOCK Read 2 => 2 2 [52, 56, 60, 64, 68];
    sock::CGROUP_SOCK Read 2 => 3 3 [54, 58, 62, 66, 70, 76];
    sock::CGROUP_SOCK Read 4 => 3 3 [76];
    sock::CGROUP_SOCK_POST_BIND4 Read 1 => 2 2 [4, 8, 12, 24, 44, 48, 52, 56, 60, 64, 68];
    sock::CGROUP_SOCK_POST_BIND4 Read 1 => 3 3 [25, 26, 27, 49, 53, 54, 55, 57, 58, 59, 61, 62, 63, 65, 66, 67, 69, 70, 71];
    sock::CGROUP_SOCK_POST_BIND4 Read 1 => 4 4 [76];
    sock::CGROUP_SOCK_POST_BIND4 Read 2 => 2 2 [24, 52, 56, 60, 64, 68];
    sock::CGROUP_SOCK_POST_BIND4 Read 2 => 3 3 [26, 54, 58, 62, 66, 70, 76];
    sock::CGROUP_SOCK_POST_BIND4 Read 4 => 3 3 [76];
    sock::CGROUP_SOCK_POST_BIND6 Read 1 => 2 2 [4, 8, 12, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68];
    sock::CGROUP_SOCK_POST_BIND6 Read 1 => 3 3 [29, 30, 31, 33, 34, 35, 37, 38, 39, 41, 42, 43, 49, 53, 54, 55, 57, 58, 59, 61, 62, 63, 65, 66, 67, 69, 70, 71];
    sock::CGROUP_SOCK_POST_BIND6 Read 1 => 4 4 [76];
    sock::CGROUP_SOCK_POST_BIND6 Read 2 => 2 2 [28, 32, 36, 40, 52, 56, 60, 64, 68];
    sock::CGROUP_SOCK_POST_BIND6 Read 2 => 3 3 [30, 34, 38, 42, 54, 58, 62, 66, 70, 76];
    sock::CGROUP_SOCK_POST_BIND6 Read 4 => 3 3 [76];
    sock::SOCK_OPS Read 1 => 4 4 [212];
    sock::SOCK_OPS Read 2 => 3 3 [212];
    sock::SOCK_OPS Read 4 => 2 2 [20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 68, 88, 92];
    sock::SOCK_OPS Read 4 => 3 3 [64, 208, 212];
    sock::SOCK_OPS Read 4 => 9 4 [76, 80, 84, 96, 100, 104, 108, 112, 116, 120, 124, 128, 132, 136, 140, 144, 148, 152, 156, 160, 164];
    sock::SOCK_OPS Read 8 => 3 3 [192];
    sock::SOCK_OPS Read 8 => 6 6 [216];
    sock::SOCK_OPS Read 8 => 8 3 [184];
    sock::SOCK_OPS Read 8 => 9 4 [168, 176];
    sock::SOCK_OPS Write 4 => 6 6 [164];
    sock::SK_MSG Read 4 => 2 2 [16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 64];
    sock::SK_MSG Read 4 => 3 3 [60];
    sock::SK_REUSEPORT Read 1 => 3 3 [16, 24];
    sock::SK_REUSEPORT Read 1 => 4 4 [17, 18, 19, 25, 26, 27];
    sock::SK_REUSEPORT Read 2 => 2 2 [20, 22, 24, 26];
    sock::SK_REUSEPORT Read 2 => 3 3 [16];
    sock::SK_REUSEPORT Read 2 => 4 4 [18];
    sock::SK_REUSEPORT Read 4 => 2 2 [16, 20, 24];
    sock::SK_REUSEPORT Read 8 => 2 2 [0];
    sock::SK_LOOKUP Read 1 => 2 2 [8, 12, 16, 36, 38, 40, 60, 64];
    sock::SK_LOOKUP Read 1 => 3 3 [9, 10, 11, 13, 14, 15, 17, 18, 19, 37, 39, 41, 42, 43, 61, 62, 63, 65, 66, 67];
    sock::SK_LOOKUP Read 1 => 4 4 [20, 24, 28, 32, 44, 48, 52, 56];
    sock::SK_LOOKUP Read 1 => 5 5 [21, 22, 23, 25, 26, 27, 29, 30, 31, 33, 34, 35, 45, 46, 47, 49, 50, 51, 53, 54, 55, 57, 58, 59];
    sock::SK_LOOKUP Read 2 => 2 2 [16, 40, 64];
    sock::SK_LOOKUP Read 2 => 3 3 [18, 42, 66];
    sock::SK_LOOKUP Read 2 => 4 4 [20, 24, 28, 32, 44, 48, 52, 56];
    sock::SK_LOOKUP Read 2 => 5 5 [22, 26, 30, 34, 46, 50, 54, 58];
    sock::SK_LOOKUP Read 4 => 3 3 [20, 24, 28, 32, 44, 48, 52, 56];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Read 1 => 3 3 [4, 24];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Read 1 => 4 4 [5, 6, 7, 25, 26, 27];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Read 2 => 2 2 [24, 26];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Read 2 => 3 3 [4];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Read 2 => 4 4 [6];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Read 4 => 2 2 [0, 4, 24, 28, 32, 36];
    sock::CGROUP_SOCK_ADDR_INET4_BIND Write 4 => 4 4 [4, 24];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 1 => 3 3 [8, 12, 16, 20, 24];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 1 => 4 4 [9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 2 => 2 2 [24, 26];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 2 => 3 3 [8, 12, 16, 20];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 2 => 4 4 [10, 14, 18, 22];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 4 => 2 2 [0, 8, 12, 16, 20, 24, 28, 32, 36];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Read 8 => 2 2 [8, 16];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Write 4 => 4 4 [8, 12, 16, 20, 24];
    sock::CGROUP_SOCK_ADDR_INET6_BIND Write 8 => 4 4 [8, 16];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Read 1 => 3 3 [4, 24, 40];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Read 1 => 4 4 [5, 6, 7, 25, 26, 27, 41, 42, 43];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Read 2 => 2 2 [24, 26];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Read 2 => 3 3 [4, 40];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Read 2 => 4 4 [6, 42];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Read 4 => 2 2 [0, 4, 24, 28, 32, 36, 40];
    sock::CGROUP_SOCK_ADDR_UDP4_SENDMSG Write 4 => 4 4 [4, 24, 40];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 1 => 3 3 [8, 12, 16, 20, 24, 44, 48, 52, 56];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 1 => 4 4 [9, 10, 11, 13, 14, 15, 17, 18, 19, 21, 22, 23, 25, 26, 27, 45, 46, 47, 49, 50, 51, 53, 54, 55, 57, 58, 59];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 2 => 2 2 [24, 26];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 2 => 3 3 [8, 12, 16, 20, 44, 48, 52, 56];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 2 => 4 4 [10, 14, 18, 22, 46, 50, 54, 58];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 4 => 2 2 [0, 8, 12, 16, 20, 24, 28, 32, 36, 44, 48, 52, 56];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Read 8 => 2 2 [8, 16, 48];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Write 4 => 4 4 [8, 12, 16, 20, 24, 44, 48, 52, 56];
    sock::CGROUP_SOCK_ADDR_UDP6_SENDMSG Write 8 => 4 4 [8, 16, 48];
    sock::CGROUP_SOCK_ADDR_UNIX_CONNECT Read 1 => 3 3 [24];
    sock::CGROUP_SOCK_ADDR_UNIX_CONNECT Read 1 => 4 4 [25, 26, 27];
    sock::CGROUP_SOCK_ADDR_UNIX_CONNECT Read 2 => 2 2 [24, 26];
    sock::CGROUP_SOCK_ADDR_UNIX_CONNECT Read 4 => 2 2 [0, 24, 28, 32, 36];
    sock::CGROUP_SOCK_ADDR_UNIX_CONNECT Write 4 => 4 4 [24];
    cgroup::CGROUP_SYSCTL Read 1 => 2 2 [0];
    cgroup::CGROUP_SYSCTL Read 1 => 3 3 [1, 2, 3, 4];
    cgroup::CGROUP_SYSCTL Read 1 => 4 4 [5, 6, 7];
    cgroup::CGROUP_SYSCTL Read 2 => 2 2 [0];
    cgroup::CGROUP_SYSCTL Read 2 => 3 3 [2, 4];
    cgroup::CGROUP_SYSCTL Read 2 => 4 4 [6];
    cgroup::CGROUP_SYSCTL Read 4 => 2 2 [4];
    cgroup::CGROUP_SYSCTL Write 4 => 4 4 [4];
    cgroup::CGROUP_SOCKOPT_GETSOCKOPT Read 4 => 3 3 [36];
    cgroup::CGROUP_SOCKOPT_GETSOCKOPT Write 4 => 5 5 [36];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packets_data_is_one_load_and_its_device_three() {
        assert_eq!(slots(&xdp::XDP, Way::Read, 0, 4, false), 1);
        assert_eq!(slots(&xdp::XDP, Way::Read, 12, 4, false), 3);
        assert_eq!(slots(&sock::SOCK_OPS, Way::Read, 168, 8, true), 9);
        assert_eq!(slots(&sock::SOCK_OPS, Way::Read, 168, 8, false), 4);
        assert!(is_rewritten(&xdp::XDP) && !is_rewritten(&tracing::KPROBE));
    }
}
