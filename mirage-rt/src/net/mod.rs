//! The network stack.

/// A network that an application uses.
#[derive(Clone, Debug)]
pub enum Network {}
