//! What callgrind counts of our stack; see `mirage_bench_wire::program` for its words.

#![forbid(unsafe_code)]

use mirage_bench_stack::Stack;

fn main() {
    mirage_bench_wire::program(Stack::new);
}
