//! What a build script writes and prints, whole, for each way to build.

mod common;

use std::fs;
use std::process::Command;

use common::{compare, feature, fixture, render, scratch, site, unix, xen};
use mirage_build::{Config, Environment, Key, Network, plan};

fn check(name: &str, config: &Config, environment: &Environment) {
    let plan = plan(config, environment).expect("the declaration is right");
    compare(name, &render(&plan));
}

#[test]
fn a_unix_process() {
    check("site-unix.txt", &site(), &unix(&fixture("site")));
}

#[test]
fn an_image_by_name() {
    check("site-xen.txt", &site(), &xen(&fixture("site")));
}

#[test]
fn an_image_by_feature() {
    check("site-feature.txt", &site(), &feature(&fixture("site")));
}

#[test]
fn a_process_for_windows() {
    let environment = Environment { target: "x86_64-pc-windows-msvc".into(), ..unix(&fixture("site")) };
    check("nothing-windows.txt", &Config::new().unix(), &environment);
}

#[test]
fn two_networks() {
    let config = Config::new().name("fire-wall").network("inside").network("out_side").unix().xen();
    check("two-networks.txt", &config, &xen(&fixture("site")));
}

#[test]
fn networks_with_everything() {
    let whole = Network::new("inside").dhcp().names().routes().mtu().ipv6().capture();
    let config = Config::new()
        .network(whole)
        .network(Network::new("outside").mtu())
        .network(Network::new("both").ipv6())
        .network("plain")
        .unix()
        .xen();
    check("networks-with-everything.txt", &config, &xen(&fixture("site")));
}

#[test]
fn a_disk_beside_a_network() {
    let config = Config::new().network("service").block("data").unix().xen();
    check("disk-unix.txt", &config, &unix(&fixture("site")));
}

#[test]
fn two_disks() {
    let config = Config::new().block("data").block("write_log").watchdog(30).unix().xen();
    check("two-disks.txt", &config, &xen(&fixture("site")));
}

#[test]
fn consoles() {
    let config = Config::new().first_console("operator").console("control").unix().xen();
    check("consoles.txt", &config, &xen(&fixture("site")));
}

#[test]
fn devices_that_come_and_go() {
    check("hotplug.txt", &Config::new().block("data").hotplug("plugged").unix().xen(), &xen(&fixture("site")));
}

#[test]
fn nothing_at_all() {
    check("nothing.txt", &Config::new().unix(), &unix(&fixture("site")));
}

#[test]
fn both_features_are_unix_and_so_is_none() {
    let both = Environment { feature_unix: true, ..feature(&fixture("site")) };
    for environment in [both, unix(&fixture("site"))] {
        assert!(!plan(&site(), &environment).expect("the declaration is right").image);
    }
}

#[test]
fn the_target_is_stronger_than_the_features() {
    let environment = Environment { feature_unix: true, ..xen(&fixture("site")) };
    assert!(plan(&site(), &environment).expect("the declaration is right").image);
}

#[test]
fn the_glue_differs_between_targets_only_where_the_program_starts() {
    let glue = |environment: &Environment| {
        let plan = plan(&site(), environment).expect("the declaration is right");
        let file = plan.files.iter().find(|file| file.path.ends_with("unikernel.rs")).expect("there is glue");
        String::from_utf8(file.content.clone()).expect("glue is text")
    };
    let (unix, xen) = (glue(&unix(&fixture("site"))), glue(&xen(&fixture("site"))));
    assert_eq!(unix, xen.replace("mirage_xen_image", "mirage_unix"));
    let by_feature = glue(&feature(&fixture("site")));
    let guards = by_feature.replace("#[cfg(test)]\ncompile", "\0compile").replace("#[allow(unused_macros)]", "\0");
    let [before, guards, after] = guards.split('\0').collect::<Vec<_>>()[..] else { panic!("{by_feature}") };
    assert!(guards.contains("compile_error!"), "{guards}");
    assert_eq!(format!("{before}#[allow(unused_macros)]{after}"), xen);
}

/// What rustc says about the glue's guards alone.
fn guarded(arguments: &[&str]) -> String {
    let glue = plan(&site(), &feature(&fixture("site"))).expect("the declaration is right").files.swap_remove(0);
    let glue = String::from_utf8(glue.content).expect("glue is text");
    let start = glue.find("#[cfg(test)]\ncompile_error!").expect("there are guards");
    let end = glue.find("#[allow(unused_macros)]").expect("the entry follows");
    let folder = scratch(&format!("guards{}", arguments.concat()));
    fs::write(folder.join("guards.rs"), &glue[start..end]).expect("the target folder can be written");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "guards.rs"]).args(arguments);
    let output = rustc.current_dir(folder).output().expect("rustc starts");
    String::from_utf8(output.stderr).expect("messages are text")
}

#[test]
fn the_compiler_sees_what_a_build_script_can_not() {
    assert_eq!(guarded(&["-Cpanic=abort"]), "");
    let unwinding = guarded(&["-Cpanic=unwind"]);
    assert!(
        unwinding.contains("error: an image has no unwinder: add `panic = \"abort\"` to [profile.dev]"),
        "{unwinding}"
    );
    let test = guarded(&["-Cpanic=unwind", "--cfg=test"]);
    assert!(test.contains("error: tests run as a Unix process: say `cargo test` without `--features xen`"), "{test}");
    assert!(!test.contains("unwinder"), "{test}");
}

#[test]
fn every_type_of_key_has_a_field() {
    use std::net::Ipv4Addr;
    use std::time::Duration;
    let config = Config::new()
        .key(Key::<bool>::new("a").default(true))
        .key(Key::<u8>::new("b").default(255))
        .key(Key::<u16>::new("c").default(65535))
        .key(Key::<u32>::new("d").default(1))
        .key(Key::<u64>::new("e").default(u64::MAX))
        .key(Key::<usize>::new("f").default(1))
        .key(Key::<i8>::new("g").default(-128))
        .key(Key::<i16>::new("h").default(-1))
        .key(Key::<i32>::new("i").default(-1))
        .key(Key::<i64>::new("j").default(i64::MIN))
        .key(Key::<String>::new("k").default(String::from("x")))
        .key(Key::<Ipv4Addr>::new("l").default(Ipv4Addr::LOCALHOST))
        .key(Key::<Duration>::new("m").default(Duration::from_secs(90)))
        .key(Key::<bool>::new("n").optional())
        .unix();
    check("key-types.txt", &config, &unix(&fixture("site")));
}

#[test]
fn without_cargos_usual_folders_nothing_is_written_beside_the_binary() {
    let environment = Environment { out_dir: "/elsewhere/site/0123/out".into(), ..xen(&fixture("site")) };
    let plan = plan(&site(), &environment).expect("the declaration is right");
    assert!(plan.files.iter().all(|file| file.path.starts_with("/elsewhere/site/0123/out")));
}

#[test]
fn the_linker_explains_its_errors_only_where_it_is_lld() {
    let advised = |environment: &Environment| {
        let plan = plan(&site(), environment).expect("the declaration is right");
        plan.directives.iter().any(|line| line.contains("--error-handling-script"))
    };
    assert!(advised(&feature(&fixture("site"))));
    let bfd = Environment { rustflags: vec!["-Clink-arg=-fuse-ld=bfd".into()], ..feature(&fixture("site")) };
    assert!(!advised(&bfd));
    assert!(!advised(&Environment { program: None, ..feature(&fixture("site")) }));
}
