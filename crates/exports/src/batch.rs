//! Gathers records until a batch is complete, and packs it. All of it blocks.

use std::borrow::Cow;
use std::io::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use isango_store::audit::{Entry, Scope, Wanted};
use isango_store::config::ConfigStore;
use isango_store::logs::{LogReader, Position};
use isango_types::{Record, RecordId, Snapshot, Timestamp};
use serde_json::{Value, json};

use crate::destination::{Framing, Post, To};
use crate::fields;
use crate::job::{Dataset, Job, Pack};
use crate::known::AskedBy;
use crate::manifest::{Manifest, hex};
use crate::otlp;
use crate::path::{join, stamp};
use crate::seal::PublicKey;
use crate::state::{Mark, Passed, State};
use crate::treatment::Treatments;

/// Records that are read at once.
const PAGE: usize = 500;
/// Records that are looked at before others have their turn.
const TURN: usize = 5_000;
/// zstd's level: most of what more would save is not worth its time.
const ZSTD_LEVEL: i32 = 1;

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
}

impl Before {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            sequence: state.sequence,
            link: state.link.clone(),
            rewound: state.rewound,
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
            Dataset::Events | Dataset::Records | Dataset::Traces => self.fill_records(job, source),
            Dataset::Audit => self.fill_trail(job, source),
        }
    }

    fn fill_records(&mut self, job: &Job, source: &Source<'_>) -> Result<(), BoxError> {
        let mut treatments = Treatments::new(job, source);
        let mut seen = 0;
        while seen < TURN && !self.is_full {
            let room = self.most(job).saturating_sub(self.count());
            let left = self
                .until
                .map_or(u64::MAX, |until| until.count() - self.at.count());
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
        let is_erased = is_of_job && record.is_erased();
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
                let is_protobuf = framing(job) == Framing::Protobuf;
                otlp::write(record, is_protobuf, &mut self.text);
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

    /// Ends the batch before what was written from `start` on, where both are more than a batch
    /// may have. Whether it did.
    fn is_too_much(&mut self, job: &Job, start: usize) -> bool {
        let is_too_much = self.records > 0 && self.text.len() >= job.bounds().bytes;
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
            Framing::Spans | Framing::Protobuf => {}
        }
        self.records += 1;
        self.first.get_or_insert(of);
        self.last = Some(of);
        self.is_full = self.text.len() >= job.bounds().bytes || self.count() >= self.most(job);
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
        self,
        job: &Job,
        before: &Before,
        now: Timestamp,
    ) -> Result<Batch, BoxError> {
        let sequence = before.sequence + 1;
        let behind = self.id.map(|id| Mark { at: self.at, id });
        let text = framed(self.text, framing(job));
        let body = pack(&text, job.spec.pack)?;
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
        let is_of_records = job.spec.dataset != Dataset::Audit;
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
        Framing::Spans => otlp::request(&text, false),
        Framing::Protobuf => otlp::request(&text, true),
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
        Pack::Plain => Ok(text.to_vec()),
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
