use super::*;

#[test]
fn who_links_is_told_by_the_linkers_name() {
    for (linker, driver) in [
        (None, Driver::Compiler),
        (Some("cc"), Driver::Compiler),
        (Some("/usr/bin/x86_64-linux-gnu-gcc"), Driver::Compiler),
        (Some("clang-19"), Driver::Compiler),
        (Some("rust-lld"), Driver::Linker),
        (Some("/usr/bin/ld.lld"), Driver::Linker),
        (Some("lld"), Driver::Linker),
        (Some("ld.bfd"), Driver::Linker),
    ] {
        assert_eq!(Driver::of(linker), driver, "{linker:?}");
    }
}

#[test]
fn a_note_is_padded_to_four_bytes() {
    let note = note(b"abcde");
    assert_eq!(note, b"\x07\0\0\0\x05\0\0\0\x01\0\0\0Mirage\0\0abcde\0\0\0");
    assert!(data(&note).contains("LONG(0x64636261)"));
}

#[test]
fn advice_is_for_the_linkers_kinds_of_errors_only() {
    for (kind, subject, part) in [
        ("undefined-symbol", "getpid", "there is no C library"),
        ("undefined-symbol", "_mirage_main", "#[mirage_rt::main]"),
        ("missing-lib", "ssl", "-sys"),
    ] {
        let text = advice(kind, subject).expect("it is one of the linker's");
        assert!(text.contains(&format!("`{subject}`")) && text.contains(part), "{text}");
    }
    assert_eq!(advice("--nocapture", "x"), None);
}
