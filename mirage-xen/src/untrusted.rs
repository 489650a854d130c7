//! Values that came from another domain and were not checked yet.

use core::fmt;

/// A value that was copied, once, from memory or from a message another domain controls.
///
/// It can't be used by accident: there is no `Deref`, no arithmetic and no way out but one that names a check. What a
/// check returns is an ordinary value, and because the copy is ours, it can't change after the check.
///
/// ```
/// use mirage_xen::untrusted::Untrusted;
///
/// let length = Untrusted::new(70_000_u32);
/// assert_eq!(length.at_most(4096), None);
/// assert_eq!(Untrusted::new(60_u32).at_most(4096), Some(60));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks a value as coming from outside.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value as whatever `check` makes of it; `None` is for nonsense.
    pub fn check<U>(self, check: impl FnOnce(T) -> Option<U>) -> Option<U> {
        check(self.0)
    }

    /// Converts the value and leaves it unchecked.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Untrusted<U> {
        Untrusted(convert(self.0))
    }

    /// The value for uses in which no value is wrong: to print it, to count it, to compare it for equality.
    pub fn for_any_value(self) -> T {
        self.0
    }
}

impl<T: PartialOrd> Untrusted<T> {
    /// The value when it is at most `limit`.
    pub fn at_most(self, limit: T) -> Option<T> {
        (self.0 <= limit).then_some(self.0)
    }

    /// The value when it is below `limit`, as an index must be.
    pub fn below(self, limit: T) -> Option<T> {
        (self.0 < limit).then_some(self.0)
    }
}

impl<T: fmt::Debug> fmt::Debug for Untrusted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "untrusted {:?}", self.0)
    }
}
