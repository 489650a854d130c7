//! Which answer a request gets: from its target to a file, a redirection or a refusal.

use alloc::string::String;
use alloc::vec::Vec;

use super::entity_tag;
use super::media_type;
use super::request::{Method, Request};
use super::response;
use super::status::Status;
use super::target::{Target, TargetError};

/// The file that stands for its folder.
pub const INDEX: &str = "index.html";

/// The file whose content is sent when there is no file, if the site has it.
const NOT_FOUND: &str = "404.html";

/// A file of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Its content.
    pub content: &'static [u8],
    /// Equal for equal contents, different for different ones: hexadecimal digits.
    pub digest: &'static str,
    /// What each answer with it says.
    pub fields: &'a Fields,
}

/// The header fields that tell of a file. They are the same in each answer, so they are made once.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields {
    lines: Vec<u8>,
    /// Bytes of the first line, which is the entity tag.
    tag: usize,
}

impl Fields {
    /// Those of a file with this name, digest and length in bytes.
    pub fn new(name: &str, digest: &str, length: usize) -> Fields {
        let mut lines = Vec::new();
        response::add(&mut lines, b"\r\nETag: \"");
        response::add(&mut lines, digest.as_bytes());
        lines.push(b'"');
        let tag = lines.len();
        response::add(&mut lines, b"\r\nContent-Type: ");
        response::add(&mut lines, media_type::of(name).as_bytes());
        response::content_length(length, &mut lines);
        Fields { lines, tag }
    }

    /// The entity tag.
    fn tag(&self) -> &[u8] {
        self.lines.get(..self.tag).unwrap_or_default()
    }

    /// Type and length of the content.
    fn content(&self) -> &[u8] {
        self.lines.get(self.tag..).unwrap_or_default()
    }
}

/// The files of a site.
pub trait Files {
    /// The file `name`: segments with `/` between them, without one in front. `None` for folders and for any name
    /// without a file.
    fn find(&self, name: &str) -> Option<File<'_>>;

    /// The file that stands for the root, which is asked for the most.
    fn index(&self) -> Option<File<'_>> {
        self.find(INDEX)
    }
}

/// An answer, but for what the connection adds to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: Status,
    /// Lines of its head that tell of a file, each after the end of the line before. Of a refusal there are none.
    pub fields: &'a [u8],
    /// The content.
    pub content: Content,
    /// Where to go instead.
    pub location: Option<String>,
}

/// The content of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes, of which the fields tell.
    File(&'static [u8]),
    /// A short page that names the status.
    StatusPage,
    /// None, as of a 304: its length is not said either.
    None,
}

impl Answer<'_> {
    /// An answer that is nothing but its status.
    pub fn status(status: Status) -> Self {
        Answer { status, fields: &[], content: Content::StatusPage, location: None }
    }
}

/// The answer to `request`.
pub fn answer<'a>(request: &Request<'_>, files: &'a impl Files) -> Answer<'a> {
    match request.method {
        Method::Get | Method::Head => {}
        Method::NotAllowed => return Answer::status(Status::MethodNotAllowed),
        Method::Unknown => return Answer::status(Status::NotImplemented),
    }
    let named = request.target.and_then(|target| Ok((target, target.name()?)));
    match named {
        Ok((target, name)) => resource(&target, &name, request, files),
        Err(TargetError::NoSuchName) => not_found(files),
        Err(TargetError::Malformed) => Answer::status(Status::BadRequest),
    }
}

fn resource<'a>(target: &Target<'_>, name: &str, request: &Request<'_>, files: &'a impl Files) -> Answer<'a> {
    if name.is_empty() || name.ends_with('/') {
        let index = match name {
            "" => files.index(),
            folder => joined(folder, INDEX).and_then(|name| files.find(&name)),
        };
        return match index {
            Some(file) => conditional(file, request),
            None => not_found(files),
        };
    }
    if let Some(file) = files.find(name) {
        return conditional(file, request);
    }
    // Relative links in a folder's index need the slash in its address.
    match joined(name, "/index.html").and_then(|index| files.find(&index)).and_then(|_| with_slash(target)) {
        Some(location) => Answer { location: Some(location), ..Answer::status(Status::MovedPermanently) },
        None => not_found(files),
    }
}

/// The file, or the news that the client's copy is still right (RFC 9110, section 13.1.2).
fn conditional<'a>(file: File<'a>, request: &Request<'_>) -> Answer<'a> {
    if request.conditions.iter().any(|list| entity_tag::list_matches(list, file.digest)) {
        return Answer {
            status: Status::NotModified,
            fields: file.fields.tag(),
            content: Content::None,
            location: None,
        };
    }
    Answer { status: Status::Ok, fields: &file.fields.lines, content: Content::File(file.content), location: None }
}

fn not_found(files: &impl Files) -> Answer<'_> {
    match files.find(NOT_FOUND) {
        Some(page) => Answer {
            fields: page.fields.content(),
            content: Content::File(page.content),
            ..Answer::status(Status::NotFound)
        },
        None => Answer::status(Status::NotFound),
    }
}

/// The folder's own address: the path as it was sent, so that its encoding stays, with a slash and the query.
fn with_slash(target: &Target<'_>) -> Option<String> {
    let query = target.query.unwrap_or_default();
    let mut location = String::new();
    location.try_reserve_exact(target.path.len() + query.len() + 2).ok()?;
    location.push_str(target.path);
    location.push('/');
    if target.query.is_some() {
        location.push('?');
        location.push_str(query);
    }
    Some(location)
}

fn joined(first: &str, second: &str) -> Option<String> {
    let mut joined = String::new();
    joined.try_reserve_exact(first.len() + second.len()).ok()?;
    joined.push_str(first);
    joined.push_str(second);
    Some(joined)
}
