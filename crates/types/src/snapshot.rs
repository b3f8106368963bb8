//! All configuration, compiled for lookup, and the cell through which it is swapped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::gateway::{DEFAULT_GATEWAY, Gateway};
use crate::key::Token;
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
    tokens: HashMap<[u8; 32], Arc<Token>>,
    /// What tokens cost.
    pub prices: Arc<PriceTable>,
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
        Self {
            gateways: by_account.into_values().collect(),
            default_gateway: default_gateway.map(Arc::new),
            providers: by_slug.into_iter().collect(),
            tokens: tokens
                .into_iter()
                .map(|token| (token.digest, Arc::new(token)))
                .collect(),
            prices,
        }
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

    /// The token whose SHA-256 is `digest`.
    #[must_use]
    pub fn token(&self, digest: &[u8; 32]) -> Option<&Arc<Token>> {
        self.tokens.get(digest)
    }

    /// Every configured gateway, by account and id.
    pub fn gateways(&self) -> impl Iterator<Item = &Arc<Gateway>> {
        self.gateways.iter()
    }
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
