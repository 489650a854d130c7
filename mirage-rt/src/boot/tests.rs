mod networks;

use super::*;
use crate::keys::KeyKind;
use crate::testing::VirtualPlatform;
use crate::time::{Duration, sleep};
use alloc::string::ToString;
use alloc::vec::Vec;

static UNIKERNEL: Unikernel = Unikernel {
    name: "hello",
    keys: &[KeySpec {
        name: "greeting",
        kind: KeyKind::Text,
        read: crate::keys::read::text,
        default: Some("Hello"),
        required: false,
        doc: "What to say.",
    }],
    networks: &[NetworkSpec { name: "service", index: 0, key_prefix: "" }],
    blocks: &[BlockSpec { name: "data", index: 0, key_prefix: "" }],
    consoles: &[],
    memory_mib: 4,
};

struct NoDevices;

impl NetworkConnector for NoDevices {
    fn network<'a>(&'a self, spec: &'static NetworkSpec, _: &'a Values, _: AddressFrom) -> Connecting<'a, Network> {
        Box::pin(async move { Err(Error::message(alloc::format!("network \"{}\" has no vif", spec.name))) })
    }
}

/// Runs `main` with `words`; the exit code and the console.
fn run_main<M, F>(words: &[&str], shutdown: impl Future<Output = ()>, main: M) -> (ExitCode, String)
where
    M: Fn(Boot) -> F,
    F: Future<Output = Result> + 'static,
{
    let platform = VirtualPlatform::new(1);
    let runtime = Runtime::new(platform.clone());
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let connectors = Connectors { networks: Some(Rc::new(NoDevices)), ..Connectors::default() };
    let shutdown = core::pin::pin!(shutdown);
    let code = run(&runtime, &UNIKERNEL, &words, connectors, shutdown, &|boot| boxed(main(boot)));
    (code, platform.console())
}

async fn greet(boot: Boot) -> Result {
    crate::println!("{}", boot.key::<String>("greeting")?);
    Ok(())
}

#[test]
fn main_gets_its_keys() {
    assert_eq!(run_main(&[], core::future::pending(), greet), (ExitCode::SUCCESS, "Hello\n".into()));
    assert_eq!(run_main(&["--greeting", "Moin"], core::future::pending(), greet), (ExitCode::SUCCESS, "Moin\n".into()));
}

#[test]
fn wrong_words_end_with_the_usage_code() {
    let (code, console) = run_main(&["--greting", "x"], core::future::pending(), greet);
    assert_eq!(code, ExitCode::USAGE);
    assert_eq!(console, "hello: unknown key --greting, did you mean --greeting?\n");
}

#[test]
fn help_prints_the_keys() {
    let (code, console) = run_main(&["--help"], core::future::pending(), greet);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(console.contains("--greeting TEXT  [default: Hello]\n        What to say."), "{console}");
}

#[test]
fn a_device_that_is_not_there_ends_with_its_message() {
    let (code, console) =
        run_main(&[], core::future::pending(), |boot| async move { boot.network("service").await.map(drop) });
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(console, "hello: error: network \"service\" has no vif\n");
    // The glue names a kind of devices that the platform was not asked for.
    let (code, console) =
        run_main(&[], core::future::pending(), |boot| async move { boot.block("data").await.map(drop) });
    assert_eq!(code, ExitCode::FAILURE);
    assert!(console.contains("\"data\": build.rs and the generated glue do not match"), "{console}");
}

#[test]
fn a_request_to_stop_ends_a_main_that_waits() {
    let shutdown = async { sleep(Duration::from_secs(5)).await };
    let (code, _) = run_main(&[], shutdown, |_| async { core::future::pending().await });
    assert_eq!(code, ExitCode::SUCCESS);
}
