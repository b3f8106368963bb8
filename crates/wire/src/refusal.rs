//! What a provider's refusal says about asking again.

use crate::decode::Decoder;
use crate::json::{self, Kind};

/// Whether a refusal names one of `codes`: as `code`, `type` or `status` of its `error` object, of
/// the error in a list that it is, or of itself. `body` may be the beginning of it.
#[must_use]
pub fn names_any(body: &[u8], content_encoding: Option<&str>, codes: &[Box<str>]) -> bool {
    if codes.is_empty() {
        return false;
    }
    match Decoder::new(content_encoding) {
        Ok(mut decoder) => is_named_in(&decoder.push(body), codes),
        Err(_unknown) => false,
    }
}

fn is_named_in(body: &[u8], codes: &[Box<str>]) -> bool {
    let mut is_named = false;
    if body.trim_ascii_start().starts_with(b"[") {
        json::each_element(body, |element| {
            is_named |=
                json::kind(element) == Kind::Object && is_named_in(element.get().as_bytes(), codes);
        });
        return is_named;
    }
    json::each_member(body, |name, value| match &*name {
        "error" if json::kind(value) == Kind::Object => {
            is_named |= is_named_in(value.get().as_bytes(), codes);
        }
        "code" | "type" | "status" | "error" => {
            let label = json::label(value);
            is_named |= label.is_some_and(|label| codes.contains(&label));
        }
        _ => {}
    });
    is_named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: bool) {
        let codes = ["insufficient_quota".into()];
        assert_eq!(names_any(body.as_bytes(), None, &codes), expected, "{body}");
        assert!(!names_any(body.as_bytes(), None, &[]));
    }

    #[test]
    fn a_code_is_found_where_providers_put_it() {
        check(r#"{"error":{"code":"insufficient_quota"}}"#, true);
        check(
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"x"}}"#,
            true,
        );
        check(
            r#"{"type":"error","error":{"type":"insufficient_quota"}}"#,
            true,
        );
        check(r#"[{"error":{"status":"insufficient_quota"}}]"#, true);
        check(r#"{"error":"insufficient_quota"}"#, true);
        check(r#"{"code":"insufficient_quota"}"#, true);
        check(r#"{"error":{"code":"insufficient_quota","mess"#, false);
        check(r#"{"error":{"message":"insufficient_quota"}}"#, false);
        check(r#"{"error":{"code":"rate_limit_exceeded"}}"#, false);
        check(r#"{"message":"insufficient_quota"}"#, false);
        check("insufficient_quota", false);
        check("", false);
    }

    #[test]
    fn a_compressed_refusal_is_read_too() {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(br#"{"error":{"code":"a"}}"#).unwrap();
        let body = gzip.finish().unwrap();
        assert!(names_any(&body, Some("gzip"), &["a".into()]));
        assert!(!names_any(&body, None, &["a".into()]));
        assert!(!names_any(&body, Some("lzma"), &["a".into()]));
    }
}
