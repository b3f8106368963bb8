//! What making and delivering batches costs, in microseconds of CPU for each record of 5 KB, from a
//! store in memory to a bucket that takes everything: signed, with checksums, without a network. What
//! reading the journal and keeping batches costs, `cargo run --release -p isango-backends --example
//! exporting` tells.
//!
//! `cargo run --release -p isango-exports --example making`
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

#[path = "../../records/examples/millions/made.rs"]
mod made;

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use isango_exports::{
    Allowed, Bounds, Carrier, Dataset, Destination, Exports, Field, Job, Listed, Pack, Parcel,
    Parts, Receipt, Spec, Times,
};
use isango_store::analytics::{Aggregate, Answer, List, Listing, Progress};
use isango_store::later::{Deletion, Patch, Rating};
use isango_store::logs::{
    Error as LogError, Frame, Frames, Gap, LogReader, LogWriter, Page, Position, Query,
};
use isango_store::memory::{MemoryConfig, MemoryExports, MemoryLogs};
use isango_store::table::{Column, TableFormat};
use isango_types::{Clock, Gateway, Record, RecordId, Secret, Snapshot, SnapshotCell};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const RECORDS: u64 = 50_000;
/// Records of a frame, as 5 000 a second make them.
const FRAME: u64 = 50;

/// A bucket that takes everything.
struct Bottomless;

impl Carrier for Bottomless {
    async fn carry(&self, _parcel: Parcel) -> Result<Receipt, String> {
        Ok(Receipt {
            status: http::StatusCode::OK,
            retry_after: None,
            body: bytes::Bytes::new(),
        })
    }
}

/// No tables: another crate makes them.
struct Nothing;

impl TableFormat for Nothing {
    fn write(&self, _columns: &[Column]) -> Result<Vec<u8>, LogError> {
        Ok(Vec::new())
    }
}

/// Records in memory, and their frames.
struct Framed {
    logs: MemoryLogs,
    frames: Vec<Frame>,
}

impl Framed {
    fn new() -> Fallible<Self> {
        let mut maker = made::Maker::new(RECORDS, Clock::system().now());
        let records: Result<Vec<Record>, _> = (0..RECORDS).map(|n| maker.record(n)).collect();
        let records = records?;
        let mut frames = Vec::new();
        for some in records.chunks(usize::try_from(FRAME)?) {
            let mut lines = Vec::new();
            for record in some {
                record.write_json(&mut lines)?;
                lines.push(b'\n');
            }
            let end = |record: &Record| (record.id, record.created_at);
            let owners = some
                .iter()
                .map(|one| (one.account.clone(), one.gateway.clone()));
            let mut owners: Vec<_> = owners.collect();
            owners.sort();
            owners.dedup();
            frames.push(Frame {
                packed: zstd::bulk::compress(&lines, 1)?,
                raw_bytes: lines.len(),
                records: FRAME,
                ends: [end(&some[0]), end(&some[some.len() - 1])],
                owners,
            });
        }
        let logs = MemoryLogs::default();
        logs.append(&records)?;
        Ok(Self { logs, frames })
    }
}

impl LogReader for Framed {
    fn get(&self, id: RecordId) -> Result<Option<Record>, LogError> {
        self.logs.get(id)
    }

    fn query(&self, query: &Query) -> Result<Page, LogError> {
        self.logs.query(query)
    }

    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, LogError> {
        self.logs.search(query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, LogError> {
        self.logs.list(list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, LogError> {
        self.logs.aggregate(question, progress)
    }

    fn end(&self) -> Result<Position, LogError> {
        self.logs.end()
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), LogError> {
        self.logs.follow(from, limit)
    }

    fn frames(&self, from: Position, room: usize) -> Result<Frames, LogError> {
        let at = usize::try_from(from.count() / FRAME).unwrap_or(usize::MAX);
        let mut left = room;
        let behind = self.frames.iter().skip(at);
        let some = behind.take_while(|frame| {
            let fits = frame.raw_bytes <= left;
            left = left.saturating_sub(frame.raw_bytes);
            fits
        });
        Ok(Frames {
            frames: some.cloned().collect(),
            singly: None,
        })
    }

    fn dropped(&self, _from: Position, _to: Position) -> Result<u64, LogError> {
        Ok(0)
    }
}

impl LogWriter for Framed {
    fn append(&self, batch: &[Record]) -> Result<(), LogError> {
        self.logs.append(batch)
    }

    fn sync(&self) -> Result<(), LogError> {
        self.logs.sync()
    }

    fn append_gap(&self, gap: &Gap) -> Result<(), LogError> {
        self.logs.append_gap(gap)
    }

    fn patch(&self, id: RecordId, patch: &Patch) -> Result<bool, LogError> {
        self.logs.patch(id, patch)
    }

    fn delete(&self, ids: &[RecordId], how: Deletion) -> Result<u64, LogError> {
        self.logs.delete(ids, how)
    }

    fn restore(&self, ids: &[RecordId]) -> Result<u64, LogError> {
        self.logs.restore(ids)
    }

    fn rate(&self, ratings: &[(RecordId, Rating)]) -> Result<u64, LogError> {
        self.logs.rate(ratings)
    }

    fn settle_ratings(&self) -> Result<(), LogError> {
        self.logs.settle_ratings()
    }
}

fn spec(dataset: Dataset, pack: Pack) -> Fallible<Spec> {
    let conf = "s3://audit/p?region=x&access-key-id=a&secret-access-key=b";
    Ok(Spec {
        id: "local/trail".into(),
        account: "local".into(),
        gateway: None,
        of_file: true,
        enabled: true,
        dataset,
        destination: Destination::parse(&Secret::new(conf), Allowed::default())?,
        filter: "".into(),
        fields: Field::ALL.iter().map(|(_, field)| *field).collect(),
        times: Times::default(),
        pack,
        bounds: Bounds {
            wait: Duration::from_millis(100),
            ..Bounds::default()
        },
        public_key: None,
        retain: None,
        from_start: true,
        signing_key: None,
        max_record_bytes: 0,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let logs = Arc::new(Framed::new()?);
    for (name, dataset, pack) in [
        ("records, zstd: frames", Dataset::Records, Pack::Zstd),
        ("records, gzip", Dataset::Records, Pack::Gzip),
        ("events, zstd", Dataset::Events, Pack::Zstd),
        ("events, gzip", Dataset::Events, Pack::Gzip),
        ("events, columns made", Dataset::Events, Pack::Parquet),
    ] {
        let before = cpu_us()?;
        export(&logs, spec(dataset, pack)?).await?;
        let tenths = (cpu_us()? - before) * 10 / RECORDS;
        println!("{name:24} {}.{} us", tenths / 10, tenths % 10);
    }
    Ok(())
}

/// Exports everything.
async fn export(logs: &Arc<Framed>, spec: Spec) -> Fallible<()> {
    let gateways = ["default", "support", "internal"].map(|id| Gateway::new("local", id));
    let snapshot = Snapshot::new(
        gateways.into(),
        Vec::new(),
        Arc::default(),
        None,
        Vec::new(),
    );
    let job = Job::new(spec, Clock::system().now()).map_err(|error| error.message)?;
    let listed = Arc::new(Listed {
        jobs: vec![Arc::new(job)],
        flawed: Vec::new(),
    });
    let parts = Parts {
        logs: Arc::clone(logs) as _,
        tables: Arc::new(Nothing),
        config: Arc::<MemoryConfig>::default(),
        cell: Arc::new(SnapshotCell::new(snapshot)),
        store: Arc::<MemoryExports>::default(),
        jobs: Box::new(move || Arc::clone(&listed)),
        clock: Clock::system(),
    };
    let exports = Exports::new(parts, &mut Registry::default());
    let (stop, stopping) = watch::channel(false);
    let done = async {
        while exports
            .views()
            .first()
            .is_none_or(|view| view.delivered_records < RECORDS)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send_replace(true);
    };
    tokio::join!(Box::pin(exports.run(Arc::new(Bottomless), stopping)), done);
    Ok(())
}

/// CPU time of this process, in microseconds (proc(5), `stat`: ticks of 10 ms).
fn cpu_us() -> Fallible<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let mut ticks = 0;
    for field in behind.split_whitespace().skip(11).take(2) {
        ticks += field.parse::<u64>()?;
    }
    Ok(ticks * 10_000)
}
