//! `xdp_md`: a packet as the driver holds it.
//!
//! One row a field: name, offset, size, how it may be read and written, what it yields, and
//! for pointers of four bytes where the host keeps the eight. Fields that may not be touched
//! have no row.

use super::pattern::{NONE, WHOLE4};
use super::{Context, Field, Yields};

context! {
    /// For XDP.
    pub static XDP = "xdp_md", 24 bytes, 48 in the host;
    "data" 0 4 read WHOLE4, unsigned write NONE yields Packet at 24;
    "data_end" 4 4 read WHOLE4, unsigned write NONE yields PacketEnd at 32;
    "data_meta" 8 4 read WHOLE4, unsigned write NONE yields PacketMeta at 40;
    "ingress_ifindex" 12 4 read WHOLE4 write NONE yields Scalar;
    "rx_queue_index" 16 4 read WHOLE4 write NONE yields Scalar;
}

context! {
    /// For XDP programs of a device map.
    pub static XDP_DEVMAP = "xdp_md", 24 bytes, 48 in the host;
    "data" 0 4 read WHOLE4, unsigned write NONE yields Packet at 24;
    "data_end" 4 4 read WHOLE4, unsigned write NONE yields PacketEnd at 32;
    "data_meta" 8 4 read WHOLE4, unsigned write NONE yields PacketMeta at 40;
    "ingress_ifindex" 12 4 read WHOLE4 write NONE yields Scalar;
    "rx_queue_index" 16 4 read WHOLE4 write NONE yields Scalar;
    "egress_ifindex" 20 4 read WHOLE4 write NONE yields Scalar;
}
