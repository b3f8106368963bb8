//! What is made of the journal: columns, sums and indexes of words, on a disk that fails and on one
//! that forgets. An append never fails for them, and they come to say what the journal says.

use isango_store::analytics::{List, Progress};
use isango_store::filter::Filter;
use isango_store::logs::{Order, Query};

use super::*;
use crate::SealAt;

/// Rows of a segment; the sixteenth segment brings a merge, and a merged one has sums.
const ROWS: usize = 4;
/// Records that are sealed beforehand: a segment less than a merge takes.
const PREPARED: u64 = 60;

fn options() -> Options {
    Options {
        sync: Sync::Always,
        max_file_bytes: 8_000,
        seal_at: SealAt {
            rows: ROWS,
            ..SealAt::default()
        },
        ..Options::default()
    }
}

/// The same on a disk that is not waited for.
fn reopened() -> Options {
    Options {
        sync: Sync::Never,
        ..options()
    }
}

fn is_projection(name: &Path) -> bool {
    !is_journal(name) && !overlay::is_overlay(name)
}

/// A store to which the next few records bring a merge.
fn prepared() -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), reopened());
    for from in (0..PREPARED).step_by(ROWS) {
        store
            .append(&super::super::batch(from, from + ROWS as u64))
            .unwrap();
        store.settle().unwrap();
    }
    store.indexer.finish().unwrap();
    drop(store);
    assert_eq!(
        fs::read_dir(dir.path().join("columns")).unwrap().count(),
        15
    );
    dir
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for folder in ["journal", "columns", "rollups"] {
        fs::create_dir(to.path().join(folder)).unwrap();
        for file in fs::read_dir(from.join(folder)).unwrap() {
            let file = file.unwrap();
            let target = to.path().join(folder).join(file.file_name());
            fs::copy(file.path(), target).unwrap();
        }
    }
    to
}

/// Until it works: nine times at most.
fn stubborn(mut call: impl FnMut() -> Result<(), crate::Error>) {
    for _ in 0..9 {
        if call().is_ok() {
            return;
        }
    }
    call().unwrap();
}

/// Appends, seals, merges, sums, indexes, and erases one record, if it is to.
fn work(disk: &Arc<FaultyDisk>, dir: &Path, erases: bool) -> Records {
    let mut opened = None;
    stubborn(|| {
        opened = Some(Records::open_on(disk.clone(), dir, options())?);
        Ok(())
    });
    let store = opened.unwrap();
    let batch = super::super::batch(PREPARED, PREPARED + 6);
    for one in batch.chunks(2) {
        // The journal works, and nothing else must matter.
        store.append(one).unwrap();
    }
    stubborn(|| store.settle());
    stubborn(|| store.indexer.finish());
    if !erases {
        return store;
    }
    store.delete(&[batch[1].id], Deletion::Erased).unwrap();
    stubborn(|| store.upkeep(sample::time(600)).map(drop));
    stubborn(|| store.settle());
    stubborn(|| store.indexer.finish());
    store
}

/// Lists and searches say what the journal says.
fn check(store: &Records, expected: usize, case: &str) {
    let ids_of = |order| {
        let query = Query {
            order,
            limit: 1_000,
            ..Query::default()
        };
        ids(&store.query(&query).unwrap().records)
    };
    let in_journal = ids_of(Order::NewestFirst);
    assert_eq!(in_journal.len(), expected, "{case}");
    let list = List {
        limit: 1_000,
        ..List::default()
    };
    let listed = store.list(&list, &Progress::default()).unwrap();
    let rows: Vec<RecordId> = listed.rows.iter().map(|row| row.id).collect();
    assert!(listed.is_complete, "{case}");
    assert_eq!(rows, in_journal, "{case}");
    let search = Query {
        filter: Filter::parse("\"question 7\"", sample::START).unwrap(),
        ..Query::default()
    };
    let found = store.query(&search).unwrap().records;
    assert_eq!(found.len(), 1, "{case}");
}

/// Nothing is left of what was not finished.
fn check_names(dir: &Path, case: &str) {
    for folder in ["columns", "rollups"] {
        for file in fs::read_dir(dir.join(folder)).unwrap() {
            let path = file.unwrap().path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            assert_eq!(ending, Some("parquet"), "{case}: {}", path.display());
        }
    }
}

fn check_failing(count: usize, usual: usize) {
    let base = prepared();
    let watching = || FaultyDisk {
        only: Some(is_projection),
        ..FaultyDisk::default()
    };
    let flawless = Arc::new(watching());
    let dir = copy(base.path());
    drop(work(&flawless, dir.path(), true));
    let calls = flawless.calls();
    assert!(calls > 100, "{calls}");
    assert_eq!(fs::read_dir(dir.path().join("rollups")).unwrap().count(), 1);
    let kept = usize::try_from(PREPARED).unwrap() + 5;
    for first in (0..calls).step_by(self::step(usual)) {
        let case = format!("calls {first} to {}", first + count);
        let dir = copy(base.path());
        let disk = Arc::new(FaultyDisk {
            failing: first..first + count,
            first_error: first / ERRORS.len(),
            ..watching()
        });
        let store = work(&disk, dir.path(), true);
        check(&store, kept, &case);
        drop(store);
        let store = open(dir.path(), reopened());
        check(&store, kept, &case);
        store.settle().unwrap();
        check_names(dir.path(), &case);
        drop(store);
        assert!(verify(dir.path()).unwrap().is_intact(), "{case}");
    }
}

#[test]
fn whichever_call_for_a_projection_fails_it_comes_to_say_what_the_journal_says() {
    check_failing(1, 7);
}

#[test]
fn whichever_calls_for_a_projection_fail_in_a_row_it_comes_to_say_what_the_journal_says() {
    check_failing(5, 11);
}

#[test]
fn wherever_the_power_fails_projections_come_to_say_what_the_journal_says() {
    let base = prepared();
    let dir = copy(base.path());
    // What is there from the beginning is on the medium.
    let mut ops = Vec::new();
    for folder in ["journal", "columns", "rollups"] {
        for file in fs::read_dir(dir.path().join(folder)).unwrap() {
            let path = file.unwrap().path();
            let inode = fs::metadata(&path).unwrap().ino();
            ops.push(Op::Create {
                inode,
                name: name(&path),
            });
            ops.push(Op::Write {
                inode,
                bytes: fs::read(&path).unwrap(),
                offset: 0,
            });
            ops.push(Op::Sync { inode });
        }
        ops.push(Op::SyncDir { dir: folder.into() });
    }
    let there = ops.len();
    let disk = Arc::new(FaultyDisk::default());
    // What is erased is told by the overlay, which this disk knows nothing of.
    drop(work(&disk, dir.path(), false));
    ops.extend(disk.trace.lock().1.iter().cloned());
    let losses = [
        Loss::None,
        Loss::HalfAWrite,
        Loss::All,
        Loss::Data,
        Loss::EveryOther,
    ];
    for len in (there..=ops.len()).step_by(step(4)) {
        let loss = losses[len % losses.len()];
        let case = format!("{loss:?} after {} operations", len - there);
        let dir = TempDir::new().unwrap();
        crash(&ops[..len], loss, dir.path());
        let store = open(dir.path(), reopened());
        store.settle().unwrap();
        let count = all(&store).len();
        assert!(count >= usize::try_from(PREPARED).unwrap(), "{case}");
        check(&store, count, &case);
        check_names(dir.path(), &case);
    }
}
