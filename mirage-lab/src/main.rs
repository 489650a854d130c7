//! Cargo's runner for images: `mirage-lab IMAGE WORDS` boots the image as a domU on a real Xen.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mirage_lab::runner::main()
}
