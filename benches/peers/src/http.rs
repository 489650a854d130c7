//! The page of 1 KiB: how it is asked for, and an answer that is always the same.

/// Bytes of the page.
pub const PAGE: usize = 1024;

/// What ends the head of a request, and of an answer.
pub const END: &[u8] = b"\r\n\r\n";

/// A request for the page.
pub const REQUEST: &[u8] = b"GET /page.html HTTP/1.1\r\nHost: 10.1.0.2\r\n\r\n";

/// Head and content, for servers that look at no request.
pub fn fixed_answer() -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {PAGE}\r\n\r\n");
    [head.as_bytes(), &[b'x'; PAGE]].concat()
}

/// How many bytes the answer at the start of `bytes` has; `None` while its head is not complete.
///
/// # Errors
///
/// When it is no answer with the page.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let expected = head.lines().any(|line| line.eq_ignore_ascii_case(&format!("content-length: {PAGE}")));
    if !head.starts_with("HTTP/1.1 200 ") || !expected {
        return Err(format!("no answer with the page: {head}"));
    }
    Ok(Some(end + END.len() + PAGE))
}
