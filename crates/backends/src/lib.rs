//! Foreign systems behind the roles of [`isango_store`]: the only crate that names them.
//!
//! [`cache`] is the embedded cache: memory over a file of SQLite; [`outbox`] keeps alerts until they
//! are delivered.

pub mod cache;
pub mod outbox;

mod sqlite;
