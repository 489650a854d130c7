//! Tasks. The only unsafe code of this crate: futures that are not `Send` behind wakers that are.

#![allow(unsafe_code)]

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::queue::Queue;

/// Starts `future` on the queue's runtime.
pub(super) fn spawn<F>(queue: &Arc<Queue>, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let schedule = {
        let queue = Arc::clone(queue);
        move |task| queue.push(task)
    };
    // SAFETY: `spawn_unchecked` asks four things. The future is 'static and so is the schedule function. The schedule
    // function is Send and Sync (an Arc<Queue>), so wakers may be used and dropped on any thread. The future need not be
    // Send because it is polled and dropped only by `Runnable::run`, by dropping a Runnable, or by `JoinHandle`, and all
    // of these happen on the runtime's thread: Queue::run and Queue::close are reached only through `Runtime`, which is not
    // Send, the JoinHandle is not Send (it holds a PhantomData of a raw pointer), and a waker that is dropped last on
    // another thread schedules the task, which moves the Runnable into the queue or, once that is closed, forgets it.
    let (runnable, task) = unsafe { async_task::Builder::new().spawn_unchecked(|()| future, schedule) };
    runnable.schedule();
    JoinHandle { task: Some(task.fallible()), thread_bound: core::marker::PhantomData }
}

/// A spawned task. As a future it gives the task's output; dropping it lets the task go on.
pub struct JoinHandle<T> {
    task: Option<async_task::FallibleTask<T>>,
    thread_bound: core::marker::PhantomData<*const ()>,
}

impl<T> JoinHandle<T> {
    /// Stops the task at its next suspension point; its future is dropped by the runtime. The output, if it was there
    /// already, is lost.
    pub fn abort(mut self) {
        drop(self.task.take());
    }

    /// Whether the task has ended, by itself or by [`abort`](Self::abort).
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(async_task::FallibleTask::is_finished)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}

/// The task ended without an output, because its runtime was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was stopped before it was done")
    }
}

impl core::error::Error for Aborted {}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, Aborted>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.task {
            Some(task) => Pin::new(task).poll(context).map(|output| output.ok_or(Aborted)),
            None => Poll::Ready(Err(Aborted)),
        }
    }
}
