//! The xenstore client: requests, watches and transactions over the domain's ring, asynchronous and cancel safe.
//!
//! Many requests may be under way at once; each has a number by which its answer is found. There is no task of its own:
//! the ring is served when a request is made and when its event arrives.

mod transaction;
pub(crate) mod transport;
mod watch;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

pub use transaction::Transaction;
pub use transport::{Broken, Request, Xenstore};
pub use watch::{Watch, WatchEvent};

use super::wire::{self, Code, Operation, Permission};
use crate::hypervisor::DomainId;

/// A request to xenstore was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum XenstoreError {
    /// xenstored refused it.
    Refused {
        /// What was to be done.
        operation: Operation,
        /// Of which node.
        path: String,
        /// Why not.
        code: Code,
    },
    /// The path has characters that xenstore does not take, or is too long.
    Path(String),
    /// Path and value together are longer than a message.
    TooLong {
        /// Bytes of the message.
        length: usize,
    },
    /// xenstored's answer makes no sense.
    Reply(Operation),
    /// The node has no value of the form expected.
    Value {
        /// The node.
        path: String,
        /// What was expected, such as "a number".
        expected: &'static str,
    },
    /// A transaction was tried again and again, and each time another domain was faster.
    Contended,
    /// The connection was made anew, after a resume; what had been asked before has no answer.
    Interrupted,
    /// xenstored broke the protocol: there is no connection any more.
    Lost,
    /// xenstored did not answer in time.
    Silent,
}

impl XenstoreError {
    /// Whether it was refused for this reason.
    pub fn is(&self, reason: Code) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == reason)
    }
}

impl fmt::Display for XenstoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { operation, path, code } => write!(f, "xenstore: can't {} {path}: {code}", operation.verb()),
            Self::Path(path) => {
                write!(f, "xenstore: \"{path}\" is not a path: use letters, digits and -/_@ only")
            }
            Self::TooLong { length } => {
                write!(f, "xenstore: a message of {length} bytes is too long, {} is the most", wire::PAYLOAD_MAX)
            }
            Self::Reply(operation) => {
                write!(f, "xenstore: the answer to a request to {} makes no sense", operation.verb())
            }
            Self::Value { path, expected } => write!(f, "xenstore: the value of {path} is not {expected}"),
            Self::Contended => f.write_str("xenstore: other domains kept changing what a transaction read: try again"),
            Self::Interrupted => f.write_str("xenstore: made anew while the request was under way: ask again"),
            Self::Silent => f.write_str("xenstore: xenstored does not answer"),
            Self::Lost => f.write_str("xenstore: lost, because xenstored broke the protocol"),
        }
    }
}

impl core::error::Error for XenstoreError {}

/// # Requests
///
/// Paths are absolute, or relative to the domain's own directory. Every request waits for room in the bounded queue to
/// the ring. What only changes something is ready with a payload that says nothing. They are cancel safe: when the future is dropped, the request may or may not be done, and its answer is
/// thrown away.
impl Xenstore {
    /// The value of a node.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is none.
    pub fn read(&self, path: &str) -> Request {
        self.request(Operation::Read, path, b"")
    }

    /// The value of a node as text.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and when the value is not UTF-8.
    pub async fn read_text(&self, path: &str) -> Result<String, XenstoreError> {
        let value = self.read(path).await?;
        String::from_utf8(value).map_err(|_| XenstoreError::Value { path: path.to_string(), expected: "text" })
    }

    /// The value of a node as text; `None` when there is no such node.
    ///
    /// # Errors
    ///
    /// As [`read_text`](Self::read_text), but for `ENOENT`.
    pub async fn read_optional(&self, path: &str) -> Result<Option<String>, XenstoreError> {
        match self.read_text(path).await {
            Err(error) if error.is(Code::Enoent) => Ok(None),
            result => result.map(Some),
        }
    }

    /// The value of a node as a decimal number; `None` when there is no such node.
    ///
    /// # Errors
    ///
    /// As [`read_optional`](Self::read_optional), and when the value is not a number.
    pub async fn read_number(&self, path: &str) -> Result<Option<u32>, XenstoreError> {
        let Some(text) = self.read_optional(path).await? else { return Ok(None) };
        let number = text.trim().parse();
        number.map(Some).map_err(|_| XenstoreError::Value { path: path.to_string(), expected: "a number" })
    }

    /// The values of several nodes as text, in one go; `None` for those that do not exist, can't be read or are no text.
    ///
    /// # Errors
    ///
    /// When there is no answer at all.
    pub async fn read_many(&self, paths: Vec<String>) -> Result<Vec<Option<String>>, XenstoreError> {
        let answers = self.all(paths.iter().map(|path| self.read(path)).collect()).await;
        let text = |answer| match answer {
            Ok(value) => Ok(String::from_utf8(value).ok()),
            Err(XenstoreError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        answers.into_iter().map(text).collect()
    }

    /// Writes a node's value; the node, and its parents, are made if need be.
    ///
    /// # Errors
    ///
    /// `EACCES` outside of what the domain owns.
    pub fn write(&self, path: &str, value: &[u8]) -> Request {
        self.request(Operation::Write, path, value)
    }

    /// Makes a node without a value; no error when it is there already.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn mkdir(&self, path: &str) -> Request {
        self.request(Operation::Mkdir, path, b"")
    }

    /// Removes a node and all below it.
    ///
    /// # Errors
    ///
    /// `ENOENT` when its parent does not exist either.
    pub fn remove(&self, path: &str) -> Request {
        self.request(Operation::Remove, path, b"")
    }

    /// The names of a node's children, also when they are more than a message holds.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such node.
    pub async fn directory(&self, path: &str) -> Result<Vec<String>, XenstoreError> {
        match self.request(Operation::Directory, path, b"").await {
            Ok(payload) => wire::strings(&payload).map(|name| text(Operation::Directory, name)).collect(),
            Err(error) if error.is(Code::E2big) => self.directory_in_parts(path).await,
            Err(error) => Err(error),
        }
    }

    async fn directory_in_parts(&self, path: &str) -> Result<Vec<String>, XenstoreError> {
        const OPERATION: Operation = Operation::DirectoryPart;
        let mut offset = 0;
        let (mut names, mut generation) = (Vec::new(), None);
        loop {
            let text_offset = offset.to_string();
            let payload = self.request(OPERATION, path, &[text_offset.as_bytes(), b"\0"].concat()).await?;
            let end = payload.iter().position(|byte| *byte == 0).ok_or(XenstoreError::Reply(OPERATION))?;
            let (found, list) = (payload[..end].to_vec(), &payload[end + 1..]);
            if generation.as_ref().is_some_and(|known| *known != found) {
                // The directory changed in between: from the start.
                (names, generation, offset) = (Vec::new(), None, 0);
                continue;
            }
            generation = Some(found);
            // The list's end is an empty name.
            let (part, last) = match list.strip_suffix(b"\0\0") {
                Some(part) => (part, true),
                None => (list.strip_suffix(b"\0").unwrap_or(list), list == b"\0"),
            };
            for name in part.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                names.push(text(OPERATION, name)?);
            }
            match (last, part.is_empty()) {
                (true, _) => return Ok(names),
                (false, true) => return Err(XenstoreError::Reply(OPERATION)),
                (false, false) => offset += part.len() + 1,
            }
        }
    }

    /// A node's permissions; the first names the owner.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such node.
    pub async fn permissions(&self, path: &str) -> Result<Vec<Permission>, XenstoreError> {
        const OPERATION: Operation = Operation::GetPermissions;
        let payload = self.request(OPERATION, path, b"").await?;
        wire::strings(&payload).map(|text| Permission::parse(text).ok_or(XenstoreError::Reply(OPERATION))).collect()
    }

    /// Sets a node's permissions; the first names the owner.
    ///
    /// # Errors
    ///
    /// `EACCES` when the domain does not own the node.
    pub fn set_permissions(&self, path: &str, permissions: &[Permission]) -> Request {
        let mut list = String::new();
        permissions.iter().for_each(|permission| permission.emit(&mut list));
        self.request(Operation::SetPermissions, path, list.as_bytes())
    }

    /// The directory of a domain, such as `/local/domain/5`.
    ///
    /// # Errors
    ///
    /// When there is no connection.
    pub async fn domain_path(&self, domain: DomainId) -> Result<String, XenstoreError> {
        const OPERATION: Operation = Operation::GetDomainPath;
        let number = domain.to_string();
        let payload = self.request(OPERATION, &number, b"").await?;
        text(OPERATION, payload.strip_suffix(b"\0").unwrap_or(&payload))
    }
}

impl Xenstore {
    /// Whether a domain is known to xenstored.
    ///
    /// # Errors
    ///
    /// `EACCES` where xenstored lets no guest ask.
    pub async fn is_introduced(&self, domain: DomainId) -> Result<bool, XenstoreError> {
        const OPERATION: Operation = Operation::IsDomainIntroduced;
        match &self.request(OPERATION, &domain.to_string(), b"").await?[..] {
            b"T\0" | b"T" => Ok(true),
            b"F\0" | b"F" => Ok(false),
            _ => Err(XenstoreError::Reply(OPERATION)),
        }
    }

    /// Ends the watches and transactions that another program left behind in this domain before this one was started. Those of
    /// this program are set again.
    ///
    /// # Errors
    ///
    /// `ENOSYS` when this xenstored can't do that.
    pub async fn reset_watches(&self) -> Result<(), XenstoreError> {
        self.request(Operation::ResetWatches, "", b"").await?;
        self.connection.watch_all_again();
        Ok(())
    }

    /// Any request: `first`, a NUL, and `rest`. For operations that have no function of their own here, because xenstored
    /// refuses them to most domains (`EACCES`).
    pub fn raw(&self, operation: Operation, first: &str, rest: &[u8]) -> Request {
        self.request(operation, first, rest)
    }
}

fn text(operation: Operation, bytes: &[u8]) -> Result<String, XenstoreError> {
    match core::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_string()),
        Err(_) => Err(XenstoreError::Reply(operation)),
    }
}

#[cfg(test)]
mod tests;
