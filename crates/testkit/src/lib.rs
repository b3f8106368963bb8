//! Scripted providers, raw-socket clients and fixtures for tests on real sockets.
//!
//! [`upstream::Upstream`] plays an [`answer::Answer`] byte by byte and records what it was sent;
//! [`client::Client`] shows an answer in the pieces in which it arrived and tells a whole one from
//! a cut one; [`h2`] does the same in HTTP/2; [`identity`] signs people in; [`tls::Tls`] issues certificates; [`fixtures`] makes
//! the bodies that must cross unchanged.
//!
//! Whatever waits here gives up after [`PATIENCE`] and panics: a test that would hang fails
//! instead, and says what it waited for. Sockets are real, so do not pause tokio's clock in a test
//! that uses them.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "this is test code in a crate of its own; a panic is how a test hears that it failed"
)]

use std::future::Future;
use std::time::Duration;

pub mod answer;
pub mod client;
pub mod fixtures;
pub mod h2;
pub mod head;
pub mod identity;
mod socket;
pub mod tls;
pub mod upstream;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Step, json, sse, status};
pub use client::{Ask, Client, End, Reply};
pub use head::Head;
pub use tls::Tls;
pub use upstream::{Received, Upstream};

/// How long anything in this crate waits before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for `future`, at most [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Runs a task of the testkit until it ends or its handle's owner aborts it.
#[expect(
    clippy::disallowed_methods,
    reason = "tests have no `Tasks`; each handle is aborted on drop"
)]
fn spawn<F>(future: F) -> Task
where
    F: Future<Output = ()> + Send + 'static,
{
    Task(tokio::spawn(future))
}

/// A task that ends when its owner goes.
#[derive(Debug)]
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
