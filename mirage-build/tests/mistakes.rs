//! One test for each thing that can be wrong. The texts are exact: they are what a user reads.

mod common;

use std::fs;
use std::path::Path;

use common::{feature, fixture, mistakes, scratch, unix, xen};
use mirage_build::{Cidr, Config, Environment, Key, Port};

/// The messages for `config` as a Unix process in the fixture.
fn found(config: Config) -> Vec<String> {
    found_in(config, &unix(&fixture("site")))
}

fn found_in(config: Config, environment: &Environment) -> Vec<String> {
    mistakes(config, environment).iter().map(ToString::to_string).collect()
}

fn base() -> Config {
    Config::new().unix().xen()
}

#[test]
fn no_target() {
    assert_eq!(
        found(Config::new()),
        ["this unikernel supports no target: call `.unix()`, `.xen()` or both before `.emit()` in build.rs"]
    );
}

#[test]
fn an_image_of_a_unix_program() {
    assert_eq!(
        found_in(Config::new().unix(), &xen(&fixture("site"))),
        ["this unikernel does not support Xen: call `.xen()` before `.emit()` in build.rs, or build without \
          `--features xen` and `--target x86_64-unknown-xen`"]
    );
}

#[test]
fn a_unix_process_of_an_image() {
    assert_eq!(
        found(Config::new().xen()),
        ["this unikernel does not support Unix: build it with `--features xen` or `--target x86_64-unknown-xen`, or \
          call `.unix()` before `.emit()` in build.rs"]
    );
}

#[test]
fn the_unikernels_name() {
    for name in ["", "a/b", "-x", "a b", "a.b"] {
        assert_eq!(
            found(base().name(name)),
            [format!(
                "`{name}` can not be the unikernel's name: Config::name takes the name of the binary target, letters, \
                 digits, `-` and `_` only"
            )]
        );
    }
}

#[test]
fn names_of_devices() {
    let long = "x".repeat(49);
    for name in ["", "a-b", "A", "1a", "_a", "ä", "type", "self", "gen", "a b", &long] {
        for config in [base().network(name), base().block(name)] {
            assert_eq!(
                found(config),
                [format!(
                    "`{name}` can not be a device's name: it becomes a field of Devices, so it must start with a lower \
                     case letter, go on with lower case letters, digits and `_`, be no Rust keyword and at most 48 \
                     bytes long"
                )]
            );
        }
    }
}

#[test]
fn two_devices_of_one_name() {
    for config in [base().kv_ro("service", "htdocs"), base().block("service")] {
        assert_eq!(
            found(config.network("service")),
            ["two devices have the name `service`: give one of them another name in build.rs"]
        );
    }
}

#[test]
fn too_many_networks() {
    let config = (0..9).fold(base(), |config, index| config.network(format!("n{index}")));
    assert_eq!(
        found(config),
        ["9 networks are declared, and a unikernel can have 8: remove some `.network(..)` from build.rs"]
    );
}

#[test]
fn too_many_disks() {
    let disks = |count| (0..count).fold(base(), |config, index| config.block(format!("d{index}")));
    assert_eq!(
        found(disks(17)),
        ["17 block devices are declared, and a unikernel can have 16: remove some `.block(..)` from build.rs"]
    );
    assert!(mirage_build::plan(&disks(16), &unix(&fixture("site"))).is_ok());
}

#[test]
fn watchdogs() {
    for seconds in [0, 1, 86_401] {
        assert_eq!(
            found(base().watchdog(seconds)),
            [format!(
                "a watchdog of {seconds} seconds is declared: say `.watchdog(2)` to `.watchdog(86400)` in build.rs"
            )]
        );
    }
    assert!(mirage_build::plan(&base().watchdog(2), &unix(&fixture("site"))).is_ok());
}

#[test]
fn two_streams_of_devices_that_come_and_go() {
    assert_eq!(
        found(base().hotplug("plugged").hotplug("more")),
        [
            "there is one stream of devices that come and go, and `more` is another: remove one `.hotplug(..)` from build.rs"
        ]
    );
}

#[test]
fn names_of_keys() {
    for name in ["", "a_b", "A", "1a", "-a", "a-", "a--b", "--a", "ä", "match", "a=b", "a b"] {
        assert_eq!(
            found(base().key(Key::<u8>::new(name).default(1))),
            [format!(
                "`{name}` can not be a key's name: it must start with a lower case letter, go on with lower case \
                 letters, digits and single `-`, be no Rust keyword and at most 48 bytes long"
            )]
        );
    }
}

#[test]
fn two_keys_of_one_name() {
    assert_eq!(
        found(base().key(Key::<u8>::new("a").default(1)).key(Key::<bool>::new("a"))),
        ["two keys have the name `a`: give one of them another name in build.rs"]
    );
}

#[test]
fn keys_that_the_libraries_have() {
    let text = |name: &str| {
        format!(
            "the key `{name}` exists already: every unikernel with these devices has it (see `--help`); give yours \
             another name in build.rs"
        )
    };
    for name in ["help", "log", "ipv4", "ipv4-gateway", "interface"] {
        assert_eq!(found(base().network("service").key(Key::<String>::new(name))), [text(name)]);
    }
    for name in ["ipv6", "ipv6-gateway", "ipv4-only", "ipv6-only"] {
        let network = mirage_build::Network::new("service");
        assert_eq!(found(base().network(network.clone().ipv6()).key(Key::<String>::new(name))), [text(name)]);
        assert!(
            mirage_build::plan(&base().network(network).key(Key::<String>::new(name)).unix(), &unix(&fixture("site")))
                .is_ok()
        );
    }
    let two = base().network("a_b").network("c").key(Key::<String>::new("a-b-ipv4"));
    assert_eq!(found(two), [text("a-b-ipv4")]);
    assert_eq!(found(base().block("data").key(Key::<String>::new("disk"))), [text("disk")]);
    let two = base().block("a_b").block("c").key(Key::<String>::new("a-b-disk"));
    assert_eq!(found(two), [text("a-b-disk")]);
}

#[test]
fn defaults_that_are_no_values() {
    let text = |value: &str, key: &str, kind: &str| {
        format!(
            "`{value}` can not be the default of the key `{key}`: it must be {kind}; correct `.default(..)` in build.rs"
        )
    };
    let config = base()
        .key(Key::<std::net::Ipv4Addr>::new("a").default("10.0.0"))
        .key(Key::<Cidr>::new("b").default("10.0.0.1/33"))
        .key(Key::<std::time::Duration>::new("c").default("5 s"))
        .key(Key::<Port>::new("d").default(0));
    assert_eq!(
        found(config),
        [
            text("10.0.0", "a", "an IPv4 address such as 192.0.2.1"),
            text("10.0.0.1/33", "b", "an IPv4 address with its prefix length, such as 192.0.2.1/24"),
            text("5 s", "c", "a whole number with its unit: 250ms, 10s, 5m or 2h"),
            text("0", "d", "a port from 1 to 65535"),
        ]
    );
}

#[test]
fn optional_with_a_default() {
    assert_eq!(
        found(base().key(Key::<u8>::new("a").optional().default(1))),
        ["the key `a` has a default and is optional: remove `.default(..)` or `.optional()` in build.rs"]
    );
}

#[test]
fn control_characters() {
    let text = "the doc or the default of the key `a` holds a line break or another control character: write it as one \
                line in build.rs";
    assert_eq!(found(base().key(Key::<u8>::new("a").default(1).doc("two\nlines"))), [text]);
    assert_eq!(found(base().key(Key::<String>::new("a").default("\u{1b}[1m"))), [text]);
}

#[test]
fn memory_that_shrinks_to_its_maximum() {
    assert_eq!(
        found(base().memory_mib(16).memory_max_mib(8)),
        ["the domain starts with 16 MiB of memory and is to grow to 8 MiB: raise `.memory_max_mib(..)` or lower \
          `.memory_mib(..)` in build.rs"]
    );
}

#[test]
fn too_little_memory() {
    assert_eq!(
        found(base().memory_mib(3)),
        ["3 MiB of memory are declared, and this unikernel needs at least 4 MiB with what it embeds: raise \
          `.memory_mib(..)` in build.rs"]
    );
    assert_eq!(
        found(base().memory_mib(4).kv_ro("htdocs", "htdocs")),
        ["4 MiB of memory are declared, and this unikernel needs at least 5 MiB with what it embeds: raise \
          `.memory_mib(..)` in build.rs"]
    );
}

#[test]
fn a_missing_folder() {
    let folder = fixture("site/absent");
    assert_eq!(
        found(base().kv_ro("htdocs", "absent")),
        [format!(
            "the folder `{}` of the device `htdocs` is missing: create it, or correct the path in `.kv_ro(..)` in \
             build.rs (it is relative to the package)",
            folder.display()
        )]
    );
}

#[test]
fn a_file_for_a_folder() {
    assert_eq!(
        found(base().kv_ro("htdocs", "htdocs/index.html")),
        [format!(
            "`{}` of the device `htdocs` is not a folder: `.kv_ro(..)` in build.rs takes a folder",
            fixture("site/htdocs/index.html").display()
        )]
    );
}

/// The messages for a folder that `fill` has filled.
fn found_below(name: &str, fill: impl FnOnce(&Path)) -> (std::path::PathBuf, Vec<String>) {
    let package = scratch(name);
    let folder = package.join("htdocs");
    fs::create_dir(&folder).expect("a new folder");
    fill(&folder);
    (folder, found_in(base().kv_ro("htdocs", "htdocs"), &unix(&package)))
}

#[test]
fn an_empty_folder() {
    let (folder, found) = found_below("empty", |folder| fs::create_dir(folder.join("below")).expect("a new folder"));
    assert_eq!(
        found,
        [format!(
            "the folder `{}` of the device `htdocs` has no file in it: add one, or remove `.kv_ro(..)` from build.rs",
            folder.display()
        )]
    );
}

#[cfg(unix)]
mod on_unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_that_leads_out() {
        let (folder, found) = found_below("link-out", |folder| {
            fs::write(folder.join("a"), "a").expect("a new file");
            fs::write(folder.with_file_name("secret"), "s").expect("a new file");
            symlink("../secret", folder.join("b")).expect("a new link");
        });
        assert_eq!(
            found,
            [format!(
                "the symbolic link `{}` of the device `htdocs` leads out of its folder: replace it by what it points \
                 to, or remove it",
                folder.join("b").display()
            )]
        );
    }

    #[test]
    fn a_link_to_nothing() {
        let (folder, found) = found_below("link-broken", |folder| {
            symlink("absent", folder.join("b")).expect("a new link");
        });
        assert_eq!(
            found,
            [format!(
                "`{}` of the device `htdocs` can not be read (No such file or directory (os error 2)): change its \
                 permissions, or take it out of the folder",
                folder.join("b").display()
            )]
        );
    }

    #[test]
    fn links_in_a_circle() {
        let (_, found) = found_below("link-circle", |folder| {
            fs::create_dir(folder.join("a")).expect("a new folder");
            symlink("..", folder.join("a/up")).expect("a new link");
        });
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("is more than 32 folders deep: flatten the folder, or remove the symbolic link"),
            "{found:?}"
        );
    }

    #[test]
    fn a_link_that_stays_inside_is_content() {
        let package = scratch("link-inside");
        fs::create_dir(package.join("htdocs")).expect("a new folder");
        fs::write(package.join("htdocs/a"), "a").expect("a new file");
        symlink("a", package.join("htdocs/b")).expect("a new link");
        let plan = mirage_build::plan(&base().kv_ro("htdocs", "htdocs"), &unix(&package)).expect("nothing is wrong");
        let glue = String::from_utf8_lossy(&plan.files[0].content);
        assert!(glue.contains("name: \"a\"") && glue.contains("name: \"b\""), "{glue}");
    }

    #[test]
    fn a_name_that_is_no_text() {
        let (folder, found) = found_below("not-utf8", |folder| {
            fs::write(folder.join(OsStr::from_bytes(b"caf\xe9")), "a").expect("a new file");
        });
        assert_eq!(
            found,
            [format!(
                "the name `{}/caf\u{fffd}` in the folder of the device `htdocs` is not UTF-8: rename it",
                folder.display()
            )]
        );
    }

    #[test]
    fn a_pipe_in_the_folder() {
        let (folder, found) = found_below("pipe", |folder| {
            let status = std::process::Command::new("mkfifo").arg(folder.join("p")).status();
            assert!(status.is_ok_and(|status| status.success()), "mkfifo makes a pipe");
        });
        assert_eq!(
            found,
            [format!(
                "`{}` of the device `htdocs` is neither a file nor a folder: remove it from the folder",
                folder.join("p").display()
            )]
        );
    }

    #[test]
    fn a_path_that_is_no_text() {
        let package = scratch("path-not-utf8").join(OsStr::from_bytes(b"caf\xe9"));
        fs::create_dir(&package).expect("a new folder");
        assert_eq!(
            found_in(base(), &unix(&package)),
            [format!(
                "the path `{}` is not UTF-8 or has a line break, and it is needed in generated code: move the project \
                 to another folder",
                package.display()
            )]
        );
    }
}

#[test]
fn crates_that_are_missing() {
    let environment = |cargo_toml: &str, base: Environment| Environment { cargo_toml: cargo_toml.into(), ..base };
    let package = fixture("site");
    let rt = "the package does not depend on mirage-rt: add it to [dependencies] to Cargo.toml";
    let unix_crate = "the package does not depend on mirage-unix: add it to \
                      [target.'cfg(not(mirage_target))'.dependencies] to Cargo.toml";
    let comment = "[dependencies] # mirage-rt\nmirage-rtx = 1\nmirage-unix = 1";
    assert_eq!(found_in(base(), &environment("", unix(&package))), [rt, unix_crate]);
    assert_eq!(found_in(base(), &environment(comment, unix(&package))), [rt]);
    assert_eq!(
        found_in(base(), &environment("mirage-rt.path = \"x\"", xen(&package))),
        ["the package does not depend on mirage-xen-image: add it to [target.'cfg(mirage_target)'.dependencies] to \
          Cargo.toml"]
    );
    assert_eq!(
        found_in(base(), &environment("[dependencies.mirage-rt]", feature(&package))),
        [
            "the package does not depend on mirage-xen-image: add it to [dependencies] with `optional = true`, and `xen = \
          [\"dep:mirage-xen-image\"]` to [features], to Cargo.toml"
        ]
    );
}

#[test]
fn scripts_of_another_version() {
    let text = |found: &str| {
        format!(
            "the scripts in .cargo that know the target x86_64-unknown-xen have version {found}, and this mirage-build \
             needs version 1: copy the folder templates/hello/.cargo of the same release of Mirage over yours"
        )
    };
    let package = fixture("site");
    let version = |wrapper: Option<&str>| Environment { wrapper: wrapper.map(str::to_owned), ..xen(&package) };
    assert_eq!(found_in(base(), &version(Some("2"))), [text("2")]);
    assert_eq!(found_in(base(), &version(None)), [text("0")]);
}

#[test]
fn an_image_for_another_host() {
    let environment = Environment { target: "aarch64-unknown-linux-gnu".into(), ..feature(&fixture("site")) };
    assert_eq!(
        found_in(base(), &environment),
        [
            "`--features xen` builds an image for the target `aarch64-unknown-linux-gnu`, and images are made for x86_64 \
          Linux only: add `--target x86_64-unknown-linux-gnu`, or use `--target x86_64-unknown-xen`"
        ]
    );
}

#[test]
fn all_at_once() {
    let config = Config::new()
        .network("a")
        .network("a")
        .kv_ro("htdocs", "absent")
        .key(Key::<u8>::new("type").default(1))
        .memory_mib(1);
    let found = found_in(config, &Environment { cargo_toml: "mirage-rt".into(), ..unix(&fixture("site")) });
    let named: Vec<&str> = ["mirage-unix", "no target", "`a`", "absent", "`type`", "1 MiB"].into();
    assert_eq!(found.len(), named.len(), "{found:?}");
    for (message, name) in found.iter().zip(named) {
        assert!(message.contains(name), "{message} names {name}");
    }
}
