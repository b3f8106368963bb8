//! What is in force, and what it is made of: the configuration and what is stored beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isango_control::{Judge, Ruled};
use isango_exports::Listed;
use isango_proxy::{History, Ruling};
use isango_store::audit::{Entry, Event, Report, Wanted};
use isango_store::cache::{CacheStore, Purge};
use isango_store::config::history::{Author, Revision};
use isango_store::config::{Change, ConfigStore, Contents, Entity, Error, Invalid, Refused};
use isango_store::gateways::StoredGateway;
use isango_store::seal::Keyring;
use isango_store::vouched::Vouched;
use isango_types::{Gateway, Snapshot, SnapshotCell, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value};

use crate::config::{Config, document};
use crate::stored::Stored;

/// Both, and the snapshot that was compiled of them. What is committed through it is checked first,
/// and is in force when the commit returns.
pub(crate) struct Published {
    pub(crate) cell: Arc<SnapshotCell>,
    store: Arc<Vouched>,
    cache: Arc<dyn CacheStore>,
    /// Held while a snapshot is compiled and swapped, so that none replaces a newer one.
    sources: Mutex<(Config, Stored)>,
    /// The store could not be read when it was last looked at.
    is_blind: AtomicBool,
    /// What is exported, as it was compiled with the snapshot.
    jobs: RwLock<Arc<Listed>>,
}

impl Published {
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn open(
        config: &Config,
        store: Arc<Vouched>,
        cache: Arc<dyn CacheStore>,
    ) -> anyhow::Result<Self> {
        let stored = Stored::read(&*store)?;
        let (snapshot, doubts) = stored.compile(config, None);
        tell(&doubts);
        let (jobs, doubts) = stored.jobs(config, &snapshot);
        tell(&doubts);
        Ok(Self {
            jobs: RwLock::new(jobs),
            cell: Arc::new(SnapshotCell::new(snapshot)),
            store,
            cache,
            sources: Mutex::new((config.clone(), stored)),
            is_blind: AtomicBool::new(false),
        })
    }

    /// Puts another configuration in force; returns the snapshot before and the one after.
    pub(crate) fn configure(&self, config: &Config) -> (Arc<Snapshot>, Arc<Snapshot>) {
        let old = self.cell.get();
        let mut sources = self.sources.lock();
        sources.0 = config.clone();
        self.store.use_keys(config.keyring.clone());
        // By other keys, other entities are to be believed.
        match Stored::read(&*self.store) {
            Ok(mut stored) => {
                stored.go_on_from(&sources.1);
                sources.1 = stored;
            }
            Err(error) => {
                let error = anyhow::Error::from(error);
                tracing::error!(%error, "stored entities stay as they were: they cannot be read");
            }
        }
        self.publish(&sources);
        (old, self.cell.get())
    }

    /// What is exported.
    pub(crate) fn jobs(&self) -> Arc<Listed> {
        Arc::clone(&self.jobs.read())
    }

    /// Whether destinations that the management API names may be in private networks.
    pub(crate) fn allows_private(&self) -> bool {
        self.sources.lock().0.logpush_allow_private
    }

    /// What stored credentials are sealed with.
    pub(crate) fn keyring(&self) -> Option<Arc<Keyring>> {
        self.sources.lock().0.keyring.clone()
    }

    /// A judge of a limit of a gateway, for requests of before. The limit is read as if it stood in
    /// the gateway's settings.
    pub(crate) fn judge(
        &self,
        (account, id): (&str, &str),
        limit: Value,
    ) -> Result<Box<Judge>, Invalid> {
        let now = Timestamp::default();
        let mut settings = Map::new();
        settings.insert("limits".into(), Value::Array(vec![limit]));
        let stored = StoredGateway {
            account: account.into(),
            id: id.into(),
            created_at: now,
            modified_at: now,
            fields: Map::from_iter([("authentication".to_owned(), Value::Bool(true))]),
            settings,
            sealed: BTreeMap::new(),
        };
        let gateway = document::gateway(&self.sources.lock().0, &stored);
        let gateway = gateway.map_err(as_of_limit)?;
        let limit = gateway.limits.first().ok_or_else(Invalid::default)?;
        let mut history = History::new(&gateway, Arc::clone(limit));
        Ok(Box::new(move |record| match history.see(record) {
            Ruling::NotUnder => Ruled::NotUnder,
            Ruling::Passed => Ruled::Passed,
            Ruling::Unknown => Ruled::Unknown,
            Ruling::Exceeded {
                bucket,
                before,
                opens_at,
            } => Ruled::Exceeded {
                bucket,
                before,
                opens_at,
            },
        }))
    }

    /// Where people reach the dashboard, where the operator has named it.
    pub(crate) fn dashboard_url(&self) -> Option<Box<str>> {
        self.sources.lock().0.dashboard_url.clone()
    }

    /// Puts the stored entities in force as they are now, if they are not the ones that are. While
    /// they cannot be read, the last ones that could stay in force.
    pub(crate) fn look(&self) {
        let looked = self.try_look();
        let was_blind = self.is_blind.swap(looked.is_err(), Ordering::Relaxed);
        match looked {
            Err(error) if !was_blind => {
                tracing::error!(
                    error = %anyhow::Error::from(error),
                    "stored tokens and credentials cannot be read; the last ones stay in force"
                );
            }
            Ok(()) if was_blind => tracing::info!("stored entities can be read again"),
            Ok(()) | Err(_) => {}
        }
    }

    fn try_look(&self) -> Result<(), Error> {
        let revision = self.store.revision()?;
        let mut sources = self.sources.lock();
        if revision != sources.1.revision {
            let mut stored = Stored::read(&*self.store)?;
            stored.go_on_from(&sources.1);
            sources.1 = stored;
            let old = self.cell.get();
            self.publish(&sources);
            drop(sources);
            purge(&*self.cache, &purges(&old, &self.cell.get()));
            tracing::info!(revision, "stored entities changed");
        }
        Ok(())
    }

    fn publish(&self, (config, stored): &(Config, Stored)) {
        let (snapshot, doubts) = stored.compile(config, Some(&self.cell.load()));
        tell(&doubts);
        let (jobs, doubts) = stored.jobs(config, &snapshot);
        tell(&doubts);
        *self.jobs.write() = jobs;
        self.cell.swap(snapshot);
    }
}

impl ConfigStore for Published {
    fn revision(&self) -> Result<u64, Error> {
        self.store.revision()
    }

    fn read(&self) -> Result<Contents, Error> {
        self.store.read()
    }

    fn commit_as(&self, author: &Author, changes: &[Change]) -> Result<u64, Error> {
        let revision = {
            // Nobody puts another configuration in force between the check and the commit.
            let sources = self.sources.lock();
            Stored::check(&self.store.read()?, changes, &sources.0)?;
            self.store.commit_as(author, changes)?
        };
        self.look();
        Ok(revision)
    }

    fn commit_at(&self, author: &Author, changes: &[Change], revision: u64) -> Result<u64, Error> {
        let committed = {
            // Who commits through this holds it, too.
            let sources = self.sources.lock();
            let contents = self.store.read()?;
            if contents.revision != revision {
                return Err(Error::Moved);
            }
            Stored::check(&contents, changes, &sources.0)?;
            self.store.commit_as(author, changes)?
        };
        self.look();
        Ok(committed)
    }

    fn check(&self, changes: &[Change]) -> Result<(), Error> {
        let sources = self.sources.lock();
        Stored::check(&self.store.read()?, changes, &sources.0)
    }

    fn refused(&self) -> Result<Vec<Refused>, Error> {
        self.store.refused()
    }

    fn stale(&self) -> Result<Vec<Entity>, Error> {
        self.store.stale()
    }

    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, Error> {
        self.store.history(before, limit)
    }

    fn note(&self, events: &[Event]) -> Result<(), Error> {
        self.store.note(events)
    }

    fn trail(&self, wanted: &Wanted) -> Result<Vec<Entry>, Error> {
        self.store.trail(wanted)
    }

    fn trail_end(&self) -> Result<u64, Error> {
        self.store.trail_end()
    }

    fn verify_trail(&self) -> Result<Report, Error> {
        self.store.verify_trail()
    }
}

/// What is wrong with the only limit of a gateway, as if it stood under `limit`.
fn as_of_limit(invalid: Invalid) -> Invalid {
    let moved = invalid.0.into_iter().map(|mut wrong| {
        if wrong.path.first().is_some_and(|name| **name == *"limits") {
            wrong.path.drain(..wrong.path.len().min(2));
        }
        wrong.path.insert(0, "limit".into());
        wrong
    });
    Invalid(moved.collect())
}

/// What is removed from the cache where gateways want that when they change.
pub(crate) fn purges(old: &Snapshot, new: &Snapshot) -> Vec<Purge> {
    let changed = |gateway: &&Arc<Gateway>| {
        let new = new.gateway(&gateway.account, &gateway.id);
        let wants = |gateway: &Gateway| gateway.cache.invalidate_on_update;
        new.is_none_or(|new| new != *gateway) && (wants(gateway) || new.is_some_and(|g| wants(g)))
    };
    let purges = old.gateways().filter(changed).map(|gateway| Purge {
        account: Some(gateway.account.clone()),
        gateway: Some(gateway.id.clone()),
        ..Purge::default()
    });
    purges.collect()
}

/// Removes them; blocks.
pub(crate) fn purge(cache: &dyn CacheStore, purges: &[Purge]) {
    for what in purges {
        if let Err(error) = cache.purge(what) {
            tracing::error!(%error, "a changed gateway keeps its cache");
        }
    }
}

fn tell(doubts: &[String]) {
    for doubt in doubts {
        tracing::warn!("{doubt}");
    }
}
