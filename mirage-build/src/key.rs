//! Boot keys: what a user of the finished program can set with `--name value`.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What values a key takes, as the runtime's parser, the manifest and the launch files know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// `192.0.2.1`.
    Ipv4,
    /// `192.0.2.1/24`.
    Cidr,
    /// A time with its unit: `250ms`, `10s`, `5m`, `2h`.
    Duration,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    LogLevel,
    /// `192.0.2.1/24`, or `dhcp`.
    CidrOrDhcp,
    /// IPv4 or IPv6 addresses with commas between them.
    Addresses,
    /// Domains with commas between them.
    Domains,
    /// Routes with commas between them: `10.1.0.0/16=192.0.2.9`.
    Routes,
    /// The same for IPv6: `2001:db8:1::/48=fe80::9`.
    Ipv6Routes,
    /// `2001:db8::1`.
    Ipv6,
    /// `2001:db8::1/64`, or `auto`.
    Cidr6OrAuto,
}

impl KeyKind {
    /// What a value looks like, for messages.
    pub(crate) fn describe(self) -> String {
        match self {
            KeyKind::Flag => "true or false".to_owned(),
            KeyKind::Integer { min, max } => format!("a whole number from {min} to {max}"),
            KeyKind::Text => "text".to_owned(),
            KeyKind::Port => "a port from 1 to 65535".to_owned(),
            KeyKind::Ipv4 => "an IPv4 address such as 192.0.2.1".to_owned(),
            KeyKind::Cidr => "an IPv4 address with its prefix length, such as 192.0.2.1/24".to_owned(),
            KeyKind::Duration => "a whole number with its unit: 250ms, 10s, 5m or 2h".to_owned(),
            KeyKind::LogLevel => "off, error, warn, info, debug or trace".to_owned(),
            KeyKind::CidrOrDhcp => "dhcp, or an IPv4 address with its prefix length, such as 192.0.2.1/24".to_owned(),
            KeyKind::Addresses => "addresses with commas between them, such as 192.0.2.1,192.0.2.2".to_owned(),
            KeyKind::Domains => "domains with commas between them, such as a.example,b.example".to_owned(),
            KeyKind::Routes => "routes with commas between them, such as 10.1.0.0/16=192.0.2.9".to_owned(),
            KeyKind::Ipv6Routes => "routes with commas between them, such as 2001:db8:1::/48=fe80::9".to_owned(),
            KeyKind::Ipv6 => "an IPv6 address such as 2001:db8::1".to_owned(),
            KeyKind::Cidr6OrAuto => {
                "auto, or an IPv6 address with its prefix length, such as 2001:db8::1/64".to_owned()
            }
        }
    }

    /// The word that stands for a value in comments of launch files.
    pub(crate) fn placeholder(self) -> &'static str {
        match self {
            KeyKind::Flag => "true|false",
            KeyKind::Integer { .. } => "NUMBER",
            KeyKind::Text => "TEXT",
            KeyKind::Port => "PORT",
            KeyKind::Ipv4 => "ADDRESS",
            KeyKind::Cidr => "ADDRESS/PREFIX",
            KeyKind::Duration => "TIME",
            KeyKind::LogLevel => "LEVEL",
            KeyKind::CidrOrDhcp => "ADDRESS/PREFIX|dhcp",
            KeyKind::Addresses => "ADDRESS,...",
            KeyKind::Domains => "DOMAIN,...",
            KeyKind::Routes | KeyKind::Ipv6Routes => "NETWORK/PREFIX=ROUTER,...",
            KeyKind::Ipv6 => "ADDRESS",
            KeyKind::Cidr6OrAuto => "ADDRESS/PREFIX|auto",
        }
    }

    /// Whether `text` is a value of this kind.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            KeyKind::Flag => matches!(text, "true" | "false"),
            KeyKind::Integer { min, max } => {
                text.parse::<i128>().is_ok_and(|number| i128::from(min) <= number && number <= i128::from(max))
            }
            KeyKind::Text => true,
            KeyKind::Port => text.parse::<u16>().is_ok_and(|port| port != 0),
            KeyKind::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            KeyKind::Cidr => accepts_cidr(text),
            KeyKind::CidrOrDhcp => text == "dhcp" || accepts_cidr(text),
            KeyKind::Addresses => text.split(',').all(|address| address.parse::<IpAddr>().is_ok()),
            KeyKind::Domains => text.split(',').all(|domain| {
                let is_fine = |letter: u8| letter.is_ascii_alphanumeric() || b"-_".contains(&letter);
                let domain = domain.strip_suffix('.').unwrap_or(domain);
                domain.len() < 254
                    && domain.split('.').all(|label| (1..64).contains(&label.len()) && label.bytes().all(is_fine))
            }),
            KeyKind::Routes => text.split(',').all(|route| {
                let parts = route.split_once('=');
                parts.is_some_and(|(to, via)| accepts_cidr(to) && via.parse::<Ipv4Addr>().is_ok())
            }),
            KeyKind::Ipv6Routes => text.split(',').all(|route| {
                let parts = route.split_once('=');
                parts.is_some_and(|(to, via)| accepts_cidr6(to) && via.parse::<Ipv6Addr>().is_ok())
            }),
            KeyKind::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            KeyKind::Cidr6OrAuto => text == "auto" || accepts_cidr6(text),
            KeyKind::Duration => accepts_duration(text),
            KeyKind::LogLevel => matches!(text, "off" | "error" | "warn" | "info" | "debug" | "trace"),
        }
    }
}

fn accepts_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, prefix)| {
        address.parse::<Ipv4Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| bits <= 32)
    })
}

fn accepts_cidr6(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, prefix)| {
        address.parse::<Ipv6Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|bits| bits <= 128)
    })
}

fn accepts_duration(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return false,
    };
    number.parse::<u64>().is_ok_and(|number| number.checked_mul(milliseconds).is_some())
}

mod sealed {
    pub trait Sealed {}
}

/// A type that a key can have. Implemented for `bool` (a flag), the integers, `String`, `Ipv4Addr`, [`Cidr`],
/// `Duration` and [`Port`].
pub trait KeyType: sealed::Sealed {
    /// What the runtime accepts.
    const KIND: KeyKind;
    /// The type of the field in the generated `Keys`, as a path that works in any crate.
    const FIELD: &'static str;
}

/// Marks a key as a port that the program serves: `u16` in the generated `Keys`, and known to launch files and to
/// `cargo run`, which forward it.
#[derive(Debug)]
pub enum Port {}

/// An IPv4 address with a prefix length: `mirage_rt::keys::Cidr` in the generated `Keys`.
#[derive(Debug)]
pub enum Cidr {}

/// A value that can be the default of a `Key<T>`.
pub trait DefaultFor<T: KeyType> {
    /// The value as a user would type it.
    fn text(self) -> String;
}

macro_rules! key_types {
    ($($type:ty: $kind:expr, $field:literal;)*) => {$(
        impl sealed::Sealed for $type {}
        impl KeyType for $type {
            const KIND: KeyKind = $kind;
            const FIELD: &'static str = $field;
        }
    )*};
}

key_types! {
    bool: KeyKind::Flag, "bool";
    String: KeyKind::Text, "::mirage_rt::glue::String";
    Ipv4Addr: KeyKind::Ipv4, "::core::net::Ipv4Addr";
    Cidr: KeyKind::Cidr, "::mirage_rt::keys::Cidr";
    Port: KeyKind::Port, "u16";
    Duration: KeyKind::Duration, "::core::time::Duration";
}

macro_rules! integer_key_types {
    ($($type:ty: $min:expr, $name:literal;)*) => {
        key_types! { $($type: KeyKind::Integer { min: $min, max: <$type>::MAX as u64 }, $name;)* }
        defaults! { $($type => $type,)* }
    };
}

macro_rules! defaults {
    ($($value:ty => $type:ty),* $(,)?) => {
        $(
            impl DefaultFor<$type> for $value {
                fn text(self) -> String {
                    self.to_string()
                }
            }
        )*
    };
}

// An image is for 64 bits, whatever the machine that builds it.
integer_key_types! {
    u8: 0, "u8";
    u16: 0, "u16";
    u32: 0, "u32";
    u64: 0, "u64";
    usize: 0, "usize";
    i8: i8::MIN as i64, "i8";
    i16: i16::MIN as i64, "i16";
    i32: i32::MIN as i64, "i32";
    i64: i64::MIN, "i64";
}

defaults! {
    bool => bool,
    u16 => Port,
    &str => String,
    String => String,
    &str => Ipv4Addr,
    Ipv4Addr => Ipv4Addr,
    &str => Cidr,
    &str => Duration,
}

impl DefaultFor<Duration> for Duration {
    fn text(self) -> String {
        format!("{}ms", self.as_millis())
    }
}

/// The declaration of one boot key.
///
/// Without [`default`](Key::default) and [`optional`](Key::optional) a key is required: the program does not start
/// unless it is given. A `Key<bool>` is a flag, whose default is false.
///
/// ```
/// use mirage_build::{Key, Port};
///
/// let port = Key::<Port>::new("port").default(8080).doc("TCP port to serve");
/// let peer = Key::<std::net::Ipv4Addr>::new("peer").optional().doc("Ask this server first");
/// # let _ = (port, peer);
/// ```
#[derive(Debug)]
#[must_use = "a key is declared by giving it to Config::key"]
pub struct Key<T> {
    pub(crate) declaration: KeyDeclaration,
    _type: PhantomData<fn() -> T>,
}

/// What a [`Key`] says, without its type parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyDeclaration {
    pub(crate) name: String,
    pub(crate) kind: KeyKind,
    pub(crate) field_type: &'static str,
    pub(crate) default: Option<String>,
    pub(crate) optional: bool,
    pub(crate) doc: String,
}

impl<T: KeyType> Key<T> {
    /// A key of this name: lower case letters, digits and single hyphens, starting with a letter. The field in `Keys`
    /// has underscores for the hyphens.
    pub fn new(name: impl Into<String>) -> Self {
        Key {
            declaration: KeyDeclaration {
                name: name.into(),
                kind: T::KIND,
                field_type: T::FIELD,
                default: None,
                optional: false,
                doc: String::new(),
            },
            _type: PhantomData,
        }
    }

    /// The value when the key is not given.
    pub fn default<D: DefaultFor<T>>(mut self, value: D) -> Self {
        self.declaration.default = Some(value.text());
        self
    }

    /// Makes the field an `Option`: `None` when the key is not given.
    pub fn optional(mut self) -> Self {
        self.declaration.optional = true;
        self
    }

    /// One sentence for `--help` and for the field's documentation.
    pub fn doc(mut self, text: impl Into<String>) -> Self {
        self.declaration.doc = text.into();
        self
    }
}
