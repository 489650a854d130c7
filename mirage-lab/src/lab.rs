//! A lab: one emulated machine with Xen and dom0.

use crate::cache::Cache;
use crate::domain::DomainBuilder;
use crate::error::{CommandError, ForwardError, StartError};
use crate::images::{self, Images};
use crate::kept::Kept;
use crate::link::{Answers, Link};
use crate::monitor::Monitor;
use crate::protocol::{DomainState, Kind, take_u32, take_u64};
use crate::qemu::{Beginning, Qemu};
use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a command in dom0 may take unless the caller says otherwise.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(120);
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// For how long at most a machine stands still that has lost its timer.
const NUDGE: Duration = Duration::from_millis(500);

/// What a lab is like.
#[derive(Clone, Debug, PartialEq)]
pub struct LabOptions {
    pub(crate) memory_mib: u32,
    pub(crate) dom0_memory_mib: u32,
    pub(crate) count_instructions: bool,
    pub(crate) processor: String,
}

impl Default for LabOptions {
    fn default() -> Self {
        let processor = crate::qemu::PROCESSOR.to_owned();
        Self { memory_mib: 2048, dom0_memory_mib: 512, count_instructions: false, processor }
    }
}

impl LabOptions {
    /// A machine of 2 GiB, of which dom0 has 512 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine's memory.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The part of the machine's memory that is dom0's; disks of domains lie in it.
    #[must_use]
    pub fn dom0_memory(mut self, mib: u32) -> Self {
        self.dom0_memory_mib = mib;
        self
    }

    /// The machine's processor, as in QEMU's `-cpu`: by default a plain one of 64 bits, `qemu64,+svm,+npt,+rdrand`, which can
    /// be given more: `,+smep,+umip,+xsave,+xsaveopt,+sse4.1,+avx,+avx2`. Whichever it is, it needs `svm` and `npt`, and must
    /// not have `smap`, which a dom0 in QEMU does not bear. dom0's programs do not use AVX.
    ///
    /// QEMU before 9.1 does not tell Xen when a domain turns AVX on (XSETBV): there it is off again after Xen ran another domain.
    #[must_use]
    pub fn processor(mut self, model: &str) -> Self {
        model.clone_into(&mut self.processor);
        self
    }

    /// Makes the machine's clock count its instructions: one tick of the time stamp counter, and one nanosecond, for each.
    /// Everything is many times slower then.
    #[must_use]
    pub fn count_instructions(mut self) -> Self {
        self.count_instructions = true;
        self
    }
}

/// A real Xen with a real Linux dom0, in an emulated machine without KVM or root.
///
/// dom0 has the address 10.0.2.15/24 on the bridge `xenbr0`, the host is 10.0.2.2 there, and guests may take the addresses
/// from 10.0.2.16 to 10.0.2.99. The machine ends with the last handle to the lab, and with this process.
#[derive(Clone)]
pub struct Lab {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    monitor: Mutex<Monitor>,
    domains: AtomicU32,
    channels: Mutex<bool>,
    images: Images,
    // Last, so that the channels are closed before the machine is ended.
    machine: Qemu,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.close();
    }
}

/// What a script in dom0 came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status; 128 and the signal's number if a signal ended it.
    pub status: i32,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    /// When it was started.
    pub started: Dom0Time,
    /// When it had ended.
    pub ended: Dom0Time,
}

impl Finished {
    /// Its standard output, if its status is 0.
    pub(crate) fn checked(self, script: &str) -> Result<String, CommandError> {
        if self.status == 0 {
            return Ok(self.stdout);
        }
        let said = said(self.stderr.as_bytes(), self.stdout.as_bytes());
        Err(CommandError::Status { script: script.to_owned(), status: self.status, said })
    }
}

/// What a script wrote, for a message.
fn said(stderr: &[u8], stdout: &[u8]) -> String {
    format!("{}{}", String::from_utf8_lossy(stderr), String::from_utf8_lossy(stdout)).trim().to_owned()
}

/// A point in time on dom0's clock: comparable with others of the same lab, free of the channel's delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dom0Time {
    nanoseconds: u64,
}

impl Dom0Time {
    pub(crate) fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self { nanoseconds }
    }

    /// The time since an earlier point; zero if that was later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
    }
}

impl Lab {
    /// Starts a machine of its own. What it is made of is fetched and built first if it is not in the cache.
    ///
    /// # Errors
    ///
    /// If the host can't have a lab, the packages can't be fetched, or dom0 does not come up.
    pub fn start() -> Result<Self, StartError> {
        Self::start_with(&LabOptions::new())
    }

    /// As [`start`](Self::start), with options.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(options: &LabOptions) -> Result<Self, StartError> {
        let cache = Cache::open()?;
        let images = Images::get(&cache)?;
        if *options == LabOptions::default()
            && let Some(kept) = Kept::get(&cache, &images)?
        {
            match Self::resume(&cache, &images, &kept) {
                Ok(lab) => return Ok(lab),
                // It boots as well, and takes its time.
                Err(error) => kept.give_up(&error),
            }
        }
        Self::boot(&cache, &images, options, Beginning::Boot)?.settled(options)
    }

    /// Starts a machine that boots, and waits until the agent is there.
    pub(crate) fn boot(
        cache: &Cache,
        images: &Images,
        options: &LabOptions,
        beginning: Beginning<'_>,
    ) -> Result<Self, StartError> {
        let (lab, ready) = Self::begin(cache, images, options, beginning)?;
        let limit = boot_limit() * if options.count_instructions { 5 } else { 1 };
        match ready.only(limit) {
            Ok(_) => Ok(lab),
            Err(_) => Err(StartError::NotReady { after: limit, log: lab.inner.machine.log().tail(4000) }),
        }
    }

    /// Starts a machine that goes on from a kept one.
    fn resume(cache: &Cache, images: &Images, kept: &Kept) -> Result<Self, StartError> {
        let options = LabOptions::default();
        let (lab, _) = Self::begin(cache, images, &options, Beginning::Resume(kept.folder()))?;
        let resumed = lab.monitor(|monitor| monitor.resume(&Qemu::kept_devices()));
        resumed.map_err(|source| lab.failed("going on from a kept machine", source))?;
        lab.settled(&options)
    }

    /// Starts a machine; its agent has not been heard of yet.
    fn begin(
        cache: &Cache,
        images: &Images,
        options: &LabOptions,
        beginning: Beginning<'_>,
    ) -> Result<(Self, Answers), StartError> {
        let (machine, connections) = Qemu::start(cache, images, options, beginning)?;
        let failed = |doing, source| StartError::Qemu { doing, source, log: machine.log().tail(2000) };
        let monitor = Monitor::new(connections.monitor).map_err(|error| failed("speaking to QEMU", error))?;
        let (link, ready) = Link::new(connections.agent).map_err(|error| failed("speaking to dom0", error))?;
        let inner = Inner {
            link: Arc::new(link),
            monitor: Mutex::new(monitor),
            domains: AtomicU32::new(1),
            channels: Mutex::new(false),
            images: images.clone(),
            machine,
        };
        Ok((Self { inner: Arc::new(inner) }, ready))
    }

    /// Gives dom0 what is this start's own: the host's folders and its time.
    fn settled(self, options: &LabOptions) -> Result<Self, StartError> {
        // Where instructions are counted, the thread that runs the processor sets its timers' flag, too.
        if !options.count_instructions {
            self.inner.link.keep_awake(NUDGE);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let script = format!("settle {now}");
        let settled = self.dom0_within(&script, boot_limit()).and_then(|finished| finished.checked(&script));
        match settled {
            Ok(_) => Ok(self),
            Err(error) => Err(self.failed("settling dom0", io::Error::other(error.to_string()))),
        }
    }

    pub(crate) fn failed(&self, doing: &'static str, source: io::Error) -> StartError {
        StartError::Qemu { doing, source, log: self.inner.machine.log().tail(2000) }
    }

    /// Does something with QEMU's monitor, when others are done with it.
    pub(crate) fn monitor<T>(&self, action: impl FnOnce(&mut Monitor) -> T) -> T {
        action(&mut self.inner.monitor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The folder of the machine's own files.
    pub(crate) fn folder(&self) -> &Path {
        self.inner.machine.folder()
    }

    /// A domain to be made of a kernel image.
    pub fn domain(&self, image: impl AsRef<Path>) -> DomainBuilder {
        DomainBuilder::new(self.clone(), image.as_ref())
    }

    /// Runs a shell script in dom0 and waits for its end, two minutes at most.
    ///
    /// # Errors
    ///
    /// If the lab is gone or the script takes too long. A status other than 0 is none, see [`dom0_checked`](Self::dom0_checked).
    pub fn dom0(&self, script: &str) -> Result<Finished, CommandError> {
        self.dom0_within(script, COMMAND_LIMIT)
    }

    /// As [`dom0`](Self::dom0), with a limit; a script that passes it is killed.
    ///
    /// # Errors
    ///
    /// If the lab is gone or the script takes too long.
    pub fn dom0_within(&self, script: &str, limit: Duration) -> Result<Finished, CommandError> {
        let answers = self.inner.link.request(Kind::Run, script.as_bytes().to_vec())?;
        let deadline = Instant::now() + limit;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let frame = match answers.next(deadline) {
                Err(CommandError::TimedOut(_)) => {
                    self.inner.link.send(Kind::Kill, answers.request(), Vec::new())?;
                    let said = said(&stderr, &stdout);
                    return Err(CommandError::TooLong { script: script.to_owned(), after: limit, said });
                }
                other => other?,
            };
            match frame.kind {
                Kind::Output => stdout.extend_from_slice(&frame.payload),
                Kind::ErrorOutput => stderr.extend_from_slice(&frame.payload),
                _ => {
                    let mut payload = frame.payload.as_slice();
                    let status = take_u32(&mut payload).unwrap_or(u32::MAX) as i32;
                    let mut time = || Dom0Time::from_nanoseconds(take_u64(&mut payload).unwrap_or(0));
                    return Ok(Finished {
                        status,
                        started: time(),
                        ended: time(),
                        stdout: String::from_utf8_lossy(&stdout).into_owned(),
                        stderr: String::from_utf8_lossy(&stderr).into_owned(),
                    });
                }
            }
        }
    }

    /// As [`dom0`](Self::dom0), and a status other than 0 is an error. Gives the standard output.
    ///
    /// # Errors
    ///
    /// If the lab is gone, the script takes too long or fails.
    pub fn dom0_checked(&self, script: &str) -> Result<String, CommandError> {
        self.dom0(script)?.checked(script)
    }

    /// Copies a file of the host into dom0's memory.
    ///
    /// # Errors
    ///
    /// If the file can't be read or dom0 has no room for it.
    pub fn put(&self, file: &Path, dom0_path: &str) -> Result<(), CommandError> {
        let name = format!("put-{}", self.number());
        let staged = self.inner.machine.share().join(&name);
        std::fs::copy(file, &staged).map_err(CommandError::file(file))?;
        // Xen's tools map files in ways that are slow over the share: they get copies in dom0's memory.
        let copied = self.copy(&format!("/host/{name}"), dom0_path);
        std::fs::remove_file(&staged).map_err(CommandError::file(&staged))?;
        copied
    }

    /// Copies a file within dom0, where /host is the share.
    fn copy(&self, from: &str, to: &str) -> Result<(), CommandError> {
        self.request(Kind::Copy, format!("{from}\0{to}").into_bytes())?.only(COMMAND_LIMIT).map(drop)
    }

    /// The host's path of the file that dom0 has at `/host/NAME`.
    pub(crate) fn shared_file(&self, name: &str) -> PathBuf {
        self.inner.machine.share().join(name)
    }

    /// Copies a file of dom0 to the host.
    ///
    /// # Errors
    ///
    /// If there is no such file in dom0 or it can't be written on the host.
    pub fn get(&self, dom0_path: &str, file: &Path) -> Result<(), CommandError> {
        let name = format!("get-{}", self.number());
        let staged = self.inner.machine.share().join(&name);
        self.copy(dom0_path, &format!("/host/{name}"))?;
        let copied = std::fs::copy(&staged, file);
        std::fs::remove_file(&staged).map_err(CommandError::file(&staged))?;
        copied.map(drop).map_err(CommandError::file(file))
    }

    /// A path of the host for a file that goes with the lab.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.inner.machine.share().join(format!("scratch-{}-{name}", self.number()))
    }

    /// Gives dom0 the backend of channels (`channel = [...]`), which is QEMU; the first call fetches its packages. xenconsoled has
    /// only a domain's first console.
    ///
    /// # Errors
    ///
    /// If the packages can't be fetched or dom0 has no room.
    pub fn provide_channels(&self) -> Result<(), CommandError> {
        let mut provided = self.inner.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if !*provided {
            let archive = Cache::open().and_then(|cache| images::channels(&cache));
            let archive = archive.map_err(|error| CommandError::Refused(error.to_string()))?;
            self.put(&archive, "/tmp/channels.cpio")?;
            self.dom0_checked(
                "cd / && cpio -idu < /tmp/channels.cpio 2>/dev/null && rm /tmp/channels.cpio && mkdir -p /var/run/xen /var/lib/xen",
            )?;
            *provided = true;
        }
        Ok(())
    }

    /// Forwards a TCP port of the host's 127.0.0.1 to a guest.
    ///
    /// # Errors
    ///
    /// If the port is in use, is for root only, or QEMU refuses.
    pub fn forward(&self, host_port: u16, guest: Ipv4Addr, guest_port: u16) -> Result<(), ForwardError> {
        self.monitor(|monitor| monitor.forward(host_port, guest, guest_port))
    }

    /// Ends a forward.
    ///
    /// # Errors
    ///
    /// If there is none or QEMU can't be asked.
    pub fn unforward(&self, host_port: u16) -> Result<(), ForwardError> {
        self.monitor(|monitor| monitor.unforward(host_port))
    }

    /// Asks for a page from dom0, again and again, until it is answered with status 200, and gives the time of that.
    ///
    /// # Errors
    ///
    /// If no such answer came within the limit.
    pub fn first_answer(&self, server: SocketAddrV4, path: &str, limit: Duration) -> Result<Dom0Time, CommandError> {
        let mut payload = (limit.as_millis() as u64).to_le_bytes().to_vec();
        payload.extend_from_slice(format!("{server}\0{path}").as_bytes());
        let answer = self.inner.link.request(Kind::Probe, payload)?.only(limit + Duration::from_secs(10))?;
        Ok(Dom0Time::from_nanoseconds(take_u64(&mut answer.as_slice()).unwrap_or(0)))
    }

    /// The kernel of dom0 as a PVH guest's kernel, by its path in dom0: the peer that benchmarks compare with.
    pub fn linux_kernel(&self) -> &'static str {
        "/images/vmlinux"
    }

    /// The peer's root folder: nginx on port 80, iperf3; the words `lab.ipv4=10.0.2.16/24 lab.gateway=10.0.2.2` give it its address.
    pub fn linux_ramdisk(&self) -> &'static str {
        "/images/domu.cpio"
    }

    /// The files of this lab's hypervisor, kernel and dom0 on the host.
    pub fn image_folder(&self) -> &Path {
        self.inner.images.folder()
    }

    /// The end of what Xen and dom0 printed on the machine's console.
    pub fn machine_log(&self) -> String {
        self.inner.machine.log().tail(16 * 1024)
    }

    /// What Xen says of every domain.
    pub(crate) fn survey(&self) -> Result<Vec<DomainState>, CommandError> {
        let answer = self.inner.link.request(Kind::Survey, Vec::new())?.only(COMMAND_LIMIT)?;
        Ok(DomainState::parse_all(&String::from_utf8_lossy(&answer)))
    }

    pub(crate) fn request(&self, kind: Kind, payload: Vec<u8>) -> Result<Answers, CommandError> {
        self.inner.link.request(kind, payload)
    }

    pub(crate) fn tell(&self, kind: Kind, request: u32) -> Result<(), CommandError> {
        self.inner.link.send(kind, request, Vec::new())
    }

    /// A number that is given once.
    pub(crate) fn number(&self) -> u32 {
        self.inner.domains.fetch_add(1, Ordering::Relaxed)
    }
}

/// A word as the shell takes it whole.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn boot_limit() -> Duration {
    let seconds = env::var("MIRAGE_LAB_BOOT_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map_or(BOOT_LIMIT, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
