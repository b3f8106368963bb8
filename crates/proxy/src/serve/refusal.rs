//! Heads that hyper refuses itself: nothing of them becomes a request. Its answer is a bare status;
//! the gateway's own takes its place.

use memchr::memmem;

use super::asides::write_fields;
use crate::error::Error;
use crate::{Proxy, pipeline};

/// The line of hyper's answer that is written anew.
const NO_BODY: &[u8] = b"\r\ncontent-length: 0\r\n";

/// What the gateway answers instead of `bare`, with its record on the way; `None`: that is no
/// refusal that hyper (1.12, `Server::on_error`) writes.
///
/// Status line, `connection: close` and `date` stay hyper's.
pub(super) fn instead_of(bare: &[u8], proxy: &Proxy) -> Option<Vec<u8>> {
    let (error, at) = read(bare)?;
    let (fields, body) = pipeline::refuse_head(proxy, &error);
    let (before, behind) = (&bare[..at + 2], &bare[at + NO_BODY.len()..]);
    let mut answer = before.to_vec();
    answer.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    write_fields(&mut answer, &fields);
    answer.extend_from_slice(behind);
    answer.extend_from_slice(&body);
    Some(answer)
}

/// What hyper refuses, and where its [`NO_BODY`] is.
fn read(bare: &[u8]) -> Option<(Error, usize)> {
    let status = bare.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    let error = match status {
        b"400" => Error::Malformed,
        b"414" => Error::UriTooLong,
        b"431" => Error::HeadTooLarge,
        _ => return None,
    };
    let end = bare.len() - 4;
    let is_one_head = memmem::find(bare, b"\r\n\r\n") == Some(end);
    let at = memmem::find(bare, NO_BODY).filter(|_| is_one_head)?;
    Some((error, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, code: Option<u16>) {
        let read = read(bytes.as_bytes()).map(|(error, _)| error.verdict().1);
        assert_eq!(read, code, "{bytes:?}");
    }

    #[test]
    fn only_a_bare_refusal_is_taken_for_one() {
        let head = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        check(&head("400 Bad Request"), Some(3008));
        check(&head("431 Request Header Fields Too Large"), Some(3009));
        check(&head("414 URI Too Long"), Some(3017));
        check(&head("404 Not Found"), None);
        check(&head("200 OK"), None);
        check(&(head("400 Bad Request") + "x"), None);
        check(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            None,
        );
        check("HTTP/1.1 400 Bad Request\r\n\r\n", None);
        check("0\r\n\r\n", None);
        check("HTTP/1.", None);
        check("HTTP/1.1 400", None);
    }
}
