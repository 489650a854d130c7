use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::http::date::Date;
use crate::http::site::{Fields, File};

/// A machine that does not know the time.
struct NoClock;

impl Clock for NoClock {
    fn date(&self) -> Option<Date> {
        None
    }
}

/// A small site. The digests stand for the contents.
struct Sample {
    files: Vec<(&'static str, &'static [u8], &'static str, Fields)>,
}

static LARGE: [u8; 3 * SMALL] = [b'L'; 3 * SMALL];

fn sample() -> Sample {
    let files: [(&str, &[u8], &str); 6] = [
        ("index.html", b"<h1>root</h1>", "1"),
        ("a.txt", b"aaa", "2"),
        ("sub/index.html", b"<h1>sub</h1>", "3"),
        ("large.bin", &LARGE, "4"),
        ("404.html", b"nothing here", "5"),
        ("empty", b"", "6"),
    ];
    let file = |(name, content, digest): (&'static str, &'static [u8], &'static str)| {
        (name, content, digest, Fields::new(name, digest, content.len()))
    };
    Sample { files: files.into_iter().map(file).collect() }
}

impl Files for Sample {
    fn find(&self, name: &str) -> Option<File<'_>> {
        let (_, content, digest, fields) = self.files.iter().find(|(known, ..)| *known == name)?;
        Some(File { content, digest, fields })
    }
}

/// What a client sees that sends `input` in pieces of these lengths, and then no more: the bytes, and the last step.
fn exchange(input: &[u8], pieces: impl Iterator<Item = usize>) -> (Vec<u8>, Step) {
    let (mut session, mut seen, mut rest) = (Session::new(), Vec::new(), input);
    for piece in pieces.chain(std::iter::repeat(input.len().max(1))) {
        let mut give = piece.max(1).min(rest.len());
        loop {
            match session.step(&sample(), &NoClock) {
                Step::Send(content) => {
                    seen.extend_from_slice(session.output());
                    seen.extend_from_slice(content);
                    session.written();
                }
                Step::Receive { .. } if give > 0 => {
                    let space = session.space();
                    assert!(!space.is_empty(), "a session that wants to receive has room");
                    let length = give.min(space.len());
                    space[..length].copy_from_slice(&rest[..length]);
                    session.received(length);
                    (rest, give) = (&rest[length..], give - length);
                }
                step @ Step::Receive { .. } if rest.is_empty() => return (seen, step),
                Step::Receive { .. } => break,
                step @ Step::Close { .. } => return (seen, step),
            }
        }
    }
    unreachable!("the pieces never end")
}

fn once(input: &str) -> (String, Step) {
    let (seen, step) = exchange(input.as_bytes(), std::iter::once(input.len()));
    (String::from_utf8(seen).expect("these answers are text"), step)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

fn status_of(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[test]
fn files_and_folders() {
    for (path, content) in
        [("/", "<h1>root</h1>"), ("/a.txt", "aaa"), ("/sub/", "<h1>sub</h1>"), ("/a.txt?x=/..", "aaa"), ("/empty", "")]
    {
        let (answer, step) = once(&get(path));
        assert_eq!(status_of(&answer), "200", "{path}");
        assert!(
            answer.contains(&format!("Content-Length: {}\r\n", content.len()))
                && answer.ends_with(&format!("\r\n\r\n{content}"))
        );
        assert_eq!(step, Step::Receive { idle: true });
    }
}

#[test]
fn a_folder_without_its_slash_is_redirected() {
    let (answer, _) = once(&get("/su%62?a=b"));
    assert_eq!(status_of(&answer), "301");
    assert!(answer.contains("\r\nLocation: /su%62/?a=b\r\n"), "{answer}");
    assert_eq!(status_of(&once(&get("//sub")).0), "404");
}

#[test]
fn what_is_not_there() {
    for path in ["/b", "/a.txt/", "/sub/x", "//", "/sub//", "/%2e%2e%2f", "/large.bin/"] {
        let (answer, step) = once(&get(path));
        assert_eq!((status_of(&answer), step), ("404", Step::Receive { idle: true }), "{path}");
        assert!(answer.ends_with("\r\n\r\nnothing here"), "{answer}");
        assert!(!answer.contains("ETag"), "{answer}");
    }
}

#[test]
fn bad_requests_end_the_connection_only_when_their_end_is_unknown() {
    assert_eq!(once(&get("/../x")), (once(&get("/%zz")).0, Step::Receive { idle: true }));
    assert_eq!(status_of(&once(&get("/../x")).0), "400");
    let (answer, step) = once("GET / HTTP/1.1\r\n\r\n");
    assert_eq!((status_of(&answer), step), ("400", Step::Close { drain: true }));
    assert!(answer.contains("Connection: close"));
}

#[test]
fn head_is_get_without_the_content() {
    for path in ["/", "/large.bin", "/none", "/sub"] {
        let (with, _) = once(&get(path));
        let (without, _) = once(&get(path).replace("GET", "HEAD"));
        assert_eq!(with.split_inclusive("\r\n\r\n").next(), Some(without.as_str()), "{path}");
    }
}

#[test]
fn other_methods() {
    let (answer, step) = once("POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((status_of(&answer), step), ("405", Step::Close { drain: true }));
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"));
    let (answer, step) = once("BREW /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((status_of(&answer), step), ("501", Step::Receive { idle: true }));
}

#[test]
fn conditional_requests() {
    let (full, _) = once(&get("/a.txt"));
    let tag = full.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("a file has an entity tag");
    let with =
        |condition: &str| once(&format!("GET /a.txt HTTP/1.1\r\nHost: x\r\nIf-None-Match: {condition}\r\n\r\n")).0;
    let unchanged = with(tag);
    assert_eq!(status_of(&unchanged), "304");
    assert!(
        unchanged.ends_with("\r\n\r\n") && unchanged.contains(tag) && !unchanged.contains("Content-Length"),
        "{unchanged}"
    );
    assert_eq!(status_of(&with("*")), "304");
    assert_eq!(status_of(&with(&format!("\"x\", W/{tag}"))), "304");
    assert_eq!(with("\"other\""), full);
    assert_eq!(status_of(&once("GET /none HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n").0), "404");
}

#[test]
fn http_1_0_closes_unless_it_asks() {
    let (answer, step) = once("GET /a.txt HTTP/1.0\r\n\r\n");
    assert_eq!((status_of(&answer), step), ("200", Step::Close { drain: false }));
    let (answer, step) = once("GET /a.txt HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(answer.contains("\r\nConnection: keep-alive\r\n"));
    assert_eq!(step, Step::Receive { idle: true });
}

#[test]
fn pipelined_requests_are_answered_in_order_and_in_few_writes() {
    let input = format!("{}\r\n{}{}", get("/a.txt"), get("/large.bin"), get("/"));
    let (seen, step) = once(&input);
    let expected = [get("/a.txt"), get("/large.bin"), get("/")].map(|one| once(&one).0).concat();
    assert_eq!((seen, step), (expected, Step::Receive { idle: true }));

    let mut session = Session::new();
    let two = get("/a.txt") + &get("/");
    session.space()[..two.len()].copy_from_slice(two.as_bytes());
    session.received(two.len());
    // The last content is sent from where it stands.
    let content = b"<h1>root</h1>";
    assert_eq!(session.step(&sample(), &NoClock), Step::Send(content));
    assert_eq!(session.output().len() + content.len(), once(&two).0.len());
}

#[test]
fn nothing_is_answered_behind_a_close() {
    let input = String::from("GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") + &get("/");
    let (seen, step) = once(&input);
    assert_eq!(seen.matches("HTTP/1.1 200").count(), 1);
    assert_eq!(step, Step::Close { drain: true });
}

#[test]
fn another_protocol_is_refused_by_its_first_byte() {
    // The start of a TLS handshake.
    let (seen, step) = exchange(b"\x16\x03\x01", std::iter::empty());
    assert!(seen.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(step, Step::Close { drain: true });
}

#[test]
fn heads_are_bounded() {
    let long_field = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(2 * MAX_HEAD));
    let (answer, step) = once(&long_field);
    assert_eq!((status_of(&answer), step), ("431", Step::Close { drain: true }));
    let long_target = format!("GET /{}", "y".repeat(2 * MAX_HEAD));
    assert_eq!(status_of(&once(&long_target).0), "414");
    // The largest head that is taken.
    let fixed = "GET / HTTP/1.1\r\nHost: x\r\nX: \r\n\r\n".len();
    let full = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD - fixed));
    assert_eq!((status_of(&once(&full).0), full.len()), ("200", MAX_HEAD));
}

#[test]
fn a_request_that_is_late_is_refused_after_the_answers_before_it() {
    let mut session = Session::new();
    let part = b"GET /a.txt HTTP/1.1\r\nHo";
    session.space()[..part.len()].copy_from_slice(part);
    session.received(part.len());
    assert_eq!(session.step(&sample(), &NoClock), Step::Receive { idle: false });
    session.refuse(Status::RequestTimeout, &NoClock);
    assert_eq!(session.step(&sample(), &NoClock), Step::Send(&[]));
    assert!(session.output().starts_with(b"HTTP/1.1 408 "));
    session.written();
    assert_eq!(session.step(&sample(), &NoClock), Step::Close { drain: true });
}

#[test]
fn an_idle_session_is_small() {
    let mut session = Session::new();
    for _ in 0..100 {
        let many = get("/").repeat(20);
        let mut rest = many.as_bytes();
        while !rest.is_empty() {
            let length = session.space().len().min(rest.len());
            session.space()[..length].copy_from_slice(&rest[..length]);
            session.received(length);
            rest = &rest[length..];
            while let Step::Send(_) = session.step(&sample(), &NoClock) {
                session.written();
            }
        }
    }
    assert!(session.input.capacity() + session.output.capacity() <= 4 * FIRST_SPACE);
}

/// Requests, parts of them and rubbish.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..]),
        2 => Just(&b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n"[..]),
        1 => Just(&b"HEAD /sub HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"[..]),
        1 => Just(&b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"[..]),
        1 => Just(&b"GET /%2"[..]),
        1 => Just(&b"\r\n"[..]),
        1 => Just(&b": x\r\n"[..]),
        1 => Just(&b" HTTP/1.1\r\nIf-None-Match: W/\"\r\n"[..]),
    ];
    let part = prop_oneof![8 => part.prop_map(Vec::from), 1 => prop::collection::vec(any::<u8>(), 0..40)];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn pieces_make_no_difference(input in traffic(), pieces in prop::collection::vec(1_usize..60, 0..40)) {
        let (whole, step) = exchange(&input, std::iter::once(input.len()));
        let (pieced, pieced_step) = exchange(&input, pieces.into_iter());
        prop_assert_eq!(whole.escape_ascii().to_string(), pieced.escape_ascii().to_string());
        prop_assert_eq!(std::mem::discriminant(&step), std::mem::discriminant(&pieced_step));
    }

    #[test]
    fn random_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..3 * MAX_HEAD)) {
        let (seen, _) = exchange(&input, std::iter::once(input.len()));
        prop_assert!(seen.is_empty() || seen.starts_with(b"HTTP/1.1 4") || seen.starts_with(b"HTTP/1.1 5"));
    }

    #[test]
    fn random_paths_give_one_whole_answer(path in "/[ -~]{0,40}") {
        let (seen, _) = exchange(get(&path).as_bytes(), std::iter::empty());
        let text = String::from_utf8_lossy(&seen);
        prop_assert!(text.starts_with("HTTP/1.1 "), "{}", text);
        prop_assert_eq!(text.matches("HTTP/1.1 ").count(), 1);
    }
}
