//! From what build.rs declared to the host's devices.

use std::net::Ipv4Addr;
use std::rc::Rc;

use mirage_rt::boot::{Connecting, Connector, NetworkSpec, Unikernel};
use mirage_rt::keys::{Cidr, Values};
use mirage_rt::log::warn;
use mirage_rt::net::Network;

use crate::UnixPlatform;
use crate::sockets::HostSockets;

/// Connects networks to the host's sockets.
pub(crate) struct UnixConnector {
    platform: Rc<UnixPlatform>,
}

impl UnixConnector {
    pub(crate) fn new(platform: &Rc<UnixPlatform>, _unikernel: &'static Unikernel) -> UnixConnector {
        UnixConnector { platform: Rc::clone(platform) }
    }
}

impl Connector for UnixConnector {
    fn network<'a>(&'a self, spec: &'static NetworkSpec, values: &'a Values) -> Connecting<'a> {
        Box::pin(async move {
            let ipv4: Option<Cidr> = spec.key(values, "ipv4");
            let address = ipv4.map_or(Ipv4Addr::LOCALHOST, Cidr::address);
            if spec.key::<Ipv4Addr>(values, "ipv4-gateway").is_some() {
                warn!("--{}ipv4-gateway is not used: the host's own routes are", spec.key_prefix);
            }
            let sockets = HostSockets::new(&self.platform, address);
            sockets.check_address()?;
            Ok(Network::host(Rc::new(sockets)))
        })
    }
}
