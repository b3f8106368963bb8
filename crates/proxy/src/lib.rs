//! The data plane: carries requests from clients to providers and answers back.

pub mod error;
pub mod resolve;
