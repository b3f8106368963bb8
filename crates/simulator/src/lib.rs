//! Isango: simulator.
