//! Networks by their keys, on a switch with a DHCP server.

use core::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::keys::read;
use crate::net::dhcp::message::Kind;
use crate::net::dhcp::tests::server::{Answer, serve};
use crate::net::switch::{Impairments, Switch};
use crate::net::{Config, Network};

const fn key(name: &'static str, kind: KeyKind, read: crate::keys::Read, default: Option<&'static str>) -> KeySpec {
    KeySpec { name, kind, read, default, required: false, doc: "Doc." }
}

const FORM: KeyKind = KeyKind::Form { placeholder: "FORM" };

static UNIKERNEL: Unikernel = Unikernel {
    name: "client",
    keys: &[
        key("ipv4", FORM, read::cidr_or_dhcp, Some("dhcp")),
        key("ipv4-gateway", KeyKind::Ipv4, read::ipv4, None),
        key("routes", FORM, read::routes, None),
        key("mtu", KeyKind::Integer { min: 576, max: 65535 }, read::integer, None),
    ],
    networks: &[NetworkSpec { name: "service", index: 0, key_prefix: "" }],
    blocks: &[],
    consoles: &[],
    memory_mib: 4,
};

/// Networks on a switch of their own, with a server that gives 10.0.0.9.
struct Switched;

impl NetworkConnector for Switched {
    fn network<'a>(
        &'a self,
        spec: &'static NetworkSpec,
        values: &'a Values,
        address: AddressFrom,
    ) -> Connecting<'a, Network> {
        Box::pin(async move {
            let switch = Switch::new(1, Impairments::NONE);
            let own = Ipv4Addr::new(10, 0, 0, 9);
            let server = Ipv4Addr::new(10, 0, 0, 1);
            drop(serve(&switch, move |asked| {
                let kind = if asked.wants { Kind::Ack } else { Kind::Offer };
                Some(Answer::new(kind, asked.id, asked.mac, own, server).usual(100))
            }));
            let config = Config::from_keys(spec.key(values, "ipv4"), spec.key(values, "ipv4-gateway"));
            Ok(match address {
                AddressFrom::Keys => Network::direct(switch.port(), switch.pool(), config)?,
                AddressFrom::Elsewhere => Network::unaddressed(switch.port(), switch.pool(), config)?,
            })
        })
    }
}

/// Boots with `words`: the exit code, and what is printed of the network or about it.
fn boot(words: &[&str]) -> (ExitCode, String) {
    let platform = VirtualPlatform::new(1);
    let runtime = Runtime::new(platform.clone());
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let connectors = Connectors { networks: Some(Rc::new(Switched)), ..Connectors::default() };
    let shutdown = core::pin::pin!(core::future::pending());
    let code = run(&runtime, &UNIKERNEL, &words, connectors, shutdown, &|boot: Boot| {
        boxed(async move {
            let network = boot.network_by_dhcp("service").await?;
            let addresses: Vec<IpAddr> = network.addresses();
            crate::println!("{addresses:?} {:?}", network.link().mtu);
            Ok(())
        })
    });
    (code, platform.console())
}

#[test]
fn without_an_address_dhcp_gives_one() {
    let leased = "[10.0.0.9] Some(1500)";
    for words in [&[][..], &["--ipv4", "dhcp"], &["--ipv4-gateway", "10.0.0.77"]] {
        let (code, console) = boot(words);
        assert_eq!(code, ExitCode::SUCCESS, "{console}");
        assert!(console.contains(leased), "{console}");
    }
    let (_, console) = boot(&["--mtu", "700", "--routes", "172.16.0.0/12=10.0.0.3"]);
    assert!(console.contains("[10.0.0.9] Some(700)"), "{console}");
}

#[test]
fn an_address_that_is_given_is_taken() {
    let (code, console) = boot(&["--ipv4", "10.7.0.2/24", "--mtu", "600"]);
    assert_eq!((code, console.as_str()), (ExitCode::SUCCESS, "[10.7.0.2] Some(600)\n"));
}

#[test]
fn wrong_keys_stop_the_boot_with_a_remedy() {
    let (code, console) = boot(&["--ipv4", "dhpc", "--mtu", "500", "--routes", "x"]);
    assert_eq!(code, ExitCode::USAGE);
    for remedy in ["write dhcp, or an IPv4 address", "from 576 to 65535", "as 10.1.0.0/16=10.0.2.9"] {
        assert!(console.contains(remedy), "{console}");
    }
    for words in [
        &["--ipv4", "10.7.0.2/24", "--routes", "10.1.0.0/16=10.0.2.9"][..],
        &["--ipv4", "dhcp", "--routes", "10.1.0.0/16=10.0.2.9"],
    ] {
        let (code, console) = boot(words);
        assert_ne!(code, ExitCode::SUCCESS);
        let remedy = "the router 10.0.2.9 of the route to 10.1.0.0/16 cannot be reached from";
        assert!(console.contains("network service: ") && console.contains(remedy), "{console}");
    }
}
