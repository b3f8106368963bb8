//! A search answers the same with an index of words, without one, and with a damaged one.

use std::fs;

use isango_store::analytics::{List, Progress};
use isango_store::filter::Filter;
use isango_store::later::Deletion;
use isango_store::logs::{LogReader as _, LogWriter as _, Order, Query};
use isango_types::record::Body;
use isango_types::{Record, RecordId};
use proptest::prelude::*;
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::{batch, files, ids, open, sample, small_files};
use crate::locate::Locator;
use crate::{Options, Records, Sync};

fn search(store: &Records, text: &str) -> Vec<RecordId> {
    let query = Query {
        filter: Filter::parse(text, sample::START).unwrap(),
        limit: 10_000,
        ..Query::default()
    };
    let found = ids(&store.query(&query).unwrap().records);
    let list = List {
        filter: query.filter,
        ascending: query.order == Order::OldestFirst,
        limit: query.limit,
        ..List::default()
    };
    let rows = store.list(&list, &Progress::default()).unwrap().rows;
    let listed: Vec<RecordId> = rows.iter().map(|row| row.id).collect();
    assert_eq!(listed, found, "a list finds what a query does: {text}");
    found
}

/// One file, complete after so many bytes.
fn files_of(max_file_bytes: u64) -> Options {
    Options {
        sync: Sync::Never,
        max_file_bytes,
        ..Options::default()
    }
}

#[test]
fn a_search_unpacks_only_frames_that_hold_its_words() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), files_of(400_000));
    // Frames of one record each, some 500 in the first file, which has blocks of 256 and a rest.
    let records = batch(0, 900);
    for record in &records {
        store.append(std::slice::from_ref(record)).unwrap();
    }
    assert_eq!(files(dir.path(), ".jsonl.zst").len(), 2);
    store.indexer.finish().unwrap();
    assert_eq!(files(dir.path(), ".words").len(), 2);
    let expected = |n: usize| vec![records[n].id];
    for n in [0, 255, 256, 500, 899] {
        assert_eq!(
            search(&store, &format!("\"question {n}\"")),
            expected(n),
            "{n}"
        );
        assert_eq!(search(&store, &format!("{n}")), expected(n), "{n}");
    }
    assert_eq!(search(&store, "\"question 89\"*").len(), 11);
    let words = Filter::parse("321", sample::START).unwrap().words();
    let (file, number) = (&files(dir.path(), ".jsonl.zst")[0], 1);
    let journal = fs::File::open(file).unwrap();
    let dir = dir.path().join("journal");
    let candidates = crate::words::Candidates::find(&dir, number, &journal, &words).unwrap();
    let found: Vec<usize> = (0..500)
        .filter(|frame| candidates.may_hold(*frame))
        .collect();
    assert_eq!(found, [321]);
    let mut locator = Locator::of_words(store.reader.catalog(), words).unwrap();
    for at in [320, 321, 322] {
        let is_read = locator.record(at).unwrap().is_some();
        assert_eq!(is_read, at == 321, "the record at {at}");
    }
}

#[test]
fn an_index_that_is_damaged_or_does_not_fit_hides_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), files_of(100_000));
    let records = batch(0, 400);
    for record in &records {
        store.append(std::slice::from_ref(record)).unwrap();
    }
    store.indexer.finish().unwrap();
    let index = &files(dir.path(), ".words")[0];
    let whole = fs::read(index).unwrap();
    for at in (0..whole.len()).step_by(31) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x11;
        fs::write(index, damaged).unwrap();
        assert_eq!(search(&store, "7"), [records[7].id], "byte {at}");
    }
    for len in (0..whole.len()).step_by(997) {
        fs::write(index, &whole[..len]).unwrap();
        assert_eq!(search(&store, "7"), [records[7].id], "{len} bytes");
    }
    // That of another file.
    fs::copy(&files(dir.path(), ".words")[1], index).unwrap();
    assert_eq!(search(&store, "7"), [records[7].id]);
    store.indexer.finish().unwrap();
    assert_eq!(fs::read(index).unwrap(), whole, "it was made again");
}

#[test]
fn an_index_goes_with_what_was_erased() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), small_files());
    let records = batch(0, 60);
    records
        .chunks(4)
        .for_each(|some| store.append(some).unwrap());
    store.indexer.finish().unwrap();
    store.delete(&[records[9].id], Deletion::Erased).unwrap();
    assert_eq!(store.upkeep(sample::time(60)).unwrap().erased, 1);
    store.indexer.finish().unwrap();
    assert_eq!(search(&store, "9"), []);
    assert_eq!(search(&store, "10"), [records[10].id]);
    let words = Filter::parse("question 9", sample::START).unwrap().words();
    let journal = fs::File::open(&files(dir.path(), ".jsonl.zst")[2]).unwrap();
    let journal_dir = dir.path().join("journal");
    let found = crate::words::Candidates::find(&journal_dir, 3, &journal, &words).unwrap();
    assert!(!found.may_be_in(1), "no frame holds what was erased");
}

fn with_body(n: u64, body: &str, is_json: bool) -> Record {
    let mut record = sample::record(n);
    record.request.body = Some(if is_json {
        let json = serde_json::to_string(&serde_json::json!({ "say": body })).unwrap();
        // As a client may spell it.
        let json = json.replace('é', "\\u00e9").replace('/', "\\/");
        Body::Json(RawValue::from_string(json).unwrap())
    } else {
        Body::Text(body.into())
    });
    record
}

fn few(most: usize) -> impl Strategy<Value = String> {
    let letters = "abAB_1é É退İς \"\\/\n.".chars().collect::<Vec<_>>();
    prop::collection::vec(prop::sample::select(letters), 1..=most)
        .prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_index_changes_no_answer(
        bodies in prop::collection::vec((few(12), any::<bool>()), 1..40),
        sizes in prop::collection::vec(1..6_usize, 1..6),
        needles in prop::collection::vec((few(5), any::<[bool; 2]>()), 1..12),
    ) {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path(), small_files());
        let records: Vec<Record> = (0..)
            .zip(&bodies)
            .map(|(n, (body, is_json))| with_body(n, body, *is_json))
            .collect();
        let mut rest = &records[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (some, behind) = rest.split_at(rest.len().min(*size));
            store.append(some).unwrap();
            rest = behind;
        }
        store.indexer.finish().unwrap();
        for (needle, [start, end]) in needles {
            let star = |is_open: bool| if is_open { "*" } else { "" };
            let quoted = needle.replace('\\', "\\\\").replace('"', "\\\"");
            let text = format!("{}\"{quoted}\"{}", star(start), star(end));
            let filter = Filter::parse(&text, sample::START).unwrap();
            let matching = records.iter().rev().filter(|record| filter.matches(record));
            let expected: Vec<RecordId> = matching.map(|record| record.id).collect();
            prop_assert_eq!(search(&store, &text), expected, "{}", text);
        }
    }
}
