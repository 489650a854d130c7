use mirage_rt::console::Console;
use mirage_rt::{sleep, spawn, timeout};

use super::*;
use crate::console::ring::INPUT_SIZE;
use crate::model::{Conback, Machine};

const SHORT: Duration = Duration::from_millis(100);

/// A machine with two consoles; the second one is called control.
fn machine() -> (Machine, Conback) {
    let machine = Machine::new(1);
    Conback::attach(&machine.world, &machine.store, 1, "other");
    let backend = Conback::attach(&machine.world, &machine.store, 2, "control");
    (machine, backend)
}

async fn open(machine: &Machine) -> Console {
    let console = ConsoleFrontend::open(&machine.attachment, "control", machine.pool()).await;
    Console::new(Rc::new(console.expect("the backend connects")))
}

#[test]
fn a_console_is_found_by_its_name() {
    let (machine, backend) = machine();
    machine.run(async {
        let console = open(&machine).await;
        backend.type_bytes(b"status\r");
        assert_eq!(console.read_line().await, Ok(Some("status".into())));
        console.write_all(b"all is well\n").await.unwrap();
        console.flush().await.unwrap();
        assert_eq!(backend.printed(), b"all is well\n");

        let missing = ConsoleFrontend::open(&machine.attachment, "none", machine.pool()).await.unwrap_err();
        assert_eq!(missing, OpenError::Missing("none".into()));
        assert!(missing.to_string().contains("name=none"), "{missing}");
    });
}

#[test]
fn both_directions_carry_more_than_a_ring() {
    let (machine, backend) = machine();
    machine.run(async {
        let console = open(&machine).await;
        let text: Vec<u8> = (0..20_000_u32).map(|index| (index % 251) as u8).collect();
        backend.type_bytes(&text);
        let echo = console.clone();
        let copy = spawn(async move {
            let (mut total, mut buffer) = (0, [0; 333]);
            while total < 20_000 {
                let count = echo.read(&mut buffer).await.unwrap();
                echo.write_all(&buffer[..count]).await.unwrap();
                total += count;
            }
            echo.flush().await.unwrap();
        });
        copy.await.unwrap();
        assert_eq!(backend.printed(), text);
    });
}

#[test]
fn a_backend_that_stops_reading_is_waited_for() {
    let (machine, backend) = machine();
    machine.run(async {
        let console = open(&machine).await;
        backend.stop(true);
        assert!(timeout(SHORT, console.write_all(&[b'x'; 5000])).await.is_err());
        backend.stop(false);
        backend.type_bytes(b"\n");
        console.write_all(b"end").await.unwrap();
        console.flush().await.unwrap();
        let printed = backend.printed();
        assert_eq!((printed.len(), &printed[printed.len() - 4..]), (2048 + 3, &b"xend"[..]));
    });
}

#[test]
fn a_backend_that_goes_and_comes_back_is_connected_again() {
    let (machine, backend) = machine();
    machine.run(async {
        let console = open(&machine).await;
        for (round, end) in [Conback::close as fn(&Conback), Conback::restart].into_iter().enumerate() {
            end(&backend);
            sleep(SHORT).await;
            // One that restarts may take up the old page before it is parted from.
            assert!(backend.connections() >= round + 2);
            backend.type_bytes(b"again\n");
            assert_eq!(console.read_line().await, Ok(Some("again".into())));
        }
        let (granted, ports) = (machine.world.granted(), machine.world.open_ports());
        drop(console);
        sleep(SHORT).await;
        assert_eq!((machine.world.granted(), machine.world.open_ports()), (granted - 1, ports - 1));
        assert_eq!(machine.world.mapped(), 0);
    });
}

#[test]
fn nonsense_breaks_the_console_and_its_page_is_taken_back() {
    // The words of in_prod and out_cons.
    for word in [769, 770] {
        let (machine, backend) = machine();
        machine.run(async {
            let console = open(&machine).await;
            backend.scribble(word, INPUT_SIZE as u32 * 3);
            let failed = timeout(SHORT, async {
                let mut buffer = [0; 10];
                match word {
                    769 => console.read(&mut buffer).await.map(drop),
                    _ => console.write_all(b"x").await,
                }
            });
            sleep(SHORT / 2).await;
            assert_eq!(failed.await, Ok(Err(ConsoleError::Broken)));
            assert_eq!(console.write_all(b"x").await, Err(ConsoleError::Broken));
            sleep(SHORT).await;
            assert_eq!(machine.world.granted(), 0);
        });
    }
}

#[test]
fn after_a_resume_it_is_another_page_and_port() {
    let (machine, backend) = machine();
    machine.run(async {
        let console = open(&machine).await;
        machine.world.forget_guest();
        backend.restart();
        machine.attachment.reestablish().unwrap();
        sleep(SHORT).await;
        assert_eq!(backend.connections(), 2);
        backend.type_bytes(b"here\n");
        assert_eq!(console.read_line().await, Ok(Some("here".into())));
    });
}
