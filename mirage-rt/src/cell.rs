//! A cell whose misuse costs an image little.

use core::cell::{Ref, RefMut};
use core::ops::Deref;

/// As [`core::cell::RefCell`], with [`borrow`](Self::borrow) and [`borrow_mut`](Self::borrow_mut) that name no caller when they panic:
/// the names and places of all callers would be a KiB in every image. The stack in the report of a crash names them anyway.
#[derive(Default, Debug)]
pub struct RefCell<T: ?Sized>(core::cell::RefCell<T>);

impl<T> RefCell<T> {
    /// A cell with this value.
    pub const fn new(value: T) -> Self {
        Self(core::cell::RefCell::new(value))
    }
}

impl<T: ?Sized> RefCell<T> {
    /// The value, to be looked at.
    ///
    /// # Panics
    ///
    /// When it is being changed.
    #[inline]
    pub fn borrow(&self) -> Ref<'_, T> {
        match self.0.try_borrow() {
            Ok(value) => value,
            Err(_) => borrowed(),
        }
    }

    /// The value, to be changed.
    ///
    /// # Panics
    ///
    /// When it is being looked at or changed.
    #[inline]
    pub fn borrow_mut(&self) -> RefMut<'_, T> {
        match self.0.try_borrow_mut() {
            Ok(value) => value,
            Err(_) => borrowed(),
        }
    }

    /// The value, to be changed by whoever has the cell.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> RefCell<T> {
    /// Puts another value in its place; the one before.
    ///
    /// # Panics
    ///
    /// As [`borrow_mut`](Self::borrow_mut).
    #[inline]
    pub fn replace(&self, value: T) -> T {
        core::mem::replace(&mut *self.borrow_mut(), value)
    }
}

impl<T: Default> RefCell<T> {
    /// Takes the value and leaves the default one.
    ///
    /// # Panics
    ///
    /// As [`borrow_mut`](Self::borrow_mut).
    #[inline]
    pub fn take(&self) -> T {
        core::mem::take(&mut *self.borrow_mut())
    }
}

/// What else a cell can do.
impl<T: ?Sized> Deref for RefCell<T> {
    type Target = core::cell::RefCell<T>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cold]
#[inline(never)]
fn borrowed() -> ! {
    panic!("a value is used while it is being changed")
}

#[cfg(test)]
mod tests {
    use super::RefCell;

    #[test]
    fn one_changes_or_many_look() {
        let cell = RefCell::new(1);
        let (one, other) = (cell.borrow(), cell.borrow());
        assert_eq!(*one + *other, 2);
        assert!(cell.try_borrow_mut().is_err());
        drop((one, other));
        *cell.borrow_mut() += 1;
        assert_eq!((cell.replace(3), cell.take(), cell.take()), (2, 3, 0));
    }

    #[test]
    #[should_panic(expected = "while it is being changed")]
    fn a_second_change_is_a_panic() {
        let cell = RefCell::new(1);
        let _one = cell.borrow_mut();
        cell.borrow_mut();
    }
}
