//! The words of scripts: what arrives, what must leave, and when. Positions count from 0 at each side's SYN; times are
//! milliseconds.

use alloc::format;
use alloc::string::String;

use super::*;
use crate::net::direct::tcp::emit::{self, Fields, Written};
use crate::net::direct::tcp::own::emit::Header;
use crate::net::direct::tcp::own::sequence::Range;
use crate::net::direct::tcp::timestamps::Timestamp;

pub const OURS: Seq = Seq(u32::MAX - 1500);
pub const PEERS: Seq = Seq(0x7fff_f000);

/// A machine with one connection.
pub struct Script {
    pub machine: OwnTcp,
    pub out: Kept,
    pub now: Instant,
    pub deadline: Option<Instant>,
    pub left: Vec<String>,
    pub words: Words,
}

impl Script {
    pub fn new(receive: usize) -> Script {
        // Just so much that buffers are not larger than they must be.
        Script::with(Buffers { receive, send: 100_000, budget: 8 * receive })
    }

    /// A machine with such buffers.
    pub fn with(buffers: Buffers) -> Script {
        let machine = OwnTcp::new(Paths::of(1500, 0), buffers, CongestionControl::NewReno, KEY);
        Script {
            machine,
            out: Kept::new(4000),
            now: Instant::ZERO,
            deadline: None,
            left: Vec::new(),
            words: Words::new(),
        }
    }

    /// An open connection whose peer has offered these options.
    pub fn open(options: SynOptions, window: u16) -> Script {
        let mut script = Script::new(60_000);
        script.establish(options, window);
        script
    }

    /// Makes the connection, with a peer that has offered these options.
    pub fn establish(&mut self, options: SynOptions, window: u16) -> &mut Script {
        let clock = options.stamp.and_then(|_| self.machine.clock(&tuple()));
        self.words.clock = clock;
        let handshake = Handshake {
            tuple: tuple(),
            isn: OURS,
            peer_isn: PEERS,
            options,
            window,
            sent: Instant::ZERO,
            repeated: false,
            clock,
        };
        self.machine.establish(self.now, ID, &handshake).expect("there is memory");
        self.hears(&format!("1:1 ack 1 win {window}")).sends(&[])
    }

    pub fn with_sack() -> Script {
        Script::open(SynOptions { mss: Some(1000), window_shift: Some(0), sack: true, ..SynOptions::default() }, 60_000)
    }

    pub fn without_sack() -> Script {
        Script::open(SynOptions { mss: Some(1000), ..SynOptions::default() }, 60_000)
    }

    pub fn run(&mut self) {
        let progress = self.machine.run(self.now, ID, &mut self.out);
        self.deadline = progress.deadline;
        let now = (self.now - Instant::ZERO).as_millis();
        for packet in self.out.cut_packets() {
            self.left.push(format!("{now} {}", self.words.describe(&packet)));
        }
    }

    /// Lets time pass.
    pub fn until(&mut self, milliseconds: u64) -> &mut Script {
        let end = Instant::from_nanos(milliseconds * 1_000_000);
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.run();
        }
        self.now = end;
        self
    }

    pub fn hears(&mut self, text: &str) -> &mut Script {
        self.hears_at_once(&[text])
    }

    /// Several segments that come together: nothing leaves between them.
    pub fn hears_at_once(&mut self, texts: &[&str]) -> &mut Script {
        texts.iter().for_each(|text| self.takes(text));
        self.run();
        self
    }

    fn takes(&mut self, text: &str) {
        let packet = self.words.peers(text);
        let segment = parse(&tuple().reversed(), &packet);
        // As the demultiplexer does it.
        if self.machine.predict(self.now, ID, &packet, &segment).is_none() {
            self.machine.on_segment(self.now, ID, &packet, &segment, &mut self.out);
        }
    }

    pub fn writes(&mut self, length: usize) -> &mut Script {
        assert_eq!(self.machine.write(ID, &alloc::vec![7; length]), length);
        self.run();
        self
    }

    pub fn reads(&mut self, length: usize) -> &mut Script {
        assert_eq!(self.machine.read(ID, &mut alloc::vec![0; length]), length);
        self.run();
        self
    }

    pub fn shuts(&mut self) -> &mut Script {
        self.machine.shutdown(ID);
        self.run();
        self
    }

    /// Exactly this has left since the last time.
    pub fn sends(&mut self, expected: &[&str]) -> &mut Script {
        assert_eq!(core::mem::take(&mut self.left), expected);
        self
    }

    pub fn is(&mut self, state: State) -> &mut Script {
        assert_eq!(self.machine.state(ID), state);
        self
    }
}

/// How packets are told in words.
pub struct Words {
    pub tuple: FourTuple,
    /// The position of our SYN.
    pub ours: Seq,
    /// Where our clock starts, when timestamps are told.
    pub clock: Option<u32>,
}

impl Words {
    pub fn new() -> Words {
        Words { tuple: tuple(), ours: OURS, clock: None }
    }

    /// Our packet in words.
    pub fn describe(&self, packet: &[u8]) -> String {
        let segment = parse(&self.tuple, packet);
        let at = |seq: Seq| seq.0.wrapping_sub(self.ours.0);
        let mut text = String::new();
        let flags = [(segment.syn, "S "), (segment.fin, "F "), (segment.rst, "R ")];
        for (flag, name) in flags.into_iter().chain([(segment.ece, "E "), (segment.cwr, "C ")]) {
            text += if flag { name } else { "" };
        }
        text += &format!("{}:{}", at(segment.seq), at(segment.seq.add(segment.span())));
        if let Some(ack) = segment.ack {
            text += &format!(" ack {}", ack.0.wrapping_sub(PEERS.0));
        }
        let header = 4 * usize::from(packet[32] >> 4);
        let options = Options::parse(&packet[40..20 + header]);
        for block in options.sacks() {
            text += &format!(" sack {}:{}", block.start.0.wrapping_sub(PEERS.0), block.end.0.wrapping_sub(PEERS.0));
        }
        text += if packet[1] & 3 == 2 { " ect" } else { "" };
        if let (Some(clock), Some(stamp)) = (self.clock, options.timestamp) {
            text += &format!(" ts {}:{}", stamp.value.wrapping_sub(clock), stamp.echo);
        }
        text
    }

    /// A packet of the peer from words: `S`, `F`, `R`, `E`, `C`, `from:to`, `ack`, `win`, `sack from:to`, `ts value:echo`, and `ce`
    /// for one that a router has marked.
    pub fn peers(&self, text: &str) -> Vec<u8> {
        let fields = Fields { seq: PEERS, ack: Seq(0), flags: 0, window: 60_000 };
        let mut header = Header { fields, options: Written::none(), ect: false };
        let (mut length, mut marked, mut blocks) = (0, false, Vec::new());
        let number = |word: &str| word.parse::<u32>().expect("a number");
        let pair = |word: &str| word.split_once(':').map(|(one, other)| (number(one), number(other))).expect("a pair");
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let mut next = || words.next().expect("another word");
            match word {
                "S" => header.fields.flags |= emit::SYN,
                "F" => header.fields.flags |= emit::FIN,
                "R" => header.fields.flags |= emit::RST,
                "E" => header.fields.flags |= emit::ECE,
                "C" => header.fields.flags |= emit::CWR,
                "ce" => marked = true,
                "ack" => {
                    header.fields.flags |= emit::ACK;
                    header.fields.ack = self.ours.add(number(next()));
                }
                "win" => header.fields.window = number(next()) as u16,
                "sack" => {
                    let (start, end) = pair(next());
                    blocks.push(Range { start: self.ours.add(start), end: self.ours.add(end) });
                }
                "ts" => {
                    let (value, echo) = pair(next());
                    let echo = echo.wrapping_add(self.clock.unwrap_or(0));
                    header.options.timestamp(Timestamp { value, echo });
                }
                "syn-options" => {
                    header.options.syn(&SynOptions {
                        mss: Some(1000),
                        window_shift: Some(2),
                        sack: true,
                        ..SynOptions::default()
                    });
                }
                range => {
                    let (start, end) = pair(range);
                    header.fields.seq = PEERS.add(start);
                    length = (end - start - (header.fields.flags & (emit::FIN | emit::SYN)).count_ones()) as usize;
                }
            }
        }
        header.options.sacks(blocks.into_iter());
        let mut kept = Kept::new(4000);
        let route = kept.route(self.tuple.local().ip()).expect("all are reached");
        let data = alloc::vec![9; length];
        let reversed = self.tuple.reversed();
        header.send(&reversed, [&data, &[]], 9000, &route, &mut kept).expect("there are pages");
        let mut packet = kept.cut_packets().remove(0);
        packet[1] |= if marked { 3 } else { 0 };
        packet
    }
}
