//! Devices, sysctl and socket options.
//!
//! One row a field: name, offset, size, how it may be read and written, what it yields, and
//! for pointers of four bytes where the host keeps the eight. Fields that may not be touched
//! have no row.

use super::pattern::{NARROW4, NONE, WHOLE4, WHOLE8};
use super::{Context, Field, Yields};

context! {
    /// For `cgroup_device` programs.
    pub static CGROUP_DEVICE = "bpf_cgroup_dev_ctx", 12 bytes, 16 in the host;
    "access_type" 0 4 read NARROW4 write NONE yields Scalar;
    "major" 4 4 read WHOLE4 write NONE yields Scalar;
    "minor" 8 4 read WHOLE4 write NONE yields Scalar;
}

context! {
    /// For `cgroup_sysctl` programs.
    pub static CGROUP_SYSCTL = "bpf_sysctl", 8 bytes, 8 in the host;
    "write" 0 4 read NARROW4 write NONE yields Scalar;
    "file_pos" 4 4 read NARROW4 write WHOLE4 yields Scalar;
}

context! {
    /// For `cgroup_sockopt_getsockopt` programs.
    pub static CGROUP_SOCKOPT_GETSOCKOPT = "bpf_sockopt", 40 bytes, 40 in the host;
    "sk" 0 8 read WHOLE8 write NONE yields Socket;
    "optval" 8 8 read WHOLE8 write NONE yields Packet;
    "optval_end" 16 8 read WHOLE8 write NONE yields PacketEnd;
    "level" 24 4 read WHOLE4 write NONE yields Scalar;
    "optname" 28 4 read WHOLE4 write NONE yields Scalar;
    "optlen" 32 4 read WHOLE4 write WHOLE4 yields Scalar;
    "retval" 36 4 read WHOLE4 write WHOLE4 yields Scalar;
}

context! {
    /// For `cgroup_sockopt_setsockopt` programs.
    pub static CGROUP_SOCKOPT_SETSOCKOPT = "bpf_sockopt", 40 bytes, 40 in the host;
    "sk" 0 8 read WHOLE8 write NONE yields Socket;
    "optval" 8 8 read WHOLE8 write NONE yields Packet;
    "optval_end" 16 8 read WHOLE8 write NONE yields PacketEnd;
    "level" 24 4 read WHOLE4 write WHOLE4 yields Scalar;
    "optname" 28 4 read WHOLE4 write WHOLE4 yields Scalar;
    "optlen" 32 4 read WHOLE4 write WHOLE4 yields Scalar;
}
