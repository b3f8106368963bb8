//! What of an answer is kept, and who may be given it again.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AGE, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_TYPE, HeaderName, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use isango_store::cache::Entry;
use isango_wire::read::{Decoded, Reading};

use super::question;

/// Headers that say the same of an answer however often it is given. All others stay behind:
/// cookies, ids, counters and times are of one exchange.
const TIMELESS: [HeaderName; 6] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_DISPOSITION,
    HeaderName::from_static("openai-version"),
    HeaderName::from_static("openai-model"),
];

/// Whether an answer of this status may be kept: it is whole and final.
fn may_be_kept(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::ACCEPTED && status != StatusCode::PARTIAL_CONTENT
}

/// Why an answer must not be shared; `None`: it may be, as far as its head tells.
pub(crate) fn hindrance<B>(answer: &Response<B>) -> Option<&'static str> {
    if !may_be_kept(answer.status()) {
        return Some("its status is not one that is kept");
    }
    question::varies(answer.headers()).then_some("it varies with more than the question")
}

/// Whether an answer ends with its connection, so that its end and a break look alike (RFC 9112
/// section 8).
pub(crate) fn is_endless<B>(answer: &Response<B>) -> bool {
    let headers = answer.headers();
    answer.version() < Version::HTTP_2
        && answer.status() != StatusCode::NO_CONTENT
        && !headers.contains_key(CONTENT_LENGTH)
        && !headers.contains_key(TRANSFER_ENCODING)
}

/// What a body says of itself against being kept. `is_endless`: its end must be in it.
pub(crate) fn fault(reading: &Reading, body: &[u8], is_endless: bool) -> Option<&'static str> {
    if reading.error_code.is_some() {
        return Some("it tells of a failure");
    }
    let says_its_end = match (&reading.body, reading.is_stream) {
        (_, true) => reading.finish_reason.is_some() || body.trim_ascii().ends_with(b"[DONE]"),
        (Some(Decoded::Json(_)), false) => true,
        (Some(Decoded::Text(_) | Decoded::Bytes(_)) | None, false) => false,
    };
    (is_endless && !says_its_end).then_some("its end cannot be told from a break")
}

/// The headers that others may be given.
pub(crate) fn timeless(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(TIMELESS.len() + 8);
    for name in &TIMELESS {
        for value in headers.get_all(name) {
            kept.append(name.clone(), crate::exchange::detached(value));
        }
    }
    kept
}

/// The same as a store takes them.
pub(crate) fn to_store(headers: &HeaderMap) -> Vec<(Box<str>, Bytes)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| {
            let value = Bytes::copy_from_slice(value.as_bytes());
            (name.as_str().into(), value)
        })
        .collect()
}

/// The headers of a kept answer that is `age_s` seconds old. What a store gives back that is no
/// header is left out.
pub(crate) fn headers(entry: &Entry, age_s: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(entry.answer.headers.len() + 10);
    for (name, value) in &entry.answer.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_maybe_shared(value.clone());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers.insert(AGE, age_s.into());
    headers
}

/// Whether a client that asks with these headers can read an answer of this encoding.
///
/// `*` and a coding itself count unless their weight is 0 (RFC 9110 section 12.5.3). A client that
/// says nothing is taken for one that reads no coding, as most that say nothing do.
pub(crate) fn is_readable(encoding: Option<&HeaderValue>, asking: &HeaderMap) -> bool {
    let Some(encoding) = encoding else {
        return true;
    };
    let Ok(encoding) = encoding.to_str() else {
        return false;
    };
    let codings = encoding.split(',').map(str::trim);
    let mut coded = codings.filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    coded.all(|coding| accepts(asking, coding))
}

fn accepts(asking: &HeaderMap, coding: &str) -> bool {
    let mut by_star = false;
    let accepted = asking.get_all(ACCEPT_ENCODING).into_iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    for item in accepted.flat_map(|text| text.split(',')) {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().to_ascii_lowercase();
        let weight = weight.strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        let is_wanted = weight.is_ok_and(|weight| weight > 0.0);
        let name = name.trim();
        if name.eq_ignore_ascii_case(coding) {
            return is_wanted;
        }
        by_star |= name == "*" && is_wanted;
    }
    by_star
}

/// Whether the answer's length was announced.
pub(crate) fn has_length(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(encoding: &str, accepted: &[&'static str], expected: bool) {
        let mut asking = HeaderMap::new();
        for value in accepted {
            asking.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        let encoding = Some(encoding).filter(|encoding| !encoding.is_empty());
        let encoding = encoding.map(|encoding| encoding.parse().unwrap());
        let readable = is_readable(encoding.as_ref(), &asking);
        assert_eq!(readable, expected, "{encoding:?} {accepted:?}");
    }

    #[test]
    fn coded_answers_are_for_clients_that_say_they_read_them() {
        check("", &[], true);
        check("identity", &[], true);
        check("gzip", &[], false);
        check("gzip", &["gzip"], true);
        check("GZip", &["deflate, gzip;q=0.5"], true);
        check("gzip", &["deflate", "br"], false);
        check("gzip", &["*"], true);
        check("gzip", &["*;q=0"], false);
        check("gzip", &["*, gzip;q=0"], false);
        check("gzip", &["gzip;q=0.0, *"], false);
        check("gzip", &["gzip; Q=1"], true);
        check("gzip", &["identity"], false);
        check("gzip, br", &["gzip"], false);
        check("gzip, br", &["gzip, br"], true);
    }

    #[test]
    fn what_belongs_to_one_exchange_is_not_given_again() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-length", "7"),
            ("set-cookie", "sid=1"),
            ("x-request-id", "r"),
            ("apim-request-id", "r"),
            ("x-ratelimit-remaining-tokens", "5"),
            ("anthropic-ratelimit-requests-limit", "5"),
            ("retry-after", "5"),
            ("date", "Sun, 22 Nov 2026 17:00:00 GMT"),
            ("age", "5"),
            ("openai-processing-ms", "5"),
            ("openai-organization", "org"),
            ("cf-ray", "r"),
            ("cf-aig-cache-status", "HIT"),
            ("content-encoding", "gzip"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let kept = timeless(&headers);
        let names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "content-encoding"]);
    }

    #[test]
    fn only_whole_and_final_answers_are_kept() {
        let kept: Vec<u16> = (100..600)
            .filter(|code| may_be_kept(StatusCode::from_u16(*code).unwrap()))
            .collect();
        let expected: Vec<u16> = (200..300).filter(|c| ![202, 206].contains(c)).collect();
        assert_eq!(kept, expected);
    }
}
