//! Keeps a bounded copy of a body while it passes, for the record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use isango_types::record::Omitted;

/// Chunks that are kept as they came; later ones are joined to save memory.
const MAX_CHUNKS: usize = 4_096;
/// How much of the end is kept once the beginning has reached its limit: usage stands there.
const TAIL_BYTES: usize = 64 << 10;

/// Memory that all bodies in flight share, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The copy of one body: its beginning up to a limit, then its end.
///
/// Chunks are shared with the relay (`Bytes`), not copied.
#[derive(Debug)]
pub(crate) struct Capture {
    budget: Arc<Budget>,
    limit: usize,
    stored: usize,
    chunks: Vec<Bytes>,
    joined: BytesMut,
    tail: BytesMut,
    times_us: Vec<u32>,
    total: u64,
    omitted: Option<Omitted>,
}

impl Capture {
    /// An empty copy that keeps at most `limit` bytes of the beginning.
    pub(crate) fn new(budget: Arc<Budget>, limit: usize) -> Self {
        Self {
            budget,
            limit,
            stored: 0,
            chunks: Vec::new(),
            joined: BytesMut::new(),
            tail: BytesMut::new(),
            times_us: Vec::new(),
            total: 0,
            omitted: None,
        }
    }

    /// Shows the copy a chunk that passed `at_us` microseconds after the request began.
    pub(crate) fn push(&mut self, chunk: &Bytes, at_us: u64) {
        self.total += chunk.len() as u64;
        if self.omitted.is_none() {
            let room = self.limit - self.stored;
            let part = chunk.slice(..chunk.len().min(room));
            if self.budget.take(part.len()) {
                self.keep(part, at_us);
                if chunk.len() <= room {
                    return;
                }
                self.omitted = Some(Omitted::TooLarge);
                self.keep_tail(&chunk[room..]);
                return;
            }
            self.omitted = Some(Omitted::MemoryLimit);
        }
        self.keep_tail(chunk);
    }

    fn keep(&mut self, part: Bytes, at_us: u64) {
        self.stored += part.len();
        if self.chunks.len() < MAX_CHUNKS {
            self.chunks.push(part);
            self.times_us.push(u32::try_from(at_us).unwrap_or(u32::MAX));
        } else {
            self.joined.extend_from_slice(&part);
        }
    }

    fn keep_tail(&mut self, part: &[u8]) {
        let part = &part[part.len().saturating_sub(TAIL_BYTES)..];
        if self.tail.len() + part.len() > 2 * TAIL_BYTES {
            let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
            // Copied down instead of advanced, so that the buffer never grows.
            self.tail.copy_within(surplus.., 0);
            self.tail.truncate(TAIL_BYTES.min(self.tail.len()));
        }
        self.tail.extend_from_slice(part);
    }

    /// All bytes that passed, kept or not.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Why not everything was kept.
    pub(crate) const fn omitted(&self) -> Option<Omitted> {
        self.omitted
    }

    /// The beginning, in the chunks it came in.
    pub(crate) fn chunks(&mut self) -> &[Bytes] {
        if !self.joined.is_empty() {
            let joined = self.joined.split().freeze();
            self.chunks.push(joined);
        }
        &self.chunks
    }

    /// The end of a body whose middle was not kept.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(TAIL_BYTES)..]
    }

    /// When each chunk of [`Capture::chunks`] passed, the first 4 096 of them.
    pub(crate) fn times_us(&self) -> &[u32] {
        &self.times_us
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.budget.give_back(self.stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(limit: usize, memory: usize, chunks: &[&[u8]]) -> Capture {
        let mut capture = Capture::new(Arc::new(Budget::new(memory)), limit);
        for (at, chunk) in chunks.iter().enumerate() {
            capture.push(&Bytes::copy_from_slice(chunk), at as u64);
        }
        capture
    }

    #[test]
    fn a_small_body_is_kept_whole_in_its_chunks() {
        let mut kept = capture(10, 100, &[b"abc", b"def"]);
        assert_eq!(kept.chunks(), [Bytes::from("abc"), Bytes::from("def")]);
        assert_eq!(
            (kept.total(), kept.omitted(), kept.tail()),
            (6, None, &b""[..])
        );
        assert_eq!(kept.times_us(), [0, 1]);
    }

    #[test]
    fn past_the_limit_the_end_is_kept() {
        let mut kept = capture(4, 100, &[b"abc", b"def", b"ghi"]);
        assert_eq!(kept.chunks().concat(), b"abcd");
        assert_eq!(kept.tail(), b"efghi");
        assert_eq!((kept.total(), kept.omitted()), (9, Some(Omitted::TooLarge)));
    }

    #[test]
    fn the_end_never_grows_beyond_its_window() {
        let mut kept = capture(0, 100, &[]);
        for round in 0..100_u8 {
            kept.push(&Bytes::from(vec![round; 10_000]), 0);
        }
        assert!(kept.tail.capacity() <= 4 * TAIL_BYTES);
        assert_eq!(kept.tail().len(), TAIL_BYTES);
        assert_eq!(*kept.tail().last().unwrap(), 99);
    }

    #[test]
    fn bodies_share_their_memory_and_give_it_back() {
        let budget = Arc::new(Budget::new(8));
        let mut first = Capture::new(Arc::clone(&budget), 100);
        let mut second = Capture::new(Arc::clone(&budget), 100);
        first.push(&Bytes::from("123456"), 0);
        second.push(&Bytes::from("abc"), 0);
        assert_eq!(second.omitted(), Some(Omitted::MemoryLimit));
        drop((first, second));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn thousands_of_chunks_are_joined() {
        let mut kept = Capture::new(Arc::new(Budget::new(1 << 20)), 1 << 20);
        for _ in 0..MAX_CHUNKS + 100 {
            kept.push(&Bytes::from_static(b"xy"), 0);
        }
        assert_eq!(kept.chunks().len(), MAX_CHUNKS + 1);
        assert_eq!(kept.chunks().concat().len(), 2 * (MAX_CHUNKS + 100));
    }
}
