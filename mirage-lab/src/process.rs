//! Programs that end with us.
//!
//! The kernel is asked, by util-linux' `setpriv`, to kill the program when the thread that started it ends. That holds
//! however we end, a SIGKILL included, and needs no unsafe code.

use crate::error::SetupError;
use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A command for a program that is killed when the calling thread ends: start it in a thread that waits for it.
pub(crate) fn tethered(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The path of a program, if it is on the PATH.
pub(crate) fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Debian keeps some tools where a user's PATH does not look.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Checks that the host has a program.
pub(crate) fn require(tool: &'static str, remedy: &'static str) -> Result<(), SetupError> {
    match find_on_path(tool) {
        Some(_) => Ok(()),
        None => Err(SetupError::NoTool { tool, remedy }),
    }
}

/// Runs a command to its end and gives its standard output.
pub(crate) fn output(command: &mut Command, doing: impl Fn() -> String) -> Result<Vec<u8>, SetupError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| SetupError::Tool { doing: doing(), said: error.to_string() })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(SetupError::Tool { doing: doing(), said: format!("{}: {}", output.status, tail(&output.stderr, 2000)) })
}

/// The end of a text, at most so many bytes.
pub(crate) fn tail(text: &[u8], most: usize) -> String {
    let start = text.len().saturating_sub(most);
    String::from_utf8_lossy(text.get(start..).unwrap_or_default()).trim().to_owned()
}
