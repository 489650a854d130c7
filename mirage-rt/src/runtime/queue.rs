//! The queue of ready tasks. Wakers push into it from any thread; only the runtime's thread takes from it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use async_task::Runnable;
use spin::Mutex;

use crate::platform::Unpark;

pub(super) struct Queue {
    // Held for a push or a pop only. On Xen there is one thread and no interrupt, so it is never contended. `None` once
    // the runtime is gone.
    ready: Mutex<Option<VecDeque<Runnable>>>,
    unpark: Arc<dyn Unpark>,
}

impl Queue {
    pub(super) fn new(unpark: Arc<dyn Unpark>) -> Self {
        Queue { ready: Mutex::new(Some(VecDeque::new())), unpark }
    }

    /// Adds a task at the end and wakes a sleeping runtime. A task whose runtime is gone is leaked: this may be another
    /// thread, where its future must not be dropped.
    pub(super) fn push(&self, task: Runnable) {
        match &mut *self.ready.lock() {
            Some(ready) => ready.push_back(task),
            None => core::mem::forget(task),
        }
        self.unpark.unpark();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.lock().as_ref().is_none_or(VecDeque::is_empty)
    }

    /// Drops every ready task and takes no more. Called on the runtime's thread, at its end.
    pub(super) fn close(&self) {
        while let Some(task) = self.pop() {
            drop(task);
        }
        *self.ready.lock() = None;
    }

    /// Runs up to `most` tasks.
    pub(super) fn run(&self, most: usize) {
        for _ in 0..most {
            let Some(task) = self.pop() else { return };
            task.run();
        }
    }

    fn pop(&self) -> Option<Runnable> {
        self.ready.lock().as_mut()?.pop_front()
    }
}
