//! Domains that are saved, restored and asked for things while they work, on the real Xen. Connections that go on through saves and
//! migrations are the soak's; its short forms are beside these.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use mirage_lab::{Console, Lab, StopReason};
use mirage_tests::{guest, image, root};

const LONG: Duration = Duration::from_secs(120);

/// A port of this machine that nobody uses.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// A client of the site that keeps its connection.
struct Browser {
    stream: TcpStream,
    pages: Vec<(&'static str, Vec<u8>)>,
}

impl Browser {
    fn connect(port: u16) -> Browser {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port answers");
        stream.set_read_timeout(Some(LONG)).expect("a timeout can be set");
        let htdocs = root().join("examples/static-site/htdocs");
        let page = |path: &'static str| (path, std::fs::read(htdocs.join(path)).expect("the example has it"));
        Browser { stream, pages: ["index.html", "logo.svg", "guide/index.html"].map(page).to_vec() }
    }

    fn ask(&mut self, path: &str) {
        write!(self.stream, "GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n").expect("the connection is open");
    }

    /// Reads the answer; its content.
    fn answer(&mut self) -> Vec<u8> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("the connection is open");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("a head is text");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("it has a length");
        let mut content = vec![0; length.parse().expect("a number")];
        self.stream.read_exact(&mut content).expect("the connection is open");
        content
    }

    fn browse(&mut self) {
        for (path, content) in self.pages.clone() {
            self.ask(path);
            assert!(self.answer() == content, "{path}");
        }
    }
}

#[test]
fn a_site_goes_on_after_a_checkpoint_and_a_save_in_vain() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let address = Ipv4Addr::new(10, 0, 2, 71);
    let words = format!("--ipv4 {address}/24");
    let domain = lab.domain(image("static-site")).memory(16).vif().cmdline(&words).start();
    let mut domain = domain.expect("the domain starts");
    domain.console().wait_for("serving on", LONG).expect("the site comes up");
    let port = free_port();
    lab.forward(port, address, 8080).expect("the port is free");
    let mut browsers: Vec<Browser> = (0..4).map(|_| Browser::connect(port)).collect();
    browsers.iter_mut().for_each(Browser::browse);

    let number = domain.number();
    domain.checkpoint().expect("xl save -c");
    browsers.iter_mut().for_each(Browser::browse);
    domain.save_in_vain().expect("the device is full");
    browsers.iter_mut().for_each(Browser::browse);
    assert_eq!(domain.number(), number);
    assert!(!domain.console().text().contains("disconnected"), "{}", domain.console().text());

    domain.reboot().expect("xl reboot");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Reboot, Some(0)), "{}", report.console);
}

/// A line of the guest `life`.
#[derive(Debug)]
struct Tick {
    number: u64,
    /// Of the monotonic clock.
    instant: Duration,
    /// Since 1970.
    wall: Duration,
    random: String,
}

impl Tick {
    /// The next one.
    fn next(console: &mut Console) -> Tick {
        let line = console.wait_for("tick ", LONG).expect("the guest ticks").text;
        let words: Vec<&str> = line.split(' ').collect();
        let [_, number, instant, wall, random] = words[..] else { panic!("{line}") };
        let nanoseconds = |word: &str| Duration::from_nanos(word.parse().expect("a number"));
        Tick {
            number: number.parse().expect("a number"),
            instant: nanoseconds(instant),
            wall: nanoseconds(wall),
            random: random.trim().to_owned(),
        }
    }

    /// The first one after `number` that is not older than what `console` has shown.
    fn after(console: &mut Console, number: u64) -> Tick {
        loop {
            let tick = Tick::next(console);
            if tick.number > number {
                return tick;
            }
        }
    }
}

/// dom0's wall clock.
fn wall_clock(lab: &Lab) -> Duration {
    let seconds = lab.dom0_checked("date +%s").expect("dom0 has a clock");
    Duration::from_secs(seconds.trim().parse().expect("a number"))
}

#[test]
fn clocks_stand_still_or_are_corrected_and_no_two_copies_are_alike() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let mut domain = lab.domain(guest("life")).memory(8).start().expect("the domain starts");
    let mut console = domain.console();
    let first = Tick::next(&mut console);
    // A copy is saved and this one goes on; later two more go on from the same file.
    domain.checkpoint().expect("xl save -c");
    let mut copies = vec![Vec::<Tick>::new()];
    for round in 1..=3 {
        if round > 1 {
            domain.kill().expect("xl destroy");
            domain.restore().expect("xl restore");
        }
        let real = wall_clock(lab);
        loop {
            let tick = Tick::next(&mut console);
            let ticks = copies.last_mut().expect("there is one");
            // A copy counts on from where it was saved.
            if ticks.last().is_some_and(|last| tick.number <= last.number) {
                copies.push(Vec::new());
            }
            let ticks = copies.last_mut().expect("there is one");
            ticks.push(tick);
            let wall = ticks.last().expect("just pushed").wall;
            if ticks.len() > 2 && copies.len() == round && wall + Duration::from_secs(2) > real {
                assert!(wall.abs_diff(real) < Duration::from_secs(30), "{wall:?}, dom0 has {real:?}");
                break;
            }
        }
    }
    for tick in copies.iter().flatten() {
        // The clock of each copy counts on from where it was saved: the time of its work, and none of that between.
        let ran = tick.instant.saturating_sub(first.instant);
        let due = Duration::from_millis(250) * (tick.number - first.number) as u32;
        assert!(ran >= due && ran < due * 2 + Duration::from_secs(5), "{tick:?} after {first:?}");
    }
    let (before, after) = (copies[0].last().expect("ticks"), copies[2].last().expect("ticks"));
    println!("{} ticks, {} in the last copy; {before:?}, {after:?}", copies[0].len(), copies[2].len());
    let mut random: Vec<&str> = copies.iter().flatten().map(|tick| &*tick.random).collect();
    let count = random.len();
    random.sort_unstable();
    random.dedup();
    assert_eq!(random.len(), count, "random numbers of copies differ: {copies:?}");
}

#[test]
fn a_stuck_domain_ends_by_its_watchdog_and_one_that_works_does_not() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let mut working = lab.domain(guest("life")).memory(8).start().expect("the domain starts");
    let stuck = lab.domain(guest("life")).memory(8).cmdline("--how stuck").start().expect("the domain starts");
    let report = stuck.exit(LONG).expect("the domain ends");
    assert_eq!(report.reason, StopReason::Watchdog, "{}", report.console);
    assert!(report.console.contains("stuck"), "{}", report.console);
    // Longer than the watchdog of 8 s.
    working.save().expect("xl save");
    lab.dom0_checked("sleep 10").expect("dom0 waits");
    working.restore().expect("xl restore");
    let mut console = working.console();
    let before = Tick::next(&mut console);
    lab.dom0_checked("sleep 10").expect("dom0 waits");
    Tick::after(&mut console, before.number + 20);
    working.shutdown().expect("xl shutdown");
    assert_eq!(working.exit(LONG).expect("the domain ends").reason, StopReason::Poweroff);
}

#[test]
fn keys_for_the_system_are_obeyed() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    for (key, said, reason) in [
        ("h", "the toolstack writes \"h\"", None),
        ("m", "KiB free", None),
        ("b", "mirage: exit 0", Some(StopReason::Reboot)),
        ("o", "mirage: exit 0", Some(StopReason::Poweroff)),
        ("c", "asks for a crash", Some(StopReason::Crash)),
    ] {
        let domain = lab.domain(guest("faults")).cmdline("--how wait").start().expect("the domain starts");
        let mut console = domain.console();
        console.wait_for("waiting", LONG).expect("it runs");
        lab.dom0_checked(&format!("xl sysrq {} {key}", domain.name())).expect("xl sysrq");
        console.wait_for(said, LONG).expect("the key is obeyed");
        if let Some(reason) = reason {
            assert_eq!(domain.exit(LONG).expect("the domain ends").reason, reason, "{key}");
        }
    }
}

#[test]
fn the_toolstack_knows_what_can_be_asked_for() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(guest("faults")).cmdline("--how wait").start().expect("the domain starts");
    domain.console().wait_for("waiting", LONG).expect("it runs");
    for feature in ["poweroff", "reboot", "suspend"] {
        assert_eq!(domain.store_read(&format!("control/feature-{feature}")).expect("it is there"), "1", "{feature}");
    }
}

#[test]
fn xenstored_agrees_with_every_request() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(guest("store")).memory(8).start().expect("the domain starts");
    let mut console = domain.console();
    console.wait_for("waiting", LONG).expect("it runs");
    // More than a message of 4 KiB holds. A guest may not make so large a node.
    let number = domain.number();
    let script = format!(
        "for hundreds in 0 1 2; do for tens in 0 1 2 3 4 5 6 7 8 9; do nodes=
         for ones in 0 1 2 3 4 5 6 7 8 9; do
           nodes=\"$nodes /local/domain/{number}/data/many/a-rather-long-name-0$hundreds$tens$ones x\"; done
         xenstore-write $nodes || exit 1; done; done
         xenstore-write /local/domain/{number}/data/go 1"
    );
    lab.dom0_checked(&script).expect("dom0 may");
    console.wait_for("done", LONG).unwrap_or_else(|error| panic!("{error}"));
    let text = domain.console().text();
    for line in [
        "300 names, as expected: true",
        "read \"value\", list [\"b\", \"c\"]",
        "removed: true",
        "path is right: true",
        "introduced: ",
        "permissions kept: true",
        "\"outside and inside\" after 2 tries",
        "watch set again: \"data/go\"",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(text.contains("refused: [") && !text.contains("not refused"), "{text}");
}
