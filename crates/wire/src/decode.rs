//! Content encodings.
