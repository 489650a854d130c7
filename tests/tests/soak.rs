//! The sections of the soak in their short form, all in one boot of the lab.

use mirage_lab::Lab;
use mirage_tests::image;
use mirage_tests::soak::{Length, SECTIONS, Soak};

#[test]
fn domains_survive_what_is_done_to_them() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let soak = Soak { lab, length: Length::SHORT, echo: image("echo-server"), block: image("block") };
    let failed: Vec<String> = SECTIONS
        .iter()
        .filter_map(|section| match section.run(&soak) {
            Ok(found) => {
                println!("{}: {found}", section.what);
                None
            }
            Err(error) => Some(format!("{}: {error}", section.what)),
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
