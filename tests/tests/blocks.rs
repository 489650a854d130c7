//! The disk frontend against Linux's xen-blkback, on a real Xen. All tests of this file share one boot of the lab.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use mirage_lab::{Access, Domain, DomainBuilder, Lab};
use mirage_tests::image;

#[path = "../guests/disk/src/pattern.rs"]
#[allow(dead_code)]
mod pattern;

const LONG: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

/// A domain of the guest that works on a disk, without the disk.
fn guest(lab: &Lab, words: &str) -> DomainBuilder {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    lab.domain(IMAGE.get_or_init(|| image("disk"))).memory(32).cmdline(words)
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
    for words in ["", "--persistent --ring-order 2", "--segments 11 --ring-order 4"] {
        let words = format!("--work verify {words}");
        let domain = guest(lab, &words).disk("xvda", disk.path(), Access::ReadWrite).start().expect("it starts");
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
