//! The sections of the soak in their short form. Each has a machine for itself, because it counts what is left over.

use mirage_lab::Lab;
use mirage_tests::image;
use mirage_tests::soak::{Length, SECTIONS, Soak};

fn run(name: &str) {
    let Some(lab) = Lab::alone_or_skip() else { return };
    let (echo, block) = (image("echo-server"), image("block"));
    let soak = Soak { lab: &lab, length: Length::SHORT, echo, block };
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
