//! Mistakes in boot keys.

use std::fmt;

use super::MAX_NAME;
use crate::key::KeyKind;

/// What is wrong with a boot key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyMistake {
    /// The name is not of the form that a command line needs.
    Name,
    /// Another key has the same name.
    Duplicate,
    /// Every unikernel of this kind has a key of this name.
    Library,
    /// The default is not a value of the key's type.
    Default {
        /// The type.
        kind: KeyKind,
        /// The default as it was given.
        value: String,
    },
    /// The key has a default and is optional.
    OptionalWithDefault,
    /// The doc or the default holds a control character, which no help page and no launch file can show.
    ControlCharacter,
}

impl KeyMistake {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        match self {
            KeyMistake::Name => write!(
                f,
                "`{name}` can not be a key's name: it must start with a lower case letter, go on with lower case \
                 letters, digits and single `-`, be no Rust keyword and at most {MAX_NAME} bytes long"
            ),
            KeyMistake::Duplicate => {
                write!(f, "two keys have the name `{name}`: give one of them another name in build.rs")
            }
            KeyMistake::Library => write!(
                f,
                "the key `{name}` exists already: every unikernel with these devices has it (see `--help`); give yours \
                 another name in build.rs"
            ),
            KeyMistake::Default { kind, value } => write!(
                f,
                "`{value}` can not be the default of the key `{name}`: it must be {}; correct `.default(..)` in build.rs",
                kind.describe()
            ),
            KeyMistake::OptionalWithDefault => write!(
                f,
                "the key `{name}` has a default and is optional: remove `.default(..)` or `.optional()` in build.rs"
            ),
            KeyMistake::ControlCharacter => write!(
                f,
                "the doc or the default of the key `{name}` holds a line break or another control character: write it \
                 as one line in build.rs"
            ),
        }
    }
}
