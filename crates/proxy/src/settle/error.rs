//! What went wrong, as a record tells it.

use isango_types::record::{Blame, Outcome, RecordError};
use isango_wire::read::Reading;

use crate::exchange::{Cut, Draft};

pub(super) fn error(draft: &Draft, reading: &Reading) -> Option<RecordError> {
    if draft.error.is_some() {
        return draft.error.clone();
    }
    let of = |code: String, blame, message: String| {
        Some(RecordError {
            code: code.into(),
            blame,
            message: message.into(),
        })
    };
    match draft.outcome {
        Some(Outcome::UpstreamCut) if draft.cut.is_some() => {
            let (code, message) = match draft.cut {
                Some(Cut::Idle(limit)) => (
                    "idle_timeout",
                    format!("the provider was silent for {} ms", limit.as_millis()),
                ),
                Some(Cut::Total(limit)) => (
                    "total_timeout",
                    format!(
                        "the answer outlasted the {} ms of a request",
                        limit.as_millis()
                    ),
                ),
                None => ("upstream_cut", String::new()),
            };
            of(code.into(), Blame::Upstream, message)
        }
        Some(Outcome::UpstreamCut) => of(
            "upstream_cut".into(),
            Blame::Upstream,
            "the provider broke its answer off".into(),
        ),
        Some(Outcome::ClientLeft) => of(
            "client_left".into(),
            Blame::Client,
            "the client left before the end".into(),
        ),
        Some(Outcome::Stopped) => of(
            "stopped".into(),
            Blame::Gateway,
            "the gateway stopped before the end".into(),
        ),
        Some(Outcome::Overrun) => of(
            "limit_overrun".into(),
            Blame::Client,
            "the answer was ended: it brought more than a limit had held for it".into(),
        ),
        Some(Outcome::Panicked) => of(
            "3020".into(),
            Blame::Gateway,
            "the gateway failed on this request".into(),
        ),
        Some(Outcome::Answered | Outcome::Refused | Outcome::Failed) | None => {
            let status = draft.status?;
            let told = reading.error_code.as_deref();
            if !status.is_client_error() && !status.is_server_error() && told.is_none() {
                return None;
            }
            let blame = match status.as_u16() {
                408 | 429 | 500.. => Blame::Upstream,
                400.. => Blame::Client,
                _ => Blame::Upstream,
            };
            let message = match told {
                Some(told) => format!("the provider answered {}: {told}", status.as_u16()),
                None => format!("the provider answered {}", status.as_u16()),
            };
            of(format!("upstream_{}", status.as_u16()), blame, message)
        }
    }
}
