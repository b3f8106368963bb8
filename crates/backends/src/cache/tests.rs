use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use isango_store::conformance::{self, entry};
use tempfile::{TempDir, tempdir};

use super::*;

const PLENTY: Limits = Limits {
    memory_bytes: 64 << 20,
    disk_bytes: 64 << 20,
};

/// Nothing stays in memory: everything is read from the file.
const DISK_ALONE: Limits = Limits {
    memory_bytes: 0,
    disk_bytes: 64 << 20,
};

/// A cache in a folder that goes with it.
struct InFolder(EmbeddedCache, TempDir);

impl InFolder {
    fn new(limits: Limits) -> Self {
        let folder = tempdir().unwrap();
        Self(EmbeddedCache::open(folder.path(), limits), folder)
    }

    fn reopened(self, limits: Limits) -> Self {
        drop(self.0);
        Self(EmbeddedCache::open(self.1.path(), limits), self.1)
    }

    fn file(&self) -> std::path::PathBuf {
        self.1.path().join("cache.sqlite")
    }

    fn put(&self, entry: &Entry) {
        self.0
            .put(Arc::new(entry.clone()), self.0.generation())
            .unwrap();
    }

    fn found(&self, entry: &Entry) -> bool {
        let found = self.0.get(&entry.key).unwrap();
        found.is_some_and(|found| *found == *entry)
    }
}

impl CacheStore for InFolder {
    fn peek(&self, key: &Key) -> Peek {
        self.0.peek(key)
    }

    fn get(&self, key: &Key) -> Result<Option<Arc<Entry>>, Error> {
        self.0.get(key)
    }

    fn put(&self, entry: Arc<Entry>, generation: u64) -> Result<(), Error> {
        self.0.put(entry, generation)?;
        // The suite asks at once, and for what memory does not hold, too.
        self.0.flush()
    }

    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn purge(&self, what: &Purge) -> Result<u64, Error> {
        self.0.purge(what)
    }

    fn expire(&self, now: Timestamp) -> Result<u64, Error> {
        self.0.expire(now)
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.0.stats()
    }

    fn flush(&self) -> Result<(), Error> {
        self.0.flush()
    }
}

#[test]
fn each_tier_conforms() {
    conformance::cache(|| EmbeddedCache::in_memory(64 << 20));
    conformance::cache(|| InFolder::new(DISK_ALONE));
    conformance::cache(|| InFolder::new(PLENTY));
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let cache = InFolder::new(PLENTY);
    let entries: Vec<Entry> = (0..50).map(entry).collect();
    entries.iter().for_each(|entry| cache.put(entry));
    let cache = cache.reopened(PLENTY);
    assert!(entries.iter().all(|entry| cache.found(entry)));
    cache.0.flush().unwrap();
    assert_eq!(cache.0.stats().unwrap().disk.unwrap().entries, 50);
    assert!(matches!(cache.0.peek(&Key::new([77; 32])), Peek::Nowhere));
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let cache = InFolder::new(PLENTY);
    cache.put(&entry(1));
    cache.0.flush().unwrap();
    let mut files = 0;
    for file in fs::read_dir(cache.1.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the file, its log and the log's index");
}

/// A file that was copied back, say.
#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_closed_to_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let cache = InFolder::new(PLENTY);
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(cache.file(), open).unwrap();
    let cache = cache.reopened(PLENTY);
    let mode = fs::metadata(cache.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn memory_keeps_to_its_limit() {
    let cache = EmbeddedCache::in_memory(20 << 10);
    for n in 0..200 {
        cache.put(Arc::new(entry(n)), 0).unwrap();
    }
    let memory = cache.stats().unwrap().memory;
    assert!(
        memory.bytes <= memory.limit && memory.entries > 0,
        "{memory:?}"
    );
}

#[test]
fn the_file_keeps_to_its_limit_and_the_oldest_go_first() {
    let limits = Limits {
        memory_bytes: 0,
        disk_bytes: 256 << 10,
    };
    let cache = InFolder::new(limits);
    let big = |n: u8| {
        let mut entry = entry(n);
        entry.answer.frames = vec![vec![n; 8 << 10].into()];
        entry.answer.times_us = Vec::new();
        entry
    };
    for n in 0..200 {
        cache.put(&big(n));
    }
    cache.0.flush().unwrap();
    let disk = cache.0.stats().unwrap().disk.unwrap();
    assert!(disk.bytes <= disk.limit, "{disk:?}");
    // No more go than must.
    assert!(disk.bytes > disk.limit * 3 / 4, "{disk:?}");
    let length = fs::metadata(cache.file()).unwrap().len();
    assert!(length < 2 * disk.limit, "{length}");
    let kept = |n| cache.0.get(&entry(n).key).unwrap().is_some();
    assert!(!kept(0) && kept(199));
    // A smaller limit holds from the start.
    let smaller = Limits {
        disk_bytes: 128 << 10,
        ..limits
    };
    let cache = cache.reopened(smaller);
    cache.0.flush().unwrap();
    let disk = cache.0.stats().unwrap().disk.unwrap();
    assert!(disk.bytes <= 128 << 10 && disk.entries > 0, "{disk:?}");
}

#[test]
fn a_damaged_entry_is_absent_and_the_others_are_not() {
    let cache = InFolder::new(DISK_ALONE);
    let mut marked = entry(1);
    marked.answer.frames = vec![b"find me in the file"[..].into()];
    marked.answer.times_us = Vec::new();
    cache.put(&marked);
    cache.put(&entry(2));
    let folder = {
        let InFolder(cache, folder) = cache;
        drop(cache);
        folder
    };
    let file = folder.path().join("cache.sqlite");
    let bytes = fs::read(&file).unwrap();
    let needle = b"find me in the file";
    let at = bytes.windows(needle.len()).position(|part| part == needle);
    let mut writing = fs::OpenOptions::new().write(true).open(&file).unwrap();
    writing.seek(SeekFrom::Start(at.unwrap() as u64)).unwrap();
    writing.write_all(b"F").unwrap();
    let cache = InFolder(EmbeddedCache::open(folder.path(), DISK_ALONE), folder);
    assert_eq!(cache.0.get(&marked.key).unwrap(), None);
    assert!(cache.0.get(&entry(2).key).unwrap().is_some());
    cache.0.flush().unwrap();
    assert_eq!(cache.0.stats().unwrap().disk.unwrap().entries, 1);
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_begun_anew() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("cache.sqlite");
    fs::write(
        &file,
        b"this is no database, however long one looks at it ".repeat(100),
    )
    .unwrap();
    let cache = InFolder(EmbeddedCache::open(folder.path(), DISK_ALONE), folder);
    let one = entry(1);
    cache.put(&one);
    cache.0.flush().unwrap();
    assert!(cache.found(&one));
    assert!(cache.1.path().join("cache.sqlite.bad").exists());
}

#[test]
fn a_file_that_is_damaged_while_it_is_used_is_begun_anew() {
    let cache = InFolder::new(DISK_ALONE);
    (0..100).for_each(|n| cache.put(&entry(n)));
    let cache = cache.reopened(DISK_ALONE);
    cache.0.flush().unwrap();
    let length = fs::metadata(cache.file()).unwrap().len();
    let mut writing = fs::OpenOptions::new()
        .write(true)
        .open(cache.file())
        .unwrap();
    writing.seek(SeekFrom::Start(100)).unwrap();
    let rest = usize::try_from(length - 100).unwrap();
    writing.write_all(&vec![0xa5; rest]).unwrap();
    // Whatever this finds, it does not fail for ever.
    for n in 0..100 {
        cache.0.get(&entry(n).key).ok();
    }
    cache.0.flush().unwrap();
    let one = entry(101);
    cache.put(&one);
    cache.0.flush().unwrap();
    assert!(cache.found(&one));
}

#[test]
fn a_damaged_file_is_set_aside_once_however_many_find_it() {
    let cache = InFolder::new(DISK_ALONE);
    (0..100).for_each(|n| cache.put(&entry(n)));
    let cache = cache.reopened(DISK_ALONE);
    cache.0.flush().unwrap();
    let mut bytes = fs::read(cache.file()).unwrap();
    bytes[100..].fill(0xa5);
    fs::write(cache.file(), &bytes).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..100 {
                    cache.0.get(&entry(n).key).ok();
                }
            });
        }
    });
    cache.0.flush().unwrap();
    let aside = cache.1.path().join("cache.sqlite.bad");
    // The writer may have changed a page of it before it knew.
    let kept = fs::read(&aside).unwrap();
    let damaged = kept.iter().filter(|byte| **byte == 0xa5).count();
    assert!(damaged > bytes.len() / 2, "it is another one: {damaged}");
    // It is gone with the next purge: nobody can tell what is in it.
    cache.0.purge(&Purge::default()).unwrap();
    assert!(!aside.exists());
}

#[test]
fn a_folder_that_cannot_be_used_leaves_memory() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("in-the-way");
    fs::write(&file, "").unwrap();
    let cache = EmbeddedCache::open(&file, PLENTY);
    let one = entry(1);
    cache.put(Arc::new(one.clone()), 0).unwrap();
    assert!(cache.get(&one.key).unwrap().is_some());
    assert_eq!(cache.stats().unwrap().disk, None);
}

#[test]
fn what_is_purged_is_not_brought_back_by_those_who_read_it_meanwhile() {
    for _ in 0..20 {
        let cache = InFolder::new(PLENTY);
        let one = entry(1);
        cache.put(&one);
        let cache = cache.reopened(PLENTY);
        cache.0.flush().unwrap();
        // The writer is busy when the purge is asked for.
        for n in 2..40 {
            let mut large = entry(n);
            large.answer.frames = vec![vec![n; 256 << 10].into()];
            large.answer.times_us = Vec::new();
            cache.put(&large);
        }
        let purged = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !purged.load(Ordering::Acquire) {
                    cache.0.get(&one.key).unwrap();
                }
            });
            let what = Purge {
                key: Some(one.key),
                ..Purge::default()
            };
            cache.0.purge(&what).unwrap();
            purged.store(true, Ordering::Release);
        });
        assert_eq!(cache.0.get(&one.key).unwrap(), None);
    }
}

#[test]
fn more_than_the_queue_takes_is_refused_not_waited_for() {
    let cache = InFolder::new(DISK_ALONE);
    let mut huge = entry(1);
    huge.answer.frames = vec![vec![0; 65 << 20].into()];
    let put = cache.0.put(Arc::new(huge), 0);
    assert!(matches!(put, Err(Error::Busy)), "{put:?}");
}
