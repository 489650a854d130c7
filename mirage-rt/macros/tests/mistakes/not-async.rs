#[mirage_rt_macros::main]
/// With a doc.
pub(crate) fn start(_: (), _: ()) -> Result<(), ()> {
    Ok(())
}

fn main() {}
