//! Records that were erased, and bodies that are too old, leave the disk; the chain holds.

use std::fs;
use std::path::Path;

use isango_store::later::Deletion;
use isango_store::logs::{LogReader as _, LogWriter as _, Order, Position, Query};
use isango_types::record::Omitted;
use isango_types::{Record, RecordId, Timestamp};
use tempfile::TempDir;

use super::{all, batch, files, ids, json, open, sample, small_files};
use crate::{Options, Records, Report, Retention, verify};

/// Later than any record of the tests.
const NOW: Timestamp = Timestamp::from_micros(sample::START.as_micros() + 90_000_000_000);

/// Everything that the journal holds, unpacked.
fn text(dir: &Path) -> String {
    let unpack = |file: &std::path::PathBuf| {
        let unpacked = zstd::stream::decode_all(fs::File::open(file).unwrap()).unwrap();
        String::from_utf8(unpacked).unwrap()
    };
    files(dir, ".jsonl.zst").iter().map(unpack).collect()
}

fn intact(dir: &Path) -> Report {
    let report = verify(dir).unwrap();
    assert!(report.is_intact(), "{report:?}");
    report
}

/// A store of 60 records in several files.
fn filled(dir: &Path, options: Options) -> (Records, Vec<Record>) {
    let store = open(dir, options);
    let records = batch(0, 60);
    for some in records.chunks(4) {
        store.append(some).unwrap();
    }
    (store, records)
}

fn whole(store: &Records) -> Vec<String> {
    let page = store.query(&Query {
        order: Order::OldestFirst,
        limit: 1_000,
        with_bodies: true,
        with_deleted: true,
        ..Query::default()
    });
    json(&page.unwrap().records)
}

#[test]
fn what_was_erased_leaves_the_disk_and_the_chain_holds() {
    let dir = TempDir::new().unwrap();
    let (store, records) = filled(dir.path(), small_files());
    let head = intact(dir.path()).head;
    // In one file, in another one, and in the newest.
    let gone: Vec<RecordId> = [3, 5, 30, 59].map(|n: usize| records[n].id).into();
    store.delete(&gone, Deletion::Erased).unwrap();
    store.delete(&[records[10].id], Deletion::Hidden).unwrap();
    let (shown, counted) = (all(&store), whole(&store));
    assert!(text(dir.path()).contains("Question 30 "));
    let done = store.upkeep(NOW).unwrap();
    assert_eq!((done.erased, done.freed_bytes), (4, 0), "{done:?}");
    for n in 0..60 {
        let is_there = text(dir.path()).contains(&format!("Question {n} "));
        assert_eq!(is_there, ![3, 5, 30, 59].contains(&n), "question {n}");
    }
    assert_eq!(
        (all(&store), whole(&store)),
        (shown.clone(), counted.clone())
    );
    let (followed, end) = store.follow(Position::START, 100).unwrap();
    assert_eq!((ids(&followed), end), (ids(&records), Position::after(60)));
    let report = intact(dir.path());
    assert_eq!((report.records, report.erased), (60, 4));
    assert_eq!(
        (report.rewritten, report.unfinished_rewrites),
        (done.rewritten, 0)
    );
    // A head that was written down before is still in the chain.
    let journal: Vec<u8> = files(dir.path(), ".jsonl.zst")
        .iter()
        .flat_map(|file| fs::read(file).unwrap())
        .collect();
    let link: Vec<u8> = (0..32)
        .map(|n| u8::from_str_radix(&head[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    assert!(journal.windows(32).any(|window| window == link));
    // There is nothing left to do, and a start changes nothing.
    assert_eq!(store.upkeep(NOW).unwrap(), crate::Upkeep::default());
    drop(store);
    let store = open(dir.path(), small_files());
    assert_eq!((all(&store), whole(&store)), (shown, counted));
    // The overlay may be lost: what was erased says so itself.
    drop(store);
    fs::remove_file(dir.path().join("overlay.sqlite")).unwrap();
    let left: Vec<RecordId> = ids(&records)
        .into_iter()
        .filter(|id| !gone.contains(id))
        .collect();
    assert_eq!(all(&open(dir.path(), small_files())), left);
}

#[test]
fn what_is_erased_before_it_comes_leaves_the_disk_too() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), small_files());
    let records = batch(0, 3);
    store.delete(&[records[1].id], Deletion::Erased).unwrap();
    let soon = sample::time(60);
    assert_eq!(store.upkeep(soon).unwrap().erased, 0);
    store.append(&records).unwrap();
    assert_eq!(store.upkeep(soon).unwrap().erased, 1);
    assert!(!text(dir.path()).contains("Question 1 "));
    assert_eq!(all(&store), [records[0].id, records[2].id]);
}

#[test]
fn bodies_go_before_their_records() {
    let dir = TempDir::new().unwrap();
    let max_body_age = Some(std::time::Duration::from_secs(3_600));
    let options = Options {
        retain: Retention {
            max_body_age,
            ..Retention::default()
        },
        ..small_files()
    };
    let (store, records) = filled(dir.path(), options);
    let recent = sample::record(90_000);
    store.append(std::slice::from_ref(&recent)).unwrap();
    store.delete(&[records[7].id], Deletion::Erased).unwrap();
    let done = store.upkeep(NOW).unwrap();
    assert!(done.rewritten > 3 && done.rewritten_bytes > 0, "{done:?}");
    assert_eq!(done.erased, 1);
    let text = text(dir.path());
    assert!(!text.contains("Question 8 ") && text.contains("Question 90000 "));
    let record = store.get(records[8].id).unwrap().unwrap();
    assert_eq!(record.request.omitted, Some(Omitted::Expired));
    assert_eq!(record.metadata, records[8].metadata);
    assert_eq!(record.request.bytes, records[8].request.bytes);
    let kept = store.get(recent.id).unwrap().unwrap();
    assert_eq!(json(&[kept]), json(&[recent]));
    assert_eq!(store.upkeep(NOW).unwrap(), crate::Upkeep::default());
    // What has no body any more can still be erased.
    store.delete(&[records[8].id], Deletion::Erased).unwrap();
    assert_eq!(store.upkeep(NOW).unwrap().erased, 1);
    assert_eq!(intact(dir.path()).erased, 2);
    assert_eq!(all(&store).len(), 59);
}

#[test]
fn a_rewritten_file_is_proved_by_its_seal() {
    let dir = TempDir::new().unwrap();
    let (store, records) = filled(dir.path(), small_files());
    let file = &files(dir.path(), ".jsonl.zst")[0];
    let before = fs::read(file).unwrap();
    store.delete(&[records[1].id], Deletion::Erased).unwrap();
    store.upkeep(NOW).unwrap();
    store.delete(&[records[2].id], Deletion::Erased).unwrap();
    let once = fs::read(file).unwrap();
    store.upkeep(NOW).unwrap();
    let twice = fs::read(file).unwrap();
    assert_eq!(intact(dir.path()).unfinished_rewrites, 0);
    for at in (0..twice.len()).step_by(7) {
        let mut changed = twice.clone();
        changed[at] ^= 0x10;
        fs::write(file, &changed).unwrap();
        if let Ok(report) = verify(dir.path()) {
            assert!(!report.is_intact(), "byte {at}");
        }
    }
    // What was there before it was rewritten is true, but should have gone.
    for older in [&before, &once] {
        fs::write(file, older).unwrap();
        assert_eq!(intact(dir.path()).unfinished_rewrites, 1);
    }
    // A rewrite that nobody sealed.
    let other = TempDir::new().unwrap();
    let (store, _) = filled(other.path(), small_files());
    fs::write(&files(other.path(), ".jsonl.zst")[0], &twice).unwrap();
    drop(store);
    assert!(!verify(other.path()).unwrap().is_intact());
}

#[test]
fn a_reader_beside_the_writer_sees_a_rewrite() {
    let dir = TempDir::new().unwrap();
    let (store, records) = filled(dir.path(), small_files());
    for index in files(dir.path(), ".index") {
        fs::remove_file(index).unwrap();
    }
    // It holds the frames of each file in memory, having found no index.
    let reader = Records::open_read_only(dir.path()).unwrap();
    assert_eq!(all(&reader).len(), 60);
    store.delete(&[records[4].id], Deletion::Erased).unwrap();
    assert_eq!(all(&reader).len(), 59);
    assert_eq!(store.upkeep(NOW).unwrap().erased, 1);
    assert_eq!(all(&reader), all(&store));
    assert!(reader.get(records[5].id).unwrap().is_some());
    assert!(reader.get(records[4].id).unwrap().is_none());
}
