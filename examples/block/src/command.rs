//! What a client may say, a line each, and how it is answered: `ok ...` or `error ...`.
//!
//! | line | answer |
//! |---|---|
//! | `append TEXT` | `ok NUMBER`: the record's number, when it is durable |
//! | `read NUMBER` | `ok TEXT` |
//! | `count` | `ok COUNT`: records in the log |
//! | `fill SEED FIRST COUNT` | `ok COUNT pages, sum CRC`: so many pages of the pattern area, from page FIRST on, hold the pattern of SEED |
//! | `verify SEED FIRST COUNT` | the same when they do, else where they differ |
//! | `flush` | `ok`: what was filled is durable |
//! | `discard FIRST COUNT` | `ok`: what these pages hold is not needed |
//! | `info` | `ok` and what the disk is |
//! | `stats` | `ok` and what was done since the start |
//! | `quit` | `ok`, and the connection ends |

use core::fmt;
use core::str::FromStr;

use crate::pattern::Range;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Append(&'a str),
    Read(u64),
    Count,
    Fill { seed: u64, range: Range },
    Verify { seed: u64, range: Range },
    Flush,
    Discard(Range),
    Info,
    Stats,
    Quit,
}

/// A line that is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError<'a> {
    Unknown(&'a str),
    /// Too few or too many words, or one that is no number: what the command takes.
    Words(&'static str),
}

impl fmt::Display for CommandError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Unknown(word) => write!(
                f,
                "unknown command {word:?}: append, read, count, fill, verify, flush, discard, info, stats, quit"
            ),
            CommandError::Words(usage) => write!(f, "write {usage}"),
        }
    }
}

impl<'a> Command<'a> {
    /// Reads a line, without its end.
    ///
    /// # Errors
    ///
    /// See [`CommandError`].
    pub fn parse(line: &'a str) -> Result<Command<'a>, CommandError<'a>> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let usage = match verb {
            "append" => return Ok(Command::Append(rest)),
            "read" => "read NUMBER",
            "fill" => "fill SEED FIRST COUNT",
            "verify" => "verify SEED FIRST COUNT",
            "discard" => "discard FIRST COUNT",
            "count" => "count",
            "flush" => "flush",
            "info" => "info",
            "stats" => "stats",
            "quit" => "quit",
            other => return Err(CommandError::Unknown(other)),
        };
        let mut words = rest.split_ascii_whitespace();
        let command = match verb {
            "read" => number(&mut words).map(Command::Read),
            "fill" => pattern(&mut words).map(|(seed, range)| Command::Fill { seed, range }),
            "verify" => pattern(&mut words).map(|(seed, range)| Command::Verify { seed, range }),
            "discard" => range(&mut words).map(Command::Discard),
            "count" => Some(Command::Count),
            "flush" => Some(Command::Flush),
            "info" => Some(Command::Info),
            "stats" => Some(Command::Stats),
            _ => Some(Command::Quit),
        };
        command.filter(|_| words.next().is_none()).ok_or(CommandError::Words(usage))
    }
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<u64> {
    words.next().and_then(|word| u64::from_str(word).ok())
}

fn range<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Range> {
    Some(Range { first: number(words)?, count: number(words)? })
}

fn pattern<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(u64, Range)> {
    Some((number(words)?, range(words)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn lines_are_read() {
        let range = Range { first: 2, count: 3 };
        let cases = [
            ("append  two words ", Command::Append(" two words ")),
            ("append", Command::Append("")),
            ("read 7", Command::Read(7)),
            ("fill 1 2 3", Command::Fill { seed: 1, range }),
            ("verify 18446744073709551615 2 3", Command::Verify { seed: u64::MAX, range }),
            ("discard 2  3", Command::Discard(range)),
            ("flush", Command::Flush),
            ("count", Command::Count),
            ("info", Command::Info),
            ("stats", Command::Stats),
            ("quit", Command::Quit),
        ];
        for (line, command) in cases {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn other_lines_are_explained() {
        for (line, usage) in [
            ("read", "read NUMBER"),
            ("read x", "read NUMBER"),
            ("read 1 2", "read NUMBER"),
            ("fill 1 2", "fill SEED FIRST COUNT"),
            ("verify 1 2 -3", "verify SEED FIRST COUNT"),
            ("discard 18446744073709551616 1", "discard FIRST COUNT"),
            ("flush now", "flush"),
        ] {
            assert_eq!(Command::parse(line), Err(CommandError::Words(usage)), "{line}");
        }
        let error = Command::parse("drop table").expect_err("that is none").to_string();
        assert!(error.starts_with("unknown command \"drop\": append, read, "), "{error}");
    }
}
