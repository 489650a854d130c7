//! Names of hosts, in the form that messages have (RFC 1035, section 3.1).

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

/// Bytes of the longest name in a message: labels, their lengths, and the root's.
const LONGEST: usize = 255;
/// Bytes of the longest label.
const LONGEST_LABEL: usize = 63;

/// A name, complete up to the root. Letters are small ones: names that differ in their case only are equal.
///
/// It is made of text as `www.example.org`; a dot at the end changes nothing. Names that come out of messages may have any
/// bytes in their labels.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Labels behind their lengths, without the root's.
    wire: Vec<u8>,
}

impl Name {
    /// The root, which has no labels.
    pub const ROOT: Name = Name { wire: Vec::new() };

    /// The labels, the host's own first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.wire[..];
        core::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let (label, behind) = behind.split_at_checked(usize::from(*length))?;
            rest = behind;
            Some(label)
        })
    }

    /// This name below `domain`.
    ///
    /// # Errors
    ///
    /// [`NameError::TooLong`].
    pub fn below(&self, domain: &Name) -> Result<Name, NameError> {
        let mut name = self.clone();
        for label in domain.labels() {
            name.push(label)?;
        }
        Ok(name)
    }

    /// As it stands in a message when nothing is left out.
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let mut wire = self.wire.clone();
        wire.push(0);
        wire
    }

    /// The name with one more label at its end.
    pub(in crate::net) fn push(&mut self, label: &[u8]) -> Result<(), NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let length = u8::try_from(label.len()).ok().filter(|length| usize::from(*length) <= LONGEST_LABEL);
        let length = length.ok_or(NameError::LongLabel)?;
        if self.wire.len() + 1 + label.len() + 1 > LONGEST {
            return Err(NameError::TooLong);
        }
        self.wire.push(length);
        self.wire.extend(label.iter().map(u8::to_ascii_lowercase));
        Ok(())
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut name = Name::ROOT;
        for label in text.split('.') {
            if let Some(wrong) = label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
                return Err(NameError::Character(wrong));
            }
            name.push(label.as_bytes())?;
        }
        Ok(name)
    }
}

impl fmt::Display for Name {
    /// With dots between the labels and none at the end; bytes that are no letters, digits, `-` or `_` are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire.is_empty() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for byte in label {
                match byte {
                    b'-' | b'_' => fmt::Write::write_char(f, char::from(*byte))?,
                    byte if byte.is_ascii_alphanumeric() => fmt::Write::write_char(f, char::from(*byte))?,
                    byte => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A text is no name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// There is nothing, or nothing between two dots.
    EmptyLabel,
    /// There are more than 63 bytes between two dots.
    LongLabel,
    /// It is longer than 253 bytes.
    TooLong,
    /// A character is no letter of ASCII, digit, `-`, `_` or dot.
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::EmptyLabel => {
                f.write_str("a name needs something on both sides of each dot: write www.example.org")
            }
            NameError::LongLabel => f.write_str("no part of a name between two dots can be longer than 63 bytes"),
            NameError::TooLong => f.write_str("a name can't be longer than 253 bytes, its search domain included"),
            NameError::Character(wrong) if wrong.is_ascii() => {
                write!(f, "{wrong:?} can't be in a name: write letters, digits, `-` and `_` with dots between them")
            }
            NameError::Character(wrong) => {
                write!(f, "{wrong:?} is not in ASCII: write the name's ASCII form, as xn--bcher-kva.example")
            }
        }
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    #[test]
    fn texts_become_names_and_texts_again() {
        assert_eq!(name("WWW.Example.org."), name("www.example.ORG"));
        assert_eq!(name("www.example.org").to_string(), "www.example.org");
        assert_eq!(name("a_b-c.d").to_wire(), b"\x05a_b-c\x01d\x00");
        assert_eq!(name("host").below(&name("example.org")), Ok(name("host.example.org")));
        assert_eq!(name("host").below(&Name::ROOT), Ok(name("host")));
        assert_eq!(Name::ROOT.to_string(), ".");
    }

    #[test]
    fn what_is_no_name_is_explained() {
        for (text, error) in [
            ("", NameError::EmptyLabel),
            (".", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a b", NameError::Character(' ')),
            ("b\u{fc}cher.example", NameError::Character('\u{fc}')),
        ] {
            assert_eq!(text.parse::<Name>(), Err(error), "{text:?}");
        }
        assert_eq!("x".repeat(64).parse::<Name>(), Err(NameError::LongLabel));
        let longest = ["x".repeat(63), "y".repeat(63), "z".repeat(63), "w".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        assert_eq!(name(&longest).to_wire().len(), LONGEST);
        assert_eq!((longest.clone() + "w").parse::<Name>(), Err(NameError::TooLong));
        assert_eq!(name("a").below(&name(&longest)), Err(NameError::TooLong));
        let foreign = NameError::Character('\u{fc}').to_string();
        assert!(foreign.contains("xn--"), "{foreign}");
    }

    proptest! {
        #[test]
        fn no_text_harms(text in ".{0,300}") {
            if let Ok(name) = text.parse::<Name>() {
                let without_dot: String = text.to_ascii_lowercase();
                prop_assert_eq!(name.to_string(), without_dot.strip_suffix('.').unwrap_or(&without_dot));
                prop_assert!(name.to_wire().len() <= LONGEST);
            }
        }

        #[test]
        fn names_are_their_labels(labels in prop::collection::vec("[a-z0-9_-]{1,63}", 1..4)) {
            let name: Name = labels.join(".").parse().expect("a good name");
            prop_assert!(name.labels().eq(labels.iter().map(String::as_bytes)));
        }
    }
}
