//! Neighbour discovery and ICMP against hand-made packets, and both families on one network, in virtual time.

mod both;
mod duplicates;
mod keys;
mod messages;
mod nonsense;
mod peer;
mod routers;

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use peer::Peer;

use crate::keys::{Cidr, Cidr6};
use crate::net::direct::Direct;
use crate::net::ipv6::Ipv6Config;
use crate::net::switch::{Impairments, Switch};
use crate::net::{Config, Network};
use crate::testing;
use crate::time::{Duration, sleep};

/// The global address of host `number`.
fn ip(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)
}

/// The link-local address of the device in port `number` of a switch, counted from 1.
fn local(number: u8) -> Ipv6Addr {
    crate::net::ipv6::ndp::address_of(super::LINK_LOCAL, mac(number))
}

/// Its Ethernet address.
fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// With the address of host `number`.
fn fixed(number: u16) -> Config {
    let network = Cidr6::new(ip(number), 64).expect("a prefix");
    Config { ipv6: Some(Ipv6Config::fixed(network, None)), ..Config::new() }
}

/// With what routers say.
fn automatic() -> Config {
    Config { ipv6: Some(Ipv6Config::automatic()), ..Config::new() }
}

/// With both families.
fn both(number: u8) -> Config {
    Config { ipv4: Cidr::new([10, 0, 0, number].into(), 24).ok(), ..fixed(number.into()) }
}

fn host(switch: &Switch, config: Config) -> Network {
    Network::direct(switch.port(), switch.pool(), config).expect("the configuration is good")
}

/// A stack on the first port whose inside can be looked at, its addresses being in use.
async fn stack(switch: &Switch, config: Config) -> (Direct, Network) {
    let address = config.ipv4.unwrap_or(crate::net::direct::NO_ADDRESS);
    let direct = Direct::start(switch.port(), switch.pool(), &config, address).expect("the configuration is good");
    let network = Network { stack: crate::net::Stack::Direct(direct.clone()) };
    sleep(Duration::from_secs(2)).await;
    (direct, network)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
