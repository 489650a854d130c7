//! How a domain ends: by its program, or because the toolstack asks for it.

use core::cell::Cell;
use core::fmt::Write;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

use mirage_rt::boot::ExitCode;

use crate::attachment::Attachment;
use crate::hypervisor::ShutdownReason;
use crate::terminal::{self, Output};
use crate::traps;
use crate::warning::warn;
use crate::xen;
use crate::xenstore::{Code, Request, Watch, Xenstore, XenstoreError};

/// Where the toolstack writes what it wants (`xl shutdown`, `xl reboot`), relative to the domain's directory.
const CONTROL: &str = "control/shutdown";

/// Where the exit status goes, which outlives the console.
const EXIT_CODE: &str = "data/mirage/exit-code";

/// How many nanoseconds xenstored has to take the exit status. The domain ends without it then.
const EXIT_CODE_PATIENCE: u64 = 2_000_000_000;

/// Ready when the toolstack asks the domain to end; `reason` then says how. The request is acknowledged.
///
/// Written as one future, without `async`: it is in every image, and three nested ones are thrice the code.
pub(crate) struct Requested<'a> {
    store: &'a Xenstore,
    reason: &'a Cell<ShutdownReason>,
    watch: Watch,
    step: Step,
}

enum Step {
    Waiting,
    Reading(Request),
    Acknowledging(Request, Option<ShutdownReason>),
    /// xenstore does not let us know.
    Deaf,
}

impl<'a> Requested<'a> {
    pub(crate) fn new(store: &'a Xenstore, reason: &'a Cell<ShutdownReason>) -> Self {
        // The first event comes at once: a request may be older than the watch.
        Self { store, reason, watch: store.start_watch(CONTROL), step: Step::Waiting }
    }

    /// Goes on with what is under way, as far as there are answers.
    fn proceed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), XenstoreError>> {
        loop {
            self.step = match &mut self.step {
                Step::Waiting => {
                    ready!(self.watch.poll_next(context))?;
                    Step::Reading(self.store.read(CONTROL))
                }
                Step::Reading(request) => match ready!(Pin::new(request).poll(context)) {
                    Err(error) if error.is(Code::Enoent) => Step::Waiting,
                    answer => match wanted(&answer?) {
                        None => Step::Waiting,
                        Some(wanted) => Step::Acknowledging(self.store.write(CONTROL, b""), wanted),
                    },
                },
                Step::Acknowledging(request, wanted) => {
                    ready!(Pin::new(request).poll(context))?;
                    if let Some(reason) = *wanted {
                        self.reason.set(reason);
                        return Poll::Ready(Ok(()));
                    }
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
                warn(format_args!("xl shutdown and xl reboot do not work: {error}"));
                self.step = Step::Deaf;
                Poll::Pending
            }
        }
    }
}

/// What a request that is not empty asks for; `Some(None)` is what we cannot do.
fn wanted(request: &[u8]) -> Option<Option<ShutdownReason>> {
    match request {
        b"" => None,
        b"poweroff" | b"halt" => Some(Some(ShutdownReason::PowerOff)),
        b"reboot" => Some(Some(ShutdownReason::Reboot)),
        other => {
            let other = core::str::from_utf8(other).unwrap_or("what is no text");
            warn(format_args!("the toolstack asks for \"{other}\", which is not supported"));
            Some(None)
        }
    }
}

/// Leaves the exit status in xenstore. Waits for that without a runtime: the program and its tasks have ended.
pub(crate) fn record(attachment: &Attachment, code: ExitCode) {
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
    use crate::model::{GUEST_PATH, Machine};
    use mirage_rt::time::{Duration, timeout};

    fn node(path: &str) -> String {
        format!("{GUEST_PATH}/{path}")
    }

    fn ask_for(words: &[&str]) -> (Option<ShutdownReason>, Option<String>) {
        let machine = Machine::new(1);
        let reason = Cell::new(ShutdownReason::Crash);
        let done = machine.run(async {
            let toolstack = async {
                for word in words {
                    machine.store.write_for_guest(&node(CONTROL), word);
                    mirage_rt::time::sleep(Duration::from_millis(10)).await;
                }
                core::future::pending::<()>().await;
            };
            let mut toolstack = core::pin::pin!(toolstack);
            let store = machine.attachment.xenstore();
            let mut requested = Requested::new(store, &reason);
            let both = core::future::poll_fn(|context| {
                let _ = toolstack.as_mut().poll(context);
                Pin::new(&mut requested).poll(context)
            });
            timeout(Duration::from_secs(1), both).await.is_ok()
        });
        (done.then(|| reason.get()), machine.store.read(&node(CONTROL)))
    }

    #[test]
    fn the_toolstack_s_requests_are_acknowledged() {
        let empty = Some(String::new());
        assert_eq!(ask_for(&["poweroff"]), (Some(ShutdownReason::PowerOff), empty.clone()));
        assert_eq!(ask_for(&["halt"]), (Some(ShutdownReason::PowerOff), empty.clone()));
        assert_eq!(ask_for(&["reboot"]), (Some(ShutdownReason::Reboot), empty.clone()));
        assert_eq!(ask_for(&["", "suspend", "reboot"]), (Some(ShutdownReason::Reboot), empty));
    }

    #[test]
    fn without_a_request_the_domain_goes_on() {
        assert_eq!(ask_for(&[]), (None, None));
        assert_eq!(ask_for(&["suspend"]), (None, Some(String::new())));
    }

    #[test]
    fn the_exit_status_is_left_in_xenstore() {
        let machine = Machine::new(1);
        record(&machine.attachment, ExitCode(64));
        assert_eq!(machine.store.read(&node(EXIT_CODE)).as_deref(), Some("64"));
    }

    #[test]
    fn every_exit_status_is_written_in_decimal() {
        for number in 0..=u8::MAX {
            assert_eq!(decimal(number, &mut [0; 3]), number.to_string().as_bytes());
        }
    }
}
