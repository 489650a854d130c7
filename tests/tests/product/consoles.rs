//! Consoles, on a real Xen and as a process: output that nobody reads, input, and further ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mirage_lab::{Lab, StopReason};
use mirage_tests::{build, guest, target};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_first_console_is_read_and_nothing_waits_for_who_reads_it() {
    let Some(lab) = Lab::alone_or_skip() else { return };
    let domain = lab.domain(guest("first-console")).memory(8).start().expect("the domain starts");
    let mut console = domain.console();
    console.wait_for("ready", LONG).expect("the program runs");
    domain.type_text("Moin\r").expect("the console has a terminal");
    console.wait_for("you said: Moin", LONG).expect("it is read");

    domain.type_text("count 3000\r").expect("the console has a terminal");
    console.wait_for("counted", LONG).expect("all lines come");
    let text = domain.console().text();
    for number in 0..3000 {
        assert!(text.contains(&format!("count {number:05}")), "line {number} is missing");
    }

    // 2000 lines of 96 bytes are ten times what ring and backlog hold. xenconsoled sleeps meanwhile; the program does not.
    lab.dom0_checked(&format!(
        "kill -STOP $(pidof xenconsoled)
         printf 'flood 2000\\r' > $(xenstore-read /local/domain/{}/console/tty)
         usleep 100000; kill -CONT $(pidof xenconsoled); usleep 50000; kill -STOP $(pidof xenconsoled)
         usleep 4000000; kill -CONT $(pidof xenconsoled)",
        domain.number()
    ))
    .expect("xenconsoled is there");
    let line = console.wait_for("flooded in", LONG).expect("the program goes on").text;
    let numbers: Vec<u64> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let text = domain.console().text();
    assert!(numbers[1] > 0 && text.contains("bytes of console output were lost]"), "{line}");
    assert!(numbers[0] < 3_900_000, "it waited: {line}");
    println!("{line}");
    domain.type_text("end\r").expect("the console has a terminal");
    let report = domain.exit(LONG).expect("it ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
}

/// What `xl create` lays down in xenstore for a channel. libxl 4.17 forgets it for PVH domains, although it starts QEMU for it: it
/// takes the channel for a second first console ("Primary console has invalid configuration").
const CHANNEL: &str = "
    front=/local/domain/$domain/device/console/1; back=/local/domain/0/backend/console/$domain/1
    xenstore-exists $front && exit 0
    xenstore-write $front/backend $back $front/backend-id 0 $front/limit 1048576 $front/type ioemu \
        $front/output chardev:libxl-channel0 $front/tty '' $front/name control $front/connection pty $front/state 1
    xenstore-chmod -r $front n$domain
    xenstore-write $back '' && xenstore-chmod $back n0 r$domain
    xenstore-write $back/frontend $front $back/frontend-id $domain $back/online 1 $back/protocol vt100 \
        $back/name control $back/connection pty $back/state 1";

#[test]
fn a_channel_of_qemu_is_a_further_console() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    lab.provide_channels().expect("Debian has QEMU for Xen");
    let channel = "channel=[\"connection=pty,name=control\"]";
    let domain =
        lab.domain(guest("consoles")).memory(8).config_line(channel).paused().start().expect("the domain starts");
    lab.dom0_checked(&format!("domain={}; {CHANNEL}", domain.number())).expect("xenstored takes it");
    domain.unpause().expect("the domain goes on");
    domain.console().wait_for("ready", LONG).expect("the console connects");
    let script = format!(
        "exec 3<>$(xenstore-read /local/domain/{}/device/console/1/tty)
         echo Moin >&3; head -n 1 <&3; echo many >&3; for number in $(seq 1000); do read -r line <&3; done; echo $line
         echo end >&3",
        domain.number()
    );
    let answer = lab.dom0_checked(&script);
    let report = domain.exit(LONG).expect("it ends");
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", report.console));
    assert!(answer.contains("you said: Moin") && answer.contains("line 0999"), "{answer}");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
}

#[test]
fn a_program_without_its_channel_says_what_is_missing() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let domain = lab.domain(guest("consoles")).memory(8).start().expect("the domain starts");
    let report = domain.exit(LONG).expect("it ends");
    assert_eq!(report.code, Some(1), "{}", report.console);
    assert!(report.console.contains("name=control") && report.console.contains("channel"), "{}", report.console);
}

/// The program as a process.
fn process(package: &str, words: &[&str]) -> Child {
    build(&["-p", package]);
    let program = target().join("debug").join(package);
    let command = Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    command.expect("the program was built")
}

#[test]
fn as_a_process_the_first_console_is_standard_input_and_output() {
    let mut process = process("first-console", &[]);
    let mut input = process.stdin.take().expect("it is piped");
    input.write_all(b"Moin\ncount 3\nlast words").expect("the program reads");
    drop(input);
    let mut printed = String::new();
    process.stdout.take().expect("it is piped").read_to_string(&mut printed).expect("it is text");
    assert!(process.wait().expect("it ends").success());
    let expected = "ready\nyou said: Moin\ncount 00000\ncount 00001\ncount 00002\ncounted\nyou said: last words\nthe end of the input\n";
    assert_eq!(printed, expected);
}

#[test]
fn as_a_process_a_further_console_is_a_socket() {
    let path = std::env::temp_dir().join(format!("mirage-consoles-{}", std::process::id()));
    let mut process = process("consoles", &["--control-console", path.to_str().expect("it is text")]);
    let deadline = Instant::now() + LONG;
    let mut peer = loop {
        match UnixStream::connect(&path) {
            Ok(peer) => break peer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    };
    let mut answers = BufReader::new(peer.try_clone().expect("a descriptor is free")).lines();
    writeln!(peer, "Moin").expect("the program reads");
    assert_eq!(answers.next().expect("it answers").expect("it is text"), "you said: Moin");
    writeln!(peer, "many\nend").expect("the program reads");
    assert_eq!(answers.map_while(Result::ok).last().as_deref(), Some("line 0999"));
    assert!(process.wait().expect("it ends").success());
    assert!(!path.exists());
}
