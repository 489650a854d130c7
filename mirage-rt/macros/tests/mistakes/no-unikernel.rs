#[mirage_rt_macros::main]
async fn start(_: (), _: ()) -> Result<(), ()> {
    Ok(())
}

fn main() {}
