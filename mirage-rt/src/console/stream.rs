//! Consoles that a program declares: streams of bytes both ways, and lines.

use crate::cell::RefCell;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use crate::types::console::{ConsoleDevice, ConsoleError};

/// Bytes of the longest line that [`Console::read_line`] gives in one piece.
pub const LINE_MAX: usize = 4096;

/// A console that build.rs declares. Cloning gives another handle to the same one, so that one task can read and another write.
///
/// What is typed is not echoed: on Xen, who uses `xl console` sees only what the program writes.
///
/// ```
/// # async fn serve(console: mirage_rt::console::Console) -> mirage_rt::Result {
/// while let Some(line) = console.read_line().await? {
///     console.write_all(format!("you said: {line}\n").as_bytes()).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Console {
    inner: Rc<Inner>,
}

struct Inner {
    device: Rc<dyn ConsoleDevice>,
    ahead: RefCell<Ahead>,
}

/// What was read beyond the end of a line.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// The last line ended in a carriage return: a line feed that follows belongs to it.
    skip_feed: bool,
}

impl Console {
    /// A console on `device`.
    pub fn new(device: Rc<dyn ConsoleDevice>) -> Console {
        Console { inner: Rc::new(Inner { device, ahead: RefCell::default() }) }
    }

    /// Reads bytes: at least one, or 0 when the stream has ended (on Unix; consoles of Xen do not end) or `buffer` is empty.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn read(&self, buffer: &mut [u8]) -> Result<usize, ConsoleError> {
        if let Some(count) = self.inner.ahead.borrow_mut().take(buffer) {
            return Ok(count);
        }
        poll_fn(|context| self.inner.device.poll_read(context, buffer)).await
    }

    /// Reads a line, without its end: a line feed, a carriage return (which a terminal sends for the enter key), or both.
    /// `None` at the end of the stream. Bytes that are no UTF-8 become U+FFFD, a line longer than [`LINE_MAX`] bytes comes in pieces.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call goes on with what had come of the line.
    pub async fn read_line(&self) -> Result<Option<String>, ConsoleError> {
        let mut buffer = [0; 256];
        loop {
            if let Some(line) = self.inner.ahead.borrow_mut().line(false) {
                return Ok(Some(line));
            }
            let count = poll_fn(|context| self.inner.device.poll_read(context, &mut buffer)).await?;
            let mut ahead = self.inner.ahead.borrow_mut();
            if count == 0 {
                return Ok(ahead.line(true));
            }
            ahead.bytes.extend_from_slice(&buffer[..count]);
        }
    }

    /// Writes all of `bytes`; waits while the other side reads slower than that.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, a part of `bytes` may have been written.
    pub async fn write_all(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        let mut rest = bytes;
        poll_fn(|context| {
            while !rest.is_empty() {
                match self.inner.device.poll_write(context, rest) {
                    Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Waits until all bytes written have left this program, as far as the device can tell.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`], for good.
    pub async fn flush(&self) -> Result<(), ConsoleError> {
        poll_fn(|context| self.inner.device.poll_flush(context)).await
    }
}

impl Ahead {
    /// Takes bytes, if there are any.
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let count = self.bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        (count > 0).then_some(count)
    }

    /// Takes a whole line; at the end of the stream, and of a long line, what there is.
    fn line(&mut self, ended: bool) -> Option<String> {
        if self.skip_feed && self.bytes.first() == Some(&b'\n') {
            self.bytes.remove(0);
            self.skip_feed = false;
        }
        if !self.bytes.is_empty() {
            self.skip_feed = false;
        }
        let end = self.bytes.iter().take(LINE_MAX).position(|byte| matches!(byte, b'\n' | b'\r'));
        let (length, terminator) = match end {
            Some(end) => (end, 1),
            None if self.bytes.len() >= LINE_MAX => (LINE_MAX, 0),
            None if ended && !self.bytes.is_empty() => (self.bytes.len(), 0),
            None => return None,
        };
        self.skip_feed = terminator == 1 && self.bytes.get(length) == Some(&b'\r');
        let line = String::from_utf8_lossy(&self.bytes[..length]).into_owned();
        self.bytes.drain(..length + terminator);
        Some(line)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}

impl embedded_io_async::ErrorType for Console {
    type Error = ConsoleError;
}

impl embedded_io_async::Read for Console {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ConsoleError> {
        Console::read(self, buffer).await
    }
}

impl embedded_io_async::Write for Console {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ConsoleError> {
        poll_fn(|context| self.inner.device.poll_write(context, bytes)).await
    }

    async fn flush(&mut self) -> Result<(), ConsoleError> {
        Console::flush(self).await
    }
}

#[cfg(test)]
mod tests {
    use core::task::Context;

    use super::*;
    use crate::testing;

    /// Gives pieces, then ends.
    struct Pieces(RefCell<Vec<Vec<u8>>>, RefCell<Vec<u8>>);

    impl ConsoleDevice for Pieces {
        fn poll_read(&self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>> {
            let mut pieces = self.0.borrow_mut();
            if pieces.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let piece = &mut pieces[0];
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                pieces.remove(0);
            }
            Poll::Ready(Ok(count))
        }

        fn poll_write(&self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ConsoleError>> {
            self.1.borrow_mut().push(bytes[0]);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(&self, _: &mut Context<'_>) -> Poll<Result<(), ConsoleError>> {
            Poll::Ready(Ok(()))
        }
    }

    fn console(pieces: &[&[u8]]) -> (Console, Rc<Pieces>) {
        let device =
            Rc::new(Pieces(RefCell::new(pieces.iter().map(|piece| piece.to_vec()).collect()), RefCell::default()));
        (Console::new(device.clone()), device)
    }

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (console, _) = console(pieces);
        testing::run(1, async move {
            let mut lines = Vec::new();
            while let Some(line) = console.read_line().await.unwrap() {
                lines.push(line);
            }
            lines
        })
    }

    #[test]
    fn lines_end_as_terminals_and_files_end_them() {
        assert_eq!(lines(&[b"one\ntwo\r\nthree\rfour"]), ["one", "two", "three", "four"]);
        assert_eq!(lines(&[b"o", b"ne\r", b"\n", b"\ntwo\r", b"\r"]), ["one", "", "two", ""]);
        assert_eq!(lines(&[b"\xFFbad\n"]), ["\u{FFFD}bad"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn endless_lines_come_in_pieces() {
        let long = [b'x'; 2 * LINE_MAX + 3];
        let lengths: Vec<usize> = lines(&[&long, b"\n"]).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 3]);
    }

    #[test]
    fn bytes_behind_a_line_are_not_lost() {
        let (console, _) = console(&[b"line\nbytes"]);
        testing::run(1, async move {
            assert_eq!(console.read_line().await, Ok(Some("line".into())));
            let mut buffer = [0; 3];
            assert_eq!(console.read(&mut buffer).await, Ok(3));
            assert_eq!(&buffer, b"byt");
            assert_eq!(console.read_line().await, Ok(Some("es".into())));
        });
    }

    #[test]
    fn writing_goes_on_until_all_is_written() {
        let (console, device) = console(&[]);
        testing::run(1, async move { console.write_all(b"all of it").await }).unwrap();
        assert_eq!(device.1.borrow().as_slice(), b"all of it");
    }
}
