//! Provider credentials in a [`ConfigStore`]: sealed, each for one gateway, provider and alias.
//!
//! What is stored in the clear is sealed in with the secret: who swaps two rows, or raises a rate,
//! makes them unreadable.

use isango_types::credential::CredentialError;
use isango_types::provider::PathRule;
use isango_types::{Credential, Secret, Timestamp, is_account, is_gateway_id};
use serde::{Deserialize, Serialize};

use crate::config::{self, Change, ConfigStore, Contents, Entity, Flaw, Kind};
use crate::gateways::StoredGateway;
use crate::logpush::StoredJob;
use crate::providers::StoredProvider;
use crate::seal::{Keyring, SealError};

/// Credentials that are stored at most.
pub const MAX_CREDENTIALS: usize = 10_000;
/// Largest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 64 << 10;
/// Secrets that are shown in part are at least so long.
const SHOWN_FROM: usize = 20;
/// Seconds that a rate counts in where it does not say (management-api section 6).
pub const DEFAULT_PERIOD_S: u32 = 60;

/// Which credential it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Account of the gateway.
    pub account: Box<str>,
    /// Id of the gateway.
    pub gateway: Box<str>,
    /// Slug of the provider.
    pub provider: Box<str>,
    /// What `cf-aig-byok-alias` calls it.
    pub alias: Box<str>,
}

impl Place {
    /// Its id in the store.
    #[must_use]
    pub fn id(&self) -> String {
        let Self {
            account,
            gateway,
            provider,
            alias,
        } = self;
        format!("{account}/{gateway}/{provider}/{alias}")
    }

    /// # Errors
    /// [`Error::Wrong`].
    fn check(&self) -> Result<(), Error> {
        let rule = "1 to 64 letters, digits, `_` or `-`, no `_` or `-` first";
        let names = [
            ("account", &self.account),
            ("provider", &self.provider),
            ("alias", &self.alias),
        ];
        for (what, name) in names {
            if !is_account(name) {
                return Err(Error::Wrong(format!("`{name}` is no {what}: {rule}")));
            }
        }
        match is_gateway_id(&self.gateway) {
            true => Ok(()),
            false => Err(Error::Wrong(format!("`{}` is no gateway", self.gateway))),
        }
    }
}

/// Who stored a credential, and with it how far it may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Whoever may write to a gateway, by the management API: it leads to no file, to no address and
    /// to no identity of the gateway's machine.
    #[default]
    Api,
    /// The operator, with a command on that machine.
    Operator,
}

impl Origin {
    fn is_api(&self) -> bool {
        *self == Self::Api
    }

    /// Reads a credential of this origin. `environment` is what an identity of the machine leaves
    /// there.
    ///
    /// # Errors
    /// What [`Credential::parse`] or [`Credential::parse_foreign`] says.
    pub fn parse(
        self,
        secret: &Secret,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Credential, CredentialError> {
        match self {
            Self::Api => Credential::parse_foreign(secret.expose(), environment),
            Self::Operator => Credential::parse(secret.expose(), environment),
        }
    }
}

/// A credential as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Which one it is.
    pub place: Place,
    /// Who stored it.
    #[serde(default, skip_serializing_if = "Origin::is_api")]
    pub origin: Origin,
    /// The secret, sealed.
    pub sealed: Box<str>,
    /// Requests that may use it in `rate_limit_period_s`; `None`: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Seconds that `rate_limit` counts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_period_s: Option<u32>,
    /// What people tell it by: its last characters, or its kind.
    pub preview: Box<str>,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When its secret was last stored.
    pub modified_at: Timestamp,
}

impl Stored {
    /// What its secret is bound to: each part with its length, so that no two can be spelled alike.
    fn bound_to(&self) -> Vec<u8> {
        let mut bytes = b"isango credential 1".to_vec();
        let Place {
            account,
            gateway,
            provider,
            alias,
        } = &self.place;
        for part in [account, gateway, provider, alias] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        for number in [self.rate_limit, self.rate_limit_period_s] {
            bytes.push(u8::from(number.is_some()));
            bytes.extend_from_slice(&number.unwrap_or(0).to_le_bytes());
        }
        // Nobody makes it the operator's who cannot seal.
        bytes.extend_from_slice(match self.origin {
            Origin::Api => b"",
            Origin::Operator => b"operator",
        });
        bytes
    }

    /// Its secret.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, keyring: &Keyring) -> Result<Secret, SealError> {
        keyring.open(&self.bound_to(), &self.sealed)
    }
}

/// Why a credential could not be stored or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be one.
    #[error("{0}")]
    Wrong(String),
    /// There is none of that name.
    #[error("there is no credential `{0}`")]
    Unknown(Box<str>),
    /// What is stored is none.
    #[error("{0} `{1}` cannot be read: what is stored is damaged, or from a newer version")]
    Damaged(Kind, Box<str>),
    /// It cannot be sealed or opened.
    #[error("{0} `{1}`: {2}")]
    Seal(Kind, Box<str>, #[source] SealError),
    /// Something else that is stored is not to be believed.
    #[error("{0} `{1}`: {2}")]
    Refused(Kind, Box<str>, Flaw),
    /// A bound is reached.
    #[error("10000 credentials are stored; remove some")]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] config::Error),
}

/// Every stored credential, by account, gateway, provider and alias.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<Stored, Error>> {
    contents.of(Kind::Credential).map(parse)
}

/// Where the credential of an entity belongs, even if nothing of it can be read.
#[must_use]
pub fn place_of(id: &str) -> Option<Place> {
    let mut parts = id.split('/').map(Into::into);
    let place = Place {
        account: parts.next()?,
        gateway: parts.next()?,
        provider: parts.next()?,
        alias: parts.next()?,
    };
    (parts.next().is_none() && place.check().is_ok()).then_some(place)
}

fn parse(entity: &Entity) -> Result<Stored, Error> {
    let damaged = || Error::Damaged(Kind::Credential, entity.id.clone());
    let stored: Stored = serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
    match *stored.place.id() == *entity.id && stored.place.check().is_ok() {
        true => Ok(stored),
        false => Err(damaged()),
    }
}

fn body(stored: &Stored) -> Result<String, Error> {
    let damaged = || Error::Damaged(Kind::Credential, stored.place.id().into());
    serde_json::to_string(stored).map_err(|_unwritable| damaged())
}

/// What is stored of a credential, beside its place.
#[derive(Clone, Debug)]
pub struct New {
    /// The secret itself.
    pub secret: Secret,
    /// Who stores it.
    pub origin: Origin,
    /// What people tell it by.
    pub preview: Box<str>,
    /// Requests in so many seconds; `None`: as it was, or any number.
    pub rate: Option<(u32, u32)>,
}

/// Checks that a secret is a credential that somebody of this origin may store, and one for a provider
/// of this slug and path. `environment` is what an identity of the machine leaves there.
///
/// # Errors
/// [`Error::Wrong`].
pub fn checked(
    (slug, path): (&str, PathRule),
    secret: Secret,
    rate: Option<(u32, u32)>,
    origin: Origin,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<New, Error> {
    let credential = origin.parse(&secret, environment);
    let credential = credential.map_err(|wrong| Error::Wrong(wrong.to_string()))?;
    if matches!(credential, Credential::Aws(_)) && path != PathRule::Bedrock {
        return Err(Error::Wrong(format!("`{slug}` takes no AWS signatures")));
    }
    let preview = match &credential {
        Credential::Key(key) if key.expose().len() >= SHOWN_FROM => {
            let key = key.expose();
            format!("…{}", &key[key.len() - 4..])
        }
        Credential::Key(_) | Credential::Aws(_) | Credential::Issued(_) => credential.kind().into(),
    };
    Ok(New {
        secret,
        origin,
        preview: preview.into(),
        rate,
    })
}

/// Stores a credential, in the place of an older one if there is one; tells whether there was.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Full`], [`Error::Seal`], [`Error::Store`].
pub fn set(
    store: &dyn ConfigStore,
    keyring: &Keyring,
    place: Place,
    new: New,
    now: Timestamp,
) -> Result<bool, Error> {
    place.check()?;
    if new.secret.expose().len() > MAX_SECRET_BYTES {
        return Err(Error::Wrong("a secret has at most 64 KiB".into()));
    }
    if new
        .rate
        .is_some_and(|(limit, period_s)| limit == 0 || period_s == 0)
    {
        return Err(Error::Wrong(
            "a rate limit and its period are above 0".into(),
        ));
    }
    let contents = store.read()?;
    let id = place.id();
    let entity = contents.find(Kind::Credential, &id);
    // One that cannot be read is written over: that is how it is mended.
    let old = entity.and_then(|entity| parse(entity).ok());
    if entity.is_none() && contents.of(Kind::Credential).count() >= MAX_CREDENTIALS {
        return Err(Error::Full);
    }
    let kept = old.as_ref().map_or((None, None), |old| {
        (old.rate_limit, old.rate_limit_period_s)
    });
    let (rate_limit, rate_limit_period_s) = match new.rate {
        Some((limit, period_s)) => (Some(limit), Some(period_s)),
        None => kept,
    };
    let mut stored = Stored {
        place,
        origin: new.origin,
        sealed: "".into(),
        rate_limit,
        rate_limit_period_s,
        preview: new.preview,
        created_at: old.map_or(now, |old| old.created_at),
        modified_at: now,
    };
    seal(keyring, &mut stored, &new.secret)?;
    let body = body(&stored)?;
    let change = match entity {
        Some(entity) => Change::replace(entity, body),
        None => Change::add(Kind::Credential, &id, body),
    };
    store.commit(&[change])?;
    Ok(entity.is_some())
}

fn seal(keyring: &Keyring, stored: &mut Stored, secret: &Secret) -> Result<(), Error> {
    let sealed = keyring.current.seal(&stored.bound_to(), secret);
    let failed = |error| Error::Seal(Kind::Credential, stored.place.id().into(), error);
    let sealed = sealed.map_err(failed)?;
    stored.sealed = sealed.into();
    Ok(())
}

/// Removes a credential, and its secret with it.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Store`].
pub fn remove(store: &dyn ConfigStore, place: &Place) -> Result<(), Error> {
    let (contents, id) = (store.read()?, place.id());
    let entity = contents.find(Kind::Credential, &id);
    let entity = entity.ok_or_else(|| Error::Unknown(id.as_str().into()))?;
    store.commit(&[Change::remove(entity)])?;
    Ok(())
}

/// Seals everything that another key sealed with the one that seals from now on, and has that key
/// vouch for all that another one vouched for: all of it or, if something cannot be opened or
/// believed, nothing. Tells how many there were.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Seal`], [`Error::Refused`], [`Error::Store`].
pub fn reseal(store: &dyn ConfigStore, keyring: &Keyring) -> Result<usize, Error> {
    let refused = store.refused()?;
    if let Some(one) = refused.iter().find(|one| one.flaw != Flaw::Unvouched) {
        let (kind, id) = (one.entity.kind, one.entity.id.clone());
        return Err(Error::Refused(kind, id, one.flaw.clone()));
    }
    let contents = store.read()?;
    let stale = store.stale()?;
    let vouched_anew = stale
        .iter()
        .map(|entity| Change::replace(entity, entity.body.clone()));
    let mut changes: Vec<Change> = vouched_anew.collect();
    let sealed = [
        Kind::Credential,
        Kind::Gateway,
        Kind::Export,
        Kind::Provider,
    ];
    for entity in sealed.into_iter().flat_map(|kind| contents.of(kind)) {
        let body = sealed_anew(entity, keyring)?;
        changes.extend(body.map(|body| Change::replace(entity, body)));
    }
    if !changes.is_empty() {
        store.commit(&changes)?;
    }
    Ok(changes.len())
}

/// The body of an entity whose secrets are sealed with the current key; `None`: they are.
fn sealed_anew(entity: &Entity, keyring: &Keyring) -> Result<Option<String>, Error> {
    let damaged = || Error::Damaged(entity.kind, entity.id.clone());
    let failed = |error| Error::Seal(entity.kind, entity.id.clone(), error);
    match entity.kind {
        Kind::Credential => {
            let mut stored = parse(entity)?;
            if keyring.is_current(&stored.sealed) {
                return Ok(None);
            }
            let secret = stored.open(keyring).map_err(failed)?;
            seal(keyring, &mut stored, &secret)?;
            body(&stored).map(Some)
        }
        Kind::Gateway => {
            let stored = StoredGateway::parse(entity);
            let mut stored = stored.map_err(|_unreadable| damaged())?;
            let is_changed = stored.reseal(keyring).map_err(failed)?;
            let body = is_changed.then(|| stored.body()).transpose();
            body.map_err(|_unwritable| damaged())
        }
        Kind::Export => {
            let stored = StoredJob::parse(entity);
            let mut stored = stored.map_err(|_unreadable| damaged())?;
            if keyring.is_current(&stored.sealed) {
                return Ok(None);
            }
            let (conf, shown) = (stored.open(keyring).map_err(failed)?, stored.shown.clone());
            stored.seal(keyring, &conf, &shown).map_err(failed)?;
            stored.body().map(Some).map_err(|_unwritable| damaged())
        }
        Kind::Provider => {
            let stored = StoredProvider::parse(entity);
            let mut stored = stored.map_err(|_unreadable| damaged())?;
            let headers = match stored.sealed.is_empty() || keyring.is_current(&stored.sealed) {
                true => None,
                false => stored.open(keyring).map_err(failed)?,
            };
            let Some(headers) = headers else {
                return Ok(None);
            };
            stored.seal(keyring, &headers).map_err(failed)?;
            stored.body().map(Some).map_err(|_unwritable| damaged())
        }
        Kind::Token | Kind::View | Kind::User | Kind::Link | Kind::Price | Kind::Mute => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryConfig;
    use crate::seal::SealKey;

    const NOW: Timestamp = Timestamp::from_micros(5);

    fn key(n: u8) -> SealKey {
        SealKey::parse(&Secret::new(format!("{n:02x}").repeat(32))).unwrap()
    }

    fn ring(current: u8, previous: Option<u8>) -> Keyring {
        Keyring {
            current: key(current),
            previous: previous.map(key),
        }
    }

    fn place(alias: &str) -> Place {
        Place {
            account: "local".into(),
            gateway: "shop".into(),
            provider: "openai".into(),
            alias: alias.into(),
        }
    }

    fn new(secret: &str) -> New {
        New {
            secret: Secret::new(secret),
            origin: Origin::Api,
            preview: "key".into(),
            rate: None,
        }
    }

    fn opened(store: &MemoryConfig, keyring: &Keyring) -> Vec<Option<String>> {
        let contents = store.read().unwrap();
        let open = |stored: Stored| Some(stored.open(keyring).ok()?.expose().to_owned());
        all(&contents)
            .map(|stored| stored.ok().and_then(open))
            .collect()
    }

    #[test]
    fn a_credential_is_stored_replaced_and_removed() {
        let (store, ring) = (MemoryConfig::default(), ring(1, None));
        assert!(!set(&store, &ring, place("a"), new("one"), NOW).unwrap());
        let limited = New {
            rate: Some((5, 60)),
            ..new("two")
        };
        assert!(set(&store, &ring, place("a"), limited, NOW).unwrap());
        assert!(set(&store, &ring, place("a"), new("three"), NOW).unwrap());
        let stored = all(&store.read().unwrap()).next().unwrap().unwrap();
        assert_eq!(stored.rate_limit, Some(5), "another secret keeps its rate");
        assert_eq!(opened(&store, &ring), [Some("three".into())]);
        remove(&store, &place("a")).unwrap();
        assert!(matches!(
            remove(&store, &place("a")),
            Err(Error::Unknown(_))
        ));
        assert!(set(&store, &ring, place("a/b"), new("x"), NOW).is_err());
    }

    #[test]
    fn what_is_swapped_or_edited_does_not_open() {
        let (store, ring) = (MemoryConfig::default(), ring(1, None));
        for alias in ["a", "b"] {
            set(&store, &ring, place(alias), new(alias), NOW).unwrap();
        }
        let contents = store.read().unwrap();
        let [a, b] = ["a", "b"].map(|alias| {
            contents
                .find(Kind::Credential, &place(alias).id())
                .unwrap()
                .clone()
        });
        // Only the sealed parts are swapped, so that the rows themselves are in order.
        let [mut of_a, mut of_b] = [&a, &b].map(|entity| parse(entity).unwrap());
        std::mem::swap(&mut of_a.sealed, &mut of_b.sealed);
        let edits = [(&a, &of_a), (&b, &of_b)];
        let changes = edits.map(|(entity, to)| Change::replace(entity, body(to).unwrap()));
        store.commit(&changes).unwrap();
        assert_eq!(opened(&store, &ring), [None, None]);
        set(&store, &ring, place("a"), new("a"), NOW).unwrap();
        let contents = store.read().unwrap();
        let entity = contents.find(Kind::Credential, &place("a").id()).unwrap();
        let mut edited = parse(entity).unwrap();
        edited.rate_limit = Some(1_000_000);
        store
            .commit(&[Change::replace(entity, body(&edited).unwrap())])
            .unwrap();
        assert_eq!(opened(&store, &ring), [None, None]);
        set(&store, &ring, place("a"), new("a"), NOW).unwrap();
        let contents = store.read().unwrap();
        let entity = contents.find(Kind::Credential, &place("a").id()).unwrap();
        let mut promoted = parse(entity).unwrap();
        promoted.origin = Origin::Operator;
        store
            .commit(&[Change::replace(entity, body(&promoted).unwrap())])
            .unwrap();
        assert_eq!(opened(&store, &ring), [None, None]);
    }

    #[test]
    fn another_key_seals_everything_anew_or_nothing() {
        let store = MemoryConfig::default();
        for alias in ["a", "b"] {
            set(&store, &ring(1, None), place(alias), new(alias), NOW).unwrap();
        }
        let both = ring(2, Some(1));
        assert_eq!(reseal(&store, &both).unwrap(), 2);
        assert_eq!(reseal(&store, &both).unwrap(), 0);
        assert_eq!(
            opened(&store, &ring(2, None)),
            [Some("a".into()), Some("b".into())]
        );
        assert_eq!(opened(&store, &ring(1, None)), [None, None]);
        set(&store, &ring(1, None), place("c"), new("c"), NOW).unwrap();
        let before = store.read().unwrap();
        assert!(reseal(&store, &ring(3, Some(1))).is_err());
        assert_eq!(store.read().unwrap(), before);
    }

    #[test]
    fn another_key_seals_gateways_and_jobs_anew_too() {
        let store = MemoryConfig::default();
        let old = ring(1, None);
        let otel = r#"{"account":"local","id":"shop","created_at":"2026-11-22T16:00:00Z",
            "modified_at":"2026-11-22T16:00:00Z","fields":
            {"otel":[{"url":"https://a.example","headers":{"x":"planted"}}]}}"#;
        let mut gateway: StoredGateway = serde_json::from_str(otel).unwrap();
        gateway.seal(Some(&old)).unwrap();
        let job = r#"{"account":"local","number":7,"created_at":"2026-11-22T16:00:00Z",
            "modified_at":"2026-11-22T16:00:00Z","fields":{},
            "shown":"s3://b","sealed":""}"#;
        let mut job: StoredJob = serde_json::from_str(job).unwrap();
        job.seal(&old, &Secret::new("s3://b?key=planted"), "s3://b?key=*****")
            .unwrap();
        store
            .commit(&[
                Change::add(Kind::Gateway, "local/shop", gateway.body().unwrap()),
                Change::add(Kind::Export, "local/7", job.body().unwrap()),
            ])
            .unwrap();
        assert_eq!(reseal(&store, &ring(2, Some(1))).unwrap(), 2);
        let (contents, new) = (store.read().unwrap(), ring(2, None));
        let find = |kind| contents.of(kind).next().unwrap();
        let mut gateway = StoredGateway::parse(find(Kind::Gateway)).unwrap();
        assert_eq!(gateway.open(Some(&new)), []);
        let job = StoredJob::parse(find(Kind::Export)).unwrap();
        assert_eq!(job.open(&new).unwrap().expose(), "s3://b?key=planted");
        assert_eq!(&*job.shown, "s3://b?key=*****");
    }

    #[test]
    fn no_secret_is_stored_in_the_clear() {
        let store = MemoryConfig::default();
        let planted = "sk-planted-7h3K9yQ2mZ";
        set(&store, &ring(1, None), place("a"), new(planted), NOW).unwrap();
        assert!(!format!("{:?}", store.read().unwrap()).contains(planted));
    }
}
