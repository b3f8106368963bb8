//! What the cache has for a request that is not sent.

use isango_store::cache::Entry;
use isango_types::record::CacheStatus;
use isango_types::rehearsal::CacheLook;
use isango_types::{RecordId, Timestamp};

use super::{Cache, Caching, Fit, Looking, Terms, fit};
use crate::ask::{Call, Limits};
use crate::exchange::Exchange;

impl Caching {
    /// What it says of a request that the cache was not asked for.
    pub(crate) fn look(&self) -> CacheLook {
        CacheLook {
            status: self.status,
            reason: self.reason.map(Into::into),
            ..CacheLook::default()
        }
    }
}

impl Cache {
    /// What is kept for a request, or on its way, and in what its question differs from those of
    /// late. Nothing of it is given.
    pub(crate) async fn explain(
        &self,
        exchange: &Exchange,
        call: &Call<'_>,
        terms: Box<Terms>,
    ) -> CacheLook {
        let (Some(draft), Some(body)) = (exchange.draft(), call.question()) else {
            return CacheLook::default();
        };
        let limits = Limits::default();
        let looking = Looking::of((draft, call), body, terms, &limits);
        let question = looking.question(draft);
        let Some(key) = question.key().await else {
            return CacheLook::default();
        };
        let now = exchange.created_at();
        let prints = question.prints();
        let mut look = CacheLook {
            key: Some(key.to_string().into()),
            parts: prints.names(),
            ttl_s: Some(looking.terms.ttl.as_secs()),
            ..CacheLook::default()
        };
        let entry = self.find(&key).await;
        look.kept = entry.as_deref().map(|entry: &Entry| entry.kept_at(now));
        if !looking.terms.reads {
            look.reason = Some("the request asked for a new answer".into());
            return look;
        }
        look.status = CacheStatus::Miss;
        match entry.map(|entry| fit(&entry, &looking, now)) {
            Some(Fit::Fresh) => {
                look.status = CacheStatus::Hit;
                return look;
            }
            Some(Fit::StandsIn(reason)) => {
                look.stands_in = true;
                look.reason = Some(reason.into());
            }
            Some(Fit::Unfit(reason)) => look.reason = Some(reason.into()),
            None => {}
        }
        look.is_under_way = looking.shares && self.flights.lock().contains_key(&key);
        // Those of this very millisecond came before.
        let asked = RecordId::new(Timestamp::from_micros(now.as_micros() + 1_000));
        if let Some((nearest, differs)) = self.recent.nearest(&prints, asked) {
            (look.nearest, look.differs) = (Some(nearest), differs);
        }
        look
    }
}
