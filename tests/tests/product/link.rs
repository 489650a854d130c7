//! A bridge of a test's own in dom0: no part of the lab's network, so that it can have servers of its own.

use mirage_lab::{Domain, Lab};
use mirage_tests::guest;

/// The bridge. It is gone when this is dropped.
pub struct Link<'a> {
    pub lab: &'a Lab,
    name: &'static str,
}

impl<'a> Link<'a> {
    /// A bridge of this name, on which dom0 has `address`, with its prefix.
    pub fn new(lab: &'a Lab, name: &'static str, address: &str) -> Self {
        // Of its own dom0 says nothing on links of the lab; on this one it is to have what it is given.
        let script = format!(
            "set -e; ip link add name {name} type bridge forward_delay 0; cd /proc/sys/net/ipv6/conf/{name}; \
             echo 0 > accept_dad; echo 0 > disable_ipv6; ip address add {address} dev {name}; ip link set {name} up"
        );
        lab.dom0_checked(&script).expect("dom0 makes bridges");
        Link { lab, name }
    }

    /// A domain of `package` at this link, whose Ethernet address ends with `last`.
    pub fn domain(&self, package: &str, last: u8, words: &str) -> Domain {
        let interface = format!("bridge={},mac=00:16:3e:77:00:{last:02x}", self.name);
        let domain = self.lab.domain(guest(package)).memory(24).vif_with(&interface).cmdline(words).start();
        domain.expect("the domain starts")
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        // Nobody is there to be told.
        let _ = self.lab.dom0(&format!("ip link del {}", self.name));
    }
}
