//! Reading words into values, with every mistake reported.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{KeyKind, KeySpec, ValueError, Values};

/// The most bytes of a kernel command line that [`split`] takes.
pub const MAX_COMMAND_LINE: usize = 4096;

/// What the words asked for.
#[derive(Debug)]
pub enum Parsed {
    /// `--help`: print the keys and stop.
    Help,
    /// To go on, with these values.
    Values(Values),
}

/// A mistake in the words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A word that is neither a key nor a key's value.
    Unexpected {
        /// The word.
        word: String,
    },
    /// A key that this program does not have.
    Unknown {
        /// Its name, as written.
        name: String,
        /// The key that is spelled most alike.
        similar: Option<&'static str>,
    },
    /// A key whose value is missing.
    NoValue {
        /// The key.
        name: &'static str,
        /// What its values look like.
        kind: KeyKind,
    },
    /// A value that is not of the key's kind.
    Value {
        /// The key.
        name: &'static str,
        /// The value, as written.
        value: String,
        /// What is wrong with it.
        error: ValueError,
    },
    /// A key that was given more than once.
    Twice {
        /// The key.
        name: &'static str,
    },
    /// A key without a default was not given.
    Missing {
        /// The key.
        name: &'static str,
        /// What its values look like.
        kind: KeyKind,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Unexpected { word } => write!(f, "unexpected word \"{word}\": keys are written --name value"),
            KeyError::Unknown { name, similar: Some(similar) } => {
                write!(f, "unknown key --{name}, did you mean --{similar}?")
            }
            KeyError::Unknown { name, similar: None } => write!(f, "unknown key --{name}: --help lists the keys"),
            KeyError::NoValue { name, kind } => {
                write!(f, "key --{name} has no value: write --{name} {}", kind.placeholder())
            }
            KeyError::Value { name, value, error } => write!(f, "key --{name} has the value \"{value}\": {error}"),
            KeyError::Twice { name } => write!(f, "key --{name} is given twice: write it once"),
            KeyError::Missing { name, kind } => {
                write!(f, "key --{name} must be given: write --{name} {}", kind.placeholder())
            }
        }
    }
}

impl core::error::Error for KeyError {}

/// Reads `words` as the keys of `specs`.
///
/// # Errors
///
/// Every mistake in the words, in their order, then the keys that are missing.
#[inline]
pub fn parse(specs: &'static [KeySpec], words: &[String]) -> Result<Parsed, Vec<KeyError>> {
    let mut values = Values::default();
    let mut errors = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(written) = word.strip_prefix("--") else {
            errors.push(KeyError::Unexpected { word: word.clone() });
            continue;
        };
        let (name, inline) = match written.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (written, None),
        };
        if name == "help" {
            return Ok(Parsed::Help);
        }
        let spec = specs.iter().find(|spec| spec.name == name);
        let takes_next = inline.is_none() && spec.is_none_or(|spec| spec.kind != KeyKind::Flag);
        let next = if takes_next { words.next_if(|next| !next.starts_with("--")) } else { None };
        let value = inline.or(next.map(String::as_str));
        match spec {
            None => errors.push(KeyError::Unknown { name: name.to_string(), similar: similar(specs, name) }),
            Some(spec) => match read(spec, value, &values) {
                Ok(value) => values.insert(spec.name, value),
                Err(error) => errors.push(error),
            },
        }
    }
    for spec in specs {
        let mentioned = values.value(spec.name).is_some() || errors.iter().any(|error| error.key() == Some(spec.name));
        if !mentioned && let Err(error) = fall_back(spec, &mut values) {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(Parsed::Values(values)) } else { Err(errors) }
}

impl KeyError {
    fn key(&self) -> Option<&'static str> {
        match self {
            KeyError::NoValue { name, .. } | KeyError::Value { name, .. } | KeyError::Twice { name } => Some(name),
            _ => None,
        }
    }
}

#[inline]
fn read(spec: &KeySpec, value: Option<&str>, known: &Values) -> Result<super::Value, KeyError> {
    if known.value(spec.name).is_some() {
        return Err(KeyError::Twice { name: spec.name });
    }
    let text = match (value, spec.kind) {
        (Some(text), _) => text,
        (None, KeyKind::Flag) => "true",
        (None, kind) => return Err(KeyError::NoValue { name: spec.name, kind }),
    };
    read_text(spec, text)
}

#[inline]
fn read_text(spec: &KeySpec, text: &str) -> Result<super::Value, KeyError> {
    let wrong = |error| KeyError::Value { name: spec.name, value: text.to_string(), error };
    (spec.read)(spec.kind, text).map_err(wrong)
}

/// The value of a key that was not given.
#[inline]
fn fall_back(spec: &KeySpec, values: &mut Values) -> Result<(), KeyError> {
    match (spec.default, spec.required) {
        (Some(text), _) => values.insert(spec.name, read_text(spec, text)?),
        (None, true) => return Err(KeyError::Missing { name: spec.name, kind: spec.kind }),
        (None, false) => {}
    }
    Ok(())
}

/// The key spelled most like `name`, if one is near.
#[inline]
fn similar(specs: &[KeySpec], name: &str) -> Option<&'static str> {
    let names = specs.iter().map(|spec| spec.name).chain(core::iter::once("help"));
    let (distance, best) = names.map(|known| (distance(known, name), known)).min()?;
    (distance <= 1 + name.len() / 4).then_some(best)
}

/// How many letters to insert, delete or change to make `a` of `b` (Levenshtein). Names longer than the row are far apart.
#[inline]
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() >= LONGEST || b.len() >= LONGEST {
        return usize::MAX;
    }
    let mut row: [usize; LONGEST] = core::array::from_fn(|index| index);
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Why a command line could not be cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SplitError {
    /// It is longer than [`MAX_COMMAND_LINE`].
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
    /// A quotation mark is not closed, or nothing follows the last backslash.
    OpenQuote,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitError::TooLong => write!(f, "the command line is longer than {MAX_COMMAND_LINE} bytes: shorten it"),
            SplitError::NotUtf8 => f.write_str("the command line is not UTF-8: write it in UTF-8"),
            SplitError::OpenQuote => f.write_str("the command line ends inside a quotation: close the quotation mark"),
        }
    }
}

impl core::error::Error for SplitError {}

/// Cuts a command line into words, by the quoting rules of the POSIX shell.
///
/// # Errors
///
/// [`SplitError`], which says what to change.
#[inline]
pub fn split(line: &[u8]) -> Result<Vec<String>, SplitError> {
    if line.len() > MAX_COMMAND_LINE {
        return Err(SplitError::TooLong);
    }
    let line = core::str::from_utf8(line).map_err(|_| SplitError::NotUtf8)?;
    shlex::split(line).ok_or(SplitError::OpenQuote)
}
