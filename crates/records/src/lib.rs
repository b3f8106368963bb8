//! Isango: records.
