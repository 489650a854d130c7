//! Mistakes around the build script.

use std::fmt;
use std::path::PathBuf;

/// What is wrong with the project, the command or the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectMistake {
    /// The package does not depend on this crate.
    MissingDependency {
        /// The crate.
        name: &'static str,
        /// What to write into Cargo.toml, and where.
        remedy: &'static str,
    },
    /// The wrapper scripts in `.cargo` are of another version.
    WrapperVersion {
        /// What the scripts say.
        found: String,
        /// What fits.
        expected: &'static str,
    },
    /// Images exist for one architecture only; this target is another one.
    UnsupportedHost(String),
    /// A path that goes into generated code or link arguments is not UTF-8, or has a line break.
    UnusablePath(PathBuf),
    /// The program was not started by cargo: this variable is missing.
    NotRunByCargo(&'static str),
    /// The package's Cargo.toml can not be read.
    ReadManifest {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file could not be written.
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for ProjectMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProjectMistake::MissingDependency { name, remedy } => {
                write!(f, "the package does not depend on {name}: add {remedy} to Cargo.toml")
            }
            ProjectMistake::WrapperVersion { found, expected } => write!(
                f,
                "the scripts in .cargo that know the target x86_64-unknown-xen have version {found}, and this \
                 mirage-build needs version {expected}: copy the folder templates/hello/.cargo of the same release of \
                 Mirage over yours"
            ),
            ProjectMistake::UnsupportedHost(target) => write!(
                f,
                "`--features xen` builds an image for the target `{target}`, and images are made for x86_64 Linux \
                 only: add `--target x86_64-unknown-linux-gnu`, or use `--target x86_64-unknown-xen`"
            ),
            ProjectMistake::UnusablePath(path) => write!(
                f,
                "the path `{}` is not UTF-8 or has a line break, and it is needed in generated code: move the project \
                 to another folder",
                path.display()
            ),
            ProjectMistake::NotRunByCargo(variable) => write!(
                f,
                "the environment variable {variable} is missing: Config::emit is for build.rs, which cargo runs"
            ),
            ProjectMistake::ReadManifest { path, reason } => write!(
                f,
                "`{}` can not be read ({reason}): run the build script with cargo, from a package",
                path.display()
            ),
            ProjectMistake::Write { path, reason } => write!(
                f,
                "`{}` can not be written ({reason}): check the permissions and the space of the target folder",
                path.display()
            ),
        }
    }
}
