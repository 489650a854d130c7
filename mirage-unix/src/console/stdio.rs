//! The first console: standard input and output.
//!
//! Standard input may be a file, which can't be waited for, or a terminal that other programs use too, whose mode is not ours
//! to change. So a thread reads it, from the first read on and not beyond what one read takes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use mirage_rt::types::console::{ConsoleDevice, ConsoleError};

/// Bytes that the thread reads at once.
const PIECE: usize = 4096;

/// Standard input and output as a console.
#[derive(Default)]
pub(crate) struct Stdio {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    taken: Condvar,
}

#[derive(Default)]
struct State {
    started: bool,
    bytes: VecDeque<u8>,
    end: Option<Result<(), ConsoleError>>,
    waker: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the end, each piece when the one before was taken.
    fn read(&self, mut input: impl Read) {
        let mut piece = [0; PIECE];
        loop {
            let result = input.read(&mut piece);
            if matches!(&result, Err(error) if error.kind() == std::io::ErrorKind::Interrupted) {
                continue;
            }
            let mut state = self.state();
            match result {
                Ok(0) => state.end = Some(Ok(())),
                Ok(count) => state.bytes.extend(piece.iter().take(count)),
                Err(_) => state.end = Some(Err(ConsoleError::Io)),
            }
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
            if state.end.is_some() {
                return;
            }
            drop(self.taken.wait_while(state, |state| !state.bytes.is_empty()).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl ConsoleDevice for Stdio {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>> {
        let mut state = self.shared.state();
        if !std::mem::replace(&mut state.started, true) {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("standard input".into());
            if thread.spawn(move || shared.read(std::io::stdin())).is_err() {
                state.end = Some(Err(ConsoleError::Io));
            }
        }
        if !state.bytes.is_empty() || buffer.is_empty() {
            let count = state.bytes.read(buffer).unwrap_or(0);
            if state.bytes.is_empty() {
                self.shared.taken.notify_one();
            }
            return Poll::Ready(Ok(count));
        }
        if let Some(end) = state.end {
            return Poll::Ready(end.map(|()| 0));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Blocks as `println!` does, while whoever reads a pipe does not.
    fn poll_write(&self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ConsoleError>> {
        let mut output = std::io::stdout().lock();
        let written = output.write_all(bytes).and_then(|()| output.flush());
        Poll::Ready(written.map(|()| bytes.len()).map_err(|_| ConsoleError::Io))
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<Result<(), ConsoleError>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_comes_piece_by_piece_until_its_end() {
        let text: Vec<u8> = (0..10_000_u32).map(|index| (index % 251) as u8).collect();
        let stdio = Stdio::default();
        stdio.shared.state().started = true;
        let (shared, input) = (Arc::clone(&stdio.shared), std::io::Cursor::new(text.clone()));
        let thread = std::thread::spawn(move || shared.read(input));
        let mut read = Vec::new();
        crate::testing::run(async |_| {
            let mut buffer = [0; 300];
            loop {
                match std::future::poll_fn(|context| stdio.poll_read(context, &mut buffer)).await {
                    Ok(0) => break,
                    Ok(count) => read.extend_from_slice(&buffer[..count]),
                    Err(error) => panic!("{error}"),
                }
            }
        });
        assert_eq!(read, text);
        thread.join().expect("it ends with its input");
    }
}
