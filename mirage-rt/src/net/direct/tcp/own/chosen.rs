//! What the application chooses for a connection (RFC 9293, 3.9.1).

use super::connection::Connection;
use super::keep_alive::Asking;
use crate::net::{OptionError, TcpOption};
use crate::time::Instant;

impl Connection {
    /// Takes a choice up, for what it does from now on.
    #[cold]
    #[inline(never)]
    pub fn set(&mut self, now: Instant, option: TcpOption) -> Result<(), OptionError> {
        match option {
            TcpOption::NoDelay(nodelay) => self.nagle = !nodelay,
            TcpOption::UserTimeout(most) => self.rare().user_timeout = most,
            TcpOption::KeepAlive(wanted) => self.rare().asking = wanted.map(|wanted| Asking::new(wanted, now)),
            TcpOption::CongestionControl(algorithm) => self.congestion.choose(algorithm),
            TcpOption::Linger(_) => return Err(OptionError::Unsupported),
        }
        Ok(())
    }
}
