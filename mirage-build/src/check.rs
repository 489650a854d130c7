//! From a declaration to a model, or to every mistake in it.

use std::collections::HashSet;
use std::mem::discriminant;
use std::path::Path;

use crate::config::{Config, DeviceDeclaration, DeviceKind};
use crate::diagnostic::{Diagnostic, KeyMistake, MAX_BLOCKS, MAX_NAME, MAX_NETWORKS, WATCHDOG_SECONDS};
use crate::folder::{self, Limits};
use crate::key::{KeyDeclaration, KeyKind};
use crate::model::{Attached, Device, Key, Model, blocks, library_keys, networks};

/// What every image needs besides its embedded content, MiB.
const LEAST_MEMORY_MIB: u64 = 4;

/// Checks `config` for a package of this name and version whose files are in `package_dir`.
pub(crate) fn check(config: &Config, name: &str, version: &str, package_dir: &Path) -> Result<Model, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let name = config.name.as_deref().unwrap_or(name);
    if !is_file_name(name) {
        mistakes.push(Diagnostic::BadName(name.to_owned()));
    }
    if !config.xen && !config.unix {
        mistakes.push(Diagnostic::NoTarget);
    }
    let devices = devices(config, package_dir, &mut mistakes);
    let (network_count, block_count) = (networks(&devices).count(), blocks(&devices).count());
    if network_count > MAX_NETWORKS {
        mistakes.push(Diagnostic::TooManyNetworks(network_count));
    }
    if block_count > MAX_BLOCKS {
        mistakes.push(Diagnostic::TooManyBlocks(block_count));
    }
    let library = library_keys(&devices);
    let mut keys = application_keys(&config.keys, &library, &mut mistakes);
    keys.extend(library);
    check_memory(config.memory_mib, &devices, &mut mistakes);
    if let Some(seconds) = config.watchdog.filter(|seconds| !WATCHDOG_SECONDS.contains(seconds)) {
        mistakes.push(Diagnostic::Watchdog(seconds));
    }
    if let Some(most) = config.memory_max_mib.filter(|&most| most < config.memory_mib) {
        mistakes.push(Diagnostic::MemoryMaximum { declared: config.memory_mib, most });
    }
    if mistakes.is_empty() {
        Ok(Model {
            name: name.to_owned(),
            version: version.to_owned(),
            memory_mib: config.memory_mib,
            memory_max_mib: config.memory_max_mib,
            watchdog: config.watchdog,
            random: config.random,
            devices,
            keys,
        })
    } else {
        Err(mistakes)
    }
}

fn devices(config: &Config, package_dir: &Path, mistakes: &mut Vec<Diagnostic>) -> Vec<Device> {
    let mut seen = HashSet::new();
    let mut devices = Vec::new();
    for device in &config.devices {
        let name = device.name.clone();
        if !is_field(&name) {
            mistakes.push(Diagnostic::BadDeviceName(name.clone()));
        } else if !seen.insert(&device.name) {
            mistakes.push(Diagnostic::DuplicateDevice(name.clone()));
        }
        match &device.kind {
            DeviceKind::Network(features) => {
                let index = networks(&devices).count();
                devices.push(Device::Network(attached(config, device, index), *features));
            }
            DeviceKind::Block => {
                let index = blocks(&devices).count();
                devices.push(Device::Block(attached(config, device, index)));
            }
            DeviceKind::Console => devices.push(Device::Console { name }),
            DeviceKind::FirstConsole => {
                if devices.iter().any(|device| matches!(device, Device::FirstConsole { .. })) {
                    mistakes.push(Diagnostic::SecondFirstConsole(name.clone()));
                }
                devices.push(Device::FirstConsole { name });
            }
            DeviceKind::Hotplug => {
                if devices.iter().any(|device| matches!(device, Device::Hotplug { .. })) {
                    mistakes.push(Diagnostic::SecondHotplug(name.clone()));
                }
                devices.push(Device::Hotplug { name });
            }
            DeviceKind::Folder(path) => match folder::read(&name, &package_dir.join(path), Limits::DEFAULT) {
                Ok(folder) => devices.push(Device::Folder { name, folder }),
                Err(found) => mistakes.extend(found),
            },
        }
    }
    devices
}

/// The `index`th device of its kind.
fn attached(config: &Config, device: &DeviceDeclaration, index: usize) -> Attached {
    let name = device.name.clone();
    // With one of a kind there is nothing to tell apart.
    let is_alike = |other: &&DeviceDeclaration| discriminant(&other.kind) == discriminant(&device.kind);
    let alone = config.devices.iter().filter(is_alike).count() == 1;
    let key_prefix = if alone { String::new() } else { format!("{}-", name.replace('_', "-")) };
    // Beyond the most that is allowed, the number does not matter.
    Attached { name, index: u16::try_from(index).unwrap_or(u16::MAX), key_prefix }
}

fn application_keys(declared: &[KeyDeclaration], library: &[Key], mistakes: &mut Vec<Diagnostic>) -> Vec<Key> {
    let mut seen = HashSet::new();
    for key in declared {
        let mut found = Vec::new();
        if !is_key_name(&key.name) {
            found.push(KeyMistake::Name);
        } else if key.name == "help" || library.iter().any(|library| library.name == key.name) {
            found.push(KeyMistake::Library);
        } else if !seen.insert(&key.name) {
            found.push(KeyMistake::Duplicate);
        }
        found.extend(value_mistakes(key));
        mistakes.extend(found.into_iter().map(|mistake| Diagnostic::Key { name: key.name.clone(), mistake }));
    }
    declared
        .iter()
        .map(|key| Key {
            name: key.name.clone(),
            kind: key.kind,
            field_type: Some(key.field_type),
            default: key.default.clone().or_else(|| {
                let flag = key.kind == KeyKind::Flag && !key.optional;
                flag.then(|| "false".to_owned())
            }),
            required: key.default.is_none() && !key.optional && key.kind != KeyKind::Flag,
            doc: key.doc.clone(),
        })
        .collect()
}

fn value_mistakes(key: &KeyDeclaration) -> Vec<KeyMistake> {
    let mut found = Vec::new();
    if let Some(value) = &key.default {
        if key.optional {
            found.push(KeyMistake::OptionalWithDefault);
        }
        if !key.kind.accepts(value) {
            found.push(KeyMistake::Default { kind: key.kind, value: value.clone() });
        }
    }
    let default = key.default.as_deref().unwrap_or("");
    if key.doc.chars().chain(default.chars()).any(char::is_control) {
        found.push(KeyMistake::ControlCharacter);
    }
    found
}

fn check_memory(declared: u32, devices: &[Device], mistakes: &mut Vec<Diagnostic>) {
    let embedded: u64 = devices
        .iter()
        .map(|device| match device {
            Device::Folder { folder, .. } => folder.size,
            _ => 0,
        })
        .sum();
    let least = LEAST_MEMORY_MIB + embedded.div_ceil(1024 * 1024);
    if u64::from(declared) < least {
        mistakes.push(Diagnostic::MemoryTooSmall { declared, least });
    }
}

/// `a-b_c`, as cargo's package and binary names are.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) && !name.starts_with('-')
}

/// `a_b`: a field of `Devices`.
fn is_field(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !KEYWORDS.contains(&name)
}

/// `a-b`: a word of a command line that becomes the field `a_b` of `Keys`.
fn is_key_name(name: &str) -> bool {
    !name.contains('_') && !name.contains("--") && !name.ends_with('-') && is_field(&name.replace('-', "_"))
}

/// Rust's keywords, strict and reserved, of every edition up to 2024, that consist of lower case letters.
const KEYWORDS: [&str; 52] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield", "union",
];
