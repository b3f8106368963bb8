//! Reads the body of a request for its record.

use std::borrow::Cow;

use bytes::Bytes;

use crate::decode::Decoder;
use crate::read::Decoded;

/// What is known of the kept bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it, and a [`Scan`](crate::scan::Scan) found it to be a JSON object.
    Json,
    /// All of it.
    Whole,
    /// Not all of it, so that JSON cannot be told from text.
    Part,
}

/// Decodes the `chunks` of a body that was sent under `content_encoding` and tells what it is. The
/// second value says why decoding ended early, if it did.
#[must_use]
pub fn read_body(
    chunks: &[Bytes],
    content_encoding: Option<&str>,
    kept: Kept,
) -> (Decoded, Option<String>) {
    let (pieces, trouble): (Vec<_>, _) = match Decoder::new(content_encoding) {
        Ok(mut decoder) => {
            let pieces = chunks.iter().map(|chunk| decoder.push(chunk)).collect();
            (pieces, decoder.trouble())
        }
        Err(unknown) => {
            let pieces = chunks.iter().map(|chunk| Cow::Borrowed(&**chunk));
            (pieces.collect(), Some(unknown))
        }
    };
    let bytes = joined(pieces);
    let body = match kept {
        Kept::Json => Decoded::known(bytes),
        Kept::Whole => Decoded::of(bytes),
        Kept::Part => Decoded::text(bytes),
    };
    (body, trouble)
}

/// The pieces as one; a single one is not copied.
pub(crate) fn joined(mut pieces: Vec<Cow<'_, [u8]>>) -> Cow<'_, [u8]> {
    match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&'static [u8]], kept: Kept, expected: &Decoded) {
        let chunks: Vec<Bytes> = chunks
            .iter()
            .map(|chunk| Bytes::from_static(chunk))
            .collect();
        assert_eq!(&read_body(&chunks, None, kept).0, expected);
    }

    #[test]
    fn json_text_and_bytes_are_told_apart() {
        check(
            &[b"{\"a\":", b"1}"],
            Kept::Whole,
            &Decoded::of(b"{\"a\":1}"[..].into()),
        );
        check(
            &[b"{\"a\":", b"1}"],
            Kept::Part,
            &Decoded::Text("{\"a\":1}".into()),
        );
        check(&[b"{\"a\":"], Kept::Whole, &Decoded::Text("{\"a\":".into()));
        check(
            &[b"\xff\xfe"],
            Kept::Whole,
            &Decoded::Bytes(vec![0xff, 0xfe]),
        );
    }

    #[test]
    fn an_unknown_encoding_is_kept_as_it_came_and_named() {
        let (body, trouble) = read_body(&[Bytes::from_static(b"\xff")], Some("rot13"), Kept::Whole);
        assert_eq!(body, Decoded::Bytes(vec![0xff]));
        assert_eq!(trouble.unwrap(), "content-encoding \"rot13\" is unknown");
    }
}
