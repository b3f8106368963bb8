//! A job: what is exported, where to, and in which shape.

use std::sync::Arc;
use std::time::Duration;

use isango_types::{Secret, Timestamp};

use crate::condition::Condition;
use crate::destination::Destination;
use crate::fields::{Field, Times};
use crate::path::Whose;
use crate::seal::PublicKey;

/// Most jobs of all accounts and gateways, exporters of traces not counted.
pub const MAX_JOBS: usize = 64;
/// Most bytes of a batch before it is packed. So much memory a job may take, three times over.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// Records by fields, as the Logpush contract has them.
    Events,
    /// Records whole, as they stand in the journal.
    Records,
    /// The audit trail: who changed what, and who signed in.
    Audit,
    /// Traces of a gateway; its exporters alone have it.
    Traces,
    /// Metrics of a gateway; its exporters alone have them.
    Metrics,
}

impl Dataset {
    /// The names, in the order of [`Dataset::ALL`].
    pub const NAMES: [&'static str; 3] = ["ai_gateway_events", "records", "audit_logs"];
    /// Those that a job may have.
    pub const ALL: [Self; 3] = [Self::Events, Self::Records, Self::Audit];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => Self::NAMES[0],
            Self::Records => Self::NAMES[1],
            Self::Audit => Self::NAMES[2],
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// How batches are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pack {
    /// As gzip.
    #[default]
    Gzip,
    /// As frames of zstd with their checksums, one behind the other: those of the journal where
    /// records leave as they are stored.
    Zstd,
    /// Not at all.
    Plain,
    /// Not as lines, but as a Parquet file, which packs its columns by itself.
    Parquet,
}

impl Pack {
    /// The names of those of lines, in the order of [`Pack::ALL`].
    pub const NAMES: [&'static str; 3] = ["gzip", "zstd", "none"];
    /// Those of lines.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Plain];

    /// How names of objects end.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".log.gz",
            Self::Zstd => ".log.zst",
            Self::Plain => ".log",
            Self::Parquet => ".parquet",
        }
    }

    /// `content-encoding`.
    pub(crate) const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Plain | Self::Parquet => None,
        }
    }
}

/// When a batch is complete; the first that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes before it is packed.
    pub bytes: usize,
    /// Records.
    pub records: usize,
    /// Since its first record was seen.
    pub wait: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            records: 100_000,
            wait: Duration::from_secs(30),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name, unique among all, in the store and in metrics: `account/…`.
    pub id: Box<str>,
    /// Whose records.
    pub account: Box<str>,
    /// Of this gateway alone.
    pub gateway: Option<Box<str>>,
    /// Whether the configuration file has it. Others take records of gateways only that say so
    /// ([`isango_types::Gateway::logpush`]).
    pub of_file: bool,
    /// Whether it is under way.
    pub enabled: bool,
    /// What is exported.
    pub dataset: Dataset,
    /// Where to.
    pub destination: Destination,
    /// Which records; empty: all.
    pub filter: Box<str>,
    /// What of them.
    pub fields: Vec<Field>,
    /// How moments are written.
    pub times: Times,
    /// How batches are packed.
    pub pack: Pack,
    /// When they are complete.
    pub bounds: Bounds,
    /// What bodies and metadata are sealed with (PEM); `None`: the key of their gateway, if it has
    /// one.
    pub public_key: Option<Box<str>>,
    /// How long objects are locked.
    pub retain: Option<Duration>,
    /// Whether what was recorded before is exported too.
    pub from_start: bool,
    /// What bodies to a webhook are signed with.
    pub signing_key: Option<Secret>,
    /// Records whose line is longer are exported without bodies; 0: none is.
    pub max_record_bytes: usize,
}

/// A job, checked.
#[derive(Clone, Debug)]
pub struct Job {
    /// What was asked for.
    pub spec: Spec,
    pub(crate) condition: Condition,
    pub(crate) key: Option<Arc<PublicKey>>,
}

/// What is wrong with a job: with which part of it, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// Which part.
    pub part: Part,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A part of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Spec::filter`].
    Filter,
    /// [`Spec::public_key`].
    PublicKey,
    /// [`Spec::retain`].
    Retain,
    /// [`Spec::signing_key`].
    SigningKey,
    /// [`Spec::pack`], where it is [`Pack::Parquet`].
    Format,
}

impl Job {
    /// Checks a job. Relative times of its filter count from `now`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(spec: Spec, now: Timestamp) -> Result<Self, JobError> {
        let wrong = |part| move |message: String| JobError { part, message };
        let condition = Condition::parse(&spec.filter, now).map_err(wrong(Part::Filter))?;
        let is_of_audit = spec.dataset == Dataset::Audit;
        if is_of_audit && !spec.filter.is_empty() {
            let message = "the trail of changes has no filter: it is exported whole".to_owned();
            return Err(wrong(Part::Filter)(message));
        }
        let key = spec.public_key.as_deref().map(PublicKey::parse);
        let key = key
            .transpose()
            .map_err(|error| wrong(Part::PublicKey)(error.to_string()))?;
        if key.is_some() && spec.dataset != Dataset::Events {
            let message = format!(
                "fields of `{}` are sealed, and of no other",
                Dataset::NAMES[0]
            );
            return Err(wrong(Part::PublicKey)(message));
        }
        if spec.retain.is_some() && !spec.destination.can_lock() {
            let message = "objects are locked in `s3://` and `azure://` only; `r2://` and `gs://` \
                           lock by rules of the bucket"
                .to_owned();
            return Err(wrong(Part::Retain)(message));
        }
        if spec.signing_key.is_some() && spec.destination.has_objects() {
            let message = "bodies are signed for `https://` only; objects have their manifests";
            return Err(wrong(Part::SigningKey)(message.to_owned()));
        }
        if spec.pack == Pack::Parquet {
            check_parquet(&spec).map_err(wrong(Part::Format))?;
        }
        Ok(Self {
            spec,
            condition,
            key: key.map(Arc::new),
        })
    }

    pub(crate) fn whose(&self) -> Whose<'_> {
        Whose {
            account: &self.spec.account,
            gateway: self.spec.gateway.as_deref(),
        }
    }

    /// When a batch is complete: as asked for, and as the receiver takes it.
    pub(crate) fn bounds(&self) -> Bounds {
        let (bytes, records) = self.spec.destination.bounds();
        let asked = self.spec.bounds;
        Bounds {
            bytes: asked.bytes.min(bytes).min(MAX_BATCH_BYTES),
            records: asked.records.min(records),
            wait: asked.wait,
        }
    }

    /// Its name as part of a path.
    pub(crate) fn slug(&self) -> String {
        self.spec.id.replace('/', ".")
    }
}

/// # Errors
/// What of a job is not for Parquet.
fn check_parquet(spec: &Spec) -> Result<(), String> {
    let wrong = |message: &str| Err(message.to_owned());
    if spec.dataset != Dataset::Events {
        return Err(format!(
            "Parquet has columns, as `{}` has fields; other datasets are exported as lines",
            Dataset::NAMES[0]
        ));
    }
    if !spec.destination.has_objects() {
        return wrong("Parquet files are objects of a bucket or folder; a webhook takes lines");
    }
    if spec.times != Times::default() {
        return wrong("Parquet has a type for moments: leave out how they are written");
    }
    Ok(())
}
