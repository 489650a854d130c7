#[mirage_rt_macros::main]
async fn start(_: (), _: std::collections::BTreeMap<u8, fn(u8) -> u8>, _: ()) -> Result<(), ()> {
    Ok(())
}

fn main() {}
