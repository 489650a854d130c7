use std::format;
use std::string::ToString;

use mirage_rt::block::BlockError;
use mirage_rt::hotplug::{Attached, DeviceEvent, DeviceEvents, MOST};
use mirage_rt::log::LevelFilter;
use mirage_rt::net::Config;
use mirage_rt::time::{sleep, timeout};

use super::*;
use crate::model::{Blkback, DiskFeatures, Features, Machine, Netback};

const XVDA: DeviceId = DeviceId::block(51712);
const XVDB: DeviceId = DeviceId::block(51728);
const LONG: Duration = Duration::from_secs(60);

/// The events of a machine where `xvda` and `vif 0` are declared.
fn events(machine: &Machine) -> DeviceEvents {
    let pool = machine.pool();
    let pools: Pools = Box::new(move |_| Some(Rc::clone(&pool)));
    let declared = [XVDA, DeviceId::network(0)].into();
    DeviceEvents::new(Rc::new(Plugged::start(&machine.attachment, declared, pools)))
}

async fn attached(events: &mut DeviceEvents) -> Attached {
    match timeout(LONG, events.next()).await.expect("something comes") {
        DeviceEvent::Attached(device) => device,
        other => panic!("{other:?}, and not a device that comes"),
    }
}

async fn detached(events: &mut DeviceEvents) -> DeviceId {
    match timeout(LONG, events.next()).await.expect("something goes") {
        DeviceEvent::Detached(id) => id,
        other => panic!("{other:?}, and not a device that goes"),
    }
}

async fn nothing(events: &mut DeviceEvents) {
    if let Ok(event) = timeout(Duration::from_secs(1), events.next()).await {
        panic!("{event:?}");
    }
}

/// Takes a device's directory away, as the toolstack does when its backend has closed.
fn remove(machine: &Machine, id: DeviceId) {
    let class = class(id.kind).expect("every kind has a class");
    machine.store.remove(&format!("{}/device/{class}/{}", machine.store.guest_path(), id.number));
}

async fn until(what: &str, met: impl Fn() -> bool) {
    let wait = async {
        while !met() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"));
}

fn disk(machine: &Machine, id: DeviceId) -> Blkback {
    Blkback::attach(&machine.world, &machine.store, id.number, DiskFeatures::default())
}

#[test]
fn a_disk_comes_is_used_goes_and_comes_again() {
    let machine = Machine::new(1);
    machine.run(async {
        let mut events = events(&machine);
        nothing(&mut events).await;
        let backend = disk(&machine, XVDB);
        let device = attached(&mut events).await;
        assert_eq!(device.id(), XVDB);
        let block = device.open_block().await.expect("its backend is honest");
        block.write_bytes(0, &[7; 4096]).await.expect("it works");
        let mut changes = block.changes();

        backend.detach();
        changes.next().await;
        assert_eq!(block.flush().await, Err(BlockError::Detached));
        remove(&machine, XVDB);
        assert_eq!(detached(&mut events).await, XVDB);
        let error = device.open_block().await.expect_err("something is held").to_string();
        assert!(error.starts_with("vbd 51728 is open already"), "{error}");

        // The handle works again by itself.
        backend.attach_again(&machine.world);
        let again = attached(&mut events).await;
        let reconnected = async {
            while block.flush().await.is_err() {
                changes.next().await;
            }
        };
        timeout(LONG, reconnected).await.expect("it connects again");
        let error = again.open_block().await.expect_err("something is held").to_string();
        assert!(error.starts_with("vbd 51728 is open already"), "{error}");

        // And can be opened anew when all of it is dropped, which takes the time of parting from the backend.
        drop((block, changes));
        let open = async {
            loop {
                match again.open_block().await {
                    Ok(block) => break block,
                    Err(error) => assert!(error.to_string().contains("open already"), "{error}"),
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        let block = timeout(LONG, open).await.expect("it can be opened");
        let mut content = [0; 4096];
        block.read_bytes(0, &mut content).await.expect("it works");
        assert_eq!(content, [7; 4096]);
    });
}

#[test]
fn a_network_comes_and_goes() {
    let machine = Machine::new(2);
    machine.run(async {
        let mut events = events(&machine);
        let backend = Netback::attach(&machine.world, &machine.store, 1, Features::default());
        let device = attached(&mut events).await;
        assert_eq!(device.id(), DeviceId::network(1));
        let error = device.open_block().await.expect_err("it is no disk").to_string();
        assert_eq!(error, "vif 1 is a network interface: open it with open_network");
        let error = device.open_network(Config::new()).await.expect_err("there is no address").to_string();
        assert!(error.contains("ipv4") || error.contains("address"), "{error}");

        let address = mirage_rt::keys::Cidr::new([10, 0, 0, 2].into(), 24).expect("a prefix of 24 is right");
        let open = async {
            loop {
                match device.open_network(Config::from_keys(Some(address), None)).await {
                    Ok(network) => break network,
                    Err(error) => assert!(error.to_string().contains("open already"), "{error}"),
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        let network = timeout(LONG, open).await.expect("what failed lets go of it");
        assert!(network.mac().is_some() && backend.connections() > 0);
        remove(&machine, device.id());
        assert_eq!(detached(&mut events).await, DeviceId::network(1));
    });
}

#[test]
fn declared_devices_are_not_told_of() {
    let machine = Machine::new(3);
    machine.run(async {
        let _declared = (disk(&machine, XVDA), Netback::attach(&machine.world, &machine.store, 0, Features::default()));
        let _other = disk(&machine, XVDB);
        let mut events = events(&machine);
        assert_eq!(attached(&mut events).await.id(), XVDB, "it was there before");
        nothing(&mut events).await;
    });
}

#[test]
fn a_device_that_nobody_opened_can_be_detached() {
    let machine = Machine::new(4);
    machine.run(async {
        let backend = disk(&machine, XVDB);
        let mut events = events(&machine);
        let device = attached(&mut events).await;
        backend.detach();
        // Both ends are removed when the frontend's is closed, as `xl block-detach` does.
        assert_eq!(detached(&mut events).await, XVDB);
        assert_eq!(device.open_block().await.expect_err("it is gone").to_string(), OpenError::Gone(XVDB).to_string());
    });
}

#[test]
fn devices_that_flap_cost_no_memory_and_no_watches() {
    mirage_rt::log::set_max_level(LevelFilter::Off);
    let machine = Machine::new(5);
    machine.run(async {
        let mut events = events(&machine);
        nothing(&mut events).await;
        let watches = machine.store.watches();
        let path = |number: u32| format!("{}/device/vbd/{number}", machine.store.guest_path());
        for round in 0..100 {
            // Far more than are told of, with backends that are not there, or are ours, or nonsense.
            for number in 0..200 {
                let backend = ["/local/domain/0/backend/vbd/1/1", "device", "", "\u{0}"][number as usize % 3];
                machine.store.write_for_guest(&format!("{}/backend", path(number + round)), backend);
                machine.store.write_for_guest(&format!("{}/backend-id", path(number + round)), "0");
            }
            sleep(Duration::from_millis(if round % 10 == 0 { 50 } else { 1 })).await;
            assert!(machine.store.watches() <= watches + MOST, "{} watches", machine.store.watches());
            for number in 0..200 {
                machine.store.remove(&path(number + round));
            }
            sleep(Duration::from_millis(1)).await;
        }
        // Nobody asked for events: there are none but those of what is there now.
        sleep(LONG).await;
        nothing(&mut events).await;
        assert_eq!(machine.store.watches(), watches);
        let _disk = disk(&machine, XVDB);
        assert_eq!(attached(&mut events).await.id(), XVDB, "it goes on");
    });
}

#[test]
fn the_task_ends_with_the_stream() {
    let machine = Machine::new(6);
    machine.run(async {
        let before = machine.store.watches();
        let mut events = events(&machine);
        let _disk = disk(&machine, XVDB);
        let device = attached(&mut events).await;
        until("it watches the devices, and a backend", || machine.store.watches() == before + 2).await;
        drop((events, device));
        until("its watches are gone", || machine.store.watches() == before).await;
    });
}

#[test]
fn devices_are_followed_after_a_resume() {
    let machine = Machine::new(7);
    machine.run(async {
        let mut events = events(&machine);
        let _disk = disk(&machine, XVDB);
        assert_eq!(attached(&mut events).await.id(), XVDB);
        machine.suspend_and_resume();
        sleep(Duration::from_millis(100)).await;
        let other = DeviceId::network(1);
        let backend = Netback::attach(&machine.world, &machine.store, other.number, Features::default());
        // Which of the first one's things the new domain has is the toolstack's affair.
        let found = async {
            loop {
                match events.next().await {
                    DeviceEvent::Attached(device) if device.id() == other => break device,
                    _ => {}
                }
            }
        };
        let device = timeout(LONG, found).await.expect("it comes");
        let address = mirage_rt::keys::Cidr::new([10, 0, 0, 2].into(), 24).expect("a prefix of 24 is right");
        let _network = device.open_network(Config::from_keys(Some(address), None)).await.expect("it is honest");
        assert!(backend.connections() > 0);
    });
}
