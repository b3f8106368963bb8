//! The proof from a bucket alone that a trail is whole: every object there, none changed, none in
//! another's place.
//!
//! What no chain can prove alone: that its end was not cut off. Compare the head with what the
//! gateway tells (`isango logpush list`).

use isango_types::Timestamp;
use serde::Serialize;

use crate::deliver::{Carrier, get, list, sha256};
use crate::destination::Destination;
use crate::manifest::{Manifest, folder};
use crate::path::join;

/// Most findings that a report lists; it counts all of them.
const MAX_LISTED: usize = 1_000;

/// What an examination has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Jobs whose manifests were found.
    pub jobs: Vec<Trail>,
    /// How many things are wrong.
    pub damages: u64,
    /// What is wrong; the first 1 000.
    pub findings: Vec<Finding>,
}

/// The trail of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The job.
    pub job: Box<str>,
    /// Number of its first manifest that is there.
    pub first: u64,
    /// Number of its last.
    pub last: u64,
    /// Objects that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Records that retention had removed before they could be exported.
    pub lost: u64,
    /// Positions of the journal that it covers.
    pub from: u64,
    /// The position behind it.
    pub to: u64,
    /// The last link of the chain.
    pub head: Box<str>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// With which object.
    pub object: String,
    /// What.
    pub what: String,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.damages == 0
    }

    fn find(&mut self, object: &str, what: impl Into<String>) {
        self.damages += 1;
        if self.findings.len() < MAX_LISTED {
            self.findings.push(Finding {
                object: object.into(),
                what: what.into(),
            });
        }
    }
}

/// Examines everything below a destination. `from`: the number of the first manifest that each job
/// must have, 1 unless older ones were let go.
///
/// # Errors
/// It cannot be read. What is wrong with what can be stands in the report.
pub async fn verify<C: Carrier>(
    carrier: &C,
    destination: &Destination,
    (from, now): (u64, Timestamp),
) -> Result<Report, String> {
    let mut report = Report::default();
    let root = destination.path.root();
    let all = join(root, &format!("{}/", folder("").trim_end_matches('/')));
    let names = list(carrier, destination, &all, now).await?;
    let mut before: Option<Manifest> = None;
    for name in names.iter().filter(|name| name.ends_with(".json")) {
        let found = get(carrier, destination, name, now).await?;
        let read = found.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
        let Some(manifest) = read else {
            report.find(name, "it is no manifest");
            continue;
        };
        let place = format!(
            "/{}/{:012}.json",
            manifest.job.replace('/', "."),
            manifest.sequence
        );
        if !name.ends_with(&place) {
            report.find(name, "it is the manifest of another place");
        }
        follow(&mut report, name, before.as_ref(), &manifest);
        examine(
            &mut report,
            &manifest,
            get(carrier, destination, &manifest.object, now).await?,
        );
        before = Some(manifest);
    }
    let late = report.jobs.iter().filter(|trail| trail.first > from);
    let late: Vec<(Box<str>, u64)> = late.map(|one| (one.job.clone(), one.first)).collect();
    for (job, first) in late {
        let what = format!("the manifests from {from} to {} are missing", first - 1);
        report.find(&job, what);
    }
    if report.jobs.is_empty() {
        report.find(&all, "there is no manifest");
    }
    Ok(report)
}

/// Compares a manifest with itself, and with the one before.
fn follow(report: &mut Report, name: &str, before: Option<&Manifest>, manifest: &Manifest) {
    if manifest.link != manifest.expected_link() {
        report.find(name, "it was changed: its link is not its own");
    }
    match before.filter(|before| before.job == manifest.job) {
        Some(before) => {
            let expected = before.sequence + 1;
            if manifest.sequence != expected {
                report.find(
                    name,
                    format!(
                        "the manifests from {expected} to {} are missing",
                        manifest.sequence - 1
                    ),
                );
            } else if manifest.previous != before.link {
                report.find(name, "it does not follow the one before");
            } else if manifest.from != before.to && manifest.rewound != Some(before.to) {
                report.find(
                    name,
                    "positions are missing between the one before and this",
                );
            }
        }
        None => report.jobs.push(Trail {
            job: manifest.job.clone(),
            first: manifest.sequence,
            from: manifest.from,
            ..Trail::default()
        }),
    }
    if let Some(trail) = report.jobs.last_mut() {
        trail.last = manifest.sequence;
        trail.records += manifest.records;
        trail.lost += manifest.lost;
        trail.to = manifest.to;
        trail.head = manifest.link.clone();
    }
}

/// Compares an object with its manifest.
fn examine(report: &mut Report, manifest: &Manifest, found: Option<bytes::Bytes>) {
    let Some(body) = found else {
        return report.find(&manifest.object, "the object is missing");
    };
    if let Some(trail) = report.jobs.last_mut() {
        trail.objects += 1;
        trail.bytes += body.len() as u64;
    }
    if body.len() as u64 != manifest.bytes || sha256(&body) != *manifest.sha256 {
        report.find(&manifest.object, "the object was changed");
    }
}
