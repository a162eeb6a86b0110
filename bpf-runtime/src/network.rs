//! The network around programs, as the host tells of it.

use std::fmt;
use std::net::IpAddr;

/// What a host tells programs of the network: interfaces and routes.
///
/// What it does not say is as in a test run on an idle host of Linux: see [`Idle`]. Called while
/// programs run, on their threads, so answers should be quick.
///
/// ```
/// use std::net::IpAddr;
///
/// use bpf_runtime::{Network, Route, RouteAnswer, RouteQuestion, Runtime};
///
/// /// Everything goes to one neighbour.
/// struct Uplink;
///
/// impl Network for Uplink {
///     fn mtu(&self, ifindex: u32) -> Option<u32> {
///         (ifindex <= 2).then_some(1500)
///     }
///
///     fn route(&self, question: &RouteQuestion) -> RouteAnswer {
///         let mut route = Route::through(2);
///         route.gateway = Some(IpAddr::from([10, 0, 0, 1]));
///         route.neighbour = Some(([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
///         RouteAnswer::Found(route)
///     }
/// }
///
/// let runtime = Runtime::builder().network(Uplink).build()?;
/// # Ok::<(), bpf_runtime::Error>(())
/// ```
pub trait Network: Send + Sync + 'static {
    /// How long packets of an interface may be, without the header of the link; `None` if there is no
    /// such interface.
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        Idle.mtu(ifindex)
    }

    /// Where a packet goes that programs ask about with `bpf_fib_lookup`. The interface that it is at
    /// is one that [`mtu`](Self::mtu) knows.
    fn route(&self, question: &RouteQuestion) -> RouteAnswer {
        Idle.route(question)
    }
}

/// The network of a test run on an idle host of Linux: 1 is the loopback device and 2 one of
/// Ethernet, and neither forwards anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idle;

impl Network for Idle {
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        match ifindex {
            1 => Some(65536),
            2 => Some(1500),
            _ => None,
        }
    }

    fn route(&self, _: &RouteQuestion) -> RouteAnswer {
        RouteAnswer::ForwardingDisabled
    }
}

/// What a program asks about. Linux: `struct bpf_fib_lookup`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteQuestion {
    /// The interface that the packet came in at, or is to leave by if `output`.
    pub ifindex: u32,
    /// Where the packet comes from.
    pub source: IpAddr,
    /// Where it is to go.
    pub destination: IpAddr,
    /// Its protocol behind IP.
    pub protocol: u8,
    /// Its ports.
    pub ports: (u16, u16),
    /// Of IPv4 the type of service, of IPv6 the flow.
    pub flow: u32,
    /// Its mark, if the program gives one.
    pub mark: Option<u32>,
    /// The table to look in, if the program says which; else the rules say.
    pub table: Option<u32>,
    /// Whether the rules are passed over.
    pub direct: bool,
    /// Whether the packet is this host's own, on its way out.
    pub output: bool,
}

/// Where a packet goes. Linux: `BPF_FIB_LKUP_RET_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteAnswer {
    /// It is sent on.
    Found(Route),
    /// It is dropped without a word.
    Blackhole,
    /// It cannot get there.
    Unreachable,
    /// It may not get there.
    Prohibited,
    /// It is not sent on: it is for this host, or for many.
    NotForwarded,
    /// The interface sends nothing on.
    ForwardingDisabled,
    /// It would be wrapped into others.
    Wrapped,
    /// There is no address that it could come from.
    NoSource,
}

/// How a packet is sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The interface it leaves by.
    pub ifindex: u32,
    /// Who takes it next, if it is not who it is for.
    pub gateway: Option<IpAddr>,
    /// The address that it should come from, for programs that ask.
    pub source: Option<IpAddr>,
    /// How good the route is.
    pub metric: u32,
    /// How long packets on it may be, if that is less than the interface says.
    pub mtu: Option<u32>,
    /// The link's addresses of this host and of who takes it next, if they are known.
    pub neighbour: Option<([u8; 6], [u8; 6])>,
}

impl Route {
    /// One through this interface, straight to who it is for, of whom the link's address is not
    /// known.
    pub const fn through(ifindex: u32) -> Self {
        Self { ifindex, gateway: None, source: None, metric: 0, mtu: None, neighbour: None }
    }
}

/// The network of a runtime.
pub(crate) struct Around(pub(crate) Box<dyn Network>);

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
