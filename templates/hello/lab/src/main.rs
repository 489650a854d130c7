//! Boots this project's image on a real Xen, for `cargo run --target x86_64-unknown-xen`.

fn main() -> std::process::ExitCode {
    mirage_lab::runner::main()
}
