//! Boot keys: typed settings given as words, `--name value` or `--name=value`.
//!
//! build.rs declares them ([`KeySpec`]); the same [`parse`] reads the arguments of a Unix process and the command line of a
//! kernel ([`split`]). Every mistake is found before the boot stops, and each message says what to write instead.

mod cidr6;
mod help;
mod kind;
mod parse;
pub mod read;
mod value;

pub use cidr6::{Cidr6, Cidr6Error};
pub use help::Help;
pub use kind::KeyKind;
pub use parse::{KeyError, MAX_COMMAND_LINE, Parsed, SplitError, parse, split};
pub use value::{Cidr, CidrError, FromValue, Value, ValueError, Values};

/// Reads a text as a value of a kind.
pub type Read = fn(KeyKind, &str) -> Result<Value, ValueError>;

/// One key, as build.rs declared it.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// The name, without the dashes in front.
    pub name: &'static str,
    /// What values it takes.
    pub kind: KeyKind,
    /// The function of [`read`] for this kind. It is named for each key, so that an image has only those that it needs.
    pub read: Read,
    /// The value when none is given, in the form it would be written; `None` for a key that must be given, or may be absent.
    pub default: Option<&'static str>,
    /// Whether the boot stops when there is neither a value nor a default.
    pub required: bool,
    /// One sentence about it.
    pub doc: &'static str,
}

#[cfg(test)]
mod tests;
