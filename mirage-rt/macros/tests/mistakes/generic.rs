#[mirage_rt_macros::main]
async fn start<T>(_: T, _: ()) -> Result<(), ()> {
    Ok(())
}

fn main() {}
