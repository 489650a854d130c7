//! One function for each parser of foreign data. It takes any bytes; what it must not do is panic, hang or grow without bound.
//! Where a value can be written again, it must come out as it went in.

use std::rc::Rc;

use mirage_build::manifest::{Manifest, ReadError, read_elf};
use mirage_rt::keys::{self, Cidr, Help, KeyKind, KeySpec, MAX_COMMAND_LINE, Parsed, parse, read, split};
use mirage_rt::net::Addressing;
use mirage_rt::net::dhcp::message::{self as dhcp_message, MOST_NAME_SERVERS};
use mirage_rt::net::names::message::{self, MOST_ADDRESSES, MOST_ALIASES, Question, Reply};
use mirage_rt::net::names::{Family, MOST_SEARCH, Name};
use mirage_rt::page::{HeapPool, Page, PagePool};
use mirage_xen::blkfront::wire::{Blkif, Request, Segment};
use mirage_xen::boot::start_info::{self, Physical, StartInfo};
use mirage_xen::console::ring::Ring;
use mirage_xen::memory::{Kind, MemoryMap, Region};
use mirage_xen::model::BackRing;
use mirage_xen::netfront::wire::{Extra, Receive, ReceiveData, ReceiveRequest, Transmit, TransmitRequest};
use mirage_xen::ring::{FrontRing, Protocol};
use mirage_xen::shared::{SharedBytes, SharedPage};
use mirage_xen::xenstore::wire::{Assembler, Header, Operation, PAYLOAD_MAX, is_valid_path, strings};
use mirage_xen::xenstore::{Code, Permission};

/// A parser of foreign data.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called; its corpus is in the folder of this name.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "xenstore", run: xenstore },
    Target { name: "netif", run: netif },
    Target { name: "blkif", run: blkif },
    Target { name: "console", run: console },
    Target { name: "start-info", run: start_info },
    Target { name: "memory-map", run: memory_map },
    Target { name: "command-line", run: command_line },
    Target { name: "manifest", run: manifest },
    Target { name: "names", run: names },
    Target { name: "dhcp", run: dhcp },
    Target { name: "ipv6", run: crate::ipv6::packets },
    Target { name: "neighbour-discovery", run: crate::ipv6::discovery },
    Target { name: "fragments", run: crate::fragments::fragments },
    Target { name: "igmp", run: crate::groups::igmp },
    Target { name: "mld", run: crate::groups::mld },
    Target { name: "arp", run: crate::frames::frames },
    Target { name: "ipv4", run: crate::frames::frames },
    Target { name: "icmp", run: crate::frames::frames },
    Target { name: "tcp", run: crate::frames::frames },
    Target { name: "udp", run: crate::frames::frames },
    Target { name: "segment", run: crate::frames::segment },
];

/// The stream of messages from xenstored, and what is in them.
fn xenstore(input: &[u8]) {
    let mut assembler = Assembler::default();
    let mut rest = input;
    while let Ok(Some(message)) = assembler.feed(&mut rest) {
        let payload = &message.payload[..];
        assert!(payload.len() <= PAYLOAD_MAX && payload.len() == message.header.length as usize);
        assert_eq!(Header::parse(&message.header.emit()), message.header);
        if let Some(operation) = Operation::from_code(message.header.operation) {
            assert_eq!(operation as u32, message.header.operation);
            std::hint::black_box(operation.has_path());
            assert!(!operation.verb().is_empty());
        }
        let code = Code::parse(payload);
        assert!(code == Code::Unknown || code.to_string().contains(code.name()));
        for text in strings(payload) {
            std::hint::black_box(is_valid_path(text));
            if let Some(permission) = Permission::parse(text) {
                let mut written = String::new();
                permission.emit(&mut written);
                assert_eq!(Permission::parse(written.trim_end_matches('\0').as_bytes()), Some(permission));
            }
        }
    }
}

fn page() -> SharedPage {
    let pool: Rc<dyn PagePool> = HeapPool::with_pages(1);
    SharedPage::from(Page::take(&pool).expect("the pool has a page"))
}

/// A ring with requests under way, over which a backend has written `input`: first its index, then the slots.
/// Then the other way round: what a backend makes of slots with these bytes, as requests.
fn answered<P: Protocol>(input: &[u8], request: &P::Request) -> (Vec<P::Response>, Vec<P::Request>) {
    // The first byte says how much it claims, in the slots follow responses.
    let (claimed, slots) = input.split_first().map_or((0, input), |(claimed, slots)| (*claimed, slots));
    let mut ring = FrontRing::<P, SharedPage>::starting_at(page(), 0xFFFF_FFF0);
    while ring.push(request) {}
    let _ = ring.publish();
    write(ring.memory().bytes().part(64, 4032), slots);
    let producer = 0xFFFF_FFF0_u32.wrapping_add(u32::from(claimed));
    ring.memory().bytes().store_u32(8, producer, std::sync::atomic::Ordering::Release);
    let mut responses = Vec::new();
    if ring.available().is_ok() {
        while let Some(response) = ring.take() {
            responses.push(response.for_any_value());
        }
        assert_eq!(responses.len(), usize::from(claimed));
    }
    let mut back = BackRing::<P, SharedPage>::new(ring.into_memory());
    back.lenient = true;
    let requests = std::iter::from_fn(|| back.take()).map(|(_, request)| request).collect();
    if let Some(response) = responses.last() {
        back.push(response);
    }
    (responses, requests)
}

fn write(place: SharedBytes<'_>, bytes: &[u8]) {
    place.copy_in(0, &bytes[..bytes.len().min(place.len())]);
}

/// Slots of a network backend: responses, and extra information among them.
fn netif(input: &[u8]) {
    let (responses, _) = answered::<Transmit>(input, &TransmitRequest::Data(Transmit::data(&[1; 12])).emit());
    for response in responses {
        std::hint::black_box((response.id, response.status));
    }
    let (responses, _) = answered::<Receive>(input, &ReceiveRequest { id: 1, grant: 2 });
    for raw in responses {
        assert_eq!(ReceiveData::parse(&raw).emit(), raw);
    }
    assert_eq!(Extra::parse(&Extra::Gso(mirage_rt::packet::Gso::None).emit()), None);
    for raw in input.as_chunks::<12>().0 {
        let data = Transmit::data(raw);
        assert_eq!(TransmitRequest::Data(data).emit(), *raw);
        if let Some((extra, _)) = Transmit::extra(raw) {
            let written = TransmitRequest::Extra(extra).emit();
            assert_eq!(Transmit::extra(&written), Some((extra, false)));
        }
    }
    for raw in input.as_chunks::<8>().0 {
        if let Some((extra, _)) = Extra::parse(raw) {
            assert_eq!(Extra::parse(&extra.emit()), Some((extra, false)));
        }
    }
}

/// Slots of a disk's backend.
fn blkif(input: &[u8]) {
    let mut request = Request::direct(0, 1, 2, 3);
    request.push(Segment::page(4));
    let (responses, requests) = answered::<Blkif>(input, &request);
    for response in responses {
        std::hint::black_box((response.id, response.operation, response.status));
    }
    for request in requests {
        let (count, inner) = request.segment_count();
        let segments = (0..count.min(20)).filter_map(|number| request.segment(number)).count();
        let pages = (0..count.min(20)).filter_map(|number| request.segment_page(number)).count();
        std::hint::black_box((request.operation(), request.id(), request.sector(), inner, segments, pages));
        let (sectors, secure) = request.discarded();
        assert_eq!(Request::discard(secure, 1, 2, 3, sectors).discarded(), (sectors, secure));
        let indirect = Request::indirect(inner, 1, 2, 3, count as u16, 5);
        assert_eq!((indirect.segment_count(), indirect.segment_page(0)), ((usize::from(count as u16), inner), Some(5)));
    }
    for raw in input.as_chunks::<{ Segment::SIZE }>().0 {
        let segment = Segment::parse(*raw);
        assert_eq!(Segment::parse(segment.emit()), segment);
    }
}

/// The page of a console.
fn console(input: &[u8]) {
    let page = page();
    write(page.bytes(), input);
    let ring = Ring::new(page.bytes());
    let mut buffer = [0; 100];
    for _ in 0..30 {
        match ring.take(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    let room = ring.room();
    if let Err(error) = room {
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(ring.put(b"some output").ok(), room.ok().map(|room| room.min(11)));
    std::hint::black_box(ring.is_read());
    ring.start_at(input.len() as u32);
    assert_eq!((ring.put(b"to you"), Ring::of_backend(page.bytes()).take(&mut buffer)), (Ok(6), Ok(6)));
}

/// Memory of a guest that begins at a page: nothing is at 0.
struct Memory<'a>(&'a [u8]);

impl Physical for Memory<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let start = address.checked_sub(0x1000).and_then(|start| usize::try_from(start).ok());
        let found = start.and_then(|start| self.0.get(start..)?.get(..buffer.len()));
        found.map(|found| buffer.copy_from_slice(found)).is_some()
    }
}

/// What the domain's builder leaves at 0x1000.
fn start_info(input: &[u8]) {
    let mut info = StartInfo::default();
    let read = start_info::read(&Memory(input), 0x1000, &mut info);
    match read {
        Ok(()) => {
            let _ = std::hint::black_box(info.line.bytes().len());
            for module in info.modules.iter() {
                assert!(module.start <= module.end);
            }
            assert_sound(&info.map);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // Addresses near the end of the numbers.
    let _ = start_info::read(&Memory(input), u64::MAX - 20, &mut StartInfo::default());
}

fn assert_sound(map: &MemoryMap) {
    for limit in [0, 1 << 20, 1 << 32, u64::MAX] {
        let ram = map.ram(limit);
        let mut last = None;
        for range in ram.iter() {
            assert!(range.start < range.end && range.end <= limit && range.start.is_multiple_of(4096));
            assert!(last.is_none_or(|last| last < range.start), "sorted, apart");
            assert!(ram.covers(&range));
            last = Some(range.end);
        }
        assert!(ram.total() <= limit);
    }
}

/// Regions of 17 bytes: start, end, kind; a set of other ones is withdrawn and inserted.
fn memory_map(input: &[u8]) {
    let mut map = MemoryMap::new();
    let mut ranges = MemoryMap::default().ram(u64::MAX);
    for raw in input.as_chunks::<17>().0 {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| raw[at + index]));
        let (start, end) = (number(0), number(8));
        let kind = if raw[16] & 1 == 1 { Kind::Ram } else { Kind::Other };
        match raw[16] >> 1 & 3 {
            0 | 1 => drop(map.add(Region { start, end, kind })),
            2 => map.withdraw(start..end),
            _ if kind == Kind::Ram => ranges.insert(start..end),
            _ => ranges.remove(start..end),
        }
    }
    std::hint::black_box((map.regions().len(), map.end(), ranges.total(), ranges.covers(&(5..5))));
    assert_sound(&map);
}

const FORM: KeyKind = KeyKind::Form { placeholder: "FORM" };

static KEYS: [KeySpec; 16] = {
    const fn key(name: &'static str, kind: KeyKind, read: keys::Read) -> KeySpec {
        KeySpec { name, kind, read, default: None, required: false, doc: "A key." }
    }
    let mut keys = [
        key("verbose", KeyKind::Flag, read::flag),
        key("count", KeyKind::Integer { min: -5, max: 500 }, read::integer),
        key("name", KeyKind::Text, read::text),
        key("port", KeyKind::Port, read::port),
        key("address", KeyKind::Ipv4, read::ipv4),
        key("network", KeyKind::Cidr, read::cidr),
        key("wait", KeyKind::Duration, read::duration),
        key("log", KeyKind::LogLevel, read::log_level),
        key("needed", KeyKind::Text, read::text),
        key("own", FORM, read::cidr_or_dhcp),
        key("dns", FORM, read::addresses),
        key("search", FORM, read::domains),
        key("routes", FORM, read::routes),
        key("ipv6", FORM, read::cidr6_or_auto),
        key("router", FORM, read::ipv6),
        key("ipv6-routes", FORM, read::ipv6_routes),
    ];
    keys[3].default = Some("80");
    keys[8].required = true;
    keys
};

/// The kernel's command line: cut into words, then read as keys.
fn command_line(input: &[u8]) {
    match split(input) {
        Ok(words) => match parse(&KEYS, &words) {
            Ok(Parsed::Values(values)) => {
                assert!(values.get::<String>("needed").is_some(), "it is required");
                if let Some(cidr) = values.get::<Cidr>("network") {
                    assert!(cidr.prefix() <= 32 && cidr.contains(cidr.address()));
                }
            }
            Ok(Parsed::Help) => assert!(Help { program: "fuzz", keys: &KEYS }.to_string().contains("--needed")),
            Err(errors) => errors.iter().for_each(|error| assert!(!error.to_string().is_empty())),
        },
        Err(error) => assert!(!error.to_string().is_empty() && (input.len() > MAX_COMMAND_LINE || !input.is_empty())),
    }
}

/// The manifest, alone and in a file.
fn manifest(input: &[u8]) {
    match Manifest::decode(input) {
        Ok(manifest) => assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Err(error) = read_elf(input) {
        let of_note = std::error::Error::source(&error).is_some();
        assert!(!error.to_string().is_empty() && of_note == matches!(error, ReadError::Decode(_)));
    }
}

/// The answer of a name server to a question for www.example; its name as text is a name too, or is no text.
fn names(input: &[u8]) {
    let name: Name = "www.example".parse().expect("a good name");
    // The number is that of the message, so that it is not in the way.
    let id = input.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for family in [Family::V4, Family::V6] {
        match message::read(input, id, &Question { name: name.clone(), family }) {
            Ok(Reply::Addresses { addresses, ttl }) => {
                assert!((1..=MOST_ADDRESSES).contains(&addresses.len()) && ttl <= i32::MAX as u32);
                assert!(addresses.iter().all(|address| address.is_ipv4() == (family == Family::V4)));
            }
            Ok(Reply::Alias { target, steps, ttl }) => {
                assert!((1..=MOST_ALIASES).contains(&steps) && ttl <= i32::MAX as u32);
                let text = target.to_string();
                assert!(format!("{target:?}").contains(&text));
                assert!(text.contains('\\') || target == Name::ROOT || text.parse() == Ok(target));
            }
            Ok(_) => {}
            Err(useless) => drop(std::hint::black_box(useless)),
        }
    }
    // As somebody would write it, too.
    let Ok(text) = std::str::from_utf8(input) else { return };
    match text.parse::<Name>() {
        Ok(name) => {
            assert_eq!(name.to_string(), text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase());
            if let Ok(below) = name.below(&name) {
                assert_eq!(below.labels().count(), 2 * name.labels().count());
            }
            // A question is no answer.
            let question = Question { name, family: Family::V4 };
            assert!(message::read(&question.message(1, Some(1232)), 1, &question).is_err());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The answer of a DHCP server.
fn dhcp(input: &[u8]) {
    if let Some(reply) = dhcp_message::read(input) {
        assert!(reply.name_servers.len() <= MOST_NAME_SERVERS && reply.search.len() <= MOST_SEARCH);
        assert!(reply.routes.is_none_or(|routes| routes.len() <= Addressing::MOST_ROUTES));
        assert!(reply.domain.as_ref().is_none_or(|domain| domain.to_string().parse() == Ok(domain.clone())));
    }
    // What a client sends is no answer.
    let own = dhcp_message::Request {
        wants: input.len() % 2 == 1,
        id: 7,
        seconds: 0,
        mac: [2; 6],
        client: [0; 4].into(),
        requested: input.first_chunk::<4>().map(|address| (*address).into()),
        server: input.last_chunk::<4>().map(|address| (*address).into()),
    };
    assert_eq!(dhcp_message::read(&own.message()), None);
}
