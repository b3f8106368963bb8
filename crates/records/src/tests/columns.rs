//! Columns against the model: hot, sealed, merged, opened again, and read from beside.

use isango_store::analytics::{Dimension, Measure, Quantity};
use isango_store::conformance::varied;
use isango_store::later::Deletion;
use isango_types::Timestamp;
use isango_types::limit::{Period, Window};
use isango_types::record::MetadataValue;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::prune;

fn sealing_at(rows: usize) -> Options {
    Options {
        sync: Sync::Never,
        max_file_bytes: 40_000,
        seal_at: SealAt {
            rows,
            ..SealAt::default()
        },
        ..Options::default()
    }
}

/// Waits for what the sealing thread has to do, by doing it.
fn settle(store: &Records) {
    store.reader.columns().work(&|| false).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir.join("columns")).unwrap();
    let mut found: Vec<PathBuf> = listed.map(|file| file.unwrap().path()).collect();
    found.sort();
    found
}

/// Fills a store and a model with the same records, out of order, and some of them twice.
fn fill(store: &Records, model: &MemoryLogs, from: u64, to: u64) {
    let records: Vec<Record> = (from..to).map(varied::record).collect();
    for batch in records.chunks(23) {
        store.append(batch).unwrap();
        model.append(batch).unwrap();
    }
    store.append(&records[..3]).unwrap();
    model.append(&records[..3]).unwrap();
}

#[test]
fn lists_and_aggregates_conform_hot_and_sealed() {
    for rows in [65_536, 60] {
        conformance::analytics(|| {
            let dir = TempDir::new().unwrap();
            Temporary {
                records: open(dir.path(), sealing_at(rows)),
                _dir: dir,
            }
        });
    }
}

#[test]
fn columns_say_the_same_sealed_merged_and_opened_again() {
    for (rows, seed) in [(10_000, 1_000), (100, 2_000), (15, 3_000)] {
        let dir = TempDir::new().unwrap();
        let model = MemoryLogs::default();
        for round in 0..2 {
            let store = open(dir.path(), sealing_at(rows));
            conformance::agrees(&store, &model, seed + round, 2);
            fill(&store, &model, seed + round * 150, seed + round * 150 + 150);
            conformance::agrees(&store, &model, seed + round, 5);
            settle(&store);
            conformance::agrees(&store, &model, seed + 50 + round, 5);
            let beside = Reader::open(dir.path()).unwrap();
            conformance::agrees(&beside, &model, seed + 50 + round, 2);
        }
    }
}

#[test]
fn a_reader_beside_the_writer_sees_what_it_appends_and_seals() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let beside = Reader::open(dir.path()).unwrap();
    let store = open(dir.path(), sealing_at(30));
    for round in 0..6 {
        fill(&store, &model, round * 20, round * 20 + 20);
        if round % 2 == 1 {
            settle(&store);
        }
        conformance::agrees(&beside, &model, round, 4);
    }
}

#[test]
fn small_segments_are_merged_and_lost_or_damaged_ones_are_made_again() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(10));
    fill(&store, &model, 0, 300);
    settle(&store);
    let merged = segments(dir.path());
    assert!(merged.len() < 16, "{merged:?}");
    drop(store);
    let whole = fs::metadata(&merged[0]).unwrap().len();
    File::options()
        .write(true)
        .open(&merged[0])
        .unwrap()
        .set_len(whole - 9)
        .unwrap();
    fs::write(
        dir.path().join("columns/000000000000-000000000007.writing"),
        "half",
    )
    .unwrap();
    if merged.len() > 2 {
        fs::remove_file(&merged[2]).unwrap();
    }
    let store = open(dir.path(), sealing_at(10));
    settle(&store);
    conformance::agrees(&store, &model, 7, 10);
    drop(store);
    fs::remove_dir_all(dir.path().join("columns")).unwrap();
    let store = open(dir.path(), sealing_at(10));
    settle(&store);
    conformance::agrees(&store, &model, 8, 10);
    let modes = segments(dir.path())
        .into_iter()
        .map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777);
    assert!(modes.into_iter().all(|mode| mode == 0o600));
}

#[test]
fn what_a_merge_left_behind_in_a_crash_is_removed() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(10));
    fill(&store, &model, 0, 90);
    settle(&store);
    let before: Vec<(PathBuf, Vec<u8>)> = segments(dir.path())
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    for from in (90..470).step_by(20) {
        fill(&store, &model, from, from + 20);
        settle(&store);
    }
    drop(store);
    for (path, bytes) in &before {
        fs::write(path, bytes).unwrap();
    }
    let store = open(dir.path(), sealing_at(10));
    conformance::agrees(&store, &model, 9, 10);
    settle(&store);
    let first = segments(dir.path()).remove(0);
    assert!(
        before.iter().all(|(path, _)| *path != first),
        "the merged one is kept"
    );
}

/// Whether a text is in any file under a folder, or in any Parquet file once that is unpacked.
fn is_anywhere(dir: &Path, text: &str) -> bool {
    let holds = |bytes: &[u8]| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    fs::read_dir(dir).unwrap().any(|found| {
        let path = found.unwrap().path();
        if path.is_dir() {
            return is_anywhere(&path, text);
        }
        let name = path.to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let is_told = if name.ends_with(".parquet") {
            let file = File::open(&path).unwrap();
            let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            let mut batches = batches.build().unwrap();
            batches.any(|batch| {
                let columns = batch.unwrap();
                let mut columns = columns.columns().iter();
                columns.any(|column| holds(format!("{:?}", column.to_data()).as_bytes()))
            })
        } else if name.ends_with(".zst") {
            holds(&zstd::stream::decode_all(bytes.as_slice()).unwrap())
        } else {
            false
        };
        is_told || holds(&bytes)
    })
}

fn check_erasure(rows: usize, gone: &[usize]) {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(rows));
    let secret = |n: usize| format!("secret-{n}-of-a-person");
    let records: Vec<Record> = (0..120)
        .map(|n: usize| {
            let mut record = varied::record(n as u64);
            let text = MetadataValue::Text(secret(n).into());
            record.metadata = [("person".into(), text)].into();
            record.user_agent = Some(secret(n).into());
            record
        })
        .collect();
    for batch in records.chunks(7) {
        store.append(batch).unwrap();
        model.append(batch).unwrap();
    }
    settle(&store);
    let ids: Vec<RecordId> = gone.iter().map(|n| records[*n].id).collect();
    store.delete(&ids, Deletion::Erased).unwrap();
    model.delete(&ids, Deletion::Erased).unwrap();
    assert!(gone.iter().all(|n| is_anywhere(dir.path(), &secret(*n))));
    let now = Timestamp::from_micros(sample::START.as_micros() + 90_000_000_000);
    store.upkeep(now).unwrap();
    let listing = store.list(&List::default(), &Progress::default()).unwrap();
    assert!(
        listing.is_complete,
        "{rows} rows: nothing is missing meanwhile"
    );
    for n in 0..120 {
        let is_there = is_anywhere(dir.path(), &secret(n));
        assert_eq!(is_there, !gone.contains(&n), "record {n}, {rows} rows");
    }
    conformance::agrees(&store, &model, 30, 8);
    drop(store);
    let store = open(dir.path(), sealing_at(rows));
    settle(&store);
    assert!(gone.iter().all(|n| !is_anywhere(dir.path(), &secret(*n))));
    conformance::agrees(&store, &model, 40, 4);
}

#[test]
fn what_was_erased_is_in_no_file_after_the_upkeep() {
    let all_of_a_segment: Vec<usize> = (0..60).collect();
    for rows in [10, 50, 10_000] {
        check_erasure(rows, &[3, 57, 118]);
        check_erasure(rows, &all_of_a_segment);
    }
}

#[test]
fn a_question_that_is_stopped_says_so() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing_at(10));
    fill(&store, &MemoryLogs::default(), 0, 100);
    settle(&store);
    let progress = Progress::default();
    progress.stop();
    let answer = store.aggregate(&Aggregate::default(), &progress).unwrap();
    assert!(!answer.is_complete);
    assert!(progress.fraction() < 1.0);
    assert!(!store.list(&List::default(), &progress).unwrap().is_complete);
}

/// Questions that rolled rows can answer, at every granularity.
#[test]
fn of_many_groups_those_that_are_shown_have_their_percentiles() {
    let dir = TempDir::new().unwrap();
    let (store, model) = (open(dir.path(), sealing_at(150)), MemoryLogs::default());
    let records: Vec<Record> = (0..400).map(sample::record).collect();
    for batch in records.chunks(50) {
        store.append(batch).unwrap();
        model.append(batch).unwrap();
    }
    let hours = Window::Fixed(Duration::from_secs(3_600));
    for (top, order, every) in [
        (5, 0, None),
        (16, 1, None),
        (3, 1, Some(hours)),
        (4, 2, None),
        (0, 1, None),
    ] {
        let question = Aggregate {
            by: vec![Dimension::Metadata("n".into()), Dimension::Gateway],
            measures: vec![
                Measure::Count,
                Measure::Sum(Quantity::Duration),
                Measure::Percentile(Quantity::Duration, 950),
                Measure::Percentile(Quantity::Cost, 500),
            ],
            top,
            order,
            every,
            ..Aggregate::default()
        };
        let answer = store.aggregate(&question, &Progress::default()).unwrap();
        let right = model.aggregate(&question, &Progress::default()).unwrap();
        assert_eq!(answer, right, "{question:?}");
    }
}

fn standard_questions() -> Vec<Aggregate> {
    let zones = ["UTC", "Africa/Johannesburg", "Asia/Kolkata"];
    let calendar = |period, zone| Window::calendar(period, zone).unwrap();
    let mut every = vec![None, Some(Window::Fixed(Duration::from_secs(300)))];
    for zone in zones {
        every.extend(
            [Period::Hour, Period::Day, Period::Month].map(|one| Some(calendar(one, zone))),
        );
    }
    let filters = [
        "",
        "status:error -gateway:default",
        "model:gpt-4o* cache:hit,bypass",
        "cost:unpriced,estimated status:200",
        "token:ci provider:*",
    ];
    let by = [
        vec![],
        vec![Dimension::Model, Dimension::StatusClass],
        vec![Dimension::Cache, Dimension::Result],
        vec![Dimension::Gateway, Dimension::Token, Dimension::CostStatus],
    ];
    let hour = 3_600_000_000;
    let moment = |hours: u64| {
        Some(Timestamp::from_micros(
            sample::START.as_micros() + hours * hour + 7,
        ))
    };
    let ranges = [
        (None, None),
        (moment(3), moment(70)),
        (moment(30), None),
        (None, moment(33)),
    ];
    let mut questions = Vec::new();
    for (n, every) in every.into_iter().enumerate() {
        let (since, until) = ranges[n % ranges.len()];
        questions.push(Aggregate {
            filter: Filter::parse(filters[n % filters.len()], sample::START).unwrap(),
            since,
            until,
            by: by[n % by.len()].clone(),
            every,
            measures: [
                Measure::Count,
                Measure::Errors,
                Measure::Cached,
                Measure::Unpriced,
            ]
            .into_iter()
            .chain([Measure::Estimated])
            .chain(Quantity::ALL.map(Measure::Sum).into_iter().take(10))
            .chain([
                Measure::Known(Quantity::Ttft),
                Measure::Max(Quantity::Duration),
            ])
            .chain([Measure::Min(Quantity::Ttfb)])
            .collect(),
            top: 5,
            order: n % 4,
        });
    }
    questions
}

#[test]
fn sums_that_were_rolled_are_those_of_the_columns_to_the_last_nano_dollar() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(40));
    fill(&store, &model, 0, 900);
    settle(&store);
    fill(&store, &model, 900, 930);
    let columns = store.reader.columns();
    let rolled = fs::read_dir(dir.path().join("rollups")).unwrap().count();
    assert!(rolled > 0, "large segments have sums");
    let mut used = 0;
    for question in standard_questions() {
        let progress = Progress::default();
        let answer = aggregate::answer(columns, &question, &progress, 0).unwrap();
        let right = model.aggregate(&question, &progress).unwrap();
        assert_eq!(answer, right, "{question:?}");
        let snapshot = columns.snapshot().unwrap();
        used += usize::from(aggregate::uses_rollups(columns, &question, &snapshot, 0));
    }
    assert!(
        used >= 8,
        "only {used} questions were answered from rolled rows"
    );
}

#[test]
fn percentiles_of_rolled_rows_are_a_sixty_fourth_off_at_most() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(40));
    fill(&store, &model, 0, 900);
    settle(&store);
    let question = Aggregate {
        by: vec![Dimension::Gateway],
        measures: vec![
            Measure::Percentile(Quantity::Duration, 950),
            Measure::Percentile(Quantity::Ttft, 500),
        ],
        ..Aggregate::default()
    };
    let progress = Progress::default();
    let answer = aggregate::answer(store.reader.columns(), &question, &progress, 0).unwrap();
    let right = model.aggregate(&question, &progress).unwrap();
    assert!(answer.is_approximate && !right.is_approximate);
    for (told, exact) in answer.total.values.iter().zip(&right.total.values) {
        let (told, exact) = (told.unwrap(), exact.unwrap());
        assert!(told.abs_diff(exact) <= exact / 64, "{told} for {exact}");
    }
}

#[test]
fn groups_that_were_never_told_apart_are_not_passed_over_in_silence() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing_at(65_536));
    let user = |n: u64| {
        let mut record = varied::record(n);
        let user = MetadataValue::Text(format!("user-{n}").into());
        record.metadata = [("userId".into(), user)].into();
        record
    };
    let records: Vec<Record> = (0..1_600).map(user).collect();
    let question = Aggregate {
        by: vec![Dimension::Metadata("userId".into())],
        measures: vec![
            Measure::Sum(Quantity::Cost),
            Measure::Percentile(Quantity::Duration, 950),
        ],
        top: 5,
        ..Aggregate::default()
    };
    let is_approximate = || {
        let answer = store.aggregate(&question, &Progress::default()).unwrap();
        assert_eq!(answer.groups.len(), 5);
        answer.is_approximate
    };
    store.append(&records[..1_000]).unwrap();
    assert!(!is_approximate());
    store.append(&records[1_000..]).unwrap();
    assert!(is_approximate());
}

/// Checks which of four sealed files, of 50 records each, are read for a filter.
fn check_pruning(filter: &str, expected: [bool; 4]) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), sealing_at(50));
    for (quarter, model) in (0..).zip(["alpha", "beta", "gamma", "delta"]) {
        let records = (0..50).map(|n| {
            let mut record = sample::record(quarter * 50 + n);
            record.event_id = format!("event-{quarter}-{n}").into();
            record.model = Some(model.into());
            record.model_requested = None;
            record.timing.total_us = 1_000 * (quarter + 1);
            record.status = Some(200 + u16::try_from(quarter).unwrap() * 100);
            let tenant = MetadataValue::Text(format!("tenant-{quarter}").into());
            record.metadata = [("tenantId".into(), tenant)].into();
            if quarter == 2 {
                let plan = MetadataValue::Text("gold".into());
                record.metadata.insert("plan".into(), plan);
            }
            record
        });
        store.append(&records.collect::<Vec<_>>()).unwrap();
        settle(&store);
    }
    let filter = Filter::parse(filter, sample::START).unwrap();
    let snapshot = store.reader.columns().snapshot().unwrap();
    let read = snapshot.segments.iter();
    let read: Vec<bool> = read
        .map(|segment| prune::may_match(segment, 0, &filter))
        .collect();
    assert_eq!(read, expected, "{filter}");
}

#[test]
fn files_that_cannot_hold_an_answer_are_not_read() {
    check_pruning("event:event-1-7", [false, true, false, false]);
    check_pruning("event:event-1-77", [false; 4]);
    // A record without an event of its own has that of its id.
    check_pruning("event:event-1*", [true; 4]);
    check_pruning("model:gamma,alpha", [true, false, true, false]);
    check_pruning("model:ga*", [false, false, true, false]);
    check_pruning("model:*a", [true; 4]);
    check_pruning("meta.tenantId:tenant-3", [false, false, false, true]);
    check_pruning("meta.plan:*", [false, false, true, false]);
    check_pruning("meta.plan:silver", [false; 4]);
    check_pruning("-meta.plan:gold", [true; 4]);
    check_pruning("duration:>2500us", [false, false, true, true]);
    check_pruning("status:3xx", [false, true, false, false]);
    check_pruning("status:404", [false; 4]);
    check_pruning("status:error", [true; 4]);
    check_pruning("cache:bypass", [true; 4]);
    check_pruning("cache:hit", [false; 4]);
    check_pruning("id:01a00000-0000-7000-8000-000000000000", [false; 4]);
}

#[test]
fn sums_that_are_lost_are_made_again_and_those_without_a_segment_removed() {
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(40));
    fill(&store, &model, 0, 700);
    settle(&store);
    drop(store);
    let rollups = dir.path().join("rollups");
    let before: Vec<_> = fs::read_dir(&rollups)
        .unwrap()
        .map(|one| one.unwrap().path())
        .collect();
    fs::write(&before[0], "damaged").unwrap();
    fs::write(rollups.join("000000000001-000000000002.parquet"), "orphan").unwrap();
    let store = open(dir.path(), sealing_at(40));
    settle(&store);
    let after = fs::read_dir(&rollups).unwrap().count();
    assert_eq!(after, before.len());
    assert!(fs::metadata(&before[0]).unwrap().len() > 100);
}

#[test]
fn what_was_said_of_records_later_is_in_lists_and_sums_at_once() {
    use isango_store::later::{Change, Patch};
    let dir = TempDir::new().unwrap();
    let model = MemoryLogs::default();
    let store = open(dir.path(), sealing_at(40));
    fill(&store, &model, 0, 200);
    settle(&store);
    fill(&store, &model, 200, 230);
    let all = List {
        limit: 1_000,
        ..List::default()
    };
    let rows = store.list(&all, &Progress::default()).unwrap().rows;
    for (n, row) in rows.iter().enumerate() {
        let metadata = [("tenantId".into(), MetadataValue::Text("moved".into()))];
        let patch = Patch {
            feedback: Change::Set(1),
            metadata: if n % 2 == 0 {
                Change::Set(metadata.into())
            } else {
                Change::Keep
            },
            ..Patch::default()
        };
        match n % 20 {
            0 | 1 => {
                assert!(store.patch(row.id, &patch).unwrap());
                assert!(model.patch(row.id, &patch).unwrap());
            }
            2 => {
                store.delete(&[row.id], Deletion::Hidden).unwrap();
                model.delete(&[row.id], Deletion::Hidden).unwrap();
            }
            _ => {}
        }
    }
    for text in [
        "feedback:1",
        "-feedback:1 status:error",
        "meta.tenantId:moved",
    ] {
        let filter = Filter::parse(text, sample::START).unwrap();
        let list = List {
            filter,
            ..all.clone()
        };
        let progress = Progress::default();
        let found = store.list(&list, &progress).unwrap();
        assert_eq!(found, model.list(&list, &progress).unwrap(), "{text}");
        assert!(!found.rows.is_empty());
    }
    conformance::agrees(&store, &model, 50, 15);
    let beside = Reader::open(dir.path()).unwrap();
    conformance::agrees(&beside, &model, 70, 5);
    store.restore(&[rows[2].id]).unwrap();
    model.restore(&[rows[2].id]).unwrap();
    conformance::agrees(&store, &model, 80, 5);
}
