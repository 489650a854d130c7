//! The error type that an application's main returns.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// The result of an application's main, and of whatever in it uses `?` on errors of several types.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Any error, boxed. It is made by `?` from every type that implements [`core::error::Error`]. Displays the error and its
/// sources, `: ` between them.
pub struct Error(Box<dyn Report>);

/// What is kept of an error. Not `dyn core::error::Error`, because that keeps every type's `Debug` in the image too.
trait Report {
    fn display(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<E: core::error::Error> Report for E {
    fn display(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl Error {
    /// An error that is only its message.
    pub fn message(text: impl Into<String>) -> Error {
        Error(Box::new(Message(text.into())))
    }
}

impl<E: core::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Error {
        Error(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Message {}
