//! Gateway tokens wherever a request carries them. They are taken out of every header, however they
//! are written there, and none ever reaches a provider or a record; in a path or a query, which are
//! sent on as they are, they are refused.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue};
use isango_types::key::TOKEN_PREFIX;
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::ops::Range;

use crate::error::Error;
use crate::secrets::{Secrets, last_bytes};

/// Header that carries a gateway token (data-plane section 12).
pub(crate) const GATEWAY_AUTHORIZATION: &str = "cf-aig-authorization";

/// What follows the beginning of a token that stands in a path has at least so many bytes: what is
/// shorter is a name.
const LEAST_IN_PATH: usize = 12;

/// How often what is percent-encoded may be encoded again, and a token is still found.
const MAX_ENCODINGS: usize = 4;

/// Base64 as clients write it, with or without its end.
pub(crate) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The tokens of one request.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// What is to open the gateway.
    presented: Option<Box<str>>,
    /// Where one is read there are several, and they are not the same.
    differ: bool,
    /// One stands where it cannot be taken out.
    in_path: bool,
    /// All of them, as they are and as they were written.
    pub(crate) secrets: Secrets,
}

impl Tokens {
    /// Takes every token out of `headers`, and looks for them in `path`, query included.
    ///
    /// What opens the gateway is the one in the gateway's own header, else the one in any other
    /// header but `cookie`, which browsers send by themselves.
    pub(crate) fn take(path: &str, headers: &mut HeaderMap) -> Self {
        let (mut tokens, mut elsewhere) = (Self::default(), Self::default());
        let (mut misplaced, mut misnamed) = (Vec::<HeaderName>::new(), Vec::<HeaderName>::new());
        let mut own = 0;
        for (name, value) in &*headers {
            if name == GATEWAY_AUTHORIZATION {
                let presented = bare(value);
                tokens.differ |= own > 0 && presented != tokens.presented;
                tokens.presented = tokens.presented.or(presented);
                own += 1;
            }
            if let Some(token) = of_name(name) {
                // It opens nothing: names are the same in any case, and tokens are not.
                tokens.secrets.add_written(&token, name.as_str().as_bytes());
                misnamed.push(name.clone());
            }
            let Some(token) = of_header(value) else {
                continue;
            };
            tokens.secrets.add_written(&token, value.as_bytes());
            if name == GATEWAY_AUTHORIZATION {
                continue;
            }
            misplaced.push(name.clone());
            if name != COOKIE {
                let before = elsewhere.presented.get_or_insert_with(|| token.clone());
                elsewhere.differ |= *before != token;
            }
        }
        misplaced.dedup();
        misplaced.iter().for_each(|name| take_out_of(headers, name));
        for name in &misnamed {
            headers.remove(name);
        }
        if tokens.presented.is_none() && own == 0 {
            (tokens.presented, tokens.differ) = (elsewhere.presented, elsewhere.differ);
        }
        tokens.look_at_path(path);
        tokens
    }

    fn look_at_path(&mut self, path: &str) {
        if !may_be_in(path.as_bytes()) {
            return;
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        for (parts, least) in [(path.split('/'), LEAST_IN_PATH), (query.split('&'), 1)] {
            for part in parts {
                if let Some(token) = within(part.as_bytes(), least) {
                    self.in_path = true;
                    self.secrets.add_written(&token, part.as_bytes());
                }
            }
        }
    }

    /// What is to open the gateway.
    ///
    /// # Errors
    /// [`Error::InvalidPath`]: one stands where it would be sent on. [`Error::Unauthorized`]: there
    /// are several, and nobody can say which one is meant.
    pub(crate) fn presented(&self) -> Result<Option<&str>, Error> {
        self.are_in_place()?;
        match self.differ {
            true => Err(Error::Unauthorized),
            false => Ok(self.presented.as_deref()),
        }
    }

    /// Checks that none stands where it would be sent on.
    ///
    /// # Errors
    /// [`Error::InvalidPath`].
    pub(crate) fn are_in_place(&self) -> Result<(), Error> {
        match self.in_path {
            true => Err(Error::InvalidPath(format!(
                "a gateway token stands in the path or the query; send it in the header \
                 {GATEWAY_AUTHORIZATION}"
            ))),
            false => Ok(()),
        }
    }
}

/// Takes tokens out of trailers on their way to a provider.
pub(crate) fn take_out_of_trailers(trailers: &mut HeaderMap) {
    let has_token =
        |(name, value): (&HeaderName, &HeaderValue)| of_header(value).map(|_token| name.clone());
    let names: Vec<HeaderName> = trailers.iter().filter_map(has_token).collect();
    names.iter().for_each(|name| take_out_of(trailers, name));
    let is_token = |name: &&HeaderName| of_name(name).is_some();
    let names: Vec<HeaderName> = trailers.keys().filter(is_token).cloned().collect();
    for name in &names {
        trailers.remove(name);
    }
}

/// The token in a header's name, which somebody put into the place of a value.
fn of_name(name: &HeaderName) -> Option<Box<str>> {
    let name = name.as_str().as_bytes();
    (is_unusual(name) && may_be_in(name))
        .then(|| within(name, 1))
        .flatten()
}

/// Whether a header's name has one of the bytes without which no token is in it: eight at a time,
/// which for texts so short costs half of a search.
fn is_unusual(name: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // Zero is the only byte that borrows (Warren, Hacker's Delight, section 6-1).
    let has = |word: u64, byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero & (ONES << 7) != 0
    };
    let is_in = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        has(word, b'_') | has(word, b'%')
    };
    match name.last_chunk() {
        Some(last) => is_in(last) || name.as_chunks().0.iter().any(is_in),
        None => name.iter().any(|byte| matches!(byte, b'_' | b'%')),
    }
}

/// Takes the values with a token out of those of one name.
fn take_out_of(headers: &mut HeaderMap, name: &HeaderName) {
    let values = headers.get_all(name).iter();
    let kept: Vec<HeaderValue> = values
        .filter(|value| of_header(value).is_none())
        .cloned()
        .collect();
    headers.remove(name);
    for value in kept {
        headers.append(name.clone(), value);
    }
}

/// Whether a token stands in a part of a query, as it is or percent-encoded.
pub(crate) fn is_in(part: &str) -> bool {
    within(part.as_bytes(), 1).is_some()
}

/// The token in a header's value: plain, quoted, percent-encoded, or in the name or password of
/// Basic (RFC 7617).
pub(crate) fn of_header(value: &HeaderValue) -> Option<Box<str>> {
    let bytes = value.as_bytes();
    let basic = bytes.get(..6);
    if basic.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic ")) {
        let decoded = LENIENT.decode(last_bytes(value)).ok();
        if let Some(token) = decoded.and_then(|decoded| within(&decoded, 1)) {
            return Some(token);
        }
    }
    if !may_be_in(bytes) {
        return None;
    }
    let last = last_bytes(value);
    let whole = std::str::from_utf8(last).ok();
    // Whatever a token of the configuration is made of.
    let whole = whole.filter(|last| last.starts_with(TOKEN_PREFIX) && last.len() > 4);
    whole.map(Into::into).or_else(|| within(bytes, 1))
}

/// Whether a token may stand there: few values have such a byte, and one look finds it.
fn may_be_in(bytes: &[u8]) -> bool {
    let mut at = memchr::memchr2_iter(b'_', b'%', bytes);
    at.any(|at| bytes[at] == b'%' || bytes[..at].ends_with(b"isg"))
}

/// The first token in `bytes`, as it stands there or percent-encoded, with at least so many bytes
/// behind its beginning.
fn within(bytes: &[u8], least: usize) -> Option<Box<str>> {
    let text =
        |bytes: &[u8], place: Range<usize>| std::str::from_utf8(&bytes[place]).ok().map(Into::into);
    if let Some(place) = find(bytes, least) {
        return text(bytes, place);
    }
    let mut decoded = Cow::Borrowed(bytes);
    for _ in 0..MAX_ENCODINGS {
        memchr::memchr(b'%', &decoded)?;
        decoded = Cow::Owned(percent_decode(&decoded).collect());
        if let Some(place) = find(&decoded, least) {
            return text(&decoded, place);
        }
    }
    None
}

/// Where the first token stands: not in the middle of a word.
fn find(bytes: &[u8], least: usize) -> Option<Range<usize>> {
    let prefix = TOKEN_PREFIX.as_bytes();
    memchr::memmem::find_iter(bytes, prefix).find_map(|begin| {
        let before = begin.checked_sub(1).map(|before| bytes[before]);
        let rest = &bytes[begin + prefix.len()..];
        let length = rest.iter().take_while(|byte| is_of_token(**byte)).count();
        let is_one = before.is_none_or(|before| !before.is_ascii_alphanumeric()) && length >= least;
        is_one.then(|| begin..begin + prefix.len() + length)
    })
}

/// What a token goes on with; what encloses or separates does not.
const fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'\''
                | b','
                | b';'
                | b':'
                | b'&'
                | b'@'
                | b'<'
                | b'>'
                | b'('
                | b')'
                | b'['
                | b']'
                | b'{'
                | b'}'
                | b'\\'
                | b'%'
                | b'/'
                | b'?'
                | b'#'
                | b'|'
        )
}

/// The token of the gateway's own header, with or without `Bearer `.
fn bare(value: &HeaderValue) -> Option<Box<str>> {
    let text = value.to_str().ok()?.trim();
    Some(after_bearer(text).unwrap_or(text).into())
}

/// What stands behind the scheme `Bearer`; `None`: there is another one, or none.
pub(crate) fn after_bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "isg_0123456789abcdef";

    fn header(text: &str) -> Option<Box<str>> {
        of_header(&text.parse().unwrap())
    }

    #[test]
    fn a_token_is_found_however_it_is_written() {
        let basic = |text: &str| format!("Basic {}", LENIENT.encode(text));
        for value in [
            TOKEN.to_owned(),
            format!("Bearer {TOKEN}"),
            format!("\"{TOKEN}\""),
            format!("Bearer '{TOKEN}'"),
            format!("Token token=\"{TOKEN}\""),
            format!("a=1; session={TOKEN}; b=2"),
            format!("x,{TOKEN},y"),
            format!("https://x.example/?key={TOKEN}&a"),
            TOKEN.replace('_', "%5F"),
            TOKEN.replace('i', "%69"),
            TOKEN.replace('_', "%255F"),
            TOKEN.replace('_', "%25255F"),
            format!("a=%22{TOKEN}%22"),
            basic(&format!("{TOKEN}:")),
            basic(&format!("user:{TOKEN}")),
            basic(&format!("user:{TOKEN}"))
                .trim_end_matches('=')
                .to_owned(),
            basic(&format!("{TOKEN}:x")).replace("Basic", "bAsIc"),
        ] {
            assert_eq!(header(&value).as_deref(), Some(TOKEN), "{value}");
        }
    }

    #[test]
    fn what_is_no_token_is_left_alone() {
        for value in [
            "sk-0123456789",
            "sk-proj-abcisg_0123456789",
            "isg_",
            "isg-0123456789abcdef",
            "ISG_0123456789abcdef",
            "a_b%20c_isg",
            "Basic dXNlcjpwYXNz",
            "Basic not base64",
            "%",
            "%6",
        ] {
            assert_eq!(header(value), None, "{value}");
        }
    }

    #[test]
    fn a_path_is_searched_for_tokens_and_names_are_none() {
        let check = |path: &str, is_in: bool| {
            let tokens = Tokens::take(path, &mut HeaderMap::new());
            assert_eq!(tokens.in_path, is_in, "{path}");
        };
        check("/v1/local/default/openai/models", false);
        check(
            "/v1/local/default/azure-openai/r/isg_prod/chat?x=y_z",
            false,
        );
        check("/v1/local/default/openai/isg_0123456789abcdef/x", true);
        check("/v1/local/default/openai/isg%5F0123456789abcdef/x", true);
        check("/v1/a/b/openai/x/isg%255F0123456789abcdef", true);
        check("/v1/a/b/openai/x?key=isg%25255F1", true);
        check("/v1/a/b/openai/x?key=isg_1", true);
        check("/v1/a/b/openai/x?a=1&key=x%20%69sg%5F1", true);
        check("/v1/a/b/openai/x?isg_1", true);
    }

    #[test]
    fn a_name_that_is_a_token_is_taken_out_and_opens_nothing() {
        let mut headers = HeaderMap::new();
        headers.append("x_isg_0123456789abcdef", "1".parse().unwrap());
        headers.append("x_name_of_somebodys", "2".parse().unwrap());
        let mut trailers = headers.clone();
        let tokens = Tokens::take("/", &mut headers);
        assert_eq!(tokens.presented().unwrap(), None);
        take_out_of_trailers(&mut trailers);
        for left in [headers, trailers] {
            assert_eq!(left.keys().collect::<Vec<_>>(), ["x_name_of_somebodys"]);
        }
    }

    #[test]
    fn a_byte_of_tokens_is_found_wherever_it_stands_in_a_name() {
        for length in 0..40 {
            let name = vec![b'-'; length];
            assert!(!is_unusual(&name), "{length}");
            for (at, byte) in (0..length).flat_map(|at| [(at, b'_'), (at, b'%')]) {
                let mut name = name.clone();
                name[at] = byte;
                assert!(is_unusual(&name), "{length} {at}");
            }
        }
    }

    #[test]
    fn only_the_values_with_a_token_are_taken_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer isg_a"),
            ("authorization", "Bearer sk-1"),
            ("cookie", "isg_b"),
            ("x-other", "1"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let tokens = Tokens::take("/", &mut headers);
        assert_eq!(tokens.presented().unwrap(), Some("isg_a"));
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [("authorization", &b"Bearer sk-1"[..]), ("x-other", b"1")]
        );
    }

    #[test]
    fn of_several_tokens_nobody_can_say_which_is_meant() {
        let check = |values: &[(&str, &str)], presented: Option<Option<&str>>| {
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            let tokens = Tokens::take("/", &mut headers);
            assert_eq!(tokens.presented().ok(), presented, "{values:?}");
        };
        let own = GATEWAY_AUTHORIZATION;
        check(&[], Some(None));
        check(
            &[(own, "Bearer isg_a"), (own, "isg_a")],
            Some(Some("isg_a")),
        );
        check(&[(own, "isg_a"), (own, "isg_b")], None);
        check(&[(own, "isg_a"), (own, "")], None);
        check(
            &[(own, "isg_a"), ("x-api-key", "isg_b")],
            Some(Some("isg_a")),
        );
        check(
            &[("authorization", "isg_a"), ("x-api-key", "isg_a")],
            Some(Some("isg_a")),
        );
        check(&[("authorization", "isg_a"), ("x-api-key", "isg_b")], None);
        check(&[("cookie", "a=isg_a")], Some(None));
        check(
            &[("cookie", "a=isg_a"), ("x-api-key", "isg_b")],
            Some(Some("isg_b")),
        );
    }
}
