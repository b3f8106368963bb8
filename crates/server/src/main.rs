//! Isango.
fn main() {}
