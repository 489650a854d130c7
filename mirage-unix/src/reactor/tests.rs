use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use rustix::io::{read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn reactor() -> Rc<Reactor> {
    Rc::new(Reactor::new().expect("a test may open descriptors"))
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a test may open descriptors")
}

/// Polls for a byte; what came.
fn poll_byte(source: &Source, waker: &Arc<Count>) -> Poll<Result<u8, Errno>> {
    let waker = Waker::from(Arc::clone(waker));
    let mut byte = [0];
    source
        .poll_io(Direction::Read, &mut Context::from_waker(&waker), |socket| read(socket, &mut byte))
        .map_ok(|_| byte[0])
}

#[test]
fn a_sleep_ends_by_an_unpark_of_any_time() {
    let reactor = reactor();
    reactor.unparker().unpark();
    reactor.unparker().unpark();
    // Would never return without the unparks before it.
    reactor.park(None);
    let unparker = reactor.unparker();
    let thread = std::thread::spawn(move || unparker.unpark());
    reactor.park(None);
    thread.join().expect("the thread only unparks");
}

#[test]
fn a_sleep_ends_at_its_deadline() {
    let reactor = reactor();
    let start = std::time::Instant::now();
    reactor.park(Some(Duration::from_millis(20)));
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_task_is_woken_when_its_call_would_not_block() {
    let (reactor, count) = (reactor(), Arc::<Count>::default());
    let (near, far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    assert_eq!(poll_byte(&source, &count), Poll::Pending);
    // The first look finds room to write, which nobody waits for.
    reactor.poll();
    assert_eq!(count.get(), 0);
    write(&far, b"ab").expect("there is room");
    reactor.park(None);
    assert_eq!(count.get(), 1);
    assert_eq!(poll_byte(&source, &count), Poll::Ready(Ok(b'a')));
    assert_eq!(poll_byte(&source, &count), Poll::Ready(Ok(b'b')));
    assert_eq!(poll_byte(&source, &count), Poll::Pending);
    drop(far);
    reactor.park(None);
    assert_eq!(count.get(), 2);
}

#[test]
fn tasks_that_share_a_source_take_turns() {
    let (reactor, first, second) = (reactor(), Arc::<Count>::default(), Arc::<Count>::default());
    let (near, far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    assert!(poll_byte(&source, &first).is_pending());
    assert!(poll_byte(&source, &first).is_pending());
    assert_eq!(first.get(), 0);
    assert!(poll_byte(&source, &second).is_pending());
    assert_eq!(first.get(), 1);
    write(&far, b"a").expect("there is room");
    reactor.park(None);
    assert_eq!((first.get(), second.get()), (1, 1));
}

#[test]
fn events_of_a_source_that_is_gone_wake_nobody() {
    let (reactor, old, new) = (reactor(), Arc::<Count>::default(), Arc::<Count>::default());
    let (near, far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    assert!(poll_byte(&source, &old).is_pending());
    write(&far, b"a").expect("there is room");
    drop(source);
    assert_eq!(old.get(), 1, "a task that waits for ever would be lost");
    let (near, _far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    assert!(poll_byte(&source, &new).is_pending());
    reactor.poll();
    assert_eq!((old.get(), new.get()), (1, 0));
}

/// Polls for up to ten bytes of a stream; how many came, and whether the socket was asked.
fn poll_stream(source: &Source, waker: &Arc<Count>) -> (Poll<Result<usize, Errno>>, bool) {
    let waker = Waker::from(Arc::clone(waker));
    let (mut bytes, mut asked) = ([0; 10], false);
    let polled = source.poll_stream(&mut Context::from_waker(&waker), bytes.len(), |socket| {
        asked = true;
        read(socket, &mut bytes)
    });
    (polled, asked)
}

#[test]
fn a_stream_that_was_emptied_is_not_asked_again_at_once() {
    let (reactor, count) = (reactor(), Arc::<Count>::default());
    let (near, far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    write(&far, b"0123456789abc").expect("there is room");
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(10)), true));
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(3)), true));
    assert_eq!(poll_stream(&source, &count), (Poll::Pending, false));
    // The events of what was read already, and of what comes now.
    write(&far, b"d").expect("there is room");
    reactor.park(None);
    assert_eq!(count.get(), 1);
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(1)), true));
    assert_eq!(poll_stream(&source, &count), (Poll::Pending, false));
    assert_eq!(poll_stream(&source, &count), (Poll::Pending, true), "who asks again is to look");
}

#[test]
fn the_end_of_a_stream_is_read_whenever_it_came() {
    let (reactor, count) = (reactor(), Arc::<Count>::default());
    let streams = || {
        let (near, far) = pair();
        let source = Source::new(&reactor, near).expect("a socket can be watched");
        write(&far, b"a").expect("there is room");
        (source, far)
    };
    // Its event came before the last bytes were read: there is no other.
    let (source, far) = streams();
    drop(far);
    reactor.poll();
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(1)), true));
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(0)), true));
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(0)), true));
    // Its event came after that.
    let (source, far) = streams();
    reactor.poll();
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(1)), true));
    drop(far);
    assert_eq!(poll_stream(&source, &count), (Poll::Pending, false));
    reactor.park(None);
    assert_eq!(count.get(), 1);
    assert_eq!(poll_stream(&source, &count), (Poll::Ready(Ok(0)), true));
}

#[test]
fn after_a_message_that_was_not_there_only_an_event_leads_to_a_try() {
    let (reactor, count) = (reactor(), Arc::<Count>::default());
    let (near, far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    let waker = Waker::from(Arc::clone(&count));
    let tries = std::cell::Cell::new(0);
    let poll = || {
        source.poll_message(&mut Context::from_waker(&waker), |socket| {
            tries.set(tries.get() + 1);
            read(socket, &mut [0; 1])
        })
    };
    assert!(poll().is_pending() && poll().is_pending() && poll().is_pending());
    assert_eq!(tries.get(), 1);
    write(&far, b"ab").expect("there is room");
    reactor.park(None);
    assert_eq!(count.get(), 1);
    assert_eq!((poll(), poll()), (Poll::Ready(Ok(1)), Poll::Ready(Ok(1))));
    assert!(poll().is_pending() && poll().is_pending());
    assert_eq!(tries.get(), 4);
}

#[test]
fn wakers_of_events_do_not_unpark_by_a_descriptor() {
    let reactor = reactor();
    struct Unparks(Arc<dyn Unpark>);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (near, far) = pair();
    let source = Source::new(&reactor, near).expect("a socket can be watched");
    let waker = Waker::from(Arc::new(Unparks(reactor.unparker())));
    let polled = source.poll_io(Direction::Read, &mut Context::from_waker(&waker), |socket| read(socket, &mut [0; 1]));
    assert!(polled.is_pending());
    write(&far, b"a").expect("there is room");
    reactor.park(None);
    let mut count = [0; 8];
    assert_eq!(read(reactor.unparker.descriptor(), &mut count), Err(Errno::AGAIN));
    // And yet the next sleep does not begin.
    reactor.park(None);
}

#[test]
fn a_look_right_after_a_sleep_is_spared_once() {
    let reactor = reactor();
    let (one, other) = pair();
    let source = Source::new(&reactor, one).expect("it can be watched");
    let waker = Arc::new(Count::default());
    assert!(poll_byte(&source, &waker).is_pending());
    reactor.park(Some(Duration::ZERO));
    write(&other, b"x").expect("there is room");
    reactor.poll();
    assert_eq!(waker.get(), 0, "the park has just looked");
    reactor.poll();
    assert_eq!(waker.get(), 1);
    // A park that was not to sleep has not looked.
    assert!(matches!(poll_byte(&source, &waker), Poll::Ready(Ok(b'x'))));
    assert!(poll_byte(&source, &waker).is_pending());
    reactor.unparker().unpark();
    reactor.park(None);
    write(&other, b"y").expect("there is room");
    reactor.poll();
    assert_eq!(waker.get(), 2);
}
