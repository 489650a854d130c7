//! Another configuration for a stack that is running.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::task::{Context, Poll};

use super::ip::NO_ADDRESS;
use super::stack::Stack;
use super::{Direct, LEAST_MTU, check, is_host};
use crate::keys::Cidr;
use crate::net::error::ConfigError;
use crate::net::{Addressing, ConfigureError};

impl Direct {
    /// See [`crate::net::Network::configure`].
    pub fn configure(&self, addressing: Addressing) -> Result<(), ConfigureError> {
        let address = address(&addressing)?;
        let mut stack = self.shared.stack.borrow_mut();
        #[cfg(feature = "ipv6")]
        stack.ip.set_ipv6_routes(&addressing.ipv6_routes)?;
        stack.configure(address, addressing);
        stack.kick();
        Ok(())
    }

    /// The addresses, once they are others than `since`.
    pub fn poll_addresses_changed(&self, context: &mut Context<'_>, since: &[IpAddr]) -> Poll<Vec<IpAddr>> {
        let mut stack = self.shared.stack.borrow_mut();
        let addresses = stack.ip.addresses();
        if addresses == since {
            stack.link.watch(context);
            return Poll::Pending;
        }
        Poll::Ready(addresses)
    }
}

impl Stack {
    fn configure(&mut self, address: Cidr, addressing: Addressing) {
        let (before, own) = (IpAddr::V4(self.ip.address()), IpAddr::V4(address.address()));
        let limit = addressing.mtu.unwrap_or(u16::MAX);
        self.ip.configure(address, addressing.gateway, addressing.routes, limit);
        self.tcp.set_address(own, address.prefix());
        if before != own {
            self.tcp.drop_address(before);
        }
        self.update_paths();
        if self.link.get().up {
            self.link.set_up(self.ip.link_mtu());
        }
        self.link.wake();
    }
}

/// The address, when everything fits together.
fn address(addressing: &Addressing) -> Result<Cidr, ConfigureError> {
    let Addressing { ipv4, gateway, routes, mtu, .. } = addressing;
    if let Some(mtu) = mtu.filter(|mtu| *mtu < LEAST_MTU) {
        return Err(ConfigureError::Config(ConfigError::Mtu(mtu)));
    }
    #[cfg(feature = "ipv6")]
    if addressing.ipv6_routes.len() > Addressing::MOST_ROUTES {
        return Err(ConfigureError::TooManyRoutes);
    }
    if routes.len() > Addressing::MOST_ROUTES {
        return Err(ConfigureError::TooManyRoutes);
    }
    let Some(network) = *ipv4 else {
        let nothing = gateway.is_none() && routes.is_empty();
        return if nothing { Ok(NO_ADDRESS) } else { Err(ConfigureError::NoAddress) };
    };
    let network = check(Some(network), *gateway).map_err(ConfigureError::Config)?;
    let own = network.address();
    for route in routes {
        if route.via == own || !network.contains(route.via) || !is_host(network, route.via) {
            return Err(ConfigureError::Route { route: *route, address: own });
        }
    }
    Ok(network)
}
