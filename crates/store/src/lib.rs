//! What Isango asks of storage: small roles, each a trait with an in-memory reference and one
//! conformance suite that every backend passes.
//!
//! [`logs`] are the doors to the records, [`cache`] that to kept answers, [`filter`] is the language that questions are asked in,
//! [`memory`] the reference that forgets at exit, [`conformance`] what every backend must do.

pub mod cache;
pub mod conformance;
pub mod filter;
pub mod logs;
pub mod memory;

pub use filter::{Filter, FilterError};
