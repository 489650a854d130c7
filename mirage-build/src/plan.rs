//! What a build script has to write and to print, as a value.

use std::path::{Path, PathBuf};

use crate::check::check;
use crate::config::{Config, DeviceKind};
use crate::diagnostic::{Diagnostic, ProjectMistake};
use crate::glue::{self, Platform};
use crate::launch::Launch;
use crate::link::{self, Driver};
use crate::model::Model;
use crate::windows::version_resource;

/// The version of the scripts in `.cargo` that fit this crate; they give it as `cfg(mirage_wrapper)`.
const WRAPPER_VERSION: &str = "1";

/// What a build script is told by cargo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CARGO_PKG_NAME`.
    pub package_name: String,
    /// `CARGO_PKG_VERSION`.
    pub package_version: String,
    /// `CARGO_MANIFEST_DIR`.
    pub package_dir: PathBuf,
    /// The text of the package's Cargo.toml.
    pub cargo_toml: String,
    /// `OUT_DIR`.
    pub out_dir: PathBuf,
    /// `TARGET`.
    pub target: String,
    /// The feature `xen` is on.
    pub feature_xen: bool,
    /// The feature `unix` is on.
    pub feature_unix: bool,
    /// The compiler has `cfg(mirage_target)`: its target is x86_64-unknown-xen.
    pub mirage_target: bool,
    /// The value of the compiler's `cfg(mirage_wrapper)`.
    pub wrapper: Option<String>,
    /// `RUSTC_LINKER`.
    pub linker: Option<String>,
    /// `CARGO_ENCODED_RUSTFLAGS`, one flag each.
    pub rustflags: Vec<String>,
    /// `RUSTC` and `RUSTC_WRAPPER`.
    pub compilers: Vec<PathBuf>,
    /// The build script's program.
    pub program: Option<PathBuf>,
}

impl Environment {
    fn is_xen(&self) -> bool {
        self.target == "x86_64-unknown-xen" || self.mirage_target
    }

    fn is_image(&self) -> bool {
        self.is_xen() || (self.feature_xen && !self.feature_unix)
    }
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub content: Vec<u8>,
    /// Nothing in the build reads it: that it can not be written is no reason to fail.
    pub optional: bool,
}

/// What a build script has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether a bootable image is built.
    pub image: bool,
    /// Files to write, in this order.
    pub files: Vec<PlannedFile>,
    /// Lines for cargo, in this order.
    pub directives: Vec<String>,
    /// One of the files, a resource script to be compiled into the program: for Windows. Only a build on Windows does it.
    pub resource: Option<PathBuf>,
}

/// Makes the plan for `config` in `environment`. Reads the folders that the declaration names, and nothing else.
///
/// # Errors
///
/// Everything that is wrong, at once.
pub fn plan(config: &Config, environment: &Environment) -> Result<Plan, Vec<Diagnostic>> {
    let mut mistakes = check_environment(config, environment);
    let name = &environment.package_name;
    let model = match check(config, name, &environment.package_version, &environment.package_dir) {
        Ok(model) if mistakes.is_empty() => model,
        Ok(_) => return Err(mistakes),
        Err(found) => {
            mistakes.extend(found);
            return Err(mistakes);
        }
    };
    let image = environment.is_image();
    let platform = match image {
        true if environment.is_xen() => Platform::Xen,
        true => Platform::XenByFeature,
        false => Platform::Unix,
    };
    let mut plan = Plan { image, files: Vec::new(), directives: watch(config, environment), resource: None };
    plan.write(environment.out_dir.join("unikernel.rs"), glue::render(&model, platform).into_bytes());
    if image {
        plan.link(&model, environment).map_err(|mistake| vec![mistake.into()])?;
        plan.launch_files(&model, environment);
    } else if environment.target.contains("-windows-") {
        let script = environment.out_dir.join("version.rc");
        plan.write(script.clone(), version_resource(&model.name, &model.version).into_bytes());
        plan.resource = Some(script);
    }
    Ok(plan)
}

fn check_environment(config: &Config, environment: &Environment) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let image = environment.is_image();
    if image && config.unix && !config.xen {
        mistakes.push(Diagnostic::XenNotDeclared);
    }
    if !image && config.xen && !config.unix {
        mistakes.push(Diagnostic::UnixNotDeclared);
    }
    if image && !environment.is_xen() && environment.target != "x86_64-unknown-linux-gnu" {
        mistakes.push(ProjectMistake::UnsupportedHost(environment.target.clone()).into());
    }
    if environment.is_xen() && environment.wrapper.as_deref() != Some(WRAPPER_VERSION) {
        let found = environment.wrapper.clone().unwrap_or_else(|| "0".to_owned());
        mistakes.push(ProjectMistake::WrapperVersion { found, expected: WRAPPER_VERSION }.into());
    }
    for (name, remedy) in needed_crates(image, environment.is_xen()) {
        if !mentions(&environment.cargo_toml, name) {
            mistakes.push(ProjectMistake::MissingDependency { name, remedy }.into());
        }
    }
    for path in [&environment.out_dir, &environment.package_dir] {
        if usable(path).is_none() {
            mistakes.push(ProjectMistake::UnusablePath(path.clone()).into());
        }
    }
    mistakes
}

/// The crates that the glue names, with what Cargo.toml needs.
fn needed_crates(image: bool, xen: bool) -> Vec<(&'static str, &'static str)> {
    let platform = match (image, xen) {
        (true, true) => ("mirage-xen-image", "it to [target.'cfg(mirage_target)'.dependencies]"),
        (true, false) => (
            "mirage-xen-image",
            "it to [dependencies] with `optional = true`, and `xen = [\"dep:mirage-xen-image\"]` to [features],",
        ),
        (false, _) => ("mirage-unix", "it to [target.'cfg(not(mirage_target))'.dependencies]"),
    };
    vec![("mirage-rt", "it to [dependencies]"), platform]
}

/// Whether the text names the crate outside of comments. A word is enough: whether it is used well is cargo's to judge.
fn mentions(cargo_toml: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    cargo_toml
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .any(|line| line.split(|c| !is_part(c)).any(|word| word == name))
}

/// The path as text for generated code and for a line to cargo.
fn usable(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(char::is_control))
}

/// What to run the build script again for.
fn watch(config: &Config, environment: &Environment) -> Vec<String> {
    // Cargo runs a build script again when that itself has changed.
    let mut paths = vec![environment.package_dir.join("Cargo.toml")];
    paths.extend(config.devices.iter().filter_map(|device| match &device.kind {
        DeviceKind::Folder(folder) => Some(environment.package_dir.join(folder)),
        DeviceKind::Network(_)
        | DeviceKind::Block
        | DeviceKind::Console
        | DeviceKind::FirstConsole
        | DeviceKind::Hotplug => None,
    }));
    // The scripts' version is a question to the scripts.
    let is_script = |path: &&PathBuf| path.components().any(|component| component.as_os_str() == ".cargo");
    paths.extend(environment.compilers.iter().filter(is_script).cloned());
    paths.iter().filter_map(|path| usable(path)).map(|path| format!("cargo::rerun-if-changed={path}")).collect()
}

impl Plan {
    fn write(&mut self, path: PathBuf, content: Vec<u8>) {
        self.files.push(PlannedFile { path, content, optional: false });
    }

    fn link(&mut self, model: &Model, environment: &Environment) -> Result<(), ProjectMistake> {
        let script = environment.out_dir.join("mirage.ld");
        let stubs = environment.out_dir.join("stubs");
        let text =
            |path: &Path| usable(path).map(str::to_owned).ok_or_else(|| ProjectMistake::UnusablePath(path.into()));
        // Only lld is known to call it, and rustc's default linker here is lld.
        let other_linker = environment.rustflags.iter().any(|flag| flag.contains("fuse-ld") || flag.contains("-lld"));
        let advisor = environment.program.as_deref().filter(|_| !other_linker).and_then(usable);
        let driver = Driver::of(environment.linker.as_deref());
        for argument in link::arguments(driver, &text(&script)?, &text(&stubs)?, advisor) {
            self.directives.push(format!("cargo::rustc-link-arg={argument}"));
        }
        self.write(script, link::script(&model.manifest()).into_bytes());
        for archive in link::STUB_ARCHIVES {
            self.write(stubs.join(archive), link::EMPTY_ARCHIVE.to_vec());
        }
        Ok(())
    }

    fn launch_files(&mut self, model: &Model, environment: &Environment) {
        let manifest = model.manifest();
        let profile_dir = profile_dir(&environment.out_dir);
        let kernel = profile_dir.unwrap_or(&environment.out_dir).join(&model.name);
        let files = [
            (format!("{}.xl", model.name), Launch::new(&manifest, &kernel.to_string_lossy()).xl()),
            (format!("{}.xl.in", model.name), Launch::template(&manifest).xl()),
        ];
        for (name, text) in files {
            self.write(environment.out_dir.join(&name), text.clone().into_bytes());
            if let Some(dir) = profile_dir {
                self.files.push(PlannedFile { path: dir.join(&name), content: text.into_bytes(), optional: true });
            }
        }
    }
}

/// The folder of the finished binary, where OUT_DIR is `PROFILE/build/PACKAGE-HASH/out`, as cargo has it by default. Cargo
/// does not promise this: where it looks different, there are no launch files beside the binary.
fn profile_dir(out_dir: &Path) -> Option<&Path> {
    let package = out_dir.parent()?;
    let build = package.parent()?;
    (out_dir.ends_with("out") && build.ends_with("build")).then(|| build.parent()).flatten()
}
