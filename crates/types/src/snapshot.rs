//! All configuration, compiled for lookup, and the cell through which it is swapped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::clock::Timestamp;
use crate::door::Door;
use crate::gateway::{DEFAULT_GATEWAY, Gateway};
use crate::key::{Digest, Token};
use crate::price::PriceTable;
use crate::provider::Provider;

/// One immutable view of the configuration. A request uses one from its start to its end.
#[derive(Debug)]
pub struct Snapshot {
    /// By account and id, in that order.
    gateways: Vec<Arc<Gateway>>,
    /// Serves `default` in every account that has not configured it; `None`: it must be configured.
    default_gateway: Option<Arc<Gateway>>,
    /// By slug or alias, in that order.
    providers: Vec<(Box<str>, Arc<Provider>)>,
    /// By the beginning of each digest; what follows is compared in constant time.
    tokens: HashMap<u64, Vec<(Digest, Arc<Token>)>>,
    /// The revision of the stored configuration that it holds; 0 where none is known.
    pub revision: u64,
    /// What tokens cost.
    pub prices: Arc<PriceTable>,
    /// From where gateways that ask for no token may be asked.
    pub door: Arc<Door>,
    /// What accounts have for themselves.
    accounts: BTreeMap<Box<str>, OfAccount>,
}

/// What an account has for itself.
#[derive(Clone, Debug, Default)]
pub struct OfAccount {
    /// Providers that only its requests use.
    pub providers: Vec<Arc<Provider>>,
    /// What its requests cost, where that is not what everybody's do.
    pub prices: Option<Arc<PriceTable>>,
    /// Alerts that are quiet, by gateway and name with a `/` between, and until when.
    pub muted: BTreeMap<Box<str>, Timestamp>,
}

impl Snapshot {
    /// Compiles entities that have been checked. Providers are found by slug and by alias; a later
    /// one replaces an earlier one of the same slug.
    #[must_use]
    pub fn new(
        gateways: Vec<Gateway>,
        providers: Vec<Provider>,
        prices: Arc<PriceTable>,
        default_gateway: Option<Gateway>,
        tokens: Vec<Token>,
    ) -> Self {
        // Sorted lists: a search of a few short comparisons beats hashing the names.
        let mut by_account = BTreeMap::new();
        for gateway in gateways {
            by_account.insert(
                (gateway.account.clone(), gateway.id.clone()),
                Arc::new(gateway),
            );
        }
        let mut by_slug = BTreeMap::new();
        for provider in providers {
            let provider = Arc::new(provider);
            for alias in &provider.aliases {
                by_slug.insert(alias.clone(), Arc::clone(&provider));
            }
            by_slug.insert(provider.slug.clone(), provider);
        }
        let mut by_digest: HashMap<u64, Vec<(Digest, Arc<Token>)>> = HashMap::new();
        for token in tokens.into_iter().map(Arc::new) {
            for digest in &token.digests {
                let entry = (*digest, Arc::clone(&token));
                by_digest
                    .entry(beginning(&digest.sha256.0))
                    .or_default()
                    .push(entry);
            }
        }
        Self {
            gateways: by_account.into_values().collect(),
            default_gateway: default_gateway.map(Arc::new),
            providers: by_slug.into_iter().collect(),
            tokens: by_digest,
            revision: 0,
            prices,
            door: Arc::default(),
            accounts: BTreeMap::new(),
        }
    }

    /// The same with what accounts have for themselves.
    #[must_use]
    pub fn with_accounts(self, accounts: BTreeMap<Box<str>, OfAccount>) -> Self {
        Self { accounts, ..self }
    }

    /// The same with another front door.
    #[must_use]
    pub fn with_door(self, door: Arc<Door>) -> Self {
        Self { door, ..self }
    }

    /// The gateway `id` of `account`. `default` is found in every account.
    #[must_use]
    pub fn gateway(&self, account: &str, id: &str) -> Option<&Arc<Gateway>> {
        let found = self
            .gateways
            .binary_search_by(|gateway| (&*gateway.account, &*gateway.id).cmp(&(account, id)));
        match found {
            Ok(at) => self.gateways.get(at),
            Err(_) if id == DEFAULT_GATEWAY => self.default_gateway.as_ref(),
            Err(_) => None,
        }
    }

    /// The provider of a slug or alias.
    #[must_use]
    pub fn provider(&self, slug: &str) -> Option<&Arc<Provider>> {
        let at = self
            .providers
            .binary_search_by(|(name, _)| (**name).cmp(slug))
            .ok()?;
        self.providers.get(at).map(|(_, provider)| provider)
    }

    /// The provider of a slug or alias, or the account's own of that slug.
    #[must_use]
    pub fn provider_of(&self, account: &str, slug: &str) -> Option<&Arc<Provider>> {
        self.provider(slug).or_else(|| {
            let own = self.accounts.get(account)?;
            own.providers
                .iter()
                .find(|provider| *provider.slug == *slug)
        })
    }

    /// What tokens cost in an account.
    #[must_use]
    pub fn prices_of(&self, account: &str) -> &Arc<PriceTable> {
        let own = self.accounts.get(account);
        own.and_then(|own| own.prices.as_ref())
            .unwrap_or(&self.prices)
    }

    /// Until when an alert is quiet; `None`: it is not at `now`.
    #[must_use]
    pub fn muted_until(
        &self,
        (account, gateway): (&str, &str),
        alert: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let own = self.accounts.get(account)?;
        if own.muted.is_empty() {
            return None;
        }
        let until = own.muted.get(&*format!("{gateway}/{alert}"))?;
        Some(*until).filter(|until| *until > now)
    }

    /// The token whose SHA-256 is `sha256`, if it is valid at `now`.
    #[must_use]
    pub fn token(&self, sha256: &[u8; 32], now: Timestamp) -> Option<&Arc<Token>> {
        let alike = self.tokens.get(&beginning(sha256))?;
        let is_it = |(digest, token): &&(Digest, Arc<Token>)| {
            digest.sha256.is(sha256) && digest.is_valid_at(now) && token.is_valid_at(now)
        };
        alike.iter().find(is_it).map(|(_, token)| token)
    }

    /// Every configured gateway, by account and id.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.gateways.iter()
    }

    /// Every token that opens something, once for each of its digests; in no order.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values().flatten().map(|(_, token)| token)
    }
}

/// What a digest is looked up by. Nobody chooses it: whoever sends a token knows the whole digest,
/// and nothing of another one.
fn beginning(sha256: &[u8; 32]) -> u64 {
    sha256
        .first_chunk()
        .map_or(0, |first| u64::from_ne_bytes(*first))
}

/// The cell that holds the current [`Snapshot`]; the data plane loads, the control plane swaps.
#[derive(Debug)]
pub struct SnapshotCell(ArcSwap<Snapshot>);

impl SnapshotCell {
    /// A cell that begins with `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(snapshot))
    }

    /// The current snapshot, for a short look.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// The current snapshot, for the life of a request.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts a new snapshot in place; requests under way keep theirs.
    pub fn swap(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_micros(hours * HOUR)
    }

    #[test]
    fn a_token_is_found_by_each_of_its_digests_while_they_are_valid() {
        let mut rotated = Token::new("local", "rotated");
        rotated.expires_at = Some(at(9));
        // They begin alike.
        let old = Digest {
            until: Some(at(3)),
            ..Digest::lasting(std::array::from_fn(|byte| u8::from(byte == 31)))
        };
        rotated.digests = vec![Digest::lasting([0; 32]), old];
        let config = Snapshot::new(
            Vec::new(),
            Vec::new(),
            Arc::default(),
            None,
            vec![rotated, Token::new("local", "revoked")],
        );
        let check = |digest: &Digest, hours: u64, found: bool| {
            let token = config.token(&digest.sha256.0, at(hours));
            assert_eq!(token.is_some(), found, "{digest:?} {hours}");
        };
        for (hours, new_opens, old_opens) in [
            (0, true, true),
            (2, true, true),
            (3, true, false),
            (8, true, false),
            (9, false, false),
        ] {
            check(&Digest::lasting([0; 32]), hours, new_opens);
            check(&old, hours, old_opens);
        }
        check(&Digest::lasting([9; 32]), 0, false);
    }
}
