//! A guest in C of a hundred lines, built for each test run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

/// A folder for one test.
pub fn folder() -> io::Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("mirage-lab-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = env::temp_dir().join(name);
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// The guest's image, removed with this value.
pub struct Guest {
    folder: PathBuf,
}

impl Guest {
    /// Compiles it.
    pub fn build() -> io::Result<Self> {
        let guest = Self { folder: folder()? };
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/product/lab/guest");
        let output = Command::new("cc")
            .args(["-O2", "-Wall", "-Werror", "-ffreestanding", "-fno-pic", "-fno-pie", "-no-pie", "-mno-red-zone"])
            .args([
                "-fno-stack-protector",
                "-mgeneral-regs-only",
                "-fcf-protection=none",
                "-fno-asynchronous-unwind-tables",
            ])
            .args([
                "-nostdlib",
                "-static",
                "-Wl,--build-id=none",
                "-Wl,-z,max-page-size=4096",
                "-Wl,--no-warn-rwx-segments",
            ])
            .arg("-T")
            .arg(sources.join("link.ld"))
            .arg("-o")
            .arg(guest.image())
            .args([sources.join("entry.S"), sources.join("guest.c")])
            .output()?;
        if output.status.success() {
            return Ok(guest);
        }
        Err(io::Error::other(format!("cc: {}", String::from_utf8_lossy(&output.stderr))))
    }

    /// The file.
    pub fn image(&self) -> PathBuf {
        self.folder.join("guest.elf")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
