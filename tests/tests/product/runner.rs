//! `cargo run --target x86_64-unknown-xen`: the runner, from the words to the exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mirage_lab::Lab;
use mirage_tests::{XEN, build, cargo, image, root};

/// Whether domains can be started here; builds what the runner needs, so that its own time can be measured.
fn ready() -> bool {
    if Lab::available_or_skip() {
        build(&["-p", "mirage-lab"]);
        return true;
    }
    false
}

/// What a finished run printed, and its exit status.
fn run(package: &str, words: &[&str]) -> (String, Option<i32>) {
    let command = ["run", "--release", "--quiet", "-p", package, "--target", XEN, "--"];
    let output = cargo(&[&command[..], words].concat()).output().expect("cargo starts");
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (printed, output.status.code())
}

/// A running server in the lab, and a connection to it.
struct Serving {
    running: Child,
    connection: TcpStream,
}

impl Serving {
    /// Runs `package` with `words`, on a port of this machine that nobody uses, until it has printed `ready`.
    fn start(package: &str, words: &[&str], ready: &str) -> Serving {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it has one").port();
        let command = ["run", "--release", "--quiet", "-p", package, "--target", XEN, "--"];
        let mut running = cargo(&[&command[..], words, &["--port", &port.to_string()]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("cargo starts");
        let mut console = BufReader::new(running.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        while !line.contains(ready) {
            line.clear();
            assert_ne!(console.read_line(&mut line).expect("the console is text"), 0, "it ended before it served");
        }
        // Read to the end, so that the guest's further lines have somewhere to go.
        std::thread::spawn(move || console.read_to_string(&mut String::new()));
        let connection = TcpStream::connect(("127.0.0.1", port)).expect("the port is forwarded");
        connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        Serving { running, connection }
    }
}

/// Ends a run by Ctrl-C, which is a good end.
fn interrupt(mut running: Child) {
    // cargo and the runner's script replace themselves by the runner: it has the process id that was started.
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
    assert_eq!(running.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_exit_status_is_the_guests() {
    if !ready() {
        return;
    }
    image("hello");
    let start = Instant::now();
    let (printed, code) = run("hello", &["--greeting", "Moin"]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.lines().any(|line| line == "Moin"), "{printed}");
    println!("hello on Xen in {:?}", start.elapsed());
    let (printed, code) = run("hello", &["--greting", "x"]);
    assert_eq!(code, Some(64), "{printed}");
}

#[test]
fn a_crash_is_symbolised_and_exits_with_101() {
    if !ready() {
        return;
    }
    let (printed, code) = run("faults", &["--how", "panic"]);
    assert_eq!(code, Some(101), "{printed}");
    assert!(printed.contains("asked to panic"), "{printed}");
    assert!(printed.contains("faults/src/main.rs:"), "no line of the source in\n{printed}");
}

#[test]
fn the_site_is_at_the_hosts_port_until_ctrl_c() {
    if !ready() {
        return;
    }
    image("static-site");
    let Serving { running, mut connection } = Serving::start("static-site", &[], "serving on");
    write!(connection, "GET /index.html HTTP/1.0\r\n\r\n").expect("the request is taken");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("the answer ends");
    let page = std::fs::read(root().join("examples/static-site/htdocs/index.html")).expect("the example has a page");
    assert!(answer.ends_with(&page), "{}", String::from_utf8_lossy(&answer));
    interrupt(running);
}

#[test]
fn a_disk_is_a_file_of_the_host_and_what_the_guest_wrote_comes_back() {
    if !ready() {
        return;
    }
    image("block");
    let folder = std::env::temp_dir().join(format!("mirage-runner-disk-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("the temporary folder can be written");
    let disk = folder.join("disk");
    let words = ["--disk", &disk.to_string_lossy()];
    let (printed, code) = run("block", &words);
    assert_eq!(code, Some(102), "{printed}");
    assert!(printed.contains("there is no ") && printed.contains("make it with `truncate -s 64M "), "{printed}");

    std::fs::File::create(&disk).and_then(|file| file.set_len(8 << 20)).expect("the folder is ours");
    for (round, answer) in ["ok 0", "ok 1"].into_iter().enumerate() {
        let Serving { running, mut connection } = Serving::start("block", &words, "serving the disk on");
        write!(connection, "append round {round}\nquit\n").expect("the guest reads");
        let mut answers = String::new();
        connection.read_to_string(&mut answers).expect("the answers end");
        assert_eq!(answers, format!("{answer}\nok\n"));
        interrupt(running);
    }
    let content = std::fs::read(&disk).expect("it is there");
    assert_eq!(content.len(), 8 << 20);
    for round in 0..2 {
        let record = &content[round * 4096..][..4096];
        assert!(record[24..].starts_with(format!("round {round}").as_bytes()), "{:?}", &record[..40]);
    }
    std::fs::remove_dir_all(folder).expect("it is there");
}

#[test]
fn a_busy_port_is_named_with_the_option_that_changes_it() {
    if !ready() {
        return;
    }
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = busy.local_addr().expect("it has an address").port().to_string();
    let (printed, code) = run("static-site", &["--port", &port]);
    assert_ne!(code, Some(0), "{printed}");
    assert!(printed.contains(&port) && printed.contains("--port"), "{printed}");
}
