//! What tunnel devices are told about a packet, and tell about it.

use bpf_abi::errno::Errno;

use super::args::{Ctx, MemIn, MemOut, Size};
use super::define::helper;
use crate::packet::skb::Tunnel;

/// Offsets in the key. Linux: `struct bpf_tunnel_key`.
mod key {
    pub(super) const REMOTE: usize = 4;
    pub(super) const TOS: usize = 20;
    pub(super) const EXT: usize = 22;
    pub(super) const LABEL: usize = 24;
    pub(super) const LOCAL: usize = 28;
    pub(super) const SIZE: usize = 44;
    /// How long the key was over the years.
    pub(super) const SIZES: &[usize] = &[8, EXT, LABEL, LOCAL, SIZE];
}

/// The addresses are those of IPv6. Linux: `BPF_F_TUNINFO_IPV6`.
const IPV6: u64 = 1;
/// Linux: `BPF_F_TUNINFO_FLAGS`.
const WITH_FLAGS: u64 = 16;
/// Linux: `BPF_F_ZERO_CSUM_TX`, `BPF_F_DONT_FRAGMENT`, `BPF_F_SEQ_NUMBER`, `BPF_F_NO_TUNNEL_KEY`.
const SETTINGS: u64 = 2 | 4 | 8 | 16;
/// The longest options. Linux: `IP_TUNNEL_OPTS_MAX`.
const MOST_OPTIONS: usize = 255;

helper! {
    /// Writes to `key` what a tunnel said about the packet, zeros if none did. What the program has
    /// set itself is read too, its remote address as the local one, as in Linux. `flags` may be 1
    /// (addresses of IPv6).
    20 Skb => fn skb_get_tunnel_key(cx, _skb: Ctx, key: MemOut<'a>, _size: Size, flags: u64) -> Result<(), Errno> {
        let mut key = key;
        let tunnel = cx.env().skb().and_then(|skb| skb.tunnel.borrow().clone());
        let found = read_key(tunnel.as_ref(), key.len(), flags);
        key.fill(found.as_deref().unwrap_or_default());
        found.map(drop)
    }
}

fn read_key(tunnel: Option<&Tunnel>, len: usize, flags: u64) -> Result<Vec<u8>, Errno> {
    let tunnel = tunnel.ok_or(Errno::EINVAL)?;
    if flags & !(IPV6 | WITH_FLAGS) != 0 || tunnel.is_ipv6 != (flags & IPV6 != 0) {
        return Err(Errno::EINVAL);
    }
    if len != key::SIZE && !(key::SIZES.contains(&len) && (!tunnel.is_ipv6 || len >= key::EXT)) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = tunnel.key.clone();
    bytes.copy_within(key::REMOTE..key::TOS, key::LOCAL);
    if let (Some(remote), Some(local)) =
        (bytes.get_mut(key::REMOTE..key::TOS), tunnel.key.get(key::LOCAL..key::SIZE))
    {
        remote.copy_from_slice(local);
    }
    bytes.truncate(len);
    Ok(bytes)
}

helper! {
    /// Tells the tunnel device that the packet is sent to what to do with it: number, addresses, type
    /// of service, time to live. `flags` may be 1 (addresses of IPv6), 2, 4, 8, 16 (settings of the
    /// tunnel).
    21 Skb => fn skb_set_tunnel_key(cx, _skb: Ctx, key: MemIn<'a>, _size: Size, flags: u64) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        if flags & !(IPV6 | SETTINGS) != 0 || !key::SIZES.contains(&key.len()) {
            return Err(Errno::EINVAL);
        }
        let is_ipv6 = flags & IPV6 != 0;
        let mut bytes = key.copy().to_vec();
        bytes.resize(key::SIZE, 0);
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let has_extension = word(key::TOS) >> 16 != 0;
        if has_extension || (!is_ipv6 && word(key::LABEL) != 0) {
            return Err(Errno::EINVAL);
        }
        if is_ipv6 {
            let label = word(key::LABEL) & 0xf_ffff;
            bytes.splice(key::LABEL..key::LOCAL, label.to_le_bytes());
        } else {
            // Of the places for addresses of IPv6 those of IPv4 have the beginning.
            bytes.get_mut(key::REMOTE + 4..key::TOS).unwrap_or_default().fill(0);
            bytes.get_mut(key::LOCAL + 4..).unwrap_or_default().fill(0);
        }
        skb.tunnel.replace(Some(Tunnel { key: bytes, is_ipv6, options: Vec::new() }));
        Ok(())
    }
}

helper! {
    /// Writes to `opt` the options of the packet's tunnel, and zeros behind them. Returns how many
    /// bytes they have.
    29 Skb => fn skb_get_tunnel_opt(cx, _skb: Ctx, opt: MemOut<'a>, _size: Size) -> Result<u64, Errno> {
        let mut opt = opt;
        let tunnel = cx.env().skb().and_then(|skb| skb.tunnel.borrow().clone());
        let options = tunnel.map(|tunnel| tunnel.options).unwrap_or_default();
        let found = match options.len() {
            0 => Err(Errno::ENOENT),
            len if len > opt.len() => Err(Errno::ENOMEM),
            len => Ok(len as u64),
        };
        opt.fill(if found.is_ok() { &options } else { &[] });
        found
    }
}

helper! {
    /// Sets the options of the tunnel that `skb_set_tunnel_key` has named.
    30 Skb => fn skb_set_tunnel_opt(cx, _skb: Ctx, opt: MemIn<'a>, _size: Size) -> Result<(), Errno> {
        let skb = cx.env().skb().ok_or(Errno::EINVAL)?;
        let mut tunnel = skb.tunnel.borrow_mut();
        let tunnel = tunnel.as_mut().ok_or(Errno::EINVAL)?;
        if !opt.len().is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if opt.len() > MOST_OPTIONS {
            return Err(Errno::ENOMEM);
        }
        tunnel.options = opt.copy().to_vec();
        Ok(())
    }
}
