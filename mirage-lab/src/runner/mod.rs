//! Cargo's runner for images: boots one as a domU, shows its console, and ends as it ends.
//!
//! A project's own runner is a workspace member of three lines:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     mirage_lab::runner::main()
//! }
//! ```
//!
//! A disk that the image declares is the file that `--disk` names (`--NAME-disk` with several), `NAME.img` in the current folder
//! without it, as for a Unix process. It has to be there. Its content is copied into the lab, and what the guest has changed
//! comes back when it ends, however it ends.
//!
//! What the guest prints goes to standard output, all else to standard error with `mirage-lab:` in front. Two variables
//! of the environment change the domain: `MIRAGE_LAB_MEMORY` (MiB) and `MIRAGE_LAB_XL` (a line of xl's configuration).

mod disks;
mod plan;
mod symbols;

use crate::domain::{Domain, ExitReport, StopReason};
use crate::error::{CommandError, ForwardError};
use crate::images::elf;
use crate::lab::{Lab, LabOptions};
use mirage_build::manifest::{Manifest, ReadError};
use plan::Plan;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// The status of a runner that could not run the image.
const NOT_RUN: u8 = 102;
/// The status after a second Ctrl-C, as a shell gives it.
const INTERRUPTED: u8 = 130;
const CRASHED: u8 = 101;

/// Memory of the machine, and of dom0, without disks.
const MACHINE_MIB: u32 = 2048;
const DOM0_MIB: u32 = 512;

/// The runner: the program's words are the image and then the guest's words. Gives the guest's exit status, 101 if it
/// crashed, 102 if it could not be run, 130 if it was interrupted twice.
pub fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let Some(image) = words.next().map(PathBuf::from) else {
        say("usage: IMAGE [WORDS ...]");
        return NOT_RUN.into();
    };
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    match run(&image, &words) {
        Ok(status) => status.into(),
        Err(error) => {
            say(&error.to_string());
            NOT_RUN.into()
        }
    }
}

/// MiB of disks for which a lab with the default options has room, besides dom0's own files.
const DISKS_MIB: u64 = 128;

/// A lab with room for disks of so many MiB: dom0's files may have half of its memory. Only one with the default options goes on
/// from a machine that has booted.
fn options(disks_mib: u64) -> LabOptions {
    if disks_mib <= DISKS_MIB {
        return LabOptions::new();
    }
    let more = u32::try_from(2 * disks_mib).unwrap_or(u32::MAX);
    LabOptions::new().memory(MACHINE_MIB.saturating_add(more)).dom0_memory(DOM0_MIB.saturating_add(more))
}

/// Prints something of the runner's own.
fn say(text: &str) {
    for line in text.lines() {
        // There is nobody to tell that standard error is closed.
        let _ = writeln!(io::stderr(), "mirage-lab: {line}");
    }
}

/// Why an image was not run.
#[derive(Debug)]
struct RunError(String);

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RunError {}

fn run(image: &Path, words: &[String]) -> Result<u8, Box<dyn std::error::Error>> {
    let bytes = fs::read(image).map_err(|error| RunError(format!("{}: {error}", image.display())))?;
    let manifest = manifest(image, &bytes)?;
    drop(bytes);
    let plan = Plan::new(&manifest, words);
    check_ports(&plan)?;

    // One that only prints its keys uses none.
    let mut disks = match words.iter().any(|word| word == "--help") {
        true => Vec::new(),
        false => disks::open(&manifest, |key| plan::value(words, key))?,
    };

    let lab = Lab::start_with(&options(disks::mib(&disks)))?;
    let mut builder = lab.domain(image).name(&domain_name(&manifest.name)).cmdline(&plan.words.join(" "));
    builder = builder.memory(number("MIRAGE_LAB_MEMORY")?.unwrap_or(manifest.memory_mib));
    if let Some(most) = manifest.memory_max_mib {
        builder = builder.memory_max(most);
    }
    for _ in &manifest.networks {
        builder = builder.vif();
    }
    for disk in &disks {
        builder = builder.disk(&disk.device, &disk.path, disk.access);
    }
    if let Ok(line) = env::var("MIRAGE_LAB_XL") {
        builder = builder.config_line(&line);
    }
    for forward in &plan.forwards {
        lab.forward(forward.port, forward.guest, forward.port).map_err(|error| advise(&forward.key, error))?;
        say(&format!("127.0.0.1:{} is the guest's port --{}", forward.port, forward.key));
    }
    let domain = Arc::new(builder.start()?);
    let interrupts = interrupts(&domain)?;
    let printer = print_console(&domain);
    let report = domain.exit(Duration::MAX);
    // The console ends with the domain, which is destroyed when its last handle goes; the printer has none.
    if let Err(CommandError::Gone) = report {
        say(&format!("the last that Xen and dom0 printed:\n{}", lab.machine_log()));
    }
    let status = status(report, image, interrupts.load(Ordering::Acquire));
    let mut lost = None;
    for disk in &mut disks {
        if let Err(error) = disk.bring_back(&lab, &domain) {
            say(&error.to_string());
            lost = Some(NOT_RUN);
        }
    }
    drop(domain);
    drop(lab);
    let _ = printer.join();
    Ok(lost.unwrap_or(status))
}

/// The image's manifest. Another kernel that Xen can start, one in C for a comparison, has none: it gets 32 MiB and no network.
fn manifest(image: &Path, bytes: &[u8]) -> Result<Manifest, RunError> {
    match mirage_build::manifest::read_elf(bytes) {
        Ok(manifest) => Ok(manifest),
        Err(ReadError::NoManifest) if elf::starts_on_xen(bytes) => Ok(Manifest {
            name: image.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            version: String::new(),
            memory_mib: 32,
            memory_max_mib: None,
            networks: Vec::new(),
            blocks: Vec::new(),
            consoles: Vec::new(),
            keys: Vec::new(),
        }),
        Err(error) => Err(RunError(format!("{} can't be run on Xen: {error}", image.display()))),
    }
}

/// Refuses a port that is taken before anything is started.
fn check_ports(plan: &Plan) -> Result<(), RunError> {
    for forward in &plan.forwards {
        if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, forward.port)) {
            let error = match error.kind() {
                io::ErrorKind::PermissionDenied => ForwardError::Privileged(forward.port),
                _ => ForwardError::Busy(forward.port),
            };
            return Err(advise(&forward.key, error));
        }
    }
    Ok(())
}

/// Names the option that the port came from.
fn advise(key: &str, error: ForwardError) -> RunError {
    match error {
        ForwardError::Busy(port) => RunError(format!(
            "port {port} of 127.0.0.1 is in use: end what uses it, or give the guest another port with --{key} {}",
            if port < 64_000 { port.max(1023) + 1 } else { 8080 }
        )),
        ForwardError::Privileged(port) => RunError(format!(
            "port {port} of 127.0.0.1 may only be used by root: give the guest another port, for example --{key} {}",
            u32::from(port) + 8000
        )),
        other => RunError(format!("--{key}: {other}")),
    }
}

/// A unikernel's name as a domain's.
fn domain_name(name: &str) -> String {
    let fits = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
    let name: String = name.trim_start_matches('-').chars().map(fits).take(40).collect();
    if name.is_empty() { "unikernel".to_owned() } else { name }
}

fn number(variable: &str) -> Result<Option<u32>, RunError> {
    match env::var(variable) {
        Err(_) => Ok(None),
        Ok(text) => {
            text.parse().map(Some).map_err(|_| RunError(format!("{variable} is {text:?}, not a number of MiB")))
        }
    }
}

/// The first Ctrl-C asks the guest to shut down, the second ends it.
fn interrupts(domain: &Arc<Domain>) -> io::Result<Arc<AtomicU32>> {
    let count = Arc::new(AtomicU32::new(0));
    let counter = count.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let domain = Arc::downgrade(domain);
    thread::spawn(move || {
        for _ in &mut signals {
            let Some(domain) = domain.upgrade() else { break };
            let first = counter.fetch_add(1, Ordering::AcqRel) == 0;
            say(match first {
                true => "asking the guest to shut down (Ctrl-C again ends it at once)",
                false => "ending the guest",
            });
            // Aside, because a guest that does not listen keeps xl waiting and the next signal has to be heard.
            thread::spawn(move || {
                if let Err(error) = if first { domain.shutdown() } else { domain.kill() } {
                    say(&error.to_string());
                }
            });
        }
    });
    Ok(count)
}

fn print_console(domain: &Domain) -> thread::JoinHandle<()> {
    let console = domain.console();
    thread::spawn(move || {
        for line in console {
            let mut out = io::stdout().lock();
            // Whoever reads the guest's output may have gone; the guest goes on.
            let _ = writeln!(out, "{}", line.text).and_then(|()| out.flush());
        }
    })
}

fn status(report: Result<ExitReport, CommandError>, image: &Path, interrupts: u32) -> u8 {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            say(&error.to_string());
            return NOT_RUN;
        }
    };
    match report.reason {
        StopReason::Poweroff => return report.status(),
        StopReason::Reboot if interrupts == 0 && report.code.is_none() => {
            say("the guest asked for a reboot, or ended in a triple fault");
        }
        StopReason::Reboot => return report.status(),
        StopReason::Gone if interrupts > 1 => return INTERRUPTED,
        StopReason::Gone => say("the guest was destroyed"),
        StopReason::Crash => say("the guest crashed"),
        StopReason::Watchdog => say("the guest's watchdog ended it"),
        StopReason::Other(reason) => say(&format!("the guest stopped with Xen's reason {reason}")),
    }
    match symbols::describe(image, &report.console) {
        Ok(lines) => lines.iter().for_each(|line| say(line)),
        Err(error) => say(&format!("no lines for the addresses: {error}")),
    }
    CRASHED
}

#[cfg(test)]
mod tests {
    use super::{advise, domain_name};
    use crate::error::ForwardError;

    #[test]
    fn a_refused_port_names_the_option() {
        assert!(advise("port", ForwardError::Busy(8080)).0.ends_with("--port 8081"));
        assert!(advise("port", ForwardError::Busy(80)).0.ends_with("--port 1024"));
        assert!(advise("http", ForwardError::Privileged(80)).0.ends_with("--http 8080"));
        assert!(advise("port", ForwardError::Busy(65535)).0.ends_with("--port 8080"));
    }

    #[test]
    fn any_name_becomes_a_domains_name() {
        assert_eq!(domain_name("static-site"), "static-site");
        assert_eq!(domain_name("--a b\u{e4}"), "a-b-");
        assert_eq!(domain_name(""), "unikernel");
        assert_eq!(domain_name(&"x".repeat(50)).len(), 40);
    }
}
