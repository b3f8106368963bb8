//! What every backend must do, one suite per role. A suite takes a maker of empty stores and
//! fails by assertion, so that a backend's test is one line.

mod analytics;
mod cache;
mod checkpoint;
mod config;
mod exports;
mod logs;
mod outbox;
mod pledges;
pub mod sample;
mod sessions;
mod spill;
pub mod varied;

pub use analytics::{agrees, analytics};
pub use cache::{cache, entry};
pub use checkpoint::checkpoint;
pub use config::config;
pub use exports::exports;
pub use logs::logs;
pub use outbox::{letter, outbox};
pub use pledges::pledges;
pub use sessions::{session, sessions};
pub use spill::spill;
