//! The cache's door: [`CacheStore`] keeps whole answers by the digest of their question.
//!
//! What makes a question, and whether an answer is still fresh, is decided by whoever asks; a store
//! keeps bytes, and lets go of the least useful ones within its limits. An entry that cannot be
//! read is as good as none.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use isango_types::rehearsal::KeptAnswer;
use isango_types::{RecordId, Timestamp};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// Keeps answers. [`CacheStore::peek`], [`CacheStore::put`] and [`CacheStore::generation`] never
/// wait; the others may block, and an async caller goes through its blocking pool.
pub trait CacheStore: Send + Sync {
    /// What is known of a key without waiting.
    fn peek(&self, key: &Key) -> Peek;

    /// The entry of a key, fresh or not.
    ///
    /// # Errors
    /// The store could not be asked. An entry that is damaged is absent, no error.
    fn get(&self, key: &Key) -> Result<Option<Arc<Entry>>, Error>;

    /// Keeps an entry in the place of an older one of its key. What may outlast the process is
    /// written later, in order. An entry of an earlier `generation` than the store's is not kept:
    /// its question was asked before a purge.
    ///
    /// # Errors
    /// [`Error::Busy`]: too much waits to be written; the entry may be found until the process
    /// ends.
    fn put(&self, entry: Arc<Entry>, generation: u64) -> Result<(), Error>;

    /// How often the store was purged.
    fn generation(&self) -> u64;

    /// Removes what `what` names, and returns how many entries that were. What is put from
    /// questions that were asked before is refused from now on.
    ///
    /// # Errors
    /// The entries may not all be gone; trying again can help.
    fn purge(&self, what: &Purge) -> Result<u64, Error>;

    /// Removes entries that nobody wants from `now` on, and returns how many that were.
    ///
    /// # Errors
    /// They were not all removed; trying again can help.
    fn expire(&self, now: Timestamp) -> Result<u64, Error>;

    /// What is kept.
    ///
    /// # Errors
    /// The store could not be asked.
    fn stats(&self) -> Result<Stats, Error>;

    /// Waits until everything that was put is where it outlasts the process.
    ///
    /// # Errors
    /// Something could not be written.
    fn flush(&self) -> Result<(), Error>;
}

/// The digest of everything that makes a question.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl Key {
    /// From its bytes.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Key {
    /// 64 digits, lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has 64 hexadecimal digits")]
pub struct NoKey;

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut key = [0; 32];
        if pairs.len() != key.len() || !rest.is_empty() {
            return Err(NoKey);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (byte, [high, low]) in key.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                return Err(NoKey);
            };
            *byte = u8::try_from(high * 16 + low).map_err(|_more_than_a_byte| NoKey)?;
        }
        Ok(Self(key))
    }
}

/// What stands for a scope, so that its text is nowhere: a tenant's name, a client's cache key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(u64);

impl Scope {
    /// That of a text. Two texts that share one are purged together.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        // SQLite's integers are signed; nothing is lost by a bit.
        Self(u64::try_from(xxh3_128(text) >> 65).unwrap_or_default())
    }

    /// As a number of at most 63 bits.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

/// An answer that is kept, and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The digest of its question.
    pub key: Key,
    /// What it can be purged by.
    pub tags: Tags,
    /// The exchange that paid for it.
    pub filled_by: RecordId,
    /// When its question was asked; its age counts from here.
    pub stored_at: Timestamp,
    /// Until when it is fresh.
    pub fresh_until: Timestamp,
    /// Until when somebody may want it, fresh or not.
    pub keep_until: Timestamp,
    /// What it took to get it, from the request to the last byte, in microseconds.
    pub took_us: u64,
    /// The answer itself.
    pub answer: Answer,
}

impl Entry {
    /// How it stands at `now`.
    #[must_use]
    pub fn kept_at(&self, now: Timestamp) -> KeptAnswer {
        let seconds = |from: Timestamp, to: Timestamp| {
            to.as_micros().saturating_sub(from.as_micros()) / 1_000_000
        };
        KeptAnswer {
            filled_by: self.filled_by,
            stored_at: self.stored_at,
            age_s: seconds(self.stored_at, now),
            fresh_until: self.fresh_until,
            left_s: seconds(now, self.fresh_until),
            status: self.answer.status,
            bytes: self.answer.bytes() as u64,
        }
    }

    /// Memory that it takes, in bytes, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        const FIXED: usize = 512;
        const FRAME: usize = 64;
        let answer = &self.answer;
        let headers = answer.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        FIXED + headers + FRAME * (answer.frames.len() + answer.headers.len()) + answer.bytes()
    }
}

/// What an entry can be purged by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// Account of the gateway.
    pub account: Box<str>,
    /// Id of the gateway.
    pub gateway: Box<str>,
    /// Model that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Box<str>>,
    /// The client's scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The scope that the gateway demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Scope>,
}

/// An answer as it is given again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers that may be given again, names in lower case.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The body, in the pieces in which it came; a body whose length was announced is one piece.
    pub frames: Vec<Bytes>,
    /// When each piece came, in microseconds since the first one; empty where that does not
    /// matter.
    pub times_us: Vec<u32>,
    /// No length was announced: the answer may have been a stream.
    pub is_chunked: bool,
    /// It has a frame that only the gateway asked for.
    pub has_guest: bool,
}

impl Answer {
    /// Length of the body, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }
}

/// What is known of a key without waiting.
#[derive(Clone, Debug)]
pub enum Peek {
    /// The entry.
    Here(Arc<Entry>),
    /// There is none.
    Nowhere,
    /// It takes a wait to know: [`CacheStore::get`].
    Elsewhere,
}

/// What to remove: entries for which everything holds that is set. Nothing set: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purge {
    /// Of this account.
    pub account: Option<Box<str>>,
    /// Of this gateway.
    pub gateway: Option<Box<str>>,
    /// Of this scope: the client's, or the gateway's.
    pub scope: Option<Scope>,
    /// Of this model.
    pub model: Option<Box<str>>,
    /// The one of this key.
    pub key: Option<Key>,
    /// Whose question was asked before.
    pub asked_before: Option<Timestamp>,
}

impl Purge {
    /// Whether an entry is to be removed.
    #[must_use]
    pub fn names(&self, entry: &Entry) -> bool {
        let Entry { key, tags, .. } = entry;
        let holds = |wanted: &Option<Box<str>>, tag: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == tag
        };
        let in_scope = |scope| [tags.scope, tags.tenant].contains(&Some(scope));
        holds(&self.account, Some(&tags.account))
            && holds(&self.gateway, Some(&tags.gateway))
            && holds(&self.model, tags.model.as_deref())
            && self.scope.is_none_or(in_scope)
            && self.key.is_none_or(|wanted| wanted == *key)
            && self.asked_before.is_none_or(|then| entry.stored_at < then)
    }
}

/// What a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// In memory.
    pub memory: Size,
    /// On disk; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
}

/// What one tier keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many bytes there may be.
    pub limit: u64,
}

/// Why a cache could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too much waits already.
    #[error("too much waits to be written to the cache")]
    Busy,
    /// The store failed.
    #[error("the cache failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        let key = Key::new(std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in ["", "0", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert_eq!(text.parse::<Key>(), Err(NoKey), "{text}");
        }
    }
}
