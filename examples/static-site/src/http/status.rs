//! The status codes that this server gives.

/// A status code with its standard reason phrase (RFC 9110, section 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 301: the folder's address ends in a slash.
    MovedPermanently,
    /// 304: the client's copy is still right.
    NotModified,
    /// 400
    BadRequest,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 414
    UriTooLong,
    /// 431
    HeaderFieldsTooLarge,
    /// 501: the method is none that HTTP defines.
    NotImplemented,
    /// 503: too many connections.
    ServiceUnavailable,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// Code and reason phrase, as the status line has them.
    pub fn words(self) -> &'static str {
        self.line().get("HTTP/1.1 ".len()..).unwrap_or_default()
    }

    /// The status line, without its end.
    pub const fn line(self) -> &'static str {
        match self {
            Status::Ok => "HTTP/1.1 200 OK",
            Status::MovedPermanently => "HTTP/1.1 301 Moved Permanently",
            Status::NotModified => "HTTP/1.1 304 Not Modified",
            Status::BadRequest => "HTTP/1.1 400 Bad Request",
            Status::NotFound => "HTTP/1.1 404 Not Found",
            Status::MethodNotAllowed => "HTTP/1.1 405 Method Not Allowed",
            Status::RequestTimeout => "HTTP/1.1 408 Request Timeout",
            Status::UriTooLong => "HTTP/1.1 414 URI Too Long",
            Status::HeaderFieldsTooLarge => "HTTP/1.1 431 Request Header Fields Too Large",
            Status::NotImplemented => "HTTP/1.1 501 Not Implemented",
            Status::ServiceUnavailable => "HTTP/1.1 503 Service Unavailable",
            Status::VersionNotSupported => "HTTP/1.1 505 HTTP Version Not Supported",
        }
    }
}
