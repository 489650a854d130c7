//! Reading texts as values, one function for each [`KeyKind`].
//!
//! Each function takes the kind that it is for and the text, and returns the value or, as error, what to write instead.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::{Cidr6, CidrError, KeyKind, Value, ValueError};
use crate::net::names::Name;
use crate::net::{StaticRoute, StaticRoute6};

fn other(remedy: &'static str) -> ValueError {
    ValueError::Other { remedy }
}

/// Reads `true` or `false`.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn flag(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    match text {
        "true" => Ok(Value::Flag(true)),
        "false" => Ok(Value::Flag(false)),
        _ => Err(other("write true or false")),
    }
}

/// Reads a whole number within the kind's bounds.
///
/// # Errors
///
/// [`ValueError::Integer`] with the bounds.
pub fn integer(kind: KeyKind, text: &str) -> Result<Value, ValueError> {
    let (min, max) = match kind {
        KeyKind::Integer { min, max } => (min, max),
        _ => (i64::MIN, u64::MAX),
    };
    match (text.parse::<u64>(), text.parse::<i64>()) {
        (Ok(number), _) if number <= max && i128::from(number) >= i128::from(min) => Ok(Value::Number(number)),
        (Err(_), Ok(number)) if number >= min => Ok(Value::Negative(number)),
        _ => Err(ValueError::Integer { min, max }),
    }
}

/// Reads any text.
///
/// # Errors
///
/// None.
pub fn text(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    Ok(Value::Text(text.to_string()))
}

/// Reads a port from 1 to 65535.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn port(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    match text.parse::<u16>() {
        Ok(port) if port != 0 => Ok(Value::Number(port.into())),
        _ => Err(other("write a port from 1 to 65535")),
    }
}

/// Reads an IPv4 address.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn ipv4(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    text.parse().map(Value::Ipv4).map_err(|_| other("write an IPv4 address, as 10.0.2.2"))
}

/// Reads an IPv4 address with its prefix.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn cidr(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    text.parse().map(Value::Cidr).map_err(|error| other(CidrError::remedy(error)))
}

/// Reads a time with its unit: ms, s, m or h.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn duration(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    const REMEDY: &str = "write a whole number with its unit, as 250ms, 10s, 5m or 2h";
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(other(REMEDY)),
    };
    let number = text.strip_suffix(unit).and_then(|digits| digits.parse::<u64>().ok());
    let total = number.and_then(|number| number.checked_mul(milliseconds)).ok_or(other(REMEDY))?;
    Ok(Value::Duration(Duration::from_millis(total)))
}

/// Reads a level of log messages.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn log_level(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    text.parse().map(Value::LogLevel).map_err(|_| other("write off, error, warn, info, debug or trace"))
}

/// Reads an IPv4 address with its prefix, or `dhcp`, which becomes a text.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn cidr_or_dhcp(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    if text == "dhcp" {
        return Ok(Value::Text(text.to_string()));
    }
    let remedy = "write dhcp, or an IPv4 address with the length of its network's prefix, as 10.0.2.16/24";
    text.parse().map(Value::Cidr).map_err(|_| other(remedy))
}

/// Reads an IPv6 address, which becomes a text.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn ipv6(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    match text.parse::<Ipv6Addr>() {
        Ok(_) => Ok(Value::Text(text.to_string())),
        Err(_) => Err(other("write an IPv6 address, as 2001:db8::1")),
    }
}

/// Reads an IPv6 address with its prefix, or `auto`; either becomes a text.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn cidr6_or_auto(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    let remedy = "write auto, or an IPv6 address with the length of its network's prefix, as 2001:db8::2/64";
    if text == "auto" || text.parse::<Cidr6>().is_ok() { Ok(Value::Text(text.to_string())) } else { Err(other(remedy)) }
}

/// Reads addresses with commas between them, which become a text that [`list`] takes apart.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn addresses(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    checked::<IpAddr>(text, "write addresses with commas between them, as 10.0.2.3,10.0.2.4")
}

/// Reads domains with commas between them, as [`addresses`] does.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn domains(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    checked::<Name>(text, "write domains with commas between them, as lan.example,example.org")
}

/// Reads routes with commas between them, as [`addresses`] does.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn routes(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    let remedy = "write routes with commas between them, each a network and its router, as 10.1.0.0/16=10.0.2.9";
    checked::<StaticRoute>(text, remedy)
}

/// Reads routes of IPv6 with commas between them, as [`addresses`] does.
///
/// # Errors
///
/// [`ValueError::Other`].
pub fn ipv6_routes(_: KeyKind, text: &str) -> Result<Value, ValueError> {
    let remedy = "write routes with commas between them, each a network and its router, as 2001:db8:1::/48=fe80::9";
    checked::<StaticRoute6>(text, remedy)
}

/// The parts of a text with commas between them; `None` when one is none.
pub fn list<T: core::str::FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|part| part.parse().ok()).collect()
}

fn checked<T: core::str::FromStr>(text: &str, remedy: &'static str) -> Result<Value, ValueError> {
    match list::<T>(text) {
        Some(_) => Ok(Value::Text(text.to_string())),
        None => Err(other(remedy)),
    }
}
