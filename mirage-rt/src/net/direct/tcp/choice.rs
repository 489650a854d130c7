//! Which machine a build has: our own, or with the feature `smoltcp-tcp` that of smoltcp. Tests have both.

use core::net::IpAddr;

#[cfg(test)]
pub use super::either::Either as Machine;
use super::machine::Buffers;
#[cfg(all(not(test), not(feature = "smoltcp-tcp")))]
pub use super::own::OwnTcp as Machine;
#[cfg(all(not(test), feature = "smoltcp-tcp"))]
pub use super::smol::SmolSets as Machine;
use crate::net::direct::ip::Paths;

/// Whether there is a machine that knows of timestamps, marks and the MTU of paths. What only such a machine needs is not in
/// images without one.
pub const EXTENDED: bool = cfg!(any(test, not(feature = "smoltcp-tcp")));

/// The machine of this build, for an interface with this address in a network with this prefix. `secret` is that of the
/// sequence numbers.
#[cfg(all(not(test), feature = "smoltcp-tcp"))]
pub fn machine(address: IpAddr, prefix: u8, paths: Paths, buffers: Buffers, _secret: [u64; 2]) -> Machine {
    Machine::new(address, prefix, paths, buffers)
}

/// As above.
#[cfg(all(not(test), not(feature = "smoltcp-tcp")))]
pub fn machine(_address: IpAddr, _prefix: u8, paths: Paths, buffers: Buffers, secret: [u64; 2]) -> Machine {
    own(paths, buffers, secret)
}

/// As above: the one that the test has chosen.
#[cfg(test)]
pub fn machine(address: IpAddr, prefix: u8, paths: Paths, buffers: Buffers, secret: [u64; 2]) -> Machine {
    use super::smol::SmolSets;

    if super::either::is_own_chosen() {
        Machine::Own(alloc::boxed::Box::new(own(paths, buffers, secret)))
    } else {
        Machine::Smol(alloc::boxed::Box::new(SmolSets::new(address, prefix, paths, buffers)))
    }
}

#[cfg(any(test, not(feature = "smoltcp-tcp")))]
fn own(paths: Paths, buffers: Buffers, secret: [u64; 2]) -> super::own::OwnTcp {
    use super::own::OwnTcp;
    use crate::net::CongestionControl;
    use crate::net::direct::hash::Keyed;

    // Timestamps must not tell where sequence numbers come from.
    let secret = Keyed::new(secret);
    let key = Keyed::new([secret.signed(b"timestamps"), secret.signed(b"timestamps, the other half")]);
    OwnTcp::new(paths, buffers, CongestionControl::default(), key)
}
