//! For the tests of applications: a runtime in real time, with the host's sockets.

use std::future::Future;
use std::net::Ipv4Addr;
use std::rc::Rc;

use mirage_rt::Runtime;
use mirage_rt::net::Network;
use mirage_rt::platform::Platform;

use crate::{HostSockets, UnixPlatform};

/// Runs `test` on a runtime of its own and gives it a network on 127.0.0.1. Tasks that it spawned end with it.
///
/// # Panics
///
/// When the process can't open the descriptors that a runtime needs.
pub fn run<M, F>(test: M) -> F::Output
where
    M: FnOnce(Network) -> F,
    F: Future,
{
    let platform = match UnixPlatform::new() {
        Ok(platform) => platform,
        Err(error) => panic!("{error}"),
    };
    let network = Network::host(Rc::new(HostSockets::new(&platform, Ipv4Addr::LOCALHOST)));
    Runtime::new(platform as Rc<dyn Platform>).run(async { test(network).await })
}
