//! The name servers that a network was told of, and the resolver that asks them.
//!
//! They are kept without their types, so that an image has no code for them whose program never asks.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::any::Any;
use core::net::{IpAddr, SocketAddr};

use super::{Inner, Name, Options, PORT, Resolver, State};
use crate::cell::RefCell;
use crate::net::{Network, Stack};

/// A network's place for its name servers and for what they have answered: whoever implements a
/// [`HostStack`](crate::net::host::HostStack) keeps one.
#[derive(Default)]
pub struct NameSlot {
    /// [`Told`]
    told: RefCell<Option<Rc<dyn Any>>>,
}

/// Where a network's servers come from.
#[derive(Default)]
struct Told {
    /// A lease, or whoever opened the network.
    options: Option<Options>,
    /// Keys; they count more.
    servers: Vec<SocketAddr>,
    search: Vec<Name>,
    /// Routers; they count when no keys say anything, and after a lease (RFC 8106, 5.3.1).
    #[cfg(feature = "ipv6")]
    routers: Vec<IpAddr>,
    /// [`State`], once somebody has asked.
    state: RefCell<Option<Rc<dyn Any>>>,
}

impl Told {
    /// The same, without what others have answered: these servers may answer otherwise.
    fn unasked(&self) -> Told {
        let (options, servers, search) = (self.options.clone(), self.servers.clone(), self.search.clone());
        Told {
            options,
            servers,
            search,
            #[cfg(feature = "ipv6")]
            routers: self.routers.clone(),
            state: RefCell::new(None),
        }
    }
}

impl NameSlot {
    fn told(&self) -> Option<Rc<Told>> {
        self.told.borrow().clone()?.downcast().ok()
    }

    fn change(&self, change: impl FnOnce(&mut Told)) {
        let mut told = self.told().map(|told| told.unasked()).unwrap_or_default();
        change(&mut told);
        self.told.replace(Some(Rc::new(told)));
    }

    /// What routers say now; others than before may answer otherwise.
    #[cfg(feature = "ipv6")]
    fn hear_routers(&self, servers: Vec<IpAddr>) {
        let before = self.told();
        if before.as_ref().map_or(&[][..], |told| &told.routers) != servers {
            self.change(|told| told.routers = servers);
        }
    }
}

impl Network {
    /// A resolver that asks the name servers of this network, and shares what they answer with all others of the network. It
    /// follows when they change. A network that was told of no servers finds no names.
    ///
    /// A network of build.rs is told by its keys `dns` and `search`, declared by `.names()`, by its DHCP server, or by routers (IPv6); on the host's
    /// sockets what the keys leave open is the host's configuration, as it is at the first question.
    pub fn names(&self) -> Resolver {
        Resolver { inner: Rc::new(Inner { network: self.clone(), own: None }) }
    }

    /// Tells the network of other name servers, unless its keys name some.
    pub fn set_names(&self, options: Options) {
        self.name_slot().change(|told| told.options = Some(options));
    }

    /// What the keys say, which counts more than [`set_names`](Network::set_names); empty for what they do not.
    pub(crate) fn fix_names(&self, servers: &[IpAddr], search: Vec<Name>) {
        let servers = servers.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
        self.name_slot().change(|told| (told.servers, told.search) = (servers, search));
    }

    fn name_slot(&self) -> &NameSlot {
        match &self.stack {
            Stack::Direct(direct) => direct.name_slot(),
            Stack::Host(host) => host.name_slot(),
        }
    }
}

impl Inner {
    /// The networks whose servers are asked instead of this one's: those that it is made of, unless it was told whom to ask.
    pub(super) fn parts(&self) -> Option<&[Network]> {
        let Stack::Host(host) = &self.network.stack else { return None };
        let is_told = || host.name_slot().told().is_some_and(|told| told.options.is_some() || !told.servers.is_empty());
        (self.own.is_none() && !host.parts().is_empty() && !is_told()).then(|| host.parts())
    }

    /// Whom to ask now, and what came of it so far.
    pub(super) fn state(&self) -> State {
        if let Some(own) = &self.own {
            return own.clone();
        }
        let slot = self.network.name_slot();
        #[cfg(feature = "ipv6")]
        slot.hear_routers(self.network.name_servers());
        let told = slot.told().unwrap_or_else(|| {
            let told = Rc::new(Told::default());
            slot.told.replace(Some(Rc::<Told>::clone(&told)));
            told
        });
        let kept = told.state.borrow().clone();
        if let Some(Ok(state)) = kept.map(Rc::downcast::<State>) {
            return State::clone(&state);
        }
        let before = told.unasked();
        #[cfg(feature = "ipv6")]
        let routers = before.routers;
        let (options, servers, search) = (before.options, before.servers, before.search);
        let mut options =
            options.or_else(|| Options::of(&self.network)).unwrap_or_else(|| Options::new(Vec::<IpAddr>::new()));
        #[cfg(feature = "ipv6")]
        for server in routers.into_iter().map(|address| SocketAddr::new(address, PORT)) {
            if !options.servers.contains(&server) {
                options.servers.push(server);
            }
        }
        if !servers.is_empty() {
            options.servers = servers;
        }
        if !search.is_empty() {
            options.search = search;
        }
        let state = State::new(options);
        told.state.replace(Some(Rc::new(state.clone())));
        state
    }
}
