//! Foreign systems behind the roles of [`isango_store`]: the only crate that names them.
//!
//! [`cache`] is the embedded cache: memory over a file of SQLite; [`outbox`] keeps alerts until they
//! are delivered, [`config`] what is configured beside the file.

pub mod cache;
pub mod config;
pub mod outbox;

mod sqlite;
