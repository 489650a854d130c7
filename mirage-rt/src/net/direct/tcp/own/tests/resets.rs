//! Resets in each state: at the position that is expected next they end the connection; elsewhere in the window they may be a
//! stranger's, and the peer is asked; outside of it they are nothing (RFC 5961, 3.2). A SYN ends nothing in any state (4.2).

use alloc::format;

use super::accepted::Server;
use super::script::Script;
use super::*;

/// How a connection gets to a state, and the positions there: the peer's next one and our own.
type Way = (TcpState, fn() -> Script, [u32; 2]);

const WAYS: [Way; 7] = [
    (TcpState::SynReceived, called_at_once, [1, 1]),
    (TcpState::Established, Script::with_sack, [1, 1]),
    (TcpState::FinWait1, || then(|script| script.shuts()), [1, 2]),
    (TcpState::FinWait2, || then(|script| script.shuts().hears("1:1 ack 2")), [1, 2]),
    (TcpState::CloseWait, || then(|script| script.hears("F 1:2 ack 1")), [2, 1]),
    (TcpState::Closing, || then(|script| script.shuts().hears("F 1:2 ack 1")), [2, 2]),
    (TcpState::LastAck, || then(|script| script.hears("F 1:2 ack 1").shuts()), [2, 2]),
];

/// Both sides have called, and the peer has not heard us.
fn called_at_once() -> Script {
    let mut script = Script::new(60_000);
    script.machine.connect(Instant::ZERO, ID, &tuple(), super::script::OURS).expect("there is memory");
    script.run();
    script.hears("S 0:1 syn-options");
    script
}

fn then(steps: fn(&mut Script) -> &mut Script) -> Script {
    let mut script = Script::with_sack();
    steps(&mut script);
    script
}

impl Script {
    fn phase(&self) -> TcpState {
        self.machine.info(self.now, ID).state
    }
}

#[test]
fn a_reset_at_the_next_position_ends_every_state() {
    for (state, way, [next, _]) in WAYS {
        for text in [format!("R {next}:{next}"), format!("R {next}:{next} ack 1")] {
            let mut script = way();
            assert_eq!(script.phase(), state);
            script.left.clear();
            script.hears(&text).is(State::Closed).until(500_000).sends(&[]);
        }
    }
}

#[test]
fn a_reset_elsewhere_in_the_window_is_a_question_in_every_state() {
    for (state, way, [next, ours]) in WAYS {
        let last = next + way().machine.expected(ID).end.since(way().machine.expected(ID).next) as u32 - 1;
        for at in [next + 1, last] {
            let mut script = way();
            script.left.clear();
            script.hears(&format!("R {at}:{at}")).sends(&[&format!("0 {ours}:{ours} ack {next}")]);
            assert_eq!(script.phase(), state, "a reset at {at}");
            // The real peer's answer.
            script.hears(&format!("R {next}:{next}")).is(State::Closed);
        }
        for at in [next - 1, last + 1, last + 100_000] {
            let mut script = way();
            script.left.clear();
            script.hears(&format!("R {at}:{at}")).sends(&[]);
            assert_eq!(script.phase(), state, "a reset at {at}");
        }
    }
}

#[test]
fn a_syn_is_a_question_in_every_state() {
    for (state, way, [next, ours]) in WAYS {
        let mut script = way();
        script.left.clear();
        script.hears(&format!("S {}:{}", next + 7, next + 8)).sends(&[&format!("0 {ours}:{ours} ack {next}")]);
        assert_eq!(script.phase(), state);
    }
}

#[test]
fn a_half_open_connection_is_ended_by_its_peer_alone() {
    let mut server = Server::new();
    for (at, stays) in [(0, true), (2, true), (5000, true), (100_000, true), (1, false)] {
        server.hears("S 0:1 syn-options");
        assert_eq!(server.tcp.half_open(), 1);
        // Our SYN is the question: it is repeated, and one that has nothing to do with it resets it at the right position.
        assert_eq!(server.hears(&format!("R {at}:{at}")), [""; 0]);
        assert_eq!(server.tcp.half_open(), usize::from(stays), "a reset at {at}");
    }
    // It is gone, and what would have ended the handshake belongs to nothing.
    assert_eq!(server.hears("1:1 ack 1"), ["R 1:1"]);
    server.hears("S 0:1 syn-options");
    server.hears("1:1 ack 1");
    assert_eq!(server.tcp.half_open(), 0);
    server.accept();
}

/// A reset while the connection waits to be accepted, and in the states that its user knows nothing of any more.
#[test]
fn the_demultiplexer_asks_in_every_state() {
    for (steps, [next, ours]) in [
        (&[][..], [1, 1]),
        (&["shut"], [1, 2]),
        (&["shut", "1:1 ack 2"], [1, 2]),
        (&["F 1:2 ack 1"], [2, 1]),
        (&["shut", "F 1:2 ack 1"], [2, 2]),
        (&["F 1:2 ack 1", "shut"], [2, 2]),
    ] {
        let mut server = Server::new();
        server.hears("S 0:1 syn-options");
        server.hears("1:1 ack 1");
        let id = server.accept();
        for step in steps {
            match *step {
                "shut" => server.tcp.shutdown(id).expect("it is open"),
                text => drop(server.hears(text)),
            }
            server.run();
        }
        let challenge = format!("{ours}:{ours} ack {next}");
        assert_eq!(server.hears(&format!("R {}:{}", next + 9, next + 9)), [&*challenge], "after {steps:?}");
        assert_eq!(server.hears(&format!("R {}:{}", next + 100_000, next + 100_000)), [""; 0]);
        assert_ne!(server.tcp.machine.state(id), State::Closed);
        assert_eq!(server.hears(&format!("R {next}:{next}")), [""; 0]);
        assert_eq!(server.tcp.machine.state(id), State::Closed);
        assert!(!server.tcp.is_busy());
    }
}
