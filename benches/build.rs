//! Builds the reference guest, a minimal PVH guest in C, for the benchmarks that compare with it.

use std::path::PathBuf;

fn main() {
    let sources = ["reference-guest/start.S", "reference-guest/main.c", "reference-guest/link.ld"];
    for source in sources {
        println!("cargo::rerun-if-changed={source}");
    }
    let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=OUT_DIR is not set: build this with cargo");
        return;
    };
    let guest = out.join("reference-guest.elf");
    let mut command = cc::Build::new().opt_level(2).cargo_metadata(false).get_compiler().to_command();
    command
        .args(["-ffreestanding", "-fno-pic", "-fno-pie", "-no-pie", "-mno-red-zone", "-fno-stack-protector"])
        .args(["-mcmodel=kernel", "-mgeneral-regs-only", "-fcf-protection=none", "-fno-asynchronous-unwind-tables"])
        .args([
            "-nostdlib",
            "-static",
            "-Wl,--build-id=none",
            "-Wl,-z,max-page-size=4096",
            "-Wl,--no-warn-rwx-segments",
        ])
        .args([sources[0], sources[1], "-T", sources[2], "-o"])
        .arg(&guest);
    match command.status() {
        Ok(status) if status.success() => println!("cargo::rustc-env=REFERENCE_GUEST={}", guest.display()),
        Ok(status) => println!("cargo::error=the C compiler failed on the reference guest: {status}"),
        Err(error) => println!("cargo::error=no C compiler for the reference guest ({error}): install gcc"),
    }
}
