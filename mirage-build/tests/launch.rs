//! Launch files, as text.

use mirage_build::KeyKind;
use mirage_build::launch::{Launch, virtual_disk};
use mirage_build::manifest::{Manifest, ManifestBlock, ManifestKey, ManifestNetwork};

fn manifest() -> Manifest {
    let key = |name: &str, default: Option<&str>, required| ManifestKey {
        name: name.into(),
        kind: Some(KeyKind::Text),
        default: default.map(str::to_owned),
        required,
        doc: "About it".into(),
        library: false,
    };
    Manifest {
        name: "site".into(),
        version: "0.1.0".into(),
        memory_mib: 8,
        memory_max_mib: Some(12),
        networks: vec![ManifestNetwork { name: "service".into(), key_prefix: String::new() }],
        blocks: vec![
            ManifestBlock { name: "data".into(), key_prefix: "data-".into() },
            ManifestBlock { name: "log".into(), key_prefix: "log-".into() },
        ],
        consoles: vec!["control".into()],
        keys: vec![key("greeting", Some("Moin"), false), key("owner", None, true), key("peer", None, false)],
    }
}

#[test]
fn what_the_manifest_says() {
    assert_eq!(
        Launch::new(&manifest(), "/srv/site").xl(),
        r#"# site 0.1.0: start it with `xl create -c FILE`.
# vif 0: network `service`
# xvda: block device `data`; its file is made with `truncate -s 64M data.img`
# xvdb: block device `log`; its file is made with `truncate -s 64M log.img`
# channel control: console `control`; `xl list -l` shows its terminal
# Boot keys for `extra`:
#   --greeting TEXT  About it (default Moin)
#   --owner TEXT  About it (required)
#   --peer TEXT  About it
name = "site"
type = "pvh"
kernel = "/srv/site"
memory = 8
maxmem = 12
vcpus = 1
extra = "--owner TEXT"
vif = [ "bridge=xenbr0" ]
disk = [ "format=raw, vdev=xvda, access=rw, target=/srv/data.img", "format=raw, vdev=xvdb, access=rw, target=/srv/log.img" ]
channel = [ "connection=pty, name=control" ]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "destroy"
"#
    );
}

#[test]
fn fields_can_be_changed_and_are_quoted() {
    let mut launch = Launch::new(&manifest(), "/srv/a \"b\"\\c");
    launch.command_line = "--greeting 'Moin \"du\"'\n".into();
    launch.vifs = vec![];
    launch.disks = vec!["format=raw, vdev=xvda, target=/srv/disk".into(), "file:/srv/x,xvdb,r".into()];
    launch.on_crash = "preserve".into();
    launch.comments = vec!["two\nlines".into()];
    assert_eq!(
        launch.xl(),
        r#"# two lines
name = "site"
type = "pvh"
kernel = "/srv/a \"b\"\\c"
memory = 8
maxmem = 12
vcpus = 1
extra = "--greeting 'Moin \"du\"'\n"
disk = [ "format=raw, vdev=xvda, target=/srv/disk", "file:/srv/x,xvdb,r" ]
channel = [ "connection=pty, name=control" ]
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "preserve"
"#
    );
}

#[test]
fn disks_are_named_as_xen_does() {
    let names = [(0, "xvda"), (1, "xvdb"), (15, "xvdp"), (25, "xvdz"), (26, "xvdaa"), (51, "xvdaz"), (52, "xvdba")];
    for (index, name) in names.into_iter().chain([(701, "xvdzz"), (702, "xvdaaa")]) {
        assert_eq!(virtual_disk(index), name);
    }
}

#[test]
fn a_template_leaves_the_disks_files_open() {
    let text = Launch::template(&manifest()).xl();
    let line = "disk = [ \"format=raw, vdev=xvda, access=rw, target=@DISK:data@\", \
                \"format=raw, vdev=xvdb, access=rw, target=@DISK:log@\" ]\n";
    assert!(text.contains(line), "{text}");
}
