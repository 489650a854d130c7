//! Asking.

use alloc::vec;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};

use super::PingError;
use crate::net::error::{ReceiveError, SendError};
use crate::net::host::HostUdp;
use crate::net::{Network, Stack};
use crate::runtime::Runtime;
use crate::time::{Duration, timeout};

/// The ICMP side of a network.
#[derive(Clone, Debug)]
pub struct Icmp {
    network: Network,
}

impl Network {
    /// Asking whether hosts are there.
    pub fn icmp(&self) -> Icmp {
        Icmp { network: self.clone() }
    }
}

impl Icmp {
    /// Asks the host at `to` to send `payload` back, and returns how long that took. An answer counts when it comes from there
    /// and is the same to the last byte.
    ///
    /// On the host's sockets this needs the host's permission (ICMP sockets, icmp(7)), and the payload has no bound but the host's.
    ///
    /// # Errors
    ///
    /// See [`PingError`].
    ///
    /// # Cancel safety
    ///
    /// An answer that comes later is dropped.
    pub async fn ping(&self, to: impl Into<IpAddr>, payload: &[u8], patience: Duration) -> Result<Duration, PingError> {
        let to = to.into();
        let network = self.network.towards(to).ok_or(PingError::Unreachable(to))?;
        let answer = timeout(patience, async {
            match &network.stack {
                Stack::Direct(direct) => {
                    let echo = direct.echo(to, payload)?;
                    poll_fn(|context| echo.poll(context)).await
                }
                Stack::Host(host) => ping_by_socket(&*host.icmp_bind(to)?, to, payload).await,
            }
        });
        answer.await.unwrap_or(Err(PingError::TimedOut(to)))
    }
}

/// Asks by a socket of the host, which fills identifier and checksum in, and gets only what answers it.
async fn ping_by_socket(socket: &dyn HostUdp, to: IpAddr, payload: &[u8]) -> Result<Duration, PingError> {
    let (request, reply) = if to.is_ipv4() { (8, 0) } else { (128, 129) };
    let mut sequence = [0; 2];
    Runtime::current().fill_random(&mut sequence).map_err(|error| PingError::Host(error.into()))?;
    let mut message = Vec::from([request, 0, 0, 0, 0, 0, sequence[0], sequence[1]]);
    message.extend_from_slice(payload);
    let begin = crate::runtime::now();
    let sent = poll_fn(|context| socket.poll_send(context, &message, SocketAddr::new(to, 0))).await;
    sent.map_err(|error| PingError::of_send(error, to))?;
    let mut buffer = vec![0; message.len() + 1];
    loop {
        let received = poll_fn(|context| socket.poll_receive(context, &mut buffer)).await;
        let (length, from) = received.map_err(|error| PingError::of_receive(error, to))?;
        let answer = buffer.get(..length).unwrap_or_default();
        if from.ip() == to && answer.first() == Some(&reply) && answer.get(6..) == message.get(6..) {
            return Ok(crate::runtime::now() - begin);
        }
    }
}

impl PingError {
    fn of_send(error: SendError, to: IpAddr) -> PingError {
        match error {
            SendError::TooLong { .. } => PingError::TooLong { most: 65_507 },
            SendError::Unreachable(_) => PingError::Unreachable(to),
            SendError::Down => PingError::Down,
            SendError::Host(error) => PingError::Host(error),
        }
    }

    fn of_receive(error: ReceiveError, to: IpAddr) -> PingError {
        match error {
            ReceiveError::Down => PingError::Down,
            ReceiveError::Refused(_) | ReceiveError::Unreachable(_) => PingError::Unreachable(to),
            ReceiveError::Host(error) => PingError::Host(error),
        }
    }
}
