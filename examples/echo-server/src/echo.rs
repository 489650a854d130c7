//! Connections: each is a task that reads and writes until its client is done.

use alloc::rc::Rc;
use alloc::vec;
use core::cell::Cell;

use mirage_rt::log::{info, warn};
use mirage_rt::net::{AcceptError, TcpListener, TcpStream};
use mirage_rt::{Duration, sleep, spawn, timeout, yield_now};

/// The most connections at a time; more are closed at once.
pub const MAX_CONNECTIONS: usize = 128;

/// Bytes of a connection that are on their way back.
const BUFFER: usize = 8192;

/// How long a client may send nothing, or read nothing of what comes back.
pub const IDLE: Duration = Duration::from_secs(600);

/// How long to wait before the next try when the host has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Turns of a connection before others have theirs, when its client never lets it wait.
const TURN: u32 = 16;

/// Serves all who connect, for ever.
///
/// # Errors
///
/// When the network is gone.
pub async fn serve_all(mut listener: TcpListener) -> mirage_rt::Result {
    let open = Rc::new(Cell::new(0));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(AcceptError::Host(error)) => {
                warn!("no connection accepted: {error}");
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if open.get() < MAX_CONNECTIONS {
            let place = Place::take(&open);
            drop(spawn(async move {
                // A client that breaks its connection off is no concern of the server's.
                let _ = echo(&stream).await;
                drop(place);
            }));
        } else {
            info!("{peer} is turned away: {MAX_CONNECTIONS} connections are open");
        }
        // Those who connect without end must not keep those who are connected waiting.
        yield_now().await;
    }
}

/// One of the places for connections, given back on drop.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Place {
        open.set(open.get() + 1);
        Place(Rc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Sends back what comes until the client shuts its side down, then does the same. No step may take longer than [`IDLE`].
async fn echo(stream: &TcpStream) -> mirage_rt::Result {
    let mut buffer = vec![0; BUFFER];
    for left in (0..TURN).rev().cycle() {
        if left == 0 {
            yield_now().await;
        }
        let length = timeout(IDLE, stream.read(&mut buffer)).await??;
        if length == 0 {
            stream.shutdown()?;
            break;
        }
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let written = timeout(IDLE, stream.write(rest)).await??;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
    Ok(())
}
