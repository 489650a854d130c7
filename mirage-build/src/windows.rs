//! The version resource of a hosted program for Windows.
//!
//! Unproven: the project has no Windows machine to build or to run it on, and mirage-unix supports Linux only so far. What
//! is tested is the resource's text.

/// The resource script for a program of this name and version.
pub(crate) fn version_resource(name: &str, version: &str) -> String {
    let [major, minor, patch] = numbers(version);
    let text = version.replace(|c: char| c == '"' || c == '\\' || c.is_control(), "");
    format!(
        r#"#pragma code_page(65001)
1 VERSIONINFO
FILEVERSION {major},{minor},{patch},0
PRODUCTVERSION {major},{minor},{patch},0
FILETYPE 0x1
BEGIN
    BLOCK "StringFileInfo"
    BEGIN
        BLOCK "040904b0"
        BEGIN
            VALUE "ProductName", "{name}"
            VALUE "ProductVersion", "{text}"
            VALUE "FileVersion", "{text}"
            VALUE "OriginalFilename", "{name}.exe"
        END
    END
    BLOCK "VarFileInfo"
    BEGIN
        VALUE "Translation", 0x409, 1200
    END
END
"#
    )
}

/// The three numbers of a version, as the 16 bits that the format has for each; 0 for what does not fit.
fn numbers(version: &str) -> [u16; 3] {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        for (version, expected) in [
            ("1.2.3", [1, 2, 3]),
            ("0.1.0-alpha.7+build.9", [0, 1, 0]),
            ("65535.65536.0", [65535, 0, 0]),
            ("7", [7, 0, 0]),
            ("", [0, 0, 0]),
        ] {
            assert_eq!(numbers(version), expected, "{version}");
        }
    }
}
