use super::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use proptest::prelude::*;

const fn key(name: &'static str, kind: KeyKind, default: Option<&'static str>, required: bool) -> KeySpec {
    let read = match kind {
        KeyKind::Flag => read::flag,
        KeyKind::Integer { .. } => read::integer,
        KeyKind::Text => read::text,
        KeyKind::Port => read::port,
        KeyKind::Ipv4 => read::ipv4,
        KeyKind::Cidr => read::cidr,
        KeyKind::Duration => read::duration,
        KeyKind::LogLevel => read::log_level,
        KeyKind::Form { .. } => read::text,
    };
    KeySpec { name, kind, read, default, required, doc: "Doc." }
}

const fn form(name: &'static str, read: Read, default: Option<&'static str>) -> KeySpec {
    KeySpec { name, kind: KeyKind::Form { placeholder: "FORM" }, read, default, required: false, doc: "Doc." }
}

static SPECS: [KeySpec; 14] = [
    key("greeting", KeyKind::Text, Some("Hello"), false),
    key("port", KeyKind::Port, Some("8080"), false),
    key("count", KeyKind::Integer { min: -5, max: 300 }, Some("3"), false),
    key("verbose", KeyKind::Flag, Some("false"), false),
    key("ipv4", KeyKind::Cidr, None, false),
    key("wait", KeyKind::Duration, Some("10s"), false),
    key("gateway", KeyKind::Ipv4, None, false),
    form("own", read::cidr_or_dhcp, Some("dhcp")),
    form("dns", read::addresses, None),
    form("search", read::domains, None),
    form("routes", read::routes, None),
    form("ipv6", read::cidr6_or_auto, Some("auto")),
    form("router", read::ipv6, None),
    form("ipv6-routes", read::ipv6_routes, None),
];

static REQUIRED: [KeySpec; 1] = [key("name", KeyKind::Text, None, true)];

fn words(line: &str) -> Vec<String> {
    split(line.as_bytes()).expect("a well-formed line")
}

fn values(line: &str) -> Values {
    match parse(&SPECS, &words(line)) {
        Ok(Parsed::Values(values)) => values,
        other => panic!("{line}: {other:?}"),
    }
}

fn messages(line: &str) -> Vec<String> {
    match parse(&SPECS, &words(line)) {
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn defaults_hold_when_nothing_is_given() {
    let values = values("");
    assert_eq!(values.get::<String>("greeting").as_deref(), Some("Hello"));
    assert_eq!(values.get::<u16>("port"), Some(8080));
    assert_eq!(values.get::<i32>("count"), Some(3));
    assert_eq!(values.get::<bool>("verbose"), Some(false));
    assert_eq!(values.get::<Cidr>("ipv4"), None);
    assert_eq!(values.get::<Duration>("wait"), Some(Duration::from_secs(10)));
}

#[test]
fn both_forms_and_quotes_are_read() {
    let values = values(
        "--greeting 'Moin moin' --port=80 --count=-5 --verbose --ipv4 10.0.2.16/24 --gateway=10.0.2.2 --wait 250ms",
    );
    assert_eq!(values.get::<String>("greeting").as_deref(), Some("Moin moin"));
    assert_eq!(values.get::<u16>("port"), Some(80));
    assert_eq!(values.get::<i32>("count"), Some(-5));
    assert_eq!(values.get::<bool>("verbose"), Some(true));
    assert_eq!(values.get::<Cidr>("ipv4"), Cidr::new(Ipv4Addr::new(10, 0, 2, 16), 24).ok());
    assert_eq!(values.get::<Ipv4Addr>("gateway"), Some(Ipv4Addr::new(10, 0, 2, 2)));
    assert_eq!(values.get::<Duration>("wait"), Some(Duration::from_millis(250)));
}

#[test]
fn a_value_that_looks_like_a_key_goes_behind_an_equals_sign() {
    assert_eq!(values("--greeting=--port").get::<String>("greeting").as_deref(), Some("--port"));
}

#[test]
fn every_mistake_is_reported_at_once() {
    assert_eq!(
        messages("--greting x word --port 0 --count 301 --verbose=yes --ipv4 10.0.2.16 --wait 3 --gateway"),
        [
            "unknown key --greting, did you mean --greeting?",
            "unexpected word \"word\": keys are written --name value",
            "key --port has the value \"0\": write a port from 1 to 65535",
            "key --count has the value \"301\": write a whole number from -5 to 300",
            "key --verbose has the value \"yes\": write true or false",
            "key --ipv4 has the value \"10.0.2.16\": write the length of the network's prefix behind the address, as 10.0.2.16/24",
            "key --wait has the value \"3\": write a whole number with its unit, as 250ms, 10s, 5m or 2h",
            "key --gateway has no value: write --gateway ADDRESS",
        ]
    );
}

#[test]
fn a_key_far_from_all_others_gets_no_suggestion() {
    assert_eq!(messages("--zzzzzzzz"), ["unknown key --zzzzzzzz: --help lists the keys"]);
}

#[test]
fn twice_and_missing_are_mistakes() {
    assert_eq!(messages("--port 1 --port 2"), ["key --port is given twice: write it once"]);
    let errors = parse(&REQUIRED, &[]).expect_err("a required key is missing");
    assert_eq!(errors, [KeyError::Missing { name: "name", kind: KeyKind::Text }]);
}

#[test]
fn help_wins_and_lists_every_key() {
    assert!(matches!(parse(&SPECS, &words("--help --nonsense")), Ok(Parsed::Help)));
    let help = Help { program: "hello", keys: &SPECS }.to_string();
    for spec in &SPECS {
        assert!(help.contains(spec.name) && help.contains(spec.kind.placeholder()), "{help}");
    }
    assert!(help.contains("[default: 8080]") && help.contains("[optional]"), "{help}");
}

#[test]
fn broken_lines_are_refused() {
    assert_eq!(split(b"--a 'b"), Err(SplitError::OpenQuote));
    assert_eq!(split(b"\xff"), Err(SplitError::NotUtf8));
    assert_eq!(split(&[b'x'; MAX_COMMAND_LINE + 1]), Err(SplitError::TooLong));
}

#[test]
fn networks_contain_their_addresses() {
    let network: Cidr = "10.0.2.16/24".parse().expect("a network");
    assert!(network.contains(Ipv4Addr::new(10, 0, 2, 255)));
    assert!(!network.contains(Ipv4Addr::new(10, 0, 3, 16)));
    let everything: Cidr = "0.0.0.0/0".parse().expect("a network");
    assert!(everything.contains(Ipv4Addr::BROADCAST));
    assert_eq!("10.0.2.16/33".parse::<Cidr>(), Err(CidrError::Prefix));
}

proptest! {
    #[test]
    fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(words) = split(&line) {
            let _ = parse(&SPECS, &words);
        }
    }

    #[test]
    fn no_words_near_the_syntax_panic(words in prop::collection::vec("(--)?(port|count|verbose|ipv4|wait|x)?=?[-0-9./a-z]{0,12}", 0..6)) {
        let _ = parse(&SPECS, &words);
    }
}

#[test]
fn lists_have_commas_and_each_part_is_read() {
    let values = values(
        "--own 10.0.2.16/24 --dns 10.0.2.3,2001:db8::53 --search lan.example,example.org. --routes 10.1.0.0/16=10.0.2.9 \
         --ipv6-routes 2001:db8:1::/48=fe80::9,::/0=2001:db8::1",
    );
    assert_eq!(values.get::<Cidr>("own"), "10.0.2.16/24".parse().ok());
    let text = |key| values.get::<String>(key).expect("it is given");
    let servers: Vec<core::net::IpAddr> = read::list(&text("dns")).expect("they are addresses");
    assert_eq!(servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.2.3", "2001:db8::53"]);
    let domains: Vec<crate::net::names::Name> = read::list(&text("search")).expect("they are names");
    assert_eq!(domains.iter().map(ToString::to_string).collect::<Vec<_>>(), ["lan.example", "example.org"]);
    let routes: Vec<crate::net::StaticRoute> = read::list(&text("routes")).expect("they are routes");
    assert_eq!((routes[0].to.prefix(), routes[0].via), (16, Ipv4Addr::new(10, 0, 2, 9)));
    let routes: Vec<crate::net::StaticRoute6> = read::list(&text("ipv6-routes")).expect("they are routes");
    let routes: Vec<_> = routes.iter().map(|route| (route.to.prefix(), route.via.to_string())).collect();
    assert_eq!(routes, [(48, "fe80::9".to_string()), (0, "2001:db8::1".to_string())]);
}

#[test]
fn an_address_may_be_left_to_others() {
    assert_eq!(values("").get::<Cidr>("own"), None);
    assert_eq!(values("").get::<String>("ipv6").as_deref(), Some("auto"));
    let given = values("--ipv6 2001:db8::2/64 --router fe80::1");
    assert_eq!(given.get::<String>("ipv6").as_deref(), Some("2001:db8::2/64"));
    assert_eq!(given.get::<String>("router").as_deref(), Some("fe80::1"));
    assert_eq!(values("--own dhcp").get::<String>("own").as_deref(), Some("dhcp"));
}

#[test]
fn wrong_parts_of_lists_say_what_to_write() {
    for (line, remedy) in [
        ("--own dhpc", "write dhcp, or an IPv4 address with the length"),
        ("--dns 10.0.2.3,", "as 10.0.2.3,10.0.2.4"),
        ("--search a..b", "as lan.example,example.org"),
        ("--routes 10.1.0.0/16", "as 10.1.0.0/16=10.0.2.9"),
        ("--routes 10.1.0.0/33=10.0.2.9", "as 10.1.0.0/16=10.0.2.9"),
        ("--ipv6-routes 10.1.0.0/16=10.0.2.9", "as 2001:db8:1::/48=fe80::9"),
        ("--ipv6-routes 2001:db8:1::/48", "as 2001:db8:1::/48=fe80::9"),
        ("--ipv6 slaac", "write auto, or an IPv6 address with the length"),
        ("--ipv6 2001:db8::2", "as 2001:db8::2/64"),
        ("--ipv6 2001:db8::2/129", "as 2001:db8::2/64"),
        ("--router 10.0.2.2", "write an IPv6 address, as 2001:db8::1"),
        ("--routes 10.1.0.0/16=router", "as 10.1.0.0/16=10.0.2.9"),
    ] {
        let messages = messages(line);
        assert!(messages.len() == 1 && messages[0].contains(remedy), "{line}: {messages:?}");
    }
}
