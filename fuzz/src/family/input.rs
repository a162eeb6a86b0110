//! What a program is run on: a packet, and a context at times.

use super::{Kind, maps};
use crate::random::Random;

/// A packet, and a context at times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The packet; metadata before it, if the context says so.
    pub data: Vec<u8>,
    /// The context.
    pub ctx: Option<Vec<u8>>,
}

impl Input {
    pub(super) fn new(random: &mut Random, kind: Kind) -> Self {
        let len = match random.below(8) {
            0 => 40 + random.below(4),
            1 => 300 + random.below(200),
            _ => 40 + random.below(120),
        };
        let mut data = maps::bytes(random, u32::try_from(len).unwrap_or(64));
        let with_context = random.chance(50);
        if kind == Kind::Xdp {
            if !with_context {
                return Self { data, ctx: None };
            }
            let meta = 4 * random.below(5);
            let mut ctx = vec![0; 24];
            put(&mut ctx, 0, meta);
            put(&mut ctx, 4, len);
            return Self { data, ctx: Some(ctx) };
        }
        // The headers decide what the network stack makes of it: IPv4, IPv6, or neither.
        let (ether, version) = random.pick(&[
            ([0x08, 0x00], 0x45),
            ([0x08, 0x00], 0x45),
            ([0x86, 0xdd], 0x60),
            ([0x88, 0xcc], 0x12),
        ]);
        data[12..14].copy_from_slice(&ether);
        data[14] = version;
        // Above 54 bytes there is room for every header.
        let len = len.max(60);
        data.resize(len, 0x5a);
        let ctx = with_context.then(|| {
            let mut ctx = vec![0; 192];
            for at in [8, 32, 48, 52, 56, 60, 64] {
                let bytes = maps::bytes(random, 4);
                ctx[at..at + 4].copy_from_slice(&bytes);
            }
            ctx
        });
        Self { data, ctx }
    }
}

fn put(ctx: &mut [u8], at: usize, value: usize) {
    let value = u32::try_from(value).unwrap_or(0);
    ctx[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
