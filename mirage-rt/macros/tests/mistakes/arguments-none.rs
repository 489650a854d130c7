#[mirage_rt_macros::main]
async fn start() -> Result<(), ()> {
    Ok(())
}

fn main() {}
