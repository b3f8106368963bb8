//! Providers that accounts have for themselves, in a [`ConfigStore`](crate::config::ConfigStore), with
//! what their models cost (management-api section 7). Their headers are sealed.

use isango_types::{Secret, Timestamp, is_account};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{Contents, Entity, Kind};
use crate::seal::{Keyring, SealError};

/// Providers of one account at most.
pub const MAX_PROVIDERS: usize = 100;
/// Rules of what one of them costs at most.
pub const MAX_COSTS: usize = 100;

/// A provider as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredProvider {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its id, a UUID.
    pub id: Box<str>,
    /// What stands behind `custom-` in a path; unique in the account.
    pub slug: Box<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// What else was set, in the spelling of the contract, without the headers.
    pub fields: Map<String, Value>,
    /// Names of its headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_names: Vec<Box<str>>,
    /// Its headers, a JSON object, sealed; empty where there are none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub sealed: Box<str>,
    /// What its models cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<StoredCost>,
}

/// A rule of what models cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredCost {
    /// Its id, a UUID.
    pub id: Box<str>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// What was set, in the spelling of the contract.
    pub fields: Map<String, Value>,
}

/// What is stored is no provider.
#[derive(Debug, thiserror::Error)]
#[error("provider `{0}` cannot be read: what is stored is damaged, or from a newer version")]
pub struct Damaged(Box<str>);

impl StoredProvider {
    /// The id in the store of the provider `id` of `account`.
    #[must_use]
    pub fn entity_id(account: &str, id: &str) -> String {
        format!("{account}/{id}")
    }

    /// What paths, records and prices call it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("custom-{}", self.slug)
    }

    /// Whether requests may use it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.fields.get("enable") == Some(&Value::Bool(true))
    }

    /// The provider that an entity is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(entity: &Entity) -> Result<Self, Damaged> {
        let damaged = || Damaged(entity.id.clone());
        let stored: Self = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
        let id = Self::entity_id(&stored.account, &stored.id);
        match is_account(&stored.account) && *id == *entity.id {
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

    /// What its headers are bound to. Its address is: nobody moves them to another one.
    fn place(&self) -> Vec<u8> {
        let id = Self::entity_id(&self.account, &self.id);
        let base_url = self.fields.get("base_url").and_then(Value::as_str);
        format!("isango provider 1 {id} {}", base_url.unwrap_or_default()).into_bytes()
    }

    /// Puts other headers, a JSON object, in the place of those that it has.
    ///
    /// # Errors
    /// [`SealError::Failed`].
    pub fn seal(&mut self, keyring: &Keyring, headers: &Secret) -> Result<(), SealError> {
        self.sealed = keyring.current.seal(&self.place(), headers)?.into();
        Ok(())
    }

    /// Its headers, a JSON object; `None`: it has none.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, keyring: &Keyring) -> Result<Option<Secret>, SealError> {
        match self.sealed.is_empty() {
            true => Ok(None),
            false => keyring.open(&self.place(), &self.sealed).map(Some),
        }
    }
}

/// Every stored provider, by account and id; what cannot be read is an error of its own.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<StoredProvider, Damaged>> {
    contents.of(Kind::Provider).map(StoredProvider::parse)
}
