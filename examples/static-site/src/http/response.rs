//! Answers in the form in which they are sent.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::date::Date;
use super::site::{Answer, Content};
use super::status::Status;

/// What the connection adds to an answer.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// The line that tells the time, where the machine knows it.
    pub date: Option<Date>,
    /// Only the head is sent.
    pub head_only: bool,
    /// The connection stays open afterwards.
    pub keep_alive: bool,
    /// The client speaks HTTP/1.0.
    pub http_1_0: bool,
}

/// Appends the head of `answer`, and its content when that is a status page. Returns the content that remains to be sent.
///
/// # Errors
///
/// When there is no memory for it; then `out` may end in a part of the head.
pub fn write(answer: &Answer<'_>, delivery: Delivery, out: &mut Vec<u8>) -> Result<&'static [u8], TryReserveError> {
    let location = answer.location.as_deref().unwrap_or_default();
    // More than all the fixed text below.
    out.try_reserve(512 + answer.fields.len() + location.len())?;
    add(out, answer.status.line().as_bytes());
    if let Some(date) = delivery.date {
        add(out, &date);
    }
    if answer.status == Status::MethodNotAllowed {
        add(out, b"\r\nAllow: GET, HEAD");
    }
    if !location.is_empty() {
        add(out, b"\r\nLocation: ");
        add(out, location.as_bytes());
    }
    add(out, answer.fields);
    if answer.content == Content::StatusPage {
        add(out, b"\r\nContent-Type: text/html; charset=utf-8");
        content_length(status_page_length(answer.status), out);
    }
    add(
        out,
        match (delivery.keep_alive, delivery.http_1_0) {
            (false, _) => b"\r\nConnection: close\r\n\r\n",
            (true, true) => b"\r\nConnection: keep-alive\r\n\r\n",
            (true, false) => b"\r\n\r\n",
        },
    );
    match answer.content {
        _ if delivery.head_only => Ok(&[]),
        Content::File(bytes) => Ok(bytes),
        Content::StatusPage => {
            status_page(answer.status).iter().for_each(|part| add(out, part.as_bytes()));
            Ok(&[])
        }
        Content::None => Ok(&[]),
    }
}

/// Appends the line that tells how long a content is, without its end.
pub fn content_length(length: usize, out: &mut Vec<u8>) {
    add(out, b"\r\nContent-Length: ");
    add(out, decimal(length as u64, &mut [0; 20]));
}

/// Appends a part of an answer.
// One copy: it is called in ten places.
#[inline(never)]
pub fn add(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn status_page(status: Status) -> [&'static str; 5] {
    ["<!doctype html>\n<title>", status.words(), "</title>\n<h1>", status.words(), "</h1>\n"]
}

fn status_page_length(status: Status) -> usize {
    status_page(status).iter().map(|part| part.len()).sum()
}

/// The decimal digits of `number`, in `buffer`, which has room for those of the largest one.
fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::date::imf_fixdate;
    use std::string::{String, ToString};

    const PLAIN: Delivery = Delivery { date: None, head_only: false, keep_alive: true, http_1_0: false };

    fn text(answer: &Answer<'_>, delivery: Delivery) -> String {
        let mut out = Vec::new();
        let rest = write(answer, delivery, &mut out).expect("there is memory for a head");
        out.extend_from_slice(rest);
        String::from_utf8(out).expect("these answers are text")
    }

    const FIELDS: &str = "\r\nETag: \"0001\"\r\nContent-Type: text/plain\r\nContent-Length: 5";

    fn file() -> Answer<'static> {
        Answer { status: Status::Ok, fields: FIELDS.as_bytes(), content: Content::File(b"hello"), location: None }
    }

    #[test]
    fn a_file() {
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             ETag: \"0001\"\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(text(&file(), Delivery { date: Some(imf_fixdate(784_111_777)), ..PLAIN }), expected);
        let head = text(&file(), Delivery { date: Some(imf_fixdate(784_111_777)), head_only: true, ..PLAIN });
        assert_eq!(head, expected.strip_suffix("hello").unwrap_or_default());
    }

    #[test]
    fn the_connection_is_told_where_it_is_not_the_default() {
        let connection = |keep_alive, http_1_0| {
            let text = text(&file(), Delivery { keep_alive, http_1_0, ..PLAIN });
            text.lines().find(|line| line.starts_with("Connection")).map(ToString::to_string)
        };
        assert_eq!(connection(true, false), None);
        assert_eq!(connection(true, true).as_deref(), Some("Connection: keep-alive"));
        assert_eq!(connection(false, false).as_deref(), Some("Connection: close"));
        assert_eq!(connection(false, true).as_deref(), Some("Connection: close"));
    }

    #[test]
    fn a_status_page_has_the_length_it_says() {
        let text = text(&Answer::status(Status::MethodNotAllowed), PLAIN);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends in an empty line");
        assert!(head.contains("\r\nAllow: GET, HEAD\r\n"), "{head}");
        assert!(head.contains(&std::format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert!(body.contains("405 Method Not Allowed"));
    }

    #[test]
    fn not_modified_has_no_content_and_no_length() {
        let tag = FIELDS.split_inclusive('"').take(2).collect::<String>();
        let answer = Answer { status: Status::NotModified, fields: tag.as_bytes(), content: Content::None, ..file() };
        let text = text(&answer, PLAIN);
        assert_eq!(text, "HTTP/1.1 304 Not Modified\r\nETag: \"0001\"\r\n\r\n");
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
