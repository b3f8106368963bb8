//! Foreign systems.
