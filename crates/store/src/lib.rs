//! What Isango asks of storage: small roles, each a trait with an in-memory reference and one
//! conformance suite that every backend passes.

pub mod logs;
