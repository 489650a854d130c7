//! Entity tags and the condition `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1.2).

/// Characters of a digest in an entity tag.
const DIGITS: usize = 32;

/// The strong entity tag of a content with this digest: the digest's hexadecimal digits in quotes.
pub fn of(digest: u128) -> [u8; DIGITS + 2] {
    let mut tag = [b'"'; DIGITS + 2];
    for (index, digit) in tag[1..=DIGITS].iter_mut().enumerate() {
        let nibble = (digest >> (4 * (DIGITS - 1 - index))) as u8 & 0xf;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    tag
}

/// Whether a value of `If-None-Match` names `tag`, or is `*`, which every existing file matches.
///
/// Tags are compared weakly, as this condition asks: `W/"x"` matches `"x"`. A list that is not well formed ends where it is
/// not: what is sent then is the whole file, which is always right.
pub fn list_matches(list: &[u8], tag: &[u8]) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        let opaque = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(length) = quoted_length(opaque) else { return false };
        let (candidate, after) = opaque.split_at(length);
        if candidate == tag {
            return true;
        }
        rest = after.trim_ascii_start();
        if !rest.starts_with(b",") {
            return false;
        }
    }
}

/// Bytes of the quoted string at the start of `text`, both quotes counted. There is no escape in entity tags.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"\"")?;
    Some(inner.iter().position(|&byte| byte == b'"')? + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_every_digit_of_the_digest() {
        assert_eq!(&of(0x0123_4567_89ab_cdef_0011_2233_4455_6677), b"\"0123456789abcdef0011223344556677\"");
        assert_eq!(&of(0), b"\"00000000000000000000000000000000\"");
    }

    #[test]
    fn lists_match_weakly_and_anywhere() {
        for list in [&b"*"[..], b" * ", b"\"a\"", b"W/\"a\"", b"\"b\", \"a\"", b"\"b\",W/\"c,d\" ,, \"a\"", b", \"a\""]
        {
            assert!(list_matches(list, b"\"a\""), "{}", list.escape_ascii());
        }
    }

    #[test]
    fn other_and_malformed_lists_do_not() {
        for list in [
            &b""[..],
            b"\"b\"",
            b"a",
            b"\"a",
            b"\"b\" \"a\"",
            b"w/\"a\"",
            b"\"*\"",
            b"*, \"a\"",
            b"W/",
            b"\"A\"",
            b",,,",
        ] {
            assert!(!list_matches(list, b"\"a\""), "{}", list.escape_ascii());
        }
    }
}
