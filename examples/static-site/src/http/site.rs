//! Which answer a request gets: from its target to a file, a redirection or a refusal.

use alloc::string::String;

use super::entity_tag;
use super::media_type;
use super::request::{Method, Request};
use super::status::Status;
use super::target::{Target, TargetError};

/// The file that stands for its folder.
const INDEX: &str = "index.html";

/// The file whose content is sent when there is no file, if the site has it.
const NOT_FOUND: &str = "404.html";

/// A file of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub content: &'static [u8],
    /// Equal for equal contents, different for different ones: hexadecimal digits.
    pub digest: &'static str,
}

/// The files of a site.
pub trait Files {
    /// The file `name`: segments with `/` between them, without one in front. `None` for folders and for any name
    /// without a file.
    fn find(&self, name: &str) -> Option<File>;
}

/// An answer, but for what the connection adds to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: Status,
    /// The content.
    pub content: Content,
    /// The file's entity tag, without its quotes. Of a refusal there is none.
    pub entity_tag: Option<&'static str>,
    /// Where to go instead.
    pub location: Option<String>,
}

/// The content of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes of this type.
    File(&'static [u8], &'static str),
    /// A short page that names the status.
    StatusPage,
    /// None, as of a 304: its length is not said either.
    None,
}

impl Answer {
    /// An answer that is nothing but its status.
    pub fn status(status: Status) -> Answer {
        Answer { status, content: Content::StatusPage, entity_tag: None, location: None }
    }
}

/// The answer to `request`.
pub fn answer(request: &Request<'_>, files: &impl Files) -> Answer {
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

fn resource(target: &Target<'_>, name: &str, request: &Request<'_>, files: &impl Files) -> Answer {
    if name.is_empty() || name.ends_with('/') {
        // The root's needs no memory. No file has an empty name.
        let below = if name.is_empty() { None } else { Some(joined(name, INDEX).unwrap_or_default()) };
        return match files.find(below.as_deref().unwrap_or(INDEX)) {
            Some(file) => conditional(file, INDEX, request),
            None => not_found(files),
        };
    }
    if let Some(file) = files.find(name) {
        return conditional(file, name, request);
    }
    // Relative links in a folder's index need the slash in its address.
    match joined(name, "/index.html").and_then(|index| files.find(&index)).and_then(|_| with_slash(target)) {
        Some(location) => Answer { location: Some(location), ..Answer::status(Status::MovedPermanently) },
        None => not_found(files),
    }
}

/// The file, or the news that the client's copy is still right (RFC 9110, section 13.1.2).
fn conditional(file: File, name: &str, request: &Request<'_>) -> Answer {
    let known = request.if_none_match.iter().any(|list| entity_tag::list_matches(list, file.digest));
    let (status, content) = match known {
        true => (Status::NotModified, Content::None),
        false => (Status::Ok, Content::File(file.content, media_type::of(name))),
    };
    Answer { status, content, entity_tag: Some(file.digest), location: None }
}

fn not_found(files: &impl Files) -> Answer {
    let mut answer = Answer::status(Status::NotFound);
    if let Some(page) = files.find(NOT_FOUND) {
        answer.content = Content::File(page.content, media_type::of(NOT_FOUND));
    }
    answer
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
