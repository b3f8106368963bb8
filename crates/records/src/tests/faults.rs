//! A disk that fails at the n-th call, and one that forgets what was not synced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use isango_store::conformance::sample;
use isango_store::later::Deletion;
use isango_store::logs::{LogReader, LogWriter};
use isango_types::RecordId;
use parking_lot::Mutex;
use tempfile::TempDir;

use super::{all, ids, open, small_files};
use crate::disk::{Disk, RealDisk};
use crate::{Options, Records, Sync, verify};

mod overlay;
mod projections;

/// What was done to the disk, in order. Files go by the number of their inode.
#[derive(Clone, Debug)]
enum Op {
    /// It changed nothing that a crash could take back.
    Nothing,
    Create {
        inode: u64,
        name: PathBuf,
    },
    Write {
        inode: u64,
        bytes: Vec<u8>,
        offset: u64,
    },
    Truncate {
        inode: u64,
        len: u64,
    },
    Sync {
        inode: u64,
    },
    SyncDir {
        dir: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        name: PathBuf,
    },
    /// Not the disk's: these records were acknowledged.
    Acknowledge {
        ids: Vec<RecordId>,
    },
    /// Not the disk's: from now on these records may go, or have gone.
    Erase {
        ids: Vec<RecordId>,
        is_done: bool,
    },
}

/// What a disk, or a process that has too many files open, answers: EIO, ENOSPC, EMFILE.
const ERRORS: [i32; 3] = [5, 28, 24];

/// The real disk, its calls counted, traced, and some of them failing; of a write that fails, half
/// is done.
#[derive(Debug, Default)]
pub(super) struct FaultyDisk {
    failing: Range<usize>,
    /// Which of [`ERRORS`] a failing call has; the next one has the next.
    first_error: usize,
    /// Whose calls are counted, and may fail; `None`: those of the journal itself, which come in
    /// the same order every time.
    only: Option<fn(&Path) -> bool>,
    trace: Mutex<(usize, Vec<Op>)>,
    /// Which threads waited for the medium.
    waited: Mutex<Vec<ThreadId>>,
}

impl FaultyDisk {
    pub(super) fn syncs(&self) -> usize {
        let trace = self.trace.lock();
        trace
            .1
            .iter()
            .filter(|op| matches!(op, Op::Sync { .. }))
            .count()
    }

    fn calls(&self) -> usize {
        self.trace.lock().0
    }

    /// Counts a call; fails if it is one of those that do.
    fn call(&self, name: &Path, op: Op) -> io::Result<()> {
        let mut trace = self.trace.lock();
        let is_counted = self.only.unwrap_or(is_journal)(name);
        trace.0 += usize::from(is_counted);
        if is_counted && self.failing.contains(&(trace.0 - 1)) {
            let error = ERRORS[(trace.0 - 1 + self.first_error) % ERRORS.len()];
            return Err(io::Error::from_raw_os_error(error));
        }
        // A crash behind it leaves what a crash before it does.
        if !matches!(op, Op::Nothing) {
            trace.1.push(op);
        }
        Ok(())
    }

    /// What a file that was opened is called now.
    fn name_of(&self, file: &File) -> PathBuf {
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        name(&fs::read_link(link).unwrap())
    }
}

/// Folder `journal`, but for the indexes of words, which a thread of their own writes.
fn is_journal(name: &Path) -> bool {
    name.starts_with("journal") && name.extension().is_none_or(|ending| ending != "words")
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

/// Folder and file.
fn name(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap().file_name().unwrap_or_default();
    Path::new(folder).join(path.file_name().unwrap())
}

impl Disk for FaultyDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        self.call(&name(&dir.join("")), Op::Nothing)?;
        RealDisk.make_dir(dir)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let is_new = !path.exists();
        // The call comes before its effect, so that one that fails has none.
        self.call(&name(path), Op::Nothing)?;
        let file = RealDisk.open(path)?;
        if is_new {
            self.trace.lock().1.push(Op::Create {
                inode: inode(&file),
                name: name(path),
            });
        }
        Ok(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let op = |bytes: &[u8]| Op::Write {
            inode: inode(file),
            bytes: bytes.to_vec(),
            offset,
        };
        if let Err(error) = self.call(&self.name_of(file), op(bytes)) {
            let half = &bytes[..bytes.len() / 2];
            RealDisk.write_at(file, half, offset)?;
            self.trace.lock().1.push(op(half));
            return Err(error);
        }
        RealDisk.write_at(file, bytes, offset)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        let inode = inode(file);
        self.call(&self.name_of(file), Op::Truncate { inode, len })?;
        RealDisk.truncate(file, len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let inode = inode(file);
        self.waited.lock().push(thread::current().id());
        self.call(&self.name_of(file), Op::Sync { inode })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir: PathBuf = dir.file_name().unwrap().into();
        self.waited.lock().push(thread::current().id());
        self.call(&dir.join(""), Op::SyncDir { dir: dir.clone() })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new) = (name(from), name(to));
        self.call(&name(to), Op::Rename { from: old, to: new })?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(&name(path), Op::Remove { name: name(path) })?;
        RealDisk.remove(path)
    }

    fn sqlite(&self, path: &Path) -> io::Result<()> {
        self.call(&name(path), Op::Nothing)
    }
}

fn options() -> Options {
    Options {
        sync: Sync::Always,
        ..small_files()
    }
}

/// Opens a store, appends six batches to it and erases two records of files in it, trying again
/// what fails; returns what was acknowledged and not erased.
fn work(disk: &Arc<FaultyDisk>, dir: &Path) -> Vec<RecordId> {
    fn stubborn<T>(mut call: impl FnMut() -> Result<T, crate::Error>) -> T {
        for _ in 0..9 {
            if let Ok(done) = call() {
                return done;
            }
        }
        call().unwrap()
    }
    let store = stubborn(|| Records::open_on(disk.clone(), dir, options()));
    let mut acknowledged = Vec::new();
    for n in 0..6 {
        let batch = super::batch(n * 4, n * 4 + 4);
        stubborn(|| store.append(&batch));
        assert_eq!(
            store.query(&super::Query::default()).unwrap().records[0].id,
            batch[3].id
        );
        disk.trace
            .lock()
            .1
            .push(Op::Acknowledge { ids: ids(&batch) });
        acknowledged.extend(ids(&batch));
    }
    let ids = vec![acknowledged[1], acknowledged[21]];
    acknowledged.retain(|id| !ids.contains(id));
    store.delete(&ids, Deletion::Erased).unwrap();
    for is_done in [false, true] {
        let ids = ids.clone();
        disk.trace.lock().1.push(Op::Erase { ids, is_done });
        if !is_done {
            stubborn(|| store.upkeep(sample::time(60)));
        }
    }
    acknowledged
}

/// Lets `count` calls in a row fail, from each call on, with each error first once.
fn check_failing(count: usize) {
    let dir = TempDir::new().unwrap();
    let flawless = Arc::new(FaultyDisk::default());
    work(&flawless, dir.path());
    assert!(flawless.calls() > 40);
    for first in 0..flawless.calls() {
        let dir = TempDir::new().unwrap();
        let disk = FaultyDisk {
            failing: first..first + count,
            first_error: first / ERRORS.len(),
            ..FaultyDisk::default()
        };
        let acknowledged = work(&Arc::new(disk), dir.path());
        let store = open(dir.path(), options());
        assert_eq!(
            store.recovery().torn,
            [],
            "calls {first} to {}",
            first + count
        );
        assert_eq!(
            all(&store),
            acknowledged,
            "calls {first} to {}",
            first + count
        );
        let (mut followed, _) = store.follow(super::Position::START, 100).unwrap();
        followed.retain(|record| !record.is_erased());
        assert_eq!(ids(&followed), acknowledged, "each of them once");
        let report = verify(dir.path()).unwrap();
        assert_eq!((report.erased, report.unfinished_rewrites), (2, 0));
        assert!(
            report.is_intact(),
            "calls {first} to {}: {report:?}",
            first + count
        );
    }
}

#[test]
fn whichever_call_fails_the_next_append_goes_on() {
    check_failing(1);
}

#[test]
fn whichever_two_calls_fail_the_next_append_goes_on() {
    check_failing(2);
}

#[test]
fn whichever_four_calls_fail_the_next_append_goes_on() {
    check_failing(4);
}

/// How much of what was not synced a loss of power leaves.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// All of it: the process was killed, not the machine.
    None,
    /// All, but of the last write only the first half.
    HalfAWrite,
    /// None of it.
    All,
    /// The length of the file, filled with zeros.
    Data,
    /// Every other write.
    EveryOther,
}

#[derive(Clone, Debug, Default)]
struct Medium {
    name: Option<PathBuf>,
    /// Whether its name is on the medium.
    is_named: bool,
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(Vec<u8>, usize)>,
    /// The file that had its name before, and has it again if the folder was not synced since.
    before: Option<Box<Self>>,
}

fn put(data: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    data.resize(data.len().max(offset + bytes.len()), 0);
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Medium {
    fn after(&self, loss: Loss) -> Option<Vec<u8>> {
        let mut left = self.synced.clone();
        match loss {
            Loss::None | Loss::HalfAWrite => return Some(self.now.clone()),
            Loss::All if !self.is_named => {
                return self.before.as_ref().and_then(|before| before.after(loss));
            }
            Loss::All => {}
            Loss::Data => left.resize(self.now.len().max(left.len()), 0),
            Loss::EveryOther => {
                for (bytes, offset) in self.unsynced.iter().rev().step_by(2) {
                    put(&mut left, bytes, *offset);
                }
            }
        }
        Some(left)
    }
}

/// What the world knew when the crash came.
#[derive(Debug, Default)]
struct Known {
    acknowledged: Vec<RecordId>,
    /// Records that may have gone.
    going: Vec<RecordId>,
    /// Records that must have gone.
    gone: Vec<RecordId>,
}

fn rename(media: &mut BTreeMap<u64, Medium>, from: &Path, to: &Path) {
    let of = |name: &Path| {
        let mut found = media.iter();
        let found = found.find(|(_, one)| one.name.as_deref() == Some(name));
        found.map(|(inode, _)| *inode)
    };
    let (moved, replaced) = (of(from), of(to));
    let before = replaced
        .and_then(|inode| media.remove(&inode))
        .map(Box::new);
    if let Some(medium) = moved.and_then(|inode| media.get_mut(&inode)) {
        medium.name = Some(to.to_owned());
        (medium.is_named, medium.before) = (false, before);
    }
}

/// The folder that a crash after `ops` leaves, and what was known.
fn crash(ops: &[Op], loss: Loss, dir: &Path) -> Known {
    let mut media: BTreeMap<u64, Medium> = BTreeMap::new();
    let mut known = Known::default();
    for (n, op) in ops.iter().enumerate() {
        match op {
            Op::Create { inode, name } => {
                media.insert(
                    *inode,
                    Medium {
                        name: Some(name.clone()),
                        ..Medium::default()
                    },
                );
            }
            Op::Write {
                inode,
                bytes,
                offset,
            } => {
                let is_cut = n + 1 == ops.len() && matches!(loss, Loss::HalfAWrite);
                let bytes = if is_cut {
                    &bytes[..bytes.len() / 2]
                } else {
                    bytes
                };
                let (medium, offset) = (
                    media.entry(*inode).or_default(),
                    usize::try_from(*offset).unwrap(),
                );
                put(&mut medium.now, bytes, offset);
                medium.unsynced.push((bytes.to_vec(), offset));
            }
            Op::Truncate { inode, len } => {
                let (medium, len) = (
                    media.entry(*inode).or_default(),
                    usize::try_from(*len).unwrap(),
                );
                medium.now.truncate(len);
                medium.synced.truncate(len);
            }
            Op::Sync { inode } => {
                let medium = media.entry(*inode).or_default();
                medium.synced.clone_from(&medium.now);
                medium.unsynced.clear();
            }
            Op::Nothing => {}
            Op::SyncDir { dir } => media.values_mut().for_each(|medium| {
                let is_in = |name: &PathBuf| name.starts_with(dir);
                if medium.name.as_ref().is_some_and(is_in) {
                    (medium.is_named, medium.before) = (true, None);
                }
            }),
            Op::Rename { from, to } => rename(&mut media, from, to),
            Op::Remove { name } => media.retain(|_, medium| medium.name.as_ref() != Some(name)),
            Op::Acknowledge { ids } => known.acknowledged.extend(ids),
            Op::Erase { ids, is_done } => {
                known.going.clone_from(ids);
                if *is_done {
                    known.gone.clone_from(ids);
                }
            }
        }
    }
    for folder in ["journal", "columns", "rollups"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for medium in media.values() {
        if let (Some(name), Some(data)) = (&medium.name, medium.after(loss)) {
            fs::write(dir.join(name), data).unwrap();
        }
    }
    known
}

const LOSSES: [Loss; 5] = [
    Loss::None,
    Loss::HalfAWrite,
    Loss::All,
    Loss::Data,
    Loss::EveryOther,
];

#[test]
fn wherever_the_power_fails_what_was_acknowledged_is_kept() {
    let dir = TempDir::new().unwrap();
    // The second disk fails now and then, so that the trace has repairs in it.
    for failing in [0..0, 20..21] {
        let disk = Arc::new(FaultyDisk {
            failing,
            ..FaultyDisk::default()
        });
        work(&disk, &dir.path().join(disk.failing.start.to_string()));
        let ops = disk.trace.lock().1.clone();
        for len in 0..=ops.len() {
            for loss in LOSSES {
                let dir = TempDir::new().unwrap();
                let known = crash(&ops[..len], loss, dir.path());
                let store = open(dir.path(), small_files());
                let found = all(&store);
                let stays = |ids: &[RecordId]| -> Vec<RecordId> {
                    let stays = ids.iter().filter(|id| !known.going.contains(id));
                    stays.copied().collect()
                };
                let kept = stays(&known.acknowledged);
                assert_eq!(
                    stays(&found)[..kept.len()],
                    kept,
                    "{loss:?} after {len} operations"
                );
                assert!(
                    found.len() <= known.acknowledged.len() + 4,
                    "only the batch under way besides"
                );
                assert!(!found.iter().any(|id| known.gone.contains(id)));
                store.append(&[sample::record(900)]).unwrap();
                assert_eq!(all(&store).len(), found.len() + 1);
                let report = verify(dir.path()).unwrap();
                assert!(
                    report.is_intact(),
                    "{loss:?} after {len} operations: {report:?}"
                );
            }
        }
    }
}

/// Every so many of the calls; with `ISANGO_FAULTS` set, each of them.
fn step(usual: usize) -> usize {
    std::env::var_os("ISANGO_FAULTS").map_or(usual, |_all| 1)
}

fn in_a_window(window: Duration) -> Options {
    Options {
        sync: Sync::Window(window),
        // Each batch fills one.
        max_file_bytes: 500,
        ..small_files()
    }
}

#[test]
fn within_a_window_no_append_waits_for_the_medium() {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let store = Records::open_on(disk.clone(), dir.path(), in_a_window(Duration::ZERO)).unwrap();
    // Each begins a file of its own, and completes the one before.
    for n in 0..12 {
        disk.waited.lock().clear();
        store.append(&super::batch(n * 4, n * 4 + 4)).unwrap();
        let mine = thread::current().id();
        assert!(!disk.waited.lock().contains(&mine), "append {n}");
        // At most one complete file waits.
        store.sync().unwrap();
    }
    assert!(super::files(dir.path(), ".jsonl.zst").len() > 3);
}

/// Appends twelve batches, each to a file of its own, and waits for the medium after every fifth.
fn work_in_a_window(disk: &Arc<FaultyDisk>, dir: &Path, window: Duration) -> Vec<RecordId> {
    let store = Records::open_on(disk.clone(), dir, in_a_window(window)).unwrap();
    let (mut appended, mut promised) = (Vec::new(), 0);
    let acknowledge = |ids: &[RecordId]| {
        let op = Op::Acknowledge { ids: ids.to_vec() };
        disk.trace.lock().1.push(op);
    };
    for n in 0..12 {
        let batch = super::batch(n * 4, n * 4 + 4);
        store.append(&batch).unwrap();
        appended.extend(ids(&batch));
        if n % 5 == 4 {
            store.sync().unwrap();
            acknowledge(&appended[promised..]);
            promised = appended.len();
        }
    }
    drop(store);
    acknowledge(&appended[promised..]);
    appended
}

fn check_window(window: Duration) {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let appended = work_in_a_window(&disk, dir.path(), window);
    let ops = disk.trace.lock().1.clone();
    for len in 0..=ops.len() {
        for loss in LOSSES {
            let case = format!("{loss:?} after {len} operations");
            let dir = TempDir::new().unwrap();
            let known = crash(&ops[..len], loss, dir.path());
            let store = open(dir.path(), small_files());
            let found = all(&store);
            assert_eq!(found, appended[..found.len()], "{case}: the first ones");
            assert!(found.len() >= known.acknowledged.len(), "{case}");
            store.append(&[sample::record(900)]).unwrap();
            assert_eq!(all(&store).len(), found.len() + 1, "{case}");
            let report = verify(dir.path()).unwrap();
            assert!(report.is_intact(), "{case}: {report:?}");
        }
    }
}

#[test]
fn wherever_the_power_fails_within_a_window_what_was_promised_is_kept() {
    check_window(Duration::ZERO);
    // As late as can be: what is waited for, and the end.
    check_window(Duration::from_secs(3_600));
}
