//! The disk frontend against Linux's xen-blkback, on a real Xen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mirage_lab::{Access, Domain, DomainBuilder, Lab};
use mirage_tests::guest;

#[path = "../../guests/disk/src/pattern.rs"]
#[allow(dead_code)]
mod pattern;

const LONG: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

/// A domain of the guest that works on a disk, without the disk.
fn worker(lab: &Lab, words: &str) -> DomainBuilder {
    lab.domain(guest("disk")).memory(64).cmdline(words)
}

/// A file of the host that is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, bytes: u64) -> Self {
        let path = std::env::temp_dir().join(format!("mirage-blocks-{}-{name}", std::process::id()));
        let file = std::fs::File::create(&path).expect("the temporary folder can be written");
        file.set_len(bytes).expect("a file can be made longer");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What the domain printed, after it said that it has done its work.
fn done(domain: &Domain) -> String {
    let mut console = domain.console();
    match console.wait_for("the work is done", LONG) {
        Ok(_) => domain.console().text(),
        Err(error) => panic!("{error:?}\n{}", domain.console().text()),
    }
}

#[test]
fn what_the_guest_writes_is_on_the_disk_and_comes_back() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let disk = Temporary::new("verify", 16 * MIB);
    for words in ["", "--lend --ring-order 2", "--segments 11 --ring-order 4"] {
        let words = format!("--work verify {words}");
        let domain = worker(lab, &words).disk("xvda", disk.path(), Access::ReadWrite).start().expect("it starts");
        let said = done(&domain);
        for expected in ["verified 4096 pages", "flushed", "discarded: Ok(()), zeros true", "erased: Err(Unsupported)"]
        {
            assert!(said.contains(expected), "{words}: no {expected}:\n{said}");
        }
        assert!(said.contains("errors: 0,"), "{words}:\n{said}");
        let copy = Temporary::new("copy", 0);
        domain.read_disk("xvda", copy.path()).expect("dom0 has it");
        let content = std::fs::read(copy.path()).expect("it was copied");
        assert_eq!(content.len() as u64, 16 * MIB);
        for (number, page) in content.chunks_exact(4096).enumerate() {
            let page = page.first_chunk().expect("a page");
            let round = if number == 0 { 2 } else { 1 };
            let discarded = (64..128).contains(&number) && page.iter().all(|byte| *byte == 0);
            assert!(discarded || pattern::is_filled(page, number as u64, round), "{words}: page {number}");
        }
    }
}

#[test]
fn a_disk_that_is_read_only_is_not_written() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let disk = Temporary::new("read-only", MIB);
    std::fs::write(disk.path(), vec![0x5A; MIB as usize]).expect("the temporary folder can be written");
    let domain = worker(lab, "--work info").disk("xvda", disk.path(), Access::ReadOnly).start().expect("it starts");
    let said = done(&domain);
    assert!(said.contains("read_only: true"), "{said}");
    assert!(said.contains("first bytes Some([90, 90, 90, 90, 90, 90, 90, 90]), Ok(())"), "{said}");
    assert!(said.contains("written: Err(ReadOnly)"), "{said}");
}

/// A loop device of dom0 that is given back when this is dropped.
struct Loop<'a> {
    lab: &'a Lab,
    device: String,
    file: String,
}

impl<'a> Loop<'a> {
    fn new(lab: &'a Lab, mib: u32, sector_size: u32) -> Self {
        let file = format!("/tmp/blocks-{sector_size}.img");
        let made = format!(
            "dd if=/dev/zero of={file} bs=1M count={mib} 2>/dev/null && flock /run/lock/loop /usr/bin/losetup -b {sector_size} --find --show {file}"
        );
        let device = lab.dom0_checked(&made).expect("dom0 has loop devices").trim().to_owned();
        Self { lab, device, file }
    }

    /// xl's line for it.
    fn line(&self) -> String {
        format!("disk=[\"format=raw,vdev=xvda,access=rw,backendtype=phy,target={}\"]", self.device)
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        let _ = self.lab.dom0(&format!("/usr/bin/losetup -d {}; rm {}", self.device, self.file));
    }
}

#[test]
fn sectors_may_be_of_4096_bytes() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let disk = Loop::new(lab, 8, 4096);
    let domain = worker(lab, "--work verify").config_line(&disk.line()).start().expect("it starts");
    let said = done(&domain);
    assert!(said.contains("sector_size: 4096, sectors: 2048,"), "{said}");
    assert!(said.contains("verified 2048 pages") && said.contains("errors: 0,"), "{said}");
    domain.destroy().expect("xl destroys it");
}

#[test]
fn a_disk_grows_while_it_is_used() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let disk = Temporary::new("growing", 4 * MIB);
    let domain = worker(lab, "--work follow").disk("xvda", disk.path(), Access::ReadWrite).start().expect("it starts");
    let mut console = domain.console();
    console.wait_for("changed: 8192 sectors, detached false, connection 1", LONG).expect("it is connected");
    let grow = format!(
        "file=/tmp/{}.xvda; truncate -s 6M $file && /usr/bin/losetup -c $(/usr/bin/losetup -n -O NAME -j $file)",
        domain.name()
    );
    lab.dom0_checked(&grow).expect("dom0 resizes it");
    console.wait_for("changed: 12288 sectors, detached false, connection 1", LONG).expect("it has grown");
    // The last pages are where they are now, and are written and read.
    console.wait_for("round", LONG).expect("the work goes on");
}

#[test]
fn a_disk_is_detached_and_another_one_attached_while_it_is_used() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let (first, second) = (Temporary::new("first", MIB), Temporary::new("second", 2 * MIB));
    let domain = worker(lab, "--work follow").disk("xvda", first.path(), Access::ReadWrite).start();
    let domain = domain.expect("it starts");
    let mut console = domain.console();
    console.wait_for("changed: 2048 sectors, detached false, connection 1", LONG).expect("it is connected");
    for connection in 2..4 {
        console.wait_for("round", LONG).expect("the work goes on");
        domain.block_detach("xvda").expect("the frontend lets go");
        console.wait_for("detached true", LONG).expect("the frontend says so");
        domain.block_attach("xvda", second.path(), Access::ReadWrite).expect("dom0 makes another backend");
        let line = format!("changed: 4096 sectors, detached false, connection {connection}");
        console.wait_for(&line, LONG).expect("it is connected again");
    }
    console.wait_for("round", LONG).expect("the work goes on");
    let said = domain.console().text();
    assert!(!said.contains("is not what round"), "{said}");
}
