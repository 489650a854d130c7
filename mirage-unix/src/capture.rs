//! Packet captures in files.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use mirage_rt::log::error;
use mirage_rt::net::capture::{Sink, SinkFailed};
use mirage_rt::net::log_targets;

/// A file that a [`Capture`](mirage_rt::net::capture::Capture) is written to, for `tcpdump -r` and Wireshark.
///
/// Writing to a file makes the whole program wait for the disk: it is a tool for finding faults. When the disk is full, the
/// capture ends with a line in the log, and the network goes on.
///
/// ```
/// use mirage_rt::net::capture::Capture;
/// use mirage_rt::types::network::NetworkDevice;
/// use mirage_unix::{CaptureError, CaptureFile};
///
/// /// The device, with a capture of the first 128 bytes of each frame.
/// fn with_capture(device: impl NetworkDevice) -> Result<impl NetworkDevice, Box<dyn std::error::Error>> {
///     Ok(Capture::with_snap_length(device, CaptureFile::create("trace.pcap".as_ref())?, 128)?)
/// }
/// ```
#[derive(Debug)]
pub struct CaptureFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl CaptureFile {
    /// Makes the file `path`, in the place of one that is there.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when it can't be made.
    pub fn create(path: &Path) -> Result<CaptureFile, CaptureError> {
        match File::create(path) {
            Ok(file) => Ok(CaptureFile { path: path.to_owned(), file: BufWriter::new(file) }),
            Err(error) => Err(CaptureError { path: path.to_owned(), error }),
        }
    }

    fn done(&self, result: std::io::Result<()>) -> Result<(), SinkFailed> {
        result.map_err(|error| {
            error!(target: log_targets::CAPTURE, "{}: {error}", self.path.display());
            SinkFailed
        })
    }
}

impl Sink for CaptureFile {
    fn write(&mut self, record: &[u8]) -> Result<(), SinkFailed> {
        let result = self.file.write_all(record);
        self.done(result)
    }

    fn flush(&mut self) -> Result<(), SinkFailed> {
        let result = self.file.flush();
        self.done(result)
    }
}

/// A file for a packet capture can't be made.
#[derive(Debug)]
pub struct CaptureError {
    path: PathBuf,
    error: std::io::Error,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no packet capture can be written to {}: {}; name a folder that is there and may be written to",
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_in_the_file_once_they_were_flushed() {
        let path = std::env::temp_dir().join(format!("mirage-capture-{}.pcap", std::process::id()));
        let mut sink = CaptureFile::create(&path).expect("the folder can be written to");
        sink.write(b"header").expect("there is room");
        sink.write(b" and record").expect("there is room");
        sink.flush().expect("there is room");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"header and record");
        std::fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn a_file_that_can_not_be_made_is_said() {
        let error = CaptureFile::create("/no/such/folder/a.pcap".as_ref()).expect_err("there is no such folder");
        let text = error.to_string();
        assert!(text.starts_with("no packet capture can be written to /no/such/folder/a.pcap: No such file"), "{text}");
    }

    #[test]
    fn a_full_disk_ends_the_capture() {
        let mut sink = CaptureFile::create("/dev/full".as_ref()).expect("Linux has it");
        sink.write(b"header").expect("it waits in memory");
        assert_eq!(sink.flush(), Err(SinkFailed));
    }
}
