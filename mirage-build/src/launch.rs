//! Launch files: how to start a finished image with Xen's `xl`.
//!
//! All of it is a function of the image's [`Manifest`] and of where the image is.
//!
//! ```no_run
//! use mirage_build::{launch::Launch, manifest};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let image = std::fs::canonicalize("target/x86_64-unknown-xen/release/static-site")?;
//! let manifest = manifest::read_elf(&std::fs::read(&image)?)?;
//! print!("{}", Launch::new(&manifest, &image.to_string_lossy()).xl());
//! # Ok(())
//! # }
//! ```

use std::fmt::Write as _;
use std::path::Path;

use crate::manifest::{Manifest, ManifestKey};

/// One domain's configuration. [`Launch::new`] fills in what the manifest says; change the fields as you like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The domain's name.
    pub name: String,
    /// The image's path, absolute, as dom0 sees it.
    pub kernel: String,
    /// Memory, MiB.
    pub memory: String,
    /// Memory that it may grow to, MiB, if it has a balloon.
    pub memory_max: Option<String>,
    /// One for each network, in order: the options of `xl-network-configuration`, such as `bridge=xenbr0`.
    pub vifs: Vec<String>,
    /// One for each disk, in order: the options of `xl-disk-configuration`, such as `format=raw, vdev=xvda, access=rw,
    /// target=/srv/data.img`. The program finds its disks by `vdev`, see [`virtual_disk`].
    pub disks: Vec<String>,
    /// Channels, which are consoles besides the first one: one `channel` entry each (xen-pv-channel(7)).
    pub channels: Vec<String>,
    /// The kernel's command line: boot keys, quoted as for a POSIX shell.
    pub command_line: String,
    /// What happens to the domain after a crash: `destroy`, `restart`, `preserve` ...
    pub on_crash: String,
    /// Lines of comment at the top.
    pub comments: Vec<String>,
}

impl Launch {
    /// A domain of the image at `kernel`: all of its networks on the default bridge, the disk NAME in the file NAME.img beside
    /// the image, no boot keys.
    pub fn new(manifest: &Manifest, kernel: &str) -> Launch {
        Launch {
            name: manifest.name.clone(),
            kernel: kernel.to_owned(),
            memory: manifest.memory_mib.to_string(),
            memory_max: manifest.memory_max_mib.map(|most| most.to_string()),
            vifs: manifest.networks.iter().map(|_| "bridge=xenbr0".to_owned()).collect(),
            disks: manifest
                .blocks
                .iter()
                .enumerate()
                .map(|(index, block)| {
                    let file = Path::new(kernel).with_file_name(format!("{}.img", block.name));
                    disk(index, &file.to_string_lossy())
                })
                .collect(),
            channels: manifest.consoles.iter().map(|name| format!("connection=pty, name={name}")).collect(),
            command_line: manifest
                .keys
                .iter()
                .filter(|key| key.required)
                .map(placeholder)
                .collect::<Vec<_>>()
                .join(" "),
            on_crash: "destroy".to_owned(),
            comments: comments(manifest),
        }
    }

    /// The same with `@NAME@`, `@KERNEL@`, `@MEMORY@`, `@MEMORY_MAX@`, `@VIF:network@`, `@DISK:disk@` (a path) and `@EXTRA@` for tools to fill in.
    pub fn template(manifest: &Manifest) -> Launch {
        Launch {
            name: "@NAME@".to_owned(),
            kernel: "@KERNEL@".to_owned(),
            memory: "@MEMORY@".to_owned(),
            memory_max: manifest.memory_max_mib.map(|_| "@MEMORY_MAX@".to_owned()),
            vifs: manifest.networks.iter().map(|network| format!("@VIF:{}@", network.name)).collect(),
            disks: manifest
                .blocks
                .iter()
                .enumerate()
                .map(|(index, block)| disk(index, &format!("@DISK:{}@", block.name)))
                .collect(),
            command_line: "@EXTRA@".to_owned(),
            ..Launch::new(manifest, "")
        }
    }

    /// The text of a file for `xl create`.
    pub fn xl(&self) -> String {
        let mut out = String::new();
        for comment in &self.comments {
            line(&mut out, format_args!("# {}", one_line(comment)));
        }
        line(&mut out, format_args!("name = {}", quote(&self.name)));
        line(&mut out, format_args!("type = \"pvh\""));
        line(&mut out, format_args!("kernel = {}", quote(&self.kernel)));
        line(&mut out, format_args!("memory = {}", one_line(&self.memory)));
        if let Some(most) = &self.memory_max {
            line(&mut out, format_args!("maxmem = {}", one_line(most)));
        }
        line(&mut out, format_args!("vcpus = 1"));
        line(&mut out, format_args!("extra = {}", quote(&self.command_line)));
        if !self.vifs.is_empty() {
            line(&mut out, format_args!("vif = [ {} ]", quote_all(&self.vifs)));
        }
        if !self.disks.is_empty() {
            line(&mut out, format_args!("disk = [ {} ]", quote_all(&self.disks)));
        }
        if !self.channels.is_empty() {
            line(&mut out, format_args!("channel = [ {} ]", quote_all(&self.channels)));
        }
        line(&mut out, format_args!("on_poweroff = \"destroy\""));
        line(&mut out, format_args!("on_reboot = \"restart\""));
        line(&mut out, format_args!("on_crash = {}", quote(&self.on_crash)));
        out
    }
}

/// The name of the disk that the `index`th `.block(..)` of build.rs is in a domain: `xvda` for 0.
/// As in Xen's vbd naming, `xvdaa` follows `xvdz`.
pub fn virtual_disk(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    format!("xvd{}", letters.iter().rev().collect::<String>())
}

/// The options of the `index`th disk. The target comes last: there it may have commas and spaces.
fn disk(index: usize, target: &str) -> String {
    format!("format=raw, vdev={}, access=rw, target={target}", virtual_disk(index))
}

fn comments(manifest: &Manifest) -> Vec<String> {
    let mut comments = vec![format!("{} {}: start it with `xl create -c FILE`.", manifest.name, manifest.version)];
    for (index, network) in manifest.networks.iter().enumerate() {
        comments.push(format!("vif {index}: network `{}`", network.name));
    }
    for (index, block) in manifest.blocks.iter().enumerate() {
        let (disk, name) = (virtual_disk(index), &block.name);
        comments.push(format!("{disk}: block device `{name}`; its file is made with `truncate -s 64M {name}.img`"));
    }
    for name in &manifest.consoles {
        comments.push(format!("channel {name}: console `{name}`; `xl list -l` shows its terminal"));
    }
    comments.push("Boot keys for `extra`:".to_owned());
    for key in &manifest.keys {
        let default = match &key.default {
            Some(default) => format!(" (default {default})"),
            None if key.required => " (required)".to_owned(),
            None => String::new(),
        };
        comments.push(format!("  {}  {}{default}", placeholder(key), key.doc).trim_end().to_owned());
    }
    comments
}

fn placeholder(key: &ManifestKey) -> String {
    format!("--{} {}", key.name, key.kind.map_or("VALUE", |kind| kind.placeholder()))
}

/// A string of xl's configuration language.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

fn quote_all(texts: &[String]) -> String {
    texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ")
}

/// Without the line breaks that would end a comment or an assignment.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can not fail.
    let _ = writeln!(out, "{text}");
}
