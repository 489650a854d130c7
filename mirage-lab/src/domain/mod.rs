//! Domains: what they do and how they are driven.

mod builder;
mod report;

pub use builder::{Access, DomainBuilder};
pub use report::{ExitReport, FirstOutput, StopReason, Times};

use crate::console::{Console, Shared};
use crate::error::{CommandError, CreateError};
use crate::lab::{COMMAND_LIMIT, Dom0Time, Lab, quote};
use crate::link::Answers;
use crate::protocol::{DomainState, Kind};
use builder::{disk_path, disk_specification};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a migration may take: that of a busy domain takes minutes where the processor is slow.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);

/// The memory of a domain that is saved to dom0's memory, in KiB. Larger ones are saved to the share, which is slower.
const SMALL_KIB: u64 = 32 * 1024;

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
    // The file in dom0 that it was saved to.
    saved: Option<String>,
    alive: bool,
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
        Ok(Self { lab, name, number: 0, files, console, console_request, stop, times, saved: None, alive: false })
    }

    fn create(&mut self, config: &str, paused: bool, attended: bool) -> Result<(), CreateError> {
        // By way of the share: dom0 need not start programs to write the one and to read the other.
        let [file, output] = ["cfg", "out"].map(|kind| self.lab.shared_file(&format!("{}.{kind}", self.name)));
        std::fs::write(&file, config).map_err(CommandError::file(&file))?;
        // -e: nobody waits for its end in the background, the lab does.
        let paused = if paused { "-p" } else { "" };
        let unattended = if attended { "" } else { "-e" };
        // xl that stays keeps what it has open: nobody waits for its output.
        let script =
            format!("exec xl create {unattended} -q {paused} /host/{0}.cfg </dev/null >/host/{0}.out 2>&1", self.name);
        let mut created = self.lab.dom0(&script)?;
        created.stderr = std::fs::read_to_string(&output).map_err(CommandError::file(&output))?;
        // xl has its own copy for the domain's restarts.
        for path in [&file, &output] {
            std::fs::remove_file(path).map_err(CommandError::file(path))?;
        }
        if created.status != 0 {
            let log = self.lab.dom0("tail -n 5 /var/log/xen/xen-hotplug.log 2>/dev/null")?.stdout;
            let said = format!("{}{log}", created.stderr).trim().to_owned();
            return Err(CreateError::Refused { status: created.status, said });
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
        Ok(report::report(&payload, self.console.text(usize::MAX)))
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
            Err(CommandError::TooLong { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells it how much memory to have, in MiB (`xl mem-set`). Its balloon takes a moment: see [`memory_kib`](Self::memory_kib).
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn set_memory(&self, mib: u32) -> Result<(), CommandError> {
        self.xl("mem-set", &format!("{mib}m"))
    }

    /// Waits until xl has started it again, as another domain: from then on this value is that one.
    ///
    /// # Errors
    ///
    /// If that does not happen within the limit, or the lab is gone.
    pub fn restarted(&mut self, limit: Duration) -> Result<(), CommandError> {
        let (name, number, seconds) = (&self.name, self.number, limit.as_secs());
        let script = format!(
            "for try in $(seq {seconds}0); do new=$(xl domid {name} 2>/dev/null) && [ $new != {number} ] && exit; usleep 100000; done; exit 1"
        );
        self.lab.dom0_within(&script, limit + COMMAND_LIMIT)?.checked(&script)?;
        self.attend()
    }

    /// Writes its memory as an ELF core (`xl dump-core`) to a file of the host. A domain that has crashed can be dumped as well.
    /// It takes many minutes: xl asks for every page frame below 4 GiB, and in the lab each question is slow.
    ///
    /// # Errors
    ///
    /// If xl fails or takes longer than `limit`, or the file can't be written.
    pub fn dump_core(&self, file: &Path, limit: Duration) -> Result<(), CommandError> {
        let path = format!("/tmp/{}.core", self.name);
        let script = format!("exec xl dump-core {} {path}", self.name);
        self.lab.dom0_within(&script, limit)?.checked(&script)?;
        let copied = self.lab.get(&path, file);
        self.lab.dom0_checked(&format!("rm {path}"))?;
        copied
    }

    /// Gives its processor a non-maskable interrupt (`xl trigger`).
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn interrupt(&self) -> Result<(), CommandError> {
        self.xl("trigger", "nmi")
    }

    /// Types into its console, as somebody does in `xl console`.
    ///
    /// # Errors
    ///
    /// If it has no console.
    pub fn type_text(&self, text: &str) -> Result<(), CommandError> {
        let script = format!("printf %s {} > $(xenstore-read /local/domain/{}/console/tty)", quote(text), self.number);
        self.lab.dom0_checked(&script).map(drop)
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
        self.save_as("")?;
        self.alive = false;
        Ok(())
    }

    /// Saves a copy of it to a file (`xl save -c`), from which [`restore`](Self::restore) can bring it back when this one was
    /// [killed](Self::kill). This one goes on.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn checkpoint(&mut self) -> Result<(), CommandError> {
        self.save_as("-c")
    }

    fn save_as(&mut self, how: &str) -> Result<(), CommandError> {
        let name = &self.name;
        let (path, script) = if self.memory_kib()? <= SMALL_KIB {
            let path = format!("/tmp/{name}.save");
            let script = format!("exec xl save {how} {name} {path}");
            (path, script)
        } else {
            // Through a pipe: the share's file system can't take pages that are mapped from another domain. And in large
            // pieces, each of which is a message to the host.
            let (path, pipe) = (format!("/host/{name}.save"), format!("/tmp/{name}.pipe"));
            let script = format!(
                "mkfifo {pipe}; dd if={pipe} of={path} bs=256k iflag=fullblock 2>/dev/null & reader=$!; \
                 xl save {how} {name} {pipe}; status=$?; [ $status = 0 ] || kill $reader; wait; rm {pipe}; exit $status"
            );
            (path, script)
        };
        if !self.files.contains(&path) {
            self.files.push(path.clone());
        }
        self.lab.dom0_checked(&script)?;
        self.saved = Some(path);
        Ok(())
    }

    /// Starts to save it and fails at it, so that it goes on.
    ///
    /// # Errors
    ///
    /// If dom0 can't be asked, or the domain was saved in spite of all.
    pub fn save_in_vain(&self) -> Result<(), CommandError> {
        self.lab.dom0_checked(&format!("! xl save {} /dev/full", self.name)).map(drop)
    }

    /// Moves it to another host, which is this one (`xl migrate`). It has another number then.
    ///
    /// # Errors
    ///
    /// If xl fails.
    pub fn migrate(&mut self) -> Result<(), CommandError> {
        // xenconsoled logs the new domain under the name that it has until the old one is gone. Without a remote shell, xl runs
        // the host's name.
        let name = &self.name;
        let log = format!("/var/log/xen/console/guest-{name}--incoming.log");
        if !self.files.contains(&log) {
            self.files.push(log.clone());
        }
        let script = format!("ln -sf guest-{name}.log {log}; exec xl migrate -s '' {name} 'xl migrate-receive -e'");
        // Pages that are written meanwhile are sent again, up to five times all of them, on a processor that all share.
        self.lab.dom0_within(&script, MIGRATION_LIMIT)?.checked(&script)?;
        self.attend()
    }

    /// Brings it back from the file that [`save`](Self::save) made.
    ///
    /// # Errors
    ///
    /// If it was not saved, or xl fails.
    pub fn restore(&mut self) -> Result<(), CommandError> {
        let Some(path) = &self.saved else {
            return Err(CommandError::Refused(format!("{} was not saved", self.name)));
        };
        self.lab.dom0_checked(&format!("xl restore -e {path}"))?;
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
        let files = std::mem::take(&mut self.files);
        let remove = if files.is_empty() { String::new() } else { format!("rm -f {}", files.join(" ")) };
        let script = match std::mem::take(&mut self.alive) {
            true => format!("xl destroy {}; status=$?; {remove}\nexit $status", self.name),
            false => remove,
        };
        self.lab.tell(Kind::Unfollow, self.console_request)?;
        self.lab.dom0_checked(&script).map(drop)
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
