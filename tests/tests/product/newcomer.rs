//! What a newcomer types first: the examples as Unix processes.

use std::process::Output;

use mirage_tests::run;

/// What hello printed and its exit status.
fn hello(words: &[&str]) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } = run(&[&["run", "--quiet", "-p", "hello", "--"], words].concat());
    let printed = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (printed, status.code())
}

#[test]
fn hello_prints_its_greeting() {
    let (printed, code) = hello(&[]);
    assert_eq!((printed.lines().count(), code), (1, Some(0)), "{printed}");
    assert_eq!(hello(&["--greeting", "Moin"]), ("Moin\n".into(), Some(0)));
    assert_eq!(hello(&["--greeting=Servus miteinander"]), ("Servus miteinander\n".into(), Some(0)));
}

#[test]
fn help_lists_every_key_with_type_default_and_doc() {
    let (printed, code) = hello(&["--help"]);
    assert_eq!(code, Some(0), "{printed}");
    for part in ["--greeting TEXT", "[default: ", "--log LEVEL", "--help"] {
        assert!(printed.contains(part), "no {part} in:\n{printed}");
    }
}

#[test]
fn wrong_words_are_explained_and_exit_with_64() {
    let cases: [(&[&str], &str); 3] = [
        (&["--greting", "x"], "unknown key --greting, did you mean --greeting?"),
        (&["--greeting"], "key --greeting has no value: write --greeting TEXT"),
        (&["moin"], "unexpected word \"moin\": keys are written --name value"),
    ];
    for (words, message) in cases {
        let (printed, code) = hello(words);
        assert!(printed.contains(message), "{words:?} printed:\n{printed}");
        assert_eq!(code, Some(64), "{words:?}");
    }
}
