//! The frames between the lab and its agent in dom0.
//!
//! Both ends are built from this one file: the library includes it as a module, and the agent is compiled from the same
//! sources by the build script. A frame is a little-endian `u32` length of what follows, one byte for the kind, a `u32`
//! that says which request it belongs to, and the payload.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

/// The largest payload that either end sends or accepts.
pub const LARGEST_PAYLOAD: usize = 1 << 20;

/// The name of the virtio serial port that the frames travel on.
pub const PORT_NAME: &str = "mirage-lab.agent";

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// To the agent: run the payload, a shell script.
    Run = 1,
    /// To the agent: end the script of this request.
    Kill = 2,
    /// To the agent: send what the domain named by the payload prints.
    Follow = 3,
    /// To the agent: stop following.
    Unfollow = 4,
    /// To the agent: answer when the domain (payload: its number, `u32`) has stopped or is gone.
    Await = 5,
    /// To the agent: the state of every domain.
    Survey = 6,
    /// To the agent: the number of the domain named by the payload.
    Identify = 7,
    /// To the agent: ask for a page (payload: deadline in ms `u64`, then `address:port`, a zero byte, the path) until it is answered with 200.
    Probe = 8,
    /// To the agent: read the xenstore node named by the payload.
    StoreRead = 9,
    /// To the agent: write a xenstore node (payload: path, a zero byte, the value).
    StoreWrite = 10,
    /// To the agent: the state of every domain and the content of the files that the payload names, one a line.
    Sample = 11,
    /// To the agent: copy a file (payload: its path, a zero byte, the copy's).
    Copy = 12,
    /// To the agent: answer. The machine is interrupted by it, see the host's `Link::keep_awake`.
    Nudge = 13,

    /// From the agent: dom0 is up (payload: its clock).
    Ready = 64,
    /// From the agent: what a script wrote to its standard output.
    Output = 65,
    /// From the agent: what a script wrote to its standard error.
    ErrorOutput = 66,
    /// From the agent: a script ended (status `i32`, clock at its start and at its end `u64`).
    Ended = 67,
    /// From the agent: console output (clock `u64`, then the bytes).
    Console = 68,
    /// From the agent: states of domains, see [`DomainState`].
    States = 69,
    /// From the agent: an awaited domain stopped (clock `u64`, states, see [`Kind::States`], then its exit code node if it has one).
    Stopped = 70,
    /// From the agent: an answer (text).
    Answer = 71,
    /// From the agent: a request failed (text).
    Failed = 72,
    /// From the agent: a probed page was answered with 200 (clock `u64`, number of tries `u32`).
    Probed = 73,
    /// From the agent: a sample (clock `u64`, states, then for each file a zero byte and its content; nothing if it can't be read).
    Sampled = 74,
}

impl Kind {
    /// The kind with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        const ALL: [Kind; 24] = [
            Kind::Run,
            Kind::Kill,
            Kind::Follow,
            Kind::Unfollow,
            Kind::Await,
            Kind::Survey,
            Kind::Identify,
            Kind::Probe,
            Kind::StoreRead,
            Kind::StoreWrite,
            Kind::Sample,
            Kind::Copy,
            Kind::Nudge,
            Kind::Ready,
            Kind::Output,
            Kind::ErrorOutput,
            Kind::Ended,
            Kind::Console,
            Kind::States,
            Kind::Stopped,
            Kind::Answer,
            Kind::Failed,
            Kind::Probed,
            Kind::Sampled,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it means.
    pub kind: Kind,
    /// The request that it belongs to.
    pub request: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Writes the frame with one call, so that frames of several threads do not mix.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        if self.payload.len() > LARGEST_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame for dom0 is too long"));
        }
        let mut bytes = Vec::with_capacity(9 + self.payload.len());
        bytes.extend_from_slice(&(self.payload.len() as u32 + 5).to_le_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.request.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        to.write_all(&bytes)?;
        to.flush()
    }

    /// Reads the next frame. `UnexpectedEof` is the other end's end.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let [a, b, c, d, kind, e, f, g, h] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let kind = Kind::from_byte(kind);
        let (Some(kind), 5..) = (kind, length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown frame"));
        };
        if length - 5 > LARGEST_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
        }
        let mut payload = vec![0; length - 5];
        from.read_exact(&mut payload)?;
        Ok(Self { kind, request: u32::from_le_bytes([e, f, g, h]), payload })
    }
}

/// Takes the next 8 bytes off a payload.
pub fn take_u64(payload: &mut &[u8]) -> Option<u64> {
    let (head, rest) = payload.split_first_chunk::<8>()?;
    *payload = rest;
    Some(u64::from_le_bytes(*head))
}

/// Takes the next 4 bytes off a payload.
pub fn take_u32(payload: &mut &[u8]) -> Option<u32> {
    let (head, rest) = payload.split_first_chunk::<4>()?;
    *payload = rest;
    Some(u32::from_le_bytes(*head))
}

/// What Xen says of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainState {
    /// The domain's number.
    pub number: u32,
    /// Nanoseconds that its processors ran since it was created.
    pub cpu_ns: u64,
    /// Its memory in KiB.
    pub memory_kib: u64,
    /// The reason of its shutdown (Xen's `SHUTDOWN_*`), if it is shut down.
    pub shutdown: Option<u8>,
    /// Paused by the toolstack.
    pub paused: bool,
    /// Being torn down.
    pub dying: bool,
}

impl DomainState {
    /// One line of the helper in dom0: `number cpu_ns memory_kib shutdown paused dying`, shutdown is -1 while it runs.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let state = Self {
            number: words.next()?.parse().ok()?,
            cpu_ns: words.next()?.parse().ok()?,
            memory_kib: words.next()?.parse().ok()?,
            shutdown: match words.next()? {
                "-1" => None,
                reason => Some(reason.parse().ok()?),
            },
            paused: words.next()? != "0",
            dying: words.next()? != "0",
        };
        Some(state)
    }

    /// Reads a list of lines; those that are none are left out.
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::parse).collect()
    }
}

/// What went to an echo service and came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficReport {
    /// Connections that were opened.
    pub open: u64,
    /// Bytes that came back.
    pub bytes: u64,
    /// Pieces that came back.
    pub round_trips: u64,
    /// The longest that a piece took.
    pub longest: Duration,
}

impl TrafficReport {
    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [open, "connections", bytes, "bytes", round_trips, "round", "trips", "longest", longest, "us"] = words[..]
        else {
            return None;
        };
        Some(Self {
            open: open.parse().ok()?,
            bytes: bytes.parse().ok()?,
            round_trips: round_trips.parse().ok()?,
            longest: Duration::from_micros(longest.parse().ok()?),
        })
    }
}

impl fmt::Display for TrafficReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open, bytes, round_trips, longest } = self;
        write!(f, "{open} connections {bytes} bytes {round_trips} round trips longest {} us", longest.as_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::{DomainState, Frame, Kind, LARGEST_PAYLOAD, TrafficReport, take_u32, take_u64};
    use std::io::ErrorKind;
    use std::time::Duration;

    #[test]
    fn traffic_reports_read_back() {
        let report = TrafficReport { open: 4, bytes: 8192, round_trips: 2, longest: Duration::from_micros(1234) };
        assert_eq!(TrafficReport::parse(&report.to_string()), Some(report));
        assert_eq!(TrafficReport::parse("4 connections"), None);
    }

    #[test]
    fn frames_read_back() {
        let mut bytes = Vec::new();
        for (kind, payload) in
            [(Kind::Run, b"xl list".to_vec()), (Kind::Ready, Vec::new()), (Kind::Probed, vec![0; LARGEST_PAYLOAD])]
        {
            let frame = Frame { kind, request: 0x0102_0304, payload };
            bytes.clear();
            assert!(frame.write(&mut bytes).is_ok());
            assert_eq!(Frame::read(&mut bytes.as_slice()).ok(), Some(frame));
        }
        for cut in 0..bytes.len().min(20) {
            let error = Frame::read(&mut &bytes[..cut]).expect_err("it is cut");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let refused =
            |bytes: &[u8]| Frame::read(&mut &bytes[..]).is_err_and(|error| error.kind() == ErrorKind::InvalidData);
        assert!(refused(&[4, 0, 0, 0, Kind::Run as u8, 0, 0, 0, 0]), "shorter than its head");
        assert!(refused(&[5, 0, 0, 0, 0, 0, 0, 0, 0]), "no kind");
        assert!(refused(&[255, 255, 255, 255, Kind::Run as u8, 0, 0, 0, 0]), "longer than any");
        let long = Frame { kind: Kind::Run, request: 1, payload: vec![0; LARGEST_PAYLOAD + 1] };
        assert!(long.write(&mut Vec::new()).is_err());
    }

    #[test]
    fn numbers_are_taken_off_a_payload() {
        let mut payload: &[u8] = &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!((take_u32(&mut payload), take_u64(&mut payload), payload), (Some(1), Some(2), &[9][..]));
        assert_eq!((take_u32(&mut payload), take_u64(&mut payload)), (None, None));
    }

    #[test]
    fn states_of_domains_are_read() {
        let states = DomainState::parse_all("0 900 524288 -1 0 0\nnonsense\n7 20 4096 3 1 0\n");
        let crashed =
            DomainState { number: 7, cpu_ns: 20, memory_kib: 4096, shutdown: Some(3), paused: true, dying: false };
        assert_eq!(states.len(), 2);
        assert_eq!((states[0].shutdown, states[1]), (None, crashed));
    }
}
