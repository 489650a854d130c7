//! The attributes of mirage-rt, which re-exports them.

use proc_macro::TokenStream;

/// Marks the function that the platform runs.
#[proc_macro_attribute]
pub fn main(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}
