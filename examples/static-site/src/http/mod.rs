//! HTTP/1.1 for a read-only site, without any input or output: bytes in, answers out.
//!
//! [`session`] is the whole of it: it is fed what a client sent and says what to write. It follows RFC 9110 (semantics) and
//! RFC 9112 (HTTP/1.1); the sections are named where they decide something.

pub mod date;
pub mod entity_tag;
pub mod media_type;
pub mod request;
pub mod response;
pub mod session;
pub mod site;
pub mod status;
pub mod target;
