#[mirage_rt_macros::main(threads = 4)]
async fn start(_: (), _: ()) -> Result<(), ()> {
    Ok(())
}

fn main() {}
