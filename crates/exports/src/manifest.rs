//! What a batch holds, and how it follows the one before: a manifest beside each object, whose links
//! are a chain. Whoever has a bucket proves with it that no object is missing, was changed, or was
//! put in another's place.

use aws_lc_rs::digest::{SHA256, digest};
use isango_types::{RecordId, Timestamp};
use serde::{Deserialize, Serialize};

/// Version of the format.
const VERSION: u32 = 1;

/// The manifest of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub version: u32,
    /// Whose batch.
    pub job: Box<str>,
    /// What was exported.
    pub dataset: Box<str>,
    /// Which batch of the job, from 1.
    pub sequence: u64,
    /// The object, from the root of the bucket.
    pub object: Box<str>,
    /// Its length, packed.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: Box<str>,
    /// Records in it.
    pub records: u64,
    /// Records of these positions that the job does not export.
    pub skipped: u64,
    /// Records of these positions that retention had removed before.
    pub lost: u64,
    /// Records that the gateway dropped while it wrote those of these positions, because its disk did
    /// not take them: of whichever account they were, they are in no journal and no export.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Position in the journal before its first record.
    pub from: u64,
    /// Position behind its last record.
    pub to: u64,
    /// Position behind the batch before, where the journal has lost records since: it goes on from
    /// before them, and some records may come once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewound: Option<u64>,
    /// Id of its first record.
    pub first: Option<RecordId>,
    /// Id of its last record.
    pub last: Option<RecordId>,
    /// When it was made.
    pub made_at: Timestamp,
    /// Link of the manifest before, in hex; 64 zeros before the first.
    pub previous: Box<str>,
    /// SHA-256, in hex, of this manifest as JSON without its link, members in this order.
    #[serde(default)]
    pub link: Box<str>,
}

impl Manifest {
    /// The link before the first.
    #[must_use]
    pub fn no_link() -> Box<str> {
        "0".repeat(64).into()
    }

    /// The same, of this version, with its link.
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.version = VERSION;
        self.link = self.expected_link();
        self
    }

    /// The link that it must have.
    #[must_use]
    pub fn expected_link(&self) -> Box<str> {
        let bare = Self {
            link: "".into(),
            ..self.clone()
        };
        // Texts and numbers have no other JSON.
        let json = serde_json::to_vec(&bare).unwrap_or_default();
        hex(digest(&SHA256, &json).as_ref()).into()
    }

    /// As it is written.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

/// The number of a batch in the name of its object.
pub(crate) fn number_in(object: &str) -> Option<u64> {
    let name = object.rsplit('/').next()?;
    name.split('_').nth(2)?.parse().ok()
}

/// The folder of a job's manifests, below the root of its objects.
pub(crate) fn folder(slug: &str) -> String {
    format!("manifests/{slug}")
}

/// The name of a manifest in its folder.
pub(crate) fn name(sequence: u64) -> String {
    format!("{sequence:012}.json")
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
