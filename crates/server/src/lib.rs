//! Isango.
