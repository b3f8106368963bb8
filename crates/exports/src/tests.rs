//! Jobs at work on records in memory, before destinations that fail by a script.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use isango_store::conformance::sample;
use isango_store::exports::ExportStore as _;
use isango_store::logs::LogWriter as _;
use isango_store::memory::{MemoryConfig, MemoryExports, MemoryLogs};
use isango_types::{Gateway, Record, Secret, Snapshot};
use serde_json::Value;

use super::*;
use crate::destination::Allowed;

mod faults;
mod kept;
mod proof;
mod treated;

/// A bucket, and what it does to requests.
#[derive(Default)]
struct Bucket {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Bodies of POSTs, with their batch.
    posts: Mutex<Vec<(String, Vec<u8>)>>,
    requests: AtomicU64,
    /// Whether a request fails, and how, by its number.
    fails: Option<fn(u64) -> Failing>,
    /// What it refuses to take, with whatever else is in a body.
    poison: Option<&'static str>,
    /// It fails no more.
    is_well: std::sync::atomic::AtomicBool,
    seen: tokio::sync::Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failing {
    No,
    /// Before anything was stored.
    Status(u16),
    /// After it was stored: the answer is lost.
    Cut,
}

impl Bucket {
    fn failing(fails: fn(u64) -> Failing) -> Self {
        Self {
            fails: Some(fails),
            ..Self::default()
        }
    }

    fn take(&self, parcel: &Parcel) -> Receipt {
        let path = parcel
            .path
            .expose()
            .split('?')
            .next()
            .unwrap_or("")
            .to_owned();
        let answer = |status: StatusCode, body: Vec<u8>| Receipt {
            status,
            retry_after: None,
            body: body.into(),
        };
        if parcel.method == Method::PUT {
            self.objects.lock().insert(path, parcel.body.to_vec());
        } else if parcel.method == Method::POST {
            let batch = parcel
                .headers
                .get("isango-batch-id")
                .map(|id| id.to_str().unwrap());
            let post = (batch.unwrap_or("").to_owned(), parcel.body.to_vec());
            self.posts.lock().push(post);
        } else if path == "/audit" {
            let keys = self.objects.lock();
            let keys = keys
                .keys()
                .map(|key| format!("<Key>{}</Key>", &key["/audit/".len()..]));
            return answer(StatusCode::OK, keys.collect::<String>().into_bytes());
        } else {
            return match self.objects.lock().get(&path) {
                Some(body) => answer(StatusCode::OK, body.clone()),
                None => answer(StatusCode::NOT_FOUND, Vec::new()),
            };
        }
        answer(StatusCode::OK, Vec::new())
    }
}

impl Carrier for Bucket {
    async fn carry(&self, parcel: Parcel) -> Result<Receipt, String> {
        tokio::task::yield_now().await;
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let is_well = self.is_well.load(Ordering::SeqCst);
        let fails = self.fails.filter(|_| !is_well);
        let failing = fails.map_or(Failing::No, |fails| fails(number));
        let text = String::from_utf8_lossy(&parcel.body);
        let failing = match self.poison {
            Some(poison) if text.contains(poison) => Failing::Status(400),
            Some(_) | None => failing,
        };
        let answer = match failing {
            Failing::Status(status) => Ok(Receipt {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: None,
                body: bytes::Bytes::from_static(b"no"),
            }),
            Failing::Cut => {
                self.take(&parcel);
                Err("reset".into())
            }
            Failing::No => Ok(self.take(&parcel)),
        };
        self.seen.notify_one();
        answer
    }
}

/// Writes tables as they are shown.
struct Shown;

impl TableFormat for Shown {
    fn write(
        &self,
        columns: &[isango_store::table::Column],
    ) -> Result<Vec<u8>, isango_store::logs::Error> {
        Ok(format!("{columns:?}").into_bytes())
    }
}

const S3: &str = "s3://audit/p/{DATE}?region=x&access-key-id=a&secret-access-key=b\
                  &endpoint=http://127.0.0.1:1";
const HTTP: &str = "http://127.0.0.1:1/in";

fn spec(conf: &str, dataset: Dataset) -> Spec {
    let allowed = Allowed {
        private: true,
        folder: true,
    };
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
        pack: Pack::Plain,
        bounds: Bounds {
            records: 10,
            wait: Duration::from_secs(5),
            ..Bounds::default()
        },
        public_key: None,
        retain: None,
        from_start: true,
        signing_key: None,
        max_record_bytes: 0,
    }
}

/// What outlives a process.
struct World {
    logs: Arc<MemoryLogs>,
    config: Arc<MemoryConfig>,
    store: Arc<MemoryExports>,
    cell: Arc<SnapshotCell>,
    bucket: Arc<Bucket>,
    /// What is to be at work.
    listed: Arc<Mutex<Arc<Listed>>>,
}

/// A gateway of `local`.
fn gateway(id: &str, change: impl FnOnce(&mut Gateway)) -> Gateway {
    let mut gateway = Gateway::new("local", id);
    change(&mut gateway);
    gateway
}

fn snapshot(gateways: Vec<Gateway>) -> Snapshot {
    Snapshot::new(gateways, Vec::new(), Arc::default(), None, Vec::new())
}

impl World {
    fn new(bucket: Bucket) -> Self {
        let pushed = gateway("pushed", |gateway| gateway.logpush = true);
        let quiet = gateway("quiet", |_| {});
        let snapshot = snapshot(vec![pushed, quiet]);
        Self {
            logs: Arc::default(),
            config: Arc::default(),
            store: Arc::default(),
            cell: Arc::new(SnapshotCell::new(snapshot)),
            bucket: Arc::new(bucket),
            listed: Arc::default(),
        }
    }

    fn record(&self, numbers: std::ops::Range<u64>, change: impl Fn(u64, &mut Record)) {
        let made = numbers.map(|n| {
            let mut record = sample::record(n);
            record.account = "local".into();
            record.gateway = "pushed".into();
            change(n, &mut record);
            record
        });
        self.logs.append(&made.collect::<Vec<_>>()).unwrap();
    }

    /// Lists jobs, and one that is flawed.
    fn list<'s>(&self, specs: impl IntoIterator<Item = &'s Spec>, flawed: Option<&str>) {
        let job = |spec: &Spec| Arc::new(Job::new(spec.clone(), Timestamp::default()).unwrap());
        *self.listed.lock() = Arc::new(Listed {
            jobs: specs.into_iter().map(job).collect(),
            flawed: Vec::from_iter(flawed.map(|id| Flawed {
                id: id.into(),
                why: "no key".into(),
            })),
        });
    }

    fn exports(&self, spec: &Spec) -> Arc<Exports> {
        self.list([spec], None);
        let listed = Arc::clone(&self.listed);
        let parts = Parts {
            logs: Arc::clone(&self.logs) as _,
            tables: Arc::new(Shown),
            config: Arc::clone(&self.config) as _,
            cell: Arc::clone(&self.cell),
            store: Arc::clone(&self.store) as _,
            jobs: Box::new(move || Arc::clone(&listed.lock())),
            clock: Clock::manual(sample::time(0)),
        };
        Arc::new(Exports::new(parts, &mut Registry::default()))
    }

    /// Runs a job until `done` says so.
    async fn until(&self, spec: &Spec, done: impl Fn(&ExportView) -> bool) -> ExportView {
        self.during(spec, async |exports| seen(exports, done).await)
            .await
    }

    /// Runs a job while something is done.
    async fn during<T>(&self, spec: &Spec, act: impl AsyncFnOnce(&Exports) -> T) -> T {
        let exports = self.exports(spec);
        let (stop, stopping) = watch::channel(false);
        let carrier = Arc::clone(&self.bucket);
        let acting = async {
            let told = act(&exports).await;
            stop.send_replace(true);
            told
        };
        tokio::join!(exports.run(carrier, stopping), acting).1
    }

    /// Runs a job for so many requests, then drops it in the middle of whatever it does.
    async fn kill_after(&self, spec: &Spec, requests: u64) {
        let exports = self.exports(spec);
        let (_stop, stopping) = watch::channel(false);
        let until = self.bucket.requests.load(Ordering::SeqCst) + requests;
        let seen = async {
            while self.bucket.requests.load(Ordering::SeqCst) < until {
                let seen = self.bucket.seen.notified();
                let _timed = tokio::time::timeout(Duration::from_secs(600), seen).await;
            }
        };
        tokio::select! {
            () = exports.run(Arc::clone(&self.bucket), stopping) => {}
            () = seen => {}
        }
    }

    /// All records in objects, by the order of their manifests.
    fn delivered(&self) -> Vec<String> {
        let objects = self.bucket.objects.lock();
        let manifests = objects
            .iter()
            .filter(|(key, _)| key.contains("/manifests/"));
        let bodies = manifests.map(|(_, body)| {
            let manifest: Manifest = serde_json::from_slice(body).unwrap();
            String::from_utf8(objects[&format!("/audit/{}", manifest.object)].clone()).unwrap()
        });
        bodies.flat_map(|body| ids(&body)).collect()
    }

    fn ids(&self, numbers: std::ops::Range<u64>) -> Vec<String> {
        numbers
            .map(|n| time_of(&sample::record(n).id.to_string()))
            .collect()
    }
}

/// Waits until the first job is as `done` says.
async fn seen(exports: &Exports, done: impl Fn(&ExportView) -> bool) -> ExportView {
    loop {
        let view = exports.views().into_iter().next();
        if let Some(view) = view.filter(|view| done(view)) {
            return view;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn ids(lines: &str) -> Vec<String> {
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let id = line.get("id").or(line.get("Id")).unwrap();
        time_of(id.as_str().unwrap())
    };
    lines.lines().map(id).collect()
}

/// What of an id is the same each time a sample is made.
fn time_of(id: &str) -> String {
    id[..13].to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_record_arrives_once_and_in_order() {
    let world = World::new(Bucket::default());
    world.record(0..47, |_, _| {});
    let view = world
        .until(&spec(S3, Dataset::Records), |view| {
            view.delivered_records == 47
        })
        .await;
    assert_eq!(world.delivered(), world.ids(0..47));
    // Four batches by count, the last by time.
    assert_eq!(
        (view.batches, view.lag_records, view.lost_records),
        (5, 0, 0)
    );
    world.record(47..50, |_, _| {});
    world
        .until(&spec(S3, Dataset::Records), |view| {
            view.delivered_records == 50
        })
        .await;
    assert_eq!(world.delivered(), world.ids(0..50));
}

#[tokio::test(start_paused = true)]
async fn only_records_of_the_account_of_gateways_that_say_so_are_exported() {
    let world = World::new(Bucket::default());
    world.record(0..40, |n, record| match n % 4 {
        1 => record.account = "other".into(),
        2 => record.gateway = "quiet".into(),
        3 => record.status = Some(500),
        _ => {}
    });
    let mut spec = Spec {
        of_file: false,
        filter: "status:500".into(),
        ..spec(S3, Dataset::Events)
    };
    world
        .until(&spec, |view| view.delivered_records == 10)
        .await;
    let wanted: Vec<String> = (0..40)
        .filter(|n| n % 4 == 3)
        .map(|n| time_of(&sample::record(n).id.to_string()))
        .collect();
    assert_eq!(world.delivered(), wanted);
    // Who changes the filter goes on from where it was.
    spec.filter = "".into();
    world.record(40..42, |_, _| {});
    world
        .until(&spec, |view| view.delivered_records == 12)
        .await;
    assert_eq!(world.delivered().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_new_job_begins_where_the_journal_ends() {
    let world = World::new(Bucket::default());
    world.record(0..10, |_, _| {});
    let spec = Spec {
        from_start: false,
        ..spec(S3, Dataset::Records)
    };
    world.until(&spec, |view| !view.head.is_empty()).await;
    world.record(10..20, |_, _| {});
    world
        .until(&spec, |view| view.delivered_records == 10)
        .await;
    assert_eq!(world.delivered(), world.ids(10..20));
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_configuration_are_a_trail_of_their_own() {
    use isango_store::config::history::Author;
    use isango_store::config::{Change, Kind};
    let world = World::new(Bucket::default());
    let author = Author {
        who: "token admin".into(),
        at: sample::time(5),
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    let commit = |change: Change| world.config.commit_as(&author, &[change]).unwrap();
    commit(Change::add(
        Kind::Gateway,
        "local/a",
        r#"{"account":"local","n":1}"#,
    ));
    commit(Change::add(
        Kind::Gateway,
        "other/a",
        r#"{"account":"other"}"#,
    ));
    commit(Change::add(
        Kind::Token,
        "app",
        r#"{"token":{"account":"local","digests":["planted"]}}"#,
    ));
    let spec = spec(S3, Dataset::Audit);
    world.until(&spec, |view| view.delivered_records == 2).await;
    let objects = world.bucket.objects.lock();
    let (_, body) = objects
        .iter()
        .find(|(key, _)| !key.contains("manifests"))
        .unwrap();
    let text = std::str::from_utf8(body).unwrap();
    assert!(!text.contains("planted"));
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["resource"]["type"], "ai_gateway.gateway");
    assert_eq!(lines[0]["action"]["info"], "gateway created");
    assert_eq!(lines[0]["newValueJson"]["n"], 1);
    assert_eq!(lines[0]["actor"]["name"], "token admin");
    assert_eq!(lines[1]["resource"]["id"], "app");
}
