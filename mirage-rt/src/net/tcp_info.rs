//! How a connection is doing.

use crate::time::Duration;

/// The states of a connection (RFC 9293, 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the RFC, which explains them")]
pub enum TcpState {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// What is known of a connection, as by `TCP_INFO` on Linux; see [`TcpStream::info`](super::TcpStream::info). What is `None` is not
/// known, either not yet or not at all.
///
/// On the host's sockets it is what Linux says. Linux counts windows in segments: they are taken to be full ones. A connection in
/// TIME_WAIT is `Closed` there, as its socket has left it. `send_window` is known since Linux 5.4, `receive_window` since 6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Where it stands.
    pub state: TcpState,
    /// Bytes that have come and were not read.
    pub readable: usize,
    /// Bytes that were written and not acknowledged, sent or not; the end counts as one.
    pub unacknowledged: usize,
    /// Bytes that have been sent and not acknowledged.
    pub in_flight: Option<usize>,
    /// The most bytes of data in a segment that is sent.
    pub segment_size: Option<usize>,
    /// Bytes that may be under way for the path's sake.
    pub congestion_window: Option<usize>,
    /// Up to which congestion window it grows fast; none before the first loss.
    pub slow_start_threshold: Option<usize>,
    /// Bytes that the peer takes beyond those it has acknowledged.
    pub send_window: Option<usize>,
    /// Bytes that the peer was told it may send.
    pub receive_window: Option<usize>,
    /// The smoothed time of a round trip.
    pub round_trip: Option<Duration>,
    /// How long an acknowledgement may take before something is sent again.
    pub retransmission_timeout: Option<Duration>,
    /// How often something was sent again.
    pub retransmissions: Option<u64>,
    /// For how long nothing was heard of the peer.
    pub silence: Option<Duration>,
}

impl TcpInfo {
    /// Nothing but the state and the queues is known. Where more is, the caller fills it in.
    pub const fn new(state: TcpState, readable: usize, unacknowledged: usize) -> TcpInfo {
        TcpInfo {
            state,
            readable,
            unacknowledged,
            in_flight: None,
            segment_size: None,
            congestion_window: None,
            slow_start_threshold: None,
            send_window: None,
            receive_window: None,
            round_trip: None,
            retransmission_timeout: None,
            retransmissions: None,
            silence: None,
        }
    }
}
