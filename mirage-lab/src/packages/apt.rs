//! Fetching: the host's apt with folders of our own.
//!
//! The host's sources, keys and settings are read; its lists, its status and its caches are neither read nor written. An
//! empty status makes apt name everything that is needed, whatever the host has installed.

use super::PackageSet;
use crate::cache::{Cache, CacheLock, key};
use crate::error::SetupError;
use crate::process::{output, require, tail, tethered};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The archives of a set, from the cache or from Debian.
pub(crate) fn fetch(cache: &Cache, lock: &CacheLock, set: &PackageSet) -> Result<Vec<PathBuf>, SetupError> {
    let parts = set.wanted.iter().chain(set.prefixes).map(|part| part.as_bytes());
    let folder = cache.publish(lock, &format!("packages-{}-{}", set.name, key(parts)), |folder| {
        require("apt-get", "the lab takes Xen and Linux from Debian's packages")?;
        require("dpkg-deb", "the lab unpacks Debian's packages with it")?;
        let settings = prepare(cache)?;
        eprintln!("mirage-lab: fetching the packages of {} (once)", set.name);
        let warnings = update(&settings)?;
        let packages = resolve(&settings, set, &warnings)?;
        download(&settings, folder, &packages)
    })?;
    let mut archives = Vec::new();
    for entry in fs::read_dir(&folder).map_err(SetupError::file(&folder))? {
        let path = entry.map_err(SetupError::file(&folder))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            archives.push(path);
        }
    }
    archives.sort();
    Ok(archives)
}

/// Makes apt's folders and the settings that lead it there.
fn prepare(cache: &Cache) -> Result<PathBuf, SetupError> {
    let root = cache.path("apt");
    for folder in ["state/lists/partial", "cache/archives/partial", "log"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).map_err(SetupError::file(&folder))?;
    }
    let status = root.join("status");
    fs::write(&status, "").map_err(SetupError::file(&status))?;
    let settings = root.join("apt.conf");
    fs::write(&settings, settings_text(&root)).map_err(SetupError::file(&settings))?;
    Ok(settings)
}

/// The host's hooks are cleared: they would act on the host's own caches.
fn settings_text(root: &Path) -> String {
    let root = root.display();
    format!(
        "#clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear Dir::Cache::pkgcache;\n\
         #clear Dir::Cache::srcpkgcache;\n\
         Dir::State \"{root}/state\";\n\
         Dir::State::status \"{root}/status\";\n\
         Dir::Cache \"{root}/cache\";\n\
         Dir::Log \"{root}/log\";\n\
         APT::Sandbox::User \"\";\n\
         APT::Architecture \"amd64\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
         Acquire::Retries \"3\";\n"
    )
}

fn apt(settings: &Path) -> Command {
    let mut command = tethered("apt-get");
    command.arg("-q").arg("-c").arg(settings).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Fetches the lists. One of the host's sources that can't be reached need not matter: what apt said is kept for later.
fn update(settings: &Path) -> Result<String, SetupError> {
    let updated = apt(settings).arg("update").stdin(Stdio::null()).output();
    let updated =
        updated.map_err(|error| SetupError::Tool { doing: "apt-get update".into(), said: error.to_string() })?;
    Ok(tail(&updated.stderr, 1000))
}

/// The packages to fetch, with their versions (`name=version`).
fn resolve(settings: &Path, set: &PackageSet, warnings: &str) -> Result<Vec<String>, SetupError> {
    let mut command = apt(settings);
    command.args(["install", "--no-install-recommends", "--simulate", "--yes"]).args(set.wanted);
    let simulated = output(&mut command, || "apt-get install --simulate".into());
    match simulated {
        Ok(text) => Ok(parse_simulation(&String::from_utf8_lossy(&text), set)),
        Err(error) => Err(not_offered(set, &format!("{error} {warnings}"))),
    }
}

/// In one line: it is what a skipped test says.
fn not_offered(set: &PackageSet, said: &str) -> SetupError {
    const UNKNOWN: &str = "Unable to locate package ";
    let unknown: Vec<&str> =
        said.lines().filter_map(|line| line.split_once(UNKNOWN)).map(|(_, name)| name.trim()).collect();
    let rest: Vec<&str> =
        said.lines().map(str::trim).filter(|line| !line.contains(UNKNOWN) && !line.is_empty()).collect();
    let said = match rest.is_empty() {
        true => "unknown packages".to_owned(),
        false => rest.join("; "),
    };
    let wanted = if unknown.is_empty() { set.wanted.join(" ") } else { unknown.join(" ") };
    SetupError::NotOffered { wanted, said }
}

/// Reads lines like `Inst libc6 (2.36-9 Debian:12.5/stable [amd64])`.
fn parse_simulation(text: &str, set: &PackageSet) -> Vec<String> {
    let mut packages = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("Inst"), Some(name), Some(version)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if set.keeps(name) {
            packages.push(format!("{name}={}", version.trim_start_matches('(')));
        }
    }
    packages
}

fn download(settings: &Path, folder: &Path, packages: &[String]) -> Result<(), SetupError> {
    let mut command = apt(settings);
    command.arg("download").args(packages).current_dir(folder);
    output(&mut command, || "apt-get download".into()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{not_offered, parse_simulation, settings_text};
    use crate::packages::DOM0;
    use std::path::Path;

    #[test]
    fn a_simulation_gives_names_with_versions() {
        let text = "NOTE: This is only a simulation!\nReading package lists...\n\
            Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []\n\
            Inst perl-base (5.36.0-7 Debian:12.15/oldstable [amd64])\n\
            Inst libacl1 (1:2.3-1 Debian:12.15/oldstable [amd64])\n\
            Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])\n";
        assert_eq!(parse_simulation(text, &DOM0), ["libc6=2.36-9+deb12u14", "libacl1=1:2.3-1"]);
    }

    #[test]
    fn what_apt_does_not_know_is_said_in_one_line() {
        let said = "apt-get failed: E: Unable to locate package xen-system-amd64\nE: Unable to locate package bash\n W: no network\n";
        let text = not_offered(&DOM0, said).to_string();
        assert!(text.starts_with("apt offers no xen-system-amd64 bash: "), "{text}");
        assert!(text.ends_with("apt said: W: no network"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn the_settings_lead_apt_away_from_the_host() {
        let text = settings_text(Path::new("/home/a b/c"));
        assert!(text.contains("Dir::State \"/home/a b/c/state\";"));
        assert!(text.contains("Dir::Cache \"/home/a b/c/cache\";"));
    }
}
