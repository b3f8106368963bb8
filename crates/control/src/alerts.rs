//! Alerts: tells somebody when a limit is nearly drawn, or when requests go wrong.
//!
//! [`Alerts::observe`] is shown every record once it is stored, on the thread that stored it: no
//! request waits for anything here. `judge` decides; what it decides on becomes a letter, which the
//! outbox keeps, with the key that it is sent for, until `deliver` has brought it to its webhook.
//! A decision that was lost with the process is made again from the latest records at the next start;
//! one that was kept is never made twice.
//!
//! `event` is what is told, `slack` how it looks there, `letter` how it is signed, `models` whose
//! share it is; `standing` is how an alert stands, `api` what the management API tells and changes.

pub(crate) mod api;
mod deliver;
mod event;
mod judge;
mod letter;
mod models;
mod slack;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use isango_store::outbox::{Letter, Outbox};
use isango_types::alert::{Kind, Share, When};
use isango_types::{
    Alert, Clock, Gateway, Limit, Record, RecordId, Snapshot, SnapshotCell, Timestamp,
};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

pub use api::{TestAlert, Tested};
pub use deliver::{Post, Posted};
pub use event::Event;
pub use letter::{Message, message};

use judge::{Bucket, Rolling};
use standing::Standing;

/// Decisions that wait to be kept; beyond, they are made again with the next record.
const MAX_PENDING: usize = 256;
/// The same of one gateway, so that none keeps the others' from being made.
const MAX_PENDING_OF_ONE: usize = 64;

/// Tells what a bucket of a limit has drawn.
pub type Drawn = dyn Fn(&Gateway, &Limit, &[Option<Box<str>>], Timestamp) -> u64 + Send + Sync;

/// What alerts are made of.
pub struct Parts {
    /// Which alerts there are.
    pub config: Arc<SnapshotCell>,
    /// What time it is.
    pub clock: Clock,
    /// What is drawn from limits.
    pub drawn: Box<Drawn>,
    /// Where letters wait.
    pub outbox: Arc<dyn Outbox>,
    /// Where the dashboard is; links in messages lead there.
    pub dashboard: Option<Box<str>>,
}

/// Watches records, and tells.
pub struct Alerts {
    parts: Parts,
    watch: Mutex<Watch>,
    /// Told when something is decided.
    wake: Notify,
    metrics: Metrics,
}

/// What is known of what was told.
#[derive(Debug, Default)]
struct Watch {
    /// Keys that are taken, and until when.
    taken: HashMap<Box<str>, Timestamp>,
    /// What is decided and not yet kept.
    pending: Vec<Letter>,
    /// Requests of late, by account, gateway and alert.
    rolling: HashMap<Box<str>, Rolling>,
    /// How alerts stand, by the same.
    standings: HashMap<Box<str>, Standing>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    gateway: String,
    alert: String,
    event: &'static str,
}

#[derive(Debug, Default)]
struct Metrics {
    alerts: Family<Labels, Counter>,
    waiting: Gauge,
}

impl Metrics {
    fn count(&self, letter: &Letter, event: &'static str) {
        let labels = Labels {
            gateway: letter.gateway.as_ref().into(),
            alert: letter.alert.as_ref().into(),
            event,
        };
        self.alerts.get_or_create(&labels).inc();
    }
}

impl Alerts {
    /// Alerts that count what they do among the metrics of `registry`.
    #[must_use]
    pub fn new(parts: Parts, registry: &mut Registry) -> Self {
        let metrics = Metrics::default();
        let registry = registry.sub_registry_with_prefix("isango");
        registry.register(
            "alerts",
            "Alerts, by what became of them",
            metrics.alerts.clone(),
        );
        registry.register(
            "alerts_waiting",
            "Alerts that are not delivered yet",
            metrics.waiting.clone(),
        );
        Self {
            parts,
            watch: Mutex::default(),
            wake: Notify::new(),
            metrics,
        }
    }

    /// Looks at records that were just stored. Never waits for anything but a moment's lock.
    pub fn observe(&self, records: &[Record]) {
        self.look(records, |_| true);
    }

    /// The same, at records of before: what is only of interest while it happens is left out.
    fn look_back(&self, records: &[Record]) {
        self.look(records, |when| matches!(when, When::Drawn { .. }));
    }

    fn look(&self, records: &[Record], is_asked: impl Fn(&When) -> bool) {
        let config = self.parts.config.load();
        if config.gateways().all(|gateway| gateway.alerts.is_empty()) {
            return;
        }
        let mut watch = self.watch.lock();
        for record in records {
            let Some(gateway) = config.gateway(&record.account, &record.gateway) else {
                continue;
            };
            let now = self.parts.clock.now();
            for alert in gateway.alerts.iter().filter(|alert| is_asked(&alert.when)) {
                let of = (&*record.account, &*gateway.id);
                let place = Place {
                    gateway,
                    alert,
                    now,
                    is_muted: config.muted_until(of, &alert.id, now).is_some(),
                };
                self.judge(&mut watch, place, record);
            }
        }
        if !watch.pending.is_empty() {
            self.wake.notify_one();
        }
    }

    fn judge(&self, watch: &mut Watch, place: Place<'_>, record: &Record) {
        match &place.alert.when {
            When::Drawn {
                limit,
                share,
                forecast,
            } => {
                let rule = (limit, *share, *forecast);
                self.judge_limit(watch, place, rule, record);
            }
            When::Often {
                kind,
                share,
                window,
                min_requests,
                repeat_after,
            } => {
                let name = place.name();
                let rolling = watch.rolling.entry(name.clone().into());
                let rolling = rolling.or_insert_with(|| Rolling::new(*window));
                let Some(seen) = rolling.see(*kind, *window, record, place.now) else {
                    return;
                };
                if seen.total >= *min_requests && share.is_passed_by(seen.of_kind, seen.total) {
                    let until = place.now.plus(*repeat_after);
                    let event = || place.often(*kind, *share, seen);
                    watch.decide(place, name, until, event);
                }
            }
        }
    }

    fn judge_limit(
        &self,
        watch: &mut Watch,
        place: Place<'_>,
        (limit, share, forecast): (&Arc<Limit>, Share, bool),
        record: &Record,
    ) {
        // One that was split otherwise has buckets that are none of these.
        let of_limit = |one: &&isango_types::limit::Decision| {
            one.rule == limit.id && one.unit == limit.unit && one.bucket.len() == limit.by.len()
        };
        for decision in record.limits.iter().filter(of_limit) {
            let used = (self.parts.drawn)(place.gateway, limit, &decision.bucket, place.now);
            let bucket = Bucket::of(limit, used, decision, place.now);
            let Some(crossing) = bucket.crosses(limit, share, forecast) else {
                continue;
            };
            let key = bucket.key(&place.name(), limit, &decision.bucket);
            let link = || models::filter(place.gateway, limit, &decision.bucket, bucket.start);
            let event = || {
                place
                    .drawn(limit, &decision.bucket, crossing)
                    .with_link(self.parts.dashboard.as_deref(), &link())
            };
            watch.decide(place, key, bucket.quiet_until(limit), event);
        }
    }

    /// Keeps what was decided since, on this thread: the last thing at the end of the process.
    pub fn persist(&self) {
        let letters = std::mem::take(&mut self.watch.lock().pending);
        if letters.is_empty() {
            return;
        }
        if let Err(error) = self.parts.outbox.put(&letters) {
            tracing::error!(%error, lost = letters.len(), "alerts could not be kept");
        }
    }
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerts").finish_non_exhaustive()
    }
}

/// Which alert is judged, and when.
#[derive(Clone, Copy)]
struct Place<'p> {
    gateway: &'p Gateway,
    alert: &'p Alert,
    now: Timestamp,
    /// Whether it is to be quiet.
    is_muted: bool,
}

impl Place<'_> {
    fn name(self) -> String {
        name((&self.gateway.account, &self.gateway.id), &self.alert.id)
    }
}

/// Account, gateway and alert.
fn name((account, gateway): (&str, &str), alert: &str) -> String {
    format!("{account}/{gateway}/{alert}")
}

impl Watch {
    /// Decides on an event, unless its key is taken, too many decisions wait, or it is to be quiet: then
    /// it is decided on when it may speak again, if it is due still.
    fn decide(
        &mut self,
        place: Place<'_>,
        key: String,
        until: Timestamp,
        event: impl Fn() -> Event,
    ) {
        let is_taken = self
            .taken
            .get(&*key)
            .is_some_and(|until| *until > place.now);
        let is_of_it = |letter: &&Letter| {
            letter.account == place.gateway.account && letter.gateway == place.gateway.id
        };
        let has_no_room = || {
            self.pending.len() >= MAX_PENDING
                || self.pending.iter().filter(is_of_it).count() >= MAX_PENDING_OF_ONE
        };
        if is_taken || place.is_muted || has_no_room() {
            return;
        }
        let event = event();
        let Ok(text) = serde_json::to_string(&event) else {
            return;
        };
        self.pending.push(Letter {
            id: event.id,
            at: place.now,
            account: place.gateway.account.clone(),
            gateway: place.gateway.id.clone(),
            alert: place.alert.id.clone(),
            key: key.clone().into(),
            until,
            event: text.into(),
        });
        self.taken.insert(key.into(), until);
        let standing = self.standings.entry(place.name().into()).or_default();
        standing.last_fired_at = Some(place.now);
        standing.fired += 1;
    }

    /// Forgets keys that are free again, and alerts that are not configured any more.
    fn sweep(&mut self, config: &Snapshot, now: Timestamp) {
        self.taken.retain(|_, until| *until > now);
        let of =
            |gateway: &Gateway, alert: &Alert| name((&gateway.account, &gateway.id), &alert.id);
        let gateways = config.gateways();
        let configured: HashSet<String> = gateways
            .flat_map(|gateway| gateway.alerts.iter().map(move |alert| of(gateway, alert)))
            .collect();
        self.rolling.retain(|name, _| configured.contains(&**name));
        self.standings
            .retain(|name, _| configured.contains(&**name));
    }
}

/// A test message for an alert, as it would be for one that is due, but marked.
#[must_use]
pub fn test_event(
    gateway: &Gateway,
    alert: &Alert,
    now: Timestamp,
    dashboard: Option<&str>,
) -> Event {
    let place = Place {
        gateway,
        alert,
        now,
        is_muted: false,
    };
    let event = match &alert.when {
        When::Drawn {
            limit,
            share,
            forecast,
        } => {
            let values: Vec<_> = limit.by.iter().map(|_| Some("(test)".into())).collect();
            let used = share.of(limit.limit);
            let crossing = Bucket::empty(limit, now).crossing(used, forecast.then_some(used));
            let filter = models::filter(gateway, limit, &[], crossing.start);
            place
                .drawn(limit, &values, crossing)
                .with_link(dashboard, &filter)
        }
        When::Often {
            kind,
            share,
            min_requests,
            window,
            ..
        } => {
            let of_kind = share.of(*min_requests);
            place.often(
                *kind,
                *share,
                Rolling::seen(*min_requests, of_kind, *window),
            )
        }
    };
    event.into_test()
}

/// A fresh id for an event.
fn fresh_id(now: Timestamp) -> RecordId {
    RecordId::new(now)
}

/// What a kind says of requests, for the end of "12 % of 340 requests …".
fn words(kind: Kind) -> String {
    let seconds = |over: std::time::Duration| over.as_secs_f64();
    match kind {
        Kind::Failed => "failed".into(),
        Kind::FirstByte(over) => format!("began their answer later than {} s", seconds(over)),
        Kind::Total(over) => format!("took longer than {} s", seconds(over)),
        Kind::Unpriced => "have no known cost".into(),
    }
}
