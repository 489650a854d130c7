//! The reader of messages on anything.

use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

use super::super::message::{LONGEST, MOST_ADDRESSES, Useless, read};
use super::*;

fn asked() -> (Question, Asked) {
    let question = question("www.example");
    let asked = Asked::read(&question.message(0x1234, Some(1232)), (ip(9), 40_000).into(), false, Instant::ZERO);
    (question, asked)
}

fn sound(reply: &Reply) -> bool {
    match reply {
        Reply::Addresses { addresses, ttl } => {
            (1..=MOST_ADDRESSES).contains(&addresses.len()) && *ttl <= i32::MAX as u32
        }
        Reply::Alias { steps, ttl, .. } => (1..=MOST_ALIASES).contains(steps) && *ttl <= i32::MAX as u32,
        _ => true,
    }
}

#[test]
fn records_of_other_kinds_and_owners_do_not_count() {
    let (question, asked) = asked();
    let message = asked
        .answer()
        .a("other.example", 5, [6, 6, 6, 6])
        .aaaa("www.example", 5, [6; 16])
        .a("www.example", 60, [10, 0, 0, 1])
        .a("www.example", 50, [10, 0, 0, 1])
        .a("www.example", 40, [10, 0, 0, 2])
        .bytes();
    let reply = read(&message, 0x1234, &question);
    assert_eq!(reply, Ok(Reply::Addresses { addresses: addresses(&[1, 2]), ttl: 40 }));
    let (question, asked) = self::asked();
    let message = asked.answer().a("www.example", 0x8000_0000, [10, 0, 0, 1]).bytes();
    let reply = read(&message, 0x1234, &question);
    assert_eq!(reply, Ok(Reply::Addresses { addresses: addresses(&[1]), ttl: 0 }));
}

#[test]
fn a_message_that_costs_work_is_cut_short() {
    let (question, asked) = asked();
    // Each record's owner is a chain of pointers.
    let mut message = asked.answer().bytes();
    message[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
    let start = message.len();
    message.extend([0xC0, 12]);
    for step in 0..3000 {
        let to = (start + 2 * step) as u16 | 0xC000;
        message.extend(to.to_be_bytes());
    }
    assert_eq!(read(&message, 0x1234, &question), Err(Useless::Malformed));
    message.resize(LONGEST + 1, 0);
    assert_eq!(read(&message, 0x1234, &question), Err(Useless::Foreign));
    // More records than are looked at.
    let many = (0..100).fold(asked.answer(), |answer, _| answer.a("other.example", 60, [6, 6, 6, 6]));
    let many = many.a("www.example", 60, [10, 0, 0, 1]).soa("example", 60, 60);
    assert_eq!(read(&many.bytes(), 0x1234, &question), Ok(Reply::NoAddress { ttl: None }));
}

proptest! {
    #[test]
    fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (question, _) = asked();
        if let Ok(reply) = read(&bytes, 0x1234, &question) {
            prop_assert!(sound(&reply));
        }
    }

    /// Behind a right header and question, with anything as records.
    #[test]
    fn no_records_harm(
        counts in prop::array::uniform3(0u16..300),
        flags in prop::sample::select(vec![0x8180_u16, 0x8183, 0x8380]),
        records in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(1), Just(0xC0), Just(12)], 0..400),
    ) {
        let (question, asked) = asked();
        let mut message = asked.answer().bytes();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        for (at, count) in (6..).step_by(2).zip(counts) {
            message[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        message.extend(records);
        match read(&message, 0x1234, &question) {
            Ok(reply) => prop_assert!(sound(&reply)),
            Err(useless) => prop_assert_eq!(useless, Useless::Malformed),
        }
    }

    /// One changed byte: never a panic, and what is still an answer to the question has its number and question.
    #[test]
    fn no_changed_byte_harms(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let (question, asked) = asked();
        let answer = asked.answer().cname("www.example", 60, "web.example").a("web.example", 30, [10, 0, 0, 1]);
        let mut message = answer.soa("example", 60, 60).bytes();
        let at = at.index(message.len());
        message[at] = value;
        let read = read(&message, 0x1234, &question);
        if let Ok(reply) = &read {
            prop_assert!(sound(reply));
            prop_assert_eq!(&message[..2], &[0x12, 0x34]);
        }
    }

    #[test]
    fn questions_are_what_they_say(id in any::<u16>(), name in "[a-z]{1,20}(\\.[a-z]{1,20}){0,3}", edns in any::<Option<u16>>()) {
        let question = question(&name);
        let asked = Asked::read(&question.message(id, edns), (ip(9), 1).into(), false, Instant::ZERO);
        prop_assert_eq!((asked.id, asked.name, asked.kind, asked.edns), (id, name, 1, edns));
    }
}

#[test]
fn the_texts_of_errors_have_remedies() {
    let name = || String::from("www.example");
    let server = (ip(1), PORT).into();
    let errors: Vec<LookupError> = vec![
        LookupError::NoServers,
        LookupError::NoSuchName(name()),
        LookupError::NoAddress(name()),
        LookupError::TooManyAliases(name()),
        LookupError::NoAnswer { name: name(), server },
        LookupError::Failed { name: name(), server, code: 2 },
        LookupError::Unreachable { name: name(), server },
        LookupError::Busy,
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains(':') || text.contains(','), "{text}");
    }
}
