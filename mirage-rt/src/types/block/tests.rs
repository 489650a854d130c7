use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};

use super::*;
use crate::page::{HeapPool, Page};

fn pages(pool: &Rc<dyn PagePool>, count: usize) -> Vec<Page> {
    (0..count).map(|_| Page::take(pool).expect("the pool is large")).collect()
}

#[test]
fn requests_are_checked_against_what_the_device_is() {
    let pool = HeapPool::with_pages(8);
    let mut info = BlockInfo::new(512, 20, false);
    let read = |sector, count| Request::read(sector, pages(&pool, count)).check(&info);
    assert_eq!(read(0, 2), Ok(Wanted::Device));
    assert_eq!(read(12, 1), Ok(Wanted::Device), "a page may end where the disk ends");
    assert_eq!(read(13, 1), Err(BlockError::OutOfRange));
    assert_eq!(read(u64::MAX, 1), Err(BlockError::OutOfRange));
    assert_eq!(read(u64::MAX, 0), Ok(Wanted::Nothing), "nothing is everywhere");
    assert_eq!(Request::flush().check(&info), Ok(Wanted::Nothing), "no cache");
    assert_eq!(Request::discard(0, 1).check(&info), Err(BlockError::Unsupported));
    assert_eq!(Request::erase(0, 1).check(&info), Err(BlockError::Unsupported));

    info.discard = Some(Discard::new(0, 9));
    info.erase = true;
    info.cache = WriteCache::Flushed;
    assert_eq!(info.discard, Some(Discard { granularity: 1, alignment: 0 }));
    assert_eq!(Request::flush().check(&info), Ok(Wanted::Device));
    assert_eq!(Request::discard(19, 1).check(&info), Ok(Wanted::Device));
    assert_eq!(Request::discard(19, 2).check(&info), Err(BlockError::OutOfRange));
    assert_eq!(Request::erase(1, u64::MAX).check(&info), Err(BlockError::OutOfRange));
    assert_eq!(Request::erase(20, 0).check(&info), Ok(Wanted::Nothing));

    info.cache = WriteCache::Unflushed;
    assert_eq!(Request::flush().check(&info), Err(BlockError::Unsupported));
    assert_eq!(Request::write(0, pages(&pool, 1), true).check(&info), Err(BlockError::Unsupported));
    assert_eq!(Request::write(0, pages(&pool, 1), false).check(&info), Ok(Wanted::Device));

    info.read_only = true;
    for request in [Request::write(0, pages(&pool, 1), true), Request::discard(0, 1), Request::erase(0, 99)] {
        assert_eq!(request.check(&info), Err(BlockError::ReadOnly));
    }
    assert_eq!(Request::read(0, pages(&pool, 1)).check(&info), Ok(Wanted::Device));

    let large = BlockInfo::new(4096, 3, false);
    assert_eq!(Request::read(1, pages(&pool, 2)).check(&large), Ok(Wanted::Device));
    assert_eq!(Request::read(2, pages(&pool, 2)).check(&large), Err(BlockError::OutOfRange));
    assert_eq!((large.bytes(), large.sectors_per_page()), (Some(12288), 1));
    assert_eq!(BlockInfo::new(4096, u64::MAX, false).bytes(), None);
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_completion_is_ready_once_and_keeps_the_latest_waker() {
    let pool = HeapPool::with_pages(2);
    let (first, second) = (Arc::<Count>::default(), Arc::<Count>::default());
    let (responder, mut completion) = Completion::new();
    let mut poll =
        |count: &Arc<Count>| Pin::new(&mut completion).poll(&mut Context::from_waker(&Waker::from(Arc::clone(count))));
    assert!(poll(&first).is_pending() && poll(&second).is_pending());
    responder.respond(Err(BlockError::Io), pages(&pool, 1));
    assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    let Poll::Ready((result, pages)) = poll(&first) else { panic!("it was answered") };
    assert_eq!((result, pages.len(), pool.available()), (Err(BlockError::Io), 1, 1));
    assert!(poll(&first).is_pending());
}

#[test]
fn nobody_waits_for_ever_and_no_page_is_lost() {
    let pool = HeapPool::with_pages(2);
    let mut context = Context::from_waker(Waker::noop());
    let (responder, mut completion) = Completion::new();
    drop(responder);
    assert!(matches!(Pin::new(&mut completion).poll(&mut context), Poll::Ready((Err(BlockError::Broken), _))));

    let (responder, completion) = Completion::new();
    drop(completion);
    responder.respond(Ok(()), pages(&pool, 2));
    assert_eq!(pool.available(), 2);

    let mut completion = Completion::ready(Ok(()), pages(&pool, 2));
    assert!(matches!(Pin::new(&mut completion).poll(&mut context), Poll::Ready((Ok(()), pages)) if pages.len() == 2));
}
