//! Network namespaces of our own, without root: what is made in them ends with them, and nothing else of this host sees it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// A network namespace, kept by a process that waits.
pub struct Namespace {
    keeper: Child,
}

impl Namespace {
    /// A new one, with its loopback interface up.
    pub fn new() -> Result<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--", "cat"]);
        Namespace::kept_by(command)
    }

    /// A second one, to which this one's interfaces can be moved.
    pub fn neighbour(&self) -> Result<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "cat"]);
        Namespace::kept_by(self.within(&command))
    }

    fn kept_by(mut command: Command) -> Result<Namespace> {
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut namespace = Namespace { keeper };
        // It is there when `cat` is.
        let (Some(input), Some(output)) = (&mut namespace.keeper.stdin, &mut namespace.keeper.stdout) else {
            return Err("the keeper of a namespace has no pipes".into());
        };
        input.write_all(b"there\n")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line != "there\n" {
            return Err("no network namespace can be made here: is `unshare --map-root-user --net` permitted?".into());
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The process whose namespace it is.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// `command`, to be run in this namespace.
    pub fn within(&self, command: &Command) -> Command {
        let mut entered = Command::new("nsenter");
        entered.args(["--preserve-credentials", "--user", "--net", "--target"]).arg(self.pid().to_string()).arg("--");
        entered.arg(command.get_program()).args(command.get_args());
        entered
    }

    /// Runs `command` in this namespace to its end.
    pub fn run(&self, command: &Command) -> Result {
        let output = self.within(command).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Makes the tap interface `tapN`, with the kernel's address 10.N.0.1. Each server has one of its own: what it asks of the
    /// device, and what the kernel remembers of its neighbour, is no other's.
    pub fn tap(&self, number: u8) -> Result {
        self.ip(&format!("tuntap add tap{number} mode tap"))?;
        // Room for a request of each of a thousand clients, and more.
        self.ip(&format!("link set tap{number} addrgenmode none txqueuelen 4000 up"))?;
        self.ip(&format!("address add 10.{number}.0.1/24 dev tap{number}"))
    }

    /// Runs `ip` with these words.
    pub fn ip(&self, words: &str) -> Result {
        let mut command = Command::new("ip");
        command.args(words.split(' '));
        self.run(&command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // `cat` ends by itself with its input; this is for one that does not.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
