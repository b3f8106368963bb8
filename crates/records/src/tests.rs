use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use isango_store::conformance::{self, sample};
use isango_store::filter::Filter;
use isango_store::later::Change;
use isango_store::logs::Order;
use isango_store::memory::MemoryLogs;
use isango_types::record::{Body, MetadataValue};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod backup;
mod columns;
mod damage;
mod faults;
mod kept;
mod mutated;
mod ratings;
mod rewrite;
mod stopped;
mod words;

/// A store in a folder of its own.
struct Temporary {
    records: Records,
    _dir: TempDir,
}

impl LogWriter for Temporary {
    fn append(&self, batch: &[Record]) -> Result<(), Error> {
        self.records.append(batch)
    }

    fn sync(&self) -> Result<(), Error> {
        self.records.sync()
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), Error> {
        self.records.append_gap(gap)
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, Error> {
        self.records.patch(id, patch)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, Error> {
        self.records.delete(ids, how)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, Error> {
        self.records.restore(ids)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, Error> {
        self.records.rate(ratings)
    }

    fn settle_ratings(&self) -> Result<(), Error> {
        self.records.settle_ratings()
    }
}

impl LogReader for Temporary {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.records.get(id)
    }

    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, Error> {
        self.records.search(query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error> {
        self.records.list(list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, Error> {
        self.records.aggregate(question, progress)
    }

    fn end(&self) -> Result<Position, Error> {
        self.records.end()
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        self.records.follow(from, limit)
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        self.records.dropped(from, to)
    }
}

/// Options that complete a file after a few records.
fn small_files() -> Options {
    Options {
        sync: Sync::Never,
        max_file_bytes: 1_500,
        ..Options::default()
    }
}

fn open(dir: &Path, options: Options) -> Records {
    Records::open(dir, options).unwrap()
}

fn batch(from: u64, to: u64) -> Vec<Record> {
    (from..to).map(sample::record).collect()
}

fn ids(records: &[Record]) -> Vec<RecordId> {
    records.iter().map(|record| record.id).collect()
}

/// Everything in a store, oldest first.
fn all(store: &impl LogReader) -> Vec<RecordId> {
    let query = Query {
        order: Order::OldestFirst,
        limit: 10_000,
        ..Query::default()
    };
    ids(&store.query(&query).unwrap().records)
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut found: Vec<PathBuf> = listed
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    found.sort();
    found
}

#[test]
fn it_conforms_in_one_file_and_in_many() {
    for options in [Options::default(), small_files()] {
        conformance::logs(|| {
            let dir = TempDir::new().unwrap();
            Temporary {
                records: open(dir.path(), options.clone()),
                _dir: dir,
            }
        });
    }
}

#[test]
fn a_store_is_the_same_after_it_was_opened_again() {
    let dir = TempDir::new().unwrap();
    let mut expected = Vec::new();
    for round in 0..5 {
        let store = open(dir.path(), small_files());
        assert_eq!(store.recovery().records, expected.len() as u64);
        assert_eq!(store.recovery().torn, []);
        let batch = batch(round * 9, round * 9 + 9);
        store.append(&batch).unwrap();
        expected.extend(ids(&batch));
        assert_eq!(all(&store), expected);
        assert_eq!(store.end().unwrap(), Position::after(expected.len() as u64));
    }
    assert!(files(dir.path(), ".jsonl.zst").len() > 2);
    let report = verify(dir.path()).unwrap();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(
        (report.records, report.expired, report.unfinished_bytes),
        (45, 0, 0)
    );
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_up_for() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), small_files());
    let records = batch(0, 60);
    records
        .chunks(4)
        .for_each(|batch| store.append(batch).unwrap());
    let indexes = files(dir.path(), ".index");
    assert!(indexes.len() > 3);
    fs::remove_file(&indexes[0]).unwrap();
    let mut bytes = fs::read(&indexes[1]).unwrap();
    bytes[200] ^= 1;
    fs::write(&indexes[1], bytes).unwrap();
    fs::write(&indexes[2], b"ISANGOI2").unwrap();
    assert_eq!(all(&store), ids(&records));
    drop(store);
    assert_eq!(all(&open(dir.path(), small_files())), ids(&records));
    assert_eq!(
        files(dir.path(), ".index"),
        indexes,
        "the lost one was made again"
    );
}

#[test]
fn a_file_is_plain_zstd_with_one_record_a_line() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), Options::default());
    let mut records = batch(0, 400);
    let spread = "{\"text\": \"two\\nlines\",\r\n  \"n\":\n1}".to_owned();
    records[7].request.body = Some(Body::Json(
        serde_json::value::RawValue::from_string(spread).unwrap(),
    ));
    let large = "x".repeat(600_000);
    records[9].response.body = Some(Body::Text(large.into()));
    store.append(&records).unwrap();
    store
        .append_gap(&Gap {
            dropped: 3,
            reason: "full".into(),
            at: sample::START,
        })
        .unwrap();
    let [file] = &files(dir.path(), ".jsonl.zst")[..] else {
        panic!("one file")
    };
    let text = zstd::stream::decode_all(fs::File::open(file).unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (gap, lines) = text
        .trim_end()
        .rsplit_once('\n')
        .map(|(a, b)| (b, a))
        .unwrap();
    assert_eq!(
        gap,
        r#"{"gap":{"dropped":3,"reason":"full","at":"2026-11-22T16:00:00.000000Z"}}"#
    );
    for (line, record) in lines.lines().zip(&records) {
        let mut json = Vec::new();
        record.write_json(&mut json).unwrap();
        let json = String::from_utf8(json).unwrap();
        assert_eq!(line, json.replace(['\r', '\n'], " "));
    }
    assert_eq!(lines.lines().count(), 400);
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        (report.records, report.dropped, report.damages),
        (400, 3, 0)
    );
    assert!(report.frames > 4, "frames are small: {report:?}");
}

#[test]
fn what_follows_the_last_whole_frame_is_cut_and_kept() {
    let dir = TempDir::new().unwrap();
    let records = batch(0, 20);
    let store = open(dir.path(), Options::default());
    store.append(&records[..10]).unwrap();
    let [file] = &files(dir.path(), ".jsonl.zst")[..] else {
        panic!("one file")
    };
    let whole = fs::read(file).unwrap();
    store.append(&records[10..]).unwrap();
    drop(store);
    let longer = fs::read(file).unwrap();
    for len in (whole.len() + 1..longer.len()).step_by(97) {
        fs::write(file, &longer[..len]).unwrap();
        let store = open(dir.path(), Options::default());
        assert_eq!(all(&store), ids(&records[..10]));
        let [torn] = &store.recovery().torn[..] else {
            panic!("{:?}", store.recovery())
        };
        assert_eq!(
            (torn.offset, torn.bytes),
            (whole.len() as u64, (len - whole.len()) as u64)
        );
        assert_eq!(fs::read(&torn.kept_in).unwrap(), longer[whole.len()..len]);
        fs::remove_file(&torn.kept_in).unwrap();
        store.append(&records[10..]).unwrap();
        assert_eq!(all(&store), ids(&records));
        assert!(verify(dir.path()).unwrap().is_intact());
    }
}

#[test]
fn whatever_is_changed_in_a_journal_is_found() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), small_files());
    batch(0, 40)
        .chunks(4)
        .for_each(|batch| store.append(batch).unwrap());
    drop(store);
    let intact = verify(dir.path()).unwrap();
    assert!(intact.is_intact() && intact.head.len() == 64);
    let journals = files(dir.path(), ".jsonl.zst");
    let file = &journals[1];
    let bytes = fs::read(file).unwrap();
    for at in (0..bytes.len()).step_by(13) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        fs::write(file, &changed).unwrap();
        match verify(dir.path()) {
            Ok(report) => assert!(!report.is_intact(), "byte {at}"),
            Err(error) => assert!(error.to_string().contains("format"), "{error}"),
        }
    }
    fs::remove_file(file).unwrap();
    assert!(
        !verify(dir.path()).unwrap().is_intact(),
        "a file is missing"
    );
    fs::write(file, &bytes).unwrap();
    assert_eq!(verify(dir.path()).unwrap(), intact);
}

#[test]
fn a_damaged_frame_does_not_hide_the_others() {
    let dir = TempDir::new().unwrap();
    let records = batch(0, 40);
    let store = open(dir.path(), small_files());
    records
        .chunks(4)
        .for_each(|batch| store.append(batch).unwrap());
    let file = &files(dir.path(), ".jsonl.zst")[1];
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 0xFF;
    fs::write(file, bytes).unwrap();
    let found = all(&store);
    assert_eq!(found.len(), 36);
    let (followed, end) = store.follow(Position::START, 100).unwrap();
    assert_eq!(ids(&followed), found);
    assert_eq!(end, Position::after(40));
}

#[test]
fn one_folder_has_one_writer() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path(), Options::default());
    let error = Records::open(dir.path(), Options::default())
        .unwrap_err()
        .to_string();
    let expected = format!(
        "process {} writes to {}",
        std::process::id(),
        dir.path().display()
    );
    assert!(error.contains(&expected), "{error}");
    drop(first);
    drop(open(dir.path(), Options::default()));
}

#[test]
fn a_reader_sees_what_another_writer_appends() {
    let dir = TempDir::new().unwrap();
    let reader = Records::open_read_only(dir.path()).unwrap();
    assert_eq!(all(&reader), []);
    assert!(
        !dir.path().join("journal").exists(),
        "reading makes nothing"
    );
    let store = open(dir.path(), small_files());
    let (mut position, mut followed, mut expected) = (Position::START, Vec::new(), Vec::new());
    for n in 0..12 {
        let batch = batch(n * 5, n * 5 + 5);
        store.append(&batch).unwrap();
        expected.extend(ids(&batch));
        assert_eq!(all(&reader), expected);
        assert!(reader.get(batch[2].id).unwrap().is_some());
        let (some, next) = reader.follow(position, 100).unwrap();
        position = next;
        followed.extend(ids(&some));
        assert_eq!(followed, expected);
    }
    // A frame that is still being written is none yet, and stays where it is.
    let file = files(dir.path(), ".jsonl.zst").pop().unwrap();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(all(&reader).len(), expected.len() - 5);
    assert_eq!(
        all(&Records::open_read_only(dir.path()).unwrap()).len(),
        expected.len() - 5
    );
    assert_eq!(fs::metadata(&file).unwrap().len(), bytes.len() as u64 - 1);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(all(&reader), expected);
}

#[test]
fn retention_drops_whole_files_and_keeps_the_position() {
    let dir = TempDir::new().unwrap();
    let max_bytes = Some(16_000);
    let retain = Retention {
        max_bytes,
        max_age: Some(Duration::from_secs(3_600)),
        ..Retention::default()
    };
    let options = Options {
        retain,
        ..small_files()
    };
    let store = open(dir.path(), options.clone());
    for n in 0..60 {
        store.append(&batch(n * 5, n * 5 + 5)).unwrap();
        assert!(store.bytes() <= 16_000 + 4_000, "{}", store.bytes());
    }
    let found = all(&store);
    assert!((20..200).contains(&found.len()), "{}", found.len());
    assert_eq!(store.end().unwrap(), Position::after(300));
    let (followed, end) = store.follow(Position::START, 1_000).unwrap();
    assert_eq!((ids(&followed), end), (found, Position::after(300)));
    let report = verify(dir.path()).unwrap();
    assert!(
        report.is_intact() && report.expired == 300 - report.records,
        "{report:?}"
    );
    // All of it is too old: the chain goes on from an empty file.
    assert!(store.upkeep(sample::time(300 + 3_601)).unwrap().freed_bytes > 0);
    assert_eq!(all(&store), []);
    drop(store);
    let store = open(dir.path(), options);
    assert_eq!(store.end().unwrap(), Position::after(300));
    store.append(&batch(4_000, 4_001)).unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_intact() && report.expired == 300, "{report:?}");
    assert_eq!(
        files(dir.path(), ".index").len(),
        0,
        "an index goes with its file"
    );
}

#[test]
fn a_day_has_a_file_of_its_own() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), Options::default());
    // Record 0 begins at 16:00.
    for hours in [0, 7, 8, 9, 33] {
        store.append(&[sample::record(hours * 3_600)]).unwrap();
    }
    assert_eq!(files(dir.path(), ".jsonl.zst").len(), 3);
    assert_eq!(all(&store).len(), 5);
}

#[test]
fn files_are_their_owners_alone() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir.path().join("data"), small_files());
    store.append(&batch(0, 30)).unwrap();
    store.append(&batch(30, 60)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("data/journal")), 0o700);
    let made = files(&dir.path().join("data"), "");
    assert!(made.len() >= 4, "{made:?}");
    assert!(made.iter().all(|file| mode(file) == 0o600), "{made:?}");
}

#[test]
fn a_window_syncs_in_the_background() {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(faults::FaultyDisk::default());
    let sync = Sync::Window(Duration::from_millis(5));
    let options = Options {
        sync,
        ..Options::default()
    };
    let store = Records::open_on(disk.clone(), dir.path(), options).unwrap();
    store.append(&batch(0, 5)).unwrap();
    drop(store);
    assert!(disk.syncs() > 0, "what was appended is on the medium");
}

/// Something that is said of the n-th record.
#[derive(Clone, Debug)]
enum Saying {
    Patch(Patch),
    Delete(Deletion),
    Restore,
}

fn say(store: &impl LogWriter, id: RecordId, saying: &Saying) -> u64 {
    match saying {
        Saying::Patch(patch) => u64::from(store.patch(id, patch).unwrap()),
        Saying::Delete(how) => store.delete(&[id], *how).unwrap(),
        Saying::Restore => store.restore(&[id]).unwrap(),
    }
}

fn any_saying() -> impl Strategy<Value = (usize, Saying)> {
    let change = |value: Option<i8>| value.map_or(Change::Keep, Change::Set);
    let tenant = prop::sample::select(&[None, Some("acme"), Some("initrode"), Some("")]);
    let metadata = tenant.prop_map(|tenant| match tenant {
        None => Change::Keep,
        Some("") => Change::Set([("tenantId".into(), MetadataValue::Null)].into()),
        Some(name) => Change::Set([("tenantId".into(), MetadataValue::Text(name.into()))].into()),
    });
    let patch = (prop::option::of(-1..2_i8), metadata).prop_map(move |(feedback, metadata)| {
        Saying::Patch(Patch {
            feedback: change(feedback),
            metadata,
            ..Patch::default()
        })
    });
    let other = prop::sample::select(vec![
        Saying::Delete(Deletion::Hidden),
        Saying::Delete(Deletion::Erased),
        Saying::Restore,
    ]);
    (0..100_usize, prop_oneof![patch, other])
}

fn check_agreement(
    order: &[u64],
    sizes: &[usize],
    sayings: &[(usize, Saying)],
    queries: &[Query],
) -> Result<(), TestCaseError> {
    let dir = TempDir::new().unwrap();
    let (store, reference) = (open(dir.path(), small_files()), MemoryLogs::default());
    let mut rest = order.iter().map(|n| sample::record(*n)).collect::<Vec<_>>();
    for size in sizes {
        let batch: Vec<Record> = rest.drain(..rest.len().min(*size)).collect();
        store.append(&batch).unwrap();
        reference.append(&batch).unwrap();
    }
    let stored = all(&store);
    for (n, saying) in sayings {
        let id = stored[n % stored.len()];
        prop_assert_eq!(
            say(&store, id, saying),
            say(&reference, id, saying),
            "{:?}",
            saying
        );
    }
    for query in queries {
        let (found, expected) = (store.query(query).unwrap(), reference.query(query).unwrap());
        prop_assert_eq!(json(&found.records), json(&expected.records), "{:?}", query);
        prop_assert_eq!(found.next, expected.next);
        let next = Query {
            after: expected.next,
            ..query.clone()
        };
        let (found, expected) = (store.query(&next).unwrap(), reference.query(&next).unwrap());
        prop_assert_eq!(json(&found.records), json(&expected.records), "{:?}", next);
    }
    Ok(())
}

fn json(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| serde_json::to_string(record).unwrap())
        .collect()
}

fn any_query() -> impl Strategy<Value = Query> {
    let filter = prop::sample::select(&[
        "",
        "status:error",
        "-status:ok tokens:*",
        "meta.tenantId:acme",
        "meta.n:>50 model:gpt*",
        "\"question 1\" gateway:support",
        "time:2026-11-22T16:00:20Z..2026-11-22T16:01:00Z",
        "cost:<=0.05 stream:true",
        "feedback:>0",
        "meta.tenantId:initrode -feedback:-1",
    ]);
    let time = || prop::option::of((0..120_u64).prop_map(sample::time));
    (
        filter,
        any::<bool>(),
        1..40_usize,
        time(),
        time(),
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(filter, newest, limit, since, until, (with_bodies, with_deleted))| Query {
                filter: Filter::parse(filter, sample::START).unwrap(),
                order: if newest {
                    Order::NewestFirst
                } else {
                    Order::OldestFirst
                },
                limit,
                after: None,
                since,
                until,
                with_bodies,
                with_deleted,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn foreign_bytes_are_kept_aside(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("journal")).unwrap();
        fs::write(dir.path().join("journal/00000001.jsonl.zst"), &bytes).unwrap();
        prop_assert_eq!(all(&Records::open_read_only(dir.path()).unwrap()), []);
        let store = open(dir.path(), small_files());
        store.append(&batch(0, 3)).unwrap();
        prop_assert_eq!(all(&store).len(), 3);
        let kept = store.recovery().torn.iter().map(|torn| fs::read(&torn.kept_in).unwrap());
        prop_assert_eq!(kept.collect::<Vec<_>>().concat(), bytes);
    }

    #[test]
    fn it_answers_as_the_reference_does(
        order in Just((0..100).collect::<Vec<u64>>()).prop_shuffle(),
        sizes in prop::collection::vec(1..20_usize, 1..12),
        sayings in prop::collection::vec(any_saying(), 0..30),
        queries in prop::collection::vec(any_query(), 1..8),
    ) {
        check_agreement(&order, &sizes, &sayings, &queries)?;
    }
}
