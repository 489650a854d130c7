//! The name servers that a network was told of.

use super::*;

/// What a server says for whom every name is host `number`.
fn always(number: u8) -> impl Fn(&Asked) -> Vec<Vec<u8>> {
    move |asked| vec![asked.answer().a(&asked.name, 60, [10, 0, 0, number]).bytes()]
}

#[test]
fn a_network_asks_whom_it_was_told_of_and_keys_count_more() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let servers = [host(&switch, 1), host(&switch, 2)];
        let log = serve(&servers[0], always(71)).await;
        serve(&servers[1], always(72)).await;
        let network = host(&switch, 9);
        let resolver = network.names();
        let error = resolver.lookup("www.example").await.expect_err("there is no server");
        assert!(error.to_string().contains("--dns"), "{error}");
        // A resolver of before follows, and all share what they know.
        network.set_names(Options { search: vec!["lan.example".parse().expect("a name")], ..Options::new([ip(1)]) });
        assert_eq!(resolver.lookup("www").await.expect("it is there"), addresses(&[71]));
        assert_eq!(network.names().lookup("www.lan.example").await.expect("it is known"), addresses(&[71]));
        assert_eq!(log.borrow().iter().map(|asked| asked.name.clone()).collect::<Vec<_>>(), ["www.lan.example"]);
        // Other servers may say something else.
        network.set_names(Options::new([ip(2)]));
        assert_eq!(resolver.lookup("www.lan.example").await.expect("it is there"), addresses(&[72]));
        // What keys say stays, whatever a lease brings.
        network.fix_names(&addresses(&[1]), Vec::new());
        network.set_names(Options { search: vec!["b.example".parse().expect("a name")], ..Options::new([ip(2)]) });
        assert_eq!(network.names().lookup("www").await.expect("it is there"), addresses(&[71]));
        assert_eq!(log.borrow().last().map(|asked| asked.name.clone()).as_deref(), Some("www.b.example"));
    });
}

#[test]
fn a_connection_is_made_to_a_name() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let (server, other) = (host(&switch, 1), host(&switch, 71));
        serve(&server, always(71)).await;
        let mut listener = other.tcp().bind(80).await.expect("the port is free");
        let network = host(&switch, 9);
        network.set_names(Options::new([ip(1)]));
        let stream = network.tcp().connect_to("www.example:80").await.expect("it listens");
        assert_eq!(stream.peer_addr().to_string(), "10.0.0.71:80");
        listener.accept().await.expect("a connection waits");
        let error = network.tcp().connect_to("www.example").await.expect_err("there is no port");
        assert!(matches!(error, NamedConnectError::Target(_)), "{error}");
    });
}
