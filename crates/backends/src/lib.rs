//! Foreign systems behind the roles of [`isango_store`]: the only crate that names them.
//!
//! [`cache`] is the embedded cache: memory over a file of SQLite; [`outbox`] keeps alerts until they
//! are delivered, [`exports`] how far exports are, [`config`] what is configured beside the file,
//! [`sessions`] who is signed in; [`pledges`] is a file of what requests
//! under way hold of limits; [`spill`] keeps records that the store does not take.

pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod exports;
pub mod outbox;
pub mod pledges;
pub mod sessions;
pub mod spill;

mod sqlite;
