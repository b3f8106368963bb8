//! What a send says about its target. Pure: the time comes in as an argument.

use std::time::Duration;

use http::{Response, StatusCode};
use isango_types::Clock;
use tokio::time::Instant;

use crate::error::Error;
use crate::health::{Permit, Quota, Verdict};
use crate::retry::asked_wait;

/// Tells how a send went that began and ended at these moments. `impatient`: its first-byte timeout
/// is the client's, and shorter than the operator's, so that it says nothing about the target.
pub(crate) fn ended<B>(
    clock: &Clock,
    permit: &mut Permit,
    (began, now): (Instant, Instant),
    result: Result<&Response<B>, &Error>,
    impatient: bool,
) {
    let verdict = verdict(result.map(Response::status), impatient);
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
        permit.bench(asked.bench(), now);
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
