//! The head of a message, and how its body is framed.

use std::str;

use bytes::Bytes;

/// The head of a request or an answer, as it crossed the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// HTTP version times ten: 10, 11 or 20.
    pub version: u8,
    /// Method of a request; empty in an answer.
    pub method: String,
    /// Target of a request, as sent; empty in an answer.
    pub target: String,
    /// Status of an answer; 0 in a request.
    pub status: u16,
    /// Reason phrase of an answer.
    pub reason: String,
    /// Names as they were spelled, and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Every byte up to and with the blank line; empty in HTTP/2.
    pub raw: Bytes,
}

impl Head {
    /// Reads a head that ends with its blank line.
    pub(crate) fn parse(raw: Bytes) -> Self {
        let text = raw
            .strip_suffix(b"\r\n\r\n")
            .expect("a head ends with a blank line");
        let mut lines = split_lines(text);
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let headers = lines.map(parse_field).collect();
        let mut words = first.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (a, b, c) = (word(), word(), word());
        if a.starts_with("HTTP/") {
            let status = b.parse().expect("a status is a number");
            return Self {
                version: version(&a),
                status,
                reason: c,
                headers,
                raw,
                ..Self::default()
            };
        }
        Self {
            version: version(&c),
            method: a,
            target: b,
            headers,
            raw,
            ..Self::default()
        }
    }

    /// The value of the only header of this name, in any case; panics if there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(
            all.len() < 2,
            "{name} stands {} times in the head",
            all.len()
        );
        all.first().copied()
    }

    /// The values of every header of this name, in any case, in order.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named
            .map(|(_, value)| str::from_utf8(value).expect("a header of a test is text"))
            .collect()
    }

    /// How the body after this head is framed; `answers` names the method of the request that an
    /// answer is for.
    pub(crate) fn framing(&self, answers: Option<&str>) -> Framing {
        let bodiless = answers == Some("HEAD") || matches!(self.status, 100..=199 | 204 | 304);
        if bodiless {
            return Framing::Length(0);
        }
        if self
            .all("transfer-encoding")
            .iter()
            .any(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return Framing::Chunked(Chunked::Size);
        }
        match (self.header("content-length"), answers) {
            (Some(length), _) => Framing::Length(length.parse().expect("a length is a number")),
            (None, None) => Framing::Length(0),
            (None, Some(_)) => Framing::UntilClose,
        }
    }
}

fn version(text: &str) -> u8 {
    match text {
        "HTTP/1.0" => 10,
        "HTTP/1.1" => 11,
        other => panic!("{other} is no version of HTTP/1"),
    }
}

fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Splits `name: value`.
pub(crate) fn parse_field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .expect("a header line has a colon");
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    (name, line[colon + 1..].trim_ascii().to_vec())
}

/// How a body is framed, and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// Chunks, until the last one.
    Chunked(Chunked),
    /// Everything until the connection ends.
    UntilClose,
}

/// What comes next in a chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// The line with a chunk's size.
    Size,
    /// This many bytes of a chunk.
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    /// Trailers, up to a blank line.
    Trailers,
}
