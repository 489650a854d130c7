//! Domains: making them, what they do, how they end.

use crate::console::{Console, Shared};
use crate::error::{CommandError, CreateError};
use crate::lab::{COMMAND_LIMIT, Dom0Time, Lab, quote};
use crate::link::Answers;
use crate::protocol::{DomainState, Kind, take_u64};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether a domain may write a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may read only.
    ReadOnly,
    /// It may read and write.
    ReadWrite,
}

/// A domain to be made. By default it is PVH, has one processor, 32 MiB, and no device but its console.
#[must_use = "`start` makes the domain"]
pub struct DomainBuilder {
    lab: Lab,
    image: Source,
    ramdisk: Option<String>,
    name: Option<String>,
    memory_mib: u32,
    cmdline: String,
    vifs: Vec<String>,
    disks: Vec<(String, PathBuf, Access)>,
    lines: Vec<String>,
    paused: bool,
}

/// Where a kernel is.
enum Source {
    Host(PathBuf),
    /// In dom0's folder of images, under this name.
    Dom0(String),
}

/// Where dom0 has the lab's own images.
const IMAGES: &str = "/images/";

impl DomainBuilder {
    pub(crate) fn new(lab: Lab, image: &Path) -> Self {
        let image = match image.to_str().and_then(|path| path.strip_prefix(IMAGES)) {
            Some(name) => Source::Dom0(name.to_owned()),
            None => Source::Host(image.to_path_buf()),
        };
        Self {
            lab,
            image,
            ramdisk: None,
            name: None,
            memory_mib: 32,
            cmdline: String::new(),
            vifs: Vec::new(),
            disks: Vec::new(),
            lines: Vec::new(),
            paused: false,
        }
    }

    /// Its name: letters, digits, `-` and `_`, at most 40. By default one that no other domain of this lab has.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Its memory in MiB.
    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The words it is given.
    pub fn cmdline(mut self, words: &str) -> Self {
        self.cmdline = words.to_owned();
        self
    }

    /// One more network interface, on the bridge, with a MAC address of its own.
    pub fn vif(self) -> Self {
        let number = self.lab.number();
        let [_, _, high, low] = number.to_be_bytes();
        self.vif_with(&format!("bridge=xenbr0,mac=00:16:3e:00:{high:02x}:{low:02x}"))
    }

    /// One more network interface, as in xl's configuration (xl-network-configuration(5)).
    pub fn vif_with(mut self, specification: &str) -> Self {
        self.vifs.push(specification.to_owned());
        self
    }

    /// One more disk, for example `xvda`: a copy of a file of the host, see [`Domain::read_disk`].
    pub fn disk(mut self, device: &str, file: impl AsRef<Path>, access: Access) -> Self {
        self.disks.push((device.to_owned(), file.as_ref().to_path_buf(), access));
        self
    }

    /// A first root folder for a Linux kernel, one of dom0's: see [`Lab::linux_ramdisk`].
    pub fn ramdisk(mut self, dom0_path: &str) -> Self {
        self.ramdisk = Some(dom0_path.trim_start_matches(IMAGES).to_owned());
        self
    }

    /// One more line of xl's configuration (xl.cfg(5)), as it is.
    pub fn config_line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Leaves its processor stopped until [`Domain::unpause`].
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// Makes the domain and lets it run.
    ///
    /// # Errors
    ///
    /// If a value can't be said in xl's configuration, a file can't be read, or `xl create` refuses.
    pub fn start(self) -> Result<Domain, CreateError> {
        let lab = self.lab.clone();
        let name = match &self.name {
            Some(name) if is_name(name) => name.clone(),
            Some(name) => return Err(CreateError::Name(name.clone())),
            None => format!("domain-{}", lab.number()),
        };
        let config = self.configuration(&name)?;
        let files = self.files(&name);
        let mut domain = Domain::prepare(lab, name, files)?;
        self.bring_files(&domain)?;
        domain.create(&config, self.paused)?;
        Ok(domain)
    }

    /// The paths in dom0 that are removed with the domain.
    fn files(&self, name: &str) -> Vec<String> {
        let image = matches!(self.image, Source::Host(_)).then(|| kernel_path(name));
        let disks = self.disks.iter().map(|(device, ..)| disk_path(name, device));
        image.into_iter().chain(disks).collect()
    }

    fn bring_files(&self, domain: &Domain) -> Result<(), CreateError> {
        if let Source::Host(file) = &self.image {
            domain.lab.put(file, &kernel_path(&domain.name))?;
        }
        // Xen's tools map a kernel: from dom0's memory that is quick, from the share it takes half a minute. Copied once.
        let own = if let Source::Dom0(name) = &self.image { Some(name) } else { None };
        for name in own.into_iter().chain(&self.ramdisk) {
            let (there, here) = (quote(&format!("{IMAGES}{name}")), quote(&format!("/tmp/{name}")));
            domain.lab.dom0_checked(&format!("flock /run/lock/images sh -c 'test -e \"$1\" || {{ cp \"$0\" \"$1.part\" && mv \"$1.part\" \"$1\"; }}' {there} {here}"))?;
        }
        for (device, file, _) in &self.disks {
            domain.lab.put(file, &disk_path(&domain.name, device))?;
        }
        Ok(())
    }

    fn configuration(&self, name: &str) -> Result<String, CreateError> {
        let kernel = match &self.image {
            Source::Host(_) => kernel_path(name),
            Source::Dom0(name) => format!("/tmp/{name}"),
        };
        let mut lines = vec![
            format!("name={}", literal(name)?),
            "type=\"pvh\"".to_owned(),
            format!("kernel={}", literal(&kernel)?),
            format!("memory={}", self.memory_mib),
            // Without this line a small PVH guest can't be made ("Could not allocate special pages").
            "vcpus=1".to_owned(),
            // The time stamp counter as it is: emulating it costs a trap each time.
            "tsc_mode=\"native\"".to_owned(),
            // A stopped domain stays until its report was read.
            "on_poweroff=\"preserve\"".to_owned(),
            "on_reboot=\"preserve\"".to_owned(),
            "on_crash=\"preserve\"".to_owned(),
            "on_watchdog=\"preserve\"".to_owned(),
        ];
        if !self.cmdline.is_empty() {
            lines.push(format!("extra={}", literal(&self.cmdline)?));
        }
        if let Some(ramdisk) = &self.ramdisk {
            lines.push(format!("ramdisk={}", literal(&format!("/tmp/{ramdisk}"))?));
        }
        if !self.vifs.is_empty() {
            let vifs: Vec<String> = self.vifs.iter().map(|vif| literal(vif)).collect::<Result<_, _>>()?;
            lines.push(format!("vif=[{}]", vifs.join(",")));
        }
        if !self.disks.is_empty() {
            let disks: Vec<String> = self
                .disks
                .iter()
                .map(|(device, _, access)| literal(&disk_specification(device, &disk_path(name, device), *access)))
                .collect::<Result<_, _>>()?;
            lines.push(format!("disk=[{}]", disks.join(",")));
        }
        lines.extend(self.lines.iter().cloned());
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

fn kernel_path(name: &str) -> String {
    format!("/tmp/{name}.kernel")
}

fn disk_path(name: &str, device: &str) -> String {
    format!("/tmp/{name}.{device}")
}

fn disk_specification(device: &str, dom0_path: &str, access: Access) -> String {
    let access = match access {
        Access::ReadOnly => "ro",
        Access::ReadWrite => "rw",
    };
    format!("format=raw,vdev={device},access={access},backendtype=phy,target={dom0_path}")
}

fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    (1..=40).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-')
}

/// A text as xl's configuration has it.
fn literal(text: &str) -> Result<String, CreateError> {
    if text.contains(char::is_control) {
        return Err(CreateError::Line(text.to_owned()));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// A running or stopped domain. It is destroyed when this is dropped.
pub struct Domain {
    lab: Lab,
    name: String,
    number: u32,
    files: Vec<String>,
    console: Arc<Shared>,
    console_request: u32,
    stop: Mutex<Option<Answers>>,
    times: Times,
    alive: bool,
}

/// When a domain was made, on dom0's clock.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// `xl create` was started.
    pub create_started: Dom0Time,
    /// `xl create` had come back.
    pub create_returned: Dom0Time,
}

/// The first thing a domain printed.
#[derive(Clone, Copy, Debug)]
pub struct FirstOutput {
    /// When it came.
    pub time: Dom0Time,
    /// What the domain's processor had run by then.
    pub cpu: Duration,
}

/// Why a domain stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It powered off.
    Poweroff,
    /// It asked to be started again; a triple fault is this too.
    Reboot,
    /// It crashed, or says so.
    Crash,
    /// Its watchdog ended it.
    Watchdog,
    /// Another of Xen's reasons.
    Other(u8),
    /// It was destroyed before its reason was read.
    Gone,
}

/// How a domain ended.
#[derive(Clone, Debug)]
pub struct ExitReport {
    /// Why it stopped.
    pub reason: StopReason,
    /// The exit status that it left in xenstore (`data/mirage/exit-code`).
    pub code: Option<u8>,
    /// When dom0 learnt of it.
    pub time: Dom0Time,
    /// What its processor had run in its life; zero if it was gone.
    pub cpu: Duration,
    /// What it had printed.
    pub console: String,
}

impl ExitReport {
    /// The status that a process in its place would have ended with: its own after a power-off, else 101.
    pub fn status(&self) -> u8 {
        match (self.reason, self.code) {
            (StopReason::Poweroff, code) => code.or_else(|| self.code_on_console()).unwrap_or(0),
            _ => 101,
        }
    }

    /// The status that it printed last: a domain that ends before it can reach xenstore has no other way.
    fn code_on_console(&self) -> Option<u8> {
        self.console.lines().rev().find_map(|line| line.trim_end().strip_prefix("mirage: exit ")?.parse().ok())
    }
}

impl Domain {
    /// The console has to be followed before the domain is there.
    fn prepare(lab: Lab, name: String, files: Vec<String>) -> Result<Self, CreateError> {
        let answers = lab.request(Kind::Follow, name.as_bytes().to_vec())?;
        answers.only(COMMAND_LIMIT)?;
        let console_request = answers.request();
        let console = Shared::collect(answers);
        let zero = Dom0Time::from_nanoseconds(0);
        let times = Times { create_started: zero, create_returned: zero };
        let stop = Mutex::new(None);
        Ok(Self { lab, name, number: 0, files, console, console_request, stop, times, alive: false })
    }

    fn create(&mut self, config: &str, paused: bool) -> Result<(), CreateError> {
        let path = format!("/tmp/{}.cfg", self.name);
        self.files.push(path.clone());
        self.lab.dom0_checked(&format!("cat > {path} <<'END OF CONFIGURATION'\n{config}\nEND OF CONFIGURATION"))?;
        // -e: nobody waits for its end in the background, the lab does.
        let paused = if paused { "-p" } else { "" };
        let created = self.lab.dom0(&format!("exec xl create -e -q {paused} {path}"))?;
        if created.status != 0 {
            let log = self.lab.dom0("tail -n 5 /var/log/xen/xen-hotplug.log 2>/dev/null")?.stdout;
            return Err(CreateError::Refused { said: format!("{}{log}", created.stderr).trim().to_owned() });
        }
        self.alive = true;
        self.times = Times { create_started: created.started, create_returned: created.ended };
        self.attend().map_err(CreateError::from)
    }

    /// Learns the domain's number and waits for its end from now on.
    fn attend(&mut self) -> Result<(), CommandError> {
        let number = self.lab.request(Kind::Identify, self.name.as_bytes().to_vec())?.only(COMMAND_LIMIT)?;
        let number = String::from_utf8_lossy(&number).parse::<u32>();
        self.number = number.map_err(|_| CommandError::Refused(format!("there is no domain {}", self.name)))?;
        let stop = self.lab.request(Kind::Await, self.number.to_le_bytes().to_vec())?;
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number (domid). A restored domain has another one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// When it was made.
    pub fn times(&self) -> Times {
        self.times
    }

    /// A reader of its console, from the first line on.
    pub fn console(&self) -> Console {
        Console::new(self.console.clone())
    }

    /// When it first printed something, and what it had run by then; `None` before that.
    pub fn first_output(&self) -> Option<FirstOutput> {
        let first = self.console.first_byte()?;
        let state = first.states.iter().find(|state| state.number == self.number)?;
        Some(FirstOutput { time: first.time, cpu: Duration::from_nanos(state.cpu_ns) })
    }

    /// What its processor has run so far, in nanoseconds.
    ///
    /// # Errors
    ///
    /// If dom0 can't be asked or the domain is gone.
    pub fn cpu_ns(&self) -> Result<u64, CommandError> {
        self.state().map(|state| state.cpu_ns)
    }

    /// The memory it has, in KiB.
    ///
    /// # Errors
    ///
    /// If dom0 can't be asked or the domain is gone.
    pub fn memory_kib(&self) -> Result<u64, CommandError> {
        self.state().map(|state| state.memory_kib)
    }

    fn state(&self) -> Result<DomainState, CommandError> {
        let states = self.lab.survey()?;
        let own = states.into_iter().find(|state| state.number == self.number);
        own.ok_or_else(|| CommandError::Refused(format!("the domain {} is gone", self.name)))
    }

    /// Waits for its end and tells how it came. The domain stays in Xen, for a look at it, until this value is dropped.
    ///
    /// # Errors
    ///
    /// If it does not end within the limit ([`CommandError::TimedOut`]), the lab is gone, or its end was told before.
    pub fn exit(&self, limit: Duration) -> Result<ExitReport, CommandError> {
        let mut waiting = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answers) = waiting.as_ref() else {
            return Err(CommandError::Refused(format!("the end of {} was told before", self.name)));
        };
        let deadline =
            Instant::now().checked_add(limit).unwrap_or_else(|| Instant::now() + Duration::from_secs(365 * 24 * 3600));
        let payload = match answers.next(deadline) {
            Err(CommandError::TimedOut(_)) => return Err(CommandError::TimedOut(limit)),
            other => other?.payload,
        };
        *waiting = None;
        self.console.settle(Duration::from_millis(150), Duration::from_secs(3));
        self.console.end();
        Ok(report(&payload, self.console.text(usize::MAX)))
    }

    /// A node of the domain's own part of xenstore, for example `data/mirage/exit-code`.
    ///
    /// # Errors
    ///
    /// If there is no such node.
    pub fn store_read(&self, path: &str) -> Result<String, CommandError> {
        let path = format!("/local/domain/{}/{path}", self.number);
        let value = self.lab.request(Kind::StoreRead, path.into_bytes())?.only(COMMAND_LIMIT)?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }

    /// Writes a node of the domain's own part of xenstore.
    ///
    /// # Errors
    ///
    /// If xenstored refuses.
    pub fn store_write(&self, path: &str, value: &str) -> Result<(), CommandError> {
        let payload = format!("/local/domain/{}/{path}\0{value}", self.number);
        self.lab.request(Kind::StoreWrite, payload.into_bytes())?.only(COMMAND_LIMIT).map(drop)
    }

    /// Asks it to power off (`xl shutdown`). Comes back when the guest has heard it, or after five seconds if it does not
    /// listen; see [`exit`](Self::exit) for its end.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn shutdown(&self) -> Result<(), CommandError> {
        self.ask("shutdown")
    }

    /// Asks it to reboot (`xl reboot`), as [`shutdown`](Self::shutdown) does. The lab does not start it again: its report
    /// says [`StopReason::Reboot`].
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn reboot(&self) -> Result<(), CommandError> {
        self.ask("reboot")
    }

    fn ask(&self, verb: &str) -> Result<(), CommandError> {
        let script = format!("exec xl {verb} {}", self.name);
        match self.lab.dom0_within(&script, Duration::from_secs(5)) {
            Ok(finished) => finished.checked(&script).map(drop),
            // xl waits a minute for a guest that does not listen. The request stands.
            Err(CommandError::TimedOut(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Stops its processor.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn pause(&self) -> Result<(), CommandError> {
        self.xl("pause", "")
    }

    /// Lets its processor run again.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn unpause(&self) -> Result<(), CommandError> {
        self.xl("unpause", "")
    }

    /// Saves it to a file; it is gone then, until [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn save(&mut self) -> Result<(), CommandError> {
        let path = self.saved();
        self.files.push(path.clone());
        // Through a pipe: the share's file system can't take pages that are mapped from another domain.
        let (name, pipe) = (&self.name, format!("/tmp/{}.pipe", self.name));
        self.lab.dom0_checked(&format!(
            "mkfifo {pipe}; cat {pipe} >{path} & reader=$!; xl save {name} {pipe}; status=$?; \
             [ $status = 0 ] || kill $reader; wait; rm {pipe}; exit $status"
        ))?;
        self.alive = false;
        Ok(())
    }

    /// On the share: dom0's memory holds no guest's memory.
    fn saved(&self) -> String {
        format!("/host/{}.save", self.name)
    }

    /// Brings it back from the file that [`save`](Self::save) made.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn restore(&mut self) -> Result<(), CommandError> {
        self.lab.dom0_checked(&format!("xl restore -e {}", self.saved()))?;
        self.alive = true;
        self.attend()
    }

    /// Gives it one more network interface, as in `xl network-attach`.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn network_attach(&self, specification: &str) -> Result<(), CommandError> {
        self.xl("network-attach", &specification.replace(',', " "))
    }

    /// Takes a network interface away, by its number or MAC address.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn network_detach(&self, interface: &str) -> Result<(), CommandError> {
        self.xl("network-detach", &quote(interface))
    }

    /// Gives it one more disk: a copy of a file of the host.
    ///
    /// # Errors
    ///
    /// If the file can't be read or xl fails.
    pub fn block_attach(&self, device: &str, file: &Path, access: Access) -> Result<(), CommandError> {
        let path = disk_path(&self.name, device);
        self.lab.put(file, &path)?;
        self.xl("block-attach", &quote(&disk_specification(device, &path, access)))
    }

    /// Takes a disk away.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn block_detach(&self, device: &str) -> Result<(), CommandError> {
        self.xl("block-detach", &quote(device))
    }

    /// Copies what a disk of it holds now to a file of the host.
    ///
    /// # Errors
    ///
    /// If there is no such disk or the file can't be written.
    pub fn read_disk(&self, device: &str, file: &Path) -> Result<(), CommandError> {
        self.lab.dom0_checked("sync")?;
        self.lab.get(&disk_path(&self.name, device), file)
    }

    /// Ends it at once, and leaves this value: its report says [`StopReason::Gone`].
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn kill(&self) -> Result<(), CommandError> {
        self.xl("destroy", "")
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn destroy(mut self) -> Result<(), CommandError> {
        self.remove()
    }

    fn xl(&self, verb: &str, words: &str) -> Result<(), CommandError> {
        self.lab.dom0_checked(&format!("xl {verb} {} {words}", self.name)).map(drop)
    }

    fn remove(&mut self) -> Result<(), CommandError> {
        let destroyed = match std::mem::take(&mut self.alive) {
            true => self.xl("destroy", ""),
            false => Ok(()),
        };
        self.lab.tell(Kind::Unfollow, self.console_request)?;
        let files = std::mem::take(&mut self.files);
        if !files.is_empty() {
            self.lab.dom0_checked(&format!("rm -f {}", files.join(" ")))?;
        }
        destroyed
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        if self.alive || !self.files.is_empty() {
            // There is nobody to tell, and a lab that is gone has no domains.
            let _ = self.remove();
        }
    }
}

fn report(mut payload: &[u8], console: String) -> ExitReport {
    let time = Dom0Time::from_nanoseconds(take_u64(&mut payload).unwrap_or(0));
    let text = String::from_utf8_lossy(payload);
    let (state, code) = text.split_once('\n').unwrap_or((&text, ""));
    let state = DomainState::parse(state);
    let reason = match state.and_then(|state| state.shutdown) {
        None => StopReason::Gone,
        Some(0) => StopReason::Poweroff,
        Some(1) => StopReason::Reboot,
        Some(3) => StopReason::Crash,
        Some(4) => StopReason::Watchdog,
        Some(other) => StopReason::Other(other),
    };
    let cpu = Duration::from_nanos(state.map_or(0, |state| state.cpu_ns));
    ExitReport { reason, code: code.trim().parse().ok(), time, cpu, console }
}

#[cfg(test)]
mod tests {
    use super::{StopReason, is_name, literal, report};

    #[test]
    fn texts_are_quoted_for_xl() {
        assert_eq!(literal("--greeting it's").ok().as_deref(), Some("\"--greeting it's\""));
        assert_eq!(literal(r#"say "x" \"#).ok().as_deref(), Some(r#""say \"x\" \\""#));
        assert!(literal("two\nlines").is_err());
    }

    #[test]
    fn names_are_checked() {
        assert!(is_name("hello-1_b"));
        assert!(!is_name("") && !is_name("a b") && !is_name("-x") && !is_name("a/b") && !is_name(&"x".repeat(41)));
    }

    #[test]
    fn reports_are_read() {
        let payload = |text: &str| [&7_u64.to_le_bytes()[..], text.as_bytes()].concat();
        let stopped = report(&payload("3 1500 16384 0 0 0\n64"), String::new());
        assert_eq!(
            (stopped.reason, stopped.code, stopped.status(), stopped.cpu.as_nanos()),
            (StopReason::Poweroff, Some(64), 64, 1500)
        );
        let crashed = report(&payload("3 1500 16384 3 0 0\n"), String::new());
        assert_eq!((crashed.reason, crashed.status()), (StopReason::Crash, 101));
        let gone = report(&payload("\n"), String::new());
        assert_eq!((gone.reason, gone.status()), (StopReason::Gone, 101));
    }
}
