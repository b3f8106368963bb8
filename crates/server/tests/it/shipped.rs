//! Exports of a real journal to a folder, without a gateway: what leaves as it lies, as lines, as
//! columns, and what manifests say of what is missing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isango_exports::{
    Allowed, Bounds, Carrier, Dataset, Destination, Exports, Field, Job, Listed, Manifest, Pack,
    Parcel, Parts, Receipt, Spec, Times, read,
};
use isango_records::{Options, Parquet, Records};
use isango_store::conformance::sample;
use isango_store::later::Deletion;
use isango_store::logs::{Gap, LogWriter as _};
use isango_store::memory::{MemoryConfig, MemoryExports};
use isango_testkit::within;
use isango_types::{Clock, Gateway, Record, Secret, Snapshot, SnapshotCell, Timestamp};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;

/// Nothing leaves this machine.
struct Nobody;

impl Carrier for Nobody {
    async fn carry(&self, _parcel: Parcel) -> Result<Receipt, String> {
        Err("nobody is there".into())
    }
}

fn record(n: u64) -> Record {
    let mut record = sample::record(n);
    record.account = "local".into();
    record.gateway = "default".into();
    record
}

/// Frames of seven records each.
fn append(store: &Records, records: &[Record]) {
    for batch in records.chunks(7) {
        store.append(batch).unwrap();
    }
}

fn spec(folder: &Path, pack: Pack, dataset: Dataset) -> Spec {
    let allowed = Allowed {
        private: false,
        folder: true,
    };
    let conf = format!("folder://{}", folder.display());
    Spec {
        id: "local/trail".into(),
        account: "local".into(),
        gateway: None,
        of_file: true,
        enabled: true,
        dataset,
        destination: Destination::parse(&Secret::new(conf), allowed).unwrap(),
        filter: "".into(),
        fields: Field::ALL.iter().map(|(_, field)| *field).collect(),
        times: Times::default(),
        pack,
        bounds: Bounds {
            wait: Duration::from_millis(10),
            ..Bounds::default()
        },
        public_key: None,
        retain: None,
        from_start: true,
        signing_key: None,
        max_record_bytes: 0,
    }
}

/// Exports until so many records were delivered. Their manifests, in order, and their objects.
async fn exported(store: &Arc<Records>, spec: Spec, count: u64) -> Vec<(Manifest, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let spec = Spec {
        destination: self::spec(folder.path(), spec.pack, spec.dataset).destination,
        ..spec
    };
    let gateways = ["default", "other"].map(|id| Gateway::new("local", id));
    let snapshot = Snapshot::new(
        gateways.into(),
        Vec::new(),
        Arc::default(),
        None,
        Vec::new(),
    );
    let job = Arc::new(Job::new(spec, Timestamp::default()).unwrap());
    let listed = Arc::new(Listed {
        jobs: vec![job],
        flawed: Vec::new(),
    });
    let parts = Parts {
        logs: Arc::clone(store) as _,
        tables: Arc::new(Parquet),
        config: Arc::<MemoryConfig>::default(),
        cell: Arc::new(SnapshotCell::new(snapshot)),
        store: Arc::<MemoryExports>::default(),
        jobs: Box::new(move || Arc::clone(&listed)),
        clock: Clock::manual(sample::time(0)),
    };
    let exports = Exports::new(parts, &mut Registry::default());
    let (stop, stopping) = watch::channel(false);
    let done = within("everything is delivered", async {
        while exports
            .views()
            .first()
            .is_none_or(|view| view.delivered_records < count)
        {
            tokio::task::yield_now().await;
        }
        stop.send_replace(true);
    });
    tokio::join!(Box::pin(exports.run(Arc::new(Nobody), stopping)), done);
    let manifests = std::fs::read_dir(folder.path().join("manifests/local.trail")).unwrap();
    let mut found: Vec<(Manifest, Vec<u8>)> = manifests
        .map(|entry| {
            let text = std::fs::read(entry.unwrap().path()).unwrap();
            let manifest: Manifest = serde_json::from_slice(&text).unwrap();
            let object = std::fs::read(folder.path().join(&*manifest.object)).unwrap();
            (manifest, object)
        })
        .collect();
    found.sort_by_key(|(manifest, _)| manifest.sequence);
    assert_eq!(found.iter().map(|(one, _)| one.records).sum::<u64>(), count);
    found
}

/// The ids in objects, in their order.
fn ids(found: &[(Manifest, Vec<u8>)]) -> Vec<String> {
    let mut ids = Vec::new();
    for (manifest, object) in found {
        let mut from = read::unpacked(std::io::Cursor::new(object.clone())).unwrap();
        let (mut line, before) = (Vec::new(), ids.len());
        while read::next_line(&mut *from, &mut line).unwrap() {
            let read: Value = serde_json::from_slice(&line).unwrap();
            ids.push(read["id"].as_str().unwrap().to_owned());
        }
        assert_eq!((ids.len() - before) as u64, manifest.records);
        let ends = [manifest.first, manifest.last].map(|id| id.unwrap().to_string());
        assert_eq!(ends, [&ids[before], &ids[ids.len() - 1]].map(Clone::clone));
    }
    ids
}

fn of<'r>(records: impl IntoIterator<Item = &'r Record>) -> Vec<String> {
    records
        .into_iter()
        .map(|record| record.id.to_string())
        .collect()
}

/// How often a frame of the journal is in an object byte for byte.
fn frames_in(folder: &Path, found: &[(Manifest, Vec<u8>)]) -> usize {
    let reader = Records::open_read_only(folder).unwrap();
    let mut from = isango_store::logs::Position::START;
    let mut seen = 0;
    loop {
        use isango_store::logs::LogReader as _;
        let frames = reader.frames(from, usize::MAX).unwrap();
        for frame in frames.frames {
            let len = frame.packed.len();
            let mut objects = found.iter();
            let is_in =
                objects.any(|(_, object)| object.windows(len).any(|part| part == frame.packed));
            seen += usize::from(is_in);
            from = isango_store::logs::Position::after(from.count() + frame.records);
        }
        match frames.singly {
            Some(singly) => from = singly,
            None => return seen,
        }
    }
}

#[tokio::test]
async fn whole_records_leave_in_the_frames_that_they_lie_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Records::open(folder.path(), Options::default()).unwrap());
    let records: Vec<Record> = (0..70).map(record).collect();
    append(&store, &records);
    let whole = spec(folder.path(), Pack::Zstd, Dataset::Records);
    let found = exported(&store, whole, 70).await;
    assert_eq!(ids(&found), of(&records));
    assert_eq!(frames_in(folder.path(), &found), 10);
}

#[tokio::test]
async fn what_is_not_the_jobs_stays_out_of_what_leaves_as_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Records::open(folder.path(), Options::default()).unwrap());
    let mut records: Vec<Record> = (0..70).map(record).collect();
    records[17].account = "another".into();
    append(&store, &records);
    store.delete(&[records[40].id], Deletion::Erased).unwrap();
    let whole = spec(folder.path(), Pack::Zstd, Dataset::Records);
    let wanted = || {
        let kept = records.iter().enumerate();
        of(kept
            .filter(|(n, _)| ![17, 40].contains(n))
            .map(|(_, record)| record))
    };
    let found = exported(&store, whole.clone(), 68).await;
    assert_eq!(ids(&found), wanted());
    assert_eq!(found.iter().map(|(one, _)| one.skipped).sum::<u64>(), 2);
    // Batches that end in the middle of frames.
    let mut small = whole;
    small.bounds.records = 10;
    let found = exported(&store, small.clone(), 68).await;
    assert!(found.iter().all(|(manifest, _)| manifest.records <= 10));
    assert_eq!(ids(&found), wanted());
    let places = found.windows(2).all(|two| two[0].0.to == two[1].0.from);
    assert!(places);
    small.bounds.records = 100;
    small.bounds.bytes = 8_000;
    assert_eq!(ids(&exported(&store, small.clone(), 68).await), wanted());
    // A job of one gateway ships the frames of that one alone.
    small.gateway = Some("other".into());
    let mut others: Vec<Record> = (70..91).map(record).collect();
    others[7..]
        .iter_mut()
        .for_each(|one| one.gateway = "other".into());
    append(&store, &others);
    let found = exported(&store, small, 14).await;
    assert_eq!(ids(&found), of(&others[7..]));
}

#[tokio::test]
async fn manifests_say_how_many_records_the_gateway_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Records::open(folder.path(), Options::default()).unwrap());
    let records: Vec<Record> = (0..21).map(record).collect();
    append(&store, &records[..14]);
    let gap = Gap {
        dropped: 5,
        reason: "full".into(),
        at: sample::time(9),
    };
    store.append_gap(&gap).unwrap();
    append(&store, &records[14..]);
    for pack in [Pack::Zstd, Pack::Gzip] {
        let mut lines = spec(folder.path(), pack, Dataset::Records);
        lines.bounds.records = 10;
        let found = exported(&store, lines, 21).await;
        let dropped: Vec<u64> = found.iter().map(|(manifest, _)| manifest.dropped).collect();
        assert_eq!(dropped, [0, 5, 0], "{pack:?}");
        let link = &found[1].0.link;
        assert_eq!(*link, found[1].0.expected_link());
        let silent = Manifest {
            dropped: 0,
            ..found[1].0.clone()
        };
        assert_ne!(*link, silent.expected_link());
    }
}

#[tokio::test]
async fn events_leave_as_parquet_with_a_column_for_each_field() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Records::open(folder.path(), Options::default()).unwrap());
    let records: Vec<Record> = (0..20).map(record).collect();
    append(&store, &records);
    let mut columns = spec(folder.path(), Pack::Parquet, Dataset::Events);
    columns.bounds.records = 15;
    let found = exported(&store, columns, 20).await;
    let rows: Vec<Value> = found
        .iter()
        .flat_map(|(manifest, object)| {
            assert!(manifest.object.ends_with(".parquet"), "{}", manifest.object);
            isango_records::rows(object.clone().into()).unwrap()
        })
        .map(Value::Object)
        .collect();
    let told: Vec<&str> = rows.iter().map(|row| row["Id"].as_str().unwrap()).collect();
    assert_eq!(told, of(&records));
    let record = &records[19];
    assert_eq!(rows[19]["Datetime"], record.created_at.to_string());
    assert_eq!(
        rows[19]["StatusCode"],
        record.status.map_or(Value::Null, Value::from)
    );
    let body = record.request.body.as_ref().unwrap();
    assert_eq!(rows[19]["RequestBody"], body.as_str());
    assert_eq!(rows[19].as_object().unwrap().len(), Field::ALL.len());
}
