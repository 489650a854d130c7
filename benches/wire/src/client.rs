//! The client's side of a connection: what it has sent and received, and nothing else. This wire loses nothing.

use crate::frame::{Received, Segment};
use crate::{Family, Server, counted};

/// Windows that the client offers are shifted by so many bits: 8 MiB.
const SHIFT: u8 = 7;
/// The first position of each of the client's streams.
const FIRST: u32 = 1000;

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Over which protocol it goes.
    pub family: Family,
    /// The client's port.
    pub port: u16,
    /// The next position that it sends.
    pub next: u32,
    /// The next one that it expects.
    pub expected: u32,
}

impl Client {
    /// Opens a connection over `family` from `port`.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn open(server: &mut impl Server, family: Family, port: u16) -> Client {
        let [high, low] = (family.segment() as u16).to_be_bytes();
        let options = [2, 4, high, low, 1, 3, 3, SHIFT, 1, 1, 4, 2];
        let syn =
            Segment { family, port, seq: FIRST, syn: true, window: u16::MAX, options: &options, ..Segment::default() };
        server.deliver(&syn.frame());
        counted(server);
        let mut answer = None;
        server.sent(&mut |frame| {
            let own = Received::parse(frame, false).filter(|segment| segment.port == port && segment.syn);
            answer = answer.or(own.map(|segment| segment.seq));
        });
        let isn = answer.unwrap_or_else(|| panic!("the server does not answer the SYN from port {port}"));
        let client = Client { family, port, next: FIRST + 1, expected: isn.wrapping_add(1) };
        server.deliver(&client.segment(&[]).frame());
        counted(server);
        client
    }

    /// The next segment, which acknowledges all that came.
    pub fn segment<'a>(&self, data: &'a [u8]) -> Segment<'a> {
        Segment {
            family: self.family,
            port: self.port,
            seq: self.next,
            ack: Some(self.expected),
            window: u16::MAX,
            data,
            ..Segment::default()
        }
    }

    /// Sends data.
    pub fn send(&mut self, server: &mut impl Server, data: &[u8]) {
        server.deliver(&self.segment(data).frame());
        self.next = self.next.wrapping_add(data.len() as u32);
    }

    /// Takes down what came.
    ///
    /// # Panics
    ///
    /// When it is not the next.
    pub fn take(&mut self, segment: &Received<'_>) {
        assert_eq!(segment.seq, self.expected, "nothing is lost on this wire");
        self.expected = self.expected.wrapping_add(segment.data.len() as u32);
    }
}
