//! Crashes on a real Xen: what the toolstack does about them, and what can be read of a domain's memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mirage_lab::{Domain, DomainBuilder, Lab, StopReason};
use mirage_tests::guest;
use xmas_elf::ElfFile;

const LONG: Duration = Duration::from_secs(60);
const VERY_LONG: Duration = Duration::from_secs(3600);

fn waiting(lab: &Lab) -> DomainBuilder {
    lab.domain(guest("faults")).memory(8).cmdline("--how wait")
}

fn start(builder: DomainBuilder) -> Domain {
    let domain = builder.start().expect("the domain starts");
    domain.console().wait_for("waiting", LONG).expect("the program runs");
    domain
}

/// The build id in the image's notes.
fn build_id() -> Vec<u8> {
    const GNU_BUILD_ID: u32 = 3;
    let bytes = std::fs::read(guest("faults")).expect("the image is there");
    let elf = ElfFile::new(&bytes).expect("it is an ELF file");
    let mut notes = elf.find_section_by_name(".note").expect("it has notes").raw_data(&elf);
    while let Some((head, rest)) = notes.split_first_chunk::<12>() {
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name, content) = rest.split_at((word(0) as usize).next_multiple_of(4));
        if word(8) == GNU_BUILD_ID && name == b"GNU\0" {
            return content[..word(4) as usize].to_vec();
        }
        notes = &content[(word(4) as usize).next_multiple_of(4)..];
    }
    panic!("it has no build id");
}

/// A dump of a domain: an ELF core of the right size, with the image's build id in the domain's pages.
fn assert_dump(file: &Path, mib: usize) {
    let bytes = std::fs::read(file).expect("the dump was copied");
    let elf = ElfFile::new(&bytes).expect("it is an ELF file");
    assert_eq!(elf.header.pt2.type_().as_type(), xmas_elf::header::Type::Core);
    let pages = elf.find_section_by_name(".xen_pages").expect("it has the domain's pages").raw_data(&elf);
    assert!(pages.len() >= (mib - 1) << 20, "{} bytes", pages.len());
    let id = build_id();
    assert!(id.len() >= 16, "{id:?}");
    assert!(pages.windows(id.len()).any(|window| window == id), "the build id is not in the dump");
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mirage-crash-{}-{name}", std::process::id()))
}

#[test]
#[ignore = "xl asks for a million page frames one by one, which takes the lab many minutes"]
fn the_memory_of_a_domain_can_be_dumped_while_it_runs_and_after_a_crash() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let file = temporary("dump");
    let domain = start(waiting(lab));
    domain.dump_core(&file, VERY_LONG).expect("xl dumps it");
    assert_dump(&file, 8);

    domain.interrupt().expect("xl interrupts it");
    domain.exit(LONG).expect("it ends");
    domain.dump_core(&file, VERY_LONG).expect("xl dumps what is left of it");
    assert_dump(&file, 8);
    let _ = std::fs::remove_file(&file);
}

#[test]
fn an_image_has_a_build_id() {
    assert_eq!(build_id().len(), 20);
}

#[test]
fn an_interrupt_that_cannot_be_masked_is_a_crash_with_a_report() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = start(waiting(lab));
    domain.interrupt().expect("xl interrupts it");
    let report = domain.exit(LONG).expect("it ends");
    assert_eq!(report.reason, StopReason::Crash, "{}", report.console);
    assert!(report.console.contains("fault: non-maskable interrupt (vector 2"), "{}", report.console);
}

#[test]
fn on_crash_destroy_leaves_nothing() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = start(waiting(lab).on_crash("destroy"));
    domain.interrupt().expect("xl interrupts it");
    // Whether the lab or xl sees the end first, does not matter.
    let reason = domain.exit(LONG).expect("it ends").reason;
    assert!(matches!(reason, StopReason::Crash | StopReason::Gone), "{reason:?}");
    let script = format!("for try in $(seq 300); do xl domid {} || exit 0; usleep 100000; done; exit 1", domain.name());
    lab.dom0_checked(&script).expect("xl destroys it");
}

#[test]
fn on_crash_restart_brings_another_domain() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let mut domain = start(waiting(lab).on_crash("restart"));
    let (first, mut console) = (domain.number(), domain.console());
    domain.interrupt().expect("xl interrupts it");
    console.wait_for("mirage: crash", LONG).expect("it reports the crash");
    domain.restarted(LONG).expect("xl starts it again");
    assert_ne!(domain.number(), first);
    console.wait_for("waiting", LONG).expect("it runs again");
}

#[test]
#[ignore = "as above"]
fn on_crash_coredump_destroy_leaves_a_dump() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    lab.dom0_checked("mkdir -p /var/lib/xen/dump && rm -f /var/lib/xen/dump/dumped*")
        .expect("dom0 has a folder for dumps");
    let domain = start(waiting(lab).name("dumped").on_crash("coredump-destroy"));
    domain.interrupt().expect("xl interrupts it");
    let script = "while xl domid dumped 2>/dev/null; do sleep 1; done; ls /var/lib/xen/dump/dumped*";
    let dump = lab.dom0_within(script, VERY_LONG).expect("xl ends the domain").stdout;
    let file = temporary("core");
    lab.get(dump.lines().last().expect("xl leaves a dump"), &file).expect("it can be copied");
    assert_dump(&file, 8);
    let _ = std::fs::remove_file(&file);
}
