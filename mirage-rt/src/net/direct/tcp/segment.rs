//! TCP segments as the demultiplexer sees them, and those without data that it sends itself.

use core::net::{IpAddr, SocketAddr};

use super::choice::EXTENDED;
use super::emit::{self, Fields, HEADER, Written};
use super::timestamps::Timestamp;
use crate::net::direct::hash::Keyed;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Route, TxMeta};

/// A position in a stream of bytes; compared by the sign of the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seq(pub u32);

impl Seq {
    pub fn add(self, bytes: u32) -> Seq {
        Seq(self.0.wrapping_add(bytes))
    }

    /// How far `self` is behind `earlier`, negative when it is in front.
    pub fn since(self, earlier: Seq) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

/// What tells connections apart, with its hash, so that this is computed once for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourTuple {
    hash: u32,
    /// The local port above, the remote one below.
    ports: u32,
    remote: Packed,
    local: Packed,
}

impl FourTuple {
    pub fn new(key: &Keyed, local: SocketAddr, remote: SocketAddr) -> FourTuple {
        let ports = u32::from(local.port()) << 16 | u32::from(remote.port());
        let mut tuple = FourTuple { hash: 0, ports, remote: pack(remote.ip()), local: pack(local.ip()) };
        tuple.hash = tuple.hash_for_table(key);
        tuple
    }

    /// One between addresses of IPv4; the local port stands above the remote one in `ports`.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn of_ipv4(key: &Keyed, local: u32, remote: u32, ports: u32) -> FourTuple {
        #[cfg(feature = "ipv6")]
        let packed = |address: u32| [0, 0xffff << 32 | u64::from(address)];
        #[cfg(not(feature = "ipv6"))]
        let packed = |address: u32| address;
        let mut tuple = FourTuple { hash: 0, ports, remote: packed(remote), local: packed(local) };
        tuple.hash = tuple.hash_for_table(key);
        tuple
    }

    /// One between addresses of IPv6, as [`of_ipv4`](Self::of_ipv4).
    #[cfg(all(feature = "ipv6", any(test, not(feature = "smoltcp-tcp"))))]
    #[inline(always)]
    pub fn of_ipv6(key: &Keyed, local: u128, remote: u128, ports: u32) -> FourTuple {
        let packed = |address: u128| [(address >> 64) as u64, address as u64];
        let mut tuple = FourTuple { hash: 0, ports, remote: packed(remote), local: packed(local) };
        tuple.hash = tuple.hash_for_table(key);
        tuple
    }

    /// Its addresses, the local one first, if they are of IPv4.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn ipv4(&self) -> Option<(u32, u32)> {
        #[cfg(feature = "ipv6")]
        return match (self.local, self.remote) {
            ([0, local], [0, remote]) if local >> 32 == 0xffff && remote >> 32 == 0xffff => {
                Some((local as u32, remote as u32))
            }
            _ => None,
        };
        #[cfg(not(feature = "ipv6"))]
        Some((self.local, self.remote))
    }

    /// The local port above, the remote one below.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn ports(&self) -> u32 {
        self.ports
    }

    #[cfg(feature = "ipv6")]
    #[inline(always)]
    fn hash_for_table(&self, key: &Keyed) -> u32 {
        let ([a, b], [c, d]) = (self.remote, self.local);
        // What a peer can't choose may be mixed in the cheap way: it is one of our few addresses.
        key.hash_words([a, b, u64::from(self.ports) ^ c ^ d.rotate_left(32)]) as u32
    }

    #[cfg(not(feature = "ipv6"))]
    #[inline(always)]
    fn hash_for_table(&self, key: &Keyed) -> u32 {
        key.hash_words([u64::from(self.remote) << 32 | u64::from(self.ports), self.local.into()]) as u32
    }

    /// Its hash with the key that it was made with.
    pub fn hash(&self) -> u64 {
        u64::from(self.hash)
    }

    /// Its hash with another key, for what others see.
    #[inline(never)]
    pub fn hash_with(&self, key: &Keyed) -> u64 {
        const ADDRESS: usize = size_of::<Packed>();
        let mut bytes = [0; 4 + 2 * ADDRESS];
        bytes[..4].copy_from_slice(&self.ports.to_le_bytes());
        bytes[4..4 + ADDRESS].copy_from_slice(&packed_bytes(self.remote));
        bytes[4 + ADDRESS..].copy_from_slice(&packed_bytes(self.local));
        key.signed(&bytes)
    }

    #[inline]
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(unpack(self.local), (self.ports >> 16) as u16)
    }

    #[inline]
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(unpack(self.remote), self.ports as u16)
    }

    /// As the other side sees it; the hash is not right then.
    #[cfg(any(test, feature = "smoltcp-tcp"))]
    pub fn reversed(&self) -> FourTuple {
        FourTuple { hash: 0, ports: self.ports.rotate_left(16), remote: self.local, local: self.remote }
    }
}

/// An address as it is kept: those of IPv4 as IPv6 has them (RFC 4291, 2.5.5.2), the upper half first; without IPv6 as they
/// are.
#[cfg(feature = "ipv6")]
type Packed = [u64; 2];
#[cfg(not(feature = "ipv6"))]
type Packed = u32;

#[cfg(feature = "ipv6")]
#[inline]
fn pack(address: IpAddr) -> Packed {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// There is no route to addresses of IPv6, and nothing comes from one.
#[cfg(not(feature = "ipv6"))]
#[inline]
fn pack(address: IpAddr) -> Packed {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(_) => 0,
    }
}

#[cfg(feature = "ipv6")]
#[inline]
fn unpack([high, low]: Packed) -> IpAddr {
    match (high, low >> 32) {
        (0, 0xffff) => IpAddr::V4(core::net::Ipv4Addr::from_bits(low as u32)),
        _ => IpAddr::V6(core::net::Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))),
    }
}

#[cfg(not(feature = "ipv6"))]
#[inline]
fn unpack(bits: Packed) -> IpAddr {
    IpAddr::V4(core::net::Ipv4Addr::from_bits(bits))
}

#[cfg(feature = "ipv6")]
fn packed_bytes([high, low]: Packed) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

#[cfg(not(feature = "ipv6"))]
fn packed_bytes(bits: Packed) -> [u8; 4] {
    bits.to_le_bytes()
}

/// The header of a received segment whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub tuple: FourTuple,
    pub seq: Seq,
    pub ack: Option<Seq>,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// The flags of explicit congestion notification (RFC 3168, 6.1).
    pub ece: bool,
    pub cwr: bool,
    pub window: u16,
    /// Bytes of data.
    pub length: u32,
    /// Bytes of the header, to find the options.
    header: usize,
}

impl Segment {
    /// Reads the header of `payload`, a packet from `source` to `destination`; `None` when it makes no sense.
    pub fn parse(key: &Keyed, source: IpAddr, destination: IpAddr, payload: &[u8]) -> Option<Segment> {
        let fixed = payload.first_chunk::<20>()?;
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let is_set = |flag: u8| fixed[13] & flag != 0;
        let (source, destination) = (SocketAddr::new(source, half(0)), SocketAddr::new(destination, half(2)));
        let (fin, syn, rst, ack) = (is_set(1), is_set(2), is_set(4), is_set(16));
        // Contradicting flags belong to no connection.
        if source.port() == 0 || destination.port() == 0 || syn && (fin || rst) || fin && rst {
            return None;
        }
        let header = 4 * usize::from(fixed[12] >> 4);
        if header < fixed.len() {
            return None;
        }
        Some(Segment {
            tuple: FourTuple::new(key, destination, source),
            seq: Seq(word(4)),
            ack: ack.then(|| Seq(word(8))),
            syn,
            fin,
            rst,
            ece: is_set(64),
            cwr: is_set(128),
            window: half(14),
            length: payload.len().checked_sub(header)? as u32,
            header,
        })
    }

    /// A segment with no flag but that it acknowledges, with a header of so many bytes.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn usual(tuple: FourTuple, seq: Seq, ack: Seq, window: u16, header: usize, length: u32) -> Segment {
        let (syn, fin, rst, ece, cwr) = (false, false, false, false, false);
        Segment { tuple, seq, ack: Some(ack), syn, fin, rst, ece, cwr, window, length, header }
    }

    /// The options of a SYN; `payload` is what [`parse`](Segment::parse) got.
    pub fn options(&self, payload: &[u8]) -> SynOptions {
        let mut found = SynOptions { ecn: EXTENDED && self.ece && self.cwr, ..SynOptions::default() };
        let mut options = payload.get(20..self.header).unwrap_or_default();
        while let Some((kind, rest)) = options.split_first() {
            match kind {
                0 => break,
                1 => options = rest,
                _ => {
                    let Some(length) = rest.first().map(|length| usize::from(*length)).filter(|length| *length >= 2)
                    else {
                        break;
                    };
                    let Some(data) = options.get(2..length) else { break };
                    found.take(*kind, data);
                    options = options.get(length..).unwrap_or_default();
                }
            }
        }
        found
    }

    /// How much of the sequence space the segment takes.
    pub fn span(&self) -> u32 {
        self.length + u32::from(self.syn) + u32::from(self.fin)
    }
}

/// What a SYN offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    pub mss: Option<u16>,
    pub window_shift: Option<u8>,
    pub sack: bool,
    pub stamp: Option<Timestamp>,
    /// Explicit congestion notification, which is offered by flags.
    pub ecn: bool,
}

/// Bytes of a segment that every host at such an address takes, for those that offer nothing (RFC 9293, 3.7.1).
pub fn default_mss(remote: IpAddr) -> u16 {
    if remote.is_ipv4() { 536 } else { 1220 }
}

impl SynOptions {
    fn take(&mut self, kind: u8, data: &[u8]) {
        match (kind, data) {
            (2, [high, low]) => self.mss = Some(u16::from_be_bytes([*high, *low])),
            // RFC 7323: no shift is larger than 14.
            (3, [shift]) => self.window_shift = Some((*shift).min(14)),
            (4, []) => self.sack = true,
            (8, _) if EXTENDED => {
                if let ([value, echo], []) = data.as_chunks::<4>() {
                    let [value, echo] = [value, echo].map(|bytes| u32::from_be_bytes(*bytes));
                    self.stamp = Some(Timestamp { value, echo });
                }
            }
            _ => {}
        }
    }
}

/// A segment without data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare {
    pub control: Control,
    pub seq: Seq,
    pub ack: Option<Seq>,
    pub window: u16,
    /// Sent with a SYN only, without the timestamp.
    pub options: SynOptions,
    pub stamp: Option<Timestamp>,
}

/// The flag of a segment without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    #[default]
    None,
    Syn,
    #[cfg(any(test, feature = "smoltcp-tcp"))]
    Fin,
    Rst,
}

/// Bytes of the longest such segment with its IP header.
pub const BARE_MOST: usize = header::MOST + 60;

impl Bare {
    /// Writes the packet, checksum left out, from the local to the remote side of `tuple`; its length.
    pub fn emit(&self, tuple: &FourTuple, packet: &mut [u8; BARE_MOST]) -> Option<usize> {
        let syn = self.control == Control::Syn;
        let mut flags = match self.control {
            Control::None => 0,
            Control::Syn => emit::SYN,
            #[cfg(any(test, feature = "smoltcp-tcp"))]
            Control::Fin => emit::FIN,
            Control::Rst => emit::RST,
        };
        if self.ack.is_some() {
            flags |= emit::ACK;
        }
        if EXTENDED && syn && self.options.ecn {
            // An answer takes the offer with one flag of its two (RFC 3168, 6.1.1).
            flags |= emit::ECE;
        }
        let mut options = Written::none();
        if syn {
            options.syn(&self.options);
        }
        if let Some(stamp) = self.stamp.filter(|_| EXTENDED) {
            options.timestamp(stamp);
        }
        let length = header::length(tuple.remote().ip()) + HEADER + options.length();
        let fields = Fields { seq: self.seq, ack: self.ack.unwrap_or_default(), flags, window: self.window };
        fields.write(tuple, packet.get_mut(..length)?, options.bytes(), 0)?;
        Some(length)
    }

    /// Sends the segment; it is dropped when there are no pages.
    pub fn send(&self, tuple: &FourTuple, out: &mut dyn IpOut) {
        let Some(route) = out.route(tuple.remote().ip()) else { return };
        self.send_by(&route, tuple, out);
    }

    fn send_by(&self, route: &Route, tuple: &FourTuple, out: &mut dyn IpOut) {
        let mut bytes = [0; BARE_MOST];
        let (Some(length), Some(mut packet)) = (self.emit(tuple, &mut bytes), out.alloc()) else { return };
        packet.resize_head(length).copy_from_slice(&bytes[..length]);
        out.send(route, packet, TxMeta { fill_checksum: true, segment: None });
    }

    /// The answer to a segment that belongs to no connection (RFC 9293, 3.5.2); `None` to a reset.
    pub fn reset_for(segment: &Segment) -> Option<Bare> {
        if segment.rst {
            return None;
        }
        Some(match segment.ack {
            Some(ack) => Bare { control: Control::Rst, seq: ack, ..Bare::default() },
            None => Bare { control: Control::Rst, ack: Some(segment.seq.add(segment.span())), ..Bare::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_segment_is_read_as_written() {
        let key = Keyed::new([1, 2]);
        let (local, remote) = (SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], 4000)));
        let tuple = FourTuple::new(&key, local, remote);
        assert_eq!((tuple.local(), tuple.remote()), (local, remote));
        let options = SynOptions { mss: Some(1460), window_shift: Some(3), sack: true, stamp: None, ecn: false };
        let stamp = Some(Timestamp { value: 70_000, echo: 80_000 });
        let bare = Bare { control: Control::Syn, seq: Seq(7), ack: Some(Seq(9)), window: 500, options, stamp };
        let mut bytes = [0; BARE_MOST];
        let length = bare.emit(&tuple, &mut bytes).expect("an IPv4 tuple");
        let payload = &bytes[header::length(remote.ip())..length];
        let segment = Segment::parse(&key, local.ip(), remote.ip(), payload).expect("a segment");
        assert_eq!(segment.tuple, FourTuple::new(&key, remote, local));
        assert_eq!((segment.seq, segment.ack, segment.window), (Seq(7), Some(Seq(9)), 500));
        assert_eq!((segment.syn, segment.fin, segment.rst, segment.length), (true, false, false, 0));
        assert_eq!(segment.options(payload), SynOptions { stamp, ..options });
    }

    #[test]
    fn positions_compare_across_the_wrap() {
        assert!(Seq(3).since(Seq(u32::MAX - 3)) > 0);
        assert!(Seq(u32::MAX - 3).since(Seq(3)) < 0);
    }
}
