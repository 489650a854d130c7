//! The runtime is a value: eight unikernels on eight threads of one process, and three on one thread.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;

use mirage_rt::boot::{
    AddressFrom, Boot, Connecting, Connectors, ExitCode, NetworkConnector, NetworkSpec, Unikernel, boxed, run,
};
use mirage_rt::keys::{KeyKind, KeySpec, Values};
use mirage_rt::net::Network;
use mirage_rt::platform::Platform;
use mirage_rt::{Duration, Runtime, sleep, spawn};
use mirage_unix::{HostSockets, UnixPlatform};

static KEYS: [KeySpec; 1] = [KeySpec {
    name: "number",
    kind: KeyKind::Integer { min: 0, max: 255 },
    read: mirage_rt::keys::read::integer,
    default: None,
    required: true,
    doc: "Which of the unikernels this is.",
}];

static NETWORKS: [NetworkSpec; 1] = [NetworkSpec { name: "service", index: 0, key_prefix: "" }];

static UNIKERNEL: Unikernel =
    Unikernel { name: "echo", keys: &KEYS, networks: &NETWORKS, blocks: &[], consoles: &[], memory_mib: 16 };

struct Sockets(Rc<UnixPlatform>);

impl NetworkConnector for Sockets {
    fn network<'a>(&'a self, _: &'static NetworkSpec, _: &'a Values, _: AddressFrom) -> Connecting<'a, Network> {
        Box::pin(async { Ok(Network::host(Rc::new(HostSockets::new(&self.0, Ipv4Addr::LOCALHOST)))) })
    }
}

/// A server and a client of it, in one unikernel: bytes go round, and every byte is the unikernel's number.
async fn echo(network: Network, number: u8, rounds: usize) -> mirage_rt::Result {
    let mut listener = network.tcp().bind(0).await?;
    let address = listener.local_addr();
    let server = spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut buffer = [0; 16];
        loop {
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return mirage_rt::Result::Ok(());
            }
            sleep(Duration::from_micros(10)).await;
            stream.write_all(&buffer[..length]).await?;
        }
    });
    let stream = network.tcp().connect(address).await?;
    for _ in 0..rounds {
        stream.write_all(&[number]).await?;
        let mut answer = [0];
        stream.read(&mut answer).await?;
        assert_eq!(answer, [number]);
    }
    stream.shutdown()?;
    server.await?
}

#[test]
fn eight_on_eight_threads() {
    let unikernel = |number: u8| {
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let runtime = Runtime::new(platform.clone() as Rc<dyn Platform>);
        let words = ["--number".to_string(), number.to_string()];
        let main = |boot: Boot| {
            boxed(async move {
                assert_eq!(boot.key::<u8>("number")?, number);
                echo(boot.network("service").await?, number, 20).await
            })
        };
        let connectors = Connectors { networks: Some(Rc::new(Sockets(platform))), ..Connectors::default() };
        run(&runtime, &UNIKERNEL, &words, connectors, pin!(std::future::pending()), &main)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || unikernel(number))).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no unikernel panics"), ExitCode::SUCCESS);
        }
    });
}

#[test]
fn three_on_one_thread() {
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    let running = Rc::new(Cell::new(3));
    let runtimes = [1, 2, 3].map(|number| {
        let runtime = Runtime::new(platform.clone() as Rc<dyn Platform>);
        let network = Network::host(Rc::new(HostSockets::new(&platform, Ipv4Addr::LOCALHOST)));
        let running = Rc::clone(&running);
        runtime.spawn(async move {
            echo(network, number, 20).await.expect("the loopback interface works");
            running.set(running.get() - 1);
        });
        runtime
    });
    while running.get() > 0 {
        let turns = runtimes.each_ref().map(Runtime::turn);
        if turns.iter().all(|turn| !turn.busy) {
            platform.park(turns.iter().filter_map(|turn| turn.next).min());
        }
    }
    assert!(Runtime::try_current().is_none(), "a turn leaves no runtime behind");
}
