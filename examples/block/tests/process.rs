//! The program as a process on a file: its words, what it says, and that nothing is lost when it is killed.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A folder of a test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("mirage-block-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("the temporary folder can be written");
        Folder(path)
    }

    /// A disk that reads as zeros.
    fn disk(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.0.join(name);
        File::create(&path).and_then(|file| file.set_len(bytes)).expect("the folder is ours");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running program. It ends with the test.
struct Program {
    child: Child,
    // Kept open for as long as the program may write to it.
    _output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Program {
    /// Starts the program on a free port, in `folder`.
    fn start(folder: &Path, words: &[&str]) -> Program {
        // Between the look for a free port and its use another process may take it.
        (0..10).find_map(|_| Program::try_start(folder, words)).expect("one of ten ports that were free still is")
    }

    fn try_start(folder: &Path, words: &[&str]) -> Option<Program> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port().to_string();
        drop(listener);
        let mut child = Command::new(env!("CARGO_BIN_EXE_block"))
            .args(["--port", &port])
            .args(words)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let served = output.by_ref().lines().find_map(|line| {
            let line = line.expect("its output is text");
            line.split_once("serving the disk on ").map(|(_, address)| address.trim_end().to_owned())
        });
        let Some(address) = served else {
            child.wait().expect("the program ended by itself");
            return None;
        };
        let address = address.parse().expect("the line ends in an address");
        Some(Program { child, _output: output, address })
    }

    /// The answers to `lines`.
    fn say(&self, lines: &[&str]) -> Vec<String> {
        let mut stream = TcpStream::connect(self.address).expect("the program listens");
        let mut answers = BufReader::new(stream.try_clone().expect("a descriptor is free")).lines();
        let mut said = Vec::new();
        for line in lines {
            writeln!(stream, "{line}").expect("the program reads");
            said.push(answers.next().expect("the program answers").expect("its answers are text"));
        }
        said
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_was_answered_is_there_after_the_process_was_killed() {
    let folder = Folder::new("killed");
    folder.disk("data.img", 8 << 20);
    let mut first = Program::start(&folder.0, &[]);
    let said = first.say(&["append one", "append two", "fill 3 0 512", "flush", "append three"]);
    assert_eq!(said[..2], ["ok 0", "ok 1"]);
    first.kill();
    let second = Program::start(&folder.0, &[]);
    let again = second.say(&["count", "read 1", "read 2", "verify 3 0 512", "append four", "quit"]);
    assert_eq!(again[..3], ["ok 3", "ok two", "ok three"]);
    assert_eq!(again[3], said[2]);
    assert_eq!(again[4..], ["ok 3", "ok"]);
}

#[test]
fn another_file_is_a_disk_too_and_the_disk_may_grow() {
    let folder = Folder::new("grows");
    let path = folder.disk("other", 5 << 20);
    let program = Program::start(&folder.0, &["--disk", "other"]);
    assert_eq!(program.say(&["fill 1 256 1"]), ["error page 256: the range reaches beyond the end of the disk"]);
    File::options().write(true).open(&path).and_then(|file| file.set_len(6 << 20)).expect("it is ours");
    // The first request after it notices.
    let said = program.say(&["flush", "fill 1 256 256", "info"]);
    assert!(said[1].starts_with("ok 256 pages"), "{said:?}");
    assert!(said[2].starts_with("ok 12288 sectors"), "{said:?}");
}

#[test]
fn a_disk_that_is_missing_or_in_use_is_one_message() {
    let folder = Folder::new("missing");
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_block")).current_dir(&folder.0).output();
        let output = output.expect("the program was built");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    let missing = "block: error: disk data: there is no data.img: make it with `truncate -s 64M data.img`, or name another file \
                   or block device with --disk PATH\n";
    assert_eq!(run(), (missing.into(), Some(1)));
    assert!(!folder.0.join("data.img").exists(), "it is never made silently");
    folder.disk("data.img", 8 << 20);
    let _program = Program::start(&folder.0, &[]);
    let (printed, code) = run();
    assert!(printed.contains("another process uses data.img") && code == Some(1), "{printed}");
}
