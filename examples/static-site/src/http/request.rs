//! The head of a request: from bytes to a [`Request`], or to the status that refuses it.

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use super::status::Status;
use super::target::{Target, TargetError};

/// The most header fields of a request; more are refused with 431.
pub const MAX_FIELDS: usize = 64;

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// A method that HTTP defines and a read-only site does not have.
    NotAllowed,
    /// Any other.
    Unknown,
}

impl Method {
    // Methods are case-sensitive (RFC 9110, section 9.1).
    fn of(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => Method::NotAllowed,
            _ => Method::Unknown,
        }
    }
}

/// A request whose head is complete and well formed.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub method: Method,
    /// Of which resource. The methods that are refused may have a target without a path, such as `*`.
    pub target: Result<Target<'a>, TargetError>,
    /// The connection stays open after the answer: the client wants it so, and no body follows whose end we would have
    /// to look for.
    pub keep_alive: bool,
    /// The client speaks HTTP/1.0 and must be told when its connection stays open.
    pub http_1_0: bool,
    /// Bytes of a body follow.
    pub has_body: bool,
    /// The values of `If-None-Match`, in order.
    pub conditions: Vec<&'a [u8]>,
}

/// The most `If-None-Match` fields of a request that are looked at; clients send one. Others count as not matching.
pub const MAX_CONDITIONS: usize = 4;

/// What the bytes received so far are.
#[derive(Debug)]
pub enum Head<'a> {
    /// The start of a request.
    Incomplete,
    /// A request, and how many bytes its head has.
    Complete(Request<'a>, usize),
    /// Something to refuse. The connection can't be used further.
    Refused(Status),
}

/// Reads the head at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Head<'_> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Partial) => Head::Incomplete,
        Ok(httparse::Status::Complete(length)) => match check(&parsed) {
            Ok(request) => Head::Complete(request, length),
            Err(status) => Head::Refused(status),
        },
        Err(httparse::Error::TooManyHeaders) => Head::Refused(Status::HeaderFieldsTooLarge),
        Err(httparse::Error::Version) => Head::Refused(Status::VersionNotSupported),
        Err(_) => Head::Refused(Status::BadRequest),
    }
}

fn check<'a>(parsed: &httparse::Request<'_, 'a>) -> Result<Request<'a>, Status> {
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Status::BadRequest);
    };
    let fields = Fields::read(parsed.headers)?;
    let http_1_0 = version == 0;
    // RFC 9112, section 3.2: exactly one Host, except from HTTP/1.0.
    if fields.hosts > 1 || (fields.hosts == 0 && !http_1_0) {
        return Err(Status::BadRequest);
    }
    // RFC 9112, section 6.1 and 6.3: two ways to find the body's end are an attack, or a broken client.
    if fields.transfer_encoding && (http_1_0 || fields.content_length.is_some()) {
        return Err(Status::BadRequest);
    }
    let has_body = fields.transfer_encoding || fields.content_length.is_some_and(|length| length > 0);
    let wanted = if http_1_0 { fields.keep_alive && !fields.close } else { !fields.close };
    Ok(Request {
        method: Method::of(method),
        target: Target::parse(target),
        keep_alive: wanted && !has_body,
        http_1_0,
        has_body,
        conditions: fields.conditions,
    })
}

/// What the header fields that matter here say.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    close: bool,
    keep_alive: bool,
    content_length: Option<u64>,
    transfer_encoding: bool,
    conditions: Vec<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Status> {
        let mut fields = Fields::default();
        for header in headers {
            fields.add(header.name, header.value)?;
        }
        Ok(fields)
    }

    fn add(&mut self, name: &str, value: &'a [u8]) -> Result<(), Status> {
        let name = name.as_bytes();
        // By its length a name can be one of these only.
        match name.len() {
            4 if matches(name, b"host") => self.hosts += 1,
            10 if matches(name, b"connection") => {
                // What nearly all say who say something.
                if matches(value, b"keep-alive") {
                    self.keep_alive = true;
                    return Ok(());
                }
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= matches(option, b"close");
                    self.keep_alive |= matches(option, b"keep-alive");
                }
            }
            14 if matches(name, b"content-length") => {
                // A list of equal lengths is allowed (RFC 9112, section 6.3).
                for member in value.split(|&byte| byte == b',') {
                    let length = decimal(member.trim_ascii()).ok_or(Status::BadRequest)?;
                    if self.content_length.is_some_and(|before| before != length) {
                        return Err(Status::BadRequest);
                    }
                    self.content_length = Some(length);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding = true,
            // Without memory it counts as not matching, too.
            13 if matches(name, b"if-none-match")
                && self.conditions.len() < MAX_CONDITIONS
                && self.conditions.try_reserve_exact(MAX_CONDITIONS).is_ok() =>
            {
                self.conditions.push(value);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a name or an option is the one that is `known`, which is in lower case, letters and `-`. Both are of the characters that
/// a header has: no control character can be taken for a `-`.
#[inline(always)]
fn matches<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    const { assert!(N <= size_of::<u128>()) };
    let Some(name) = name.first_chunk::<N>().filter(|_| name.len() == N) else { return false };
    // All at once: no byte is looked at by itself.
    let word = |bytes: &[u8; N]| {
        let mut word = [b' '; size_of::<u128>()];
        word[..N].copy_from_slice(bytes);
        u128::from_ne_bytes(word)
    };
    word(name) | u128::from_ne_bytes([b' '; size_of::<u128>()]) == word(known)
}

/// A number of decimal digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    fn complete(text: &str) -> Request<'_> {
        match parse(text.as_bytes()) {
            Head::Complete(request, length) => {
                assert_eq!(length, text.len());
                request
            }
            other => panic!("{text:?} gives {other:?}"),
        }
    }

    fn refused(text: &str) -> Status {
        match parse(text.as_bytes()) {
            Head::Refused(status) => status,
            other => panic!("{text:?} gives {other:?}"),
        }
    }

    #[test]
    fn a_browsers_request() {
        let request = complete("GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nif-none-match: \"t\"\r\n\r\n");
        assert_eq!(request.method, Method::Get);
        assert_eq!(request.target, Ok(Target { path: "/a", query: Some("b") }));
        assert_eq!(request.conditions[0], b"\"t\"");
        assert!(request.keep_alive && !request.http_1_0 && !request.has_body);
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let text = "HEAD /index.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        for length in 0..text.len() {
            assert!(matches!(parse(&text.as_bytes()[..length]), Head::Incomplete), "{length}");
        }
        assert_eq!(complete(text).method, Method::Head);
    }

    #[test]
    fn who_keeps_the_connection() {
        let keeps = |version: u8, field: &str| {
            complete(&format!("GET / HTTP/1.{version}\r\nHost: x\r\n{field}\r\n")).keep_alive
        };
        assert!(keeps(1, ""));
        assert!(keeps(1, "Connection: keep-alive\r\n"));
        assert!(!keeps(1, "Connection: Close\r\n"));
        assert!(!keeps(1, "Connection: keep-alive, close\r\n"));
        assert!(!keeps(1, "Connection: upgrade ,CLOSE\r\n"));
        assert!(!keeps(0, ""));
        assert!(keeps(0, "Connection: Keep-Alive\r\n"));
        assert!(!keeps(0, "Connection: Keep-Alive\r\nConnection: close\r\n"));
        assert!(complete("GET / HTTP/1.0\r\n\r\n").http_1_0);
    }

    #[test]
    fn a_body_ends_the_connection() {
        for (field, body) in [
            ("Content-Length: 5", true),
            ("Transfer-Encoding: chunked", true),
            ("Content-Length: 5, 5", true),
            ("Content-Length: 0", false),
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
            let request = complete(&text);
            assert_eq!((request.has_body, request.keep_alive), (body, !body), "{field}");
        }
    }

    #[test]
    fn unclear_framing_is_refused() {
        for fields in [
            "",
            "Host: x\r\nHost: x\r\n",
            "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Host: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            "Host: x\r\nContent-Length: 5, 6\r\n",
            "Host: x\r\nContent-Length: +5\r\n",
            "Host: x\r\nContent-Length: \r\n",
            "Host: x\r\nContent-Length: 99999999999999999999\r\n",
            "Host : x\r\n",
            "Host: x\r\nA: b\r\n c\r\n",
            "Host: x\r\nA: b\rc\r\n",
            "Host: x\r\nA\r\n",
        ] {
            assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), Status::BadRequest, "{fields:?}");
        }
        assert_eq!(refused("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Status::BadRequest);
    }

    #[test]
    fn what_is_not_http_1_is_refused() {
        assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Status::VersionNotSupported);
        assert_eq!(refused("\u{16}\u{3}\u{1}\u{2}"), Status::BadRequest);
        assert_eq!(refused("GET /\r\n\r\n"), Status::BadRequest);
        assert_eq!(refused("GET  / HTTP/1.1\r\nHost: x\r\n\r\n"), Status::BadRequest);
    }

    #[test]
    fn fields_are_bounded() {
        let fields: String = (0..MAX_FIELDS).map(|index| format!("X-{index}: y\r\n")).collect();
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")), Status::HeaderFieldsTooLarge);
        let conditions: String = (0..9).map(|index| format!("If-None-Match: \"{index}\"\r\n")).collect();
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{conditions}\r\n");
        assert_eq!(complete(&text).conditions[MAX_CONDITIONS - 1], b"\"3\"");
    }

    #[test]
    fn methods() {
        for (name, method) in [("PATCH", Method::NotAllowed), ("get", Method::Unknown), ("BREW", Method::Unknown)] {
            assert_eq!(complete(&format!("{name} / HTTP/1.1\r\nHost: x\r\n\r\n")).method, method);
        }
        let options = complete("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((options.method, options.target), (Method::NotAllowed, Err(TargetError::Malformed)));
    }
}
