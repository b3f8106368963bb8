//! Fields of `multipart/form-data` (RFC 7578), as uploads of audio and pictures have them.

use memchr::memmem;

/// Longest value that is read, in bytes.
const MAX_VALUE_BYTES: usize = 256;

/// The value of the first field called `name`, if it is a short text; `body` may be cut.
#[must_use]
pub fn field<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let quoted = format!("name=\"{name}\"");
    let named = memmem::find_iter(body, quoted.as_bytes()).find(|at| {
        // Not `filename="model"`.
        at.checked_sub(1)
            .is_some_and(|before| matches!(body[before], b' ' | b';'))
    })?;
    let rest = &body[named + quoted.len()..];
    let value = &rest[memmem::find(rest, b"\r\n\r\n")? + 4..];
    let value = &value[..memmem::find(&value[..value.len().min(MAX_VALUE_BYTES)], b"\r\n")?];
    std::str::from_utf8(value)
        .ok()
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, value: Option<&str>) {
        let body = body.replace('\n', "\r\n");
        assert_eq!(field(body.as_bytes(), "model"), value, "{body}");
    }

    #[test]
    fn a_field_is_found_among_files() {
        let file =
            "--b\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\n\n\u{1}\n";
        let model = "--b\nContent-Disposition: form-data; name=\"model\"\n\nwhisper-1\n";
        check(&format!("{file}{model}--b--\n"), Some("whisper-1"));
        check(&format!("{model}{file}--b--\n"), Some("whisper-1"));
        check(&format!("{file}--b--\n"), None);
        check(
            "--b\nContent-Type: text/plain\nContent-Disposition: form-data;name=\"model\"\nX: y\n\nm\n--b--",
            Some("m"),
        );
    }

    #[test]
    fn what_is_cut_empty_or_endless_is_no_value() {
        let head = "--b\nContent-Disposition: form-data; name=\"model\"";
        check(head, None);
        check(&format!("{head}\n\nwhisp"), None);
        check(&format!("{head}\n\n\n--b--"), None);
        check(&format!("{head}\n\n{}\n", "x".repeat(300)), None);
        check("", None);
    }
}
