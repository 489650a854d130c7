//! IPv6 by keys, with radvd as the router, and Linux at the other end.

use std::time::Duration;

use mirage_lab::Lab;

use crate::link::Link;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn radvd_gives_a_prefix_and_linux_talks_to_the_address() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let link = Link::new(lab, "ra0", "fd00:66::1/64");
    lab.dom0_checked(
        "set -e; echo 1 > /proc/sys/net/ipv6/conf/ra0/forwarding; \
         printf 'interface ra0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; \
         prefix fd00:66::/64 { AdvOnLink on; AdvAutonomous on; }; RDNSS fd00:66::1 { }; };' > /run/ra0.conf; \
         radvd -C /run/ra0.conf -p /run/ra0.pid -m stderr 2> /run/ra0.log",
    )
    .expect("radvd starts");
    let domain = link.domain("families", 3, "--ipv6-only");
    // The second half is made of the Ethernet address (RFC 4291, appendix A).
    let address = "fd00:66::216:3eff:fe77:3";
    let found = domain.console().wait_for(address, LONG);
    let talk = format!(
        "set -e; ping -6 -c 2 -W 5 -s 1000 {address}; \
         timeout 20 bash -c 'exec 3<>/dev/tcp/{address}/7; echo over six >&3; read -r -u 3 line; echo \"$line\"'"
    );
    let talked = lab.dom0_checked(&talk);
    lab.dom0_checked("kill $(cat /run/ra0.pid)").expect("radvd runs");
    found.expect("there is an address of the router's prefix");
    let talked = talked.expect("the address answers");
    assert!(talked.contains(" 0% packet loss") && talked.contains("over six"), "{talked}");
}
