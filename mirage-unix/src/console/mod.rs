//! Consoles of a process: standard input and output, and sockets or terminals under a path.

mod channel;
mod stdio;

pub(crate) use channel::{Channel, ChannelError};
pub(crate) use stdio::Stdio;
