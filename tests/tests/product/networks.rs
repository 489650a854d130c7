//! The promises of `mirage_rt::net`, kept through netfront, Linux's netback and a bridge; and domains between two bridges.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use mirage_lab::{Lab, Service};
use mirage_tests::{guest, image};

const LONG: Duration = Duration::from_secs(120);

#[test]
fn two_networks_of_a_domain_keep_their_promises() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let words = "--near-ipv4 10.0.2.80/24 --far-ipv4 10.0.2.81/24";
    let domain = lab.domain(guest("conformance")).memory(32).vif().vif().cmdline(words).start();
    let domain = domain.expect("the domain starts");
    let console = domain.console();
    let report = domain.exit(LONG).unwrap_or_else(|error| panic!("{error}\n{}", console.text()));
    assert_eq!(report.code, Some(0), "{}", report.console);
    assert!(report.console.contains(" promises are kept"), "{}", report.console);
}

/// dom0's route to what is behind the router, and the bridge there.
const BEHIND: &str = "ip link add name behind type bridge forward_delay 0 && ip link set behind up \
    && ip route add 192.168.9.0/24 via 10.0.2.82";

/// What dom0 reads of the capture while it talks to the router: each connection is more than 400 bytes of frames, and the first ones
/// that are captured can be others. The header has come before they begin, so they are seen.
const CAPTURED: &str = "exec 3< /dev/tcp/10.0.2.82/5555; dd bs=1 count=24 <&3 2> /dev/null | od -An -v -tx1; \
    for turn in 1 2 3; do read line < /dev/tcp/10.0.2.82/7; done; head -c 1200 <&3 | od -An -v -tx1";

/// The whole frames of a pcap file with timestamps in nanoseconds, little-endian, of which `dump` has the beginning as `od` shows it.
fn frames(dump: &str) -> Option<Vec<Vec<u8>>> {
    let bytes: Option<Vec<u8>> = dump.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let bytes = bytes?;
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    // Ethernet.
    if number(0)? != 0xa1b2_3c4d || number(20)? != 1 {
        return None;
    }
    let (mut frames, mut at) = (Vec::new(), 24);
    while let (Some(nanoseconds), Some(length), Some(whole)) = (number(at + 4), number(at + 8), number(at + 12)) {
        if nanoseconds >= 1_000_000_000 || length > whole || whole > 65_535 + 14 {
            return None;
        }
        let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
        frames.push(frame.to_vec());
        at += 16 + length;
    }
    Some(frames)
}

/// The source's and the destination's port of a frame with TCP over IPv4.
fn tcp_ports(frame: &[u8]) -> Option<[u16; 2]> {
    let packet = frame.get(12..)?.strip_prefix(&[8, 0])?;
    let header = 4 * usize::from(packet.first()? & 15);
    let ports = packet.get(header..header + 4).filter(|_| packet.get(9) == Some(&6))?;
    Some([[ports[0], ports[1]], [ports[2], ports[3]]].map(u16::from_be_bytes))
}

#[test]
fn a_router_forwards_filters_and_shows_what_passes() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    lab.dom0_checked(BEHIND).expect("dom0 has a bridge more");
    let words = "--lan-ipv4 192.168.9.1/24 --wan-ipv4 10.0.2.82/24 --wan-capture 5555";
    let router = lab.domain(guest("router")).memory(16).vif_with("bridge=behind").vif().cmdline(words).start();
    let router = router.expect("the domain starts");
    router.console().wait_for("forwarding", LONG).expect("it comes up");
    let server = lab.domain(image("echo-server")).memory(16).vif_with("bridge=behind");
    let server = server.cmdline("--ipv4 192.168.9.2/24 --ipv4-gateway 192.168.9.1").start().expect("the domain starts");
    server.console().wait_for("echoing on", LONG).expect("it comes up");
    let bash = |script: &str| lab.dom0(&format!("timeout 60 bash -c '{script}'")).expect("bash runs");

    let capture = bash(CAPTURED);
    let frames = frames(&capture.stdout).unwrap_or_else(|| panic!("no capture: {capture:?}"));
    let ports: Vec<_> = frames.iter().filter_map(|frame| tcp_ports(frame)).collect();
    assert!(ports.iter().any(|[_, to]| *to == 7) && ports.iter().any(|[from, _]| *from == 7), "{ports:?}");
    assert!(ports.iter().all(|ports| !ports.contains(&5555)), "its reader sees itself: {ports:?}");
    let ping = lab.dom0_checked("ping -c 3 -q -s 1400 192.168.9.2").expect("ping is answered");
    assert!(ping.contains("3 packets received"), "{ping}");
    // Pieces that are longer than packets: Linux hands them over whole, and so does the router.
    let behind = SocketAddrV4::new(Ipv4Addr::new(192, 168, 9, 2), 7007);
    let traffic = lab.traffic(Service::Echo, behind, 2, 40_000, Duration::ZERO);
    traffic.goes_on(40, LONG).unwrap_or_else(|error| panic!("{error}\n{}", router.console().text()));
    traffic.stop().expect("every byte comes back");
    let refused = bash("exec 3<>/dev/tcp/192.168.9.2/9");
    assert!(refused.status != 0 && refused.stderr.contains("No route to host"), "{refused:?}");
    let told = bash("head -n 1 < /dev/tcp/10.0.2.82/7").stdout;
    let words: Vec<&str> = told.split_whitespace().collect();
    let ["forwarded", forwarded, "filtered", filtered] = words[..] else { panic!("{told}") };
    assert!(forwarded.parse::<u32>().is_ok_and(|forwarded| forwarded > 40), "{told}");
    assert_eq!(filtered, "1", "{told}");
}
