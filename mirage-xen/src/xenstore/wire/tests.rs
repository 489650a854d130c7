use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

use super::*;

fn message(operation: u32, request: u32, payload: &[u8]) -> Message {
    let header = Header { operation, request, transaction: 3, length: payload.len() as u32 };
    Message { header, payload: payload.to_vec() }
}

#[test]
fn a_header_is_four_little_endian_words() {
    let header = Header { operation: 2, request: 0x0102_0304, transaction: 0, length: 5 };
    assert_eq!(header.emit(), [2, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(Header::parse(&header.emit()), header);
}

#[test]
fn a_payload_that_is_too_long_ends_the_stream() {
    let header = Header { operation: 2, request: 1, transaction: 0, length: 4097 }.emit();
    assert_eq!(Assembler::default().feed(&mut &header[..]), Err(Oversize { length: 4097 }));
    let header = Header { operation: 2, request: 1, transaction: 0, length: u32::MAX }.emit();
    assert_eq!(Assembler::default().feed(&mut &header[..]), Err(Oversize { length: u32::MAX }));
}

#[test]
fn every_operation_has_its_verb() {
    let verbs = [
        (Operation::Directory, "list"),
        (Operation::TransactionEnd, "end a transaction"),
        (Operation::GetDomainPath, "find the directory of domain"),
        (Operation::IsDomainIntroduced, "look up domain"),
        (Operation::ResetWatches, "reset all watches"),
        (Operation::DirectoryPart, "list"),
    ];
    assert_eq!(verbs.map(|(operation, _)| operation.verb()), verbs.map(|(_, verb)| verb));
    assert!((0..100).filter_map(Operation::from_code).all(|operation| !operation.verb().is_empty()));
}

#[test]
fn every_error_has_its_name() {
    for code in CODES {
        assert_eq!(code.name(), format!("{code:?}").to_uppercase());
        assert_eq!(Code::parse(format!("{}\0", code.name()).as_bytes()), code);
        assert!(!code.explain().is_empty());
    }
    assert_eq!(Code::Unknown.name(), "an unknown error");
    assert_eq!(Code::parse(b"EWHATEVER\0"), Code::Unknown);
    assert_eq!(Code::Enoent.to_string(), "it does not exist (ENOENT)");
}

#[test]
fn strings_end_with_a_nul_or_with_the_payload() {
    let parts = |payload: &'static [u8]| strings(payload).collect::<Vec<_>>();
    assert_eq!(parts(b""), Vec::<&[u8]>::new());
    assert_eq!(parts(b"a\0bc\0"), [&b"a"[..], b"bc"]);
    assert_eq!(parts(b"a\0bc"), [&b"a"[..], b"bc"]);
    assert_eq!(parts(b"a\0\0"), [&b"a"[..], b""]);
}

#[test]
fn paths_are_checked_as_xenstored_does() {
    for good in ["/", "device/vif/0", "/local/domain/0", "@releaseDomain", "a-b_c"] {
        assert!(is_valid_path(good.as_bytes()), "{good}");
    }
    let long = "/".to_string() + &"a".repeat(ABSOLUTE_PATH_MAX);
    for bad in ["", "a b", "a//b", "a/", "a\0b", "ä", &long, &long[1..]] {
        assert!(!is_valid_path(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn permissions_are_a_letter_and_a_domain() {
    for (text, access) in [("n0", Access::None), ("r1", Access::Read), ("w65535", Access::Write), ("b7", Access::Both)]
    {
        let permission = Permission::parse(text.as_bytes()).expect(text);
        assert_eq!(permission.access, access);
        let mut emitted = String::new();
        permission.emit(&mut emitted);
        assert_eq!(emitted, format!("{text}\0"));
    }
    for bad in ["", "r", "x1", "r-1", "r+1", "r65536", "r1x"] {
        assert_eq!(Permission::parse(bad.as_bytes()), None, "{bad}");
    }
}

proptest! {
    /// Messages come out whole however the stream is cut.
    #[test]
    fn messages_survive_any_cut(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8), cut in 1..64_usize) {
        let messages: Vec<_> = payloads.iter().enumerate().map(|(number, payload)| message(2, number as u32, payload)).collect();
        let stream: Vec<u8> = messages.iter().flat_map(|message| [&message.header.emit()[..], &message.payload].concat()).collect();
        let mut assembler = Assembler::default();
        let mut found = Vec::new();
        for mut piece in stream.chunks(cut) {
            loop {
                let before = piece.len();
                match assembler.feed(&mut piece).expect("no payload is too long") {
                    Some(message) => found.push(message),
                    None => break,
                }
                prop_assert!(piece.len() < before || before == 0);
                if piece.is_empty() { break; }
            }
        }
        prop_assert_eq!(found, messages);
    }

    /// Any bytes at all are either messages, an unfinished one, or an error; memory stays bounded.
    #[test]
    fn garbage_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
        let mut assembler = Assembler::default();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match assembler.feed(&mut rest) {
                Ok(Some(message)) => prop_assert!(message.payload.len() <= PAYLOAD_MAX),
                Ok(None) => prop_assert!(rest.is_empty()),
                Err(Oversize { length }) => { prop_assert!(length as usize > PAYLOAD_MAX); break; }
            }
        }
    }

    #[test]
    fn parsers_of_text_take_anything(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        let _ = (Permission::parse(&bytes), Code::parse(&bytes));
        let joined: usize = strings(&bytes).map(<[u8]>::len).sum();
        prop_assert!(joined <= bytes.len());
    }
}
