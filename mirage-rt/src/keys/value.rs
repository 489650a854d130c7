//! Values of keys, and their text forms.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;
use core::time::Duration;

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Of [`KeyKind::Flag`](super::KeyKind::Flag).
    Flag(bool),
    /// Of [`KeyKind::Integer`](super::KeyKind::Integer) below 0.
    Negative(i64),
    /// Of [`KeyKind::Integer`](super::KeyKind::Integer) and [`KeyKind::Port`](super::KeyKind::Port).
    Number(u64),
    /// Of [`KeyKind::Text`](super::KeyKind::Text), and of kinds with several parts, which [`list`](super::read::list) takes apart.
    Text(String),
    /// Of [`KeyKind::Ipv4`](super::KeyKind::Ipv4).
    Ipv4(Ipv4Addr),
    /// Of [`KeyKind::Cidr`](super::KeyKind::Cidr).
    Cidr(Cidr),
    /// Of [`KeyKind::Duration`](super::KeyKind::Duration).
    Duration(Duration),
    /// Of [`KeyKind::LogLevel`](super::KeyKind::LogLevel).
    LogLevel(log::LevelFilter),
}

/// Why a text is not a value of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// Not a whole number within the bounds.
    Integer {
        /// The least value.
        min: i64,
        /// The greatest value.
        max: u64,
    },
    /// Not a value of another kind. The texts come with the functions that read values, so that an image has only those of the
    /// kinds it uses.
    Other {
        /// What to write instead: "write true or false".
        remedy: &'static str,
    },
}

impl fmt::Display for ValueError {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::Integer { min, max } => write!(f, "write a whole number from {min} to {max}"),
            ValueError::Other { remedy } => f.write_str(remedy),
        }
    }
}

impl core::error::Error for ValueError {}

/// An IPv4 address with the length of its network's prefix, written as 10.0.2.16/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

impl Cidr {
    /// `address` in a network whose first `prefix` bits are its number.
    ///
    /// # Errors
    ///
    /// [`CidrError::Prefix`] when `prefix` is above 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Result<Cidr, CidrError> {
        if prefix > 32 { Err(CidrError::Prefix) } else { Ok(Cidr { address, prefix }) }
    }

    /// As [`new`](Cidr::new), for a prefix that is known to be right.
    pub(crate) const fn of(address: Ipv4Addr, prefix: u8) -> Cidr {
        Cidr { address, prefix }
    }

    /// The address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Bits of the network's number, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `other` is in the same network.
    pub fn contains(self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other) & mask
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text is not a [`Cidr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CidrError {
    /// The part in front of the slash is not an address.
    Address,
    /// There is no slash.
    NoPrefix,
    /// The part behind the slash is not a number from 0 to 32.
    Prefix,
}

impl CidrError {
    /// What to write instead.
    pub fn remedy(self) -> &'static str {
        match self {
            CidrError::Address => "write an IPv4 address in front of the slash, as 10.0.2.16/24",
            CidrError::NoPrefix => "write the length of the network's prefix behind the address, as 10.0.2.16/24",
            CidrError::Prefix => "write a prefix length from 0 to 32, as 10.0.2.16/24",
        }
    }
}

impl fmt::Display for CidrError {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.remedy())
    }
}

impl core::error::Error for CidrError {}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or(CidrError::NoPrefix)?;
        let address = address.parse().map_err(|_| CidrError::Address)?;
        Cidr::new(address, prefix.parse().map_err(|_| CidrError::Prefix)?)
    }
}

/// The values of a boot, by key.
#[derive(Clone, Debug, Default)]
pub struct Values {
    values: Vec<(&'static str, Value)>,
}

impl Values {
    pub(super) fn insert(&mut self, name: &'static str, value: Value) {
        self.values.push((name, value));
    }

    /// The value of `name` as it was read.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The value of `name`, or `None` when it has none or one of another type.
    pub fn get<T: FromValue>(&self, name: &str) -> Option<T> {
        T::from_value(self.value(name)?)
    }
}

/// Types that a [`Value`] can become.
pub trait FromValue: Sized {
    /// The value as this type; `None` when it is of another kind or does not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $result:expr,)*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $pattern => $result,
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    bool: Value::Flag(flag) => Some(*flag),
    String: Value::Text(text) => Some(text.clone()),
    Ipv4Addr: Value::Ipv4(address) => Some(*address),
    Cidr: Value::Cidr(cidr) => Some(*cidr),
    Duration: Value::Duration(duration) => Some(*duration),
    log::LevelFilter: Value::LogLevel(level) => Some(*level),
}

macro_rules! integer_from_value {
    ($($type:ty)*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Number(number) => <$type>::try_from(*number).ok(),
                    Value::Negative(number) => <$type>::try_from(*number).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

integer_from_value!(u8 u16 u32 u64 usize i8 i16 i32 i64);
