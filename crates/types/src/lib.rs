//! The nouns of Isango: plain data that every other crate shares.
//!
//! No I/O and no async runtime live here. In reading order: what a request is called
//! ([`id`]), who it is sent to ([`provider`], [`gateway`]) and by which rules ([`policy`], [`limit`], [`alert`]), the
//! compiled view of all configuration ([`snapshot`]), what one exchange leaves behind
//! ([`usage`], [`price`], [`record`]), in the words of others too ([`genai`]), and what one would
//! ([`rehearsal`]).

pub mod alert;
pub mod clock;
pub mod credential;
pub mod door;
pub mod escape;
pub mod gateway;
pub mod genai;
pub mod health;
pub mod id;
pub mod key;
pub mod limit;
pub mod nearest;
pub mod network;
pub mod operation;
pub mod policy;
pub mod price;
pub mod provider;
pub mod record;
pub mod redaction;
pub mod rehearsal;
pub mod role;
pub mod secret;
pub mod snapshot;
pub mod usage;

pub use alert::Alert;
pub use clock::{Clock, Timestamp};
pub use credential::Credential;
pub use gateway::{Gateway, Target};
pub use id::{RecordId, is_account, is_gateway_id};
pub use key::Token;
pub use limit::Limit;
pub use nearest::nearest;
pub use network::Network;
pub use operation::Operation;
pub use price::{Cost, CostStatus, PriceTable};
pub use provider::{Provider, Wire};
pub use record::Record;
pub use role::Role;
pub use secret::Secret;
pub use snapshot::{Snapshot, SnapshotCell};
pub use usage::Usage;
