//! The credentials that an exchange knows, and their removal from what it leaves: a provider that
//! refuses a key likes to repeat it.

mod name;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST,
    HeaderName, USER_AGENT,
};
use http::{HeaderMap, HeaderValue};
use isango_types::record::{Body, Message, MetadataValue, Record};
use isango_types::{Credential, Secret};
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::value::RawValue;

use crate::resolve::Route;
use crate::tokens;

/// Headers that most requests carry and that never hold a credential.
const PLAIN: [HeaderName; 7] = [
    HOST,
    CONNECTION,
    USER_AGENT,
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_TYPE,
    CONTENT_LENGTH,
];
/// Shorter texts are no credentials worth the name, and stand in every other body.
const SHORTEST: usize = 8;
/// The same for one of the cookies of a header, most of which are settings.
const SHORTEST_COOKIE: usize = 16;
/// What stands in the place of a credential.
pub(crate) const MARK: &str = "[secret]";
/// Longest binary body that is searched, in bytes; an error is shorter.
const MAX_BINARY_BYTES: usize = 64 << 10;

/// Credentials of one exchange.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Adds those that a request carries in its headers; `slot`: where its provider's key travels.
    pub(crate) fn and_carried(self, headers: &HeaderMap, slot: &str) -> Self {
        let mut secrets = self;
        for (name, header) in headers {
            if PLAIN.contains(name) {
                continue;
            }
            if name == COOKIE {
                secrets.add_cookies(header);
            } else if (name == AUTHORIZATION
                || name::is_secret(name.as_str())
                || name.as_str() == slot)
                && let Some(value) = last_word(header)
            {
                secrets.add(value);
                if is_basic(header) {
                    secrets.add_basic(value);
                }
            }
        }
        secrets
    }

    /// Adds the password of a value that holds one in base64 (RFC 7617).
    fn add_basic(&mut self, value: &str) {
        let decoded = STANDARD.decode(value).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((_, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) {
            self.add(password);
        }
    }

    /// Adds the values of a `cookie` header: `name=value; name=value` (RFC 6265 section 4.2.1).
    fn add_cookies(&mut self, cookies: &HeaderValue) {
        let cookies = cookies.to_str().unwrap_or("").split(';');
        let values = cookies.map(|cookie| value_of(cookie).trim().trim_matches('"'));
        values
            .filter(|value| value.len() >= SHORTEST_COOKIE)
            .for_each(|value| self.add(value));
    }

    /// Adds those of the query, as they came and decoded, and those that the configuration put in.
    pub(crate) fn and_known(mut self, path: &str, route: Option<&Route>) -> Self {
        self = self.and_of_path(path);
        if let Some(route) = route {
            self.add_configured(route);
        }
        self
    }

    /// Adds those of a query, as they came and decoded.
    pub(crate) fn and_of_path(mut self, path: &str) -> Self {
        for value in pairs(path)
            .filter(|pair| is_secret_pair(pair))
            .map(value_of)
        {
            self.add(value);
            self.add(&percent_decode_str(value).decode_utf8_lossy());
        }
        self
    }

    /// Adds those of another.
    pub(crate) fn extend(&mut self, other: &Self) {
        let others = other.0.iter();
        others.for_each(|secret| self.add(secret.expose()));
    }

    /// Adds those that the configuration puts into requests on this route.
    pub(crate) fn add_configured(&mut self, route: &Route) {
        let credential = route.target.as_ref().and_then(|t| t.credential.as_ref());
        let configured = route.provider.headers.iter().map(|(_, secret)| secret);
        configured
            .chain(credential.into_iter().flat_map(|one| one.secrets()))
            .for_each(|secret| self.add(secret.expose()));
    }

    /// Those of a credential of the operator's.
    pub(crate) fn of(credential: &Credential) -> Self {
        let mut secrets = Self::default();
        credential
            .secrets()
            .for_each(|secret| secrets.add(secret.expose()));
        secrets
    }

    /// This one.
    pub(crate) fn one(secret: &Secret) -> Self {
        let mut secrets = Self::default();
        secrets.add(secret.expose());
        secrets
    }

    /// Adds a secret, and, where it is encoded in what was `written`, all of that, too.
    pub(crate) fn add_written(&mut self, secret: &str, written: &[u8]) {
        self.add(secret);
        if memmem::find(written, secret.as_bytes()).is_none()
            && let Ok(written) = std::str::from_utf8(written)
        {
            self.add(written.trim());
            self.add(written.rsplit([' ', '\t', '=']).next().unwrap_or_default());
        }
    }

    fn add(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && self.0.iter().all(|known| known.expose() != secret) {
            self.0.push(Secret::new(secret));
        }
    }

    /// Whether one of them stands in these bytes, as it is or as providers and libraries write it.
    pub(crate) fn are_in(&self, bytes: &[u8]) -> bool {
        let written = |secret: &Secret| {
            let mut spelled = spellings(secret).into_iter();
            spelled.any(|spelling| Searched::of(&spelling).is_in(bytes))
        };
        let mut secrets = self.0.iter();
        secrets.any(|secret| Searched::new(secret).is_in(bytes) || written(secret))
    }

    /// Takes them out of a record, as they are and as providers and libraries write them.
    pub(crate) fn leave(&self, record: &mut Record) {
        if self.0.is_empty() {
            return;
        }
        Cleaner::new(self.0.iter()).leave(record);
        let written = self
            .0
            .iter()
            .filter(|secret| may_be_spelled_in(secret, record));
        let spelled: Vec<Secret> = written.flat_map(spellings).map(Secret::new).collect();
        if !spelled.is_empty() {
            Cleaner::new(spelled.iter()).leave(record);
        }
    }
}

/// What a header value ends with, behind its scheme if it has one.
fn last_word(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(last_bytes(value)).ok()
}

pub(crate) fn last_bytes(value: &HeaderValue) -> &[u8] {
    let value = value.as_bytes().trim_ascii_end();
    let begin = memchr::memrchr2(b' ', b'\t', value).map_or(0, |space| space + 1);
    &value[begin..]
}

/// Whether a header's value is a name and a password.
fn is_basic(header: &HeaderValue) -> bool {
    let scheme = header.as_bytes().get(..6);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
}

/// Whether a record is to be searched for other spellings of a credential: it has some that are
/// escaped, or its beginning stands in a body in base64. Most have none, and encoding all of them for
/// every record would cost more than the search.
fn may_be_spelled_in(secret: &Secret, record: &Record) -> bool {
    let secret = secret.expose().as_bytes();
    if !secret.iter().copied().all(is_unreserved) {
        return true;
    }
    let mut beginning = [0; 8];
    let encoded = STANDARD.encode_slice(&secret[..6.min(secret.len())], &mut beginning);
    let Some(beginning) = encoded
        .ok()
        .and_then(|_| std::str::from_utf8(&beginning).ok())
    else {
        return true;
    };
    if beginning.contains(['+', '/']) {
        return true;
    }
    let beginning = Searched::of(beginning);
    let messages = [&record.request, &record.response].into_iter();
    let mut bodies = messages.flat_map(|message| message.body.iter().chain(&message.raw));
    bodies.any(|body| beginning.is_in(body.as_str().as_bytes()))
}

/// The other ways in which a credential may be written: in base64 with either alphabet, and, where it
/// holds a character that JSON libraries escape (`\/`, .NET's `\u002B`) or URLs do, escaped.
fn spellings(secret: &Secret) -> Vec<String> {
    let secret = secret.expose();
    let mut spellings = Vec::with_capacity(2);
    // A text of which the secret is only the beginning has other characters at the end of its base64.
    let whole = secret.len() - secret.len() % 3;
    let encoded = STANDARD.encode(&secret[..secret.floor_char_boundary(whole)]);
    let url_safe = encoded.replace('+', "-").replace('/', "_");
    if url_safe != encoded {
        spellings.push(url_safe);
    }
    spellings.push(encoded);
    if secret.bytes().any(|byte| !is_unreserved(byte)) {
        spellings.push(utf8_percent_encode(secret, COMPONENT).to_string());
    }
    if secret.contains(['/', '+']) {
        let slashes = secret.replace('/', "\\/");
        spellings.extend(["\\u002B", "\\u002b"].map(|plus| secret.replace('+', plus)));
        spellings.extend(["\\u002B", "\\u002b"].map(|plus| slashes.replace('+', plus)));
        spellings.push(slashes);
    }
    spellings.retain(|spelling| spelling.len() >= SHORTEST && spelling != secret);
    spellings
}

/// What stands in a URL as it is (RFC 3986 section 2.3).
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// All that is not.
pub(crate) const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A credential, and how it is found.
struct Searched<'s> {
    secret: &'s str,
    /// Where in it stands a byte that is rare in prose and JSON; `None` of one that is so long that
    /// only a search in linear time will do.
    rare: Option<usize>,
}

/// Longest credential that is looked for by one byte of it.
const MAX_BY_BYTE: usize = 512;

impl<'s> Searched<'s> {
    /// Making a searcher costs more than the search itself in most of a record's texts.
    fn new(secret: &'s Secret) -> Self {
        Self::of(secret.expose())
    }

    fn of(secret: &'s str) -> Self {
        let bytes = secret.as_bytes();
        let rare = || {
            let last = |is_rare: fn(&u8) -> bool| bytes.iter().rposition(is_rare);
            last(u8::is_ascii_uppercase)
                .or_else(|| last(u8::is_ascii_digit))
                .unwrap_or(0)
        };
        Self {
            secret,
            rare: (bytes.len() <= MAX_BY_BYTE).then(rare),
        }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let secret = self.secret.as_bytes();
        // Most texts of a record are shorter than any credential.
        let Some(room) = text.len().checked_sub(secret.len()) else {
            return false;
        };
        let Some(rare) = self.rare else {
            return memmem::find(text, secret).is_some();
        };
        memchr::memchr_iter(secret[rare], &text[rare..=room + rare])
            .any(|at| text[at..].starts_with(secret))
    }
}

/// The credentials that are taken out of one record.
struct Cleaner<'s>(Vec<Searched<'s>>);

impl<'s> Cleaner<'s> {
    fn new(secrets: impl Iterator<Item = &'s Secret>) -> Self {
        Self(secrets.map(Searched::new).collect())
    }

    fn leave(&self, record: &mut Record) {
        for text in [
            &mut record.path,
            &mut record.event_id,
            &mut record.account,
            &mut record.gateway,
        ] {
            self.clean(text);
        }
        for text in [
            &mut record.provider,
            &mut record.model_requested,
            &mut record.model,
            &mut record.deployment,
            &mut record.finish_reason,
            &mut record.provider_id,
            &mut record.user_agent,
        ] {
            text.iter_mut().for_each(|text| self.clean(text));
        }
        if let Some(error) = &mut record.error {
            self.clean(&mut error.message);
        }
        record.notes.iter_mut().for_each(|note| self.clean(note));
        let causes = record.attempts.iter_mut().filter_map(|a| a.cause.as_mut());
        causes.for_each(|cause| self.clean(cause));
        let buckets = record.limits.iter_mut().flat_map(|one| &mut one.bucket);
        buckets.flatten().for_each(|value| self.clean(value));
        for value in record.metadata.values_mut() {
            if let MetadataValue::Text(text) = value {
                self.clean(text);
            }
        }
        if record.metadata.keys().any(|key| self.are_in(key)) {
            let entries = std::mem::take(&mut record.metadata).into_iter();
            let clean = entries.map(|(mut key, value)| {
                self.clean(&mut key);
                (key, value)
            });
            record.metadata = clean.collect();
        }
        for message in [&mut record.request, &mut record.response] {
            let Message {
                content_type,
                content_encoding,
                body,
                raw,
                ..
            } = message;
            content_type.iter_mut().for_each(|text| self.clean(text));
            content_encoding
                .iter_mut()
                .for_each(|text| self.clean(text));
            body.iter_mut()
                .chain(raw)
                .for_each(|body| self.clean_body(body));
        }
    }

    fn clean(&self, text: &mut Box<str>) {
        if let Some(clean) = self.cleaned(text) {
            *text = clean.into();
        }
    }

    fn clean_body(&self, body: &mut Body) {
        let clean = match body {
            Body::Json(raw) => self.cleaned(raw.get()).map(|clean| {
                match RawValue::from_string(clean.clone()) {
                    Ok(raw) => Body::Json(raw),
                    // It was a number.
                    Err(_no_json) => Body::Text(clean.into()),
                }
            }),
            Body::Text(text) => self.cleaned(text).map(|clean| Body::Text(clean.into())),
            Body::Base64(text) if text.len() > MAX_BINARY_BYTES => None,
            Body::Base64(text) => STANDARD.decode(&**text).ok().and_then(|bytes| {
                let is_in = self.0.iter().any(|searched| searched.is_in(&bytes));
                is_in.then(|| Body::Text(MARK.into()))
            }),
        };
        if let Some(clean) = clean {
            *body = clean;
        }
    }

    fn are_in(&self, text: &str) -> bool {
        let mut searched = self.0.iter();
        searched.any(|searched| searched.is_in(text.as_bytes()))
    }

    /// `text` without them; `None`: it holds none.
    fn cleaned(&self, text: &str) -> Option<String> {
        let mut clean: Option<String> = None;
        for searched in &self.0 {
            let text = clean.as_deref().unwrap_or(text);
            if searched.is_in(text.as_bytes()) {
                clean = Some(text.replace(searched.secret, MARK));
            }
        }
        clean
    }
}

/// A path whose query has no secret keys.
pub(crate) fn without_secret_keys(path: &str) -> Box<str> {
    let Some(query) = memchr::memchr(b'?', path.as_bytes()) else {
        return path.into();
    };
    let before = &path[..query];
    let mut kept = String::with_capacity(path.len());
    kept.push_str(before);
    let mut separator = '?';
    for pair in pairs(path).filter(|pair| !is_secret_pair(pair)) {
        kept.push(separator);
        kept.push_str(pair);
        separator = '&';
    }
    kept.into()
}

/// Whether the value under this name of a header is a credential.
pub(crate) fn is_secret_name(name: &str) -> bool {
    name::is_secret(name)
}

fn pairs(path: &str) -> impl Iterator<Item = &str> {
    let query = memchr::memchr(b'?', path.as_bytes()).map(|mark| &path[mark + 1..]);
    query.into_iter().flat_map(|query| query.split('&'))
}

/// Whether a pair of a query holds a credential.
pub(crate) fn is_secret_pair(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or("");
    tokens::is_in(pair) || name::is_secret(&percent_decode_str(name).decode_utf8_lossy())
}

fn value_of(pair: &str) -> &str {
    pair.split_once('=').map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_dropped_from_the_query_and_nothing_else() {
        for (path, kept) in [
            (
                "models/x:generate?key=abc&alt=sse",
                "models/x:generate?alt=sse",
            ),
            ("a?alt=sse&key=abc", "a?alt=sse"),
            ("a?%6bey=abc", "a"),
            (
                "a?API-KEY=1&api-version=2024-10-21",
                "a?api-version=2024-10-21",
            ),
            ("a?subscription-key=1&b", "a?b"),
            ("a?code=1&session_token=2&X-Amz-Cr%65dential=3&c=4", "a?c=4"),
            ("a?pageToken=1&max_tokens=2", "a?pageToken=1&max_tokens=2"),
            ("a?b=isg_1&c=2", "a?c=2"),
            ("a/b", "a/b"),
            ("a?b?c=1", "a?b?c=1"),
            ("a?b?key=1", "a"),
            ("a?", "a?"),
        ] {
            assert_eq!(&*without_secret_keys(path), kept);
        }
    }

    fn check(secrets: &[&str], body: Body, clean: &str) {
        let secrets: Vec<Secret> = secrets.iter().copied().map(Secret::new).collect();
        let mut body = body;
        let spelled: Vec<Secret> = secrets
            .iter()
            .flat_map(spellings)
            .map(Secret::new)
            .collect();
        Cleaner::new(secrets.iter().chain(&spelled)).clean_body(&mut body);
        assert_eq!(serde_json::to_string(&body).unwrap(), clean);
    }

    #[test]
    fn credentials_leave_bodies_of_every_kind() {
        let json = |text: &str| Body::Json(RawValue::from_string(text.into()).unwrap());
        check(
            &["sk-abcdefgh", "isg_12345678"],
            json(r#"{"a":"not sk-abcdefgh, sk-abcdefgh","b":"isg_12345678"}"#),
            r#"{"json":{"a":"not [secret], [secret]","b":"[secret]"}}"#,
        );
        check(
            &["12345678"],
            json("[12345678]"),
            r#"{"text":"[[secret]]"}"#,
        );
        check(
            &["12345678"],
            Body::Text("a12345678".into()),
            r#"{"text":"a[secret]"}"#,
        );
        let bytes = |bytes: &[u8]| Body::Base64(STANDARD.encode(bytes).into());
        check(
            &["12345678"],
            bytes(b"\xff12345678"),
            r#"{"text":"[secret]"}"#,
        );
        check(
            &["12345678"],
            bytes(b"\xff1234"),
            r#"{"base64":"/zEyMzQ="}"#,
        );
        check(&[], json("{}"), r#"{"json":{}}"#);
    }

    #[test]
    fn credentials_leave_however_they_are_written() {
        let key = "sk-Ab/cd+Ef/gh12345=";
        let json = |text: &str| format!("{{\"message\":\"no {text}.\"}}");
        for written in [
            key,
            r"sk-Ab\/cd+Ef\/gh12345=",
            r"sk-Ab/cd\u002BEf/gh12345=",
            r"sk-Ab\/cd\u002bEf\/gh12345=",
            "sk-Ab%2Fcd%2BEf%2Fgh12345%3D",
        ] {
            let body = Body::Json(RawValue::from_string(json(written)).unwrap());
            check(&[key], body, &format!("{{\"json\":{}}}", json("[secret]")));
        }
        let echo = STANDARD.encode(format!("{key} and more"));
        let secrets = [Secret::new(key)];
        let spelled: Vec<Secret> = secrets
            .iter()
            .flat_map(spellings)
            .map(Secret::new)
            .collect();
        let clean = Cleaner::new(spelled.iter()).cleaned(&echo).unwrap();
        assert!(clean.starts_with(MARK), "{clean}");
    }

    #[test]
    fn a_password_within_base64_is_one_of_them() {
        let mut headers = HeaderMap::new();
        let basic = format!("Basic {}", STANDARD.encode("user:correct-horse"));
        headers.insert(AUTHORIZATION, basic.parse().unwrap());
        let secrets = Secrets::default().and_carried(&headers, "");
        assert!(secrets.are_in(b"say correct-horse"), "{}", secrets.0.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_credential_is_found_wherever_it_stands(
            before in "[aA0 x]{0,40}", secret in "[aA0x]{8,12}|[a]{600}", after in "[aA0 x]{0,40}",
        ) {
            let secret = Secret::new(secret.as_str());
            let searched = Searched::new(&secret);
            for text in [format!("{before}{}{after}", secret.expose()), format!("{before}{after}")] {
                prop_assert_eq!(
                    searched.is_in(text.as_bytes()),
                    text.contains(secret.expose()),
                    "{} in {}", secret.expose(), text
                );
            }
        }
    }

    #[test]
    fn cookies_are_credentials_one_by_one() {
        let mut secrets = Secrets::default();
        let cookies = HeaderValue::from_static(
            "theme=darkmode1; sid=0123456789abcdef; lang ; tok=\"fedcba9876543210=\"",
        );
        secrets.add_cookies(&cookies);
        let known = ["0123456789abcdef", "fedcba9876543210="].map(Secret::new);
        assert_eq!(secrets.0, known);
    }

    #[test]
    fn short_words_are_no_credentials() {
        let mut secrets = Secrets::default();
        for word in ["k", "", "sk-test", "sk-test1", "sk-test1"] {
            secrets.add(word);
        }
        assert_eq!(secrets.0, [Secret::new("sk-test1")]);
    }
}
