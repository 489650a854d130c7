//! Servers and their clients: started in a namespace, each on a processor of its own where there are two, ended with the
//! benchmark.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::Result;
use crate::namespace::Namespace;

/// Which processor a program runs on.
#[derive(Clone, Copy)]
pub enum Side {
    /// The first.
    Server,
    /// The second.
    Client,
}

/// A program that runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(namespace: &Namespace, side: Side, command: &Command) -> Result<Running> {
        let mut pinned = Command::new("taskset");
        let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        let processors = match side {
            _ if !several => "0",
            Side::Server => "0",
            Side::Client => "1",
        };
        pinned.args(["--cpu-list", processors, "setpriv", "--pdeathsig", "KILL", "--"]);
        pinned.arg(command.get_program()).args(command.get_args());
        let mut entered = namespace.within(&pinned);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                entered.env(name, value);
            }
        }
        let mut child = entered.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("a program has no output")?;
        Ok(Running { child, lines: BufReader::new(output).lines() })
    }

    /// The next line that starts with `start`; the rest of it.
    fn line(&mut self, start: &str) -> Result<String> {
        for line in self.lines.by_ref() {
            if let Some(rest) = line?.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        Err(format!("a program ended before it said {start:?}: {}", self.child.wait()?).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server.
pub struct Server {
    running: Running,
}

impl Server {
    /// Starts `command` and waits until it prints a line that starts with `ready`; one without a line is waited for by its clients.
    pub fn start(namespace: &Namespace, command: &Command, ready: Option<&str>) -> Result<Server> {
        let mut running = Running::start(namespace, Side::Server, command)?;
        if let Some(ready) = ready {
            running.line(ready)?;
        }
        Ok(Server { running })
    }

    /// Seconds of processor time that it has used, by all its threads.
    fn seconds(&self) -> Result<f64> {
        let tasks = format!("/proc/{}/task", self.running.child.id());
        let mut nanoseconds = 0.0;
        for task in fs::read_dir(tasks)? {
            // The first number of proc(5)'s schedstat.
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let spent: f64 = text.split(' ').next().unwrap_or_default().parse()?;
            nanoseconds += spent;
        }
        Ok(nanoseconds / 1e9)
    }
}

/// What a client counted, and what that cost.
pub struct Load {
    /// The numbers that it printed in the end.
    pub numbers: Vec<f64>,
    /// Processor time of the server while the client counted, seconds.
    pub server: f64,
    /// Processor time of the whole machine meanwhile, seconds.
    pub machine: f64,
}

impl Load {
    /// Runs a client of `server` to its end.
    pub fn run(namespace: &Namespace, client: &Command, server: &Server) -> Result<Load> {
        let mut running = Running::start(namespace, Side::Client, client)?;
        running.line("begin")?;
        let before = (server.seconds()?, machine_seconds()?);
        let end = running.line("end ")?;
        let after = (server.seconds()?, machine_seconds()?);
        let numbers = end.split(' ').map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
        Ok(Load { numbers, server: after.0 - before.0, machine: after.1 - before.1 })
    }

    /// A number that the client printed.
    pub fn number(&self, index: usize) -> Result<f64> {
        self.numbers.get(index).copied().ok_or_else(|| "a client printed too few numbers".into())
    }
}

/// Seconds that all processors of this machine were busy for, since it started.
fn machine_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let numbers: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // proc(5): user, nice, system, idle, iowait, irq, softirq, in hundredths of a second on every Linux that we run on.
    match numbers[..] {
        [user, nice, system, _, _, irq, softirq, ..] => Ok((user + nice + system + irq + softirq) / 100.0),
        _ => Err("/proc/stat has no processor times".into()),
    }
}

/// A command with these words.
pub fn command(program: impl AsRef<Path>, words: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(words);
    command
}
