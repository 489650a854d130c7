//! Disks: files and block devices.

use std::fmt;
use std::rc::Rc;

use mirage_rt::block::Block;
use mirage_rt::boot::{BlockConnector, BlockSpec, Connecting};
use mirage_rt::keys::Values;
use mirage_rt::log::info;

use crate::disk::{Disk, DiskError};

/// Connects disks to the files that the keys `disk` name.
pub(super) struct Blocks;

impl BlockConnector for Blocks {
    fn block<'a>(&'a self, spec: &'static BlockSpec, values: &'a Values) -> Connecting<'a, Block> {
        Box::pin(async move {
            // The key has a default; without it, in a test for example, the file has the default's name.
            let path = spec.key(values, "disk").unwrap_or_else(|| format!("{}.img", spec.name));
            let disk = Disk::open(&path).map_err(|error| NotConnected { spec, error })?;
            let block = Block::new(Rc::new(disk));
            if block.info().read_only {
                info!("disk {}: {path} can't be written, so it is read-only", spec.name);
            }
            Ok(block)
        })
    }
}

/// A disk was not connected.
#[derive(Debug)]
struct NotConnected {
    spec: &'static BlockSpec,
    error: DiskError,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockSpec { name, key_prefix: prefix, .. } = self.spec;
        write!(f, "disk {name}: {}", self.error)?;
        match &self.error {
            DiskError::Missing(_) => write!(f, ", or name another file or block device with --{prefix}disk PATH"),
            DiskError::NotADisk(_) => write!(f, ": name one with --{prefix}disk PATH"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for NotConnected {}

#[cfg(test)]
mod tests {
    use mirage_rt::Runtime;
    use mirage_rt::keys::{KeyKind, KeySpec, Parsed, parse, read};

    use super::*;
    use crate::UnixPlatform;

    const fn key(name: &'static str, default: &'static str) -> KeySpec {
        KeySpec { name, kind: KeyKind::Text, read: read::text, default: Some(default), required: false, doc: "" }
    }

    static KEYS: [KeySpec; 2] = [key("disk", "absent.img"), key("log-disk", "log.img")];

    static DATA: BlockSpec = BlockSpec { name: "data", index: 0, key_prefix: "" };
    static LOG: BlockSpec = BlockSpec { name: "log", index: 0, key_prefix: "log-" };

    fn connect(spec: &'static BlockSpec, words: &[&str]) -> mirage_rt::Result<Block> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let Ok(Parsed::Values(values)) = parse(&KEYS, &words) else { panic!("these words are right: {words:?}") };
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        Runtime::new(platform).run(Blocks.block(spec, &values))
    }

    #[test]
    fn errors_name_the_disk_and_its_key() {
        let error = |spec, words: &[&str]| connect(spec, words).expect_err("this can't be a disk").to_string();
        assert_eq!(
            error(&DATA, &[]),
            "disk data: there is no absent.img: make it with `truncate -s 64M absent.img`, or name another file or \
             block device with --disk PATH"
        );
        assert_eq!(
            error(&LOG, &["--log-disk", "/dev/null"]),
            "disk log: /dev/null is neither a file nor a block device: name one with --log-disk PATH"
        );
    }

    #[test]
    fn each_disk_has_a_file_of_its_own() {
        let path = std::env::temp_dir().join(format!("mirage-connect-{}", std::process::id()));
        std::fs::write(&path, [5; 8192]).expect("the temporary folder can be written");
        let block = connect(&LOG, &["--log-disk", &path.to_string_lossy()]).expect("it is there");
        assert_eq!(block.info().sectors, 16);
        std::fs::remove_file(&path).expect("it is there");
    }
}
