use super::*;
use crate::model::{BACKEND, Guest, World};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Wake;
use std::vec::Vec;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn machine() -> (Rc<World>, Events) {
    let world = World::new();
    let events = Events::new(Rc::new(Guest(world.clone())));
    (world, events)
}

#[test]
fn an_event_wakes_the_task_that_waits() {
    let (world, events) = machine();
    let channel = events.allocate(BACKEND).expect("a free port");
    let end = world.bind(channel.port().0).expect("unbound");
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    assert!(channel.poll_event(&mut context).is_pending());
    assert!(!events.dispatch());
    world.notify(end);
    world.notify(end);
    assert!(events.dispatch());
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(channel.poll_event(&mut context).is_ready(), "two events before a look are one");
    assert!(channel.poll_event(&mut context).is_pending());
    world.notify(end);
    assert!(channel.poll_event(&mut context).is_ready(), "seen without a dispatch");
    assert!(!events.dispatch(), "and taken");
}

#[test]
fn both_ends_hear_each_other_until_one_closes() {
    let (world, events) = machine();
    let channel = events.allocate(BACKEND).expect("a free port");
    channel.notify().expect("an unbound port may be notified");
    let end = world.bind(channel.port().0).expect("unbound");
    assert!(world.bind(channel.port().0).is_none(), "bound once");
    assert!(world.take_pending(end), "a new end looks once");
    channel.notify().expect("bound");
    assert!(world.take_pending(end));
    let open = world.open_ports();
    drop(channel);
    assert_eq!((world.open_ports(), events.bound()), (open - 1, 0));
    world.notify(end);
    assert!(!events.dispatch());
}

#[test]
fn a_handler_runs_and_may_close_its_neighbours() {
    struct Closer(RefCell<Vec<EventChannel>>);
    impl EventHandler for Closer {
        fn on_event(&self) {
            self.0.borrow_mut().clear();
        }
    }
    let (world, events) = machine();
    let closer = Rc::new(Closer(RefCell::default()));
    let handler: Weak<dyn EventHandler> = Rc::downgrade(&(closer.clone() as Rc<dyn EventHandler>));
    let channel = events.allocate_with(BACKEND, handler).expect("a free port");
    let end = world.bind(channel.port().0).expect("unbound");
    for _ in 0..5 {
        closer.0.borrow_mut().push(events.allocate(BACKEND).expect("a free port"));
    }
    world.notify(end);
    assert!(events.dispatch());
    assert_eq!(events.bound(), 1);
}

#[test]
fn notifications_that_are_put_off_are_one_and_leave_before_the_next_look() {
    let (world, events) = machine();
    let channel = events.allocate(BACKEND).expect("a free port");
    let end = world.bind(channel.port().0).expect("unbound");
    assert!(world.take_pending(end), "a new end looks once");
    assert!(channel.notify_soon());
    assert!(!channel.notify_soon(), "it is on its way already");
    assert!(!world.take_pending(end));
    let sent = world.notifications();
    events.dispatch();
    assert!(world.take_pending(end));
    assert!(channel.notify_soon(), "the first one after that");
    let deadline = Guest(world.clone()).system_time() + 5_000;
    assert_eq!(events.wait(Some(deadline)), Ok(false));
    assert!(world.take_pending(end));
    assert_eq!(world.notifications() - sent, 2);
}

#[test]
fn only_one_notification_is_put_off() {
    let (world, events) = machine();
    let channels: [_; 2] = core::array::from_fn(|_| events.allocate(BACKEND).expect("a free port"));
    let ends = channels.each_ref().map(|channel| world.bind(channel.port().0).expect("unbound"));
    ends.iter().for_each(|end| assert!(world.take_pending(*end), "a new end looks once"));
    assert!(channels[0].notify_soon() && channels[1].notify_soon());
    assert_eq!(ends.map(|end| world.take_pending(end)), [true, false]);
    events.dispatch();
    assert_eq!(ends.map(|end| world.take_pending(end)), [false, true]);
    // Of one that is gone nothing is left to be heard of.
    channels[0].notify_soon();
    drop(channels);
    events.dispatch();
}

#[test]
fn a_handler_hears_that_its_notification_was_refused() {
    #[derive(Default)]
    struct Refused(Cell<u32>);
    impl EventHandler for Refused {
        fn on_event(&self) {}
        fn on_refused(&self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let (world, events) = machine();
    let handlers: [Rc<Refused>; 2] = Default::default();
    let channels = handlers.each_ref().map(|handler| {
        let handler: Weak<dyn EventHandler> = Rc::downgrade(&(handler.clone() as Rc<dyn EventHandler>));
        events.allocate_with(BACKEND, handler).expect("a free port")
    });
    world.forget_guest();
    channels[1].notify_soon();
    events.dispatch();
    assert_eq!(handlers.each_ref().map(|handler| handler.0.get()), [0, 1]);
    channels[0].notify_soon();
    let deadline = Guest(world).system_time() + 5_000;
    assert_eq!(events.wait(Some(deadline)), Ok(true));
    assert_eq!(handlers.each_ref().map(|handler| handler.0.get()), [1, 1]);
}

#[test]
fn no_more_ports_than_there_may_be() {
    let (_world, events) = machine();
    let all: Vec<_> = (0..MAX_PORTS).map(|_| events.allocate(BACKEND).expect("a free port")).collect();
    assert_eq!(events.allocate(BACKEND).err(), Some(EventError::TooManyPorts));
    drop(all);
    assert!(events.allocate(BACKEND).is_ok());
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let (world, events) = machine();
    let hypervisor = Guest(world);
    let deadline = hypervisor.system_time() + 5_000;
    assert_eq!(events.wait(Some(deadline)), Ok(false));
    assert_eq!(hypervisor.system_time(), deadline);
}

#[test]
fn ports_older_than_a_resume_do_nothing() {
    let (world, events) = machine();
    let old = events.allocate(BACKEND).expect("a free port");
    world.forget_guest();
    events.reset(1);
    let new = events.allocate(BACKEND).expect("a free port");
    assert_eq!(new.port(), old.port(), "numbers start anew");
    let waker = Waker::noop();
    assert!(old.poll_event(&mut Context::from_waker(waker)).is_ready(), "told once that it is gone");
    assert_eq!(old.notify(), Ok(()));
    drop(old);
    assert!(world.bind(new.port().0).is_some(), "dropping the old one did not close the new one");
}
