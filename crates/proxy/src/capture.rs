//! Keeps a bounded copy of a body while it passes, for the record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use isango_types::record::Omitted;

/// The time of a chunk that is shown to a plain copy, which keeps none.
pub(crate) const UNTIMED: u64 = 0;
/// Chunks whose bounds and times are kept; later ones are joined.
const MAX_CHUNKS: usize = 4_096;
/// How much of the end is kept once the beginning has reached its limit: usage stands there.
const TAIL_BYTES: usize = 64 << 10;
/// How much of the end is kept where the shared memory is used up. It is not taken from that, so
/// that usage is known even then.
const LAST_BYTES: usize = 2 << 10;

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

    /// Takes so many bytes, unless there are too few.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Whether half of it is taken.
    pub(crate) fn is_half_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit / 2
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The copy of one body: its beginning up to a limit, then its end.
///
/// The bytes are copied, not shared: a shared chunk would keep the whole read buffer alive that it
/// is a part of, and make the connection allocate a new one for each read, which costs more than
/// the copy.
#[derive(Debug)]
pub(crate) struct Capture {
    budget: Arc<Budget>,
    limit: usize,
    stored: Vec<u8>,
    /// Where each chunk ends in `stored`, and when it passed.
    ends: Vec<usize>,
    times_us: Vec<u32>,
    /// Whether only the bytes of the beginning matter.
    is_plain: bool,
    /// Up to twice `tail_limit`, of which the last half counts.
    tail: Vec<u8>,
    tail_limit: usize,
    /// Bytes taken from `budget`.
    taken: usize,
    total: u64,
    omitted: Option<Omitted>,
}

impl Capture {
    /// An empty copy that keeps at most `limit` bytes of the beginning.
    pub(crate) const fn new(budget: Arc<Budget>, limit: usize) -> Self {
        Self {
            budget,
            limit,
            stored: Vec::new(),
            ends: Vec::new(),
            times_us: Vec::new(),
            is_plain: false,
            tail: Vec::new(),
            tail_limit: 0,
            taken: 0,
            total: 0,
            omitted: None,
        }
    }

    /// A copy that keeps neither an end, since nothing is read there, nor bounds and times of chunks.
    pub(crate) const fn plain(mut self) -> Self {
        self.is_plain = true;
        self
    }

    /// Says how many bytes crossed, where something else was shown.
    pub(crate) const fn came_as(&mut self, bytes: u64) {
        self.total = bytes;
    }

    /// Sets how many bytes of the beginning are kept, before any has passed.
    pub(crate) const fn keep_at_most(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Shows the copy a chunk that passed `at_us` microseconds after the request began.
    pub(crate) fn push(&mut self, chunk: &[u8], at_us: u64) {
        self.total += chunk.len() as u64;
        let mut rest = chunk;
        if self.omitted.is_none() {
            let room = self.limit - self.stored.len();
            let part = &chunk[..chunk.len().min(room)];
            self.omitted = if !self.has_memory_for(part.len()) {
                Some(Omitted::MemoryLimit)
            } else {
                self.keep(part, at_us);
                rest = &chunk[part.len()..];
                (!rest.is_empty()).then_some(Omitted::TooLarge)
            };
            if self.omitted.is_none() {
                return;
            }
            if !self.is_plain {
                let roomy = self.omitted == Some(Omitted::TooLarge) && self.take(2 * TAIL_BYTES);
                self.tail_limit = if roomy { TAIL_BYTES } else { LAST_BYTES };
            }
        }
        if !self.is_plain {
            self.keep_tail(rest);
        }
    }

    /// Takes memory for `more` bytes of the beginning, in growing steps.
    fn has_memory_for(&mut self, more: usize) -> bool {
        let (needed, capacity) = (self.stored.len() + more, self.stored.capacity());
        if needed <= capacity {
            return true;
        }
        let step = needed.max(2 * capacity) - capacity;
        let step = if self.take(step) {
            step
        } else if self.take(needed - capacity) {
            needed - capacity
        } else {
            return false;
        };
        self.stored
            .reserve_exact(capacity + step - self.stored.len());
        true
    }

    fn take(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        self.taken += if taken { bytes } else { 0 };
        taken
    }

    fn keep(&mut self, part: &[u8], at_us: u64) {
        self.stored.extend_from_slice(part);
        if !self.is_plain && self.ends.len() < MAX_CHUNKS {
            self.ends.push(self.stored.len());
            self.times_us.push(u32::try_from(at_us).unwrap_or(u32::MAX));
        }
    }

    fn keep_tail(&mut self, part: &[u8]) {
        let limit = self.tail_limit;
        let part = &part[part.len().saturating_sub(limit)..];
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(2 * limit);
        }
        if self.tail.len() + part.len() > 2 * limit {
            let surplus = self.tail.len().saturating_sub(limit);
            self.tail.drain(..surplus);
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

    /// Takes the beginning out, in the chunks it came in; what came after 4 096 of them is one.
    pub(crate) fn take_chunks(&mut self) -> Vec<Bytes> {
        let mut rest = Bytes::from(std::mem::take(&mut self.stored));
        let mut begin = 0;
        let mut chunks: Vec<Bytes> = Vec::with_capacity(self.ends.len() + 1);
        for end in self.ends.drain(..) {
            chunks.push(rest.split_to(end - begin));
            begin = end;
        }
        chunks.extend(Some(rest).filter(|rest| !rest.is_empty()));
        chunks
    }

    /// The end of a body whose middle was not kept.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(self.tail_limit)..]
    }

    /// When each chunk passed, the first 4 096 of them.
    pub(crate) fn times_us(&self) -> &[u32] {
        &self.times_us
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(limit: usize, memory: usize, chunks: &[&[u8]]) -> Capture {
        let mut capture = Capture::new(Arc::new(Budget::new(memory)), limit);
        for (at, chunk) in chunks.iter().enumerate() {
            capture.push(chunk, at as u64);
        }
        capture
    }

    #[test]
    fn a_small_body_is_kept_whole_in_its_chunks() {
        let mut kept = capture(10, 100, &[b"abc", b"def"]);
        assert_eq!(
            (kept.total(), kept.omitted(), kept.tail()),
            (6, None, &b""[..])
        );
        assert_eq!(kept.times_us(), [0, 1]);
        assert_eq!(kept.take_chunks(), [Bytes::from("abc"), Bytes::from("def")]);
    }

    #[test]
    fn past_the_limit_the_end_is_kept() {
        let mut kept = capture(4, 100, &[b"abc", b"def", b"ghi"]);
        assert_eq!(kept.take_chunks().concat(), b"abcd");
        assert_eq!(kept.tail(), b"efghi");
        assert_eq!((kept.total(), kept.omitted()), (9, Some(Omitted::TooLarge)));
    }

    #[test]
    fn the_end_never_grows_beyond_its_window() {
        let mut kept = capture(0, 2 * TAIL_BYTES, &[]);
        for round in 0..100_u8 {
            kept.push(&vec![round; 10_000], 0);
        }
        assert_eq!(kept.tail.capacity(), 2 * TAIL_BYTES);
        assert_eq!(kept.tail().len(), TAIL_BYTES);
        assert_eq!(*kept.tail().last().unwrap(), 99);
    }

    #[test]
    fn bodies_share_their_memory_and_give_it_back() {
        let budget = Arc::new(Budget::new(8));
        let mut first = Capture::new(Arc::clone(&budget), 100);
        let mut second = Capture::new(Arc::clone(&budget), 100);
        first.push(b"123456", 0);
        second.push(b"abc", 0);
        assert_eq!(second.omitted(), Some(Omitted::MemoryLimit));
        drop((first, second));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_memory_little_is_kept_whatever_passes() {
        let mut kept = capture(1 << 20, 10, &[]);
        for round in 0..100_u8 {
            kept.push(&vec![round; 10_000], 0);
        }
        assert_eq!(kept.omitted(), Some(Omitted::MemoryLimit));
        assert_eq!(
            (kept.tail().len(), kept.tail.capacity()),
            (LAST_BYTES, 2 * LAST_BYTES)
        );
        assert_eq!((kept.stored.capacity(), kept.taken), (0, 0));
        let mut request = Capture::new(Arc::new(Budget::new(10)), 1 << 20).plain();
        request.push(&[0; 10_000], 0);
        assert_eq!((request.total(), request.tail.capacity()), (10_000, 0));
    }

    #[test]
    fn thousands_of_chunks_are_joined() {
        let mut kept = Capture::new(Arc::new(Budget::new(1 << 20)), 1 << 20);
        for _ in 0..MAX_CHUNKS + 100 {
            kept.push(b"xy", 0);
        }
        let chunks = kept.take_chunks();
        assert_eq!(chunks.len(), MAX_CHUNKS + 1);
        assert_eq!(chunks.concat().len(), 2 * (MAX_CHUNKS + 100));
    }
}
