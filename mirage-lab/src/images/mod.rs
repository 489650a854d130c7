//! What the lab boots: the hypervisor, a Linux kernel, dom0's root folder, and the Linux domU that benchmarks compare with.

mod bzimage;
mod cpio;
pub(crate) mod elf;
mod modules;
mod root;
mod unpack;

use crate::cache::{Cache, CacheLock, key};
use crate::error::SetupError;
use crate::packages::{CHANNELS, DOM0, Tree};
use crate::process::{output, require, tethered};
use modules::Modules;
use root::Root;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// The program for dom0, compiled by the build script.
const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent"));
const DOMAINS: &str = include_str!("../agent/domains.c");
const DOM0_INIT: &str = include_str!("dom0-init.sh");
const DOM0_SETTLE: &str = include_str!("dom0-settle.sh");
const DOMU_INIT: &str = include_str!("domu-init.sh");
const HOTPLUG: &str = include_str!("hotplug.c");
const DISK_LOAD: &str = include_str!("disk-load.c");
const UDP_LOAD: &str = include_str!("udp-load.c");
const TCP_LOAD: &str = include_str!("tcp-load.c");
const NGINX: &str = include_str!("nginx.conf");

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Raised when what is built from the same parts changes.
const FORM: &[u8] = b"3";

const DOM0_PROGRAMS: [&str; 22] = [
    "bash",
    "ip",
    "tc",
    "bridge",
    "losetup",
    "flock",
    "stat",
    "readlink",
    "dirname",
    "expr",
    "xenstore-read",
    "xenstore-write",
    "xenstore-list",
    "xenstore-ls",
    "xenstore-rm",
    "xenstore-exists",
    "xenstore-watch",
    "xenstore-chmod",
    "ab",
    "iperf3",
    "dnsmasq",
    "radvd",
];
const XEN_PROGRAMS: [&str; 8] = [
    "xl",
    "xenstored",
    "xenconsoled",
    "xenconsole",
    "xen-init-dom0",
    "libxl-save-helper",
    "xenctx",
    "xenstore-control",
];
const DOM0_MODULES: [&str; 17] = [
    "xen_privcmd",
    "xen_evtchn",
    "xen_gntdev",
    "xen_gntalloc",
    "xenfs",
    "virtio_pci",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "loop",
    "bridge",
    "tun",
    "xen_netback",
    "xen_blkback",
    "af_packet",
];
/// In dom0, to be loaded by who needs them: links that lose packets and delay them.
const NETEM_MODULES: [&str; 3] = ["veth", "sch_netem", "sch_tbf"];
const DOMU_MODULES: [&str; 3] = ["xen_netfront", "xen_blkfront", "af_packet"];

/// The files that a lab is started from.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    folder: PathBuf,
}

impl Images {
    /// The images from the cache; they are built if they are not there.
    pub(crate) fn get(cache: &Cache) -> Result<Self, SetupError> {
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(SetupError::OtherHost);
        }
        if AGENT.is_empty() {
            return Err(SetupError::NoAgent);
        }
        let texts = [
            FORM,
            AGENT,
            DOMAINS.as_bytes(),
            DOM0_INIT.as_bytes(),
            DOM0_SETTLE.as_bytes(),
            DOMU_INIT.as_bytes(),
            HOTPLUG.as_bytes(),
            NGINX.as_bytes(),
            DISK_LOAD.as_bytes(),
            UDP_LOAD.as_bytes(),
            TCP_LOAD.as_bytes(),
        ];
        let lists =
            [DOM0.wanted, DOM0.prefixes, &DOM0_PROGRAMS, &XEN_PROGRAMS, &DOM0_MODULES, &NETEM_MODULES, &DOMU_MODULES];
        let words = lists.iter().flat_map(|list| list.iter().map(|word| word.as_bytes()));
        let name = format!("images-{}", key(texts.into_iter().chain(words)));
        if !cache.path(&name).exists() {
            let lock = cache.lock()?;
            cache.publish(&lock, &name, |folder| build(cache, &lock, folder))?;
        }
        Ok(Self { folder: cache.path(&name) })
    }

    /// The folder of all of them.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// An archive with what dom0 needs for channels: it has no part in other labs, and QEMU is large.
pub(crate) fn channels(cache: &Cache) -> Result<PathBuf, SetupError> {
    const BACKEND: &str = "usr/libexec/xen-qemu-system-i386";
    const FILE: &str = "channels.cpio";
    const FORM: &[u8] = b"with a keymap";
    let words = [CHANNELS.wanted, CHANNELS.prefixes].into_iter().flatten().map(|word| word.as_bytes());
    let name = format!("channels-{}", key([FORM, BACKEND.as_bytes()].into_iter().chain(words)));
    if !cache.path(&name).exists() {
        let lock = cache.lock()?;
        cache.publish(&lock, &name, |folder| {
            let unpacked = cache.path("unpacked.building");
            crate::cache::remove(&unpacked)?;
            let tree = Tree::unpack(cache, &lock, &CHANNELS, &unpacked)?;
            let mut root = Root::empty(&tree);
            // It wants one although nobody has a keyboard.
            root.archive.file("usr/share/qemu/keymaps/en-us", 0o644, "");
            let built = root.file(BACKEND).and_then(|()| save(folder, FILE, root));
            crate::cache::remove(&unpacked)?;
            built
        })?;
    }
    Ok(cache.path(&name).join(FILE))
}

fn build(cache: &Cache, lock: &CacheLock, folder: &Path) -> Result<(), SetupError> {
    // Beside the folder that is being built: `publish` has that.
    let unpacked = cache.path("unpacked.building");
    crate::cache::remove(&unpacked)?;
    let tree = Tree::unpack(cache, lock, &DOM0, &unpacked)?;
    let built = build_from(&tree, folder);
    crate::cache::remove(&unpacked)?;
    built
}

fn build_from(tree: &Tree, folder: &Path) -> Result<(), SetupError> {
    let hypervisor = unpack::read(tree, &tree.only("boot", "xen-", ".gz", "")?)?;
    store(folder, "xen", &hypervisor)?;
    let boot_file = tree.only("boot", "vmlinuz-", "", "")?;
    let packed = fs::read(&boot_file).map_err(SetupError::file(&boot_file))?;
    let kernel = match bzimage::payload(&packed) {
        Ok((packing, payload)) => unpack::unpack(tree, packing, payload.to_vec())?,
        Err(what) => return Err(SetupError::Format { path: boot_file, what: what.into() }),
    };
    store(folder, "vmlinux", &kernel)?;
    let modules = Modules::find(tree)?;
    let helper = compile_helper(tree, folder)?;
    let hotplug = compile(folder, "hotplug", HOTPLUG, &[])?;
    let load = compile(folder, "disk-load", DISK_LOAD, &[])?;
    let loads = [
        ("usr/bin/udp-load", compile(folder, "udp-load", UDP_LOAD, &[])?),
        ("usr/bin/tcp-load", compile(folder, "tcp-load", TCP_LOAD, &[])?),
    ];
    save(folder, "dom0.cpio", dom0(tree, &modules, [helper, hotplug], &loads)?)?;
    save(folder, "domu.cpio", domu(tree, &modules, load, &loads)?)
}

/// The program that asks the hypervisor about its domains, built against the packages' own libxenctrl.
fn compile_helper(tree: &Tree, folder: &Path) -> Result<Vec<u8>, SetupError> {
    let option = |flag: &str, path: PathBuf| [OsString::from(flag), path.into()];
    let mut arguments = option("-I", tree.root().join("usr/include")).to_vec();
    if let Some(library) = tree.resolve("usr/lib/x86_64-linux-gnu") {
        arguments.extend(option("-L", library));
    }
    // The library's own needs are there in dom0 only.
    let words = ["-lxenctrl", "-Wl,--allow-shlib-undefined", "-Wl,--unresolved-symbols=ignore-in-shared-libs"];
    arguments.extend(words.map(OsString::from));
    compile(folder, "domains", DOMAINS, &arguments)
}

/// A program in C, one file, beside the images.
fn compile(folder: &Path, name: &str, text: &str, arguments: &[OsString]) -> Result<Vec<u8>, SetupError> {
    require("cc", "a C compiler builds the lab's programs for dom0 and for the Linux domU: install gcc")?;
    let (source, program) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&source, text).map_err(SetupError::file(&source))?;
    let mut command = tethered("cc");
    command.args(["-O2", "-Wall", "-Werror", "-o"]).arg(&program).arg(&source).args(arguments);
    output(&mut command, || format!("compiling the lab's program {name}"))?;
    fs::read(&program).map_err(SetupError::file(&program))
}

/// A program and where it lies.
type Program = (&'static str, Vec<u8>);

fn dom0<'a>(
    tree: &'a Tree,
    modules: &Modules<'_>,
    [helper, hotplug]: [Vec<u8>; 2],
    loads: &[Program],
) -> Result<Root<'a>, SetupError> {
    let mut root = Root::new(tree)?;
    for folder in ["host", "images", "root", "var/log/xen/console", "var/lib/xen", "var/lock", "usr/lib/mods"] {
        root.archive.folder(folder);
    }
    root.archive.link("var/run", "/run");
    for program in DOM0_PROGRAMS {
        root.program(program)?;
    }
    let bin = tree.only("usr/lib", "xen-", "", "bin/xl")?.join("bin");
    let bin = bin.strip_prefix(tree.root()).unwrap_or(&bin).to_string_lossy().into_owned();
    for program in XEN_PROGRAMS {
        root.file(&format!("{bin}/{program}"))?;
        root.archive.link(&format!("usr/sbin/{program}"), &format!("/{bin}/{program}"));
    }
    root.archive.file("etc/passwd", 0o644, PASSWD);
    root.archive.file("etc/group", 0o644, GROUP);
    root.folder("etc/xen")?;
    root.program_from("etc/xen/scripts/vif-lab", hotplug)?;
    root.archive.link("etc/xen/scripts/block-lab", "vif-lab");
    root.archive.file("etc/xen/xl.conf", 0o644, "vif.default.script=\"vif-lab\"\n");
    // Loaded by name when xl ends a thread: no file says that it is needed.
    root.library("libgcc_s.so.1")?;
    root.program_from("usr/bin/mirage-lab-domains", helper)?;
    for (path, load) in loads {
        root.program_from(path, load.clone())?;
    }
    root.archive.file("usr/bin/mirage-lab-agent", 0o755, AGENT);
    root.modules("dom0", modules.ordered(&DOM0_MODULES)?);
    root.modules("netem", modules.ordered(&NETEM_MODULES)?);
    root.archive.file("usr/bin/settle", 0o755, DOM0_SETTLE);
    root.archive.file("init", 0o755, DOM0_INIT);
    Ok(root)
}

fn domu<'a>(tree: &'a Tree, modules: &Modules<'_>, load: Vec<u8>, loads: &[Program]) -> Result<Root<'a>, SetupError> {
    let mut root = Root::new(tree)?;
    for program in ["nginx", "iperf3"] {
        root.program(program)?;
    }
    root.program_from("usr/bin/disk-load", load)?;
    for (path, load) in loads {
        root.program_from(path, load.clone())?;
    }
    root.archive.file("etc/passwd", 0o644, PASSWD);
    root.archive.file("etc/group", 0o644, GROUP);
    root.archive.file("etc/nginx.conf", 0o644, NGINX);
    root.archive.file("www/index.html", 0o644, "hello from Linux\n");
    root.modules("domu", modules.ordered(&DOMU_MODULES)?);
    root.archive.file("init", 0o755, DOMU_INIT);
    Ok(root)
}

fn store(folder: &Path, name: &str, content: &[u8]) -> Result<(), SetupError> {
    let path = folder.join(name);
    fs::write(&path, content).map_err(SetupError::file(&path))
}

fn save(folder: &Path, name: &str, root: Root<'_>) -> Result<(), SetupError> {
    let path = folder.join(name);
    let mut file = BufWriter::new(File::create(&path).map_err(SetupError::file(&path))?);
    root.archive.write(&mut file).map_err(SetupError::file(&path))?;
    file.into_inner().map_err(|error| SetupError::file(&path)(error.into_error()))?;
    Ok(())
}
