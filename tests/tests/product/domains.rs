//! The examples as domains on a real Xen with a real dom0.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use mirage_lab::{Domain, ExitReport, Lab, StopReason};
use mirage_tests::{guest, image, image_by_feature, root};

const LONG: Duration = Duration::from_secs(60);

/// Runs `image` to its end in a domain without devices.
fn ends(lab: &Lab, image: PathBuf, memory: u32, words: &str) -> ExitReport {
    let domain = lab.domain(image).memory(memory).cmdline(words).start().expect("the domain starts");
    domain.exit(LONG).expect("the domain ends")
}

/// A running static-site at `address`.
fn site(lab: &Lab, memory: u32, address: Ipv4Addr) -> Domain {
    let words = format!("--ipv4 {address}/24 --ipv4-gateway 10.0.2.2");
    let domain = lab.domain(image("static-site")).memory(memory).vif().cmdline(&words).start();
    let domain = domain.expect("the domain starts");
    domain.console().wait_for("serving on", LONG).expect("the site comes up");
    domain
}

/// The body of the answer to a GET of `path`.
fn get(port: u16, path: &str) -> Vec<u8> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port answers");
    connection.set_read_timeout(Some(LONG)).expect("a timeout can be set");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("the request is taken");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("the answer ends");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the head ends");
    answer.split_off(end + 4)
}

/// A port of this machine that nobody uses.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

#[test]
fn hello_prints_its_greeting_and_powers_off_with_exit_code_0() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let report = ends(lab, image("hello"), 32, "--greeting 'Moin moin'");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
    assert!(report.console.contains("Moin moin"), "{}", report.console);
    assert!(report.console.contains("mirage: exit 0"), "{}", report.console);
}

#[test]
fn an_image_built_by_feature_boots_too() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(image_by_feature("hello")).memory(8).cmdline("--greeting Servus").start();
    let report = domain.expect("the domain starts").exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
    assert!(report.console.contains("Servus"), "{}", report.console);
}

#[test]
fn wrong_words_on_the_kernel_command_line_end_with_64() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let report = ends(lab, image("hello"), 32, "--greting x");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(64)), "{}", report.console);
    assert!(report.console.contains("unknown key --greting, did you mean --greeting?"), "{}", report.console);
}

#[test]
fn help_is_printed_by_an_image_too() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let report = ends(lab, image("hello"), 32, "--help");
    assert_eq!(report.code, Some(0), "{}", report.console);
    assert!(report.console.contains("--greeting TEXT"), "{}", report.console);
}

#[test]
fn hello_runs_in_4_mib_and_says_when_memory_is_too_small() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let report = ends(lab, image("hello"), 4, "");
    assert_eq!(report.code, Some(0), "{}", report.console);
    let report = ends(lab, image("hello"), 2, "");
    assert_ne!(report.status(), 0, "{}", report.console);
    assert!(report.console.contains("memory="), "{}", report.console);
}

#[test]
fn a_network_without_a_vif_is_one_message_and_exit_code_1() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let report = ends(lab, image("static-site"), 16, "--ipv4 10.0.2.40/24");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(1)), "{}", report.console);
    assert!(report.console.contains("vif") && report.console.contains("service"), "{}", report.console);
}

#[test]
fn a_network_without_an_address_is_one_message_and_exit_code_1() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(image("static-site")).memory(16).vif().start().expect("the domain starts");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(1)), "{}", report.console);
    assert!(report.console.contains("--ipv4"), "{}", report.console);
}

#[test]
fn a_backend_that_never_connects_is_one_message_and_exit_code_1() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(image("static-site")).memory(16).cmdline("--ipv4 10.0.2.41/24").paused();
    let domain = domain.start().expect("the domain starts");
    let backend = format!("/local/domain/0/backend/vif/{}/0", domain.number());
    let nodes = [("backend", backend.as_str()), ("backend-id", "0"), ("state", "1"), ("handle", "0")];
    for (node, value) in nodes.into_iter().chain([("mac", "00:16:3e:00:00:41")]) {
        domain.store_write(&format!("device/vif/0/{node}"), value).expect("xenstored takes it");
    }
    // As the toolstack would: the frontend's nodes are the domain's own.
    let number = domain.number();
    let own = format!("xenstore-chmod -r /local/domain/{number}/device/vif/0 n{number}");
    lab.dom0_checked(&own).expect("xenstored takes it");
    domain.unpause().expect("the domain goes on");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(1)), "{}", report.console);
    assert!(report.console.contains("vif 0") && report.console.contains("backend"), "{}", report.console);
}

#[test]
fn the_site_is_served_byte_for_byte_and_shuts_down_cleanly() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let address = Ipv4Addr::new(10, 0, 2, 42);
    let domain = site(lab, 16, address);
    let port = free_port();
    lab.forward(port, address, 8080).expect("the port is free");
    let htdocs = root().join("examples/static-site/htdocs");
    let page = std::fs::read(htdocs.join("index.html")).expect("the example has a page");
    for _ in 0..3 {
        assert_eq!(get(port, "/"), page);
    }
    domain.shutdown().expect("xl shutdown");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
}

#[test]
fn the_site_serves_32_connections_in_8_mib() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let address = Ipv4Addr::new(10, 0, 2, 43);
    let domain = site(lab, 8, address);
    for options in ["-k -c32 -n1000", "-c4 -n100"] {
        let printed = lab.dom0_checked(&format!("ab -q {options} http://{address}:8080/")).expect("ab runs");
        assert!(printed.contains("Failed requests:        0"), "{options}: {printed}\n{}", domain.console().text());
        assert!(!printed.contains("Non-2xx"), "{options}: {printed}");
    }
    let ping = lab.dom0_checked(&format!("ping -c 3 -q {address}")).expect("ping is answered");
    assert!(ping.contains("3 packets received"), "{ping}");
}

#[test]
fn xl_reboot_asks_for_a_reboot() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(guest("faults")).cmdline("--how wait").start().expect("the domain starts");
    domain.console().wait_for("waiting", LONG).expect("it runs");
    domain.reboot().expect("xl reboot");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!(report.reason, StopReason::Reboot, "{}", report.console);
    assert!(report.console.contains("mirage: exit 0"), "{}", report.console);
}

/// What a waiting domain may use of the processor in ten seconds.
const LITTLE: Duration = Duration::from_millis(20);

#[test]
fn a_waiting_domain_uses_next_to_no_processor_time() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let address = Ipv4Addr::new(10, 0, 2, 44);
    let domain = site(lab, 16, address);
    // Settled: neighbour discovery and the console's last line are over.
    lab.dom0_checked("sleep 1").expect("dom0 waits");
    let mut used = Duration::MAX;
    // The goal of 2 ms is the benchmark's to judge; a domain that spins uses thousands, each time. What a busy host takes from the
    // machine while the domain runs is counted as the domain's, so that it may have three tries.
    for _ in 0..3 {
        let before = domain.cpu_ns().expect("the domain is there");
        lab.dom0_checked("sleep 10").expect("dom0 waits");
        used = used.min(Duration::from_nanos(domain.cpu_ns().expect("the domain is there") - before));
        if used < LITTLE {
            break;
        }
    }
    println!("{used:?} of processor time in 10 s");
    assert!(used < LITTLE, "{used:?} in 10 s");
}

#[test]
fn panics_and_faults_are_reported_and_crash() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let cases = [("panic", "asked to panic"), ("stack", "stack"), ("memory", "memory")];
    for (how, word) in cases {
        let report = ends(lab, guest("faults"), 8, &format!("--how {how}"));
        assert_eq!((report.reason, report.status()), (StopReason::Crash, 101), "{how}: {}", report.console);
        for part in [word, "rip", "rsp", "build id"] {
            assert!(report.console.contains(part), "{how}: no \"{part}\" in\n{}", report.console);
        }
    }
}

#[test]
fn four_sites_run_beside_each_other() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let addresses: Vec<Ipv4Addr> = (50..54).map(|last| Ipv4Addr::new(10, 0, 2, last)).collect();
    let domains: Vec<Domain> = addresses.iter().map(|&address| site(lab, 8, address)).collect();
    for &address in &addresses {
        lab.first_answer(SocketAddrV4::new(address, 8080), "/", LONG).expect("every site answers");
    }
    drop(domains);
}

#[test]
fn requests_under_way_survive_reconnections_of_the_network() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let address = Ipv4Addr::new(10, 0, 2, 45);
    let domain = site(lab, 8, address);
    // The backend begins to close each time, as one does whose driver is unloaded.
    let script = format!(
        "ab -q -k -c8 -n5000 -s60 http://{address}:8080/ > /tmp/ab.{id} 2>&1 & ab=$!
         state=/local/domain/0/backend/vif/{id}/0/state
         for round in 1 2 3 4; do
             usleep 300000; xenstore-write $state 5; tries=0
             until [ $(xenstore-read $state) = 4 ] || [ $tries = 200 ]; do usleep 100000; tries=$((tries + 1)); done
         done
         wait $ab; cat /tmp/ab.{id}",
        id = domain.number()
    );
    let printed = lab.dom0_checked(&script).expect("ab runs");
    let console = domain.console().text();
    assert!(printed.contains("Complete requests:      5000"), "{printed}\n{console}");
    assert!(printed.contains("Failed requests:        0"), "{printed}\n{console}");
    assert!(console.matches("vif 0: connected again").count() >= 3, "{console}");
}

/// What the `frames` guest has said of what a connection took and sent, and of what the device had to do.
struct Moved {
    first: String,
    notifications: u64,
    events: u64,
}

impl Moved {
    /// Waits for the guest's two lines.
    fn read(console: &mut mirage_lab::Console, word: &str) -> Moved {
        let first = console.wait_for(word, LONG).expect("the connection ends").text;
        let second = console.wait_for("device: ", LONG).expect("the connection ends").text;
        let number = |name: &str| {
            let (_, rest) = second.split_once(name).expect("the line has it");
            rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
        };
        Moved { first, notifications: number("sent "), events: number("took ") }
    }

    fn number(&self, before: &str) -> u64 {
        let (_, rest) = self.first.split_once(before).expect("the line has it");
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
        digits.and_then(|word| word.parse().ok()).expect("a number")
    }
}

#[test]
fn netfront_and_linux_agree_on_checksums_and_segments() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(guest("frames")).memory(16).vif().cmdline("--ipv4 10.0.2.47/24").start();
    let domain = domain.expect("the domain starts");
    let mut console = domain.console();
    console.wait_for("serving frames", LONG).expect("the device connects");
    // Without asking first whether somebody else has it, so that it can be used at once.
    let with_ipv6 = "cd /proc/sys/net/ipv6/conf/xenbr0; echo 0 > disable_ipv6; echo 0 > dad_transmits
        ip address show dev xenbr0 | grep -q fd00::1 || ip address add fd00::1/64 dev xenbr0";
    lab.dom0_checked(with_ipv6).expect("dom0 takes another address");

    let file = std::env::temp_dir().join(format!("mirage-frames-{}", std::process::id()));
    let bytes: Vec<u8> = (0..1_200_000_u32).map(|index| (index ^ (index >> 7)) as u8).collect();
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    std::fs::write(&file, &bytes).expect("the temporary folder can be written");
    lab.put(&file, "/tmp/frames.in").expect("dom0 has room");
    let expected: Vec<u8> = (0..1_000_000_u32).map(|index| (index ^ (index >> 8)) as u8).collect();

    for address in ["10.0.2.47", "fd00::a00:22f"] {
        let ping = lab.dom0_checked(&format!("ping -c 3 -q -s 1400 {address}")).expect("ping is answered");
        assert!(ping.contains("3 packets received"), "{ping}");

        // A blank checksum that the backend completes: with a wrong one, Linux would drop the answer.
        let script =
            format!("exec 3<>/dev/udp/{address}/7; echo a datagram >&3; timeout 5 dd bs=100 count=1 <&3 2>/dev/null");
        let echo = lab.dom0_checked(&format!("bash -c '{script}'")).expect("bash runs");
        assert_eq!(echo.trim(), "a datagram", "{address}");

        // From Linux: packets longer than the link allows, with checksums that nobody has made.
        lab.dom0_checked(&format!("bash -c 'cat /tmp/frames.in > /dev/tcp/{address}/9'")).expect("bash runs");
        let moved = Moved::read(&mut console, "took ");
        assert!(moved.first.contains(&format!("took 1200000 bytes, sum {sum}, ")), "{address}: {}", moved.first);
        assert!(!moved.first.contains(" 0 of them long"), "the backend segments what it need not: {}", moved.first);
        // Enough for Linux to make its packets as long as they can be.
        let script = format!("dd if=/dev/zero bs=1M count=40 2>/dev/null > /dev/tcp/{address}/10");
        lab.dom0_checked(&format!("bash -c '{script}'")).expect("bash runs");
        let moved = Moved::read(&mut console, "took ");
        println!("{address}: {}; {} notifications, {} events", moved.first, moved.notifications, moved.events);
        assert!(moved.first.starts_with("took 41943040 bytes, "), "{address}: {}", moved.first);
        assert!(moved.number("the longest ") > 60_000, "{address}: {}", moved.first);
        // Pages to receive into and the acknowledgement of a burst: one of each at most, however many packets it has.
        let packets = moved.number("sum 0, ");
        assert!(moved.notifications < 2 * packets && moved.events <= 2 * packets, "{address}: {}", moved.first);

        // To Linux: the same the other way.
        lab.dom0_checked(&format!("bash -c 'cat < /dev/tcp/{address}/19' > /tmp/frames.out")).expect("bash runs");
        let moved = Moved::read(&mut console, "sent ");
        // 16 packets of 65000 bytes, if the windows allow it.
        assert!(moved.number("in ") < 40, "{address}: {}", moved.first);
        println!("{address}: {}; {} notifications, {} events", moved.first, moved.notifications, moved.events);
        lab.get("/tmp/frames.out", &file).expect("it is there");
        let received = std::fs::read(&file).expect("it was copied");
        assert!(received == expected, "{address}: {} bytes of {}", received.len(), expected.len());
    }
    let _ = std::fs::remove_file(&file);
}

#[test]
fn only_frames_for_joined_groups_arrive() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    // Linux filters what comes from other domains, but not what dom0 itself sends.
    let [(domain, mut console), (speaker, _)] = [48, 49].map(|last| {
        let words = format!("--ipv4 10.0.2.{last}/24");
        let domain = lab.domain(guest("frames")).memory(16).vif().cmdline(&words).start().expect("the domain starts");
        let mut console = domain.console();
        console.wait_for("serving frames", LONG).expect("the device connects");
        (domain, console)
    });
    let backend = format!("/local/domain/0/backend/vif/{}/0", domain.number());
    let offered = lab.dom0_checked(&format!("xenstore-read {backend}/feature-multicast-control"));
    assert_eq!(offered.expect("Linux's backend offers it").trim(), "1");
    let tell = |last: u8, what: char, group: u8| {
        let script = format!("printf -- \"{what}\\x01\\x00\\x5e\\x00\\x01\\x0{group}\" > /dev/udp/10.0.2.{last}/11");
        lab.dom0_checked(&format!("bash -c '{script}'")).expect("bash runs");
    };
    // Group 2 is never joined. The ring keeps the order: what is heard was sent before the next word to the listener.
    for round in ["before", "joined", "left"] {
        match round {
            "joined" => tell(48, '+', 1),
            "left" => tell(48, '-', 1),
            _ => {}
        }
        if round != "before" {
            let line = console.wait_for("[", LONG).expect("the guest says something").text;
            assert!(line.starts_with(round), "{round}: {line}\n{}", console.text());
        }
        for group in [2, 1] {
            tell(49, '>', group);
        }
        // The speaker has answered by the time that this has.
        lab.dom0_checked("ping -c 1 -q 10.0.2.49").expect("ping is answered");
        if round == "joined" {
            let line = console.wait_for("[", LONG).expect("the guest says something").text;
            assert!(line.starts_with("heard [1, 0, 5e, 0, 1, 1]"), "{line}\n{}", console.text());
        }
    }
    tell(48, '+', 3);
    let line = console.wait_for("[", LONG).expect("the guest says something").text;
    assert!(line.starts_with("joined [1, 0, 5e, 0, 1, 3]"), "{line}\n{}", console.text());
    drop((domain, speaker));
}
