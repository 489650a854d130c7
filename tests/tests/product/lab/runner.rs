//! The runner as a process: what it prints, how it ends, and that nothing of it stays.

use super::guest::Guest;
use mirage_lab::Lab;
use mirage_tests::{build, target};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The runner's program.
fn program() -> PathBuf {
    build(&["-p", "mirage-lab"]);
    target().join("debug/mirage-lab")
}

fn runner(image: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg(image).args(words);
    command
}

fn run(image: &Path, words: &[&str]) -> std::io::Result<Output> {
    runner(image, words).output()
}

/// A runner whose guest waits for ever, once the guest has said so.
fn waiting(guest: &Guest) -> Result<(Child, BufReader<ChildStdout>), Box<dyn std::error::Error>> {
    let mut child = runner(&guest.image(), &["wait"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("it has a pipe")?);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    assert_eq!(line, "guest: wait\n");
    Ok((child, lines))
}

/// The processes that a process has started.
fn children(process: u32) -> std::io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"))?;
        children.extend(list.split_ascii_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Ok(children)
}

/// Whether a process is there and has not ended.
fn runs(process: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, met: impl Fn() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < LIMIT, "{what} took longer than {LIMIT:?}");
        thread::yield_now();
    }
}

fn interrupt(process: u32) -> Outcome {
    assert!(Command::new("kill").args(["-INT", &process.to_string()]).status()?.success());
    Ok(())
}

#[test]
fn the_guests_words_lines_and_status_are_its_own() -> Outcome {
    if !Lab::available_or_skip() {
        return Ok(());
    }
    let guest = Guest::build()?;
    let output = run(&guest.image(), &["two words", "it's"])?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "guest: 'two words' 'it'\\''s'\nguest: bye\n");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    Ok(())
}

#[test]
fn a_crash_ends_with_101() -> Outcome {
    if !Lab::available_or_skip() {
        return Ok(());
    }
    let guest = Guest::build()?;
    let output = run(&guest.image(), &["crash"])?;
    assert_eq!(output.status.code(), Some(101));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("mirage-lab: the guest crashed"), "{said}");
    Ok(())
}

#[test]
fn a_guest_that_hears_nothing_is_ended_by_the_second_interrupt() -> Outcome {
    if !Lab::available_or_skip() {
        return Ok(());
    }
    let guest = Guest::build()?;
    let (mut child, _lines) = waiting(&guest)?;
    let own = children(child.id())?;
    assert!(!own.is_empty(), "QEMU is its child");
    interrupt(child.id())?;
    let mut said = String::new();
    BufReader::new(child.stderr.take().ok_or("it has a pipe")?).read_line(&mut said)?;
    assert_eq!(said, "mirage-lab: asking the guest to shut down (Ctrl-C again ends it at once)\n");
    interrupt(child.id())?;
    let status = child.wait()?;
    assert_eq!(status.code(), Some(130));
    assert!(!own.iter().any(|process| runs(*process)), "QEMU ends before the runner");
    Ok(())
}

#[test]
fn nothing_outlives_a_runner_that_is_killed() -> Outcome {
    if !Lab::available_or_skip() {
        return Ok(());
    }
    let guest = Guest::build()?;
    let (mut child, _lines) = waiting(&guest)?;
    let own = children(child.id())?;
    assert!(own.iter().all(|process| runs(*process)) && !own.is_empty());
    child.kill()?;
    child.wait()?;
    wait_until("QEMU's end", || !own.iter().any(|process| runs(*process)));
    Ok(())
}

#[test]
fn what_can_not_be_run_is_said_before_anything_is_started() -> Outcome {
    let output = run(Path::new("/does/not/exist"), &[])?;
    assert_eq!(output.status.code(), Some(102));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("mirage-lab: /does/not/exist: "));
    let own = run(&program(), &[])?;
    assert_eq!(own.status.code(), Some(102));
    assert!(String::from_utf8_lossy(&own.stderr).contains("not a bootable image"));
    let nothing = Command::new(program()).output()?;
    assert_eq!(nothing.status.code(), Some(102));
    Ok(())
}
