//! What a test run reads from the context it is given, and what it gives back.

use bpf_abi::errno::Errno;

use crate::packet::{skb, xdp};

/// A context that is not as a test run wants it: what is wrong, and the error number.
pub(super) struct Wrong(pub(super) &'static str, pub(super) Errno);

impl From<Box<bpf_interp::Fault>> for Wrong {
    fn from(_: Box<bpf_interp::Fault>) -> Self {
        Self("it did what no verified program can do", Errno::EFAULT)
    }
}

/// Cuts a context to the size of the structure; what is longer must be zero.
///
/// Linux: `bpf_ctx_init`.
pub(super) fn cut(ctx: &[u8], size: usize) -> Result<Vec<u8>, Wrong> {
    const PAGE: usize = 4096;
    let rest = ctx.get(size..).unwrap_or_default();
    if ctx.len() > PAGE || rest.iter().any(|byte| *byte != 0) {
        return Err(Wrong("the context is longer than the structure", Errno::E2BIG));
    }
    let mut whole = ctx.get(..size).unwrap_or(ctx).to_vec();
    whole.resize(size, 0);
    Ok(whole)
}

/// The number at `at` of a structure.
pub(super) fn word(ctx: &[u8], at: usize) -> u32 {
    let bytes = ctx.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

fn is_zero(ctx: &[u8], from: usize, to: usize) -> bool {
    ctx.get(from..to).is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// What an `xdp_md` given to a test run says.
pub(super) struct XdpIn {
    /// How many bytes of the data are metadata.
    pub(super) meta: usize,
    /// How many bytes of the data are the metadata and the packet's linear part.
    pub(super) end: usize,
    /// The interface.
    pub(super) ifindex: u32,
    /// The interface as it was given: 0 if it was not.
    pub(super) given_ifindex: u32,
}

impl XdpIn {
    /// What a test run without a context assumes.
    pub(super) const fn whole(len: usize) -> Self {
        Self { meta: 0, end: len, ifindex: 1, given_ifindex: 0 }
    }

    /// Reads a context for data of `len` bytes.
    ///
    /// Linux: `xdp_convert_md_to_buff`.
    pub(super) fn read(ctx: &[u8], len: usize) -> Result<Self, Wrong> {
        use xdp::at;
        let invalid = |what| Err(Wrong(what, Errno::EINVAL));
        let (meta, end) = (word(ctx, at::DATA) as usize, word(ctx, at::DATA_END) as usize);
        if word(ctx, at::DATA_META) != 0 {
            return invalid("data_meta is not 0");
        }
        if !meta.is_multiple_of(4) || meta > xdp::HEADROOM - xdp::DRIVER_ROOM {
            return invalid("data, the length of the metadata, is no multiple of 4 up to 216");
        }
        if end > len || end < meta {
            return invalid("data_end lies behind the data, or before the packet");
        }
        if len < meta + skb::ETH_LEN {
            return invalid("metadata leaves no room for an Ethernet header");
        }
        if word(ctx, at::EGRESS_IFINDEX) != 0 {
            return invalid("egress_ifindex is not 0");
        }
        let (ifindex, queue) = (word(ctx, at::INGRESS_IFINDEX), word(ctx, at::RX_QUEUE_INDEX));
        match (ifindex, queue) {
            (0, 0) => Ok(Self { meta, end, ifindex: 1, given_ifindex: 0 }),
            (0, _) => invalid("rx_queue_index without ingress_ifindex"),
            (1, 0) => Ok(Self { meta, end, ifindex: 1, given_ifindex: 1 }),
            (1, _) => invalid("the interface has no such queue"),
            _ => Err(Wrong("there is no such interface", Errno::ENODEV)),
        }
    }
}

/// The fields of `__sk_buff` that a test run takes over and gives back: where each begins and
/// ends.
const SKB_KEPT: &[(usize, usize)] = &[
    (skb::at::MARK, skb::at::QUEUE_MAPPING),
    (skb::at::PRIORITY, skb::at::TC_INDEX),
    (skb::at::CB, skb::at::HASH),
    (skb::at::TSTAMP, skb::at::SK),
    (skb::at::GSO_SIZE, skb::at::TSTAMP_TYPE),
    (skb::at::HWTSTAMP, skb::UAPI_SIZE),
];

/// Puts a `__sk_buff` given to a test run into the context of `skb`.
///
/// Linux: `convert___skb_to_skb`.
pub(super) fn fill_skb(skb: &skb::SkBuff, ctx: &[u8], len: u32) -> Result<(), Wrong> {
    use skb::at;
    let invalid = |what| Err(Wrong(what, Errno::EINVAL));
    let mut from = 0;
    for (begins, ends) in SKB_KEPT {
        if !is_zero(ctx, from, *begins) {
            return invalid("a field is set that a test run does not take");
        }
        from = *ends;
    }
    // Bits 8 and up of the word are padding, and ignored by none but the last byte.
    if !is_zero(ctx, at::TSTAMP_TYPE, at::TSTAMP_TYPE + 3) {
        return invalid("a field is set that a test run does not take");
    }
    let ifindex = word(ctx, at::IFINDEX);
    if ifindex > 2 {
        return Err(Wrong("there is no such interface", Errno::ENODEV));
    }
    let wire_len = word(ctx, at::WIRE_LEN);
    if wire_len != 0 && (wire_len < len || wire_len > 65_536) {
        return invalid("wire_len is less than the packet or more than 65536");
    }
    if word(ctx, at::GSO_SEGS) > 65_535 {
        return invalid("gso_segs is more than 65535");
    }
    for (begins, ends) in SKB_KEPT {
        if let Some(bytes) = ctx.get(*begins..*ends) {
            let _ = skb.context.write(*begins, bytes);
        }
    }
    skb.context.set_u32(at::IFINDEX, ifindex.max(1));
    skb.context.set_u32(at::GSO_SIZE, word(ctx, at::GSO_SIZE) & 0xffff);
    skb.context.set_u32(at::WIRE_LEN, if wire_len == 0 { len } else { wire_len });
    Ok(())
}

/// The `__sk_buff` that a test run gives back.
///
/// Linux: `convert_skb_to___skb`.
pub(super) fn read_skb(skb: &skb::SkBuff, given: &[u8]) -> Vec<u8> {
    let mut ctx = vec![0; skb::UAPI_SIZE];
    for (begins, ends) in SKB_KEPT {
        let bytes = skb.context.copy(*begins, ends - begins);
        if let Some(place) = ctx.get_mut(*begins..*ends) {
            place.copy_from_slice(&bytes);
        }
    }
    // The kernel keeps the size it was given in a field of 16 bits, and gives back what it read.
    let size = given.get(skb::at::GSO_SIZE..skb::at::GSO_SIZE + 4);
    if let (Some(size), Some(place)) = (size, ctx.get_mut(skb::at::GSO_SIZE..skb::at::GSO_SIZE + 4))
    {
        place.copy_from_slice(size);
    }
    ctx
}

/// The `xdp_md` that a test run gives back.
///
/// Linux: `xdp_convert_buff_to_md`.
pub(super) fn read_xdp(buff: &xdp::XdpBuff, given_ifindex: u32) -> Vec<u8> {
    use xdp::at;
    let mut ctx = vec![0; xdp::UAPI_SIZE];
    let meta = buff.frame.data() - buff.frame.meta();
    let mut set = |at: usize, value: usize| {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        if let Some(place) = ctx.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    };
    set(at::DATA, meta);
    set(at::DATA_END, meta + buff.frame.linear_len());
    set(at::INGRESS_IFINDEX, given_ifindex as usize);
    ctx
}
