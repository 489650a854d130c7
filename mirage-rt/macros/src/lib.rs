//! The attributes of mirage-rt, which re-exports them.
//!
//! They read token trees, without a parser for all of Rust: an application's first build has one crate less to wait for.

#![forbid(unsafe_code)]

mod signature;

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

use signature::Mistake;

/// Marks the function that gets the devices and the keys, and whose result is how the program ends.
///
/// ```text
/// mirage_rt::unikernel!();
///
/// #[mirage_rt::main]
/// async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
///     Ok(())
/// }
/// ```
///
/// The function is async, has these two arguments (whatever their names) and returns a `Result` whose error converts into
/// `mirage_rt::Error`. `mirage_rt::unikernel!()` stands above it in the same file. Under `cfg(test)` it is an ordinary
/// function: the test harness brings its own start.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    match signature::check(attribute, item.clone()) {
        Ok(name) => {
            let mut out = parse("#[cfg_attr(test, allow(dead_code))]");
            out.extend(item);
            // The macro's name is what the compiler prints when `unikernel!()` is missing.
            out.extend(parse("#[cfg(not(test))] __mirage_unikernel_comes_before_main!"));
            let name = TokenStream::from(TokenTree::Ident(name));
            out.extend([TokenTree::Group(Group::new(Delimiter::Parenthesis, name)), punct(';', Span::call_site())]);
            out
        }
        Err(mistake) => {
            // With the item as it was, everything else about it is still checked.
            let mut out = error(mistake);
            out.extend(item);
            out
        }
    }
}

fn parse(text: &str) -> TokenStream {
    // The texts are literals of this file.
    text.parse().unwrap_or_default()
}

fn punct(character: char, span: Span) -> TokenTree {
    let mut punct = Punct::new(character, Spacing::Alone);
    punct.set_span(span);
    TokenTree::Punct(punct)
}

/// `compile_error!("text");` where the mistake is.
fn error(mistake: Mistake) -> TokenStream {
    let mut text = Literal::string(mistake.text);
    text.set_span(mistake.span);
    let mut argument = Group::new(Delimiter::Parenthesis, TokenTree::Literal(text).into());
    argument.set_span(mistake.span);
    TokenStream::from_iter([
        TokenTree::Ident(Ident::new("compile_error", mistake.span)),
        punct('!', mistake.span),
        TokenTree::Group(argument),
        punct(';', mistake.span),
    ])
}
