//! What can go wrong with names.

use alloc::rc::Rc;
use alloc::string::String;
use core::fmt;
use core::net::SocketAddr;

use super::name::NameError;
use crate::net::error::{BindError, ConnectError};
use crate::types::random::RandomError;

/// A name's addresses were not found. Clones are for several tasks that have asked the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LookupError {
    /// The text is no name.
    Name {
        /// The text.
        text: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The resolver was given no servers.
    NoServers,
    /// There is no such name.
    NoSuchName(String),
    /// There is such a name, and it has no addresses of the kinds that are in use.
    NoAddress(String),
    /// The name is an alias of an alias, and so on, without an end.
    TooManyAliases(String),
    /// No server has answered in time.
    NoAnswer {
        /// The name.
        name: String,
        /// The last server that was asked.
        server: SocketAddr,
    },
    /// No server could or would answer.
    Failed {
        /// The name.
        name: String,
        /// The last server that said so.
        server: SocketAddr,
        /// Its code (RFC 1035, 4.1.1): 2 is a failure, 5 a refusal; 1 also stands for an answer that makes no sense.
        code: u8,
    },
    /// No server can be reached: there is no route, or nothing there takes questions.
    Unreachable {
        /// The name.
        name: String,
        /// The last server that was tried.
        server: SocketAddr,
    },
    /// Too many names are being looked up at once.
    Busy,
    /// There is no socket for a question.
    Socket(Rc<BindError>),
    /// There are no random numbers, without which answers are easily forged.
    Random(RandomError),
    /// The network device was given up.
    Down,
    /// This resolver does not look up such things.
    Unsupported(&'static str),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LookupError::Name { text, error } => write!(f, "{text:?} is no name of a host: {error}"),
            LookupError::NoServers => f.write_str(
                "there is no name server to ask: give --dns the address of one, or have DHCP give it, or use addresses",
            ),
            LookupError::NoSuchName(name) => write!(f, "there is no host called {name}: look at its spelling"),
            LookupError::NoAddress(name) => {
                write!(
                    f,
                    "{name} has no address of a kind that this network uses: ask for the other kind, or use another host"
                )
            }
            LookupError::TooManyAliases(name) => {
                write!(f, "{name} is an alias that leads nowhere: whoever runs its zone has to mend that")
            }
            LookupError::NoAnswer { name, server } => write!(
                f,
                "no name server has answered what the address of {name} is, the last one asked was {server}: give servers \
                 that can be reached from here"
            ),
            LookupError::Failed { name, server, code } => write!(
                f,
                "the name servers do not say what the address of {name} is ({server}: code {code}): give servers that answer \
                 this machine"
            ),
            LookupError::Unreachable { name, server } => write!(
                f,
                "the address of {name} can't be asked for, {server} can't be reached: give other name servers, or a gateway \
                 to their network"
            ),
            LookupError::Busy => {
                f.write_str("too many names are being looked up at once: look up fewer, or try again later")
            }
            LookupError::Socket(error) => write!(f, "there is no socket to ask a name server: {error}"),
            LookupError::Random(error) => error.fmt(f),
            LookupError::Unsupported(what) => write!(f, "this resolver does not look up {what}: do without"),
            LookupError::Down => f.write_str("the network device was given up; the log says why"),
        }
    }
}

impl core::error::Error for LookupError {}

/// A connection to a named host was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum NamedConnectError {
    /// The text is not a host and a port.
    Target(String),
    /// The name's addresses were not found.
    Lookup(LookupError),
    /// None of the addresses took the connection; what the last one to fail had.
    Connect(ConnectError),
}

impl fmt::Display for NamedConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamedConnectError::Target(text) => {
                write!(f, "{text:?} is not a host and a port: write example.org:80, 10.0.0.1:80 or [2001:db8::1]:80")
            }
            NamedConnectError::Lookup(error) => error.fmt(f),
            NamedConnectError::Connect(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NamedConnectError {}

impl From<LookupError> for NamedConnectError {
    fn from(error: LookupError) -> Self {
        NamedConnectError::Lookup(error)
    }
}

impl From<ConnectError> for NamedConnectError {
    fn from(error: ConnectError) -> Self {
        NamedConnectError::Connect(error)
    }
}
