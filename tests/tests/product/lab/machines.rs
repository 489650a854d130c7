//! Machines of the lab, and what can be done with them.

use super::guest::{self, Guest};
use mirage_lab::{Access, CommandError, CreateError, Domain, ForwardError, Lab, Sample, StopReason};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::time::{Duration, SystemTime};

const LIMIT: Duration = Duration::from_secs(60);
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The peer of benchmarks. One test and among the first, because Linux takes half a minute to boot here.
#[test]
fn a_linux_peer_runs_scripts_loads_its_disk_and_serves() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let address = Ipv4Addr::new(10, 0, 2, 91);
    let peer = lab.linux(address).memory(160).blank_disk("xvda", 16).start()?;
    let error = lab.linux_run(address, "echo of Linux; exit 7", LIMIT).expect_err("its status is not 0");
    assert!(matches!(&error, CommandError::Status { status: 7, said, .. } if said == "of Linux"), "{error}");
    linux_loads_its_disk(lab, address, &peer)?;

    let server = SocketAddrV4::new(address, 80);
    lab.first_answer(server, "/", LIMIT)?;
    let printed = lab.dom0_checked(&format!("ab -q -k -c4 -n100 http://{server}/"))?;
    assert!(printed.contains("Failed requests:        0"), "{printed}");
    Ok(())
}

/// The peer and dom0 count the same operations of a disk.
fn linux_loads_its_disk(lab: &Lab, address: Ipv4Addr, peer: &Domain) -> Outcome {
    // The kernel looks for partitions first.
    lab.linux_run(address, "until disk-load /dev/xvda read 4096 1 1; do usleep 20000; done", LIMIT)?;
    let statistics = format!("/sys/bus/xen-backend/devices/vbd-{}-51712/statistics", peer.number());
    let counters = [format!("{statistics}/rd_sect"), format!("{statistics}/wr_sect")];
    let counters = [counters[0].as_str(), counters[1].as_str()];
    let before = lab.sample(&counters)?;
    let printed =
        lab.linux_run(address, "for how in randread write; do disk-load /dev/xvda $how 4096 8 1; done", LIMIT)?;
    let after = lab.sample(&counters)?;
    // Both ends count the same.
    for (index, line) in printed.lines().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let ["operations", done, "nanoseconds", _, "errors", "0"] = words[..] else { return Err(line.into()) };
        assert_eq!(done.parse::<u64>()? * 8, after.number(index) - before.number(index), "{printed}");
    }
    assert_eq!(printed.lines().count(), 2, "{printed}");
    let cpu = |sample: &Sample| sample.cpu_ns(peer.number()).ok_or("it runs");
    assert!(cpu(&after)? > cpu(&before)? && after.time > before.time);
    Ok(())
}

#[test]
fn dom0_runs_scripts() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let finished = lab.dom0("xl list; echo problem >&2; exit 3")?;
    assert!(finished.stdout.contains("Domain-0"), "{}", finished.stdout);
    assert_eq!((finished.stderr.as_str(), finished.status), ("problem\n", 3));
    assert!(finished.ended >= finished.started);
    let error = lab.dom0_checked("false").expect_err("a status other than 0 is an error");
    assert!(error.to_string().contains("ended with 1"), "{error}");
    Ok(())
}

/// A lab may go on from a machine that booted long ago.
#[test]
fn dom0_has_the_hosts_time() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|time| time.as_secs());
    let before = now()?;
    let time: u64 = lab.dom0_checked("date +%s")?.trim().parse()?;
    let after = now()?;
    // Emulated time lags where the host is busy.
    assert!(time + 30 >= before && time <= after + 1, "{time} is not from {before} to {after}");
    Ok(())
}

#[test]
fn a_script_that_takes_too_long_is_killed() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let error = lab.dom0_within("echo soon; sleep 1000.25", Duration::from_millis(300)).expect_err("it is longer");
    assert!(matches!(error, CommandError::TooLong { .. }), "{error}");
    assert!(error.to_string().starts_with("`echo soon; sleep 1000.25` did not end within 300 ms"), "{error}");
    let gone = "while pgrep -f 'sleep 1000[.]25' >/dev/null; do usleep 10000; done";
    assert_eq!(lab.dom0_within(gone, LIMIT)?.status, 0);
    Ok(())
}

#[test]
fn files_go_to_dom0_and_back() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let folder = guest::folder()?;
    let (there, back) = (folder.join("there"), folder.join("back"));
    let content: Vec<u8> = (0..300_000_u32).map(|byte| (byte % 251) as u8).collect();
    std::fs::write(&there, &content)?;
    lab.put(&there, "/tmp/a file")?;
    lab.get("/tmp/a file", &back)?;
    assert_eq!(std::fs::read(&back)?, content);
    lab.dom0_checked("rm '/tmp/a file'")?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[test]
fn a_domain_prints_and_powers_off() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    let words = r#"say "Moin" 'to' \ them; $HOME %d"#;
    let domain = lab.domain(guest.image()).memory(16).cmdline(words).start()?;
    let line = domain.console().wait_for("guest: ", LIMIT)?;
    assert_eq!(line.text, format!("guest: {words}"));
    let report = domain.exit(LIMIT)?;
    assert_eq!((report.reason, report.status()), (StopReason::Poweroff, 0));
    assert!(report.console.contains("guest: bye"), "{}", report.console);
    let first = domain.first_output().ok_or("it printed")?;
    assert!(first.time > domain.times().create_started && first.time <= report.time);
    assert!(first.cpu > Duration::ZERO && first.cpu <= report.cpu, "{:?} of {:?}", first.cpu, report.cpu);
    assert!(domain.exit(LIMIT).is_err(), "an end is told once");
    let number = domain.number();
    domain.destroy()?;
    assert_ne!(lab.dom0(&format!("xl list {number}"))?.status, 0, "it is gone");
    Ok(())
}

#[test]
fn every_line_of_many_arrives() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    let domain = lab.domain(guest.image()).cmdline("many").start()?;
    let report = domain.exit(LIMIT)?;
    let lines = report.console.lines().filter(|line| *line == "guest: a line of many, as long as lines of logs are");
    assert_eq!(lines.count(), 2000);
    assert!(report.console.ends_with("guest: bye\n"));
    Ok(())
}

#[test]
fn ends_are_told_apart() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    for (words, reason) in [("crash", StopReason::Crash), ("reboot", StopReason::Reboot), ("fault", StopReason::Reboot)]
    {
        let domain = lab.domain(guest.image()).cmdline(words).start()?;
        let report = domain.exit(LIMIT)?;
        assert_eq!((report.reason, report.status()), (reason, 101), "{words}");
        assert!(report.console.contains(words));
    }
    Ok(())
}

#[test]
fn the_exit_code_is_read_from_xenstore() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    let domain = lab.domain(guest.image()).cmdline("x").paused().start()?;
    domain.store_write("data/mirage/exit-code", "64")?;
    assert_eq!(domain.store_read("data/mirage/exit-code")?, "64");
    assert!(domain.store_read("data/none").is_err());
    domain.unpause()?;
    let report = domain.exit(LIMIT)?;
    assert_eq!((report.code, report.status()), (Some(64), 64));
    Ok(())
}

#[test]
fn several_domains_live_at_once() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    let start = |words: &str| lab.domain(guest.image()).memory(8).cmdline(words).start();
    let (first, second) = (start("wait first")?, start("wait second")?);
    assert_eq!(first.console().wait_for("guest: ", LIMIT)?.text, "guest: wait first");
    assert_eq!(second.console().wait_for("guest: ", LIMIT)?.text, "guest: wait second");
    let error = first.exit(Duration::from_millis(10)).expect_err("it waits");
    assert!(matches!(error, CommandError::TimedOut(_)), "{error}");
    assert!(first.cpu_ns()? > 0 && first.memory_kib()? >= 8 * 1024);
    first.pause()?;
    let paused = first.cpu_ns()?;
    assert_eq!(first.cpu_ns()?, paused);
    first.unpause()?;
    first.kill()?;
    assert_eq!(first.exit(LIMIT)?.reason, StopReason::Gone);
    assert!(first.console().wait_for("more", LIMIT).is_err_and(|error| error.seen.contains("wait first")));
    // It does not listen: the request stands.
    second.shutdown()?;
    assert_eq!(second.store_read("control/shutdown")?, "poweroff");
    Ok(())
}

#[test]
fn devices_come_and_go() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    let folder = guest::folder()?;
    let (disk, back) = (folder.join("disk"), folder.join("back"));
    std::fs::write(&disk, vec![0x5a; 64 * 1024])?;
    let builder = lab.domain(guest.image()).cmdline("wait").vif().disk("xvda", &disk, Access::ReadWrite);
    let domain = builder.start()?;
    assert_eq!(domain.store_read("device/vif/0/backend-id")?, "0");
    assert!(!domain.store_read("device/vbd/51712/backend")?.is_empty());
    domain.read_disk("xvda", &back)?;
    assert_eq!(std::fs::read(&back)?, std::fs::read(&disk)?);
    domain.network_attach("bridge=xenbr0,mac=00:16:3e:00:77:01")?;
    assert_eq!(domain.store_read("device/vif/1/mac")?, "00:16:3e:00:77:01");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[test]
fn ports_are_forwarded_and_busy_ones_refused() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = busy.local_addr()?.port();
    let dom0 = Ipv4Addr::new(10, 0, 2, 15);
    let refused = lab.forward(port, dom0, 7777);
    assert!(matches!(refused, Err(ForwardError::Busy(refused)) if refused == port), "{refused:?}");
    drop(busy);
    lab.dom0_checked("mkdir -p /tmp/www && echo page >/tmp/www/page && httpd -p 7777 -h /tmp/www")?;
    lab.first_answer(SocketAddrV4::new(dom0, 7777), "/page", LIMIT)?;
    lab.forward(port, dom0, 7777)?;
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    std::io::Write::write_all(&mut stream, b"GET /page HTTP/1.0\r\n\r\n")?;
    let answer = std::io::read_to_string(stream)?;
    assert!(answer.ends_with("page\n"), "{answer}");
    lab.unforward(port)?;
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok(), "the port is free again");
    Ok(())
}

#[test]
fn what_can_not_be_made_is_refused() -> Outcome {
    let Some(lab) = Lab::shared_or_skip() else { return Ok(()) };
    let guest = Guest::build()?;
    let named = lab.domain(guest.image()).name("no name").start();
    assert!(matches!(named, Err(CreateError::Name(_))));
    let lines = lab.domain(guest.image()).cmdline("two\nlines").start();
    assert!(matches!(lines, Err(CreateError::Line(_))));
    let missing = lab.domain("/does/not/exist").start();
    assert!(missing.is_err_and(|error| error.to_string().contains("/does/not/exist")));
    let no_image = lab.domain(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).start();
    assert!(matches!(no_image, Err(CreateError::Refused { said, .. }) if !said.is_empty()));
    Ok(())
}

#[test]
fn a_second_lab_is_its_own_and_its_end_is_told() -> Outcome {
    let Some(shared) = Lab::shared_or_skip() else { return Ok(()) };
    let before = machines()?;
    let second = Lab::start()?;
    let own: Vec<u32> = machines()?.into_iter().filter(|machine| !before.contains(machine)).collect();
    second.dom0_checked("touch /tmp/second")?;
    assert_ne!(shared.dom0("test -e /tmp/second")?.status, 0);
    let [machine] = own[..] else { return Err(format!("one QEMU more, not {own:?}").into()) };
    assert!(Command::new("kill").args(["-KILL", &machine.to_string()]).status()?.success());
    assert!(matches!(second.dom0_within("sleep 100", LIMIT), Err(CommandError::Gone)));
    assert_eq!(shared.dom0("true")?.status, 0);
    Ok(())
}

/// The QEMUs that this process has started.
fn machines() -> std::io::Result<Vec<u32>> {
    let mut machines = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")?.flatten() {
        // A thread may be gone by now.
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_ascii_whitespace().filter_map(|number| number.parse::<u32>().ok()) {
            let name = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if name.contains("dom0.cpio") {
                machines.push(child);
            }
        }
    }
    Ok(machines)
}
