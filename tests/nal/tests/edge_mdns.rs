//! edge-mdns between hosts on the in-memory switch: one answers to its name, the other asks for it, over either family.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use edge_mdns::buf::VecBufAccess;
use edge_mdns::domain::base::iana::Class;
use edge_mdns::domain::base::{Question, Rtype, Ttl};
use edge_mdns::domain::rdata::AllRecordData;
use edge_mdns::host::Host;
use edge_mdns::io::{self, DEFAULT_SOCKET};
use edge_mdns::{
    HostAnswersMdnsHandler, HostQuestion, HostQuestions, MdnsError, NameSlice, PeerAnswer, PeerAnswers,
    PeerAnswersMdnsHandler,
};
use edge_nal::UdpSplit;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use mirage_rt::net::ipv6::Ipv6Config;
use mirage_rt::net::switch::{Impairments, Switch};
use mirage_rt::net::{Config, Network};
use mirage_rt::{Duration, sleep, spawn, testing};

/// Numbers for delays that nothing here needs.
struct Numbers(u8);

impl rand_core::TryRng for Numbers {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0 = self.0.wrapping_add(1);
        Ok(self.0.into())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.try_next_u32().map(u64::from)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0);
        Ok(())
    }
}

/// Asks for the addresses of `printer.local`.
struct Asking;

impl HostQuestions for Asking {
    fn visit<F, E>(&self, mut ask: F) -> Result<(), E>
    where
        F: FnMut(HostQuestion) -> Result<(), E>,
        E: From<MdnsError>,
    {
        for kind in [Rtype::A, Rtype::AAAA] {
            ask(Question::new(NameSlice::new(&["printer", "local"]), kind, Class::IN))?;
        }
        Ok(())
    }
}

/// Notes the addresses in answers.
#[derive(Clone, Default)]
struct Noted(Rc<RefCell<Vec<IpAddr>>>);

impl PeerAnswers for Noted {
    fn answers<'a, T, A>(&self, answers: T, _: A) -> Result<(), MdnsError>
    where
        T: IntoIterator<Item = Result<PeerAnswer<'a>, MdnsError>> + Clone + 'a,
        A: IntoIterator<Item = Result<PeerAnswer<'a>, MdnsError>> + Clone + 'a,
    {
        for answer in answers {
            match answer?.data() {
                AllRecordData::A(a) => self.0.borrow_mut().push(IpAddr::V4(a.addr().octets().into())),
                AllRecordData::Aaaa(aaaa) => self.0.borrow_mut().push(IpAddr::V6(aaaa.addr().octets().into())),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The families of a run, as edge-mdns takes them.
type Families = (Option<Ipv4Addr>, Option<u32>);

/// Answers for `printer.local`, as edge-mdns's own example does.
async fn answer(network: Network, (ipv4, ipv6): Families) {
    let udp = network.udp();
    let mut socket = io::bind(&udp, DEFAULT_SOCKET, ipv4, ipv6).await.expect("the port is free");
    let (receive, send) = socket.split();
    let buffers = [(); 2].map(|()| VecBufAccess::<NoopRawMutex, 1500>::new());
    let host = Host { hostname: "printer", ipv4: address(1), ipv6: address6(1), ttl: Ttl::from_secs(60) };
    let signal = Signal::<NoopRawMutex, _>::new();
    let mdns = io::Mdns::<_, _, _, _, _, NoopRawMutex>::new(
        ipv4,
        ipv6,
        receive,
        send,
        &buffers[0],
        &buffers[1],
        Numbers(1),
        &signal,
    );
    let ended = mdns.run(HostAnswersMdnsHandler::new(&host)).await;
    ended.expect("it ends with the network");
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

fn address6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())
}

fn host(switch: &Switch, number: u8) -> Network {
    let mut config = Config::from_keys(format!("{}/24", address(number)).parse().ok(), None);
    let network = format!("{}/64", address6(number)).parse().expect("a network");
    config.ipv6 = Some(Ipv6Config::fixed(network, None));
    Network::direct(switch.port(), switch.pool(), config).expect("the configuration is good")
}

/// What a host finds that asks for `printer.local` once.
fn found(families: Families) -> Vec<IpAddr> {
    testing::run(1, async move {
        let switch = Switch::new(1, Impairments::NONE);
        let (printer, client) = (host(&switch, 1), host(&switch, 2));
        sleep(Duration::from_secs(2)).await;
        drop(spawn(answer(printer, families)));
        let noted = Noted::default();
        let (ipv4, ipv6) = families;
        let udp = client.udp();
        let mut socket = io::bind(&udp, DEFAULT_SOCKET, ipv4, ipv6).await.expect("the port is free");
        let (receive, send) = socket.split();
        let buffers = [(); 2].map(|()| VecBufAccess::<NoopRawMutex, 1500>::new());
        let signal = Signal::<NoopRawMutex, _>::new();
        let mdns = io::Mdns::<_, _, _, _, _, NoopRawMutex>::new(
            ipv4,
            ipv6,
            receive,
            send,
            &buffers[0],
            &buffers[1],
            Numbers(2),
            &signal,
        );
        sleep(Duration::from_secs(1)).await;
        assert!(noted.0.borrow().is_empty());
        mdns.query(|buffer| Asking.query(0, buffer)).await.expect("it is sent");
        let running = mdns.run(PeerAnswersMdnsHandler::new(noted.clone()));
        let _ = mirage_rt::timeout(Duration::from_secs(1), running).await;
        noted.0.take()
    })
}

#[test]
fn a_name_is_found_over_either_family() {
    let both = [IpAddr::V4(address(1)), IpAddr::V6(address6(1))];
    // A name's owner tells of it when it begins, and each time that it is asked, of all that it has.
    let unique = |families| {
        let mut found = found(families);
        found.sort();
        found.dedup();
        found
    };
    assert_eq!(unique((Some(Ipv4Addr::UNSPECIFIED), None)), both);
    assert_eq!(unique((None, Some(0))), both);
    assert_eq!(unique((Some(Ipv4Addr::UNSPECIFIED), Some(0))), both);
}
