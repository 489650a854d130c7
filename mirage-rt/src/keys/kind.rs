//! The kinds of values that keys take.

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// On or off: `--name`, `--name=true`, `--name=false`.
    Flag,
    /// A whole number from `min` to `max`.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: u64,
    },
    /// Any text.
    Text,
    /// A TCP or UDP port that the program serves, 1 to 65535: launch files and the lab's runner look for these.
    Port,
    /// An IPv4 address.
    Ipv4,
    /// An IPv4 address with the length of its network's prefix, as 10.0.2.16/24.
    Cidr,
    /// A time with its unit: `250ms`, `10s`, `5m`, `2h`.
    Duration,
    /// A level of log messages: off, error, warn, info, debug, trace.
    LogLevel,
    /// A text of a form that the key's function reads. The placeholder comes with the key, so that an image has only those
    /// of its own.
    Form {
        /// The word that stands for a value in help texts.
        placeholder: &'static str,
    },
}

impl KeyKind {
    /// The word that stands for a value in help texts.
    pub fn placeholder(self) -> &'static str {
        match self {
            KeyKind::Flag => "true|false",
            KeyKind::Integer { .. } => "NUMBER",
            KeyKind::Text => "TEXT",
            KeyKind::Port => "PORT",
            KeyKind::Ipv4 => "ADDRESS",
            KeyKind::Cidr => "ADDRESS/PREFIX",
            KeyKind::Duration => "TIME",
            KeyKind::LogLevel => "LEVEL",
            KeyKind::Form { placeholder } => placeholder,
        }
    }
}
