//! Entity tags and the condition `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1.2).

/// Whether a value of `If-None-Match` names the entity tag whose characters between the quotes are `tag`, or is `*`, which
/// every existing file matches.
///
/// Tags are compared weakly, as this condition asks: `W/"x"` matches `"x"`. A list that is not well formed ends where it is
/// not: what is sent then is the whole file, which is always right.
pub fn list_matches(list: &[u8], tag: &str) -> bool {
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
        let Some((candidate, after)) = quoted(opaque) else { return false };
        if candidate == tag.as_bytes() {
            return true;
        }
        rest = after.trim_ascii_start();
        if !rest.starts_with(b",") {
            return false;
        }
    }
}

/// The characters of the quoted string at the start of `text`, and what follows it. There is no escape in entity tags.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let length = inner.iter().position(|&byte| byte == b'"')?;
    Some((inner.get(..length)?, inner.get(length + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_match_weakly_and_anywhere() {
        for list in [&b"*"[..], b" * ", b"\"a\"", b"W/\"a\"", b"\"b\", \"a\"", b"\"b\",W/\"c,d\" ,, \"a\"", b", \"a\""]
        {
            assert!(list_matches(list, "a"), "{}", list.escape_ascii());
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
            assert!(!list_matches(list, "a"), "{}", list.escape_ascii());
        }
    }
}
