//! The example block on a real Xen, with real disks behind Linux's blkback.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mirage_lab::{Access, Domain, Lab, StopReason};
use mirage_tests::{first_machine, image};

const LONG: Duration = Duration::from_secs(60);

/// A file of the host for a disk, removed with this value.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str, mib: u64) -> Disk {
        let path = std::env::temp_dir().join(format!("mirage-block-example-{name}-{}", std::process::id()));
        File::create(&path).and_then(|file| file.set_len(mib << 20)).expect("the temporary folder can be written");
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A running example with a connection to it.
struct Running {
    domain: Domain,
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Running {
    /// Starts the example at 10.0.2.`last` with the disk.
    fn start(lab: &Lab, last: u8, disk: &Disk, access: Access) -> Running {
        let address = Ipv4Addr::new(10, 0, 2, last);
        let words = format!("--ipv4 {address}/24 --ipv4-gateway 10.0.2.2");
        let builder = lab.domain(image("block")).memory(16).vif().disk("xvda", &disk.0, access).cmdline(&words);
        let domain = builder.start().expect("the domain starts");
        domain.console().wait_for("serving the disk on", LONG).expect("the example comes up");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        lab.forward(port, address, 8081).expect("the port is free");
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is forwarded");
        stream.set_read_timeout(Some(LONG)).expect("a timeout can be set");
        let answers = BufReader::new(stream.try_clone().expect("a descriptor is free"));
        Running { domain, stream, answers }
    }

    /// The answer to a line.
    fn say(&mut self, line: &str) -> String {
        writeln!(self.stream, "{line}").expect("the guest reads");
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        let console = || self.domain.console().text();
        assert!(read.is_ok_and(|length| length > 0), "{line}: no answer\n{}", console());
        answer.trim_end().to_owned()
    }

    /// Shuts the domain down and copies the disk back.
    fn end(self, disk: &Disk) {
        self.domain.shutdown().expect("xl shutdown");
        let report = self.domain.exit(LONG).expect("the domain ends");
        assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
        self.domain.read_disk("xvda", &disk.0).expect("the disk is there");
    }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let Some(lab) = first_machine() else { return };
    let disk = Disk::new("restart", 16);
    let mut first = Running::start(lab, 120, &disk, Access::ReadWrite);
    let info = first.say("info");
    assert!(info.starts_with("ok 32768 sectors of 512 bytes, read-write, cache Flushed"), "{info}");
    assert_eq!(first.say("append Moin"), "ok 0");
    let filled = first.say("fill 42 0 3072");
    assert!(filled.starts_with("ok 3072 pages, sum "), "{filled}");
    assert_eq!(first.say("flush"), "ok");
    assert_eq!(first.say("verify 42 0 3072"), filled);
    assert_eq!(first.say("append Welt"), "ok 1");
    first.end(&disk);
    let mut second = Running::start(lab, 121, &disk, Access::ReadWrite);
    assert_eq!(second.say("count"), "ok 2");
    assert_eq!(second.say("read 0"), "ok Moin");
    assert_eq!(second.say("read 1"), "ok Welt");
    assert_eq!(second.say("verify 42 0 3072"), filled);
    assert_eq!(second.say("fill 1 3073 1"), "error page 3073: the range reaches beyond the end of the disk");
    second.end(&disk);
}

#[test]
fn what_was_answered_survives_xl_destroy() {
    let Some(lab) = first_machine() else { return };
    let disk = Disk::new("destroy", 8);
    let mut first = Running::start(lab, 122, &disk, Access::ReadWrite);
    for number in 0..20 {
        assert_eq!(first.say(&format!("append record {number}")), format!("ok {number}"));
    }
    let filled = first.say("fill 5 0 512");
    assert_eq!(first.say("flush"), "ok");
    first.domain.kill().expect("xl destroy");
    assert_eq!(first.domain.exit(LONG).expect("it is gone").reason, StopReason::Gone);
    first.domain.read_disk("xvda", &disk.0).expect("the disk is there");
    let mut second = Running::start(lab, 123, &disk, Access::ReadWrite);
    assert_eq!(second.say("count"), "ok 20");
    assert_eq!(second.say("read 19"), "ok record 19");
    assert_eq!(second.say("verify 5 0 512"), filled);
}

#[test]
fn a_read_only_disk_says_so() {
    let Some(lab) = first_machine() else { return };
    let disk = Disk::new("read-only", 8);
    let mut running = Running::start(lab, 124, &disk, Access::ReadOnly);
    let info = running.say("info");
    assert!(info.contains(", read-only, "), "{info}");
    assert_eq!(running.say("append Moin"), "error the disk is read-only: attach it with mode 'w' to write");
    assert_eq!(running.say("count"), "ok 0");
}

#[test]
fn a_domain_without_the_disk_is_one_message_and_exit_code_1() {
    let Some(lab) = first_machine() else { return };
    let domain = lab.domain(image("block")).memory(16).vif().cmdline("--ipv4 10.0.2.125/24").start();
    let report = domain.expect("the domain starts").exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(1)), "{}", report.console);
    assert!(report.console.contains("disk data: it needs the virtual disk xvda"), "{}", report.console);
}
#[test]
fn a_disk_is_detached_and_attached_while_it_is_used() {
    let Some(lab) = first_machine() else { return };
    let disk = Disk::new("detach", 8);
    let mut running = Running::start(lab, 126, &disk, Access::ReadWrite);
    assert_eq!(running.say("append before"), "ok 0");
    let filled = running.say("fill 6 0 256");
    assert_eq!(running.say("flush"), "ok");
    running.domain.block_detach("xvda").expect("the frontend lets go");
    assert_eq!(running.say("append without"), "error the disk was detached: attach it again");
    assert!(running.say("verify 6 0 256").starts_with("error page 0: the disk was detached"));
    running.domain.read_disk("xvda", &disk.0).expect("dom0 has it still");
    running.domain.block_attach("xvda", &disk.0, Access::ReadWrite).expect("dom0 makes another backend");
    let start = Instant::now();
    while running.say("flush") != "ok" {
        assert!(start.elapsed() < LONG, "{}", running.domain.console().text());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(running.say("verify 6 0 256"), filled);
    assert_eq!(running.say("append after"), "ok 1");
    assert_eq!(running.say("read 0"), "ok before");
}
