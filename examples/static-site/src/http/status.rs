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
    pub const fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::MovedPermanently => "301 Moved Permanently",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::UriTooLong => "414 URI Too Long",
            Status::HeaderFieldsTooLarge => "431 Request Header Fields Too Large",
            Status::NotImplemented => "501 Not Implemented",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}
