//! Nonsense for parsers and drivers. One program, so that its parts run beside each other.

mod corpus;
mod hostile;
