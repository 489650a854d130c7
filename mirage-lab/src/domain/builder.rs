//! A domain to be made, and its configuration for xl.

use super::Domain;
use crate::error::CreateError;
use crate::lab::{Lab, quote};
use std::path::{Path, PathBuf};

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
    memory_max_mib: Option<u32>,
    cmdline: String,
    vifs: Vec<String>,
    disks: Vec<(String, Content, Access)>,
    lines: Vec<String>,
    paused: bool,
    on_crash: Option<String>,
}

/// What is on a disk at first.
enum Content {
    /// A copy of a file of the host.
    File(PathBuf),
    /// Nothing, of so many MiB.
    Blank(u32),
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
            memory_max_mib: None,
            cmdline: String::new(),
            vifs: Vec::new(),
            disks: Vec::new(),
            lines: Vec::new(),
            paused: false,
            on_crash: None,
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

    /// The memory in MiB that it may grow to, if it has a balloon: see [`Domain::set_memory`].
    pub fn memory_max(mut self, mib: u32) -> Self {
        self.memory_max_mib = Some(mib);
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
        self.disks.push((device.to_owned(), Content::File(file.as_ref().to_path_buf()), access));
        self
    }

    /// One more disk, for example `xvda`, of so many MiB: zeros, which take none of dom0's memory until they are written.
    pub fn blank_disk(mut self, device: &str, mib: u32) -> Self {
        self.disks.push((device.to_owned(), Content::Blank(mib), Access::ReadWrite));
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

    /// Lets xl wait for its end and do what it does on a crash (`on_crash` of xl.cfg(5)): `restart`, `coredump-destroy` and so
    /// on. Without it, a domain that has ended stays as it is.
    pub fn on_crash(mut self, action: &str) -> Self {
        self.on_crash = Some(action.to_owned());
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
        domain.create(&config, self.paused, self.on_crash.is_some())?;
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
        for (device, content, _) in &self.disks {
            let path = disk_path(&domain.name, device);
            match content {
                Content::File(file) => domain.lab.put(file, &path)?,
                Content::Blank(mib) => domain.lab.dom0_checked(&format!("truncate -s {mib}M {path}")).map(drop)?,
            }
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
            format!("on_crash={}", literal(self.on_crash.as_deref().unwrap_or("preserve"))?),
            "on_watchdog=\"preserve\"".to_owned(),
        ];
        if let Some(most) = self.memory_max_mib {
            lines.push(format!("maxmem={}", most.max(self.memory_mib)));
        }
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

pub(super) fn disk_path(name: &str, device: &str) -> String {
    format!("/tmp/{name}.{device}")
}

pub(super) fn disk_specification(device: &str, dom0_path: &str, access: Access) -> String {
    let access = match access {
        Access::ReadOnly => "ro",
        Access::ReadWrite => "rw",
    };
    format!("format=raw,vdev={device},access={access},backendtype=phy,script=block-lab,target={dom0_path}")
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

#[cfg(test)]
mod tests {
    use super::{is_name, literal};

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
}
