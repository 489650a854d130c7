//! Content types by file name.

/// The type of a file whose name's ending says nothing.
const UNKNOWN: &str = "application/octet-stream";

/// Endings of names, and the types of files that have them.
const TYPES: [&str; 34] = [
    "avif image/avif",
    "bmp image/bmp",
    "css text/css; charset=utf-8",
    "csv text/csv; charset=utf-8",
    "gif image/gif",
    "gz application/gzip",
    "htm text/html; charset=utf-8",
    "html text/html; charset=utf-8",
    "ico image/vnd.microsoft.icon",
    "jpeg image/jpeg",
    "jpg image/jpeg",
    "js text/javascript; charset=utf-8",
    "json application/json",
    "md text/markdown; charset=utf-8",
    "mjs text/javascript; charset=utf-8",
    "mp3 audio/mpeg",
    "mp4 video/mp4",
    "ogg audio/ogg",
    "otf font/otf",
    "pdf application/pdf",
    "png image/png",
    "svg image/svg+xml",
    "tar application/x-tar",
    "ttf font/ttf",
    "txt text/plain; charset=utf-8",
    "wasm application/wasm",
    "wav audio/wav",
    "webm video/webm",
    "webmanifest application/manifest+json",
    "webp image/webp",
    "woff font/woff",
    "woff2 font/woff2",
    "xml application/xml",
    "zip application/zip",
];

/// The content type of the file `name`, by its ending, upper or lower case.
pub fn of(name: &str) -> &'static str {
    let start = name.bytes().rposition(|byte| byte == b'/').map_or(0, |slash| slash + 1);
    // A name such as ".png" has no ending: it starts with its dot.
    match name.bytes().rposition(|byte| byte == b'.') {
        Some(dot) if dot > start => of_ending(name.get(dot + 1..).unwrap_or_default()),
        _ => UNKNOWN,
    }
}

fn of_ending(ending: &str) -> &'static str {
    // The bit makes letters small and leaves digits alone.
    let is_of = |entry: &&str| {
        let (known, ending) = (entry.as_bytes(), ending.as_bytes());
        known.get(ending.len()) == Some(&b' ') && ending.iter().zip(known).all(|(byte, known)| byte | 0x20 == *known)
    };
    TYPES.into_iter().find(is_of).and_then(|entry| entry.get(ending.len() + 1..)).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn endings_decide_without_regard_to_case() {
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("a/b.c/PHOTO.JPG"), "image/jpeg");
        assert_eq!(of("fonts/x.woff2"), "font/woff2");
        assert_eq!(of("logo.min.svg"), "image/svg+xml");
    }

    #[test]
    fn names_without_a_known_ending_are_bytes() {
        for name in ["", "README", ".png", "a.html/b", "x.", "x.unknown", "dir/.css"] {
            assert_eq!(of(name), "application/octet-stream", "{name}");
        }
    }
}
