//! Xen as the ground of a runtime, and the way from boot to the application's main.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt::Write;
use core::pin::pin;

use mirage_rt::Result;
use mirage_rt::boot::{Boot, Connectors, ExitCode, MainFuture, Unikernel};
use mirage_rt::cell::RefCell;
use mirage_rt::platform::{Hooks, Look, Platform, Unpark};
use mirage_rt::runtime::Runtime;
use mirage_rt::time::{Duration, Instant, UnixTime};
use mirage_rt::types::random::RandomError;

use crate::attachment::Attachment;
use crate::boot;
use crate::clock::{Clock, Monotonic};
use crate::entropy;
use crate::hypervisor::{HypercallError, ShutdownReason};
use crate::power;
use crate::single::Single;
use crate::terminal::{self, Output};
use crate::warning::debug;
use crate::xen;

static CURRENT: Single<RefCell<Option<Runtime>>> = Single::empty();

fn with(act: Look<'_>) {
    if let Some(current) = CURRENT.get() {
        current.borrow().as_ref().map(act);
    }
}

fn set(runtime: Option<Runtime>) -> Option<Runtime> {
    match CURRENT.get() {
        Some(current) => current.replace(runtime),
        // It has no place and comes back: dropping it here would bring the end of a runtime into every image.
        None => runtime,
    }
}

/// Prepares the place of the current runtime.
///
/// # Safety
///
/// Boot calls it, once, on a machine with one processor.
pub(crate) unsafe fn prepare() {
    // SAFETY: promised by the caller.
    unsafe { CURRENT.set(RefCell::new(None)) };
    mirage_rt::platform::install(Hooks { with, set });
}

/// The domain below a runtime.
struct XenPlatform {
    clock: Clock,
    monotonic: Monotonic,
    /// Never dropped, as is all that lasts as long as the machine: an image has no code for what cannot happen.
    attachment: &'static Attachment,
    /// Stolen time of the processors before this one, and what was last counted of this one.
    stolen: Cell<(u64, u64)>,
}

/// There is one processor: whoever wakes a task is awake, and the runtime looks for tasks before it sleeps.
struct Awake;

impl Unpark for Awake {
    fn unpark(&self) {}
}

impl Platform for XenPlatform {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.monotonic.instant(self.clock.system_time()))
    }

    fn wall_clock(&self) -> Option<UnixTime> {
        Some(UnixTime::from_nanos(self.clock.wall_time()))
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        entropy::fill_declared(buffer)
    }

    fn write_console(&self, bytes: &[u8]) {
        terminal::write(bytes);
    }

    fn console_lost(&self) -> u64 {
        self.attachment.console().lost()
    }

    fn stolen_time(&self) -> Option<Duration> {
        let counted = xen::stolen_time().ok()?;
        let (before, last) = self.stolen.get();
        // After a resume the processor is a new one, which counts from zero.
        let before = if counted < last { before + last } else { before };
        self.stolen.set((before, counted));
        Some(Duration::from_nanos(before + counted))
    }

    fn park(&self, deadline: Option<Instant>) {
        if let Err(error) = self.wait(deadline) {
            panic!("the domain cannot sleep: {error}");
        }
    }

    fn poll_events(&self) {
        self.attachment.events().dispatch();
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::new(Awake)
    }
}

impl XenPlatform {
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, HypercallError> {
        self.attachment.events().wait(deadline.map(|instant| self.monotonic.system(instant.as_nanos())))
    }

    /// Lets the toolstack save the domain or move it.
    fn suspend(&self) {
        // A new domain's console starts empty.
        terminal::flush();
        if let Err(error) = self.attachment.suspend(&self.monotonic) {
            panic!("{error}");
        }
        entropy::reseed();
    }
}

/// What gives a program the devices of one kind: [`connector::networks`](crate::connector::networks) and its like.
pub type Connect = fn(&Attachment, &mut Connectors);

/// Runs an application on this domain until it ends, then ends the domain. `connect` has one entry for each kind of devices
/// that it declares.
///
/// # Panics
///
/// When the machine was not booted by [`boot::start`], as on a host.
#[inline]
pub fn run(unikernel: &'static Unikernel, main: fn(Boot) -> MainFuture, connect: &[Connect]) -> ! {
    let Some(xen) = boot::xen() else { panic!("only an image that has booted can run on Xen") };
    // SAFETY: whoever gets here was booted, and main runs on the program's stack.
    unsafe { boot::forget_early_memory() };
    let attachment = match Attachment::establish(Rc::new(*xen)) {
        Ok(attachment) => &*Box::leak(Box::new(attachment)),
        Err(error) => power::refuse(format_args!("{error}")),
    };
    terminal::run(attachment.console());
    let clock = xen.clock();
    let (monotonic, stolen) = (Monotonic::default(), Cell::default());
    let platform = Rc::new(XenPlatform { clock, monotonic, attachment, stolen });
    let runtime = Runtime::new(platform.clone());
    let _entered = runtime.enter();
    let suspend = || platform.suspend();
    let reason = Cell::new(ShutdownReason::PowerOff);
    // Both live to the end of the domain.
    let shutdown = pin!(power::Requested::new(attachment.xenstore(), &suspend, &reason));
    let words = mirage_rt::keys::split(boot::command_line());
    let code = match &words {
        Ok(words) => {
            let mut connectors = Connectors::default();
            connect.iter().for_each(|connect| connect(attachment, &mut connectors));
            let main = |boot| {
                debug(format_args!("boot: {} ticks from entry to main", boot::ticks_since_entry()));
                main(boot)
            };
            mirage_rt::boot::run_entered(&runtime, unikernel, words, connectors, shutdown, &main)
        }
        Err(error) => {
            let _ = writeln!(Output, "{}: {error}", unikernel.name);
            ExitCode::USAGE
        }
    };
    attachment.events().dispatch();
    power::record(attachment, code);
    power::exit(code, reason.get())
}
