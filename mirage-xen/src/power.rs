//! How a domain ends, by its program or because the toolstack asks for it, and how it is suspended.

use core::cell::Cell;
use core::fmt::Write;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

use mirage_rt::boot::ExitCode;

use crate::attachment::Attachment;
use crate::hypervisor::ShutdownReason;
use crate::memory::machine::Memory;
use crate::terminal::{self, Output};
use crate::traps;
use crate::warning::warn;
use crate::xen;
use crate::xenstore::{Code, Request, Watch, Xenstore, XenstoreError};

/// Where the toolstack writes what it wants, relative to the domain's directory.
const CONTROL: &str = "control";

/// What the domain is to do (`xl shutdown`, `xl reboot`, `xl save`, `xl migrate`).
const SHUTDOWN: &str = "control/shutdown";

/// A key for the system (`xl sysrq`).
const SYSRQ: &str = "control/sysrq";

/// What may be written to [`SHUTDOWN`], for the toolstack to know.
const FEATURES: [&str; 3] = ["control/feature-poweroff", "control/feature-reboot", "control/feature-suspend"];

/// Where the exit status goes, which outlives the console.
const EXIT_CODE: &str = "data/mirage/exit-code";

/// How many nanoseconds xenstored has to take the exit status. The domain ends without it then.
const EXIT_CODE_PATIENCE: u64 = 2_000_000_000;

/// Ready when the toolstack asks the domain to end; `reason` then says how. When it asks for a suspension, `suspend` does it,
/// with no request to xenstore under way. Requests are acknowledged.
///
/// Written as one future, without `async`: it is in every image, and three nested ones are thrice the code.
pub(crate) struct Requested<'a> {
    store: &'a Xenstore,
    suspend: &'a dyn Fn(),
    reason: &'a Cell<ShutdownReason>,
    watch: Watch,
    step: Step,
}

enum Step {
    Waiting,
    /// Which of the two nodes, and its value.
    Reading(&'static str, Request),
    Acknowledging(Wanted, Request),
    Suspending,
    /// xenstore does not let us know.
    Deaf,
}

/// What the toolstack asks for.
#[derive(Clone, Copy)]
enum Wanted {
    End(ShutdownReason),
    Suspend,
    /// A report with all registers.
    Crash,
    /// Nothing that is left to be done.
    Nothing,
}

impl<'a> Requested<'a> {
    pub(crate) fn new(store: &'a Xenstore, suspend: &'a dyn Fn(), reason: &'a Cell<ShutdownReason>) -> Self {
        // The first event comes at once: a request may be older than the watch.
        let requested = Self { store, suspend, reason, watch: store.start_watch(CONTROL), step: Step::Waiting };
        requested.announce();
        requested
    }

    /// Says what the domain can be asked for. Nobody waits for the answer: a domain may live without these nodes.
    fn announce(&self) {
        self.store.send(FEATURES.iter().map(|feature| self.store.write(feature, b"1")));
    }

    /// Goes on with what is under way, as far as there are answers.
    fn proceed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), XenstoreError>> {
        loop {
            self.step = match &mut self.step {
                Step::Waiting => {
                    let changed = ready!(self.watch.poll_next(context))?.path;
                    // The features are our own.
                    match [SHUTDOWN, SYSRQ].into_iter().find(|node| node.starts_with(&*changed)) {
                        Some(node) => Step::Reading(node, self.store.read(node)),
                        None => Step::Waiting,
                    }
                }
                Step::Reading(node, request) => match ready!(Pin::new(request).poll(context)) {
                    Err(error) if error.is(Code::Enoent) => Step::Waiting,
                    answer => match wanted(node, &answer?) {
                        None => Step::Waiting,
                        Some(wanted) => Step::Acknowledging(wanted, self.store.write(node, b"")),
                    },
                },
                Step::Acknowledging(wanted, request) => {
                    ready!(Pin::new(request).poll(context))?;
                    match *wanted {
                        Wanted::End(reason) => {
                            self.reason.set(reason);
                            return Poll::Ready(Ok(()));
                        }
                        Wanted::Suspend => Step::Suspending,
                        Wanted::Crash => panic!("the toolstack asks for a crash"),
                        Wanted::Nothing => Step::Waiting,
                    }
                }
                Step::Suspending => {
                    ready!(self.store.poll_quiet(context));
                    (self.suspend)();
                    self.announce();
                    Step::Waiting
                }
                Step::Deaf => return Poll::Pending,
            };
        }
    }
}

impl Future for Requested<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match ready!(self.proceed(context)) {
            Ok(()) => Poll::Ready(()),
            Err(error) => {
                warn(format_args!("xl shutdown, reboot, save and migrate do not work: {error}"));
                self.step = Step::Deaf;
                Poll::Pending
            }
        }
    }
}

/// What can be asked for. The toolstack writes words to [`SHUTDOWN`] and letters to [`SYSRQ`]; which stands where is not looked at.
const WANTED: [(&str, Wanted); 7] = [
    ("poweroff", Wanted::End(ShutdownReason::PowerOff)),
    ("halt", Wanted::End(ShutdownReason::PowerOff)),
    ("reboot", Wanted::End(ShutdownReason::Reboot)),
    ("suspend", Wanted::Suspend),
    ("o", Wanted::End(ShutdownReason::PowerOff)),
    ("b", Wanted::End(ShutdownReason::Reboot)),
    ("c", Wanted::Crash),
];

/// What `request`, the value of `node`, asks for; `None` for a value that is not, or no more, a request.
fn wanted(node: &str, request: &[u8]) -> Option<Wanted> {
    let word = request.strip_suffix(b"\0").unwrap_or(request);
    if word.is_empty() {
        return None;
    }
    let known = WANTED.iter().find(|(known, _)| known.as_bytes() == word);
    if let Some((_, wanted)) = known {
        return Some(*wanted);
    }
    if word == b"m" {
        if let Some(memory) = Memory::machine() {
            let _ = write!(Output, "{memory}");
        }
    } else {
        let word = core::str::from_utf8(word).unwrap_or("what is no text");
        warn(format_args!("the toolstack writes \"{word}\" to {node}, which is not supported"));
    }
    Some(Wanted::Nothing)
}

/// Leaves the exit status in xenstore. Waits for that without a runtime: the program and its tasks have ended.
pub(crate) fn record(attachment: &Attachment, code: ExitCode) {
    // A suspension that was asked for does not come to pass any more.
    attachment.xenstore().go_on();
    let mut text = [0; 3];
    let mut write = attachment.xenstore().write(EXIT_CODE, decimal(code.0, &mut text));
    let deadline = attachment.hypervisor().system_time() + EXIT_CODE_PATIENCE;
    let mut context = Context::from_waker(Waker::noop());
    let problem = loop {
        match Pin::new(&mut write).poll(&mut context) {
            Poll::Ready(Ok(_)) => return,
            Poll::Ready(Err(error)) => break error,
            Poll::Pending if attachment.hypervisor().system_time() >= deadline => break XenstoreError::Silent,
            Poll::Pending => {}
        }
        if attachment.events().wait(Some(deadline)).is_err() {
            break XenstoreError::Silent;
        }
    };
    let _ = writeln!(Output, "mirage: the exit status is not in xenstore: {problem}");
}

/// `number` in decimal digits.
fn decimal(number: u8, text: &mut [u8; 3]) -> &[u8] {
    *text = [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit);
    let first = text.iter().take(2).take_while(|&&digit| digit == b'0').count();
    &text[first..]
}

/// Says how the program ended, waits until that was read, and ends the domain.
pub(crate) fn exit(code: ExitCode, reason: ShutdownReason) -> ! {
    terminal::end();
    let _ = writeln!(Output, "mirage: exit {}", u64::from(code.0));
    terminal::flush();
    xen::end(reason);
    traps::stop()
}

/// Ends a domain that cannot boot, with a message that says why.
pub(crate) fn refuse(message: core::fmt::Arguments<'_>) -> ! {
    terminal::end();
    let _ = writeln!(Output, "mirage: {message}");
    exit(ExitCode::FAILURE, ShutdownReason::PowerOff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::Resumed;
    use crate::model::Machine;
    use mirage_rt::time::{Duration, sleep};

    fn node(machine: &Machine, path: &str) -> String {
        format!("{}/{path}", machine.store.guest_path())
    }

    /// Writes each of `words` to a node, some time after the one before; how the guest ended within a second.
    fn ask_for(machine: &Machine, path: &str, words: &[&str]) -> Option<ShutdownReason> {
        let ended = machine.run_main(async {
            for word in words {
                machine.store.write_for_guest(&node(machine, path), word);
                sleep(Duration::from_millis(10)).await;
            }
            sleep(Duration::from_secs(1)).await;
        });
        ended.err()
    }

    #[test]
    fn the_toolstack_s_requests_are_acknowledged() {
        for (path, words, reason, suspensions) in [
            (SHUTDOWN, &["poweroff"][..], ShutdownReason::PowerOff, 0),
            (SHUTDOWN, &["halt"], ShutdownReason::PowerOff, 0),
            (SHUTDOWN, &["reboot"], ShutdownReason::Reboot, 0),
            (SHUTDOWN, &["", "sleep", "reboot"], ShutdownReason::Reboot, 0),
            (SHUTDOWN, &["suspend", "suspend", "poweroff"], ShutdownReason::PowerOff, 2),
            (SYSRQ, &["b"], ShutdownReason::Reboot, 0),
            (SYSRQ, &["h", "m", "\0", "o"], ShutdownReason::PowerOff, 0),
        ] {
            let machine = Machine::new(1);
            assert_eq!(ask_for(&machine, path, words), Some(reason), "{words:?}");
            assert_eq!(machine.store.read(&node(&machine, path)).as_deref(), Some(""), "{words:?}");
            assert_eq!(machine.world.suspensions(), suspensions, "{words:?}");
        }
    }

    #[test]
    fn without_a_request_the_domain_goes_on() {
        for words in [&[][..], &["sleep"], &["suspend", "suspend"]] {
            let machine = Machine::new(1);
            assert_eq!(ask_for(&machine, SHUTDOWN, words), None, "{words:?}");
            assert_eq!(machine.store.read(&node(&machine, SHUTDOWN)).as_deref(), Some(""), "{words:?}");
        }
    }

    #[test]
    #[should_panic(expected = "the toolstack asks for a crash")]
    fn a_crash_can_be_asked_for() {
        ask_for(&Machine::new(1), SYSRQ, &["c"]);
    }

    #[test]
    fn every_new_domain_is_told_what_the_guest_can_do() {
        let machine = Machine::new(1);
        for feature in FEATURES {
            machine.store.write_for_guest(&node(&machine, feature), "");
        }
        for resumed in [Resumed::Same, Resumed::New] {
            machine.world.plan(resumed, None);
            assert_eq!(ask_for(&machine, SHUTDOWN, &["suspend"]), None);
            for feature in FEATURES {
                assert_eq!(machine.store.read(&node(&machine, feature)).as_deref(), Some("1"), "{feature}");
            }
        }
    }

    #[test]
    fn a_suspension_that_main_does_not_wait_for_does_not_keep_the_exit_status() {
        let machine = Machine::new(1);
        let _ = machine.attachment.xenstore().poll_quiet(&mut Context::from_waker(Waker::noop()));
        record(&machine.attachment, ExitCode(3));
        assert_eq!(machine.store.read(&node(&machine, EXIT_CODE)).as_deref(), Some("3"));
    }

    #[test]
    fn the_exit_status_is_left_in_xenstore() {
        let machine = Machine::new(1);
        record(&machine.attachment, ExitCode(64));
        assert_eq!(machine.store.read(&node(&machine, EXIT_CODE)).as_deref(), Some("64"));
    }

    #[test]
    fn every_exit_status_is_written_in_decimal() {
        for number in 0..=u8::MAX {
            assert_eq!(decimal(number, &mut [0; 3]), number.to_string().as_bytes());
        }
    }
}
