//! Gathers records until a batch is complete, and packs it. All of it blocks.

use std::borrow::Cow;
use std::io::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use isango_store::audit::{Entry, Scope, Wanted};
use isango_store::config::ConfigStore;
use isango_store::logs::{Frame, LogReader, Position};
use isango_store::table::TableFormat;
use isango_types::{Record, RecordId, Snapshot, Timestamp};
use serde_json::{Value, json};

use crate::Parts;
use crate::condition::Condition;
use crate::destination::{Framing, Post, To};
use crate::fields;
use crate::job::{Dataset, Job, Pack};
use crate::known::AskedBy;
use crate::manifest::{Manifest, hex};
use crate::otlp::metrics::Metrics;
use crate::otlp::{self, Signal};
use crate::path::{join, stamp};
use crate::seal::PublicKey;
use crate::state::{Mark, Passed, State};
use crate::table::{Row, Table};
use crate::treatment::Treatments;

/// Records that are read at once.
const PAGE: usize = 500;
/// Records that are looked at before others have their turn.
const TURN: usize = 5_000;
/// zstd's level: most of what more would save is not worth its time.
const ZSTD_LEVEL: i32 = 1;
/// Most bytes of lines in frames that are read at once.
const FRAMES_AT_ONCE: usize = 4 << 20;

/// Where records come from.
pub(crate) struct Source<'s> {
    pub(crate) logs: &'s dyn LogReader,
    pub(crate) config: &'s dyn ConfigStore,
    pub(crate) snapshot: &'s Snapshot,
    /// What gateways that are gone asked of their records.
    pub(crate) known: &'s AskedBy,
}

/// A batch that grows.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// Lines, or members of an array; each with its separator behind it.
    text: Vec<u8>,
    /// Frames of zstd before those lines, and the bytes of the lines in them.
    packed: Vec<u8>,
    packed_bytes: usize,
    /// Up to here records are looked at one by one, although frames might leave as they lie.
    singly: Position,
    /// Rows, where there are columns.
    table: Table,
    /// What the records add to metrics.
    metrics: Metrics,
    records: u64,
    skipped: u64,
    lost: u64,
    /// Records of the job that were deleted.
    erased: u64,
    from: Position,
    /// Everything before was looked at.
    pub(crate) at: Position,
    /// The record before.
    id: Option<RecordId>,
    /// Where it ends at the latest.
    until: Option<Position>,
    /// Most records, where it is less than the job's.
    most: Option<usize>,
    first: Option<(RecordId, Timestamp)>,
    last: Option<(RecordId, Timestamp)>,
    /// There was nothing more.
    pub(crate) is_caught_up: bool,
    /// No more fits.
    pub(crate) is_full: bool,
}

/// A batch that is complete.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) manifest: Manifest,
    pub(crate) body: Vec<u8>,
    /// Where it ends.
    pub(crate) behind: Option<Mark>,
    /// Records that it would hold if they had not been deleted.
    pub(crate) erased: u64,
}

/// What a batch follows.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    sequence: u64,
    link: Box<str>,
    rewound: Option<u64>,
    /// When it was made.
    ended: Option<Timestamp>,
}

impl Before {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            sequence: state.sequence,
            link: state.link.clone(),
            rewound: state.rewound,
            ended: state.ended,
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Gathering {
    /// A batch that goes on from a state.
    pub(crate) fn begin(state: &State) -> Self {
        let passed = Some(state.passed).filter(|passed| passed.at > state.position);
        let passed = passed.unwrap_or_default();
        Self {
            from: state.position,
            at: state.looked(),
            id: passed.id,
            skipped: passed.skipped,
            lost: passed.lost,
            most: state.careful.map(|careful| careful.records),
            ..Self::default()
        }
    }

    /// The batch that is on its way once more, of what there is now.
    pub(crate) fn again(state: &State, manifest: &Manifest) -> Self {
        Self {
            from: state.position,
            at: state.position,
            until: Some(Position::after(manifest.to)),
            ..Self::default()
        }
    }

    /// What was looked at while nothing was found.
    pub(crate) fn to_passed(&self) -> Passed {
        Passed {
            at: self.at,
            id: self.id,
            skipped: self.skipped,
            lost: self.lost,
        }
    }

    /// Whether it lacks nothing but what was deleted since another was made of the same places.
    pub(crate) const fn lacks_only_erased(&self, before: &Manifest, erased: u64) -> bool {
        self.erased > erased && self.lost == before.lost && self.records < before.records
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Takes what there is, until the batch is full or others have their turn.
    pub(crate) fn fill(&mut self, job: &Job, source: &Source<'_>) -> Result<(), BoxError> {
        self.is_caught_up = false;
        match job.spec.dataset {
            Dataset::Events | Dataset::Records | Dataset::Traces | Dataset::Metrics => {
                self.fill_records(job, source)
            }
            Dataset::Audit => self.fill_trail(job, source),
        }
    }

    fn fill_records(&mut self, job: &Job, source: &Source<'_>) -> Result<(), BoxError> {
        let mut treatments = Treatments::new(job, source);
        let may_ship = ships_frames(job) && self.until.is_none() && self.most.is_none();
        let mut seen = 0;
        while seen < TURN && !self.is_full {
            if may_ship && self.at >= self.singly {
                let shipped = self.ship_frames(job, &mut treatments)?;
                seen += shipped;
                if shipped == 0 && !self.is_full && self.at >= self.singly {
                    self.is_caught_up = true;
                    return Ok(());
                }
                continue;
            }
            let room = self.most(job).saturating_sub(self.count());
            let left = self
                .until
                .map_or(u64::MAX, |until| until.count() - self.at.count());
            let left = match may_ship {
                true => left.min(self.singly.count() - self.at.count()),
                false => left,
            };
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let (records, next) = source.logs.follow(self.at, room.min(left).clamp(1, PAGE))?;
            if next <= self.at {
                self.is_caught_up = true;
                return Ok(());
            }
            let span = next.count() - self.at.count();
            let lost = span.saturating_sub(records.len() as u64);
            self.lost += lost;
            seen += records.len().max(1);
            for (n, record) in records.iter().enumerate() {
                let is_taken = self.push(job, &mut treatments, (record, lost == 0))?;
                // Where some are missing, nobody knows whose position is whose.
                if self.is_full && lost == 0 {
                    let taken = n + usize::from(is_taken);
                    self.at = Position::after(self.at.count() + taken as u64);
                    self.id = taken
                        .checked_sub(1)
                        .map_or(self.id, |n| Some(records[n].id));
                    return Ok(());
                }
            }
            self.at = next;
            self.id = records.last().filter(|_| lost == 0).map(|record| record.id);
            self.is_full |= self.until.is_some_and(|until| until <= next);
        }
        Ok(())
    }

    /// Takes frames as they lie in the store. How many records; where there are none, `singly` says
    /// what is to be looked at one by one.
    fn ship_frames(
        &mut self,
        job: &Job,
        treatments: &mut Treatments<'_>,
    ) -> Result<usize, BoxError> {
        let bounds = job.bounds();
        let room = bounds.bytes.saturating_sub(self.size());
        let logs = treatments.source.logs;
        let found = logs.frames(self.at, room.min(FRAMES_AT_ONCE))?;
        let before = self.count();
        for frame in found.frames {
            let behind = Position::after(self.at.count() + frame.records);
            if self.records > 0 && self.size() + frame.raw_bytes > bounds.bytes {
                self.is_full = true;
            } else if self.records + frame.records > bounds.records as u64
                || !treatments.leave_alone(&frame.owners)
            {
                self.singly = behind;
            } else {
                self.ship(&frame)?;
                self.is_full = self.size() >= bounds.bytes || self.count() >= bounds.records;
                (self.at, self.id) = (behind, Some(frame.ends[1].0));
            }
            if self.is_full || self.singly > self.at {
                return Ok(self.count() - before);
            }
        }
        self.singly = self.singly.max(found.singly.unwrap_or_default());
        Ok(self.count() - before)
    }

    fn ship(&mut self, frame: &Frame) -> Result<(), BoxError> {
        if !self.text.is_empty() {
            self.packed.extend(pack(&self.text, Pack::Zstd)?);
            self.packed_bytes += self.text.len();
            self.text.clear();
        }
        self.packed.extend_from_slice(&frame.packed);
        self.packed_bytes += frame.raw_bytes;
        self.records += frame.records;
        let [first, last] = frame.ends;
        self.first.get_or_insert(first);
        self.last = Some(last);
        Ok(())
    }

    /// Bytes of it before it is packed.
    const fn size(&self) -> usize {
        self.text.len() + self.packed_bytes + self.table.bytes
    }

    /// Most records of it.
    fn most(&self, job: &Job) -> usize {
        let most = job.bounds().records;
        self.most.map_or(most, |own| own.min(most))
    }

    fn count(&self) -> usize {
        usize::try_from(self.records).unwrap_or(usize::MAX)
    }

    /// Adds a record, or passes over it. False: it is for the next batch, if it may wait.
    fn push(
        &mut self,
        job: &Job,
        treatments: &mut Treatments<'_>,
        (record, may_wait): (&Record, bool),
    ) -> Result<bool, BoxError> {
        let spec = &job.spec;
        let is_of_job = record.account == spec.account
            && spec.gateway.as_ref().is_none_or(|id| *id == record.gateway);
        // What metrics count, they count of deleted records too.
        let is_erased = is_of_job && record.is_erased() && spec.dataset != Dataset::Metrics;
        self.erased += u64::from(is_erased);
        let treatment = (is_of_job && !is_erased).then(|| treatments.of(&record.gateway));
        let Some(treatment) = treatment.flatten() else {
            self.skipped += 1;
            return Ok(true);
        };
        let mut record = Cow::Borrowed(record);
        if let Some(redaction) = &treatment.redaction {
            redaction.redact(record.to_mut());
        }
        if let Some(take_out) = treatment.takes_out {
            take_out(record.to_mut());
        }
        self.push_redacted(job, treatment.key.as_deref(), (&record, may_wait))
    }

    /// Adds a record that holds nothing any more that must not leave.
    fn push_redacted(
        &mut self,
        job: &Job,
        key: Option<&PublicKey>,
        (record, may_wait): (&Record, bool),
    ) -> Result<bool, BoxError> {
        let spec = &job.spec;
        if !job.condition.holds(record) {
            self.skipped += 1;
            return Ok(true);
        }
        let start = self.text.len();
        match spec.dataset {
            Dataset::Records => write_line(record, &mut self.text)?,
            Dataset::Traces => {
                let is_protobuf = framing(job) == Framing::OtlpProtobuf;
                otlp::write(record, is_protobuf, &mut self.text);
            }
            Dataset::Metrics => {
                if !self.metrics.add(record) {
                    self.skipped += 1;
                    return Ok(true);
                }
            }
            Dataset::Events if spec.pack == Pack::Parquet => {
                return self.push_row(job, key, (record, may_wait));
            }
            Dataset::Events | Dataset::Audit => {
                let key = key.map(|key| key.for_record()).transpose()?;
                let key = key.as_ref();
                fields::write(record, &spec.fields, spec.times, key, &mut self.text)?;
                let most = spec.max_record_bytes;
                if most > 0 && self.text.len() - start > most {
                    self.text.truncate(start);
                    let mut fields = spec.fields.clone();
                    fields.retain(|field| !field.is_sealed());
                    fields::write(record, &fields, spec.times, None, &mut self.text)?;
                }
            }
        }
        if may_wait && self.is_too_much(job, start) {
            return Ok(false);
        }
        self.close(job, (record.id, record.created_at));
        Ok(true)
    }

    /// The same, as a row.
    fn push_row(
        &mut self,
        job: &Job,
        key: Option<&PublicKey>,
        (record, may_wait): (&Record, bool),
    ) -> Result<bool, BoxError> {
        let spec = &job.spec;
        let key = key.map(|key| key.for_record()).transpose()?;
        let mut row = Row::of(record, &spec.fields, key.as_ref())?;
        if spec.max_record_bytes > 0 && row.bytes > spec.max_record_bytes {
            row = row.bare(&spec.fields);
        }
        if may_wait && self.records > 0 && self.size() + row.bytes > job.bounds().bytes {
            self.is_full = true;
            return Ok(false);
        }
        self.table.push(&spec.fields, row);
        self.close(job, (record.id, record.created_at));
        Ok(true)
    }

    /// Ends the batch before what was written from `start` on, where both are more than a batch
    /// may have. Whether it did.
    fn is_too_much(&mut self, job: &Job, start: usize) -> bool {
        let is_too_much = self.records > 0 && self.size() >= job.bounds().bytes;
        if is_too_much {
            self.text.truncate(start);
            self.is_full = true;
        }
        is_too_much
    }

    /// Puts a separator behind what was written, and counts it.
    fn close(&mut self, job: &Job, of: (RecordId, Timestamp)) {
        match framing(job) {
            Framing::Lines => self.text.push(b'\n'),
            Framing::Array => self.text.push(b','),
            // Spans have theirs already.
            Framing::OtlpJson | Framing::OtlpProtobuf => {}
        }
        self.records += 1;
        self.first.get_or_insert(of);
        self.last = Some(of);
        self.is_full = self.size() >= job.bounds().bytes || self.count() >= self.most(job);
    }

    fn fill_trail(&mut self, job: &Job, source: &Source<'_>) -> Result<(), BoxError> {
        let mut seen = 0;
        while seen < TURN && !self.is_full {
            let wanted = Wanted {
                after: Some(self.at.count()),
                ascending: true,
                ..Wanted::newest(Scope::All, PAGE)
            };
            let page = source.config.trail(&wanted)?;
            if page.is_empty() {
                self.is_caught_up = true;
                return Ok(());
            }
            seen += page.len();
            for entry in &page {
                // What made room before it could be exported.
                self.lost += entry.number - self.at.count() - 1;
                match entry.event.account == job.spec.account {
                    true => self.push_entry(job, entry)?,
                    false => self.skipped += 1,
                }
                self.at = Position::after(entry.number);
                if self.is_full {
                    break;
                }
            }
        }
        Ok(())
    }

    fn push_entry(&mut self, job: &Job, entry: &Entry) -> Result<(), BoxError> {
        let event = &entry.event;
        let body = |body: &Option<Box<str>>| {
            let text = body.as_deref()?;
            serde_json::from_str::<Value>(text).ok()
        };
        let line = json!({
            "when": event.at,
            "id": entry.number.to_string(),
            "revision": event.revision,
            "actor": {"name": event.who, "ip": event.address},
            "action": {"type": event.action, "info": told(&event.kind, &event.action)},
            "resource": {"type": format!("ai_gateway.{}", event.kind), "id": event.id},
            "oldValueJson": body(&event.before),
            "newValueJson": body(&event.after),
            "link": entry.link,
        });
        serde_json::to_writer(&mut self.text, &line)?;
        self.close(job, (RecordId::new(event.at), event.at));
        Ok(())
    }

    /// Packs the batch, as the one of this number behind that link.
    pub(crate) fn finish(
        mut self,
        job: &Job,
        before: &Before,
        parts: &Parts,
    ) -> Result<Batch, BoxError> {
        let is_of_records = job.spec.dataset != Dataset::Audit;
        if is_of_records && job.spec.destination.has_objects() {
            // A trail holds nothing that a loss of power could still take from the journal.
            parts.logs.sync()?;
        }
        let dropped = match is_of_records {
            true => parts.logs.dropped(self.from, self.at)?,
            false => 0,
        };
        // Points of metrics follow each other in time, whatever the clock does.
        let ended = before
            .ended
            .filter(|_| job.spec.dataset == Dataset::Metrics);
        let after = ended.map(|ended| ended.plus(Duration::from_micros(1)));
        let now = parts.clock.now().max(after.unwrap_or_default());
        let sequence = before.sequence + 1;
        let behind = self.id.map(|id| Mark { at: self.at, id });
        let body = self.body(job, (before.ended, now), &*parts.tables)?;
        let sha256 = hex(digest(&SHA256, &body).as_ref());
        let (first, last) = (
            self.first.map_or(now, |one| one.1),
            self.last.map_or(now, |one| one.1),
        );
        let name = format!(
            "{}_{}_{sequence:010}_{}{}",
            stamp(first),
            stamp(last),
            &sha256[..8],
            job.spec.pack.suffix()
        );
        let object = join(&job.spec.destination.path.fill(job.whose(), first), &name);
        let id =
            |one: Option<(RecordId, Timestamp)>| one.map(|(id, _)| id).filter(|_| is_of_records);
        let manifest = Manifest {
            version: 0,
            job: job.spec.id.clone(),
            dataset: job.spec.dataset.as_str().into(),
            sequence,
            object: object.into(),
            bytes: body.len() as u64,
            sha256: sha256.into(),
            records: self.records,
            skipped: self.skipped,
            lost: self.lost,
            dropped,
            from: self.from.count(),
            to: self.at.count(),
            first: id(self.first),
            last: id(self.last),
            made_at: now,
            rewound: before.rewound,
            previous: before.link.clone(),
            link: "".into(),
        };
        Ok(Batch {
            manifest: manifest.linked(),
            body,
            behind,
            erased: self.erased,
        })
    }

    /// What is delivered. `times`: when the batch before was made, and when this one is.
    fn body(
        &mut self,
        job: &Job,
        (since, now): (Option<Timestamp>, Timestamp),
        tables: &dyn TableFormat,
    ) -> Result<Vec<u8>, BoxError> {
        let framing = framing(job);
        if job.spec.pack == Pack::Parquet {
            return Ok(tables.write(&self.table.columns)?);
        }
        let text = match job.spec.dataset {
            Dataset::Metrics => {
                let since = since.or(self.first.map(|(_, at)| at)).unwrap_or(now);
                let nanos = |at: Timestamp| at.as_micros().saturating_mul(1_000);
                let is_protobuf = framing == Framing::OtlpProtobuf;
                let times = (nanos(since.min(now)), nanos(now));
                self.metrics.request(job.whose(), times, is_protobuf)
            }
            Dataset::Events | Dataset::Records | Dataset::Audit | Dataset::Traces => {
                framed(std::mem::take(&mut self.text), framing)
            }
        };
        if self.packed.is_empty() {
            return Ok(pack(&text, job.spec.pack)?);
        }
        let mut body = std::mem::take(&mut self.packed);
        if !text.is_empty() {
            body.extend(pack(&text, Pack::Zstd)?);
        }
        Ok(body)
    }
}

/// Whether records leave as they are stored, so that frames may be shipped as they lie.
fn ships_frames(job: &Job) -> bool {
    let spec = &job.spec;
    spec.dataset == Dataset::Records
        && spec.pack == Pack::Zstd
        && framing(job) == Framing::Lines
        && matches!(job.condition, Condition::Any)
}

/// An action in words: `gateway created`.
fn told(kind: &str, action: &str) -> String {
    match action {
        "create" | "update" | "delete" | "purge" => format!("{kind} {action}d"),
        other => format!("{kind} {other}"),
    }
}

fn framing(job: &Job) -> Framing {
    match &job.spec.destination.to {
        To::Post(Post { framing, .. }) => *framing,
        To::Folder(_) | To::Bucket(_) | To::Blob(_) => Framing::Lines,
    }
}

/// A record as one line, as the journal has it.
fn write_line(record: &Record, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let start = out.len();
    record.write_json(out)?;
    // Line breaks stand between tokens only: a string cannot hold one.
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &out[at..]) {
        at += found;
        out[at] = b' ';
    }
    Ok(())
}

fn framed(mut text: Vec<u8>, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Lines => text,
        Framing::OtlpJson => otlp::request(Signal::Traces, &text, false),
        Framing::OtlpProtobuf => otlp::request(Signal::Traces, &text, true),
        Framing::Array => {
            text.pop();
            text.insert(0, b'[');
            text.push(b']');
            text
        }
    }
}

pub(crate) fn pack(text: &[u8], pack: Pack) -> std::io::Result<Vec<u8>> {
    match pack {
        // A Parquet file is made of columns, and packed by who makes it.
        Pack::Plain | Pack::Parquet => Ok(text.to_vec()),
        Pack::Gzip => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
            packed.write_all(text)?;
            packed.finish()
        }
        Pack::Zstd => {
            let mut packed = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            packed.include_checksum(true)?;
            packed.write_all(text)?;
            packed.finish()
        }
    }
}
