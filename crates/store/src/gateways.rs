//! Gateways in a [`ConfigStore`](crate::config::ConfigStore): as the management API was told them,
//! so that it can tell them again unchanged.

pub mod secrets;

use std::collections::BTreeMap;

use isango_types::{Timestamp, is_account, is_gateway_id};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Contents, Entity, Kind};

/// Gateways that are stored at most.
pub const MAX_GATEWAYS: usize = 1_000;

/// Fields that are keys of `[[gateways]]` by the same name.
const SAME: [&str; 10] = [
    "authentication",
    "cache_invalidate_on_update",
    "cache_ttl",
    "collect_logs",
    "log_management",
    "log_management_strategy",
    "rate_limiting_interval",
    "rate_limiting_limit",
    "rate_limiting_technique",
    "spend_limits",
];

/// Fields that are keys of `[[gateways]]` by another name.
const RENAMED: [(&str, &str); 3] = [
    ("otel", "otel"),
    ("logpush", "logpush_enabled"),
    ("logpush_public_key", "logpush_public_key"),
];

/// Fields that are keys of `[gateways.retry]`.
const RETRY: [(&str, &str); 3] = [
    ("retry_max_attempts", "max_attempts"),
    ("retry_delay", "delay_ms"),
    ("retry_backoff", "backoff"),
];

/// A gateway as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredGateway {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its id, unique in the account.
    pub id: Box<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// What was set, in the spelling that clients of Cloudflare know (management-api section 3.1).
    pub fields: Map<String, Value>,
    /// Keys of `[[gateways]]` that have no such spelling.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// What stands as stars in `fields`, sealed, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed: BTreeMap<Box<str>, Box<str>>,
}

/// What is stored is no gateway.
#[derive(Debug, thiserror::Error)]
#[error("gateway `{0}` cannot be read: what is stored is damaged, or from a newer version")]
pub struct Damaged(Box<str>);

impl Damaged {
    /// The id of what cannot be read.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }
}

impl StoredGateway {
    /// The id in the store of the gateway `id` of `account`.
    #[must_use]
    pub fn entity_id(account: &str, id: &str) -> String {
        format!("{account}/{id}")
    }

    /// The gateway that an entity is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(entity: &Entity) -> Result<Self, Damaged> {
        let damaged = || Damaged(entity.id.clone());
        let stored: Self = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
        let is_named = is_account(&stored.account) && is_gateway_id(&stored.id);
        match is_named && *Self::entity_id(&stored.account, &stored.id) == *entity.id {
            true => Ok(stored),
            false => Err(damaged()),
        }
    }

    /// Its text in the store.
    ///
    /// # Errors
    /// None that is known: serde's signature.
    pub fn body(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Whether `key` of `[[gateways]]` is set by a field.
    #[must_use]
    pub fn is_of_fields(key: &str) -> bool {
        SAME.contains(&key)
            || ["account", "id"].contains(&key)
            || RENAMED.iter().any(|(_, renamed)| *renamed == key)
    }

    /// The same as a table of `[[gateways]]`; what is `null` is left out.
    #[must_use]
    pub fn document(&self) -> Map<String, Value> {
        let mut document = self.settings.clone();
        for name in ["account", "id"] {
            let text = if name == "id" {
                &self.id
            } else {
                &self.account
            };
            document.insert(name.to_owned(), (&**text).into());
        }
        for name in SAME {
            if let Some(value) = self.fields.get(name) {
                document.insert(name.to_owned(), value.clone());
            }
        }
        // Clients send how records go whether or not they say how many stay.
        if document.get("log_management").is_none_or(Value::is_null) {
            document.remove("log_management_strategy");
        }
        for (name, key) in RENAMED {
            if let Some(value) = self.fields.get(name) {
                document.insert(key.to_owned(), value.clone());
            }
        }
        let retry = document.entry("retry").or_insert_with(|| Map::new().into());
        if let Value::Object(retry) = retry {
            for (name, key) in RETRY {
                if let Some(value) = self.fields.get(name) {
                    retry.insert(key.to_owned(), value.clone());
                }
            }
        }
        document
    }
}

/// Every stored gateway, by account and id; what cannot be read is an error of its own.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<StoredGateway, Damaged>> {
    contents.of(Kind::Gateway).map(StoredGateway::parse)
}
