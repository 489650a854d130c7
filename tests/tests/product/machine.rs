//! What a domain is given on a real Xen: modules, processor features, memory, grants of another domain, time.

use std::time::{Duration, Instant};

use mirage_lab::{Domain, DomainBuilder, ExitReport, Lab, LabOptions, StopReason};
use mirage_tests::guest;

const LONG: Duration = Duration::from_secs(120);

/// A domain of the guest `machine` that looks at one thing.
fn looking_at(lab: &Lab, what: &str) -> DomainBuilder {
    lab.domain(guest("machine")).memory(32).cmdline(&format!("--look {what}"))
}

/// Its end, which must be a good one.
fn ended(domain: &Domain) -> ExitReport {
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
    report
}

#[test]
fn a_ramdisk_is_a_module_and_is_never_used_as_memory() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let bytes: Vec<u8> = (0..300_001_u32).map(|index| (index ^ (index >> 7)) as u8).collect();
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let file = std::env::temp_dir().join(format!("mirage-module-{}", std::process::id()));
    std::fs::write(&file, &bytes).expect("the temporary folder can be written");
    lab.put(&file, "/tmp/module").expect("dom0 has room");
    let _ = std::fs::remove_file(&file);
    let domain = looking_at(lab, "modules").config_line("ramdisk=\"/tmp/module\"").start().expect("the domain starts");
    let report = ended(&domain);
    let expected = format!("module 0: 300001 bytes, sum {sum}, unharmed");
    assert!(report.console.contains(&expected), "expected {expected}:\n{}", report.console);
    assert!(!report.console.contains("module 1"), "{}", report.console);
    let wrote = report.console.split_once("wrote ").and_then(|(_, rest)| rest.split_once(" bytes"));
    let wrote: u64 = wrote.and_then(|(number, _)| number.parse().ok()).expect("it says how much it wrote");
    assert!(wrote > 20 << 20, "{}", report.console);
}

#[test]
fn processor_features_are_on_where_the_processor_has_them() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let report = ended(&looking_at(lab, "vectors").start().expect("the domain starts"));
    assert!(
        report.console.contains("AVX2 is absent") && report.console.contains("SMEP is absent"),
        "{}",
        report.console
    );
    // The usual processor with what is looked at, and no more: dom0 runs on it as well.
    let processor = "qemu64,+svm,+npt,+rdrand,+smep,+umip,+xsave,+xsaveopt,+sse4.1,+avx,+avx2";
    let lab = Lab::start_with(&LabOptions::new().processor(processor)).expect("the machine starts");
    let report = ended(&looking_at(&lab, "vectors").start().expect("the domain starts"));
    for said in ["SMEP is on", "UMIP is on", "AVX2 computes", "OSXSAVE is on"] {
        assert!(report.console.contains(said), "no \"{said}\":\n{}", report.console);
    }
}

/// Waits until Xen says that a domain has from `least` to `most` MiB. It counts a few pages of its own.
fn wait_for_memory(domain: &Domain, least: u64, most: u64) {
    let deadline = Instant::now() + LONG;
    loop {
        let kib = domain.memory_kib().expect("the domain is there");
        if (least * 1024..=most * 1024).contains(&kib) {
            return println!("{kib} KiB");
        }
        assert!(Instant::now() < deadline, "{kib} KiB instead of {least} to {most} MiB:\n{}", domain.console().text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Takes nearly all memory away from a domain that looks at it, gives it `most` MiB, and has it write to all of that.
fn squeeze(domain: &Domain, most: u32) {
    let mut console = domain.console();
    domain.set_memory(1).expect("xl mem-set");
    console.wait_for("memory is Critical", LONG).expect("it notices");
    domain.set_memory(most).expect("xl mem-set");
    let line = console.wait_for("wrote ", LONG).expect("it writes to its memory").text;
    let wrote = line.trim().strip_prefix("wrote ").and_then(|rest| rest.strip_suffix(" bytes"));
    let wrote: u64 = wrote.and_then(|number| number.parse().ok()).expect("it says how much it wrote");
    assert!(wrote >> 20 > u64::from(most) - 8, "{wrote} bytes of {most} MiB");
    domain.shutdown().expect("xl shutdown");
    ended(domain);
}

#[test]
fn memory_is_given_back_and_taken_again_while_the_domain_runs() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = looking_at(lab, "memory").memory_max(32).start().expect("the domain starts");
    domain.console().wait_for("free: ", LONG).expect("it runs");
    wait_for_memory(&domain, 31, 33);
    for _ in 0..2 {
        domain.set_memory(16).expect("xl mem-set");
        wait_for_memory(&domain, 14, 17);
        domain.set_memory(32).expect("xl mem-set");
        wait_for_memory(&domain, 31, 33);
    }
    squeeze(&domain, 32);
}

#[test]
fn a_domain_starts_with_less_memory_than_it_may_grow_to() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = looking_at(lab, "memory").memory(16).memory_max(64).start().expect("the domain starts");
    domain.console().wait_for("free: ", LONG).expect("it runs");
    wait_for_memory(&domain, 14, 17);
    domain.set_memory(60).expect("xl mem-set");
    wait_for_memory(&domain, 59, 61);
    squeeze(&domain, 60);
}

#[test]
fn time_that_others_had_is_counted() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    // dom0 has the same processor, and work.
    let domain = looking_at(lab, "time").paused().start().expect("the domain starts");
    lab.dom0_checked(&format!(
        "xl unpause {}; end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do :; done",
        domain.name()
    ))
    .expect("dom0 computes");
    let report = ended(&domain);
    let stolen = report.console.split_once("stolen: ").and_then(|(_, rest)| rest.split_once(" us"));
    let stolen: u64 = stolen.and_then(|(number, _)| number.parse().ok()).expect("it says how much");
    println!("{stolen} us of 500000 were dom0's");
    assert!(stolen > 10_000, "{stolen} us");
}

#[test]
fn a_page_of_another_domain_is_copied_and_mapped() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let image = guest("grants");
    let borrower = lab.domain(&image).memory(16).start().expect("the domain starts");
    let words = format!("--lend-to {}", borrower.number());
    let lender = lab.domain(&image).memory(16).cmdline(&words).start().expect("the domain starts");
    let line = lender.console().wait_for("lent by reference ", LONG).expect("it lends a page").text;
    let reference = line.trim().rsplit(' ').next().expect("it says the reference").to_owned();
    borrower.store_write("data/lent", &format!("{} {reference}", lender.number())).expect("xenstored takes it");
    let console = borrower.exit(LONG).expect("the domain ends").console;
    for said in [
        "copy 0: Ok(())",
        "copy 1: Ok(())",
        "copy 2: Err(",
        "copy 3: Err(BadDomain)",
        "read: from the lender",
        "mapped: from the lender",
        "another page: Err(Grant(",
        "error: done",
    ] {
        assert!(console.contains(said), "no \"{said}\":\n{console}");
    }
    lender.store_write("data/done", "1").expect("xenstored takes it");
    let console = lender.exit(LONG).expect("the domain ends").console;
    for said in ["copied: copied by a copy", "written: written by a map", "error: done"] {
        assert!(console.contains(said), "no \"{said}\":\n{console}");
    }
}
