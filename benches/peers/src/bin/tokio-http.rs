//! `tokio-http ADDRESS`: serves the page with tokio on one thread, a task for each connection.

#![forbid(unsafe_code)]

use mirage_bench_peers::http::{END, fixed_answer};
use mirage_bench_peers::{Result, address};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address(0)?).await?;
        println!("serving");
        let answer: &'static [u8] = fixed_answer().leak();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, answer));
        }
    })
}

async fn serve(mut stream: TcpStream, answer: &[u8]) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        // The clients of the benchmarks send one request at a time, in one piece.
        if !buffer[..length].ends_with(END) || stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
