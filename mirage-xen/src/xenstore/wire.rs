//! Messages of the xenstore protocol (`xen/io/xs_wire.h`): headers, payloads, error names, permissions.
//!
//! Nothing here trusts a length or a character that came from the ring.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::hypervisor::DomainId;
use crate::parts::part;

/// Bytes of a message's header.
pub const HEADER: usize = 16;
/// The most bytes of a payload.
pub const PAYLOAD_MAX: usize = 4096;
/// The most bytes of a path that starts with `/`.
pub const ABSOLUTE_PATH_MAX: usize = 3072;
/// The most bytes of a path that is relative to the domain's own directory.
pub const RELATIVE_PATH_MAX: usize = 2048;

/// What a message asks for, answers or tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Operation {
    /// Talks to xenstored itself. Refused to most domains, as the others that say so.
    Control = 0,
    /// Lists a node's children.
    Directory = 1,
    /// Reads a node's value.
    Read = 2,
    /// Reads a node's permissions.
    GetPermissions = 3,
    /// Asks for events of a node and all below it.
    Watch = 4,
    /// Ends a watch.
    Unwatch = 5,
    /// Starts a transaction.
    TransactionStart = 6,
    /// Commits or drops a transaction.
    TransactionEnd = 7,
    /// Makes a domain known. Refused to most domains.
    Introduce = 8,
    /// Makes a domain unknown. Refused to most domains.
    Release = 9,
    /// Asks for a domain's own directory.
    GetDomainPath = 10,
    /// Writes a node's value.
    Write = 11,
    /// Makes a node.
    Mkdir = 12,
    /// Removes a node and all below it.
    Remove = 13,
    /// Sets a node's permissions.
    SetPermissions = 14,
    /// Tells of a change below a watched node.
    WatchEvent = 15,
    /// Answers a request that was refused.
    Error = 16,
    /// Asks whether a domain is known.
    IsDomainIntroduced = 17,
    /// Lets a domain that was shut down be so again. Refused to most domains.
    Resume = 18,
    /// Gives a domain the rights of another. Refused to most domains.
    SetTarget = 19,
    /// Ends all watches and transactions of the domain.
    ResetWatches = 21,
    /// Lists a part of a node's children.
    DirectoryPart = 22,
}

impl Operation {
    /// The operation of a code, if there is one that a guest has to do with.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Control,
            1 => Self::Directory,
            2 => Self::Read,
            3 => Self::GetPermissions,
            4 => Self::Watch,
            5 => Self::Unwatch,
            6 => Self::TransactionStart,
            7 => Self::TransactionEnd,
            8 => Self::Introduce,
            9 => Self::Release,
            10 => Self::GetDomainPath,
            11 => Self::Write,
            12 => Self::Mkdir,
            13 => Self::Remove,
            14 => Self::SetPermissions,
            15 => Self::WatchEvent,
            16 => Self::Error,
            17 => Self::IsDomainIntroduced,
            18 => Self::Resume,
            19 => Self::SetTarget,
            21 => Self::ResetWatches,
            22 => Self::DirectoryPart,
            _ => return None,
        })
    }

    /// Whether a request starts with a path, which must be one.
    pub const fn has_path(self) -> bool {
        !matches!(
            self,
            Self::Control
                | Self::TransactionStart
                | Self::TransactionEnd
                | Self::Introduce
                | Self::Release
                | Self::GetDomainPath
                | Self::IsDomainIntroduced
                | Self::Resume
                | Self::SetTarget
                | Self::ResetWatches
        )
    }

    /// What it does, as a verb for messages.
    pub fn verb(self) -> &'static str {
        part(VERBS, b'\n', self as usize)
    }
}

/// The verbs of the operations, in lines by their codes.
const VERBS: &str = "\
control xenstored by
list
read
read the permissions of
watch
unwatch
start a transaction
end a transaction
introduce domain
release domain
find the directory of domain
write
make
remove
set the permissions of
tell of
answer
look up domain
resume domain
set the target of domain

reset all watches
list";

/// A message's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Code of the operation; see [`Operation`].
    pub operation: u32,
    /// Number of the request, repeated in its answer.
    pub request: u32,
    /// The transaction it belongs to, 0 for none.
    pub transaction: u32,
    /// Bytes of the payload.
    pub length: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { operation: field(0), request: field(4), transaction: field(8), length: field(12) }
    }

    /// Writes a header.
    pub fn emit(&self) -> [u8; HEADER] {
        let fields = [self.operation, self.request, self.transaction, self.length].map(u32::to_le_bytes);
        core::array::from_fn(|index| fields[index / 4][index % 4])
    }
}

/// A whole message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its header; the length is the payload's.
    pub header: Header,
    /// Its payload, at most [`PAYLOAD_MAX`] bytes.
    pub payload: Vec<u8>,
}

/// A header claims a payload longer than [`PAYLOAD_MAX`]: the stream can't be followed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oversize {
    /// The length it claims.
    pub length: u32,
}

/// Puts messages together from the bytes of a stream, in pieces of any size.
#[derive(Default, Debug)]
pub struct Assembler {
    /// The message so far.
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes bytes from the front of `input`, up to the end of a message; the message if that is reached.
    ///
    /// # Errors
    ///
    /// [`Oversize`]; nothing more can be read from this stream.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Oversize> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.bytes.push(*byte);
            let Some((header, payload)) = self.bytes.split_first_chunk() else { continue };
            let header = Header::parse(header);
            if header.length > PAYLOAD_MAX as u32 {
                return Err(Oversize { length: header.length });
            }
            if payload.len() == header.length as usize {
                let message = Message { header, payload: payload.to_vec() };
                self.bytes.clear();
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}

/// Why xenstored refuses a request: the names it answers with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[allow(missing_docs)] // The names are Unix's and say it all; `explain` has the words.
pub enum Code {
    Einval,
    Eacces,
    Eexist,
    Eisdir,
    Enoent,
    Enomem,
    Enospc,
    Eio,
    Enotempty,
    Enosys,
    Erofs,
    Ebusy,
    Eagain,
    Eisconn,
    E2big,
    Eperm,
    /// A name that xenstored did not have when this was written.
    Unknown,
}

/// All codes but the last, in order.
const CODES: [Code; 16] = [
    Code::Einval,
    Code::Eacces,
    Code::Eexist,
    Code::Eisdir,
    Code::Enoent,
    Code::Enomem,
    Code::Enospc,
    Code::Eio,
    Code::Enotempty,
    Code::Enosys,
    Code::Erofs,
    Code::Ebusy,
    Code::Eagain,
    Code::Eisconn,
    Code::E2big,
    Code::Eperm,
];

/// Each code's name on the wire and what it means, in lines in their order.
const MEANINGS: &str = "\
EINVAL:the request is malformed
EACCES:this domain may not do that
EEXIST:it exists already
EISDIR:it is a directory
ENOENT:it does not exist
ENOMEM:xenstored is out of memory
ENOSPC:this domain's quota is used up
EIO:xenstored has an I/O error
ENOTEMPTY:it is not empty
ENOSYS:this xenstored can't do that
EROFS:it is read-only
EBUSY:it is busy
EAGAIN:another domain changed it at the same time
EISCONN:it is connected already
E2BIG:it is too big, or a quota is reached
EPERM:this domain may not do that
an unknown error:xenstored gave a reason this version does not know";

impl Code {
    /// The code of an error's payload.
    pub fn parse(payload: &[u8]) -> Self {
        let name = payload.strip_suffix(b"\0").unwrap_or(payload);
        CODES.into_iter().find(|code| code.name().as_bytes() == name).unwrap_or(Self::Unknown)
    }

    /// The code's name, as xenstored sends it.
    pub fn name(self) -> &'static str {
        self.part(0)
    }

    /// What it means.
    pub fn explain(self) -> &'static str {
        self.part(1)
    }

    fn part(self, index: usize) -> &'static str {
        part(part(MEANINGS, b'\n', self as usize), b':', index)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.explain(), self.name())
    }
}

/// The strings of a payload, each ended by a NUL; what follows the last NUL is one more, if it is not empty.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = payload.strip_suffix(b"\0").unwrap_or(payload);
    let none = payload.is_empty();
    whole.split(|byte| *byte == 0).filter(move |_| !none)
}

/// Whether xenstored takes `path`: its characters, its length, no empty component.
pub fn is_valid_path(path: &[u8]) -> bool {
    let limit = if path.first() == Some(&b'/') { ABSOLUTE_PATH_MAX } else { RELATIVE_PATH_MAX };
    let mut last = 0;
    for byte in path {
        let valid = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@');
        if !valid || (*byte == b'/' && last == b'/') {
            return false;
        }
        last = *byte;
    }
    (last != b'/' || path.len() == 1) && !path.is_empty() && path.len() < limit
}

/// What a permission allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing.
    None,
    /// To read.
    Read,
    /// To write.
    Write,
    /// Both.
    Both,
}

/// A permission of a node. The first of a list names the owner, who may do everything, and with it what all domains may
/// that are not listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Permission {
    /// Whom it is for.
    pub domain: DomainId,
    /// What it allows.
    pub access: Access,
}

impl Permission {
    /// Reads a permission such as `r5`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (letter, number) = text.split_first()?;
        let access = match letter {
            b'n' => Access::None,
            b'r' => Access::Read,
            b'w' => Access::Write,
            b'b' => Access::Both,
            _ => return None,
        };
        let domain = core::str::from_utf8(number).ok().filter(|text| !text.starts_with('+'))?.parse().ok()?;
        Some(Self { domain: DomainId(domain), access })
    }

    /// Writes a permission at the end of `text`, with its NUL.
    pub fn emit(&self, text: &mut String) {
        text.push(match self.access {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::Both => 'b',
        });
        // Writing to a string does not fail.
        let _ = fmt::write(text, format_args!("{}\0", self.domain));
    }
}

#[cfg(test)]
mod tests;
