//! What a send says about its target.

use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::Proxy;
use crate::error::Error;
use crate::health::{Permit, Quota, Verdict};
use crate::retry::asked_wait;
use crate::upstream::Source;

/// Tells how a send went that began at `began`. `impatient`: its first-byte timeout is the client's,
/// and shorter than the operator's, so that it says nothing about the target.
pub(crate) fn ended(
    proxy: &Proxy,
    permit: &mut Permit,
    began: Instant,
    result: Result<&Response<Source>, &Error>,
    impatient: bool,
) {
    let now = Instant::now();
    let verdict = verdict(result.map(Response::status), impatient);
    let clock = proxy.sink.clock();
    let quota = match result {
        Ok(response) => Quota::read(response.headers(), clock, now),
        Err(_) => None,
    };
    let ttfb: Duration = now.saturating_duration_since(began);
    permit.ended(verdict, Some(ttfb), quota, now);
    if let Ok(response) = result
        && matches!(response.status().as_u16(), 429 | 503)
        && let Some(asked) = asked_wait(response.status(), response.headers(), clock.now())
    {
        permit.bench(asked.wait, now);
    }
}

/// Answers that a target chose to give are no failures of it, whatever they say of the request.
fn verdict(result: Result<StatusCode, &Error>, impatient: bool) -> Verdict {
    match result {
        Ok(status) => match status.as_u16() {
            408 => Verdict::Nothing,
            429 => Verdict::Busy,
            // What it does not implement, it never does.
            501 => Verdict::Success,
            500.. => Verdict::Failure,
            _ => Verdict::Success,
        },
        Err(Error::FirstByteTimeout { .. }) if impatient => Verdict::Nothing,
        Err(
            Error::ConnectFailed(_)
            | Error::ConnectTimeout
            | Error::TlsFailed(_)
            | Error::NoAnswer(_)
            | Error::BadAnswer(_)
            | Error::FirstByteTimeout { .. }
            | Error::PrivateAddress,
        ) => Verdict::Failure,
        Err(_) => Verdict::Nothing,
    }
}
