//! Networks with IPv6 by their keys, on a switch with a router.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::{String, ToString};

use super::routers::{Advertisement, BOTH, NETWORK};
use super::*;
use crate::boot::{AddressFrom, Boot, Connecting, Connectors, ExitCode, NetworkConnector, NetworkSpec, Unikernel};
use crate::boot::{boxed, run};
use crate::keys::{KeyKind, KeySpec, Read, Values, read};
use crate::runtime::Runtime;
use crate::testing::VirtualPlatform;

const fn key(name: &'static str, kind: KeyKind, read: Read, default: Option<&'static str>) -> KeySpec {
    KeySpec { name, kind, read, default, required: false, doc: "Doc." }
}

const FORM: KeyKind = KeyKind::Form { placeholder: "FORM" };

static UNIKERNEL: Unikernel = Unikernel {
    name: "host",
    keys: &[
        key("a-ipv4", KeyKind::Cidr, read::cidr, None),
        key("a-ipv4-gateway", KeyKind::Ipv4, read::ipv4, None),
        key("a-ipv6", FORM, read::cidr6_or_auto, Some("auto")),
        key("a-ipv6-gateway", FORM, read::ipv6, None),
        key("a-ipv4-only", KeyKind::Flag, read::flag, Some("false")),
        key("a-ipv6-only", KeyKind::Flag, read::flag, Some("false")),
        key("a-routes", FORM, read::routes, None),
        key("a-ipv6-routes", FORM, read::ipv6_routes, None),
        key("a-mtu", KeyKind::Integer { min: 576, max: 65535 }, read::integer, None),
    ],
    networks: &[NetworkSpec { name: "a", index: 0, key_prefix: "a-" }],
    blocks: &[],
    consoles: &[],
    memory_mib: 4,
};

/// Networks on a switch of their own, on which there may be a router.
struct Switched {
    with_router: bool,
}

impl NetworkConnector for Switched {
    fn network<'a>(
        &'a self,
        spec: &'static NetworkSpec,
        values: &'a Values,
        address: AddressFrom,
    ) -> Connecting<'a, Network> {
        Box::pin(async move {
            let switch = Switch::new(1, Impairments::NONE);
            let network = Network::start(switch.port(), switch.pool(), spec.config(values), address)?;
            let mut router = Peer::new(&switch);
            if self.with_router {
                drop(crate::spawn(async move {
                    for _ in 0..3 {
                        sleep(seconds(1)).await;
                        Advertisement::new(1800).prefix(NETWORK, 64, BOTH, 7200, 3600).send(&mut router, 2);
                    }
                }));
            }
            Ok(network)
        })
    }
}

/// Boots with `words`: the exit code, and what is printed: the addresses as main begins, and when, in tenths of a second.
fn boot(with_router: bool, words: &[&str]) -> (ExitCode, String) {
    let platform = VirtualPlatform::new(1);
    let runtime = Runtime::new(platform.clone());
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let connectors = Connectors { networks: Some(Rc::new(Switched { with_router })), ..Connectors::default() };
    let shutdown = core::pin::pin!(core::future::pending());
    let code = run(&runtime, &UNIKERNEL, &words, connectors, shutdown, &|boot: Boot| {
        boxed(async move {
            let begin = crate::now();
            let network = boot.with_ipv6("a", boot.routed_network("a")).await?;
            let waited = (crate::now() - begin).as_millis() / 100;
            crate::println!("{:?} after {waited}, {:?}", network.addresses(), network.link().mtu);
            Ok(())
        })
    });
    (code, platform.console())
}

#[test]
fn main_begins_with_the_addresses_that_keys_and_routers_give() {
    let (_, given) = boot(false, &["--a-ipv6", "2001:db8::7/64"]);
    assert!(given.ends_with("[fe80::ff:fe00:1, 2001:db8::7] after 10, Some(1500)\n"), "{given}");
    let (_, made) = boot(true, &[]);
    assert!(made.ends_with("[fe80::ff:fe00:1, 2001:db8:7::ff:fe00:1] after 20, Some(1500)\n"), "{made}");
    // IPv4 needs no waiting; IPv6 comes later.
    let (_, both) = boot(true, &["--a-ipv4", "10.0.0.7/24"]);
    assert!(both.ends_with("[10.0.0.7] after 0, Some(1500)\n"), "{both}");
    let (_, only) = boot(true, &["--a-ipv4", "10.0.0.7/24", "--a-ipv4-only", "--a-mtu", "600"]);
    assert!(only.ends_with("[10.0.0.7] after 0, Some(600)\n"), "{only}");
    let (_, only) = boot(false, &["--a-ipv6-only", "--a-ipv6", "2001:db8::7/64", "--a-ipv6-gateway", "2001:db8::1"]);
    assert!(only.ends_with("[fe80::ff:fe00:1, 2001:db8::7] after 10, Some(1500)\n"), "{only}");
}

#[test]
fn without_a_router_main_begins_late_and_the_log_says_so() {
    let (code, console) = boot(false, &["--a-ipv6-only"]);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(console.contains("no router has said yet which IPv6 addresses"), "{console}");
    assert!(console.ends_with("[fe80::ff:fe00:1] after 50, Some(1500)\n"), "{console}");
}

#[test]
fn keys_that_contradict_each_other_stop_the_boot() {
    let ipv4 = ["--a-ipv4", "10.0.0.7/24"];
    for (words, message) in [
        (&["--a-ipv4-only", "--a-ipv6-only"][..], "--a-ipv4-only and --a-ipv6-only leave nothing"),
        (&["--a-ipv4-only", "--a-ipv6", "2001:db8::7/64"], "--a-ipv6 has no use with --a-ipv4-only"),
        (&["--a-ipv4-only", "--a-ipv6-gateway", "fe80::1"], "--a-ipv6-gateway has no use with --a-ipv4-only"),
        (&["--a-ipv4-only", "--a-ipv6-routes", "::/0=fe80::1"], "--a-ipv6-routes has no use with --a-ipv4-only"),
        (
            &["--a-ipv6", "2001:db8::7/64", "--a-ipv6-routes", "2001:db8:1::/48=2001:db9::1"],
            "network a: the router 2001:db9::1 of the route to 2001:db8:1::/48 cannot be reached: give its link-local",
        ),
        (
            &["--a-ipv6", "2001:db8::7/64", "--a-ipv6-routes", "2001:db8:1::/48=2001:db8::7"],
            "the router 2001:db8::7 of the route to 2001:db8:1::/48 cannot be reached",
        ),
        (&["--a-ipv6-only", ipv4[0], ipv4[1]], "--a-ipv4 has no use with --a-ipv6-only"),
        (&["--a-ipv6-only", "--a-ipv4-gateway", "10.0.0.1"], "--a-ipv4-gateway has no use with --a-ipv6-only"),
        (&["--a-ipv6-only", "--a-routes", "10.1.0.0/16=10.0.0.1"], "--a-routes has no use with --a-ipv6-only"),
        (&["--a-mtu", "1000", ipv4[0], ipv4[1]], "IPv6 needs packets of 1280 bytes, --a-mtu 1000 is less"),
        (&["--a-ipv4-only"], "the network has no address"),
        (&["--a-ipv6", "ff02::1/64"], "ff02::1 cannot be the address of a host: give --ipv6"),
        (
            &["--a-ipv6", "2001:db8::7/64", "--a-ipv6-gateway", "2001:db9::1"],
            "the gateway 2001:db9::1 cannot be reached",
        ),
    ] {
        let (code, console) = boot(true, words);
        assert_eq!(code, ExitCode::FAILURE, "{words:?}: {console}");
        assert!(console.contains(message), "{words:?}: {console}");
    }
}
