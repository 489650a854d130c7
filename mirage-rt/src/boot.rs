//! From words to main: what every platform does the same way.
//!
//! The generated glue describes the program ([`Unikernel`]); the platform gives the words, [`Connectors`] for its
//! devices, and a future that is ready when somebody asks the program to stop; [`run`] does the rest and says how it ended.

#[cfg(feature = "ipv6")]
mod ipv6;
mod networks;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::Poll;

use crate::block::Block;
use crate::console::{Console, install_logger, print_on};
use crate::error::{Error, Result};
use crate::hotplug::DeviceEvents;
use crate::keys::{FromValue, Help, KeySpec, Parsed, Values, parse};
use crate::net::{Config, Network};
use crate::runtime::Runtime;
use crate::types::console::ConsoleDevice;

/// A program as its build.rs declared it.
#[derive(Clone, Copy, Debug)]
pub struct Unikernel {
    /// The package's name.
    pub name: &'static str,
    /// Its own keys, and those of the devices it uses.
    pub keys: &'static [KeySpec],
    /// Its networks, in the order of their declaration.
    pub networks: &'static [NetworkSpec],
    /// Its disks, in the order of their declaration.
    pub blocks: &'static [BlockSpec],
    /// Its consoles besides the first one.
    pub consoles: &'static [ConsoleSpec],
    /// Memory that launch files give it, in MiB.
    pub memory_mib: u32,
}

/// A network that build.rs declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: &'static str,
    /// Its place in the order of declaration: the number of its vif on Xen.
    pub index: u16,
    /// What stands in front of `ipv4`, `ipv4-gateway` and so on in the names of its keys: nothing when it is the only
    /// network, else its name and a dash.
    pub key_prefix: &'static str,
}

impl NetworkSpec {
    /// The value of the network's key `name`, as `ipv4`.
    pub fn key<T: FromValue>(&self, values: &Values, name: &str) -> Option<T> {
        key_of(self.key_prefix, values, name)
    }

    /// How the network is set up on a device of its own, as its keys say: for platforms.
    // Inline, as what runs at boot is: for size.
    #[inline]
    pub fn config(&self, values: &Values) -> Config {
        let config = Config::from_keys(self.key(values, "ipv4"), self.key(values, "ipv4-gateway"));
        #[cfg(feature = "ipv6")]
        let config = ipv6::add(config, self, values);
        config
    }
}

/// A disk that build.rs declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// Its name.
    pub name: &'static str,
    /// Its place in the order of declaration: 0 is the virtual disk xvda on Xen, 1 is xvdb.
    pub index: u16,
    /// What stands in front of `disk` in the name of its key: nothing when it is the only disk, else its name and a dash.
    pub key_prefix: &'static str,
}

impl BlockSpec {
    /// The value of the disk's key `name`, as `disk`.
    pub fn key<T: FromValue>(&self, values: &Values, name: &str) -> Option<T> {
        key_of(self.key_prefix, values, name)
    }
}

/// A console besides the first one that build.rs declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsoleSpec {
    /// Its name, which is the channel's on Xen.
    pub name: &'static str,
    /// The key for its path, on Unix.
    pub key: &'static str,
}

fn key_of<T: FromValue>(prefix: &str, values: &Values, name: &str) -> Option<T> {
    if prefix.is_empty() {
        return values.get(name);
    }
    let mut key = String::from(prefix);
    key.push_str(name);
    values.get(&key)
}

/// The future of a device that is being connected.
pub type Connecting<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// A platform's way to its network devices.
pub trait NetworkConnector {
    /// Connects the network `spec`, configured by its keys in `values`. It is ready when the device works. `address` says
    /// whether those give it an address; a network of the host's sockets has one in any case.
    fn network<'a>(
        &'a self,
        spec: &'static NetworkSpec,
        values: &'a Values,
        address: AddressFrom,
    ) -> Connecting<'a, Network>;
}

/// Where a network's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// The keys.
    Keys,
    /// Whoever configures the network later: it is [unaddressed](Network::unaddressed).
    Elsewhere,
}

/// A platform's way to its disks.
pub trait BlockConnector {
    /// Connects the disk `spec`, configured by its keys in `values`. It is ready when the device works.
    fn block<'a>(&'a self, spec: &'static BlockSpec, values: &'a Values) -> Connecting<'a, Block>;
}

/// A platform's way to consoles besides the first one.
pub trait ConsoleConnector {
    /// Connects the console `spec`, configured by its key in `values`. It is ready when the device works.
    fn console<'a>(&'a self, spec: &'static ConsoleSpec, values: &'a Values) -> Connecting<'a, Console>;
}

/// A platform's way to devices that come and go.
pub trait HotplugConnector {
    /// The events of all devices but those that `unikernel` declares.
    fn hotplug(&self, unikernel: &'static Unikernel) -> DeviceEvents;
}

/// A platform's ways to its devices, one for each kind. A kind that the program does not declare needs none; then an image
/// has no code for it.
#[derive(Clone, Default)]
pub struct Connectors {
    /// To networks.
    pub networks: Option<Rc<dyn NetworkConnector>>,
    /// To disks.
    pub blocks: Option<Rc<dyn BlockConnector>>,
    /// To consoles besides the first one.
    pub consoles: Option<Rc<dyn ConsoleConnector>>,
    /// The first console.
    pub first_console: Option<Rc<dyn ConsoleDevice>>,
    /// To devices that come and go.
    pub hotplug: Option<Rc<dyn HotplugConnector>>,
}

/// The application's main, under way.
pub type MainFuture = Pin<Box<dyn Future<Output = Result>>>;

/// The application's main as platforms take it: boxed, so that only one copy of the code around it exists.
pub fn boxed(main: impl Future<Output = Result> + 'static) -> MainFuture {
    Box::pin(main)
}

/// What main's glue gets: the values of the keys and the way to the devices.
#[derive(Clone)]
pub struct Boot {
    unikernel: &'static Unikernel,
    values: Rc<Values>,
    connectors: Connectors,
}

impl Boot {
    /// The values of all keys.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The value of the key `name`.
    ///
    /// # Errors
    ///
    /// [`NoSuchKey`] when it has none of this type: the glue and the program's description do not match.
    pub fn key<T: FromValue>(&self, name: &'static str) -> Result<T, NoSuchKey> {
        self.values.get(name).ok_or(NoSuchKey { name })
    }

    /// Connects the network `name`.
    ///
    /// # Errors
    ///
    /// What the platform reports: no such device, its backend does not connect, a key is missing. The message says what
    /// to change.
    pub async fn network(&self, name: &'static str) -> Result<Network> {
        let connector = self.connectors.networks.as_ref().ok_or(NoSuchKey { name })?;
        connector.network(self.network_spec(name)?, &self.values, AddressFrom::Keys).await
    }

    fn network_spec(&self, name: &'static str) -> Result<&'static NetworkSpec, NoSuchKey> {
        self.unikernel.networks.iter().find(|spec| spec.name == name).ok_or(NoSuchKey { name })
    }

    /// Connects the disk `name`.
    ///
    /// # Errors
    ///
    /// As [`network`](Boot::network); and on Unix that the disk's file can't be used.
    pub async fn block(&self, name: &'static str) -> Result<Block> {
        let spec = self.unikernel.blocks.iter().find(|spec| spec.name == name).ok_or(NoSuchKey { name })?;
        let connector = self.connectors.blocks.as_ref().ok_or(NoSuchKey { name })?;
        connector.block(spec, &self.values).await
    }

    /// Connects the console `name`.
    ///
    /// # Errors
    ///
    /// As [`network`](Boot::network).
    pub async fn console(&self, name: &'static str) -> Result<Console> {
        let spec = self.unikernel.consoles.iter().find(|spec| spec.name == name).ok_or(NoSuchKey { name })?;
        let connector = self.connectors.consoles.as_ref().ok_or(NoSuchKey { name })?;
        connector.console(spec, &self.values).await
    }

    /// The first console, declared as `name`.
    ///
    /// # Errors
    ///
    /// [`NoSuchKey`] when the platform gave none: the glue and the program's description do not match.
    pub fn first_console(&self, name: &'static str) -> Result<Console, NoSuchKey> {
        self.connectors.first_console.clone().map(Console::new).ok_or(NoSuchKey { name })
    }

    /// The devices that come and go, declared as `name`.
    ///
    /// # Errors
    ///
    /// As [`first_console`](Boot::first_console).
    pub fn hotplug(&self, name: &'static str) -> Result<DeviceEvents, NoSuchKey> {
        let connector = self.connectors.hotplug.as_ref().ok_or(NoSuchKey { name })?;
        Ok(connector.hotplug(self.unikernel))
    }
}

/// The generated glue asks for something that the program's description does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchKey {
    /// The key or device.
    pub name: &'static str,
}

impl fmt::Display for NoSuchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "nothing is declared under the name \"{}\": build.rs and the generated glue do not match, build again",
            self.name
        )
    }
}

impl core::error::Error for NoSuchKey {}

/// How a program ended; the exit status of a Unix process and `data/mirage/exit-code` of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(pub u8);

impl ExitCode {
    /// Main returned Ok, the program was asked to stop, or `--help` was printed.
    pub const SUCCESS: ExitCode = ExitCode(0);
    /// Main returned an error, or a device could not be connected.
    pub const FAILURE: ExitCode = ExitCode(1);
    /// The words were wrong (EX_USAGE).
    pub const USAGE: ExitCode = ExitCode(64);
    /// A panic or a fault. The lab's runner and Rust's own runtime exit so.
    pub const CRASH: ExitCode = ExitCode(101);
}

/// Runs a program on `runtime`: reads `words`, prints help or mistakes, connects devices and runs `main` until it returns or
/// `shutdown` is ready, whichever is first. Tasks that main spawned end with it.
///
/// Of `connectors` only those for the kinds of devices are needed that the program declares.
pub fn run(
    runtime: &Runtime,
    unikernel: &'static Unikernel,
    words: &[String],
    connectors: Connectors,
    shutdown: Pin<&mut dyn Future<Output = ()>>,
    main: &dyn Fn(Boot) -> MainFuture,
) -> ExitCode {
    let _entered = runtime.enter();
    run_entered(runtime, unikernel, words, connectors, shutdown, main)
}

/// As [`run`], for a platform that has made `runtime` the current one, by [`Runtime::enter`], and never makes it another.
// Inline, as is what it calls, so that it is compiled with the platform, which favours size: it happens once.
#[inline]
pub fn run_entered(
    runtime: &Runtime,
    unikernel: &'static Unikernel,
    words: &[String],
    connectors: Connectors,
    mut shutdown: Pin<&mut dyn Future<Output = ()>>,
    main: &dyn Fn(Boot) -> MainFuture,
) -> ExitCode {
    let values = match parse(unikernel.keys, words) {
        Ok(Parsed::Values(values)) => values,
        Ok(Parsed::Help) => {
            print_on(runtime, format_args!("{}", Help { program: unikernel.name, keys: unikernel.keys }));
            return ExitCode::SUCCESS;
        }
        Err(errors) => {
            for error in errors {
                print_on(runtime, format_args!("{}: {error}\n", unikernel.name));
            }
            return ExitCode::USAGE;
        }
    };
    install_logger(values.get("log").unwrap_or(log::LevelFilter::Info));
    let boot = Boot { unikernel, values: Rc::new(values), connectors };
    let mut main = main(boot);
    let either = core::future::poll_fn(|context| match shutdown.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => main.as_mut().poll(context).map(Some),
    });
    match runtime.run_entered(either) {
        None | Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            print_error(runtime, unikernel, &error);
            ExitCode::FAILURE
        }
    }
}

fn print_error(runtime: &Runtime, unikernel: &Unikernel, error: &Error) {
    print_on(runtime, format_args!("{}: error: {error}\n", unikernel.name));
}

#[cfg(test)]
mod tests;
