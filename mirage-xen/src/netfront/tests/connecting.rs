//! What a device is, and what keeps it from being one.

use super::*;

#[test]
fn a_device_says_what_its_backend_offers() {
    let (machine, netback) = machine(Features::default());
    machine.store.write_for_guest("/local/domain/1/device/vif/0/mtu", "9000");
    machine.run(async {
        let device = connect(&machine, Options { receive_gso: true, ..Options::default() }).await;
        let info = device.info();
        assert_eq!((info.mac, info.mtu), ([0, 0x16, 0x3E, 0, 0, 0], 9000));
        assert!(info.checksum_ipv4 && info.checksum_ipv6 && info.gso_ipv4 > 60_000 && info.gso_ipv6 > 60_000);
        for (name, value) in [("request-rx-copy", "1"), ("feature-rx-notify", "1"), ("feature-gso-tcpv6", "1")] {
            assert_eq!(netback.published(name).as_deref(), Some(value), "{name}");
        }
        assert!(netback.published("event-channel-rx").is_some() && netback.published("event-channel").is_none());
    });
    let plain = Features {
        scatter_gather: false,
        checksum_ipv4: false,
        checksum_ipv6: false,
        split_channels: false,
        ..Features::default()
    };
    let (machine, netback) = self::machine(plain);
    machine.run(async {
        let device =
            connect(&machine, Options { receive_partial_checksum: false, receive_gso: false, ..Options::default() })
                .await;
        let info = device.info();
        assert_eq!((info.mtu, info.checksum_ipv4, info.checksum_ipv6, info.gso_ipv4), (1500, false, false, 0));
        assert_eq!(netback.published("feature-gso-tcpv4").as_deref(), Some("0"));
        assert_eq!(netback.published("feature-no-csum-offload").as_deref(), Some("1"));
        assert!(netback.published("event-channel").is_some() && netback.published("event-channel-tx").is_none());
    });
}

#[test]
fn what_can_not_be_connected_says_why() {
    let machine = Machine::new(1);
    let error = machine.run(Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()));
    assert_eq!(
        error.expect_err("there is no vif").to_string(),
        "the domain has no vif 0: add a vif to its configuration, or attach one to it"
    );
    let cases: [(&str, &str, &str); 2] = [
        ("/local/domain/1/device/vif/0/mac", "nonsense", "is no Ethernet address"),
        (
            "/local/domain/1/device/vif/0/backend",
            "/local/domain/0/backend/vif/1/9",
            "did not offer itself within 20 s; its state was Unknown",
        ),
    ];
    for (path, value, expected) in cases {
        let (machine, _netback) = self::machine(Features::default());
        machine.store.write_for_guest(path, value);
        let error = machine.run(Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()));
        let message = error.expect_err("it can't be connected").to_string();
        assert!(message.contains(expected), "{message}");
    }
    let (machine, _netback) = self::machine(Features { receive_copy: false, ..Features::default() });
    let error = machine.run(Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()));
    assert_eq!(error.err(), Some(ConnectError::NoReceiveCopy));
}

#[test]
fn a_backend_that_never_connects_is_an_error_and_leaves_nothing() {
    let (machine, _netback) = machine(Features::default());
    machine.world.refuse_mappings(true);
    machine.run(async {
        let error = Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()).await;
        let message = error.expect_err("it can't map the rings").to_string();
        assert!(
            message.contains("vif 0: the backend (domain 0) did not connect within 20 s; its state was InitWait"),
            "{message}"
        );
    });
    assert_eq!(
        (machine.attachment.grants().in_use(), machine.world.granted(), machine.attachment.events().bound()),
        (0, 0, 1)
    );
}

#[test]
fn a_pool_too_small_is_an_error() {
    let (machine, _netback) = machine(Features::default());
    machine.run(async {
        let pool = machine.pool();
        let mut hoard: Vec<_> = std::iter::from_fn(|| Page::take(&pool)).collect();
        // Two for rings, one for the grant table.
        hoard.truncate(hoard.len() - 5);
        let error =
            Netfront::connect(&machine.attachment, 0, pool, Options::default()).await.expect_err("too few pages");
        assert!(matches!(error, ConnectError::NoPages { needed: 20, .. }), "{error}");
    });
    assert_eq!((machine.attachment.grants().in_use(), machine.attachment.events().bound()), (0, 1));
}
