//! A store is copied while it is written to, and its projections are made again.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use isango_store::later::{Change, Deletion, Patch};
use isango_store::logs::{LogReader as _, LogWriter as _};
use tempfile::TempDir;

use super::{all, batch, files, ids, open, sample, small_files};
use crate::{backup, verify};

#[test]
fn a_copy_that_is_made_under_load_is_a_whole_store() {
    let (dir, copy) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path(), small_files());
    let records = batch(0, 200);
    store.append(&records[..40]).unwrap();
    let patch = Patch {
        feedback: Change::Set(1),
        ..Patch::default()
    };
    store.patch(records[0].id, &patch).unwrap();
    store
        .delete(&[records[1].id, records[2].id], Deletion::Erased)
        .unwrap();
    let is_copied = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for some in records[40..].chunks(4) {
                store.append(some).unwrap();
                store.upkeep(sample::time(60)).unwrap();
            }
            // There is load until the copies are made, or nearly so.
            for n in 1_000..1_200 {
                if !is_copied.load(Ordering::Relaxed) {
                    store.append(&[sample::record(n)]).unwrap();
                }
            }
        });
        let mut known = 0;
        for _ in 0..3 {
            let before = all(&store);
            let done = backup(dir.path(), copy.path()).unwrap();
            let report = verify(copy.path()).unwrap();
            assert!(report.is_intact(), "{report:?}");
            let copied = open(copy.path(), small_files());
            let found = all(&copied);
            assert_eq!(found[..before.len()], before);
            assert!(done.files > 0 || found.len() == known, "{done:?}");
            known = found.len();
            let first = copied.get(records[0].id).unwrap().unwrap();
            assert_eq!(first.review.unwrap().feedback, Some(1));
            assert!(copied.get(records[1].id).unwrap().is_none());
        }
        is_copied.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    // With nothing new there is nothing to copy.
    backup(dir.path(), copy.path()).unwrap();
    let done = backup(dir.path(), copy.path()).unwrap();
    assert_eq!(
        (done.files, done.kept),
        (0, files(dir.path(), ".jsonl.zst").len() as u64)
    );
}

#[test]
fn projections_are_made_again() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), small_files());
    let records = batch(0, 60);
    records
        .chunks(4)
        .for_each(|some| store.append(some).unwrap());
    store.indexer.finish().unwrap();
    let projections = || [files(dir.path(), ".index"), files(dir.path(), ".words")].concat();
    let read = || {
        projections()
            .iter()
            .map(|file| fs::read(file).unwrap())
            .collect::<Vec<_>>()
    };
    let (names, whole) = (projections(), read());
    assert!(names.len() > 6);
    for file in &names {
        fs::write(file, b"damaged").unwrap();
    }
    fs::remove_file(&names[0]).unwrap();
    store.rebuild().unwrap();
    assert_eq!((projections(), read()), (names, whole));
    assert_eq!(all(&store), ids(&records));
}
