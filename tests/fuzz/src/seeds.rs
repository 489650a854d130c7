//! Inputs made by hand, one for each thing that a parser tells apart: the start of the corpus.

use mirage_build::KeyKind;
use mirage_build::manifest::{Manifest, ManifestBlock, ManifestKey, ManifestNetwork};
use mirage_xen::abi::XEN_HVM_START_MAGIC_VALUE;
use mirage_xen::xenstore::Code;
use mirage_xen::xenstore::wire::Header;

use crate::random::Random;

/// The seeds of the target called `name`.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    match name {
        "xenstore" => xenstore(),
        "netif" => slots(12),
        "blkif" => slots(112),
        "console" => console(),
        "start-info" => start_info(),
        "memory-map" => memory_map(),
        "command-line" => command_line(),
        "names" => names(),
        "dhcp" => dhcp(),
        "ipv6" => crate::ipv6::packet_seeds(),
        "neighbour-discovery" => crate::ipv6::discovery_seeds(),
        "fragments" => crate::fragments::seeds(),
        "igmp" => crate::groups::igmp_seeds(),
        "mld" => crate::groups::mld_seeds(),
        "arp" => crate::frames::arp_seeds(),
        "ipv4" => crate::frames::ipv4_seeds(),
        "icmp" => crate::frames::icmp_seeds(),
        "tcp" => crate::frames::tcp_seeds(),
        "udp" => crate::frames::udp_seeds(),
        "segment" => crate::frames::segment_seeds(),
        _ => manifest(),
    }
}

fn message(operation: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { operation, request: 7, transaction: 0, length: payload.len() as u32 };
    [&header.emit(), payload].concat()
}

fn xenstore() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = (0..=24).map(|operation| message(operation, b"path\0token\0")).collect();
    seeds.push(message(u32::MAX, b""));
    let codes = [
        Code::Einval,
        Code::Eacces,
        Code::Eexist,
        Code::Eisdir,
        Code::Enoent,
        Code::Enomem,
        Code::Enospc,
        Code::Eio,
        Code::Enotempty,
        Code::Enosys,
        Code::Erofs,
        Code::Ebusy,
        Code::Eagain,
        Code::Eisconn,
        Code::E2big,
        Code::Eperm,
    ];
    seeds.push(codes.iter().flat_map(|code| message(16, format!("{}\0", code.name()).as_bytes())).collect());
    seeds.push(message(16, b"ENEW"));
    seeds.push(message(3, b"n0\0r5\0w65535\0b1\0x1\0r+1\0r65536\0r\xFF\0\0"));
    for path in ["/", "/local/domain/1/name", "a//b", "a/", "a b", "@releaseDomain", "data/mirage_1"] {
        seeds.push(message(2, path.as_bytes()));
    }
    seeds.push(message(2, &[b'a'; 2047]));
    seeds.push(message(2, &[b'a'; 2048]));
    seeds.push(message(2, &[b'/'; 1].iter().chain(&[b'a'; 3071]).copied().collect::<Vec<u8>>()));
    seeds.push(message(2, &[b'x'; 4096]));
    seeds.push(message(2, &[b'x'; 4097]));
    seeds.push(message(2, b"cut off")[..20].to_vec());
    seeds.push([message(2, b"one"), message(15, b"two\0three\0")].concat());
    seeds.push(Vec::new());
    seeds
}

/// Slots behind a byte that says how many responses are claimed.
fn slots(size: usize) -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new(), vec![0], vec![1], vec![32], vec![33], vec![255]];
    // Extra information of each type and protocol, with and without another one to follow.
    for kind in 0..=6 {
        for (flags, protocol) in [(0, 0), (1, 1), (0, 2), (1, 3)] {
            let extra = [kind, flags, 0xB4, 5, protocol, 0, 0, 9];
            let slot: Vec<u8> = extra.iter().copied().chain(std::iter::repeat(0)).take(size.max(12)).collect();
            // The first in the ring, and the first in what is read without one.
            seeds.push([&[1_u8][..], &slot].concat());
            seeds.push(slot);
        }
    }
    let mut random = Random::new(1);
    seeds.push((0..4096).map(|_| random.number() as u8).collect());
    seeds
}

fn console() -> Vec<Vec<u8>> {
    let page = |input: (u32, u32), output: (u32, u32)| {
        let mut page: Vec<u8> = (0..3072_u32).map(|index| index as u8).collect();
        for index in [input.0, input.1, output.0, output.1] {
            page.extend_from_slice(&index.to_le_bytes());
        }
        page
    };
    vec![
        page((0, 0), (0, 0)),
        page((0, 1024), (0, 2048)),
        page((1000, 1100), (2040, 2041)),
        page((u32::MAX - 5, 20), (u32::MAX - 5, 20)),
        page((0, 1025), (0, 2049)),
        page((9, 8), (9, 8)),
        page((500, 1500), (2047, 4093)),
    ]
}

/// Start info at the start of memory, which is at 0x1000: tables at 0x1100 and 0x1400, the command line at 0x1600.
struct Info {
    magic: u32,
    version: u32,
    modules: (u64, Vec<(u64, u64)>),
    line: (u64, Vec<u8>),
    map: (u64, Vec<(u64, u64, u32)>),
}

impl Info {
    fn new() -> Self {
        Self {
            magic: XEN_HVM_START_MAGIC_VALUE,
            version: 1,
            modules: (0x1400, vec![(0x20_0000, 0x1000)]),
            line: (0x1600, b"--port 80\0".to_vec()),
            map: (0x1100, vec![(0, 0xA_0000, 1), (0xA_0000, 0x6_0000, 2), (0x10_0000, 0x3F0_0123, 1)]),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &self.magic.to_le_bytes());
        put(4, &self.version.to_le_bytes());
        put(12, &(self.modules.1.len() as u32).to_le_bytes());
        put(16, &self.modules.0.to_le_bytes());
        put(24, &self.line.0.to_le_bytes());
        put(40, &self.map.0.to_le_bytes());
        put(48, &(self.map.1.len() as u32).to_le_bytes());
        for (index, (start, size)) in self.modules.1.iter().take(16).enumerate() {
            put(0x400 + index * 32, &start.to_le_bytes());
            put(0x408 + index * 32, &size.to_le_bytes());
        }
        for (index, (start, size, kind)) in self.map.1.iter().take(32).enumerate() {
            put(0x100 + index * 24, &start.to_le_bytes());
            put(0x108 + index * 24, &size.to_le_bytes());
            put(0x110 + index * 24, &kind.to_le_bytes());
        }
        bytes.extend_from_slice(&self.line.1);
        bytes
    }
}

fn start_info() -> Vec<Vec<u8>> {
    let changed = |change: fn(&mut Info)| {
        let mut info = Info::new();
        change(&mut info);
        info.bytes()
    };
    vec![
        changed(|_| ()),
        changed(|info| info.magic = 1),
        changed(|info| info.version = 0),
        changed(|info| info.line.0 = 0),
        changed(|info| info.line.0 = u64::MAX),
        changed(|info| info.line.1 = vec![b'x'; 5000]),
        changed(|info| info.line.1 = vec![b'x'; 100]),
        changed(|info| info.map.0 = 0),
        changed(|info| info.map.0 = u64::MAX - 10),
        changed(|info| info.map.1 = vec![(1, u64::MAX, 1); 129]),
        changed(|info| {
            // A map that is longer than the place for it: the command line is read as more of it.
            info.map.1 = vec![(1, 5000, 1); 129];
            info.line.1 = [vec![b'x'; 100], vec![0; 4000]].concat();
        }),
        changed(|info| info.modules.0 = 0),
        changed(|info| info.modules.0 = 3),
        changed(|info| info.modules.1 = vec![(5, u64::MAX)]),
        changed(|info| info.modules.1 = vec![(0, 0); 9000]),
        changed(|info| info.modules.1 = Vec::new()),
        Info::new().bytes()[..30].to_vec(),
        Vec::new(),
    ]
}

fn memory_map() -> Vec<Vec<u8>> {
    let regions = |list: &[(u64, u64, u8)]| -> Vec<u8> {
        list.iter()
            .flat_map(|(start, end, kind)| [&start.to_le_bytes()[..], &end.to_le_bytes(), &[*kind]].concat())
            .collect()
    };
    let mut random = Random::new(2);
    let many: Vec<_> = (0..200).map(|index| (index * 0x10_000, index * 0x10_000 + 0x5000, 1)).collect();
    let removed: Vec<_> =
        (0..60).map(|index| (index * 0x10_000, index * 0x10_000 + 0x5000, 6 | (index % 2) as u8)).collect();
    vec![
        Vec::new(),
        regions(&[(0, 0xA_0000, 1), (0x10_0000, 1 << 32, 1), (0x20_0000, 0x30_0000, 0)]),
        regions(&[(u64::MAX - 1, u64::MAX, 1), (u64::MAX - 1, u64::MAX, 0), (9, 3, 1)]),
        regions(&[(0, u64::MAX, 1), (0x1234, 0x1235, 4), (0x5000, 0x9000, 4), (0, 1, 4), (7, 8, 4), (9, 10, 4)]),
        regions(&[(0, 0x1000, 7), (0x1000, 0x2000, 7), (0x800, 0x1800, 6), (0x9000, 0x9000, 7), (0x8000, 0x8001, 7)]),
        regions(&[(0x5000, 0x6000, 7), (0, 0x1000, 7), (0x2000, 0x3000, 7), (0, 0x10_000, 6)]),
        regions(&many),
        regions(&removed),
        (0..4000).map(|_| random.number() as u8).collect(),
    ]
}

fn command_line() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "",
        "--needed x",
        "--needed=x --verbose --count -5 --name 'Moin Moin' --port 65535 --address 10.0.0.1 --network 10.0.0.1/24 --wait 5s --log debug",
        "--needed x --verbose=false --count=500 --port 1 --network 0.0.0.0/0 --wait 100ms --log=off",
        "--needed x --verbose=true --wait 2m --log trace --log error",
        "--needed x --wait 3h --log warn",
        "--needed x --wait 1us --log info",
        "--needed x --wait 9ns",
        "--help",
        "--needed x --help",
        "word -x -- --",
        "--need x --hlp --a-name-that-is-far-from-all-of-them-and-longer-than-the-row-of-the-distance-function 1",
        "--needed a --needed b",
        "--needed",
        "--count --port",
        "--count 501 --port 0 --port 65536 --address 1.2.3 --network 1.2.3.4/33 --network 1.2.3.4 --network x/1 --wait 5 --wait s --wait 99999999999999999999s --log loud --verbose=maybe",
        "--count x --count 99999999999999999999999 --count -6",
        "--wait 18446744073709551615h --needed x",
        "--needed \"open",
        "--needed 'open",
        "--needed x\\",
        "--needed \"a\\\"b\" # a comment",
        "--=x --needed=",
        "--needed x --own dhcp --dns 10.0.0.1,2001:db8::1 --search lan.example,b. --routes 10.1.0.0/16=10.0.0.9 --ipv6 auto --router fe80::1",
        "--needed x --own 10.0.0.2/24 --ipv6 2001:db8::2/64",
        "--needed x --own dhpc --dns 10 --search a..b --routes 10.1.0.0/16 --ipv6 2001:db8::2 --router 10.0.0.1",
        "--needed x --own 10.0.0.2 --routes 10.1.0.0/16=x,y --ipv6 2001:db8::2/129",
        "--ipv6 x/1 --routes 10.1.0.0=10.0.0.1",
        "\u{e4}\u{1F980} --n\u{e4}me x",
    ]
    .iter()
    .map(|line| line.as_bytes().to_vec())
    .collect();
    seeds.push(vec![0xFF, 0xFE]);
    seeds.push(vec![b'x'; 4097]);
    seeds.push(vec![b'x'; 4096]);
    seeds
}

fn manifest() -> Vec<Vec<u8>> {
    let kinds = [
        None,
        Some(KeyKind::Flag),
        Some(KeyKind::Integer { min: -1, max: 9 }),
        Some(KeyKind::Text),
        Some(KeyKind::Port),
        Some(KeyKind::Ipv4),
        Some(KeyKind::Cidr),
        Some(KeyKind::Duration),
        Some(KeyKind::LogLevel),
        Some(KeyKind::CidrOrDhcp),
        Some(KeyKind::Addresses),
        Some(KeyKind::Domains),
        Some(KeyKind::Routes),
        Some(KeyKind::Ipv6),
        Some(KeyKind::Cidr6OrAuto),
        Some(KeyKind::Ipv6Routes),
    ];
    let key = |(index, kind): (usize, &Option<KeyKind>)| ManifestKey {
        name: format!("key-{index}"),
        kind: *kind,
        default: (index % 2 == 0).then(|| "default".to_owned()),
        required: index % 3 == 0,
        doc: "About it".into(),
        library: index % 4 == 0,
    };
    let manifest = Manifest {
        name: "site".into(),
        version: "0.1.0".into(),
        memory_mib: 16,
        memory_max_mib: Some(64),
        networks: vec![ManifestNetwork { name: "service".into(), key_prefix: "service-".into() }],
        blocks: vec![ManifestBlock { name: "data".into(), key_prefix: String::new() }],
        consoles: vec!["control".into()],
        keys: kinds.iter().enumerate().map(key).collect(),
    };
    let whole = manifest.encode();
    let mut seeds = vec![whole.clone(), Vec::new(), vec![1], vec![2], whole[..whole.len() - 3].to_vec()];
    let record = |tag: u8, payload: &[u8]| [&[tag][..], &(payload.len() as u32).to_le_bytes(), payload].concat();
    let (name, version, memory) = (record(1, b"a"), record(2, b"1"), record(3, &[1, 0, 0, 0]));
    seeds.push([&[1][..], &version, &memory].concat());
    seeds.push([&[1][..], &name, &memory].concat());
    seeds.push([&[1][..], &name, &version].concat());
    seeds.push([&[1][..], &name, &version, &memory, &record(99, b"unknown"), &record(5, b"cut")].concat());
    seeds.push([&[1][..], &record(1, &[0xFF])].concat());
    seeds.push([&[1][..], &record(3, &[1, 0])].concat());
    seeds.push([&[1][..], &record(4, &[9, 0, 0, 0, b'x'])].concat());
    for size in [3_u32, 40, u32::MAX] {
        seeds.push([&[1, 1][..], &size.to_le_bytes(), b"abc"].concat());
    }
    // Every place at which the fields of a record can be cut off, and a text that is none.
    let field = |payload: &[u8]| [&(payload.len() as u32).to_le_bytes(), payload].concat();
    let integer = [&[2][..], &(-1_i64).to_le_bytes(), &9_u64.to_le_bytes()].concat();
    for parts in [[b"k", &integer[..], &[1], b"d", b"9"], [b"\xFF", &[1], &[0], b"\xFF", b"\xFF"]] {
        let key: Vec<u8> = parts.iter().flat_map(|part| field(part)).collect();
        seeds.extend((0..=key.len()).map(|length| [&[1][..], &record(5, &key[..length])].concat()));
    }
    let disk = [field(b"d"), field(b"p")].concat();
    for tag in [4, 6] {
        seeds.extend((0..disk.len()).step_by(3).map(|length| [&[1][..], &record(tag, &disk[..length])].concat()));
    }
    for (kind, doc) in [(&[][..], &b"d"[..]), (&[2, 0, 0], b"d"), (&[2; 10], b"d"), (&[1], b"\xFF"), (&[77], b"d")] {
        let key = [field(b"k"), field(kind), field(&[1]), field(doc)].concat();
        seeds.push([&[1][..], &record(5, &key)].concat());
    }
    for tag in 1..=9 {
        seeds.push([&[1][..], &record(tag, &[0xFF])].concat());
    }
    seeds.extend(files(&whole));
    seeds
}

/// ELF files with notes, right and wrong.
fn files(manifest: &[u8]) -> Vec<Vec<u8>> {
    let note = |owner: &[u8], kind: u32, descriptor: &[u8]| {
        let mut note = Vec::new();
        for number in [owner.len() as u32, descriptor.len() as u32, kind] {
            note.extend_from_slice(&number.to_le_bytes());
        }
        for part in [owner, descriptor] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    };
    let file = |machine: u16, kind: u32, notes: &[u8], table: u64, size: u64| {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&table.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        file[56..58].copy_from_slice(&1_u16.to_le_bytes());
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72..80].copy_from_slice(&120_u64.to_le_bytes());
        file[96..104].copy_from_slice(&size.to_le_bytes());
        file.extend_from_slice(notes);
        file
    };
    let (foreign, own) = (note(b"Xen\0", 18, &[0; 5]), note(b"Mirage\0", 1, manifest));
    let both = [&foreign[..], &own].concat();
    let whole = both.len() as u64;
    let cut = [10, 19, 36, 55, 57, 100, 130].map(|length| file(62, 4, &both, 64, whole)[..length].to_vec());
    let long = |owner: u32, descriptor: u32| [owner, descriptor, 1].map(u32::to_le_bytes).concat();
    let mut seeds = Vec::from(cut);
    for notes in [long(5, 0), long(0, 5), long(u32::MAX, u32::MAX), long(0, 0)] {
        seeds.push(file(62, 4, &notes, 64, notes.len() as u64));
    }
    // Entries so large that their places overflow.
    let mut vast = file(62, 1, &both, u64::MAX / 2, whole);
    vast[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    seeds.push(vast);
    seeds.extend([
        file(62, 4, &both, 64, whole),
        file(3, 4, &both, 64, whole),
        file(62, 1, &both, 64, whole),
        file(62, 4, &foreign, 64, foreign.len() as u64),
        file(62, 4, &note(b"Mirage\0", 2, b""), 64, 24),
        file(62, 4, &note(b"Mirage\0", 1, b"\x09"), 64, 24),
        file(62, 4, &both, u64::MAX - 3, whole),
        file(62, 4, &both, 64, u64::MAX),
        file(62, 4, &[0xFF; 20], 64, 20),
        file(62, 4, &both, 64, whole)[..40].to_vec(),
        b"\x7fELF\x02\x01".to_vec(),
    ]);
    seeds
}

/// A record of the name that the pointer leads to.
fn record(owner: u16, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let owner = (0xC000 | owner).to_be_bytes();
    let length = (data.len() as u16).to_be_bytes();
    [&owner[..], &kind.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

/// Answers to a question for the addresses of www.example, and names as text.
fn names() -> Vec<Vec<u8>> {
    const SAME: u16 = 12;
    // Behind header, question, and the head of the first record.
    const TARGET: u16 = 12 + 17 + 12;
    let message = |flags: u16, kind: u16, counts: [u16; 3], records: &[Vec<u8>]| {
        let [answers, authority, additional] = counts;
        let header = [0x1234, flags, 1, answers, authority, additional].map(u16::to_be_bytes).concat();
        [&header, &b"\x03www\x07example\0"[..], &kind.to_be_bytes(), &[0, 1], &records.concat()].concat()
    };
    let address = |owner, number| record(owner, 1, 60, &[10, 0, 0, number]);
    let soa = record(SAME, 6, 600, &[&b"\x02ns\0\x05admin\0"[..], &[0; 16], &60_u32.to_be_bytes()].concat());
    let alias = |target: &[u8]| record(SAME, 5, 60, target);
    let many: Vec<_> = (0..70).map(|number| address(SAME, number)).collect();
    let chain: Vec<_> = (0..12_u8)
        .map(|step| [&[1, b'a' + step, 0][..], &[0, 5, 0, 1, 0, 0, 0, 9, 0, 3, 1, b'b' + step, 0]].concat())
        .collect();
    let opt = vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    let right = message(0x8180, 1, [1, 0, 1], &[address(SAME, 1), opt]);
    let mut empty_question = right.clone();
    empty_question[2..6].copy_from_slice(&[0x81, 0x81, 0, 0]);
    let mut seeds = vec![
        right.clone(),
        right[..20].to_vec(),
        right[..right.len() - 13].to_vec(),
        empty_question,
        message(0x8180, 28, [1, 0, 0], &[record(SAME, 28, 60, &[0x20; 16])]),
        message(0x8180, 28, [1, 0, 0], &[record(SAME, 28, 60, &[0x20; 15])]),
        message(0x8180, 1, [1, 0, 0], &[record(SAME, 1, 0x8000_0000, &[1, 2, 3, 4])]),
        message(0x8180, 1, [2, 0, 0], &[alias(b"\x01a\0"), address(TARGET, 2)]),
        message(0x8180, 1, [1, 0, 0], &[alias(b"\x01a\xC0\x10")]),
        message(0x8180, 1, [1, 1, 0], &[alias(b"\x02\xFF.\0"), soa.clone()]),
        message(0x8180, 1, [1, 0, 0], &[alias(b"\0")]),
        message(0x8180, 1, [1, 0, 0], &[alias(b"\xC0\x0C")]),
        message(0x8180, 1, [1, 0, 0], &[alias(&[0xC0, 41])]),
        message(0x8180, 1, [1, 0, 0], &[alias(&[&[63; 64][..], &[63; 64], &[63; 64], &[63; 64], &[0]].concat())]),
        message(0x8180, 1, [0, 1, 0], std::slice::from_ref(&soa)),
        message(0x8183, 1, [0, 2, 0], &[record(SAME, 2, 60, b"\x02ns\0"), soa]),
        message(0x8183, 1, [0, 1, 0], &[record(SAME, 6, 60, &[0; 21])]),
        message(0x8183, 1, [0, 1, 0], &[]),
        message(0x8180, 1, [70, 0, 0], &many),
        message(0x8180, 1, [13, 0, 0], &[alias(b"\x01a\0"), chain.concat()]),
        message(0x8180, 1, [1, 0, 0], &[record(SAME, 16, 60, b"\x03txt")]),
        message(0x8380, 1, [0, 0, 0], &[]),
        message(0x8900, 1, [0, 0, 0], &[]),
        message(0x0100, 1, [0, 0, 0], &[]),
        message(0x8181, 1, [0, 0, 0], &[]),
        message(0x8182, 1, [0, 0, 0], &[]),
        message(0x8185, 1, [0, 0, 0], &[]),
        message(0x8180, 15, [0, 0, 0], &[]),
        vec![0; 8193],
    ];
    for text in ["www.Example.org.", "a_b-c", "", ".", "a..b", "a b", "\u{fc}", "."] {
        seeds.push(text.as_bytes().to_vec());
    }
    seeds.push(vec![b'x'; 64]);
    seeds.push([[b'x'; 63]; 4].join(&b'.'));
    // An alias that nobody would write, and a name that its own domain makes too long.
    seeds.push(message(0x8180, 1, [1, 0, 0], &[alias(b"\x02\xFF.\0")]));
    seeds.push([[b'x'; 63]; 2].join(&b'.'));
    seeds
}

/// Answers of a DHCP server, with options of each kind, and of wrong lengths.
fn dhcp() -> Vec<Vec<u8>> {
    let message = |options: &[&[u8]]| {
        let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 7];
        bytes.resize(16, 0);
        bytes.extend([10, 0, 0, 9]);
        bytes.resize(28, 0);
        bytes.extend([2; 6]);
        bytes.resize(236, 0);
        bytes.extend([0x63, 0x82, 0x53, 0x63]);
        bytes.extend(options.concat());
        bytes
    };
    let lease: [&[u8]; 3] = [&[51, 4, 0, 0, 14, 16], &[58, 4, 0, 0, 7, 8], &[59, 4, 0, 0, 12, 78]];
    let network: [&[u8]; 4] =
        [&[1, 4, 255, 255, 255, 0], &[3, 8, 10, 0, 0, 1, 10, 0, 0, 2], &[54, 4, 10, 0, 0, 1], &[6, 4, 10, 0, 0, 1]];
    let whole = |kind: &[u8]| message(&[&[kind], &network[..], &lease, &[b"\x0F\x0Blan.example", &[0, 255]]].concat());
    let mut seeds: Vec<Vec<u8>> = [1_u8, 2, 5, 6, 9].map(|kind| whole(&[53, 1, kind])).into();
    for (place, value) in [(0, 1), (1, 6), (2, 8), (236, 0)] {
        let mut wrong = whole(&[53, 1, 5]);
        wrong[place] = value;
        seeds.push(wrong);
    }
    seeds.extend([
        whole(&[53, 2, 5, 5]),
        whole(&[0, 0, 0]),
        message(&[&[53, 1, 5], &[1, 3, 255, 255, 255], &[3, 2, 10, 0], &[54, 0], &[51, 5, 0, 0, 0, 0, 0], &[255]]),
        message(&[&[53, 1, 5], &[6, 22], &[10; 22], &[255]]),
        message(&[&[53, 1, 5], &[15, 4], &[0xFF; 4], &[255]]),
        message(&[&[53, 1, 5], &[15, 4], b"a..b", &[255]]),
        message(&[&[53, 1, 5], b"\x0F\x04lan\0", &[51, 4, 0xFF]]),
        message(&[&[53, 1, 5], &[51]]),
        whole(&[53, 1, 5, 26, 2, 5, 220, 119, 15, 3, b'e', b'n', b'g', 3, b'l', b'a', b'n', 0, 1, b'a', 0xC0, 4, 0]),
        whole(&[53, 1, 5, 121, 16, 0, 10, 0, 0, 1, 10, 10, 64, 10, 0, 0, 2, 32, 1, 2, 3]),
        whole(&[53, 1, 5, 121, 14, 8, 172, 10, 0, 0, 2, 32, 1, 2, 3, 4, 0, 0]),
        whole(&[53, 1, 5, 119, 4, 1, b'a', 0xC0, 0]),
        message(&[]),
        message(&[])[..239].to_vec(),
        Vec::new(),
    ]);
    seeds
}
