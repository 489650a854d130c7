#[mirage_rt_macros::main]
struct Main;

fn main() {}
