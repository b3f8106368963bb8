//! Alerts that are quiet for a while, in a [`ConfigStore`](crate::config::ConfigStore): by account,
//! gateway and alert, until when.

use isango_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Contents, Entity, Kind};

/// Until when an alert is quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    /// Until this moment.
    pub until: Timestamp,
}

/// The id in the store.
#[must_use]
pub fn entity_id(account: &str, gateway: &str, alert: &str) -> String {
    format!("{account}/{gateway}/{alert}")
}

/// Every alert that was muted: its entity, its account, `gateway/alert`, and until when. One that
/// cannot be read is none: an alert is rather told than not.
pub fn all(contents: &Contents) -> impl Iterator<Item = (&Entity, &str, &str, Mute)> {
    contents.of(Kind::Mute).filter_map(|entity| {
        let (account, alert) = entity.id.split_once('/')?;
        let mute = serde_json::from_str(&entity.body).ok()?;
        Some((entity, account, alert, mute))
    })
}
