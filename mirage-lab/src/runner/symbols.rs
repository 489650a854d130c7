//! Addresses in a crash report, with the functions and lines they are in.

use crate::images::elf::{self, Code};
use std::borrow::Cow;
use std::fs;
use std::path::Path;

/// At most so many addresses are told: a report has registers and two KiB of stack.
const MOST: usize = 64;

/// What a number in a report is, if it is an address of code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// An instruction.
    Here(u64),
    /// The call before this address is under way.
    Called(u64),
}

/// One line for each address of the image's code that the report has, in the order of the report: the instruction that it
/// happened at, and what the stack has of calls.
pub(super) fn describe(image: &Path, report: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let bytes = fs::read(image)?;
    let code = elf::code(&bytes);
    let loader = addr2line::Loader::new(image).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    let mut seen = Vec::new();
    for place in numbers(report).filter_map(|(register, number)| place(&code, register, number)) {
        if !seen.contains(&place) && seen.len() < MOST {
            seen.push(place);
            lines.extend(frames(&loader, place));
        }
    }
    Ok(lines)
}

/// A number on the stack is taken for a call's only if there is a call right before it: much else looks like an address.
fn place(code: &[Code<'_>], register: bool, number: u64) -> Option<Place> {
    let holds = |code: &&Code<'_>| (code.start..code.start.saturating_add(code.bytes.len() as u64)).contains(&number);
    let code = code.iter().find(holds)?;
    if register {
        return Some(Place::Here(number));
    }
    let before = code.bytes.get(..(number - code.start) as usize)?;
    let back = |distance: usize| before.len().checked_sub(distance).and_then(|at| before.get(at..));
    let direct = matches!(back(5), Some([0xe8, ..]));
    let indirect = (2..=7).any(|length| back(length).is_some_and(|bytes| indirect_call(bytes) == Some(length)));
    (direct || indirect).then_some(Place::Called(number))
}

/// The length of a call through a register or memory (FF /2), if these bytes begin with one.
fn indirect_call(bytes: &[u8]) -> Option<usize> {
    let [0xff, form, rest @ ..] = bytes else { return None };
    let (mode, register, memory) = (form >> 6, (form >> 3) & 7, form & 7);
    if register != 2 {
        return None;
    }
    let scaled = mode != 3 && memory == 4;
    let base = if scaled { rest.first()? & 7 } else { memory };
    let displacement = match mode {
        0 if base == 5 => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    Some(2 + usize::from(scaled) + displacement)
}

/// The functions around an address, the innermost first: a call that was put in the place where it was made has several.
fn frames(loader: &addr2line::Loader, place: Place) -> Vec<String> {
    // The call itself ends right before the address that it comes back to, which may be another function's already.
    let (shown, address) = match place {
        Place::Here(address) => (address, address),
        Place::Called(back) => (back, back - 1),
    };
    let mut lines = Vec::new();
    if let Ok(mut frames) = loader.find_frames(address) {
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location.filter(|location| location.file.is_some()) else { continue };
            // Line tables name the functions that were put into others; the others have their symbols.
            let name = frame.function.as_ref().and_then(|function| function.demangle().ok()).map(Cow::into_owned);
            let name = name.or_else(|| symbol(loader, address)).unwrap_or_else(|| "?".to_owned());
            let place = if lines.is_empty() { format!("{shown:#x}") } else { "  inlined by".to_owned() };
            let file = location.file.unwrap_or("?");
            lines.push(format!("{place} {} at {file}:{}", without_hash(&name), location.line.unwrap_or(0)));
        }
    }
    if lines.is_empty()
        && let Some(name) = symbol(loader, address)
    {
        lines.push(format!("{shown:#x} {}", without_hash(&name)));
    }
    lines
}

/// The name of the symbol that an address is in.
fn symbol(loader: &addr2line::Loader, address: u64) -> Option<String> {
    let symbol = loader.find_symbol(address)?;
    Some(addr2line::demangle_auto(symbol.into(), None).into_owned())
}

/// A function's name without the number that the compiler puts behind it.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.chars().all(|letter| letter.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

/// The hexadecimal numbers in a text, with `0x` or of 16 digits, and whether it says that they are the instruction pointer.
fn numbers(text: &str) -> impl Iterator<Item = (bool, u64)> {
    let mut before = "";
    text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).filter_map(move |word| {
        let register = std::mem::replace(&mut before, word) == "rip";
        let number = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None if word.len() == 16 => u64::from_str_radix(word, 16).ok(),
            None => None,
        };
        number.map(|number| (register, number))
    })
}

#[cfg(test)]
mod tests {
    use super::{Place, describe, numbers, place, without_hash};
    use crate::images::elf::Code;

    #[test]
    fn numbers_are_found_in_a_report() {
        let report = "rip=0x0000000000101234 rsp: 00000000001fff00, code 13; 0xzz abc, at 0x10_";
        assert_eq!(numbers(report).collect::<Vec<_>>(), [(true, 0x101234), (false, 0x1fff00), (false, 0x10)]);
    }

    #[test]
    fn a_call_is_told_from_a_number_that_looks_like_one() {
        // call +0; nop; call *%rax; call *8(%rip); ret
        let bytes = [0xe8, 0, 0, 0, 0, 0x90, 0xff, 0xd0, 0xff, 0x15, 8, 0, 0, 0, 0xc3];
        let code = [Code { start: 0x1000, bytes: &bytes }];
        let called: Vec<u64> =
            (0xff0..0x1020).filter(|number| matches!(place(&code, false, *number), Some(Place::Called(_)))).collect();
        assert_eq!(called, [0x1005, 0x1008, 0x100e]);
        assert!(matches!(place(&code, true, 0x1001), Some(Place::Here(0x1001))));
        assert!(place(&code, true, u64::MAX).is_none());
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
