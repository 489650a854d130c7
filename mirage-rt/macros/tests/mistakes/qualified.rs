#[mirage_rt_macros::main]
async unsafe extern "C" fn start(_: (), _: ()) -> Result<(), ()> {
    Ok(())
}

fn main() {}
