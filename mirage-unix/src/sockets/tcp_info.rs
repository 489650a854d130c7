//! What Linux knows of a TCP connection, as mirage-rt tells it.
//!
//! `struct tcp_info` has grown with the kernel and goes on to: each field is looked up at its place and is unknown where this
//! kernel's ends before it.

use std::time::Duration;

use mirage_rt::net::{TcpInfo, TcpState};
use rustix::fd::BorrowedFd;
use rustix::io::ioctl_fionread;

use super::sys;

/// Where the fields are: Linux include/uapi/linux/tcp.h. All but the state have 32 bits.
mod place {
    pub const STATE: usize = 0;
    /// Microseconds.
    pub const TIMEOUT: usize = 8;
    pub const SEGMENT: usize = 16;
    /// Milliseconds since data, and an acknowledgement, came.
    pub const LAST_DATA: usize = 52;
    pub const LAST_ACKNOWLEDGEMENT: usize = 56;
    /// Microseconds.
    pub const ROUND_TRIP: usize = 68;
    /// Segments.
    pub const THRESHOLD: usize = 76;
    pub const CONGESTION_WINDOW: usize = 80;
    pub const RETRANSMISSIONS: usize = 100;
    /// Bytes, of Linux 4.6, 5.4 and 6.2.
    pub const NOT_SENT: usize = 144;
    pub const SEND_WINDOW: usize = 228;
    pub const RECEIVE_WINDOW: usize = 232;
}

/// A threshold that no window reaches: there is none (`TCP_INFINITE_SSTHRESH`).
const NO_THRESHOLD: u32 = 0x7fff_ffff;

/// How the connection of `socket` is doing; `None` when the host does not say.
pub(super) fn of(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    let mut bytes = [0; sys::MOST_INFO];
    let info = sys::tcp_info(socket, &mut bytes).ok()?;
    let readable = ioctl_fionread(socket).ok()?;
    let unacknowledged = sys::unacknowledged(socket).ok()?;
    read(info, usize::try_from(readable).unwrap_or(usize::MAX), unacknowledged)
}

/// Reads a `struct tcp_info`.
fn read(bytes: &[u8], readable: usize, unacknowledged: usize) -> Option<TcpInfo> {
    let field = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    // Zero is what has not been measured yet, or is not known without a peer.
    let positive = |at: usize| field(at).filter(|value| *value > 0);
    let microseconds = |at: usize| positive(at).map(|time| Duration::from_micros(time.into()));
    let segment = positive(place::SEGMENT).map(|bytes| bytes as usize);
    let in_bytes = |segments: u32| Some((segments as usize).saturating_mul(segment?));
    let state = state(*bytes.get(place::STATE)?)?;
    let mut info = TcpInfo::new(state, readable, unacknowledged);
    info.in_flight = field(place::NOT_SENT).map(|rest| unacknowledged.saturating_sub(rest as usize));
    info.segment_size = segment;
    info.congestion_window = positive(place::CONGESTION_WINDOW).and_then(in_bytes);
    info.slow_start_threshold =
        field(place::THRESHOLD).filter(|threshold| *threshold < NO_THRESHOLD).and_then(in_bytes);
    info.send_window = field(place::SEND_WINDOW).map(|bytes| bytes as usize);
    info.receive_window = field(place::RECEIVE_WINDOW).map(|bytes| bytes as usize);
    info.round_trip = microseconds(place::ROUND_TRIP);
    info.retransmission_timeout = microseconds(place::TIMEOUT);
    info.retransmissions = field(place::RETRANSMISSIONS).map(u64::from);
    if state != TcpState::SynSent {
        let last = [place::LAST_DATA, place::LAST_ACKNOWLEDGEMENT].into_iter().filter_map(field).min();
        info.silence = last.map(|time| Duration::from_millis(time.into()));
    }
    Some(info)
}

/// Linux include/net/tcp_states.h.
fn state(number: u8) -> Option<TcpState> {
    Some(match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        3 | 12 => TcpState::SynReceived,
        4 => TcpState::FinWait1,
        5 => TcpState::FinWait2,
        6 => TcpState::TimeWait,
        7 => TcpState::Closed,
        8 => TcpState::CloseWait,
        9 => TcpState::LastAck,
        11 => TcpState::Closing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn fields_that_a_kernel_lacks_are_unknown() {
        let mut bytes = [0; 248];
        bytes[place::STATE] = 1;
        for (at, value) in [
            (place::TIMEOUT, 204_000_u32),
            (place::SEGMENT, 1448),
            (place::LAST_DATA, 70),
            (place::LAST_ACKNOWLEDGEMENT, 30),
            (place::ROUND_TRIP, 1500),
            (place::THRESHOLD, 7),
            (place::CONGESTION_WINDOW, 10),
            (place::RETRANSMISSIONS, 3),
            (place::NOT_SENT, 900),
            (place::SEND_WINDOW, 65_535),
            (place::RECEIVE_WINDOW, 32_000),
        ] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut all = TcpInfo::new(TcpState::Established, 5, 1000);
        all.in_flight = Some(100);
        all.segment_size = Some(1448);
        all.congestion_window = Some(14_480);
        all.slow_start_threshold = Some(10_136);
        all.send_window = Some(65_535);
        all.receive_window = Some(32_000);
        all.round_trip = Some(Duration::from_micros(1500));
        all.retransmission_timeout = Some(Duration::from_millis(204));
        all.retransmissions = Some(3);
        all.silence = Some(Duration::from_millis(30));
        assert_eq!(read(&bytes, 5, 1000), Some(all));
        // Linux 2.6 to 4.5, and a threshold that is none.
        bytes[place::THRESHOLD..place::THRESHOLD + 4].copy_from_slice(&NO_THRESHOLD.to_ne_bytes());
        (all.in_flight, all.send_window, all.receive_window, all.slow_start_threshold) = (None, None, None, None);
        assert_eq!(read(&bytes[..104], 5, 1000), Some(all));
        assert_eq!(read(&bytes[..1], 0, 0), Some(TcpInfo::new(TcpState::Established, 0, 0)));
        for unknown in [&[][..], &[0], &[10], &[13]] {
            assert_eq!(read(unknown, 0, 0), None);
        }
    }

    #[test]
    fn linux_tells_what_it_knows_of_a_connection() {
        testing::run(|network| async move {
            let mut listener = network.tcp().bind(0).await.expect("a port is free");
            let client = network.tcp().connect(listener.local_addr()).await.expect("the listener is there");
            let (server, _) = listener.accept().await.expect("the client comes");
            let of = |stream: &mirage_rt::net::TcpStream| stream.info().expect("every Linux says it");
            let mut buffer = [0; 1000];
            for _ in 0..10 {
                client.write_all(&[7; 1000]).await.expect("the server reads");
                server.readable().await.expect("it comes");
                // Of these bytes some were read from the host to be looked at.
                assert_eq!(of(&server).readable, 1000);
                assert_eq!(server.read(&mut buffer).await.ok(), Some(1000));
                server.write_all(&buffer).await.expect("the client reads");
                client.readable().await.expect("it comes");
                assert_eq!(client.read(&mut buffer).await.ok(), Some(1000));
            }
            let info = of(&client);
            assert_eq!((info.state, info.readable, info.unacknowledged), (TcpState::Established, 0, 0), "{info:?}");
            assert_eq!(info.in_flight, Some(0), "{info:?}");
            // Little is lost here, and no test stops for so long.
            let bound = Duration::from_secs(10);
            assert!(info.round_trip.is_some_and(|time| time < bound), "{info:?}");
            assert!(info.retransmission_timeout >= info.round_trip && info.silence < Some(bound), "{info:?}");
            assert!(info.segment_size > Some(500) && info.congestion_window >= info.segment_size, "{info:?}");
            assert!(info.retransmissions < Some(10) && info.retransmissions.is_some(), "{info:?}");
            // What nobody reads stays with the two hosts.
            let large = vec![0; 30_000_000];
            let written = mirage_rt::timeout(Duration::from_millis(50), client.write(&large)).await;
            let written = written.expect("there is room for some").expect("it is open");
            let (sender, receiver) = (of(&client), of(&server));
            assert!(sender.unacknowledged + receiver.readable >= written, "{sender:?} {receiver:?}");
            assert!(sender.in_flight <= Some(sender.unacknowledged), "{sender:?}");
            client.shutdown().expect("it is open");
            assert!(matches!(of(&client).state, TcpState::FinWait1), "{:?}", of(&client));
            client.abort();
            assert_eq!(client.info(), Some(TcpInfo::new(TcpState::Closed, 0, 0)));
        });
    }
}
