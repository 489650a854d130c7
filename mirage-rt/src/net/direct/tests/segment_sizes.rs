//! What peers say of the segments that they take, sense or nonsense, and what devices allow.

use alloc::rc::Rc;
use core::cell::Cell;

use super::raw::{Raw, stack};
use super::*;
use crate::net::ConfigError;
use crate::net::direct::tcp::segment::{Bare, Control, Seq};
use crate::time::Duration;

/// The options of a peer's SYN, and how long our segments are then: so long that they fit, and no shorter than they need be.
/// What is not sound counts as nothing, a size that is none as the least.
fn options() -> Vec<(&'static [u8], u32)> {
    let (absent, full) = if is_ipv6() { (1220, 1440) } else { (536, 1460) };
    let mut options = Vec::from([
        (&[][..], absent),
        (&[2, 4, 0, 0], 88),
        (&[2, 4, 0, 1], 88),
        (&[2, 4, 0, 87], 88),
        (&[2, 4, 0, 88], 88),
        (&[2, 4, 2, 0], 512),
        (&[2, 4, 255, 255], full),
        // Twice: the last counts.
        (&[2, 4, 2, 88, 2, 4, 1, 244], 500),
        (&[2, 4, 1, 244, 2, 4, 2, 88], 600),
        // Of a wrong length.
        (&[2, 0, 1, 244], absent),
        (&[2, 1, 1, 244], absent),
        (&[2, 2, 1, 1], absent),
        (&[2, 3, 200, 1], absent),
        (&[2, 6, 1, 244, 0, 0, 1, 1], absent),
        (&[2, 5, 1, 244], absent),
        (&[1, 1, 1, 2], absent),
        // Behind the end of the options, and behind one that nobody knows.
        (&[0, 0, 0, 0, 2, 4, 1, 244], absent),
        (&[99, 4, 7, 7, 2, 4, 1, 244], 500),
    ]);
    // smoltcp's machine does as it is told, one byte at a time, and does not hear who says nonsense.
    let is_sound = |options: &[u8]| matches!(options, [] | [2 | 99, 4, ..]);
    options.retain(|(options, expected)| is_own() || *expected > 88 && is_sound(options));
    options
}

/// The longest segment of `bytes` that come to a peer by hand, which acknowledges each; `ours` is its next position.
async fn collect(raw: &mut Raw, ways: [SocketAddr; 2], ours: Seq, mut theirs: Seq, bytes: &[u8]) -> u32 {
    let [from, to] = ways;
    let (mut received, mut longest) = (Vec::new(), 0);
    for _ in 0..1000 {
        for (segment, data) in raw.segments_with_data().await {
            if (segment.tuple.local(), segment.tuple.remote()) != (from, to) {
                continue;
            }
            assert!(!segment.rst, "{segment:?}");
            longest = longest.max(segment.length);
            if segment.seq == theirs {
                received.extend_from_slice(&data);
                theirs = theirs.add(segment.length);
            }
        }
        raw.send_bare(from, to, &Bare { seq: ours, ack: Some(theirs), window: 60_000, ..Bare::default() });
        if received.len() >= bytes.len() {
            break;
        }
    }
    assert!(received == bytes, "{} of {} bytes, or others", received.len(), bytes.len());
    longest
}

/// Who has sent the SYN that has come to `port`, and the position behind it.
async fn syn_to(raw: &mut Raw, port: u16) -> (SocketAddr, Seq) {
    let segments = raw.segments().await;
    let mut syns = segments.iter().filter(|segment| segment.syn && segment.tuple.local().port() == port);
    let (Some(syn), None) = (syns.next(), syns.next()) else { panic!("one SYN, not {segments:?}") };
    (syn.tuple.remote(), syn.seq.add(1))
}

/// Both ways over a connection that is open.
async fn converse(raw: &mut Raw, ways: [SocketAddr; 2], ours: Seq, theirs: Seq, stream: &TcpStream) -> u32 {
    let length = 6000;
    let bytes = pattern(5, length);
    let (writer, sent) = (stream.clone(), bytes.clone());
    let writing = spawn(async move { writer.write_all(&sent).await.expect("the peer reads") });
    let longest = collect(raw, ways, ours, theirs, &bytes).await;
    writing.await.expect("the writer ends");
    let bare = Bare { seq: ours, ack: Some(theirs.add(length as u32)), window: 60_000, ..Bare::default() };
    raw.send_data(ways[0], ways[1], &bare, &bytes[..1000]);
    let mut buffer = [0; 2000];
    assert_eq!(stream.read(&mut buffer).await.expect("it lives"), 1000);
    assert_eq!(buffer[..1000], bytes[..1000]);
    stream.abort();
    longest
}

fn check(longest: u32, expected: u32, options: &[u8]) {
    assert!(
        longest == expected || longest < expected && !is_own(),
        "segments of {longest} bytes after {options:?}, not of {expected}"
    );
}

fn peers_that_call_say_what_they_take() {
    testing::run(150, async {
        let switch = Switch::new(150, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        for (number, (options, expected)) in options().into_iter().enumerate() {
            let ways = [at(3, 4000 + number as u16), at(1, 80)];
            let syn = Bare { control: Control::Syn, seq: Seq(1000), window: 60_000, ..Bare::default() };
            raw.send_syn(ways[0], ways[1], &syn, options);
            let theirs = syn_to(&mut raw, ways[0].port()).await.1;
            let ack = Bare { seq: Seq(1001), ack: Some(theirs), window: 60_000, ..Bare::default() };
            raw.send_bare(ways[0], ways[1], &ack);
            let (stream, _) = listener.accept().await.expect("the handshake is done");
            let longest = converse(&mut raw, ways, Seq(1001), theirs, &stream).await;
            check(longest, expected, options);
        }
    });
}

fn peers_that_are_called_say_what_they_take() {
    testing::run(151, async {
        let switch = Switch::new(151, Impairments::NONE);
        let (_direct, client) = stack(&switch);
        let mut raw = Raw::new(&switch, 3);
        // smoltcp's machine says nothing on the second of these connections.
        let count = if is_own() { usize::MAX } else { 1 };
        for (options, expected) in options().into_iter().take(count) {
            let caller = client.clone();
            let connecting = spawn(async move { caller.tcp().connect(at(3, 80)).await.expect("it answers") });
            let (remote, theirs) = syn_to(&mut raw, 80).await;
            let ways = [at(3, 80), remote];
            let answer =
                Bare { control: Control::Syn, seq: Seq(1000), ack: Some(theirs), window: 60_000, ..Bare::default() };
            raw.send_syn(ways[0], ways[1], &answer, options);
            let stream = connecting.await.expect("the task ends");
            raw.segments().await;
            let longest = converse(&mut raw, ways, Seq(1001), theirs, &stream).await;
            check(longest, expected, options);
        }
    });
}

/// While cookies are sent, what the peer takes is known only about; never are segments longer than that.
fn a_cookie_does_not_forget_what_the_peer_takes() {
    testing::run(152, async {
        let switch = Switch::new(152, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        let syn = Bare { control: Control::Syn, seq: Seq(1000), window: 60_000, ..Bare::default() };
        for port in 1..=256 {
            raw.send_bare(at(3, port), at(1, 80), &syn);
        }
        raw.segments().await;
        let absent = if is_ipv6() { 1220 } else { 536 };
        for (number, (options, expected)) in
            [(&[][..], absent), (&[2, 4, 0, 100], 88), (&[2, 4, 2, 24], 536), (&[2, 4, 5, 150], 1400)]
                .into_iter()
                .enumerate()
        {
            let ways = [at(3, 4000 + number as u16), at(1, 80)];
            raw.send_syn(ways[0], ways[1], &syn, options);
            let theirs = syn_to(&mut raw, ways[0].port()).await.1;
            let ack = Bare { seq: Seq(1001), ack: Some(theirs), window: 60_000, ..Bare::default() };
            raw.send_bare(ways[0], ways[1], &ack);
            let (stream, _) = listener.accept().await.expect("the handshake is done");
            let longest = converse(&mut raw, ways, Seq(1001), theirs, &stream).await;
            check(longest, expected, options);
        }
        assert_eq!(direct.snapshot().tcp.cookies, 4);
    });
}

/// Host `number` on a device with this MTU.
fn on_device(switch: &Switch, number: u8, mtu: u16) -> Result<Network, ConfigError> {
    let port = switch.port().with_info(|info| info.mtu = mtu);
    Network::direct(port, switch.pool(), config(number))
}

fn devices_with_short_and_long_packets_speak_with_each_other() {
    let least = if is_ipv6() { 1280 } else { 576 };
    for (number, mtus) in [[least, least], [least, 9000], [1280, 1500], [9000, 1500], [9000, 9000]].iter().enumerate() {
        // smoltcp's machine gets stuck with peers whose devices take much less than its own.
        if !is_own() && mtus[0] != mtus[1] {
            continue;
        }
        testing::run(153 + number as u64, async move {
            let switch = Switch::new(
                153 + number as u64,
                Impairments::NONE.with_delay(Duration::from_millis(1), Duration::ZERO),
            );
            let longest = Rc::new(Cell::new(0));
            let seen = Rc::clone(&longest);
            switch.set_filter(Some(Rc::new(move |frame| {
                seen.set(seen.get().max(frame.len()));
                true
            })));
            let [server, client] =
                [1, 2].map(|host| on_device(&switch, host, mtus[usize::from(host) - 1]).expect("the MTU is one"));
            let _echoing = echo_server(&server, 80).await;
            let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
            exchange(stream, pattern(number, 50_000)).await;
            // A page is the most that a packet takes.
            let most = usize::from(mtus[0].min(mtus[1])).min(crate::packet::MAX_HEAD);
            let shorter = if is_own() { 0 } else { 40 };
            assert!((most + 14 - shorter..=most + 14).contains(&longest.get()), "{} for {mtus:?}", longest.get());
        });
    }
}

fn a_device_that_takes_less_than_every_host_must_is_refused() {
    testing::run(158, async {
        let switch = Switch::new(158, Impairments::NONE);
        for mtu in [0, 68, 575] {
            let error = on_device(&switch, 1, mtu).err();
            #[cfg(feature = "ipv6")]
            if is_ipv6() {
                assert_eq!(error, Some(ConfigError::Ipv6Mtu(mtu)));
                continue;
            }
            assert_eq!(error, Some(ConfigError::Mtu(mtu)));
        }
    });
}

worlds! {
    peers_that_call_say_what_they_take,
    peers_that_are_called_say_what_they_take,
    a_cookie_does_not_forget_what_the_peer_takes,
    devices_with_short_and_long_packets_speak_with_each_other,
    a_device_that_takes_less_than_every_host_must_is_refused,
}
