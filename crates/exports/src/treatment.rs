//! What is done with records before they leave, by what their gateway asks.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use isango_types::Record;
use isango_types::redaction::Redaction;

use crate::batch::Source;
use crate::job::{Dataset, Job};
use crate::known::{self, Asked};
use crate::seal::PublicKey;

/// What is done with the records of a gateway.
#[derive(Clone)]
pub(crate) struct Treatment {
    pub(crate) redaction: Option<Redaction>,
    pub(crate) key: Option<Arc<PublicKey>>,
    pub(crate) takes_out: Option<fn(&mut Record)>,
}

/// What is done with records, by gateway; those that are not exported have none.
pub(crate) struct Treatments<'k> {
    job: &'k Job,
    pub(crate) source: &'k Source<'k>,
    known: HashMap<Box<str>, Option<Treatment>>,
}

impl<'k> Treatments<'k> {
    pub(crate) fn new(job: &'k Job, source: &'k Source<'k>) -> Self {
        Self {
            job,
            source,
            known: HashMap::new(),
        }
    }

    pub(crate) fn of(&mut self, id: &str) -> Option<Treatment> {
        if let Some(known) = self.known.get(id) {
            return known.clone();
        }
        let found = self.find(id);
        self.known.insert(id.into(), found.clone());
        found
    }

    /// Whether records of these accounts and gateways are all of the job's, and leave as they are.
    pub(crate) fn leave_alone(&mut self, owners: &[(Box<str>, Box<str>)]) -> bool {
        owners.iter().all(|(account, gateway)| {
            let spec = &self.job.spec;
            let is_of_job =
                *account == spec.account && spec.gateway.as_ref().is_none_or(|id| id == gateway);
            let treatment = is_of_job.then(|| self.of(gateway)).flatten();
            treatment.is_some_and(|one| one.redaction.is_none() && one.takes_out.is_none())
        })
    }

    fn find(&self, id: &str) -> Option<Treatment> {
        let spec = &self.job.spec;
        let now = self.source.snapshot.gateway(&spec.account, id);
        let asked = now
            .map(|gateway| Cow::Owned(Asked::by(gateway)))
            .or_else(|| {
                let place = (spec.account.clone(), id.into());
                self.source.known.get(&place).map(Cow::Borrowed)
            });
        let is_pushed = asked.as_ref().is_some_and(|asked| asked.logpush);
        let is_otel = matches!(spec.dataset, Dataset::Traces | Dataset::Metrics);
        if !(spec.of_file || is_pushed || is_otel) {
            return None;
        }
        // Without a gateway there were no rules, and nothing was taken from the client.
        let is_unknown = asked.is_none() && !id.is_empty();
        if spec.dataset == Dataset::Metrics {
            // They hold nothing of what a record says.
            return Some(Treatment {
                redaction: None,
                key: None,
                takes_out: None,
            });
        }
        let pem = asked.as_ref().and_then(|asked| asked.public_key.as_deref());
        let of_gateway = pem.map(PublicKey::parse);
        let is_sealed = pem.is_some() && spec.dataset != Dataset::Traces;
        let key = self.job.key.clone();
        let key = key.or_else(|| of_gateway.and_then(Result::ok).map(Arc::new));
        let takes_out: Option<fn(&mut Record)> = match spec.dataset {
            _ if is_unknown => {
                let (job, gateway) = (&spec.id, id);
                tracing::warn!(
                    %job, gateway,
                    "records of a gateway that is not there any more are exported without contents"
                );
                Some(known::bare)
            }
            // Whole records have no place for what is sealed.
            Dataset::Records if is_sealed => Some(known::without_contents),
            Dataset::Events if is_sealed && key.is_none() => Some(known::without_contents),
            Dataset::Events
            | Dataset::Records
            | Dataset::Traces
            | Dataset::Metrics
            | Dataset::Audit => None,
        };
        Some(Treatment {
            redaction: asked.and_then(|asked| asked.redaction.clone()),
            key,
            takes_out,
        })
    }
}
