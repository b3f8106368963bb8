//! Gateway tokens in a [`ConfigStore`]: made, listed, rotated, revoked. The one place where a token
//! itself is known, for as long as it takes to hand it over.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isango_types::key::{Digest, MAX_DIGESTS, Sha256, TOKEN_PREFIX, TokenError};
use isango_types::{Secret, Timestamp, Token};
use serde::{Deserialize, Serialize};

use crate::config::{self, Change, ConfigStore, Contents, Entity, Flaw, Kind, Refused};

/// Tokens that are stored at most, the revoked ones included.
pub const MAX_TOKENS: usize = 10_000;
/// Tokens with a spend cap that one gateway can have: each is a limit that every request is held
/// against.
pub const MAX_CAPPED: usize = 256;
/// Longest time that an old token may stay valid beside a new one.
pub const MAX_GRACE: Duration = Duration::from_secs(90 * 86_400);

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredToken {
    /// What it opens; without digests once it is revoked.
    pub token: Token,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its newest digest; `None`: it has its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Timestamp>,
    /// When it was revoked; its name stays taken, so that records of both never mix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Why a token could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be one.
    #[error(transparent)]
    Wrong(#[from] TokenError),
    /// There is one of that name, or was.
    #[error("there is a token `{0}` already; a revoked one keeps its name until it is forgotten")]
    Taken(Box<str>),
    /// There is none of that name.
    #[error("there is no token `{0}`")]
    Unknown(Box<str>),
    /// It was revoked.
    #[error("token `{0}` was revoked; make another one")]
    Revoked(Box<str>),
    /// So many of its predecessors are still valid.
    #[error(
        "{MAX_DIGESTS} tokens are valid under the name `{0}` already; wait for the end of their \
         grace, or rotate without any"
    )]
    TooManyDigests(Box<str>),
    /// A bound is reached.
    #[error("{0}")]
    Full(&'static str),
    /// What is stored is no token.
    #[error("token `{0}` cannot be read: what is stored is damaged, or from a newer version")]
    Damaged(Box<str>),
    /// Nobody can vouch for it, and it opens nothing.
    #[error("token `{0}` opens nothing: {1}")]
    Refused(Box<str>, Flaw),
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] config::Error),
}

/// Makes a new token: `isg_` and 43 characters that nobody guesses (256 bits).
///
/// # Errors
/// [`Error::Random`].
pub fn mint() -> Result<(Secret, Sha256), Error> {
    mint_as(TOKEN_PREFIX)
}

/// The same for what is no token, and begins otherwise.
///
/// # Errors
/// [`Error::Random`].
pub fn mint_as(prefix: &str) -> Result<(Secret, Sha256), Error> {
    let mut random = [0; 32];
    rand::fill(&mut random).map_err(|_unspecified| Error::Random)?;
    let token = Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random)));
    let sha256 = sha256(&token);
    Ok((token, sha256))
}

/// What a token is known by.
#[must_use]
pub fn sha256(token: &Secret) -> Sha256 {
    let digest = digest(&SHA256, token.expose().as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    Sha256(bytes)
}

/// Every stored token, by name; what cannot be read is an error of its own and no token.
pub fn all(contents: &Contents) -> impl Iterator<Item = Result<StoredToken, Error>> {
    contents.of(Kind::Token).map(parse)
}

/// The token that an entity says it is; whether to believe it is another question.
///
/// # Errors
/// [`Error::Damaged`].
pub fn of(entity: &Entity) -> Result<StoredToken, Error> {
    parse(entity)
}

fn parse(entity: &Entity) -> Result<StoredToken, Error> {
    let damaged = || Error::Damaged(entity.id.clone());
    let stored: StoredToken =
        serde_json::from_str(&entity.body).map_err(|_unreadable| damaged())?;
    let Token { account, name, .. } = &stored.token;
    let is_named = *name == entity.id || *in_account(account, name) == *entity.id;
    match is_named && stored.token.check().is_ok() {
        true => Ok(stored),
        false => Err(damaged()),
    }
}

/// The id in the store of a token whose name another account's has, too. The first of a name has its
/// name alone.
fn in_account(account: &str, name: &str) -> String {
    format!("{account}/{name}")
}

/// The entity of the token `name` of an account.
fn find<'c>(contents: &'c Contents, (account, name): (&str, &str)) -> Option<&'c Entity> {
    let is_it = |entity: &&Entity| {
        parse(entity)
            .is_ok_and(|stored| *stored.token.account == *account && *stored.token.name == *name)
    };
    let at = |id: &str| contents.find(Kind::Token, id).filter(is_it);
    at(name).or_else(|| at(&in_account(account, name)))
}

fn body(stored: &StoredToken) -> Result<String, Error> {
    serde_json::to_string(stored).map_err(|_unwritable| Error::Damaged(stored.token.name.clone()))
}

/// Stores `token`, with a new digest; returns what opens gateways from now on, which is kept
/// nowhere.
///
/// # Errors
/// [`Error::Wrong`], [`Error::Taken`], [`Error::Full`], [`Error::Random`], [`Error::Store`].
pub fn create(store: &dyn ConfigStore, token: Token, now: Timestamp) -> Result<Secret, Error> {
    token.check()?;
    let contents = store.read()?;
    let (account, name) = (token.account.clone(), token.name.clone());
    // What nobody knows whose it is keeps its name from everybody.
    let id = match contents.find(Kind::Token, &name).map(parse) {
        None => name.to_string(),
        Some(Ok(other)) if other.token.account != account => in_account(&account, &name),
        Some(_) => return Err(Error::Taken(name)),
    };
    if find(&contents, (&account, &name)).is_some() {
        return Err(Error::Taken(name));
    }
    if contents.of(Kind::Token).count() >= MAX_TOKENS {
        return Err(Error::Full("10000 tokens are stored; forget revoked ones"));
    }
    if token.spend.is_some() && capped_beside(&contents, &token) >= MAX_CAPPED {
        return Err(Error::Full(
            "256 tokens with a spend limit open this gateway already",
        ));
    }
    let (secret, sha256) = mint()?;
    let stored = StoredToken {
        token: Token {
            digests: vec![Digest::lasting(sha256.0)],
            ..token
        },
        created_at: now,
        rotated_at: None,
        revoked_at: None,
    };
    let change = Change::add(Kind::Token, &id, body(&stored)?);
    match store.commit(&[change]) {
        Ok(_revision) => Ok(secret),
        Err(config::Error::Conflict { .. }) => Err(Error::Taken(name)),
        Err(error) => Err(error.into()),
    }
}

/// Tokens with a spend cap that open the same gateway.
fn capped_beside(contents: &Contents, token: &Token) -> usize {
    let tokens = all(contents)
        .filter_map(Result::ok)
        .map(|stored| stored.token);
    let is_beside = |other: &Token| {
        let is_live = other.spend.is_some() && !other.digests.is_empty();
        is_live
            && other.account == token.account
            && other.gateways.first() == token.gateways.first()
    };
    tokens.filter(is_beside).count()
}

/// Gives the token `name` of an account a new digest; the old ones stay valid for `grace`, at most
/// [`MAX_GRACE`]. Returns what opens gateways from now on, which is kept nowhere.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Revoked`], [`Error::TooManyDigests`], [`Error::Damaged`],
/// [`Error::Random`], [`Error::Store`].
pub fn rotate(
    store: &dyn ConfigStore,
    (account, name): (&str, &str),
    grace: Duration,
    now: Timestamp,
) -> Result<Secret, Error> {
    let (secret, sha256) = mint()?;
    change(store, (account, name), |stored| {
        if stored.revoked_at.is_some() {
            return Err(Error::Revoked(name.into()));
        }
        let end = now.plus(grace.min(MAX_GRACE));
        let mut digests = vec![Digest::lasting(sha256.0)];
        digests.extend(stored.token.digests.iter().filter_map(|digest| {
            let until = digest.until.map_or(end, |until| until.min(end));
            let digest = Digest {
                until: Some(until),
                ..*digest
            };
            digest.is_valid_at(now).then_some(digest)
        }));
        if digests.len() > MAX_DIGESTS {
            return Err(Error::TooManyDigests(name.into()));
        }
        stored.token.digests = digests;
        stored.rotated_at = Some(now);
        Ok(())
    })?;
    Ok(secret)
}

/// Ends the token `name` of an account, with all that is valid under its name.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Revoked`], [`Error::Damaged`], [`Error::Store`].
pub fn revoke(
    store: &dyn ConfigStore,
    (account, name): (&str, &str),
    now: Timestamp,
) -> Result<(), Error> {
    change(store, (account, name), |stored| {
        if stored.revoked_at.is_some() {
            return Err(Error::Revoked(name.into()));
        }
        stored.token.digests.clear();
        stored.revoked_at = Some(now);
        Ok(())
    })
}

/// Ends the token `name` of an account, and frees its name. One that cannot be read goes, too,
/// whosever it was.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Store`].
pub fn forget(store: &dyn ConfigStore, (account, name): (&str, &str)) -> Result<(), Error> {
    let contents = store.read()?;
    let refused = store.refused()?;
    let among_refused = || {
        let mut refused = refused.iter();
        let found = refused.find(|one| is_refused(one, (account, name)));
        found.map(|one| &one.entity)
    };
    let unreadable = || {
        let entity = contents.find(Kind::Token, name)?;
        parse(entity).is_err().then_some(entity)
    };
    let entity = find(&contents, (account, name))
        .or_else(among_refused)
        .or_else(unreadable)
        .ok_or_else(|| Error::Unknown(name.into()))?;
    store.commit(&[Change::remove(entity)])?;
    Ok(())
}

/// Whether it is the token `name` of an account that nobody can vouch for, as far as that can be told.
fn is_refused(one: &Refused, (account, name): (&str, &str)) -> bool {
    let id = &*one.entity.id;
    let is_anothers = || parse(&one.entity).is_ok_and(|stored| *stored.token.account != *account);
    one.entity.kind == Kind::Token
        && (*id == *in_account(account, name) || *id == *name && !is_anothers())
}

fn change(
    store: &dyn ConfigStore,
    (account, name): (&str, &str),
    change: impl FnOnce(&mut StoredToken) -> Result<(), Error>,
) -> Result<(), Error> {
    let contents = store.read()?;
    let Some(entity) = find(&contents, (account, name)) else {
        let mut refused = store.refused()?.into_iter();
        let is_damaged = contents
            .find(Kind::Token, name)
            .is_some_and(|one| parse(one).is_err());
        return Err(match refused.find(|one| is_refused(one, (account, name))) {
            Some(one) => Error::Refused(name.into(), one.flaw),
            None if is_damaged => Error::Damaged(name.into()),
            None => Error::Unknown(name.into()),
        });
    };
    let mut stored = parse(entity)?;
    change(&mut stored)?;
    store.commit(&[Change::replace(entity, body(&stored)?)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryConfig;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_micros(hours * 3_600_000_000)
    }

    fn stored(store: &MemoryConfig, name: &str) -> StoredToken {
        let contents = store.read().unwrap();
        parse(contents.find(Kind::Token, name).unwrap()).unwrap()
    }

    /// Whether `secret` is valid under `name` at an hour.
    fn is_valid(store: &MemoryConfig, name: &str, secret: &Secret, hour: u64) -> bool {
        let token = stored(store, name).token;
        let of_secret = sha256(secret);
        let is_it =
            |digest: &Digest| digest.sha256.is(&of_secret.0) && digest.is_valid_at(at(hour));
        token.digests.iter().any(is_it)
    }

    #[test]
    fn a_minted_token_is_recognized_and_nobody_guesses_it() {
        let (one, other) = (mint().unwrap(), mint().unwrap());
        assert!(one.0.expose().starts_with("isg_") && one.0.expose().len() == 47);
        assert_ne!(one.0, other.0);
        assert_eq!(sha256(&one.0), one.1);
    }

    #[test]
    fn a_rotated_token_is_valid_beside_the_old_one_for_its_grace() {
        let store = MemoryConfig::default();
        let old = create(&store, Token::new("local", "app"), at(0)).unwrap();
        let new = rotate(
            &store,
            ("local", "app"),
            Duration::from_secs(2 * 3_600),
            at(1),
        )
        .unwrap();
        for (hour, of_old) in [(1, true), (2, true), (3, false)] {
            assert_eq!(is_valid(&store, "app", &old, hour), of_old, "{hour}");
            assert!(is_valid(&store, "app", &new, hour), "{hour}");
        }
        // Without a grace nothing old is left, not even one that had some.
        let newest = rotate(&store, ("local", "app"), Duration::ZERO, at(2)).unwrap();
        assert!(!is_valid(&store, "app", &old, 2) && !is_valid(&store, "app", &new, 2));
        assert!(is_valid(&store, "app", &newest, 2));
        assert_eq!(stored(&store, "app").rotated_at, Some(at(2)));
    }

    #[test]
    fn not_more_than_four_are_valid_side_by_side() {
        let store = MemoryConfig::default();
        create(&store, Token::new("local", "app"), at(0)).unwrap();
        let hour = Duration::from_secs(3_600);
        for _ in 1..MAX_DIGESTS {
            rotate(&store, ("local", "app"), hour, at(0)).unwrap();
        }
        let refused = rotate(&store, ("local", "app"), hour, at(0)).unwrap_err();
        assert!(matches!(refused, Error::TooManyDigests(_)), "{refused}");
        rotate(&store, ("local", "app"), hour, at(1)).unwrap();
    }

    #[test]
    fn a_revoked_token_is_valid_no_more_and_keeps_its_name_until_it_is_forgotten() {
        let store = MemoryConfig::default();
        let secret = create(&store, Token::new("local", "app"), at(0)).unwrap();
        revoke(&store, ("local", "app"), at(1)).unwrap();
        assert!(!is_valid(&store, "app", &secret, 0));
        let again = || create(&store, Token::new("local", "app"), at(2));
        assert!(matches!(again().unwrap_err(), Error::Taken(_)));
        assert!(matches!(
            revoke(&store, ("local", "app"), at(2)).unwrap_err(),
            Error::Revoked(_)
        ));
        let rotated = rotate(&store, ("local", "app"), Duration::ZERO, at(2));
        assert!(matches!(rotated.unwrap_err(), Error::Revoked(_)));
        forget(&store, ("local", "app")).unwrap();
        assert!(matches!(
            forget(&store, ("local", "app")).unwrap_err(),
            Error::Unknown(_)
        ));
        let other = again().unwrap();
        assert!(is_valid(&store, "app", &other, 2) && !is_valid(&store, "app", &secret, 2));
    }

    #[test]
    fn the_token_itself_is_stored_nowhere() {
        let store = MemoryConfig::default();
        let first = create(&store, Token::new("local", "app"), at(0)).unwrap();
        let second = rotate(&store, ("local", "app"), MAX_GRACE, at(0)).unwrap();
        let contents = format!("{:?}", store.read().unwrap());
        for secret in [first, second] {
            let random = secret.expose().strip_prefix(TOKEN_PREFIX).unwrap();
            assert!(!contents.contains(random));
            assert!(contents.contains(&sha256(&secret).to_string()));
        }
    }

    #[test]
    fn what_is_no_token_is_told_and_opens_nothing() {
        let store = MemoryConfig::default();
        create(&store, Token::new("local", "good"), at(0)).unwrap();
        let good = stored(&store, "good");
        let moved = body(&good).unwrap();
        let mut wrong = good.clone();
        wrong.token.scopes.clear();
        wrong.token.name = "c".into();
        let bodies = [
            ("a", "{"),
            ("b", moved.as_str()),
            ("c", &body(&wrong).unwrap()),
        ];
        let changes = bodies.map(|(id, body)| Change::add(Kind::Token, id, body));
        store.commit(&changes).unwrap();
        let read: Vec<_> = all(&store.read().unwrap())
            .map(|one| {
                one.map(|stored| stored.token.name)
                    .map_err(|error| error.to_string())
            })
            .collect();
        let damaged = read.iter().filter_map(|one| one.as_ref().err()).count();
        assert_eq!((read.len(), damaged), (4, 3), "{read:?}");
    }

    #[test]
    fn a_name_is_taken_in_one_account_alone() {
        let store = MemoryConfig::default();
        let make = |account: &str| create(&store, Token::new(account, "app"), at(0));
        let (first, second) = (make("local").unwrap(), make("other").unwrap());
        for account in ["local", "other"] {
            assert!(
                matches!(make(account).unwrap_err(), Error::Taken(_)),
                "{account}"
            );
        }
        let known = || {
            let contents = store.read().unwrap();
            let tokens = all(&contents).map(|one| one.unwrap().token);
            tokens
                .map(|token| (token.account.to_string(), token.digests.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(known(), [("local".into(), 1), ("other".into(), 1)]);
        rotate(&store, ("other", "app"), MAX_GRACE, at(1)).unwrap();
        revoke(&store, ("local", "app"), at(1)).unwrap();
        assert_eq!(known(), [("local".into(), 0), ("other".into(), 2)]);
        assert_ne!(sha256(&first), sha256(&second));
        // A name that is free again is no other account's.
        forget(&store, ("local", "app")).unwrap();
        assert!(matches!(make("other").unwrap_err(), Error::Taken(_)));
        make("third").unwrap();
        forget(&store, ("other", "app")).unwrap();
        assert_eq!(known(), [("third".into(), 1)]);
        let unknown = revoke(&store, ("other", "app"), at(2)).unwrap_err();
        assert!(matches!(unknown, Error::Unknown(_)));
    }
}
