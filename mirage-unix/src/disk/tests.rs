use std::fs;
use std::path::PathBuf;

use mirage_rt::block::Block;
use mirage_rt::page::PAGE_SIZE;
use mirage_rt::{Runtime, spawn};

use super::*;

/// A file of its own for each test, of `bytes` bytes; its path.
fn file(name: &str, bytes: u64) -> String {
    let path = std::env::temp_dir().join(format!("mirage-disk-{name}-{}", std::process::id()));
    let file = fs::File::create(&path).expect("the temporary folder can be written");
    file.set_len(bytes).expect("the file can be made larger");
    path.into_os_string().into_string().expect("its name is text")
}

/// Runs `test` with the disk `path`, and removes the file.
fn run<F: Future<Output = ()>>(path: &str, test: impl FnOnce(Block) -> F) {
    let platform = crate::UnixPlatform::new().expect("a test may open descriptors");
    Runtime::new(platform).run(async {
        let disk = Disk::open(path).expect("it can be opened");
        test(Block::new(Rc::new(disk))).await;
    });
    fs::remove_file(path).expect("it is there");
}

fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|index| (index.wrapping_mul(seed | 1).wrapping_add(index >> 9) ^ seed) as u8).collect()
}

#[test]
fn what_is_written_is_in_the_file_and_is_read() {
    let path = file("round", 1 << 20);
    run(&path, async |block| {
        let bytes = pattern(5, 300 * 1024);
        block.write_bytes(3, &bytes).await.expect("it fits");
        block.flush().await.expect("the host can");
        let content = fs::read(&path).expect("it is there");
        assert!(content[3 * 512..][..bytes.len()] == bytes);
        let mut read = vec![0; bytes.len()];
        block.read_bytes(3, &mut read).await.expect("it is there");
        assert!(read == bytes);
        let mut pages = block.pages(1).expect("the pool is large");
        pages[0].fill(9);
        let (result, pages) = block.write_durable(2040, pages).await;
        assert_eq!((result, pages.len()), (Ok(()), 1));
        assert_eq!(fs::read(&path).expect("it is there")[2040 * 512..], [9; 4096]);
        assert_eq!(block.read(2041, pages).await.0, Err(BlockError::OutOfRange));
        assert_eq!(block.pool().available(), PAGES);
    });
}

#[test]
fn many_requests_are_under_way_and_no_more_than_the_queue_holds() {
    let path = file("many", 4 << 20);
    run(&path, async |block| {
        let tasks: Vec<_> = (0..200_u64)
            .map(|number| {
                let block = block.clone();
                spawn(async move {
                    let mut pages = block.pages(4).expect("the pool is large");
                    pages.iter_mut().for_each(|page| page.copy_from_slice(&pattern(number, PAGE_SIZE)));
                    let (result, pages) = block.write(number * 40, pages).await;
                    result.expect("it fits");
                    let (result, pages) = block.read(number * 40 + 8, pages).await;
                    result.expect("it fits");
                    assert!(pages[2][..] == pattern(number, PAGE_SIZE)[..]);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
    });
}

#[test]
fn a_dropped_request_gives_its_pages_back() {
    let path = file("dropped", 1 << 20);
    run(&path, async |block| {
        {
            let mut read = std::pin::pin!(block.read(0, block.pages(8).expect("the pool is large")));
            assert!(poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending())).await);
        }
        assert_eq!(block.pool().available(), PAGES - 8);
        // The task that answers runs before a later request is answered.
        block.flush().await.expect("the host can");
        while block.pool().available() < PAGES {
            block.flush().await.expect("the host can");
        }
    });
}

#[test]
fn a_hole_reads_as_zeros() {
    let path = file("hole", 1 << 20);
    run(&path, async |block| {
        block.write_bytes(0, &[7; 64 * 1024]).await.expect("it fits");
        block.discard(8, 16).await.expect("the temporary folder's file system has holes");
        let mut read = vec![0; 64 * 1024];
        block.read_bytes(0, &mut read).await.expect("it is there");
        assert_eq!((read[4095], read[4096], read[12287], read[12288]), (7, 0, 0, 7));
        assert_eq!(block.erase(0, 8).await, Err(BlockError::Unsupported));
        assert_eq!(block.discard(2040, 9).await, Err(BlockError::OutOfRange));
    });
}

#[test]
fn a_file_that_grows_or_shrinks_is_noticed_by_the_next_request() {
    let path = file("grows", 1 << 20);
    run(&path, async |block| {
        let mut changes = block.changes();
        let resize = |bytes| {
            let file = fs::OpenOptions::new().write(true).open(&path).expect("it is there");
            file.set_len(bytes).expect("it can be resized");
        };
        resize(2 << 20);
        assert_eq!(changes.next().await.sectors, 4096);
        block.write_bytes(4088, &[1; 4096]).await.expect("it is larger now");
        resize(1 << 20);
        assert_eq!(block.read(4088, block.pages(1).expect("one")).await.0, Err(BlockError::OutOfRange));
        assert_eq!(block.info().sectors, 2048);
    });
}

#[test]
fn one_program_at_a_time() {
    let path = file("busy", 1 << 20);
    run(&path, async |block| {
        let error = Disk::open(&path).expect_err("it is in use").to_string();
        assert!(error.starts_with(&format!("another process uses {path}: ")), "{error}");
        drop(block);
        // Its lock goes with its last thread.
        let start = std::time::Instant::now();
        while let Err(error) = Disk::open(&path) {
            assert!(start.elapsed().as_secs() < 30, "{error}");
            mirage_rt::sleep(mirage_rt::Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_file_that_may_not_be_written_is_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let path = file("fixed", 8192);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("it is ours");
    // Root may write it all the same.
    let root = fs::OpenOptions::new().write(true).open(&path).is_ok();
    run(&path, async |block| {
        assert_eq!(block.info().read_only, !root);
        let written = block.write_bytes(0, &[1; 4096]).await;
        assert_eq!(written, if root { Ok(()) } else { Err(BlockError::ReadOnly) });
        assert_eq!(block.read_bytes(0, &mut [0; 4096]).await, Ok(()));
    });
}

#[test]
fn what_can_be_no_disk_is_explained() {
    let error = |path: &str| match Disk::open(path) {
        Ok(_) => panic!("{path} can't be a disk"),
        Err(error) => error.to_string(),
    };
    let missing = PathBuf::from(file("missing", 0));
    let small = error(&missing.to_string_lossy());
    assert!(small.contains("has 0 bytes, and a disk at least 4096") && small.contains("truncate -s 64M"), "{small}");
    fs::remove_file(&missing).expect("it is there");
    let missing = missing.to_string_lossy();
    assert_eq!(error(&missing), format!("there is no {missing}: make it with `truncate -s 64M {missing}`"));
    for other in ["/dev/null", "/tmp", "/proc/self/fd"] {
        let text = error(other);
        assert_eq!(text, format!("{other} is neither a file nor a block device"));
    }
}
