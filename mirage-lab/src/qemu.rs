//! The emulated machine: starting it, what it prints, its monitor, its end.

use crate::cache::{Cache, RunFolder};
use crate::error::{SetupError, StartError};
use crate::images::Images;
use crate::lab::LabOptions;
use crate::packages::{QEMU, Tree};
use crate::process::{find_on_path, output, require, tail, tethered};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";
/// PV dom0s die on processors with SMAP; rdrand spares xl two seconds per domain; svm and npt are what PVH guests need.
pub(crate) const PROCESSOR: &str = "qemu64,+svm,+npt,+rdrand";
/// QEMU's memory is zero already: clearing it once more keeps a processor of the host busy for ten seconds, and doubles what QEMU
/// takes of the host's memory.
const HYPERVISOR_WORDS: &str = "console=com1 com1=115200 noreboot loglvl=info guest_loglvl=info \
    dom0_max_vcpus=1 spec-ctrl=no xpti=no bootscrub=0";
/// What dom0 is told: it trusts whom it runs, need not clear what it hands out, and nobody reads its accounts. And it loads
/// programs and libraries where they were the last time: QEMU keeps translated code by its address, and would translate all of it
/// again at each start. It does not use AVX, whichever processor the machine has: QEMU's is young, and `xl` has ended by SIGSEGV
/// where dom0 had it.
const DOM0_WORDS: &str = "console=hvc0 quiet mitigations=off init_on_alloc=0 audit=0 lsm=capability psi=0 \
    hardened_usercopy=off randomize_kstack_offset=off cgroup_disable=memory norandmaps noxsave";
/// The network of the machine, and what QEMU calls it when ports are forwarded.
pub(crate) const NETWORK: &str = "lab";
const SETPRIV: &str = "the lab's programs end with it by its help: install util-linux";
const KEPT_LOG: usize = 64 * 1024;

/// A running QEMU. It ends when this is dropped, and when this process ends, however that happens.
pub(crate) struct Qemu {
    log: Arc<Log>,
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
    folder: RunFolder,
}

/// How a machine begins, and where its memory is.
#[derive(Clone, Copy)]
pub(crate) enum Beginning<'a> {
    /// It boots, with memory of its own.
    Boot,
    /// It boots, with its memory in the file [`MEMORY`] of its run folder: so that it can be kept.
    BootToKeep,
    /// It goes on from what is kept in this folder, once the monitor says so. What is there is not changed.
    Resume(&'a Path),
}

/// A machine's memory, in a folder.
pub(crate) const MEMORY: &str = "memory";
/// A machine's state but its memory, in a folder.
pub(crate) const DEVICES: &str = "devices";
/// The folder with what a machine goes on from, in its run folder.
const KEPT: &str = "kept";

/// The two connections to a new machine.
pub(crate) struct Connections {
    /// To the agent in dom0.
    pub(crate) agent: UnixStream,
    /// To QEMU's monitor.
    pub(crate) monitor: UnixStream,
}

/// The end of what the machine printed.
#[derive(Default)]
pub(crate) struct Log {
    text: Mutex<Vec<u8>>,
    ended: AtomicBool,
}

impl Log {
    fn keep(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend_from_slice(bytes);
        let surplus = text.len().saturating_sub(2 * KEPT_LOG);
        if surplus > 0 {
            text.drain(..surplus + KEPT_LOG);
        }
    }

    /// The last lines.
    pub(crate) fn tail(&self, most: usize) -> String {
        tail(&self.text.lock().unwrap_or_else(PoisonError::into_inner), most)
    }
}

impl Qemu {
    /// Starts the machine. It boots while the connections are being used.
    pub(crate) fn start(
        cache: &Cache,
        images: &Images,
        options: &LabOptions,
        beginning: Beginning<'_>,
    ) -> Result<(Self, Connections), StartError> {
        require("setpriv", SETPRIV)?;
        let folder = cache.run_folder()?;
        let share = folder.path().join("share");
        fs::create_dir(&share).map_err(SetupError::file(&share))?;
        std::os::unix::fs::symlink(images.folder(), folder.path().join("images"))
            .map_err(SetupError::file(folder.path()))?;
        if let Beginning::Resume(kept) = beginning {
            std::os::unix::fs::symlink(kept, folder.path().join(KEPT)).map_err(SetupError::file(folder.path()))?;
        }
        let mut command = program(cache)?;
        arguments(&mut command, images, &share, options, beginning);
        command.current_dir(folder.path());

        let agent = listen(folder.path(), "agent")?;
        let monitor = listen(folder.path(), "monitor")?;
        let log = Arc::new(Log::default());
        let (stop, keeper) = keep(command, log.clone())?;
        let machine = Self { log, stop: Some(stop), keeper: Some(keeper), folder };
        let connections = Connections { agent: machine.accept(&agent)?, monitor: machine.accept(&monitor)? };
        Ok((machine, connections))
    }

    /// Checks that a machine could be started; QEMU is fetched if it has to be.
    pub(crate) fn available(cache: &Cache) -> Result<(), SetupError> {
        require("setpriv", SETPRIV)?;
        program(cache).map(drop)
    }

    /// All that a machine's state depends on, its images' folder among it, as text.
    pub(crate) fn identity(cache: &Cache, images: &Images, options: &LabOptions) -> Result<String, SetupError> {
        let mut version = program(cache)?;
        let version = output(version.arg("--version"), || "asking QEMU for its version".into())?;
        let mut command = Command::new(PROGRAM);
        arguments(&mut command, images, Path::new("share"), options, Beginning::BootToKeep);
        Ok(format!("{}{command:?}", String::from_utf8_lossy(&version)))
    }

    /// The path of the state that a machine that is to go on from a kept one is given, relative to its run folder.
    pub(crate) fn kept_devices() -> String {
        format!("{KEPT}/{DEVICES}")
    }

    /// The folder of the machine's own files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that dom0 has at /host.
    pub(crate) fn share(&self) -> std::path::PathBuf {
        self.folder.path().join("share")
    }

    /// The end of what the machine printed.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    fn accept(&self, listener: &UnixListener) -> Result<UnixStream, StartError> {
        let doing = "starting QEMU";
        let failed = |source| StartError::Qemu { doing, source, log: self.log.tail(2000) };
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match listener.accept() {
                Ok((stream, _)) => return stream.set_nonblocking(false).map(|()| stream).map_err(failed),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(failed(error)),
                Err(_) if self.log.ended.load(Ordering::Acquire) => {
                    return Err(failed(io::Error::other("it ended at once")));
                }
                Err(_) if Instant::now() > deadline => return Err(failed(io::ErrorKind::TimedOut.into())),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// A socket in the run folder. The address of a socket is short, a folder's path may not be: the way through /proc is.
fn listen(folder: &Path, name: &str) -> Result<UnixListener, StartError> {
    let listener = File::open(folder).and_then(|opened| {
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| SetupError::file(folder.join(name))(error).into())
}

/// Starts the program in a thread that lives as long as it: the program is killed when that thread ends.
fn keep(mut command: Command, log: Arc<Log>) -> Result<(Sender<()>, JoinHandle<()>), StartError> {
    let (stop, stopped) = mpsc::channel::<()>();
    let (started, starting) = mpsc::channel();
    let keeper = thread::spawn(move || {
        // Out of reach of the terminal's Ctrl-C, which QEMU would end at: its end is the lab's business.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(mut child) => {
                read_log(&mut child, &log);
                let _ = started.send(Ok(()));
                // Comes back when the lab is dropped.
                let _ = stopped.recv();
                let _ = child.kill();
                let _ = child.wait();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
    let failed = |source| StartError::Qemu { doing: "starting QEMU", source, log: String::new() };
    match starting.recv() {
        Ok(Ok(())) => Ok((stop, keeper)),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(failed(io::Error::other("its thread ended"))),
    }
}

fn read_log(child: &mut Child, log: &Arc<Log>) {
    fn read(mut pipe: impl Read + Send + 'static, log: Arc<Log>, last: bool) {
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                log.keep(chunk.get(..length).unwrap_or_default());
            }
            if last {
                log.ended.store(true, Ordering::Release);
            }
        });
    }
    if let Some(pipe) = child.stderr.take() {
        read(pipe, log.clone(), false);
    }
    if let Some(pipe) = child.stdout.take() {
        read(pipe, log.clone(), true);
    }
}

/// QEMU from the PATH, or from Debian's packages.
fn program(cache: &Cache) -> Result<Command, SetupError> {
    if let Some(found) = find_on_path(PROGRAM) {
        return Ok(tethered(found));
    }
    let name =
        format!("qemu-{}", crate::cache::key(QEMU.wanted.iter().chain(QEMU.prefixes).map(|part| part.as_bytes())));
    if !cache.path(&name).exists() {
        let lock = cache.lock()?;
        cache.publish(&lock, &name, |folder| Tree::unpack(cache, &lock, &QEMU, folder).map(drop))?;
    }
    let tree = Tree::at(cache.path(&name));
    let mut command = tree.command(PROGRAM)?;
    for folder in ["usr/share/qemu", "usr/share/seabios"] {
        if let Some(path) = tree.resolve(folder) {
            command.arg("-L").arg(path);
        }
    }
    if let Some(modules) = tree.resolve("usr/lib/x86_64-linux-gnu/qemu") {
        command.env("QEMU_MODULE_DIR", modules);
    }
    Ok(command)
}

/// The arguments, with paths that are relative to the run folder: QEMU reads commas in them.
fn arguments(command: &mut Command, images: &Images, share: &Path, options: &LabOptions, beginning: Beginning<'_>) {
    let folder = |path: &Path, tag: &str, more: &str| {
        let path = path.to_string_lossy().replace(',', ",,");
        format!("local,path={path},mount_tag={tag},security_model=none{more}")
    };
    let dom0 = options.dom0_memory_mib;
    let file = |path: &str, share: &str| {
        let size = options.memory_mib;
        ["-object".into(), format!("memory-backend-file,id=memory,size={size}M,mem-path={path},share={share}")]
    };
    let (board, memory) = match beginning {
        Beginning::Boot => ("pc", None),
        Beginning::BootToKeep => ("pc,memory-backend=memory", Some(file(MEMORY, "on"))),
        // What the machine writes is its own.
        Beginning::Resume(_) => ("pc,memory-backend=memory", Some(file(&format!("{KEPT}/{MEMORY}"), "off"))),
    };
    if let Beginning::Resume(_) = beginning {
        command.args(["-incoming", "defer"]);
    }
    command
        .args(memory.into_iter().flatten())
        .args(match options.count_instructions {
            false => &["-accel", "tcg,thread=multi,tb-size=512"][..],
            true => &["-accel", "tcg,thread=single,tb-size=512", "-icount", "shift=0,sleep=off"],
        })
        .args(["-M", board, "-cpu", &options.processor, "-smp", "1"])
        .args(["-m", &format!("{}M", options.memory_mib)])
        .args(["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .args(["-kernel", "images/xen", "-append", &format!("{HYPERVISOR_WORDS} dom0_mem={dom0}M,max:{dom0}M")])
        .args(["-initrd", &format!("images/vmlinux {DOM0_WORDS},images/dom0.cpio")])
        // Without `restrict` a packet to a guest that is gone would reach that address from the host's own network.
        .args(["-netdev", &format!("user,id={NETWORK},restrict=on,dhcpstart=10.0.2.100")])
        .args(["-device", &format!("virtio-net-pci,netdev={NETWORK},romfile=")])
        .args(["-virtfs", &folder(share, "host", "")])
        .args(["-virtfs", &folder(images.folder(), "images", ",readonly=on")])
        .args(["-chardev", "socket,id=agent,path=agent", "-device", "virtio-serial-pci"])
        .args(["-device", &format!("virtserialport,chardev=agent,name={}", crate::protocol::PORT_NAME)])
        .args(["-chardev", "socket,id=monitor,path=monitor", "-mon", "chardev=monitor,mode=control"]);
}
