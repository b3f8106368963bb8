//! How alerts stand: whether they are due now, when they were told, and whether that arrived.

use std::collections::HashSet;
use std::sync::Arc;

use isango_store::outbox::Letter;
use isango_types::alert::When;
use isango_types::{Alert, Gateway, Timestamp};

use super::{Alerts, Posted, Watch, name};

/// How an alert stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Of a limit: it was told of a bucket whose window has not ended. Of requests: too many of those
    /// in its window are of its kind.
    pub(crate) is_firing: bool,
    /// When it was last told, as far as this process knows.
    pub(crate) last_fired_at: Option<Timestamp>,
    /// How often it was told since the process began.
    pub(crate) fired: u64,
    /// Messages that are not delivered yet.
    pub(crate) waiting: u64,
    /// When a message last arrived.
    pub(crate) delivered_at: Option<Timestamp>,
    /// When, and why, the last try failed, where none has succeeded since.
    pub(crate) failure: Option<(Timestamp, Box<str>)>,
}

/// Why a try failed whose webhook answered.
pub(super) fn refused(posted: &Posted) -> String {
    format!("its webhook answers {}", posted.status)
}

impl Watch {
    /// Takes up what an earlier process decided on.
    pub(super) fn remember(&mut self, letters: &[Letter]) {
        for letter in letters {
            let standing = self.standing(letter);
            standing.last_fired_at = standing.last_fired_at.max(Some(letter.at));
        }
    }

    /// Takes note of what became of a try.
    pub(super) fn landed(
        &mut self,
        letter: &Letter,
        said: &Result<Posted, String>,
        now: Timestamp,
    ) {
        let standing = self.standing(letter);
        let why = match said {
            Ok(posted) if posted.status.is_success() => {
                standing.delivered_at = Some(now);
                standing.failure = None;
                return;
            }
            Ok(posted) => refused(posted),
            Err(why) => why.clone(),
        };
        standing.failure = Some((now, why.into()));
    }

    /// Takes note of what waits.
    pub(super) fn count_waiting<'l>(&mut self, letters: impl Iterator<Item = &'l Letter>) {
        self.standings.values_mut().for_each(|one| one.waiting = 0);
        letters.for_each(|letter| self.standing(letter).waiting += 1);
    }

    fn standing(&mut self, letter: &Letter) -> &mut Standing {
        let name = name((&letter.account, &letter.gateway), &letter.alert);
        self.standings.entry(name.into()).or_default()
    }
}

impl Alerts {
    /// How these alerts stand, in their order.
    pub(crate) fn standings(&self, alerts: &[(Arc<Gateway>, Arc<Alert>)]) -> Vec<Standing> {
        let now = self.parts.clock.now();
        let watch = self.watch.lock();
        let taken = watch.taken.iter().filter(|(_, until)| **until > now);
        // What a key is taken for follows the alert's name.
        let told: HashSet<&str> = taken
            .filter_map(|(key, _)| key.split('\0').next())
            .collect();
        let of = |(gateway, alert): &(Arc<Gateway>, Arc<Alert>)| {
            let name = name((&gateway.account, &gateway.id), &alert.id);
            let mut standing = watch.standings.get(&*name).cloned().unwrap_or_default();
            standing.is_firing = match &alert.when {
                When::Drawn { .. } => told.contains(&*name),
                When::Often {
                    share,
                    min_requests,
                    ..
                } => watch.rolling.get(&*name).is_some_and(|rolling| {
                    let held = rolling.held(now);
                    held.total >= *min_requests && share.is_passed_by(held.of_kind, held.total)
                }),
            };
            standing
        };
        alerts.iter().map(of).collect()
    }
}
