//! The promises of `mirage_rt::net`, kept through netfront, Linux's netback and a bridge.

use std::time::Duration;

use mirage_lab::Lab;
use mirage_tests::image;

const LONG: Duration = Duration::from_secs(120);

#[test]
fn two_networks_of_a_domain_keep_their_promises() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let words = "--near-ipv4 10.0.2.80/24 --far-ipv4 10.0.2.81/24";
    let domain = lab.domain(image("conformance")).memory(32).vif().vif().cmdline(words).start();
    let domain = domain.expect("the domain starts");
    let console = domain.console();
    let report = domain.exit(LONG).unwrap_or_else(|error| panic!("{error}\n{}", console.text()));
    assert_eq!(report.code, Some(0), "{}", report.console);
    assert!(report.console.contains(" promises are kept"), "{}", report.console);
}
