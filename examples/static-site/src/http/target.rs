//! Request targets: from `/a%20b/?q` to the name of a file.
//!
//! A target is decoded segment by segment after it was split, so that an encoded slash can't make a new segment. Segments
//! that have no place in a store's names (`.`, `..`, empty ones inside, encoded slashes and NULs) never reach it.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Path and query of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path as it was sent, starting with `/`.
    pub path: &'a str,
    /// What stands behind the first `?`.
    pub query: Option<&'a str>,
}

/// The target has no form that this server can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Not a target of HTTP, an encoding that is none, or a step out of the site.
    Malformed,
    /// Well formed, but nothing of a site can have this name.
    NoSuchName,
}

impl<'a> Target<'a> {
    /// Splits a target in origin form (`/path?query`) or absolute form (`http://host/path?query`, RFC 9112, section 3.2.2).
    ///
    /// # Errors
    ///
    /// [`TargetError::Malformed`] for every other form and for characters that no target may have.
    pub fn parse(target: &'a str) -> Result<Self, TargetError> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(TargetError::Malformed);
        }
        let origin = match target.strip_prefix('/') {
            Some(_) => target,
            None => origin_of_absolute(target).ok_or(TargetError::Malformed)?,
        };
        let (path, query) = match origin.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (origin, None),
        };
        Ok(Target { path: if path.is_empty() { "/" } else { path }, query })
    }

    /// The name below the site's root: decoded, without the slash in front. It ends in `/` when the path does and is
    /// empty for the root.
    ///
    /// # Errors
    ///
    /// [`TargetError::Malformed`] for a `%` without two hexadecimal digits and for the segments `.` and `..`, encoded or
    /// not: clients resolve these before they ask. [`TargetError::NoSuchName`] for empty segments, bytes that are not
    /// UTF-8, NUL and encoded slashes.
    #[inline(never)]
    pub fn name(&self) -> Result<Cow<'a, str>, TargetError> {
        let path = self.path.strip_prefix('/').ok_or(TargetError::Malformed)?;
        if path.is_empty() {
            return Ok(Cow::Borrowed(path));
        }
        // A name without an encoding is its path: nothing is copied.
        let is_encoded = path.bytes().any(|byte| byte == b'%');
        let mut bytes = Vec::new();
        if is_encoded {
            bytes.try_reserve_exact(path.len()).map_err(|_| TargetError::NoSuchName)?;
        }
        let mut segments = path.as_bytes().split(|&byte| byte == b'/').peekable();
        let mut verdict = Ok(());
        while let Some(mut segment) = segments.next() {
            let last = segments.peek().is_none();
            if is_encoded {
                let start = bytes.len();
                decode(segment, &mut bytes)?;
                segment = bytes.get(start..).unwrap_or_default();
            }
            if matches!(segment, b"." | b"..") {
                return Err(TargetError::Malformed);
            }
            if segment.contains(&0) || segment.contains(&b'/') || (segment.is_empty() && !last) {
                verdict = Err(TargetError::NoSuchName);
            }
            if is_encoded && !last {
                bytes.push(b'/');
            }
        }
        verdict?;
        match is_encoded {
            true => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| TargetError::NoSuchName),
            false => Ok(Cow::Borrowed(path)),
        }
    }
}

/// The origin form within an absolute form; it may be empty or start with `?`.
fn origin_of_absolute(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once(':')?;
    let rest = rest.strip_prefix("//")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    rest.get(end..)
}

/// Appends `segment` with its percent encoding undone.
fn decode(segment: &[u8], out: &mut Vec<u8>) -> Result<(), TargetError> {
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let Some((&[high, low], after)) = rest.split_first_chunk() else { return Err(TargetError::Malformed) };
        rest = after;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(TargetError::Malformed);
        out.push((digit(high)? * 16 + digit(low)?) as u8);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(target: &str) -> Result<Cow<'_, str>, TargetError> {
        Target::parse(target)?.name()
    }

    #[test]
    fn forms_of_a_target() {
        let parts = |target| Target::parse(target).map(|target| (target.path, target.query));
        assert_eq!(parts("/"), Ok(("/", None)));
        assert_eq!(parts("/a?b?c"), Ok(("/a", Some("b?c"))));
        assert_eq!(parts("http://host"), Ok(("/", None)));
        assert_eq!(parts("HTTP://host:8080/a/b?x=http://y/"), Ok(("/a/b", Some("x=http://y/"))));
        assert_eq!(parts("https://host?q"), Ok(("/", Some("q"))));
        for bad in [
            "",
            "*",
            "a/b",
            "host:80",
            "ftp://host/a",
            "http:///a",
            "http://",
            "://x/",
            "/a#b",
            "/ä",
            "/a b",
            "/a\u{7f}",
        ] {
            assert_eq!(parts(bad), Err(TargetError::Malformed), "{bad}");
        }
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(name("/").as_deref(), Ok(""));
        assert_eq!(name("/a%20b/c.html").as_deref(), Ok("a b/c.html"));
        assert_eq!(name("/gr%C3%BC%c3%9fe/").as_deref(), Ok("grüße/"));
        assert_eq!(name("/%2561").as_deref(), Ok("%61"));
        assert_eq!(name("/a+b..c/...").as_deref(), Ok("a+b..c/..."));
        assert_eq!(name("/a?%zz").as_deref(), Ok("a"));
    }

    #[test]
    fn no_step_leaves_the_site() {
        for path in ["/..", "/../etc/passwd", "/a/../b", "/a/./b", "/%2e%2E/x", "/.%2e", "/a/.", "/%2e"] {
            assert_eq!(name(path), Err(TargetError::Malformed), "{path}");
        }
        for path in ["//", "//host/", "/a//b", "/a%2fb", "/..%2f..%2fetc/passwd", "/%00", "/a%00.html", "/%ff", "/%c3"]
        {
            assert_eq!(name(path), Err(TargetError::NoSuchName), "{path}");
        }
        for path in ["/%", "/%4", "/%g0", "/%0g", "/%%", "/a%2", "/%+1"] {
            assert_eq!(name(path), Err(TargetError::Malformed), "{path}");
        }
    }
}
