//! The only file that reads the process's environment, writes files or prints.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, process};

use crate::config::Config;
use crate::diagnostic::{Diagnostic, ProjectMistake};
use crate::link;
use crate::plan::{Environment, Plan, PlannedFile, plan};

/// What [`Config::emit`] does.
pub(crate) fn emit(config: &Config) {
    // The linker of an image calls this same program to have its errors explained.
    let words: Vec<String> = env::args().skip(1).collect();
    if let [kind, subject] = words.as_slice()
        && let Some(advice) = link::advice(kind, subject)
    {
        eprintln!("{advice}");
        return;
    }
    let done = environment(|name| env::var_os(name)).map_err(alone).and_then(|environment| {
        let plan = plan(config, &environment)?;
        carry_out(&plan).map_err(alone)
    });
    if let Err(mistakes) = done {
        for mistake in mistakes {
            // A file's name may hold anything; a line break would end cargo's line.
            println!("cargo::error={}", mistake.to_string().replace(char::is_control, " "));
        }
    }
}

fn alone(mistake: ProjectMistake) -> Vec<Diagnostic> {
    vec![mistake.into()]
}

/// Reads what cargo says through `lookup`.
fn environment(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Environment, ProjectMistake> {
    let path = |name| lookup(name).map(PathBuf::from).ok_or(ProjectMistake::NotRunByCargo(name));
    let text = |name: &str| lookup(name).and_then(|value| value.into_string().ok());
    let needed = |name| text(name).ok_or(ProjectMistake::NotRunByCargo(name));
    let package_dir = path("CARGO_MANIFEST_DIR")?;
    let manifest = package_dir.join("Cargo.toml");
    let cargo_toml = fs::read_to_string(&manifest)
        .map_err(|error| ProjectMistake::ReadManifest { path: manifest, reason: error.to_string() })?;
    let flags = text("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    Ok(Environment {
        package_name: needed("CARGO_PKG_NAME")?,
        package_version: needed("CARGO_PKG_VERSION")?,
        package_dir,
        cargo_toml,
        out_dir: path("OUT_DIR")?,
        target: needed("TARGET")?,
        feature_xen: lookup("CARGO_FEATURE_XEN").is_some(),
        feature_unix: lookup("CARGO_FEATURE_UNIX").is_some(),
        mirage_target: lookup("CARGO_CFG_MIRAGE_TARGET").is_some(),
        wrapper: text("CARGO_CFG_MIRAGE_WRAPPER"),
        linker: text("RUSTC_LINKER"),
        rustflags: flags.split('\u{1f}').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
        compilers: ["RUSTC", "RUSTC_WRAPPER"].into_iter().filter_map(&lookup).map(PathBuf::from).collect(),
        program: env::current_exe().ok(),
    })
}

fn carry_out(plan: &Plan) -> Result<(), ProjectMistake> {
    for file in &plan.files {
        match write(file) {
            Err(error) if !file.optional => {
                return Err(ProjectMistake::Write { path: file.path.clone(), reason: error.to_string() });
            }
            _ => {}
        }
    }
    for directive in &plan.directives {
        println!("{directive}");
    }
    #[cfg(windows)]
    if let Some(script) = &plan.resource
        && let Err(error) = embed_resource::compile(script, embed_resource::NONE).manifest_optional()
    {
        println!("cargo::warning=the program has no version resource: {error}");
    }
    Ok(())
}

/// Writes a file whole or not at all, and leaves one alone that is right already: its time stamp means something to cargo.
fn write(file: &PlannedFile) -> std::io::Result<()> {
    if fs::read(&file.path).is_ok_and(|old| old == file.content) {
        return Ok(());
    }
    if let Some(dir) = file.path.parent() {
        fs::create_dir_all(dir)?;
    }
    let temporary = temporary_beside(&file.path);
    fs::write(&temporary, &file.content)?;
    fs::rename(&temporary, &file.path).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// A name that no other build script uses at the same time.
fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cargo_says(name: &str) -> Option<OsString> {
        let value = match name {
            "CARGO_MANIFEST_DIR" => env!("CARGO_MANIFEST_DIR"),
            "CARGO_PKG_NAME" => "site",
            "CARGO_PKG_VERSION" => "1.2.3",
            "OUT_DIR" => "/t/out",
            "TARGET" => "x86_64-unknown-xen",
            "CARGO_CFG_MIRAGE_TARGET" => "",
            "CARGO_CFG_MIRAGE_WRAPPER" => "1",
            "CARGO_FEATURE_UNIX" => "1",
            "CARGO_ENCODED_RUSTFLAGS" => "-Ca=b\u{1f}-Dwarnings",
            "RUSTC" => "/p/.cargo/mirage/rustc",
            _ => return None,
        };
        Some(value.into())
    }

    #[test]
    fn what_cargo_says_is_read() {
        let environment = environment(cargo_says).expect("nothing is missing");
        assert_eq!(environment.package_name, "site");
        assert!(environment.cargo_toml.contains("name = \"mirage-build\""));
        assert!(environment.mirage_target && environment.feature_unix && !environment.feature_xen);
        assert_eq!(environment.rustflags, ["-Ca=b", "-Dwarnings"]);
        assert_eq!(environment.compilers, [Path::new("/p/.cargo/mirage/rustc")]);
        assert_eq!(environment.linker, None);
    }

    #[test]
    fn without_cargo_the_missing_variable_is_named() {
        for missing in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION", "OUT_DIR", "TARGET"] {
            let mistake = environment(|name| (name != missing).then(|| cargo_says(name)).flatten());
            assert_eq!(
                mistake.map_err(|mistake| mistake.to_string()),
                Err(format!(
                    "the environment variable {missing} is missing: Config::emit is for build.rs, which cargo runs"
                ))
            );
        }
    }

    #[test]
    fn a_package_without_cargo_toml() {
        let lookup = |name: &str| if name == "CARGO_MANIFEST_DIR" { Some("/absent".into()) } else { cargo_says(name) };
        assert_eq!(
            environment(lookup).map_err(|mistake| mistake.to_string()),
            Err("`/absent/Cargo.toml` can not be read (No such file or directory (os error 2)): run the build script \
                 with cargo, from a package"
                .into())
        );
    }

    #[test]
    fn files_are_written_whole_and_only_when_they_change() {
        let dir = env::temp_dir().join(format!("mirage-build-cargo-{}", process::id()));
        let file =
            |content: &str| PlannedFile { path: dir.join("below/file"), content: content.into(), optional: false };
        let modified = || fs::metadata(dir.join("below/file")).and_then(|metadata| metadata.modified());
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let check = || -> std::io::Result<()> {
            write(&file("one"))?;
            fs::File::options().write(true).open(dir.join("below/file"))?.set_modified(long_ago)?;
            write(&file("one"))?;
            assert_eq!(modified()?, long_ago);
            write(&file("two"))?;
            assert_eq!(fs::read_to_string(dir.join("below/file"))?, "two");
            assert_eq!(fs::read_dir(dir.join("below"))?.count(), 1, "no temporary file is left");
            Ok(())
        };
        let checked = check();
        let removed = fs::remove_dir_all(&dir);
        assert!(checked.is_ok() && removed.is_ok(), "{checked:?} {removed:?}");
    }

    #[test]
    fn a_file_that_can_not_be_written_is_named_unless_it_is_optional() {
        // Below a file there is no folder.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml/file");
        let plan = |optional| Plan {
            image: true,
            files: vec![PlannedFile { path: path.clone(), content: Vec::new(), optional }],
            directives: Vec::new(),
            resource: None,
        };
        assert_eq!(carry_out(&plan(true)), Ok(()));
        let mistake = carry_out(&plan(false)).map_err(|mistake| mistake.to_string());
        let text = mistake.expect_err("it can not be written");
        assert!(text.starts_with(&format!("`{}` can not be written (", path.display())), "{text}");
        assert!(text.ends_with("): check the permissions and the space of the target folder"), "{text}");
    }
}
