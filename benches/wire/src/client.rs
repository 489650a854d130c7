//! The client's side of a connection: what it has sent and received, and nothing else. This wire loses nothing.

use crate::frame::{Received, Segment};
use crate::{CLIENT, CLIENT_MAC, SEGMENT, SERVER, Server, counted};

/// Windows that the client offers are shifted by so many bits: 8 MiB.
const SHIFT: u8 = 7;
/// The first position of each of the client's streams.
const FIRST: u32 = 1000;

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The client's port.
    pub port: u16,
    /// The next position that it sends.
    pub next: u32,
    /// The next one that it expects.
    pub expected: u32,
}

impl Client {
    /// Opens a connection from `port`.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn open(server: &mut impl Server, port: u16) -> Client {
        let [high, low] = (SEGMENT as u16).to_be_bytes();
        let options = [2, 4, high, low, 1, 3, 3, SHIFT, 1, 1, 4, 2];
        let syn = Segment { port, seq: FIRST, syn: true, window: u16::MAX, options: &options, ..Segment::default() };
        server.deliver(&syn.frame());
        counted(server);
        let mut answer = None;
        server.sent(&mut |frame| {
            let own = Received::parse(frame, false).filter(|segment| segment.port == port && segment.syn);
            answer = answer.or(own.map(|segment| segment.seq));
        });
        let isn = answer.unwrap_or_else(|| panic!("the server does not answer the SYN from port {port}"));
        let client = Client { port, next: FIRST + 1, expected: isn.wrapping_add(1) };
        server.deliver(&client.segment(&[]).frame());
        counted(server);
        client
    }

    /// The next segment, which acknowledges all that came.
    pub fn segment<'a>(&self, data: &'a [u8]) -> Segment<'a> {
        Segment {
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

/// The client's ARP request for the server's address: from then on the server knows the client's.
pub fn arp() -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend([0xff; 6]);
    frame.extend(CLIENT_MAC);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(CLIENT_MAC);
    frame.extend(CLIENT.octets());
    frame.extend([0; 6]);
    frame.extend(SERVER.octets());
    frame
}
