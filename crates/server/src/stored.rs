//! What is stored beside the configuration file, and how both become one [`Snapshot`].
//!
//! The file's own entities win: what is stored under a name of the file's has no effect.

use std::collections::BTreeSet;
use std::sync::Arc;

use isango_exports::{Flawed, Listed};
use isango_store::config::{
    Change, ConfigStore, Contents, Error, Flaw, Invalid, Kind, Refused, Wrong,
};
use isango_store::gateways::{self, StoredGateway};
use isango_store::logpush::{self, StoredJob};
use isango_store::prices::{self, StoredPrice};
use isango_store::providers::{self, StoredProvider};
use isango_store::seal::SealError;
use isango_store::tokens::StoredToken;
use isango_store::{credentials, mutes, tokens};
use isango_types::credential::{Rate, StoredCredential};
use isango_types::gateway::{DEFAULT_GATEWAY, Origin};
use isango_types::{Credential, Gateway, Limit, Snapshot, Timestamp, Token};

use crate::config::{Config, document, exports};
use crate::own;

/// Entities as they were read from the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    /// What the store was like when they were read.
    pub(crate) revision: u64,
    tokens: Vec<Token>,
    credentials: Vec<(credentials::Stored, Option<Arc<Rate>>)>,
    /// Tokens that nobody can vouch for.
    refused: Vec<Refused>,
    /// Secrets as they were when they were looked at before.
    known: Vec<KnownSecret>,
    /// Where credentials are of which nothing can be read.
    unreadable: Vec<credentials::Place>,
    gateways: Vec<StoredGateway>,
    jobs: Vec<StoredJob>,
    providers: Vec<StoredProvider>,
    prices: Vec<StoredPrice>,
    muted: Vec<own::Muted>,
    /// What could not be read, and has no effect.
    damaged: Vec<String>,
    /// Jobs, and gateways that may have some, that could not be read.
    flawed: Vec<Flawed>,
}

impl Stored {
    /// Reads all that is there.
    ///
    /// # Errors
    /// The store cannot be read. An entity that cannot be read is told by [`Stored::compile`].
    pub(crate) fn read(store: &dyn ConfigStore) -> Result<Self, Error> {
        Ok(Self::of(&store.read()?, store.refused()?))
    }

    fn of(contents: &Contents, refused: Vec<Refused>) -> Self {
        let mut stored = Self {
            revision: contents.revision,
            refused,
            ..Self::default()
        };
        for token in tokens::all(contents) {
            match token {
                Ok(token) if token.revoked_at.is_some() => {}
                Ok(token) => stored.tokens.push(token.token),
                Err(damaged) => stored.damaged.push(damaged.to_string()),
            }
        }
        for credential in credentials::all(contents) {
            match credential {
                Ok(credential) => stored.credentials.push((credential, None)),
                Err(damaged) => {
                    if let credentials::Error::Damaged(_, id) = &damaged {
                        stored.unreadable.extend(credentials::place_of(id));
                    }
                    stored.damaged.push(damaged.to_string());
                }
            }
        }
        for gateway in gateways::all(contents) {
            match gateway {
                Ok(gateway) => stored.gateways.push(gateway),
                Err(damaged) => stored.add_flawed(damaged.id(), damaged.to_string()),
            }
        }
        for job in logpush::all(contents) {
            match job {
                Ok(job) => stored.jobs.push(job),
                Err(damaged) => stored.add_flawed(damaged.id(), damaged.to_string()),
            }
        }
        for provider in providers::all(contents) {
            match provider {
                Ok(provider) => stored.providers.push(provider),
                Err(damaged) => stored.damaged.push(damaged.to_string()),
            }
        }
        for price in prices::all(contents) {
            match price {
                Ok(price) => stored.prices.push(price),
                Err(damaged) => stored.damaged.push(damaged.to_string()),
            }
        }
        let muted = mutes::all(contents);
        let muted =
            muted.map(|(_, account, alert, mute)| (account.into(), alert.into(), mute.until));
        stored.muted = muted.collect();
        stored.count_on(&Self::default());
        stored
    }

    fn add_flawed(&mut self, id: &str, why: String) {
        self.flawed.push(flawed(id, &why));
        self.damaged.push(why);
    }

    /// Goes on from what was known `before`: uses of credentials, secrets, and tokens that are the same
    /// but for a key that is not known yet.
    pub(crate) fn go_on_from(&mut self, before: &Self) {
        self.count_on(before);
        let of_before = before.credentials.iter().map(|(stored, _)| KnownSecret {
            place: stored.place.clone(),
            modified_at: stored.modified_at,
        });
        self.known = of_before.collect();
        let refused = std::mem::take(&mut self.refused);
        for one in refused {
            let known = tokens::of(&one.entity).ok();
            let known = known.filter(|stored| before.tokens.contains(&stored.token));
            match (&one.flaw, known) {
                (Flaw::UnknownKey(_), Some(stored)) => {
                    let (id, flaw) = (&one.entity.id, &one.flaw);
                    self.damaged
                        .push(format!("token `{id}` stays as it was known: {flaw}"));
                    self.tokens.push(stored.token);
                }
                (Flaw::UnknownKey(_) | Flaw::Edited | Flaw::Unvouched, _) => {
                    self.refused.push(one);
                }
            }
        }
    }

    /// Checks what these changes make of the entities that there are, before they are committed.
    ///
    /// # Errors
    /// [`Error::Invalid`], or what [`Contents::with`] says.
    pub(crate) fn check(
        contents: &Contents,
        changes: &[Change],
        config: &Config,
    ) -> Result<(), Error> {
        let next = contents.with(changes)?;
        let mut wrong = Vec::new();
        for change in changes.iter().filter(|one| one.kind == Kind::Gateway) {
            let Some(entity) = next.find(change.kind, &change.id) else {
                continue;
            };
            let read = StoredGateway::parse(entity).map_err(|damaged| {
                let (path, message) = (Vec::new(), damaged.to_string());
                Invalid(vec![Wrong { path, message }])
            });
            let compiled = read.and_then(|stored| {
                let (stored, closed) = opened(stored, config);
                match closed.is_empty() {
                    true => document::gateway(config, &stored).map(drop),
                    false => Err(Invalid(closed)),
                }
            });
            wrong.extend(compiled.err().into_iter().flat_map(|invalid| invalid.0));
        }
        for change in changes.iter().filter(|one| one.kind == Kind::Export) {
            let Some(entity) = next.find(change.kind, &change.id) else {
                continue;
            };
            let read = StoredJob::parse(entity).map_err(|damaged| {
                let (path, message) = (Vec::new(), damaged.to_string());
                Invalid(vec![Wrong { path, message }])
            });
            let compiled = read.and_then(|stored| exports::stored(config, &stored));
            wrong.extend(compiled.err().into_iter().flat_map(|invalid| invalid.0));
        }
        check_own(&next, changes, config, &mut wrong);
        for change in changes.iter().filter(|one| one.kind == Kind::Token) {
            let stored = next.find(change.kind, &change.id).map(tokens::of);
            let Some(Ok(StoredToken { token: new, .. })) = stored else {
                continue;
            };
            let is_it = |token: &Token| token.name == new.name && token.account == new.account;
            if change.based_on == 0 && config.tokens.iter().any(is_it) {
                let message = format!("the configuration has a token `{}`", new.name);
                let path = vec!["name".into()];
                wrong.push(Wrong { path, message });
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid(Invalid(wrong))),
        }
    }

    /// The gateways of the file, and the stored ones that are none of those. One that cannot be
    /// compiled any more is not there: nothing passes where its rules are not in force.
    fn gateways(&self, config: &Config, doubts: &mut Vec<String>) -> Vec<Gateway> {
        let mut gateways = config.gateways.clone();
        for stored in &self.gateways {
            let (account, id) = (&stored.account, &stored.id);
            let is_it = |one: &Gateway| one.account == *account && one.id == *id;
            if gateways.iter().any(is_it) {
                doubts.push(format!(
                    "the stored gateway `{id}` of account `{account}` has no effect: the \
                     configuration has one of its name"
                ));
                continue;
            }
            let (stored, closed) = opened(stored.clone(), config);
            let (account, id) = (&stored.account, &stored.id);
            if !closed.is_empty() {
                let why = Invalid(closed);
                doubts.push(format!(
                    "an exporter of traces of the stored gateway `{id}` of account `{account}` is \
                     not in force: {why}"
                ));
            }
            match document::gateway(config, &stored) {
                Ok(gateway) => gateways.push(gateway),
                Err(invalid) => doubts.push(format!(
                    "the stored gateway `{id}` of account `{account}` is not in force: {invalid}"
                )),
            }
        }
        gateways
    }

    /// What is exported: by the file, by the management API, and traces of gateways. What cannot be
    /// compiled any more is told apart from what is gone.
    pub(crate) fn jobs(&self, config: &Config, snapshot: &Snapshot) -> (Arc<Listed>, Vec<String>) {
        let mut listed = Listed {
            jobs: config.exports.to_vec(),
            flawed: self.flawed.clone(),
        };
        let mut doubts = Vec::new();
        for stored in &self.jobs {
            match exports::stored(config, stored) {
                Ok(job) => listed.jobs.push(Arc::new(job)),
                Err(invalid) => {
                    let id = StoredJob::entity_id(&stored.account, stored.number);
                    doubts.push(format!("the stored export `{id}`: {invalid}"));
                    listed.flawed.push(flawed(&id, &invalid.to_string()));
                }
            }
        }
        for stored in &self.gateways {
            let gateway = snapshot.gateway(&stored.account, &stored.id);
            if !gateway.is_some_and(|gateway| gateway.origin == Origin::Stored) {
                let id = StoredGateway::entity_id(&stored.account, &stored.id);
                listed
                    .flawed
                    .push(flawed(&id, "its gateway is not in force"));
            }
        }
        for gateway in snapshot.gateways() {
            let traces = exports::traces(gateway).into_iter();
            listed.jobs.extend(traces.map(Arc::new));
        }
        (Arc::new(listed), doubts)
    }

    /// Counts the uses of credentials on from where `before` was.
    fn count_on(&mut self, before: &Self) {
        for (credential, rate) in &mut self.credentials {
            let limit = credential.rate_limit;
            let period_s = credential.rate_limit_period_s;
            let fresh = limit.map(|limit| {
                Arc::new(Rate::new(
                    limit,
                    period_s.unwrap_or(credentials::DEFAULT_PERIOD_S),
                ))
            });
            let mut known = before.credentials.iter();
            let old = known.find(|(old, _)| old.place == credential.place);
            let old = old.and_then(|(_, old)| old.clone());
            *rate = old.filter(|old| fresh.as_ref() == Some(old)).or(fresh);
        }
    }

    /// Gives each gateway the credentials that are stored for it. One that cannot be opened is
    /// there, and fails: nothing else takes its place. One that was only sealed anew, with a key that
    /// is not known yet, stays as it was opened `before`.
    fn hand_out(
        &self,
        config: &Config,
        (gateways, before): (&mut Vec<Gateway>, Option<&Snapshot>),
        doubts: &mut Vec<String>,
    ) {
        for (stored, rate) in &self.credentials {
            let place = &stored.place;
            let Some(gateway) = find(gateways, config, &place.account, &place.gateway) else {
                continue;
            };
            let opened = open(stored, config).map(Arc::new);
            let credential = opened.or_else(|(why, is_unknown_key)| {
                let is_known = |secret: &&KnownSecret| {
                    secret.place == *place && secret.modified_at == stored.modified_at
                };
                let kept = self.known.iter().find(is_known).filter(|_| is_unknown_key);
                let kept =
                    kept.and_then(|_| before.and_then(|before| opened_before(before, place)));
                let id = place.id();
                doubts.push(match kept {
                    Some(_) => format!("the stored credential `{id}` stays as it was: {why}"),
                    None => format!("the stored credential `{id}` cannot be used: {why}"),
                });
                kept.ok_or(())
            });
            gateway.credentials.push(StoredCredential {
                provider: place.provider.clone(),
                alias: place.alias.clone(),
                credential: credential.ok(),
                rate: rate.clone(),
            });
        }
        for place in &self.unreadable {
            if let Some(gateway) = find(gateways, config, &place.account, &place.gateway) {
                gateway.credentials.push(StoredCredential {
                    provider: place.provider.clone(),
                    alias: place.alias.clone(),
                    credential: None,
                    rate: None,
                });
            }
        }
    }

    /// The snapshot of both, and what is probably not meant; one text each. `before`: the one that
    /// is in force.
    pub(crate) fn compile(
        &self,
        config: &Config,
        before: Option<&Snapshot>,
    ) -> (Snapshot, Vec<String>) {
        let mut doubts = self.damaged.clone();
        doubts.extend(self.refused.iter().map(|Refused { entity, flaw }| {
            format!(
                "the stored {} `{}` has no effect: {flaw}",
                entity.kind, entity.id
            )
        }));
        let named = |token: &Token| (token.account.clone(), token.name.clone());
        let of_file: BTreeSet<_> = config.tokens.iter().map(named).collect();
        let (shadowed, stored): (Vec<&Token>, Vec<&Token>) = self
            .tokens
            .iter()
            .partition(|token| of_file.contains(&named(token)));
        doubts.extend(shadowed.iter().map(|token| {
            let name = &token.name;
            format!(
                "the stored token `{name}` has no effect: the configuration has one of its name"
            )
        }));
        let mut tokens: Vec<Token> = config.tokens.iter().chain(stored).cloned().collect();
        let mut gateways = self.gateways(config, &mut doubts);
        add_caps(config, &mut tokens, &mut gateways, &mut doubts);
        self.hand_out(config, (&mut gateways, before), &mut doubts);
        doubts.extend(locked_out(&gateways, &config.default_gateway, &tokens));
        let snapshot = Snapshot::new(
            gateways,
            config.providers.clone(),
            Arc::clone(&config.prices),
            Some(config.default_gateway.clone()),
            tokens,
        );
        let (accounts, own_doubts) =
            own::compile(config, (&self.providers, &self.prices), &self.muted);
        doubts.extend(own_doubts);
        let snapshot = snapshot.with_accounts(accounts);
        let mut snapshot = snapshot.with_door(Arc::new(config.to_door()));
        snapshot.revision = self.revision;
        (snapshot, doubts)
    }
}

fn flawed(id: &str, why: &str) -> Flawed {
    Flawed {
        id: id.into(),
        why: why.into(),
    }
}

/// A gateway with what is sealed of it, and what of that does not open.
fn opened(mut stored: StoredGateway, config: &Config) -> (StoredGateway, Vec<Wrong>) {
    let closed = stored.open(config.keyring.as_deref());
    (stored, closed)
}

/// Checks what accounts would have for themselves.
fn check_own(next: &Contents, changes: &[Change], config: &Config, wrong: &mut Vec<Wrong>) {
    let is_own = |one: &&Change| matches!(one.kind, Kind::Provider | Kind::Price);
    let accounts = changes.iter().filter(is_own);
    let accounts: BTreeSet<&str> = accounts
        .filter_map(|change| Some(change.id.split_once('/')?.0))
        .collect();
    if accounts.is_empty() {
        return;
    }
    let providers: Vec<StoredProvider> = providers::all(next).filter_map(Result::ok).collect();
    let prices: Vec<StoredPrice> = prices::all(next).filter_map(Result::ok).collect();
    for account in accounts {
        let checked = own::check(config, account, &providers, &prices);
        wrong.extend(checked.err().into_iter().flat_map(|invalid| invalid.0));
    }
}

/// A secret that was opened, by where it belongs and when it was stored.
#[derive(Clone, Debug)]
struct KnownSecret {
    place: credentials::Place,
    modified_at: Timestamp,
}

/// The credential, or why there is none, and whether that is for want of a key.
fn open(stored: &credentials::Stored, config: &Config) -> Result<Credential, (String, bool)> {
    let no_key = || ("there is no `secrets.key`".to_owned(), false);
    let keyring = config.keyring.as_ref().ok_or_else(no_key)?;
    let secret = stored.open(keyring).map_err(|why| {
        let is_unknown_key = matches!(why, SealError::UnknownKey(_));
        (why.to_string(), is_unknown_key)
    })?;
    let identity = |name: &str| config.identity.get(name).cloned();
    let credential = stored.origin.parse(&secret, &identity);
    credential.map_err(|wrong| (wrong.to_string(), false))
}

/// The credential of a place as it is in force.
fn opened_before(before: &Snapshot, place: &credentials::Place) -> Option<Arc<Credential>> {
    let gateway = before.gateway(&place.account, &place.gateway)?;
    let is_it =
        |one: &&StoredCredential| one.provider == place.provider && one.alias == place.alias;
    gateway.credentials.iter().find(is_it)?.credential.clone()
}

/// Gives gateways the spend caps of the tokens that open them. Tokens beyond [`tokens::MAX_CAPPED`] of one
/// gateway, of the configuration or stored, would spend without one: they open nothing.
fn add_caps(
    config: &Config,
    tokens: &mut Vec<Token>,
    gateways: &mut Vec<Gateway>,
    doubts: &mut Vec<String>,
) {
    tokens.retain(|token| {
        let (Some(cap), Some(id)) = (token.to_limit(), token.gateways.first()) else {
            return true;
        };
        // A revoked one spends nothing.
        let found = find(gateways, config, &token.account, id);
        let Some(gateway) = found.filter(|_| !token.digests.is_empty()) else {
            return true;
        };
        // No other limit has a dot in its name.
        let is_cap = |limit: &&Arc<Limit>| limit.id.contains('.');
        if gateway.limits.iter().filter(is_cap).count() >= tokens::MAX_CAPPED {
            doubts.push(format!(
                "the token `{}` has no effect: {} tokens with a spend limit open gateway `{id}` \
                 already",
                token.name,
                tokens::MAX_CAPPED
            ));
            return false;
        }
        gateway.limits.push(Arc::new(cap));
        true
    });
}

/// The gateway `id` of `account`. A `default` that nobody configured becomes one that is, so that
/// what is stored for it has its place, and its counters are kept like those of others.
fn find<'g>(
    gateways: &'g mut Vec<Gateway>,
    config: &Config,
    account: &str,
    id: &str,
) -> Option<&'g mut Gateway> {
    let is_it = |one: &Gateway| *one.account == *account && *one.id == *id;
    let at = match gateways.iter().position(is_it) {
        Some(at) => at,
        None if *id == *DEFAULT_GATEWAY => {
            gateways.push(Gateway {
                account: account.into(),
                id: id.into(),
                ..config.default_gateway.clone()
            });
            gateways.len() - 1
        }
        None => return None,
    };
    gateways.get_mut(at)
}

/// Gateways that ask for a token while there is none that opens them.
fn locked_out(gateways: &[Gateway], default: &Gateway, tokens: &[Token]) -> Vec<String> {
    let is_locked = |gateway: &&Gateway| {
        let opens = |token: &Token| token.opens(&gateway.account, &gateway.id);
        gateway.authentication && !tokens.iter().any(opens)
    };
    let locked = gateways.iter().filter(is_locked).map(|gateway| {
        format!(
            "no token opens gateway `{}` of account `{}`: every request to it is refused until \
             `isango token create` makes one",
            gateway.id, gateway.account
        )
    });
    let nobody = (default.authentication && tokens.is_empty()).then(|| {
        "there is no token, and gateway `default` asks for one: every request to it is refused \
         until `isango token create` makes one"
            .to_owned()
    });
    locked.chain(nobody).collect()
}

#[cfg(test)]
mod tests;
