//! The promises of `mirage_rt::net`, kept by two stacks of our own on a switch in memory.

#![forbid(unsafe_code)]

use mirage_conformance::Side;
use mirage_rt::net::switch::{Impairments, Switch};
use mirage_rt::net::{Config, Network};
use mirage_rt::{Duration, testing};

fn run(seed: u64, impairments: Impairments) {
    testing::run(seed, async {
        let switch = Switch::new(seed, impairments);
        let side = |address: &str| {
            let config = Config::from_keys(Some(address.parse().expect("an address")), None);
            Side::new(Network::direct(switch.port(), switch.pool(), config).expect("a host's address"))
        };
        mirage_conformance::run(side("10.0.0.1/24"), side("10.0.0.2/24"), |name| println!("{name}")).await;
    });
}

#[test]
fn on_a_perfect_link() {
    run(1, Impairments::NONE);
}

#[test]
fn on_a_slow_link() {
    let delay = Impairments::NONE.with_delay(Duration::from_millis(20), Duration::from_millis(5));
    run(2, delay.with_bandwidth(20_000_000, 256 << 10));
}
