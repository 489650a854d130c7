//! What the compiler says about functions marked as the main one.

#[test]
fn mistakes_are_explained_and_every_good_form_is_accepted() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/mistakes/*.rs");
    cases.pass("tests/accepted/*.rs");
}
