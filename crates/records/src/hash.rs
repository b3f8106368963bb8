//! Hashing what columns are made of, faster than the standard library does.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hashes texts that clients choose, with a seed that they do not know.
#[derive(Clone, Debug)]
pub(crate) struct Texts(u64);

impl Default for Texts {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Texts {
    type Hasher = TextHasher;

    fn build_hasher(&self) -> TextHasher {
        TextHasher(self.0)
    }
}

/// One text after the other.
#[derive(Debug)]
pub(crate) struct TextHasher(u64);

impl Hasher for TextHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// What ends a text says nothing: each is hashed as one piece.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hashes ids of records, whose last 64 bits are random and ours.
pub(crate) type Ids = BuildHasherDefault<IdHasher>;

/// One id.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = u64::try_from(id & u128::from(u64::MAX)).unwrap_or(0);
    }

    fn finish(&self) -> u64 {
        // The highest bits count as well.
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}
