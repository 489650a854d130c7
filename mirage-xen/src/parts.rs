//! Lists of names in one text: a list of references would be 16 bytes more for each name, in every image.

/// Part `index` of `text`, cut at each `separator`, which is ASCII; nothing behind the last part.
#[inline(never)]
pub(crate) fn part(text: &'static str, separator: u8, index: usize) -> &'static str {
    let part = text.as_bytes().split(|&byte| byte == separator).nth(index).unwrap_or_default();
    // What is cut at ASCII characters stays text.
    core::str::from_utf8(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn parts_are_numbered() {
        let text = "one,two,,four";
        assert_eq!([0, 1, 2, 3, 4].map(|index| part(text, b',', index)), ["one", "two", "", "four", ""]);
    }
}
