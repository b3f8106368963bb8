//! Isango: control.
