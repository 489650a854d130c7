//! What `#[mirage_rt::main]` stands on.

use std::iter::Peekable;

use proc_macro::token_stream::IntoIter;
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// What is wrong, and where.
pub(crate) struct Mistake {
    pub(crate) span: Span,
    pub(crate) text: &'static str,
}

type Tokens = Peekable<IntoIter>;

const NO_ARGUMENTS: &str = "#[mirage_rt::main] takes no arguments: what the program needs is declared in build.rs";
const NOT_A_FUNCTION: &str = "#[mirage_rt::main] marks a function: \
    `async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result`";
const NOT_ASYNC: &str = "the main function must be async: \
    `async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result`";
const QUALIFIED: &str = "the main function can not be const, unsafe or extern: \
    `async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result`";
const GENERIC: &str = "the main function can not be generic: nobody could choose its parameters";
const ARGUMENTS: &str = "the main function has two arguments, the devices and the keys: \
    `async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result`";
const NO_RESULT: &str = "the main function must return mirage_rt::Result, which says how the program ends: \
    `async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result`";
const NO_BODY: &str = "the main function needs a body";

/// The function's name, if `item` is a function that can be the main one.
pub(crate) fn check(attribute: TokenStream, item: TokenStream) -> Result<Ident, Mistake> {
    if let Some(token) = attribute.into_iter().next() {
        return Err(Mistake { span: token.span(), text: NO_ARGUMENTS });
    }
    let mut tokens = item.into_iter().peekable();
    skip_attributes(&mut tokens);
    skip_visibility(&mut tokens);
    let name = function_name(&mut tokens)?;
    if let Some(token) = tokens.peek()
        && is_punct(token, '<')
    {
        return Err(Mistake { span: token.span(), text: GENERIC });
    }
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            if count_arguments(&group) != 2 {
                return Err(Mistake { span: group.span(), text: ARGUMENTS });
            }
        }
        _ => return Err(Mistake { span: name.span(), text: NOT_A_FUNCTION }),
    }
    check_result(&mut tokens, &name)?;
    Ok(name)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn skip_attributes(tokens: &mut Tokens) {
    while tokens.next_if(|token| is_punct(token, '#')).is_some() {
        tokens.next();
    }
}

/// `pub` and what may follow in parentheses.
fn skip_visibility(tokens: &mut Tokens) {
    let is_pub = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "pub");
    if tokens.next_if(is_pub).is_some() {
        tokens.next_if(|token| matches!(token, TokenTree::Group(_)));
    }
}

/// Reads up to the name in `async fn name`.
fn function_name(tokens: &mut Tokens) -> Result<Ident, Mistake> {
    let mut is_async = false;
    let mut qualifier = None;
    loop {
        let token = tokens.next().ok_or(Mistake { span: Span::call_site(), text: NOT_A_FUNCTION })?;
        let span = token.span();
        match token.to_string().as_str() {
            "async" => is_async = true,
            "const" | "unsafe" | "extern" | "safe" => qualifier = Some(span),
            "fn" if !is_async => return Err(Mistake { span, text: NOT_ASYNC }),
            "fn" => break,
            // The name of an ABI.
            text if qualifier.is_some() && text.starts_with('"') => {}
            _ => return Err(Mistake { span, text: NOT_A_FUNCTION }),
        }
    }
    if let Some(span) = qualifier {
        return Err(Mistake { span, text: QUALIFIED });
    }
    match tokens.next() {
        Some(TokenTree::Ident(name)) => Ok(name),
        other => Err(Mistake { span: other.map_or_else(Span::call_site, |token| token.span()), text: NOT_A_FUNCTION }),
    }
}

/// Arguments are separated by commas that are not within the angle brackets of a type.
fn count_arguments(group: &Group) -> usize {
    let mut count = 0;
    let mut depth = 0_usize;
    let mut in_argument = false;
    let mut after_dash = false;
    for token in group.stream() {
        let dash = after_dash;
        after_dash = is_punct(&token, '-');
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' && depth == 0 => {
                in_argument = false;
                continue;
            }
            TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
            TokenTree::Punct(punct) if punct.as_char() == '>' && !dash => depth = depth.saturating_sub(1),
            _ => {}
        }
        if !in_argument {
            in_argument = true;
            count += 1;
        }
    }
    count
}

/// `-> Type {body}`; the type itself is checked where the glue uses it.
fn check_result(tokens: &mut Tokens, name: &Ident) -> Result<(), Mistake> {
    let arrow = tokens.next_if(|token| is_punct(token, '-'));
    if arrow.is_none() {
        return Err(Mistake { span: name.span(), text: NO_RESULT });
    }
    let mut last = None;
    for token in tokens {
        if matches!(&token, TokenTree::Ident(word) if word.to_string() == "where") {
            return Err(Mistake { span: token.span(), text: GENERIC });
        }
        last = Some(token);
    }
    match last {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => Ok(()),
        _ => Err(Mistake { span: name.span(), text: NO_BODY }),
    }
}
