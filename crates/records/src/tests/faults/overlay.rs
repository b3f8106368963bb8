//! What is said of records later, where each call that SQLite is told of fails in turn: whoever says
//! it is told of the failure, saying it again works, and no answer ever shows what was not said, or
//! what was erased.

use isango_store::analytics::{List, Progress};
use isango_store::later::{Change, Patch};
use isango_store::logs::Query;

use super::*;

pub(super) fn is_overlay(name: &Path) -> bool {
    name.to_string_lossy().ends_with("overlay.sqlite")
}

/// Until it works: nine times at most.
fn stubborn<T>(mut call: impl FnMut() -> Result<T, crate::Error>) -> T {
    for _ in 0..9 {
        if let Ok(done) = call() {
            return done;
        }
    }
    call().unwrap()
}

fn feedback(record: &crate::Record) -> Option<i8> {
    record.review.as_ref()?.feedback
}

/// What readers show, each as far as it can be read: records with their feedback.
fn check(store: &Records, records: &[crate::Record], may: &[Option<i8>], case: &str) {
    let query = Query {
        order: super::super::Order::OldestFirst,
        ..Query::default()
    };
    let list = List {
        ascending: true,
        ..List::default()
    };
    if let Ok(page) = store.query(&query) {
        let said: Vec<_> = page.records.iter().map(feedback).collect();
        assert_eq!(ids(&page.records), ids(records), "{case}");
        assert!(said.iter().all(|one| may.contains(one)), "{case}: {said:?}");
    }
    if let Ok(listing) = store.list(&list, &Progress::default()) {
        let rows: Vec<RecordId> = listing.rows.iter().map(|row| row.id).collect();
        assert_eq!(rows, ids(records), "{case}");
    }
}

/// Says something of a record, erases another one, and sees to it that it leaves the disk.
fn work(disk: &Arc<FaultyDisk>, dir: &Path, case: &str) {
    let store = Records::open_on(disk.clone(), dir, small_files()).unwrap();
    let records = super::super::batch(0, 6);
    store.append(&records).unwrap();
    let patch = Patch {
        feedback: Change::Set(1),
        ..Patch::default()
    };
    let (patched, erased) = (records[1].id, records[4].id);
    while store.patch(patched, &patch).is_err() {
        check(&store, &records, &[None, Some(1)], case);
    }
    while store.delete(&[erased], Deletion::Erased).is_err() {}
    let left: Vec<_> = (records.iter())
        .filter(|one| one.id != erased)
        .cloned()
        .collect();
    check(&store, &left, &[None, Some(1)], case);
    stubborn(|| store.upkeep(sample::time(60)));
    check(&store, &left, &[None, Some(1)], case);
    let get = |id| stubborn(|| store.get(id));
    assert!(get(erased).is_none(), "{case}");
    assert_eq!(feedback(&get(patched).unwrap()), Some(1), "{case}");
    drop(store);
    let report = verify(dir).unwrap();
    assert_eq!(
        (report.erased, report.unfinished_rewrites),
        (1, 0),
        "{case}"
    );
    assert!(report.is_intact(), "{case}: {report:?}");
}

#[test]
fn whichever_call_of_the_overlay_fails_what_is_said_is_said_once_it_is_acknowledged() {
    let watching = |failing| {
        Arc::new(FaultyDisk {
            failing,
            only: Some(is_overlay),
            ..FaultyDisk::default()
        })
    };
    let flawless = watching(0..0);
    work(&flawless, TempDir::new().unwrap().path(), "no failure");
    let calls = flawless.calls();
    assert!(calls > 20, "{calls}");
    for count in [1, 3] {
        for first in (0..calls).step_by(step(7)) {
            let case = format!("calls {first} to {}", first + count);
            let dir = TempDir::new().unwrap();
            work(&watching(first..first + count), dir.path(), &case);
        }
    }
}
