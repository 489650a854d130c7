//! What the runner adds to the words it was given: addresses while a guest has no other way to them, and port forwards.

use mirage_build::manifest::Manifest;
use std::net::Ipv4Addr;

const FIRST_GUEST: [u8; 4] = [10, 0, 2, 16];
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Where QEMU's own addresses begin (`dhcpstart`).
const GUESTS: usize = 84;

/// How an image is run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The guest's words, as its command line has them.
    pub(super) words: Vec<String>,
    /// The ports that lead from the host to the guest.
    pub(super) forwards: Vec<Forward>,
}

/// A port of the host that leads to the same port of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forward {
    /// The boot key that the port is the value of.
    pub(super) key: String,
    pub(super) port: u16,
    pub(super) guest: Ipv4Addr,
}

impl Plan {
    /// Plans the run of an image with these words.
    pub(super) fn new(manifest: &Manifest, given: &[String]) -> Self {
        let mut words = given.to_vec();
        let mut first_address = None;
        for (index, network) in manifest.networks.iter().enumerate().take(GUESTS) {
            let key = format!("{}ipv4", network.key_prefix);
            let [a, b, c, d] = FIRST_GUEST;
            let own = Ipv4Addr::new(a, b, c, d + index as u8);
            let address = match value(given, &key) {
                Some(text) => address_of(text),
                None => {
                    words.push(format!("--{key}={own}/24"));
                    let gateway = format!("{key}-gateway");
                    // One way out is enough: the networks are all on the same bridge.
                    if index == 0 && value(given, &gateway).is_none() {
                        words.push(format!("--{gateway}={GATEWAY}"));
                    }
                    Some(own)
                }
            };
            if index == 0 {
                first_address = address;
            }
        }
        for word in &mut words {
            *word = quote(word);
        }
        let forwards = first_address.map(|guest| forwards(manifest, given, guest)).unwrap_or_default();
        Self { words, forwards }
    }
}

/// One forward for each port; what is no port is left to the guest, which says so.
fn forwards(manifest: &Manifest, given: &[String], guest: Ipv4Addr) -> Vec<Forward> {
    let mut forwards: Vec<Forward> = Vec::new();
    // A guest that only prints its keys serves nothing.
    if given.iter().any(|word| word == "--help") {
        return forwards;
    }
    for key in manifest.ports() {
        let text = value(given, &key.name).or(key.default.as_deref());
        let port = text.and_then(|text| text.parse().ok()).filter(|port| *port != 0);
        if let Some(port) = port
            && !forwards.iter().any(|forward| forward.port == port)
        {
            forwards.push(Forward { key: key.name.clone(), port, guest });
        }
    }
    forwards
}

/// The last value that the words give a key, as `--key value` or `--key=value`.
pub(super) fn value<'a>(words: &'a [String], key: &str) -> Option<&'a str> {
    let mut found = None;
    for (index, word) in words.iter().enumerate() {
        let Some(rest) = word.strip_prefix("--").and_then(|word| word.strip_prefix(key)) else {
            continue;
        };
        match rest.strip_prefix('=') {
            Some(text) => found = Some(text),
            None if rest.is_empty() => found = words.get(index + 1).map(String::as_str),
            None => {}
        }
    }
    found
}

/// A word in a guest's command line, which follows the shell's rules.
fn quote(word: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_=+./:,@%".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => crate::lab::quote(word),
    }
}

fn address_of(text: &str) -> Option<Ipv4Addr> {
    text.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Forward, Plan};
    use mirage_build::KeyKind;
    use mirage_build::manifest::{Manifest, ManifestKey, ManifestNetwork};
    use std::net::Ipv4Addr;

    fn manifest(networks: &[&str], ports: &[(&str, Option<&str>)]) -> Manifest {
        let networks = networks.iter().map(|prefix| ManifestNetwork { name: "n".into(), key_prefix: (*prefix).into() });
        let keys = ports.iter().map(|(name, default)| ManifestKey {
            name: (*name).into(),
            kind: Some(KeyKind::Port),
            default: default.map(Into::into),
            required: false,
            doc: String::new(),
            library: false,
        });
        Manifest {
            name: "test".into(),
            version: "1".into(),
            memory_mib: 16,
            memory_max_mib: None,
            networks: networks.collect(),
            blocks: Vec::new(),
            consoles: Vec::new(),
            keys: keys.collect(),
        }
    }

    fn plan(manifest: &Manifest, words: &[&str]) -> Plan {
        Plan::new(manifest, &words.iter().map(|word| word.to_string()).collect::<Vec<_>>())
    }

    fn forward(key: &str, port: u16, last: u8) -> Forward {
        Forward { key: key.into(), port, guest: Ipv4Addr::new(10, 0, 2, last) }
    }

    #[test]
    fn a_guest_without_a_network_gets_its_words_as_they_are() {
        let plan = plan(&manifest(&[], &[("port", Some("80"))]), &["--greeting", "Moin"]);
        assert_eq!(plan.words, ["--greeting", "Moin"]);
        assert!(plan.forwards.is_empty());
    }

    #[test]
    fn words_with_blanks_and_quotes_stay_whole() {
        let plan = plan(&manifest(&[], &[]), &["--greeting", "Moin moin", "it's", "", "--x=\u{e4},/"]);
        assert_eq!(plan.words, ["--greeting", "'Moin moin'", r"'it'\''s'", "''", "--x=\u{e4},/"]);
    }

    #[test]
    fn one_network_gets_an_address_and_its_ports_are_forwarded() {
        let manifest = manifest(&[""], &[("port", Some("8080")), ("admin", None), ("other", Some("8080"))]);
        let first = plan(&manifest, &[]);
        assert_eq!(first.words, ["--ipv4=10.0.2.16/24", "--ipv4-gateway=10.0.2.2"]);
        assert_eq!(first.forwards, [forward("port", 8080, 16)]);
        let changed = plan(&manifest, &["--port=81", "--admin", "9000"]);
        assert_eq!(changed.forwards, [forward("port", 81, 16), forward("admin", 9000, 16), forward("other", 8080, 16)]);
    }

    #[test]
    fn given_addresses_stay() {
        let manifest = manifest(&[""], &[("port", Some("8080"))]);
        let plan = plan(&manifest, &["--ipv4", "10.0.2.40/24"]);
        assert_eq!(plan.words, ["--ipv4", "10.0.2.40/24"]);
        assert_eq!(plan.forwards, [forward("port", 8080, 40)]);
    }

    #[test]
    fn each_of_several_networks_gets_its_own() {
        let manifest = manifest(&["inner-", "outer-"], &[("port", Some("8080"))]);
        let both = plan(&manifest, &[]);
        assert_eq!(
            both.words,
            ["--inner-ipv4=10.0.2.16/24", "--inner-ipv4-gateway=10.0.2.2", "--outer-ipv4=10.0.2.17/24"]
        );
        let one = plan(&manifest, &["--inner-ipv4=10.0.2.50/24"]);
        assert_eq!(one.words, ["--inner-ipv4=10.0.2.50/24", "--outer-ipv4=10.0.2.17/24"]);
    }

    #[test]
    fn what_is_no_port_is_left_to_the_guest() {
        let manifest = manifest(&[""], &[("port", Some("8080"))]);
        for words in [["--port", "x"], ["--port", "0"], ["--port", "70000"]] {
            assert!(plan(&manifest, &words).forwards.is_empty());
        }
        assert!(plan(&manifest, &["--help"]).forwards.is_empty());
        assert!(plan(&manifest, &["--port"]).forwards.len() == 1, "a port without a value is the guest's to refuse");
    }
}
