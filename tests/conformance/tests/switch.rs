//! The promises of `mirage_rt::net`, kept by two stacks of our own on a switch in memory, over both families.

#![forbid(unsafe_code)]

use mirage_conformance::Side;
use mirage_rt::net::ipv6::Ipv6Config;
use mirage_rt::net::switch::{Impairments, Switch};
use mirage_rt::net::{Config, Network};
use mirage_rt::{Duration, testing};

fn run(seed: u64, impairments: Impairments, configs: [Config; 2]) {
    testing::run(seed, async {
        let switch = Switch::new(seed, impairments);
        let [one, other] = configs.map(|config| {
            let network = Network::direct(switch.port(), switch.pool(), config).expect("a host's address");
            // With IPv6, the first address is that of the link.
            let address = *network.addresses().last().expect("it has one at once");
            Side::at_address(network, address)
        });
        mirage_conformance::run(one, other, |name| println!("{name}")).await;
    });
}

fn over_ipv4() -> [Config; 2] {
    ["10.0.0.1/24", "10.0.0.2/24"].map(|address| Config::from_keys(Some(address.parse().expect("an address")), None))
}

fn over_ipv6() -> [Config; 2] {
    ["2001:db8::1/64", "2001:db8::2/64"].map(|address| {
        let mut ipv6 = Ipv6Config::fixed(address.parse().expect("an address"), None);
        // Nobody else is on this switch.
        ipv6.duplicate_probes = 0;
        let mut config = Config::new();
        config.ipv6 = Some(ipv6);
        config
    })
}

fn slow() -> Impairments {
    let delay = Impairments::NONE.with_delay(Duration::from_millis(20), Duration::from_millis(5));
    delay.with_bandwidth(20_000_000, 256 << 10)
}

#[test]
fn on_a_perfect_link() {
    run(1, Impairments::NONE, over_ipv4());
}

#[test]
fn on_a_slow_link() {
    run(2, slow(), over_ipv4());
}

#[test]
fn over_ipv6_on_a_perfect_link() {
    run(3, Impairments::NONE, over_ipv6());
}

#[test]
fn over_ipv6_on_a_slow_link() {
    run(4, slow(), over_ipv6());
}

/// Those that have just been used must serve again, 16,384 of them. What TIME-WAIT keeps is bounded, too.
#[test]
fn more_short_connections_than_there_are_ports() {
    testing::run(5, async {
        let switch = Switch::new(5, Impairments::NONE);
        let [one, other] = over_ipv4()
            .map(|config| Side::new(Network::direct(switch.port(), switch.pool(), config).expect("a host's address")));
        mirage_conformance::short_connections(one, other, 17_000).await;
    });
}
