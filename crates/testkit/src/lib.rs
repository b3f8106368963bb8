//! Isango: testkit.
