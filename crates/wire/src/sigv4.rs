//! Signs requests to AWS, and to all who take its signatures (Signature Version 4; AWS General
//! Reference, "Create a signed AWS API request"; read 2026-11-22).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, Tag, sign as hmac};
use isango_types::Timestamp;
use isango_types::credential::AwsKeys;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What is escaped in a component: all but unreserved characters (RFC 3986 section 2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Without white space at its ends, and with single spaces within.
#[must_use]
pub fn collapsed(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is signed of a request.
#[derive(Clone, Debug)]
pub struct Signed<'r> {
    /// Its method.
    pub method: &'r str,
    /// As it is sent.
    pub path: &'r str,
    /// Without its `?`.
    pub query: &'r str,
    /// By name, in lower case.
    pub headers: Vec<(String, String)>,
    /// SHA-256 of the body, in hex.
    pub payload: &'r str,
    /// Whether the path is encoded once more, as all services but S3 sign it.
    pub encodes_path: bool,
}

impl Signed<'_> {
    /// The `authorization` header of the request at `date` (`20150830T123600Z`).
    #[must_use]
    pub fn authorization(
        &self,
        keys: &AwsKeys,
        (region, service): (&str, &str),
        date: &str,
    ) -> String {
        let day = date.get(..8).unwrap_or(date);
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let request = hex(digest(&SHA256, self.canonical().as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{request}");
        let secret = format!("AWS4{}", keys.secret_access_key.expose());
        let mut key = mac(secret.as_bytes(), day);
        drop(zeroize::Zeroizing::new(secret));
        for part in [region, service, "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        let signature = hex(mac(key.as_ref(), &text).as_ref());
        let (id, names) = (&keys.access_key_id, self.names());
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, \
             Signature={signature}"
        )
    }

    /// The names of what is signed, with semicolons between.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| &**name).collect();
        names.join(";")
    }

    fn canonical(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.method, self.path(), self.query());
        for (name, value) in &self.headers {
            // Writing to a text cannot fail.
            let _written = writeln!(text, "{name}:{value}");
        }
        let _written = write!(text, "\n{}\n{}", self.names(), self.payload);
        text
    }

    /// The path, encoded once more: all services but S3 sign it so.
    fn path(&self) -> String {
        if !self.encodes_path {
            return self.path.to_owned();
        }
        let segments = self.path.split('/');
        let encoded = segments.map(|segment| utf8_percent_encode(segment, COMPONENT).to_string());
        let path = encoded.collect::<Vec<_>>().join("/");
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    }

    /// The pairs of the query, each encoded in the one way, sorted.
    fn query(&self) -> String {
        let normal = |text: &str| {
            let bytes: Vec<u8> = percent_decode_str(text).collect();
            percent_encoding::percent_encode(&bytes, COMPONENT).to_string()
        };
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<_> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (normal(name), normal(value))
            })
            .collect();
        pairs.sort_unstable();
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn mac(key: &[u8], text: &str) -> Tag {
    hmac(&Key::new(HMAC_SHA256, key), text.as_bytes())
}

/// A moment as ISO 8601 writes it without separators.
#[must_use]
pub fn basic(now: Timestamp) -> String {
    let text = now.to_string();
    let digits = text.chars().take(19).filter(|c| !matches!(c, '-' | ':'));
    digits.chain(['Z']).collect()
}

/// The SHA-256 of a body, in hex.
#[must_use]
pub fn sha256(body: &[u8]) -> String {
    hex(digest(&SHA256, body).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use isango_types::Secret;

    use super::*;

    /// The request of AWS's test suite for signatures (`aws-sig-v4-test-suite`), and of the example
    /// in its documentation.
    fn check(service: &str, signed: &Signed<'_>, signature: &str) {
        let keys = AwsKeys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
            region: None,
        };
        let date = "20150830T123600Z";
        let value = signed.authorization(&keys, ("us-east-1", service), date);
        let names = signed.names();
        assert_eq!(
            value,
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
                 SignedHeaders={names}, Signature={signature}"
            )
        );
    }

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn plain<'r>(method: &'r str, query: &'r str) -> Signed<'r> {
        let headers = [
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        Signed {
            method,
            path: "/",
            query,
            headers: headers
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            payload: EMPTY,
            encodes_path: true,
        }
    }

    #[test]
    fn signatures_are_those_of_the_vendors_test_suite() {
        check(
            "service",
            &plain("GET", ""),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        );
        check(
            "service",
            &plain("POST", ""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        check(
            "service",
            &plain("GET", "Param2=value2&Param1=value1"),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        let mut documented = plain("GET", "Action=ListUsers&Version=2010-05-08");
        documented.headers[0].1 = "iam.amazonaws.com".into();
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        documented
            .headers
            .insert(0, ("content-type".into(), kind.into()));
        check(
            "iam",
            &documented,
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        );
    }

    #[test]
    fn what_is_encoded_is_encoded_once_more() {
        let mut signed = plain("POST", "b=1%2f2&a=%C3%A9&a=&a=B");
        signed.path = "/model/eu.anthropic.claude-v1%3A0/invoke";
        assert_eq!(signed.path(), "/model/eu.anthropic.claude-v1%253A0/invoke");
        assert_eq!(signed.query(), "a=&a=%C3%A9&a=B&b=1%2F2");
        signed.path = "";
        assert_eq!(signed.path(), "/");
    }

    #[test]
    fn a_moment_is_written_without_separators() {
        let moment = Timestamp::parse("2015-08-30T12:36:00.999Z").unwrap();
        assert_eq!(basic(moment), "20150830T123600Z");
    }
}
