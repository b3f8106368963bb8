//! What retention leaves of columns, what lists say of bodies that went, and what is measured.

use bytes::Bytes;
use isango_store::analytics::{List, Progress};
use isango_types::Timestamp;
use isango_types::record::Omitted;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::segment::Segment;
use crate::usage;

const HOUR: Duration = Duration::from_secs(3_600);

fn sealing(retain: Retention) -> Options {
    Options {
        max_file_bytes: 5_000,
        seal_at: SealAt {
            rows: 10,
            ..SealAt::default()
        },
        retain,
        ..small_files()
    }
}

fn fill(store: &Records, to: u64) {
    for some in batch(0, to).chunks(10) {
        store.append(some).unwrap();
        store.settle().unwrap();
    }
}

fn segments(dir: &Path) -> Vec<Segment> {
    let listed = fs::read_dir(dir.join("columns")).unwrap();
    let paths = listed.map(|file| file.unwrap().path());
    paths.map(|path| Segment::open(&path).unwrap()).collect()
}

fn rows(store: &Records) -> Vec<isango_store::row::Row> {
    let list = List {
        limit: 10_000,
        ascending: true,
        ..List::default()
    };
    let listed = store.list(&list, &Progress::default()).unwrap();
    assert!(listed.is_complete);
    listed.rows
}

#[test]
fn what_retention_removed_leaves_a_merged_segment_too() {
    let dir = TempDir::new().unwrap();
    let options = sealing(Retention {
        max_age: Some(HOUR),
        ..Retention::default()
    });
    let store = open(dir.path(), options);
    fill(&store, 400);
    let merged = segments(dir.path());
    assert!(merged.iter().any(|one| one.first == 0 && one.rows >= 160));
    store.upkeep(sample::time(3_600 + 150)).unwrap();
    store.settle().unwrap();
    let left = all(&store);
    assert!((250..400).contains(&left.len()), "{}", left.len());
    let floor = 400 - left.len() as u64;
    assert!(segments(dir.path()).iter().all(|one| one.first >= floor));
    let sealed: usize = segments(dir.path()).iter().map(|one| one.rows).sum();
    assert!(sealed <= left.len());
    let listed: Vec<RecordId> = rows(&store).iter().map(|row| row.id).collect();
    assert_eq!(listed, left);
    drop(store);
    let store = open(dir.path(), small_files());
    assert_eq!(rows(&store).len(), left.len());
}

#[test]
fn a_list_says_of_bodies_that_they_have_expired_as_the_records_do() {
    let dir = TempDir::new().unwrap();
    let store = open(
        dir.path(),
        sealing(Retention {
            max_body_age: Some(HOUR),
            ..Retention::default()
        }),
    );
    fill(&store, 200);
    store.upkeep(sample::time(3_600 + 100)).unwrap();
    let query = Query {
        order: Order::OldestFirst,
        limit: 10_000,
        with_bodies: true,
        ..Query::default()
    };
    let records = store.query(&query).unwrap().records;
    let expired = |omitted: Option<Omitted>| omitted == Some(Omitted::Expired);
    let told: Vec<bool> = records
        .iter()
        .map(|one| expired(one.request.omitted))
        .collect();
    assert!(told.contains(&true) && told.contains(&false));
    let listed: Vec<bool> = rows(&store)
        .iter()
        .map(|row| expired(row.request.omitted))
        .collect();
    assert_eq!(listed, told);
}

#[test]
fn columns_count_in_the_limit_of_bytes() {
    const LIMIT: u64 = 1_000_000;
    let dir = TempDir::new().unwrap();
    let options = Options {
        max_file_bytes: 50_000,
        seal_at: SealAt {
            rows: 400,
            ..SealAt::default()
        },
        ..sealing(Retention {
            max_bytes: Some(LIMIT),
            ..Retention::default()
        })
    };
    let store = open(dir.path(), options);
    for from in 0..24 {
        store.append(&batch(from * 400, from * 400 + 400)).unwrap();
        store.settle().unwrap();
    }
    let measured = usage(dir.path()).unwrap();
    assert!(
        measured.column_bytes > measured.journal_bytes / 4,
        "{measured:?}"
    );
    let counted = measured.journal_bytes + measured.column_bytes + measured.rollup_bytes;
    assert!(measured.records < 9_600, "{measured:?}");
    // What was sealed since the last file of the journal was begun comes on top.
    assert!(
        counted < LIMIT + LIMIT / 4 && counted > LIMIT / 4,
        "{measured:?}"
    );
}

#[test]
fn a_store_is_measured_by_part_and_by_day() {
    const DAY: u64 = 86_400;
    let dir = TempDir::new().unwrap();
    assert_eq!(
        usage(dir.path()).unwrap(),
        isango_store::usage::Usage::default()
    );
    let store = open(dir.path(), sealing(Retention::default()));
    for day in 0..3 {
        store.append(&batch(day * DAY, day * DAY + 20)).unwrap();
    }
    store.settle().unwrap();
    store.indexer.finish().unwrap();
    let measured = usage(dir.path()).unwrap();
    assert_eq!(measured.records, 60);
    let days: Vec<u64> = measured.days.iter().map(|day| day.records).collect();
    assert_eq!(days, [20, 20, 20]);
    let of_days: u64 = measured.days.iter().map(|day| day.journal_bytes).sum();
    assert!(of_days <= measured.journal_bytes && of_days > measured.journal_bytes / 2);
    let parts = [measured.index_bytes, measured.column_bytes];
    assert!(parts.iter().all(|bytes| *bytes > 0), "{measured:?}");
    // The third day has not passed: the pace is that of the first two, with their columns.
    let pace = |now: Timestamp| measured.bytes_per_day(now);
    let expected = of_days / 3 * measured.total() / measured.journal_bytes;
    let told = pace(sample::time(2 * DAY)).unwrap();
    assert!(told.abs_diff(expected) < expected / 4, "{told} {expected}");
    assert_eq!(pace(sample::time(0)), None);
}

#[test]
fn an_export_as_parquet_has_what_matches_and_was_not_deleted() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing(Retention::default()));
    fill(&store, 97);
    let ids = all(&store);
    store.delete(&ids[..3], Deletion::Hidden).unwrap();
    let reader = Records::open_read_only(dir.path()).unwrap();
    let query = || Query {
        filter: Filter::parse("gateway:default", sample::START).unwrap(),
        ..Query::default()
    };
    let export = |most: usize| {
        let mut file = Vec::new();
        let count = reader.export_parquet(query(), most, &mut file).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
        let names: Vec<String> = builder
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let batches = builder.build().unwrap();
        let rows: usize = batches.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows as u64, count);
        (rows, names)
    };
    let expected = store
        .query(&Query {
            limit: 10_000,
            ..query()
        })
        .unwrap()
        .records
        .len();
    let (rows, names) = export(usize::MAX);
    assert_eq!(rows, expected);
    assert!(!names.contains(&"position".to_owned()) && names.contains(&"cost_nanousd".to_owned()));
    assert!(names.contains(&"metadata_more".to_owned()));
    assert_eq!(export(7).0, 7);
}

#[test]
fn a_rebuilt_store_has_everything_sealed() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing(Retention::default()));
    fill(&store, 97);
    let expected = rows(&store);
    store.rebuild().unwrap();
    assert_eq!(rows(&store), expected);
    let sealed: usize = segments(dir.path()).iter().map(|one| one.rows).sum();
    assert_eq!(sealed, 97);
    store.append(&batch(97, 99)).unwrap();
    assert_eq!(rows(&store).len(), 99);
}
