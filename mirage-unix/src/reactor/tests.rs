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
