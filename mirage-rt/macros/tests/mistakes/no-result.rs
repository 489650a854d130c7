#[mirage_rt_macros::main]
async fn start(_: (), _: ()) {}

fn main() {}
