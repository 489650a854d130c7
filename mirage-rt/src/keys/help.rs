//! The table that `--help` prints.

use core::fmt;

use super::KeySpec;

/// Displays every key with its type, default and doc.
pub struct Help<'a> {
    /// The program's name.
    pub program: &'a str,
    /// Its keys.
    pub keys: &'a [KeySpec],
}

impl fmt::Display for Help<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: boot keys, as arguments or on the kernel command line", self.program)?;
        for key in self.keys {
            write!(f, "  --{} {}", key.name, key.kind.placeholder())?;
            match (key.default, key.required) {
                (Some(default), _) => writeln!(f, "  [default: {default}]")?,
                (None, true) => writeln!(f, "  [required]")?,
                (None, false) => writeln!(f, "  [optional]")?,
            }
            writeln!(f, "        {}", key.doc)?;
        }
        writeln!(f, "  --help")?;
        writeln!(f, "        Print this table and stop.")
    }
}
