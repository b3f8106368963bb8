//! What Isango asks of storage: small roles, each a trait with an in-memory reference and one
//! conformance suite that every backend passes.
//!
//! [`logs`] are the doors to the records and [`later`] what is said of them later, [`cache`] that to
//! kept answers, [`outbox`] that to messages on their way,
//! [`exports`] that to how far exports are, [`pledges`] that to what requests under
//! way hold of limits, [`checkpoint`] that to what was drawn from them, [`config`] that to what
//! is configured beside the file, with [`gateways`], [`tokens`], [`credentials`],
//! [`logpush`], [`views`], [`providers`], [`prices`], [`mutes`],
//! [`users`] and [`links`] in it, which [`seal`] closes and [`vouched`] vouches for, and the
//! [`audit`] trail of whoever changed it; [`sessions`]
//! that to who is signed in; [`signature`] is how what is sent out is signed,
//! [`table`] what formats with columns are made of;
//! [`spill`] is that to where records wait that the store does not take; [`usage`] is what records
//! take; [`filter`] is the language that questions are asked in, [`memory`] the reference that forgets at
//! exit, [`conformance`] what every backend must do.

pub mod analytics;
pub mod audit;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod conformance;
pub mod credentials;
pub mod csv;
pub mod exports;
pub mod filter;
pub mod gateways;
pub mod later;
pub mod links;
pub mod logpush;
pub mod logs;
pub mod memory;
pub mod mutes;
pub mod outbox;
pub mod pledges;
pub mod prices;
pub mod providers;
pub mod row;
pub mod seal;
pub mod sessions;
pub mod signature;
pub mod spill;
pub mod table;
pub mod tokens;
pub mod usage;
pub mod users;
pub mod views;
pub mod vouched;

use std::sync::Arc;

pub use filter::{Filter, FilterError};

/// The roles, bundled.
#[derive(Clone)]
pub struct Stores {
    /// Where records go, and where the counters of limits come from at the start.
    pub logs: Arc<dyn logs::LogStore>,
    /// Where answers are kept.
    pub cache: Arc<dyn cache::CacheStore>,
    /// Where entities are that the configuration file does not name. The data plane never asks it.
    pub config: Arc<dyn config::ConfigStore>,
    /// Where requests under way leave what they hold of limits.
    pub pledges: Arc<dyn pledges::PledgeStore>,
    /// Where the counters of limits are as they were a moment ago.
    pub checkpoint: Arc<dyn checkpoint::CheckpointStore>,
    /// Where exports keep how far they are.
    pub exports: Arc<dyn exports::ExportStore>,
    /// Who is signed in.
    pub sessions: Arc<dyn sessions::SessionStore>,
    /// Where records wait that `logs` does not take.
    pub spill: Arc<dyn spill::Spill>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}
