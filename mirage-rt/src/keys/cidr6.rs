//! IPv6 addresses with their networks.

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

/// An IPv6 address with the length of its network's prefix, written as 2001:db8::2/64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr6 {
    address: Ipv6Addr,
    prefix: u8,
}

impl Cidr6 {
    /// `address` in a network whose first `prefix` bits are its number.
    ///
    /// # Errors
    ///
    /// [`Cidr6Error::Prefix`] when `prefix` is above 128.
    pub fn new(address: Ipv6Addr, prefix: u8) -> Result<Cidr6, Cidr6Error> {
        if prefix > 128 { Err(Cidr6Error::Prefix) } else { Ok(Cidr6 { address, prefix }) }
    }

    /// The address.
    pub fn address(self) -> Ipv6Addr {
        self.address
    }

    /// Bits of the network's number, 0 to 128.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `other` is in the same network.
    pub fn contains(self, other: Ipv6Addr) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        self.address.to_bits() & mask == other.to_bits() & mask
    }
}

impl fmt::Display for Cidr6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text is not a [`Cidr6`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cidr6Error {
    /// The part in front of the slash is not an address.
    Address,
    /// There is no slash.
    NoPrefix,
    /// The part behind the slash is not a number from 0 to 128.
    Prefix,
}

impl Cidr6Error {
    /// What to write instead.
    pub fn remedy(self) -> &'static str {
        match self {
            Cidr6Error::Address => "write an IPv6 address in front of the slash, as 2001:db8::2/64",
            Cidr6Error::NoPrefix => "write the length of the network's prefix behind the address, as 2001:db8::2/64",
            Cidr6Error::Prefix => "write a prefix length from 0 to 128, as 2001:db8::2/64",
        }
    }
}

impl fmt::Display for Cidr6Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.remedy())
    }
}

impl core::error::Error for Cidr6Error {}

impl FromStr for Cidr6 {
    type Err = Cidr6Error;

    fn from_str(text: &str) -> Result<Cidr6, Cidr6Error> {
        let (address, prefix) = text.split_once('/').ok_or(Cidr6Error::NoPrefix)?;
        let address = address.parse().map_err(|_| Cidr6Error::Address)?;
        Cidr6::new(address, prefix.parse().map_err(|_| Cidr6Error::Prefix)?)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn networks_are_read_and_know_who_is_in_them() {
        let network: Cidr6 = "2001:db8:0:7::2/64".parse().expect("a network");
        let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address");
        assert!(network.contains(address("2001:db8:0:7:ffff::")) && !network.contains(address("2001:db8:0:8::2")));
        assert!(Cidr6::new(address("::"), 0).expect("a prefix").contains(address("2001:db8::1")));
        assert!(!Cidr6::new(address("::1"), 128).expect("a prefix").contains(address("::2")));
        assert_eq!(network.to_string(), "2001:db8:0:7::2/64");
        for (text, error) in
            [("10.0.0.1/8", Cidr6Error::Address), ("::1", Cidr6Error::NoPrefix), ("::1/129", Cidr6Error::Prefix)]
        {
            assert_eq!(text.parse::<Cidr6>(), Err(error));
        }
    }
}
