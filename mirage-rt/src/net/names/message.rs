//! Messages: questions to a server, and what its answers say (RFC 1035, section 4; RFC 6891 for EDNS; RFC 2308 for what is
//! not there).
//!
//! The formats are smoltcp's. What is added here: bounds on the work for a message, which its sender could otherwise make
//! large; the check that an answer belongs to the question; and aliases.

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::wire::{
    DnsFlags, DnsOpcode, DnsPacket, DnsQueryType, DnsQuestion, DnsRcode, DnsRecord, DnsRecordData, DnsRepr,
};

use super::name::Name;

/// Bytes of the longest message that is looked at.
pub const LONGEST: usize = 8192;
/// Records of an answer that are looked at; what stands behind them is not.
const MOST_RECORDS: usize = 64;
/// Addresses of a name that are kept.
pub const MOST_ADDRESSES: usize = 16;
/// Names that a name may be an alias for, one after the other.
pub const MOST_ALIASES: usize = 8;
/// Bytes of the record that says which messages we take.
const OPT: usize = 11;

/// A kind of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4: records of type A.
    V4,
    /// IPv6: records of type AAAA.
    V6,
}

impl Family {
    fn query_type(self) -> DnsQueryType {
        match self {
            Family::V4 => DnsQueryType::A,
            Family::V6 => DnsQueryType::Aaaa,
        }
    }
}

/// What is asked: the addresses of one kind of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The kind.
    pub family: Family,
}

impl Question {
    /// The message that asks this with the number `id`. With `edns`, it says that answers of so many bytes can be received
    /// in one datagram.
    pub fn message(&self, id: u16, edns: Option<u16>) -> Vec<u8> {
        let name = self.name.to_wire();
        let repr = DnsRepr {
            transaction_id: id,
            opcode: DnsOpcode::Query,
            flags: DnsFlags::RECURSION_DESIRED,
            question: DnsQuestion { name: &name, type_: self.family.query_type() },
        };
        let mut bytes = Vec::with_capacity(repr.buffer_len() + OPT);
        bytes.resize(repr.buffer_len(), 0);
        let mut packet = DnsPacket::new_unchecked(&mut bytes[..]);
        repr.emit(&mut packet);
        if let Some(size) = edns {
            packet.set_additional_record_count(1);
            // The root's name, type OPT, the size in the place of a class, no flags, no options.
            let [high, low] = size.to_be_bytes();
            bytes.extend_from_slice(&[0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
        }
        bytes
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The answer did not fit a datagram.
    Truncated,
    /// The name has addresses.
    Addresses {
        /// Them, no more than [`MOST_ADDRESSES`].
        addresses: Vec<IpAddr>,
        /// Seconds for which that holds.
        ttl: u32,
    },
    /// The name is another one's alias, of which the server says nothing more.
    Alias {
        /// The other name.
        target: Name,
        /// Steps from the one to the other.
        steps: usize,
        /// Seconds for which that holds.
        ttl: u32,
    },
    /// There is no such name.
    NoSuchName {
        /// Seconds for which that holds, when the server says.
        ttl: Option<u32>,
    },
    /// The name has no addresses of this kind.
    NoAddress {
        /// Seconds for which that holds, when the server says.
        ttl: Option<u32>,
    },
    /// The server did not understand the question: older ones do not know EDNS.
    FormatError,
    /// The server can't or won't answer: the code (RFC 1035, 4.1.1; 2 is a failure, 5 a refusal).
    Failed(u8),
}

/// Why a message says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Useless {
    /// It is no answer to this question: one to an earlier question, or a forgery (RFC 5452, section 9.1).
    Foreign,
    /// It belongs to the question, and can't be read or makes no sense.
    Malformed,
}

impl From<smoltcp::wire::Error> for Useless {
    fn from(_: smoltcp::wire::Error) -> Useless {
        Useless::Malformed
    }
}

/// Reads an answer to `question`, which was asked with the number `id`.
///
/// # Errors
///
/// See [`Useless`].
pub fn read(message: &[u8], id: u16, question: &Question) -> Result<Reply, Useless> {
    let packet = DnsPacket::new_checked(message).map_err(|_| Useless::Foreign)?;
    let flags = packet.flags();
    if packet.transaction_id() != id
        || !flags.contains(DnsFlags::RESPONSE)
        || packet.opcode() != DnsOpcode::Query
        || message.len() > LONGEST
    {
        return Err(Useless::Foreign);
    }
    let code = packet.rcode();
    // A server that could not read the question may leave it out.
    if code == DnsRcode::FormErr && packet.question_count() == 0 {
        return Ok(Reply::FormatError);
    }
    let records = own_question(&packet, question).ok_or(Useless::Foreign)?;
    match code {
        _ if flags.contains(DnsFlags::TRUNCATED) => Ok(Reply::Truncated),
        DnsRcode::NoError | DnsRcode::NXDomain => answer(&packet, records, question, code),
        DnsRcode::FormErr => Ok(Reply::FormatError),
        code => Ok(Reply::Failed(code.into())),
    }
}

/// What stands behind the question, when it is ours.
fn own_question<'a>(packet: &'a DnsPacket<&'a [u8]>, question: &Question) -> Option<&'a [u8]> {
    if packet.question_count() != 1 {
        return None;
    }
    let (records, asked) = DnsQuestion::parse(packet.payload()).ok()?;
    let is_it = asked.type_ == question.family.query_type() && name(packet, asked.name).ok()? == question.name;
    is_it.then_some(records)
}

/// A record of an answer that matters.
struct Found {
    owner: Name,
    ttl: u32,
    data: Data,
}

enum Data {
    Alias(Name),
    Address(IpAddr),
}

fn answer(packet: &DnsPacket<&[u8]>, records: &[u8], question: &Question, code: DnsRcode) -> Result<Reply, Useless> {
    let (found, rest) = found(packet, records, question.family)?;
    let (target, steps, alias_ttl) = follow(&found, &question.name)?;
    let mut addresses = Vec::new();
    let mut ttl = alias_ttl;
    for record in &found {
        if let Data::Address(address) = record.data
            && record.owner == *target
            && addresses.len() < MOST_ADDRESSES
            && !addresses.contains(&address)
        {
            addresses.push(address);
            ttl = ttl.min(record.ttl);
        }
    }
    if !addresses.is_empty() {
        return Ok(Reply::Addresses { addresses, ttl });
    }
    let negative = rest.and_then(|rest| negative_ttl(packet, rest)).map(|negative| negative.min(alias_ttl));
    Ok(match code {
        DnsRcode::NXDomain => Reply::NoSuchName { ttl: negative },
        // A server that has the end of the chain says so with a record of its zone.
        _ if steps > 0 && negative.is_none() => Reply::Alias { target: target.clone(), steps, ttl: alias_ttl },
        _ => Reply::NoAddress { ttl: negative },
    })
}

/// The records of the answer that matter, and what stands behind the answer, when all of it was looked at.
fn found<'a>(
    packet: &DnsPacket<&[u8]>,
    mut records: &'a [u8],
    family: Family,
) -> Result<(Vec<Found>, Option<&'a [u8]>), Useless> {
    let count = usize::from(packet.answer_record_count());
    let mut found = Vec::new();
    for _ in 0..count.min(MOST_RECORDS) {
        let (rest, record) = DnsRecord::parse(records)?;
        records = rest;
        let data = match (record.data, family) {
            (DnsRecordData::A(address), Family::V4) => Data::Address(address.into()),
            // smoltcp has a variant of its own for these when it is built with IPv6.
            #[cfg(feature = "ipv6")]
            (DnsRecordData::Aaaa(address), Family::V6) => Data::Address(address.into()),
            #[cfg(not(feature = "ipv6"))]
            (DnsRecordData::Other(DnsQueryType::Aaaa, bytes), Family::V6) => {
                let bytes: [u8; 16] = bytes.try_into().map_err(|_| Useless::Malformed)?;
                Data::Address(core::net::Ipv6Addr::from(bytes).into())
            }
            (DnsRecordData::Cname(bytes), _) => Data::Alias(name(packet, bytes)?),
            _ => continue,
        };
        found.push(Found { owner: name(packet, record.name)?, ttl: sound_ttl(record.ttl), data });
    }
    Ok((found, (count <= MOST_RECORDS).then_some(records)))
}

/// Where the aliases of the answer lead from `start`, the number of steps, and the seconds for which they hold.
fn follow<'a>(found: &'a [Found], start: &'a Name) -> Result<(&'a Name, usize, u32), Useless> {
    let (mut name, mut ttl) = (start, u32::MAX);
    for step in 0..=MOST_ALIASES {
        let alias = found.iter().find_map(|record| match &record.data {
            Data::Alias(target) if record.owner == *name => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, seconds)) = alias else { return Ok((name, step, ttl)) };
        name = target;
        ttl = ttl.min(seconds);
    }
    // A loop, or nearly one.
    Err(Useless::Malformed)
}

/// For how many seconds it holds that something is not there: what the zone's SOA record says (RFC 2308, section 5).
fn negative_ttl(packet: &DnsPacket<&[u8]>, mut records: &[u8]) -> Option<u32> {
    for _ in 0..usize::from(packet.authority_record_count()).min(MOST_RECORDS) {
        let (rest, record) = DnsRecord::parse(records).ok()?;
        records = rest;
        if let DnsRecordData::Other(DnsQueryType::Soa, data) = record.data {
            // Two names, then five numbers, of which the last one is meant.
            let minimum = data.last_chunk().filter(|_| data.len() >= 2 + 5 * 4)?;
            return Some(sound_ttl(record.ttl).min(sound_ttl(u32::from_be_bytes(*minimum))));
        }
    }
    None
}

/// Numbers above what 31 bits hold mean 0 (RFC 2181, section 8).
fn sound_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// The name whose first part is `part`.
fn name(packet: &DnsPacket<&[u8]>, part: &[u8]) -> Result<Name, Useless> {
    let mut name = Name::ROOT;
    for label in packet.parse_name(part) {
        name.push(label?).map_err(|_| Useless::Malformed)?;
    }
    Ok(name)
}
