//! A guest that runs: the model's world with xenstored, an attachment, and a runtime whose platform is the world.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;

use mirage_rt::page::PagePool;
use mirage_rt::platform::{Platform, Unpark};
use mirage_rt::runtime::Runtime;
use mirage_rt::testing::VirtualPlatform;
use mirage_rt::time::{Instant, UnixTime};
use mirage_rt::types::random::RandomError;

use super::{Guest, Store, World};
use crate::attachment::Attachment;
use crate::clock::Monotonic;
use crate::hypervisor::{Hypervisor, ShutdownReason};
use crate::power::Requested;

/// A domU in the model.
pub struct Machine {
    /// Hypervisor and other domains.
    pub world: Rc<World>,
    /// xenstore.
    pub store: Store,
    /// The guest's connection to Xen.
    pub attachment: Attachment,
    /// The guest's runtime.
    pub runtime: Runtime,
    platform: Rc<GuestPlatform>,
}

impl Machine {
    /// A guest that has just booted. Its random numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let world = World::new();
        let store = Store::new();
        world.add_service(Box::new(store.daemon()));
        let hypervisor: Rc<dyn Hypervisor> = Rc::new(Guest(Rc::clone(&world)));
        let attachment = Attachment::establish(hypervisor).expect("the model refuses nothing at boot");
        let platform = Rc::new(GuestPlatform {
            world: Rc::clone(&world),
            attachment: attachment.clone(),
            monotonic: Monotonic::default(),
            base: VirtualPlatform::new(seed),
            woken: Arc::default(),
        });
        Self { runtime: Runtime::new(platform.clone()), world, store, attachment, platform }
    }

    /// Runs `future` in the guest.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.run(future)
    }

    /// Runs `future` in the guest as the platform runs main: what the toolstack writes to `control/shutdown` is done.
    ///
    /// # Errors
    ///
    /// How the toolstack asked the guest to end, if it did before `future` was ready.
    pub fn run_main<F: Future>(&self, future: F) -> Result<F::Output, ShutdownReason> {
        let reason = Cell::new(ShutdownReason::Crash);
        let suspend = || self.suspend_and_resume();
        let mut requested = pin!(Requested::new(self.attachment.xenstore(), &suspend, &reason));
        let mut future = pin!(future);
        self.run(poll_fn(|context| match requested.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(reason.get())),
            Poll::Pending => future.as_mut().poll(context).map(Ok),
        }))
    }

    /// Suspends the guest at this moment, and lets it go on as [`World::plan`] says.
    pub fn suspend_and_resume(&self) {
        self.attachment.suspend(&self.platform.monotonic).expect("the model refuses nothing");
    }

    /// Asks the guest for something, as the toolstack does.
    pub fn ask(&self, what: &str) {
        self.store.write_for_guest(&format!("{}/control/shutdown", self.store.guest_path()), what);
    }

    /// The guest's I/O pages.
    pub fn pool(&self) -> Rc<dyn PagePool> {
        self.world.pool()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.world.fmt(f)
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Unpark for Woken {
    fn unpark(&self) {
        self.0.store(true, Ordering::Release);
    }
}

struct GuestPlatform {
    world: Rc<World>,
    attachment: Attachment,
    monotonic: Monotonic,
    // For what has nothing to do with Xen.
    base: Rc<VirtualPlatform>,
    woken: Arc<Woken>,
}

impl Platform for GuestPlatform {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.monotonic.instant(self.world.now()))
    }

    fn wall_clock(&self) -> Option<UnixTime> {
        self.base.wall_clock()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        self.base.fill_random(buffer)
    }

    fn write_console(&self, bytes: &[u8]) {
        self.base.write_console(bytes);
    }

    fn park(&self, deadline: Option<Instant>) {
        if self.woken.0.swap(false, Ordering::Acquire) {
            return;
        }
        let deadline = deadline.map(|deadline| self.monotonic.system(deadline.as_nanos()));
        self.attachment.events().wait(deadline).expect("the events table holds what one poll takes");
    }

    fn poll_events(&self) {
        self.woken.0.store(false, Ordering::Release);
        self.world.step();
        self.attachment.events().dispatch();
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.woken.clone()
    }
}
