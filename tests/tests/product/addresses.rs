//! Networks that ask for their address, with real DHCP servers: dnsmasq, and busybox's udhcpd, whose leases may last for seconds.

use std::time::Duration;

use mirage_tests::first_machine;

use crate::link::Link;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn dnsmasq_gives_an_address_and_answers_for_names() {
    let Some(lab) = first_machine() else { return };
    let link = Link::new(lab, "dhcp0", "10.9.0.1/24");
    // The greeting comes from a port of dom0, found by its name.
    lab.dom0_checked(
        "set -e; dnsmasq --no-resolv --no-hosts --interface=dhcp0 --bind-interfaces --except-interface=lo --user=root \
         --dhcp-range=10.9.0.100,10.9.0.100,1h --dhcp-option=option:mtu,1400 --domain=lab \
         --address=/greeter.lab/10.9.0.1 --dhcp-leasefile=/run/dhcp0.leases --pid-file=/run/dhcp0.pid; \
         nc -ll -p 7070 -e echo welcome </dev/null >/dev/null 2>&1 & echo $! > /run/greeter.pid",
    )
    .expect("dnsmasq starts");
    let domain = link.domain("leased", 1, "--target greeter:7070");
    let told = domain.console().wait_for("greeter:7070 at 10.9.0.1 says: welcome", LONG);
    lab.dom0_checked("kill $(cat /run/dhcp0.pid /run/greeter.pid)").expect("they run");
    told.expect("the name is found in the lease's domain, and answers");
    domain.console().wait_for("addresses [10.9.0.100]", LONG).expect("the address is the lease's");
    let leases = lab.dom0_checked("cat /run/dhcp0.leases").expect("dnsmasq keeps its leases");
    assert!(leases.contains("00:16:3e:77:00:01 10.9.0.100"), "{leases}");
}

#[test]
fn leases_of_udhcpd_are_renewed_end_and_come_back() {
    let Some(lab) = first_machine() else { return };
    let link = Link::new(lab, "dhcp1", "10.9.1.1/24");
    let start = "udhcpd -f /run/dhcp1.conf > /run/dhcp1.log 2>&1 & echo $! > /run/dhcp1.pid";
    lab.dom0_checked(&format!(
        "printf 'interface dhcp1\\nstart 10.9.1.100\\nend 10.9.1.100\\nmin_lease 1\\noption subnet 255.255.255.0\\n\
         option lease 8\\nlease_file /run/dhcp1.leases\\n' > /run/dhcp1.conf; touch /run/dhcp1.leases; {start}"
    ))
    .expect("udhcpd starts");
    let domain = link.domain("leased", 2, "");
    let mut console = domain.console();
    console.wait_for("addresses [10.9.1.100]", LONG).expect("there is a lease");
    let renewed = "tries=0; until [ $(grep -c 'sending ACK' /run/dhcp1.log) -ge 3 ]; do \
                   tries=$((tries + 1)); [ $tries -lt 300 ] || exit 1; usleep 100000; done";
    lab.dom0_checked(renewed).expect("it is renewed, and once more");
    assert!(!console.text().contains("addresses []"), "{}", console.text());
    lab.dom0_checked("kill $(cat /run/dhcp1.pid)").expect("it runs");
    console.wait_for("addresses []", LONG).expect("a lease that nobody renews ends");
    lab.dom0_checked(&start.replace("-f", "-f -S")).expect("udhcpd starts again");
    let again = console.wait_for("addresses [10.9.1.100]", LONG);
    lab.dom0_checked("kill $(cat /run/dhcp1.pid)").expect("it runs");
    again.expect("there is a lease again");
}
