//! Addresses in a crash report, with the functions and lines they are in.

use crate::images::elf;
use std::fs;
use std::path::Path;

/// At most so many addresses are told: a report has registers and two KiB of stack.
const MOST: usize = 64;

/// One line for each address of the image's code that the report has, in the order of the report.
pub(super) fn describe(image: &Path, report: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let code = elf::code(&fs::read(image)?);
    let loader = addr2line::Loader::new(image).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    let mut seen = Vec::new();
    for address in numbers(report) {
        if !code.iter().any(|range| range.contains(&address)) || seen.contains(&address) || seen.len() == MOST {
            continue;
        }
        let described = frames(&loader, address);
        if !described.is_empty() {
            seen.push(address);
            lines.extend(described);
        }
    }
    Ok(lines)
}

/// The functions around an address, the innermost first: a call that was put in the place where it was made has several.
fn frames(loader: &addr2line::Loader, address: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(mut frames) = loader.find_frames(address) {
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location.filter(|location| location.file.is_some()) else { continue };
            let name = frame.function.as_ref().and_then(|function| function.demangle().ok());
            let name = name.as_deref().unwrap_or("?");
            let place = if lines.is_empty() { format!("{address:#x}") } else { "  inlined by".to_owned() };
            let file = location.file.unwrap_or("?");
            lines.push(format!("{place} {} at {file}:{}", without_hash(name), location.line.unwrap_or(0)));
        }
    }
    if lines.is_empty()
        && let Some(symbol) = loader.find_symbol(address)
    {
        let name = addr2line::demangle_auto(symbol.into(), None);
        lines.push(format!("{address:#x} {}", without_hash(&name)));
    }
    lines
}

/// A function's name without the number that the compiler puts behind it.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.chars().all(|letter| letter.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

/// The hexadecimal numbers in a text: with `0x`, or of 16 digits.
fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter_map(|word| match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if word.len() == 16 => u64::from_str_radix(word, 16).ok(),
        None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{describe, numbers, without_hash};

    #[test]
    fn numbers_are_found_in_a_report() {
        let report = "rip=0x0000000000101234 rsp: 00000000001fff00, code 13; 0xzz abc, at 0x10_";
        assert_eq!(numbers(report).collect::<Vec<_>>(), [0x101234, 0x1fff00, 0x10]);
    }

    #[test]
    fn the_compilers_hash_is_left_out() {
        assert_eq!(without_hash("hello::main::h0123456789abcdef"), "hello::main");
        assert_eq!(without_hash("hello::helper"), "hello::helper");
    }

    #[test]
    fn an_address_that_is_no_code_is_not_described() -> Result<(), Box<dyn std::error::Error>> {
        let own = std::env::current_exe()?;
        assert!(describe(&own, "0x1 ffffffffffffffff")?.is_empty());
        Ok(())
    }
}
