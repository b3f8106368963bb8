//! The embedded cache: what is asked for often in memory, the rest in a file.
//!
//! A read that memory answers waits for nothing. What is kept is written behind the answer's back,
//! by one thread, from a bounded queue. The file is a cache and no more: where it is damaged it is
//! set aside and begun anew, and where it cannot be used at all, memory serves alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isango_store::cache::{CacheStore, Entry, Error, Key, Peek, Purge, Size, Stats};
use isango_types::Timestamp;
use moka::sync::Cache;

use crate::sqlite::cache::Disk;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In memory, in bytes.
    pub memory_bytes: u64,
    /// On disk, in bytes; 0: nothing.
    pub disk_bytes: u64,
}

/// The tiers.
#[derive(Debug)]
pub struct EmbeddedCache {
    memory: Cache<Key, Arc<Entry>>,
    memory_bytes: u64,
    disk: Option<Disk>,
    generation: AtomicU64,
}

impl EmbeddedCache {
    /// A cache in memory alone.
    #[must_use]
    pub fn in_memory(bytes: u64) -> Self {
        let memory = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_key, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .build();
        Self {
            memory,
            memory_bytes: bytes,
            disk: None,
            generation: AtomicU64::new(0),
        }
    }

    /// A cache whose file is in `folder`, which is made when it is missing. Where the file cannot
    /// be used the operator is told, and memory serves alone.
    #[must_use]
    pub fn open(folder: &Path, limits: Limits) -> Self {
        let mut cache = Self::in_memory(limits.memory_bytes);
        if limits.disk_bytes > 0 {
            match Disk::open(folder, limits.disk_bytes) {
                Ok(disk) => cache.disk = Some(disk),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the cache keeps nothing on disk"
                ),
            }
        }
        cache
    }

    fn remove_from_memory(&self, goes: impl Fn(&Entry) -> bool) -> u64 {
        let mut removed = 0;
        for (key, entry) in &self.memory {
            if goes(&entry) {
                self.memory.invalidate(&*key);
                removed += 1;
            }
        }
        removed
    }
}

impl CacheStore for EmbeddedCache {
    fn peek(&self, key: &Key) -> Peek {
        match (self.memory.get(key), &self.disk) {
            (Some(entry), _) => Peek::Here(entry),
            (None, Some(disk)) if disk.may_hold(key) => Peek::Elsewhere,
            (None, _) => Peek::Nowhere,
        }
    }

    fn get(&self, key: &Key) -> Result<Option<Arc<Entry>>, Error> {
        if let Some(entry) = self.memory.get(key) {
            return Ok(Some(entry));
        }
        let Some(disk) = &self.disk else {
            return Ok(None);
        };
        let generation = self.generation();
        let Some(entry) = disk.get(key)?.map(Arc::new) else {
            return Ok(None);
        };
        self.memory.insert(*key, Arc::clone(&entry));
        if self.generation() == generation {
            return Ok(Some(entry));
        }
        // It may have been purged between the reading and the keeping.
        self.memory.invalidate(key);
        Ok(None)
    }

    fn put(&self, entry: Arc<Entry>, generation: u64) -> Result<(), Error> {
        let key = entry.key;
        if self.generation() != generation {
            return Ok(());
        }
        self.memory.insert(key, Arc::clone(&entry));
        if self.generation() != generation {
            self.memory.invalidate(&key);
            return Ok(());
        }
        match &self.disk {
            Some(disk) => disk.put(entry, generation),
            None => Ok(()),
        }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn purge(&self, what: &Purge) -> Result<u64, Error> {
        let generation = 1 + self.generation.fetch_add(1, Ordering::SeqCst);
        let from_memory = self.remove_from_memory(|entry| what.names(entry));
        let Some(disk) = &self.disk else {
            return Ok(from_memory);
        };
        let from_disk = disk.purge(what.clone(), generation);
        // Until it was gone from there, somebody may have brought it back.
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.remove_from_memory(|entry| what.names(entry));
        // What is in memory is on disk, too, but for what waits to be written or was too much.
        Ok(from_disk?.max(from_memory))
    }

    fn expire(&self, now: Timestamp) -> Result<u64, Error> {
        let from_memory = self.remove_from_memory(|entry| entry.keep_until <= now);
        match &self.disk {
            Some(disk) => Ok(disk.expire(now)?.max(from_memory)),
            None => Ok(from_memory),
        }
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.memory.run_pending_tasks();
        Ok(Stats {
            memory: Size {
                entries: self.memory.entry_count(),
                bytes: self.memory.weighted_size(),
                limit: self.memory_bytes,
            },
            disk: self.disk.as_ref().map(Disk::size),
        })
    }

    fn flush(&self) -> Result<(), Error> {
        self.disk.as_ref().map_or(Ok(()), Disk::flush)
    }
}

#[cfg(test)]
mod tests;
