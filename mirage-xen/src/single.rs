//! Variables of a machine with one processor.

use core::cell::UnsafeCell;

/// A value that is set once while the machine boots.
///
/// It may hold what is not `Sync`. Nobody but boot can set one, and boot runs only where there is no second thread; on a
/// host all of them stay empty.
pub(crate) struct Single<T> {
    value: UnsafeCell<Option<T>>,
}

// SAFETY: only `set` writes, whose caller promises that there is one thread; while the value is empty, threads share nothing.
unsafe impl<T> Sync for Single<T> {}

impl<T> Single<T> {
    pub(crate) const fn empty() -> Self {
        Self { value: UnsafeCell::new(None) }
    }

    /// Sets the value.
    ///
    /// # Safety
    ///
    /// The machine has one processor and runs nothing but this program, and the value was not set before.
    pub(crate) unsafe fn set(&'static self, value: T) -> &'static T {
        // SAFETY: nobody has a reference to an empty value, which needs no drop, and nobody else runs. Then it is one.
        unsafe {
            self.value.get().write(Some(value));
            self.get().unwrap_unchecked()
        }
    }

    pub(crate) fn get(&'static self) -> Option<&'static T> {
        // SAFETY: after `set` the value is never written again; before it there is one thread or nobody who sets it.
        unsafe { (*self.value.get()).as_ref() }
    }
}
