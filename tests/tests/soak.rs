//! The sections of the soak in their short form. Each has a machine for itself, because it counts what is left over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mirage_lab::Lab;
use mirage_tests::image;
use mirage_tests::soak::{Length, SECTIONS, Soak};

/// A machine that nobody else uses meanwhile.
fn machine() -> MutexGuard<'static, Option<Lab>> {
    static MACHINES: [Mutex<Option<Lab>>; 2] = [const { Mutex::new(None) }; 2];
    let free = MACHINES.iter().find_map(|machine| machine.try_lock().ok());
    let mut machine = free.unwrap_or_else(|| MACHINES[0].lock().unwrap_or_else(PoisonError::into_inner));
    if machine.is_none() {
        *machine = Some(Lab::start().expect("the lab starts"));
    }
    machine
}

fn run(name: &str) {
    if !Lab::available_or_skip() {
        return;
    }
    let (echo, block) = (image("echo-server"), image("block"));
    let machine = machine();
    let lab = machine.as_ref().expect("it was started");
    let soak = Soak { lab, length: Length::SHORT, echo, block };
    let section = SECTIONS.iter().find(|section| section.name == name).expect("there is such a section");
    match section.run(&soak) {
        Ok(found) => println!("{}: {found}", section.what),
        Err(error) => panic!("{}: {error}", section.what),
    }
}

/// A test for each section; every section has one.
macro_rules! sections {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn no_section_is_left_out() {
            assert!(SECTIONS.iter().map(|section| section.name).eq([$(stringify!($name)),*]));
        }
    };
}

sections!(hotplug, disks, backends, neighbour, saves, migrations, domains, mixed);
