//! Devices that come and go while a domain runs, by `xl` on a real Xen.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use mirage_lab::{Access, Console, Domain, Lab, StopReason};
use mirage_tests::guest;

const LONG: Duration = Duration::from_secs(90);

/// A file of the host for a disk, removed with this value.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str) -> Disk {
        let path = std::env::temp_dir().join(format!("mirage-hotplug-{name}-{}", std::process::id()));
        File::create(&path).and_then(|file| file.set_len(1 << 20)).expect("the temporary folder can be written");
        Disk(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn start(lab: &Lab, words: &str) -> (Domain, Console) {
    let domain = lab.domain(guest("plugged")).memory(16).cmdline(words).start().expect("the domain starts");
    let mut console = domain.console();
    console.wait_for("waiting for devices", LONG).expect("it comes up");
    (domain, console)
}

fn wait(domain: &Domain, console: &mut Console, text: &str) {
    if console.wait_for(text, LONG).is_err() {
        panic!("no {text:?} in\n{}", domain.console().text());
    }
}

#[test]
fn disks_come_and_go() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let disk = Disk::new("disk");
    let (domain, mut console) = start(lab, "");
    for held in ["held something else", "held the pattern"] {
        domain.block_attach("xvdb", &disk.0, Access::ReadWrite).expect("dom0 makes a backend");
        wait(&domain, &mut console, "vbd 51728 is attached");
        wait(&domain, &mut console, &format!("vbd 51728: 2048 sectors, {held}, holds it now"));
        domain.block_detach("xvdb").expect("the frontend lets go");
        wait(&domain, &mut console, "vbd 51728 is detached");
        wait(&domain, &mut console, "vbd 51728: Err(Detached)");
        domain.read_disk("xvdb", &disk.0).expect("dom0 has it");
    }
    // Nobody can open it for writing, but it can go all the same.
    domain.block_attach("xvdc", &disk.0, Access::ReadOnly).expect("dom0 makes a backend");
    wait(&domain, &mut console, "vbd 51744: the disk is read-only");
    domain.block_detach("xvdc").expect("the frontend lets go");
    wait(&domain, &mut console, "vbd 51744 is detached");
    domain.shutdown().expect("xl shutdown");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
}

#[test]
fn networks_come_and_go() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let (domain, mut console) = start(lab, "--address 10.0.2.131/24");
    let echo = |word: &str| {
        let script =
            format!("exec 3<>/dev/udp/10.0.2.131/7; echo {word} >&3; timeout 5 dd bs=100 count=1 <&3 2>/dev/null");
        lab.dom0_checked(&format!("for try in 1 2 3 4 5; do bash -c '{script}' && break; done")).expect("bash runs")
    };
    domain.network_attach("bridge=xenbr0,mac=00:16:3e:00:77:31").expect("dom0 makes a backend");
    wait(&domain, &mut console, "vif 0: serving on 10.0.2.131");
    assert_eq!(echo("one").trim(), "one");
    domain.network_detach("0").expect("the frontend lets go");
    wait(&domain, &mut console, "vif 0 is detached");
    // Its socket is still there, so it is open, and works again by itself.
    domain.network_attach("bridge=xenbr0,mac=00:16:3e:00:77:31").expect("dom0 makes another backend");
    wait(&domain, &mut console, "vif 0 is open already");
    assert_eq!(echo("two").trim(), "two");
}
