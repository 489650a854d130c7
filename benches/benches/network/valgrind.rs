//! Programs under valgrind: callgrind counts what they do, memcheck what they hold.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// Copies and fills of glibc without `rep`, however long they are.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=100000000:glibc.cpu.x86_rep_stosb_threshold=100000000";

/// What callgrind has counted of a program, for each operation of its own count.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Instructions.
    pub instructions: f64,
    /// Misses of the last level of the simulated cache; 0 when it was not simulated.
    pub misses: f64,
}

/// Whether valgrind is there.
pub fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs `program` of `mirage_bench_wire` with `words` under callgrind, which collects in its function `counted` only.
/// With `cache` it simulates a last-level cache of so many bytes.
pub fn count(program: &Path, words: &[&str], cache: Option<usize>) -> Result<Counts> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .args(["--toggle-collect=mirage_bench_wire::loads::counted*", "--zero-before=mirage_bench_wire::loads::begin*"])
        // Callgrind counts `rep movsb` and `rep stosb` as an instruction for each byte.
        .env("GLIBC_TUNABLES", TUNABLES);
    if let Some(bytes) = cache {
        command.args(["--cache-sim=yes", &format!("--LL={bytes},16,64")]);
    }
    let output = command.arg(program).args(words).output()?;
    let (printed, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{} {words:?} failed under callgrind:\n{told}", program.display()).into());
    }
    let operations = number_behind(&printed, "operations ").ok_or("the program prints no operations")?;
    let line = |name: &str| told.lines().find_map(|line| line.split_once(name)).map(|(_, rest)| rest);
    let names: Vec<&str> = line("Events    :").ok_or("callgrind names no events")?.split_whitespace().collect();
    let collected: Vec<f64> = line("Collected :")
        .ok_or("callgrind has collected nothing")?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let of = |event: &str| {
        let found = names.iter().zip(&collected).find(|(name, _)| **name == event);
        found.map_or(0.0, |(_, count)| count / operations)
    };
    Ok(Counts { instructions: of("Ir"), misses: of("ILmr") + of("DLmr") + of("DLmw") })
}

/// Bytes of the heap that are in use when `program` ends.
pub fn in_use(program: &Path, words: &[&str]) -> Result<f64> {
    let output = Command::new("valgrind").arg("--leak-check=no").arg(program).args(words).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    let line = told.lines().find_map(|line| line.split_once("in use at exit: ")).map(|(_, rest)| rest);
    let bytes = line.and_then(|rest| rest.split_once(" bytes")).map(|(bytes, _)| bytes.replace(',', ""));
    match bytes.and_then(|bytes| bytes.parse().ok()).filter(|_| output.status.success()) {
        Some(bytes) => Ok(bytes),
        None => Err(format!("{} {words:?} failed under valgrind:\n{told}", program.display()).into()),
    }
}

/// The number behind `name` in `text`.
fn number_behind(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}
