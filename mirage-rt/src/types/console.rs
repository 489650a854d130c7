//! Consoles.

/// Where a program's lines go.
pub trait Console {
    /// Writes `bytes` in order. Never waits: what finds no room is dropped and counted. An empty slice does
    /// nothing.
    fn write(&self, bytes: &[u8]);
}

impl Console for crate::runtime::Runtime {
    fn write(&self, bytes: &[u8]) {
        self.write_console(bytes);
    }
}
