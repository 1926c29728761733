//! Content types of web files.

/// The media type for the file name or path `name`, by its extension, without regard to case.
///
/// A fixed table: Nova's comes from Python and the host's `mime.types` and so differs between hosts.
/// Browsers run a module script only with a JavaScript type, and we send `nosniff`.
#[must_use]
pub fn media_type(name: &[u8]) -> &'static str {
    let file_name = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let extension = match file_name.iter().rposition(|&byte| byte == b'.') {
        Some(dot) => file_name[dot + 1..].to_ascii_lowercase(),
        None => Vec::new(),
    };
    match extension.as_slice() {
        b"html" | b"htm" => "text/html; charset=utf-8",
        b"js" | b"mjs" => "text/javascript; charset=utf-8",
        b"css" => "text/css; charset=utf-8",
        b"txt" | b"md" => "text/plain; charset=utf-8",
        b"json" | b"map" => "application/json",
        b"webmanifest" => "application/manifest+json",
        b"wasm" => "application/wasm",
        b"svg" => "image/svg+xml",
        b"png" => "image/png",
        b"ico" => "image/vnd.microsoft.icon",
        b"jpg" | b"jpeg" => "image/jpeg",
        b"gif" => "image/gif",
        b"webp" => "image/webp",
        b"woff" => "font/woff",
        b"woff2" => "font/woff2",
        b"ttf" => "font/ttf",
        b"oga" | b"ogg" => "audio/ogg",
        b"mp3" => "audio/mpeg",
        b"wav" => "audio/wav",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extension_of_the_file_name_decides() {
        for (name, expected) in [
            ("vnc_lite.html", "text/html; charset=utf-8"),
            ("app/ui.JS", "text/javascript; charset=utf-8"),
            ("core/rfb.mjs", "text/javascript; charset=utf-8"),
            ("app/images/icons/novnc-icon.svg", "image/svg+xml"),
            ("jquery.min.js", "text/javascript; charset=utf-8"),
            ("rfb.js.gz", "application/octet-stream"),
            ("app.js/LICENSE", "application/octet-stream"),
            ("js", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
    }
}
