//! A name server for tests: it answers what a function says, 10 ms after it was asked, and remembers what it was asked.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;

use crate::net::names::{Name, PORT};
use crate::net::{Network, TcpStream};
use crate::runtime::{now, spawn};
use crate::time::{Duration, Instant, sleep};

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
/// How long an answer takes.
pub const DELAY: Duration = Duration::from_millis(10);

/// A question that came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub at: Instant,
    pub from: SocketAddr,
    pub by_stream: bool,
    pub id: u16,
    pub name: String,
    pub kind: u16,
    /// The size of datagrams that the asker takes.
    pub edns: Option<u16>,
    question: Vec<u8>,
}

/// The messages that are sent back to a question.
pub type Answers = Rc<dyn Fn(&Asked) -> Vec<Vec<u8>>>;

/// What a server was asked so far.
pub type Log = Rc<RefCell<Vec<Asked>>>;

impl Asked {
    /// Reads a question; what is no question fails the test.
    pub fn read(message: &[u8], from: SocketAddr, by_stream: bool, at: Instant) -> Asked {
        let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        assert_eq!(number(2), 0x0100, "a question, recursion desired, nothing else");
        assert_eq!((number(4), number(6), number(8)), (1, 0, 0), "one question, no answers");
        let (mut place, mut name) = (12, Name::ROOT);
        while message[place] != 0 {
            let end = place + 1 + usize::from(message[place]);
            name.push(&message[place + 1..end]).expect("a label");
            place = end;
        }
        let end = place + 5;
        assert_eq!(number(place + 3), 1, "class IN");
        let edns = match number(10) {
            0 => None,
            1 => {
                assert_eq!(message.len(), end + 11);
                assert_eq!((message[end], number(end + 1)), (0, 41), "the root's, OPT");
                assert_eq!(message[end + 5..], [0; 6], "version 0, no flags, no options");
                Some(number(end + 3))
            }
            more => panic!("{more} additional records"),
        };
        assert!(edns.is_some() || message.len() == end);
        Asked {
            at,
            from,
            by_stream,
            id: number(0),
            name: name.to_string(),
            kind: number(place + 1),
            edns,
            question: message[12..end].to_vec(),
        }
    }

    /// An answer to be filled.
    pub fn answer(&self) -> Answer {
        Answer { id: self.id, flags: 0x8180, question: self.question.clone(), counts: [0; 2], records: Vec::new() }
    }
}

/// An answer, with records of the answer section first.
#[derive(Clone)]
pub struct Answer {
    pub id: u16,
    pub flags: u16,
    pub question: Vec<u8>,
    counts: [u16; 2],
    records: Vec<u8>,
}

fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().expect("a good name").to_wire()
}

impl Answer {
    fn record(mut self, section: usize, owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Answer {
        self.counts[section] += 1;
        // The question's own name is written as a pointer to it.
        let name =
            if wire(owner)[..] == self.question[..self.question.len() - 4] { vec![0xC0, 12] } else { wire(owner) };
        self.records.extend(name);
        self.records.extend(kind.to_be_bytes());
        self.records.extend(1_u16.to_be_bytes());
        self.records.extend(ttl.to_be_bytes());
        self.records.extend((data.len() as u16).to_be_bytes());
        self.records.extend(data);
        self
    }

    pub fn a(self, owner: &str, ttl: u32, address: [u8; 4]) -> Answer {
        self.record(0, owner, A, ttl, &address)
    }

    pub fn aaaa(self, owner: &str, ttl: u32, address: [u8; 16]) -> Answer {
        self.record(0, owner, AAAA, ttl, &address)
    }

    pub fn cname(self, owner: &str, ttl: u32, target: &str) -> Answer {
        let target = wire(target);
        self.record(0, owner, 5, ttl, &target)
    }

    pub fn soa(self, owner: &str, ttl: u32, minimum: u32) -> Answer {
        let mut data = [wire("ns.example"), wire("admin.example")].concat();
        data.extend([0; 16]);
        data.extend(minimum.to_be_bytes());
        self.record(1, owner, 6, ttl, &data)
    }

    pub fn code(mut self, code: u16) -> Answer {
        self.flags |= code;
        self
    }

    pub fn truncated(mut self) -> Answer {
        self.flags |= 0x0200;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let [answers, authority] = self.counts;
        let mut bytes: Vec<u8> =
            [self.id, self.flags, 1, answers, authority, 0].into_iter().flat_map(u16::to_be_bytes).collect();
        bytes.extend(&self.question);
        bytes.extend(&self.records);
        bytes
    }
}

/// Serves port 53 of `network`. `answers` gives the messages that are sent back to a question.
pub async fn serve(network: &Network, answers: impl Fn(&Asked) -> Vec<Vec<u8>> + 'static) -> Log {
    let log = Log::default();
    let answers: Answers = Rc::new(answers);
    let socket = network.udp().bind(PORT).await.expect("the port is free");
    let mut listener = network.tcp().bind(PORT).await.expect("the port is free");
    let (kept, answer) = (Rc::clone(&log), Rc::clone(&answers));
    drop(spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.receive_from(&mut buffer).await {
            let asked = Asked::read(&buffer[..length], from, false, now());
            kept.borrow_mut().push(asked.clone());
            let (socket, messages) = (socket.clone(), answer(&asked));
            drop(spawn(async move {
                sleep(DELAY).await;
                for message in messages {
                    socket.send_to(&message, from).await.expect("the asker is in the network");
                }
            }));
        }
    }));
    let kept = Rc::clone(&log);
    drop(spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            let asked = Asked::read(&framed(&stream).await, from, true, now());
            kept.borrow_mut().push(asked.clone());
            for message in answers(&asked) {
                let _ = stream.write_all(&(message.len() as u16).to_be_bytes()).await;
                let _ = stream.write_all(&message).await;
            }
        }
    }));
    log
}

/// A message of a stream, without its length.
async fn framed(stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 600];
    loop {
        if let Some(([high, low], message)) = bytes.split_first_chunk::<2>()
            && message.len() == usize::from(u16::from_be_bytes([*high, *low]))
        {
            return message.to_vec();
        }
        let length = stream.read(&mut buffer).await.expect("the asker lives");
        assert!(length > 0, "the asker has sent all");
        bytes.extend_from_slice(&buffer[..length]);
    }
}
