//! Reading words into values, with every mistake reported.

use alloc::string::String;
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

/// A mistake in the words; it names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError<'w> {
    /// A word that is neither a key nor a key's value.
    Unexpected {
        /// The word.
        word: &'w str,
    },
    /// A key that this program does not have.
    Unknown {
        /// Its name, as written.
        name: &'w str,
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
        value: &'w str,
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

impl fmt::Display for KeyError<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Unexpected { word } => write!(f, "unexpected word \"{word}\": keys are written --name value"),
            KeyError::Unknown { name, similar: Some(similar) } => {
                write!(f, "unknown key --{name}, did you mean --{similar}?")
            }
            KeyError::Unknown { name, similar: None } => write!(f, "unknown key --{name}: --help lists the keys"),
            KeyError::Value { name, value, error } => write!(f, "key --{name} has the value \"{value}\": {error}"),
            KeyError::Twice { name } => write!(f, "key --{name} is given twice: write it once"),
            KeyError::NoValue { name, kind } | KeyError::Missing { name, kind } => {
                let what = if matches!(self, KeyError::Missing { .. }) { "must be given" } else { "has no value" };
                write!(f, "key --{name} {what}: write --{name} {}", kind.placeholder())
            }
        }
    }
}

impl core::error::Error for KeyError<'_> {}

/// Reads `words` as the keys of `specs`.
///
/// # Errors
///
/// Every mistake in the words, in their order, then the keys that are missing.
#[inline]
pub fn parse<'w>(specs: &'static [KeySpec], mut words: &'w [String]) -> Result<Parsed, Vec<KeyError<'w>>> {
    let mut reading = Reading { values: Values::default(), errors: Vec::new() };
    while let Some((word, rest)) = words.split_first() {
        words = rest;
        let Some(written) = word.strip_prefix("--") else {
            reading.mistake(KeyError::Unexpected { word });
            continue;
        };
        // By bytes: a search for a character is several times the code.
        let end = written.bytes().position(|byte| byte == b'=').unwrap_or(written.len());
        let (name, mut value) = (written.get(..end).unwrap_or_default(), written.get(end + 1..));
        if name == "help" {
            return Ok(Parsed::Help);
        }
        let spec = specs.iter().find(|spec| spec.name == name);
        if value.is_none()
            && spec.is_none_or(|spec| spec.kind != KeyKind::Flag)
            && let Some((next, rest)) = words.split_first()
            && !next.starts_with("--")
        {
            (value, words) = (Some(next.as_str()), rest);
        }
        match (spec, value) {
            (None, _) => reading.mistake(KeyError::Unknown { name, similar: similar(specs, name) }),
            (Some(&KeySpec { name, .. }), _) if reading.values.value(name).is_some() => {
                reading.mistake(KeyError::Twice { name });
            }
            (Some(spec), Some(text)) => reading.read(spec, text),
            (Some(spec), None) if spec.kind == KeyKind::Flag => reading.read(spec, "true"),
            (Some(&KeySpec { name, kind, .. }), None) => reading.mistake(KeyError::NoValue { name, kind }),
        }
    }
    for spec in specs {
        match spec.default {
            _ if reading.mentions(spec.name) => {}
            Some(text) => reading.read(spec, text),
            None if spec.required => reading.mistake(KeyError::Missing { name: spec.name, kind: spec.kind }),
            None => {}
        }
    }
    if reading.errors.is_empty() { Ok(Parsed::Values(reading.values)) } else { Err(reading.errors) }
}

/// What was read so far.
struct Reading<'w> {
    values: Values,
    errors: Vec<KeyError<'w>>,
}

impl<'w> Reading<'w> {
    #[inline]
    fn read(&mut self, spec: &KeySpec, text: &'w str) {
        match (spec.read)(spec.kind, text) {
            Ok(value) => self.values.insert(spec.name, value),
            Err(error) => self.mistake(KeyError::Value { name: spec.name, value: text, error }),
        }
    }

    #[inline]
    fn mistake(&mut self, error: KeyError<'w>) {
        self.errors.push(error);
    }

    /// Whether the key has a value, or a mistake was found in it.
    #[inline]
    fn mentions(&self, key: &str) -> bool {
        let wrong = |error: &KeyError<'_>| match error {
            KeyError::NoValue { name, .. } | KeyError::Value { name, .. } | KeyError::Twice { name } => *name == key,
            _ => false,
        };
        self.values.value(key).is_some() || self.errors.iter().any(wrong)
    }
}

/// The key spelled most like `name`, if one is near.
#[inline]
fn similar(specs: &[KeySpec], name: &str) -> Option<&'static str> {
    let mut best = None;
    let mut limit = 2 + name.len() / 4;
    for known in specs.iter().map(|spec| spec.name).chain(core::iter::once("help")) {
        let distance = distance(known, name);
        if distance < limit {
            (best, limit) = (Some(known), distance);
        }
    }
    best
}

/// How many letters to insert, delete or change to make `a` of `b` (Levenshtein). Names longer than the row are far apart.
#[inline]
fn distance(a: &str, b: &str) -> usize {
    let mut row = [0; 64];
    let Some(row) = row.get_mut(..=b.len()) else { return usize::MAX };
    for (index, cell) in row.iter_mut().enumerate() {
        *cell = index;
    }
    for x in a.bytes() {
        let Some((first, rest)) = row.split_first_mut() else { break };
        let mut diagonal = *first;
        *first += 1;
        let mut left = *first;
        for (cell, y) in rest.iter_mut().zip(b.bytes()) {
            let changed = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = changed.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
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
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SplitError::TooLong => write!(f, "the command line is longer than {MAX_COMMAND_LINE} bytes: shorten it"),
            SplitError::NotUtf8 => f.write_str("the command line is not UTF-8: write it in UTF-8"),
            SplitError::OpenQuote => f.write_str("the command line ends inside a quotation: close it"),
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
