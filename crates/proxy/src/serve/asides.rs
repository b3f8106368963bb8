//! What leaves on a connection of HTTP/1 beside the messages that hyper writes: interim answers of
//! a provider (RFC 9110 section 15.2), of which hyper's server (1.12) sends none but 100, and the
//! answer to a head that hyper refused itself.
//!
//! Nothing here may come between two pieces of a message; [`super::Watched`] sees to that.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;

use crate::headers;

/// Interim answers that a client gets for one request, and their bytes; the rest is dropped.
const MAX_INTERIM: usize = 8;
const MAX_INTERIM_BYTES: usize = 16 << 10;

/// Bytes that wait for their turn. A connection that needs none holds no memory for them.
#[derive(Debug, Default)]
pub(super) struct Asides {
    /// Whether there are any; looked at with each write.
    waiting: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: BytesMut,
    interim: Interim,
}

/// What may still come of interim answers to the request under way, and how many did not.
#[derive(Debug, Default)]
struct Interim {
    count: usize,
    bytes: usize,
    dropped: usize,
}

impl Asides {
    /// A request begins; it gets interim answers only if the answers before it have left.
    pub(super) fn begin(&self, have_left: bool) {
        self.queue.lock().interim = Interim {
            count: if have_left { MAX_INTERIM } else { 0 },
            bytes: MAX_INTERIM_BYTES,
            dropped: 0,
        };
    }

    /// An interim answer to the request under way. `100` is between two neighbors only, and `101`
    /// is final.
    pub(super) fn interim(&self, status: StatusCode, fields: &HeaderMap) {
        if matches!(status.as_u16(), 100 | 101) {
            return;
        }
        let mut fields = fields.clone();
        headers::to_client(&mut fields);
        // It says nothing here (RFC 9110 section 8.6), and may mislead.
        fields.remove(CONTENT_LENGTH);
        let reason = status.canonical_reason().unwrap_or_default();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        write_fields(&mut head, &fields);
        head.extend_from_slice(b"\r\n");
        let mut queue = self.queue.lock();
        let interim = &mut queue.interim;
        if interim.count == 0 || interim.bytes < head.len() {
            interim.dropped += 1;
            return;
        }
        interim.count -= 1;
        interim.bytes -= head.len();
        queue.bytes.extend_from_slice(&head);
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// How many interim answers to the request under way were dropped.
    pub(super) fn dropped(&self) -> usize {
        self.queue.lock().interim.dropped
    }

    /// Lets bytes leave.
    pub(super) fn push(&self, bytes: &[u8]) {
        self.queue.lock().bytes.extend_from_slice(bytes);
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// Writes what waits.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        mut io: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        if !self.waiting.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut queue = self.queue.lock();
        while !queue.bytes.is_empty() {
            let written = ready!(io.as_mut().poll_write(cx, &queue.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            queue.bytes.advance(written);
        }
        queue.bytes = BytesMut::new();
        self.waiting.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// Writes the lines of a head behind its first.
pub(super) fn write_fields(head: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    /// A socket that takes `room` bytes.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What leaves, if the socket takes `room` bytes at a time.
    fn written(asides: &Asides, room: usize) -> String {
        let mut socket = Narrow {
            taken: Vec::new(),
            room: 0,
        };
        let mut cx = Context::from_waker(Waker::noop());
        while asides
            .poll_write(&mut cx, Pin::new(&mut socket))
            .is_pending()
        {
            socket.room = room;
        }
        String::from_utf8(socket.taken).unwrap()
    }

    fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
        let fields = list.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        fields.collect()
    }

    #[test]
    fn an_interim_answer_leaves_whole_however_narrow_the_way() {
        let sent = fields(&[
            ("link", "</a>"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("cf-aig-step", "7"),
            ("x-two", "a"),
        ]);
        for room in [1, 7, 1_000] {
            let asides = Asides::default();
            asides.begin(true);
            asides.interim(StatusCode::EARLY_HINTS, &sent);
            asides.interim(StatusCode::from_u16(142).unwrap(), &fields(&[]));
            assert_eq!(
                written(&asides, room),
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-two: a\r\n\r\n\
                 HTTP/1.1 142 \r\n\r\n"
            );
            assert_eq!(written(&asides, room), "");
        }
    }

    #[test]
    fn what_is_between_two_neighbors_stays_there() {
        let asides = Asides::default();
        asides.begin(true);
        asides.interim(StatusCode::CONTINUE, &fields(&[]));
        asides.interim(StatusCode::SWITCHING_PROTOCOLS, &fields(&[]));
        assert_eq!((&*written(&asides, 99), asides.dropped()), ("", 0));
    }

    #[test]
    fn a_request_brings_a_bounded_number_of_interim_answers() {
        let asides = Asides::default();
        for (have_left, passed) in [(true, MAX_INTERIM), (false, 0), (true, MAX_INTERIM)] {
            asides.begin(have_left);
            for _ in 0..MAX_INTERIM + 3 {
                asides.interim(StatusCode::PROCESSING, &fields(&[]));
            }
            let count = written(&asides, 100).matches("HTTP/1.1 102").count();
            assert_eq!(
                (count, asides.dropped()),
                (passed, MAX_INTERIM + 3 - passed)
            );
        }
        asides.begin(true);
        let long = "x".repeat(MAX_INTERIM_BYTES / 2);
        for _ in 0..3 {
            asides.interim(StatusCode::EARLY_HINTS, &fields(&[("link", &long)]));
        }
        let count = written(&asides, 1_000).matches("HTTP/1.1 103").count();
        assert_eq!((count, asides.dropped()), (1, 2));
    }
}
