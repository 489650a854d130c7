//! Connections: lines in, lines out, one after another.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use core::cell::Cell;

use mirage_rt::log::{info, warn};
use mirage_rt::net::{AcceptError, TcpListener, TcpStream};
use mirage_rt::{Duration, sleep, spawn, timeout, yield_now};

use crate::command::Command;
use crate::log::LONGEST;
use crate::store::Store;

/// The most connections at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of the longest line: an append of the longest text.
const LINE: usize = LONGEST + 16;

/// How long a client may say nothing, or not read an answer.
const IDLE: Duration = Duration::from_secs(600);

/// How long to wait before the next try when the host has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves all who connect, for ever.
///
/// # Errors
///
/// When the network is gone.
pub async fn serve_all(mut listener: TcpListener, store: Store) -> mirage_rt::Result {
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
            let store = store.clone();
            drop(spawn(async move {
                // A client that breaks its connection off is no concern of the server's.
                let _ = serve(&stream, &store).await;
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

/// Answers line by line until the client ends the connection, says `quit` or says nothing for [`IDLE`].
async fn serve(stream: &TcpStream, store: &Store) -> mirage_rt::Result {
    let mut buffer = vec![0; LINE];
    let mut filled = 0;
    loop {
        while let Some(end) = buffer.iter().take(filled).position(|byte| *byte == b'\n') {
            let (mut answer, quit) = answer(buffer.get(..end).unwrap_or_default(), store).await;
            answer.push('\n');
            timeout(IDLE, stream.write_all(answer.as_bytes())).await??;
            if quit {
                return Ok(stream.shutdown()?);
            }
            buffer.copy_within(end + 1..filled, 0);
            filled -= end + 1;
        }
        let Some(space) = buffer.get_mut(filled..).filter(|space| !space.is_empty()) else {
            timeout(IDLE, stream.write_all(b"error the line is too long\n")).await??;
            return Ok(stream.shutdown()?);
        };
        match timeout(IDLE, stream.read(space)).await?? {
            0 => return Ok(stream.shutdown()?),
            length => filled += length,
        }
    }
}

/// The answer to a line, and whether the connection ends with it.
async fn answer(line: &[u8], store: &Store) -> (String, bool) {
    let Ok(line) = core::str::from_utf8(line) else { return ("error the line is not UTF-8".into(), false) };
    match Command::parse(line.strip_suffix('\r').unwrap_or(line)) {
        Ok(command) => {
            let quit = command == Command::Quit;
            (store.perform(command).await, quit)
        }
        Err(error) => (alloc::format!("error {error}"), false),
    }
}
