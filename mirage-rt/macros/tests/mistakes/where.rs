#[mirage_rt_macros::main]
async fn start(_: (), _: ()) -> Result<(), ()>
where
    (): Copy,
{
    Ok(())
}

fn main() {}
