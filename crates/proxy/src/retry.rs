//! What follows an attempt: the answer is taken, the same target is asked again after a wait, the
//! next target is asked, or nothing is left to ask. Pure: values in, a decision out.

mod wait;

use std::time::Duration;

use http::StatusCode;
use isango_types::policy::{Backoff, FallbackOn, MAX_RETRY_WAIT, RetryPolicy};
use isango_types::provider::RetrySemantics;
use tokio::time::Instant;

pub(crate) use self::wait::{Asked, asked_wait, time_to_reset};
use crate::error::Error;

/// What an attempt failed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No connection, no secure one, or one that broke before the answer.
    Connect,
    /// Too slow to connect or to begin.
    Timeout,
    /// An error status.
    Status(StatusCode),
    /// A target that the client did not name refuses the credential, or does not know the model:
    /// the operator's doing, not the client's.
    Misconfigured(StatusCode),
}

/// A failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The same target may answer when asked again.
    pub(crate) may_pass: bool,
    /// How long the provider asks to wait.
    pub(crate) asked: Option<Asked>,
}

impl Failure {
    /// What an error of ours means; `None`: the request's own fault, which no provider cures.
    pub(crate) fn of_error(error: &Error) -> Option<Self> {
        let kind = match error {
            Error::ConnectTimeout | Error::FirstByteTimeout { .. } => Kind::Timeout,
            Error::ConnectFailed(_)
            | Error::TlsFailed(_)
            | Error::NoAnswer(_)
            | Error::BadAnswer(_)
            | Error::CredentialFailed(_)
            | Error::PrivateAddress => Kind::Connect,
            Error::UnknownGateway
            | Error::InvalidProvider
            | Error::Unauthorized
            | Error::ForeignPage(_)
            | Error::Forbidden(_)
            | Error::RateLimited(_)
            | Error::SpendLimited(_)
            | Error::NoSuchPath(_)
            | Error::InvalidPath(_)
            | Error::MissingCredential { .. }
            | Error::UnknownAlias(_)
            | Error::Residency { .. }
            | Error::BadLegs(_)
            | Error::Unbounded { .. }
            | Error::BodyTooLarge { .. }
            | Error::BodyBroken(_)
            | Error::BodyTimeout
            | Error::Unsupported(_)
            | Error::Ambiguous(_)
            | Error::Malformed
            | Error::HeadTooLarge
            | Error::UriTooLong
            | Error::TotalTimeout { .. }
            | Error::Unrecorded
            | Error::Internal => return None,
        };
        let may_pass = !matches!(
            error,
            Error::TlsFailed(_)
                | Error::BadAnswer(_)
                | Error::PrivateAddress
                | Error::CredentialFailed(_)
        );
        Some(Self {
            kind,
            may_pass,
            asked: None,
        })
    }

    /// What a status means; `None`: an answer. `own`: the client named this target itself, so that
    /// a refused credential or an unknown model are its to see.
    pub(crate) fn of_status(
        status: StatusCode,
        provider: &RetrySemantics,
        own: bool,
    ) -> Option<Self> {
        let may_pass = provider.on.contains(&status.as_u16());
        let kind = match status.as_u16() {
            401 | 403 | 404 if !own && !may_pass => Kind::Misconfigured(status),
            408 | 429 | 500.. => Kind::Status(status),
            _ if may_pass => Kind::Status(status),
            _ => return None,
        };
        Some(Self {
            kind,
            may_pass,
            asked: None,
        })
    }

    /// What the status of a leg means, behind which there is another one: every error is a failure.
    pub(crate) fn of_leg(status: StatusCode, asked: Option<Asked>) -> Self {
        Self {
            kind: Kind::Status(status),
            may_pass: false,
            asked,
        }
    }

    /// Whether the next target of a chain with these conditions is asked.
    fn falls_back(&self, on: FallbackOn) -> bool {
        match self.kind {
            Kind::Connect => on.connect,
            Kind::Timeout => on.timeout,
            Kind::Misconfigured(_) => true,
            Kind::Status(status) => match status.as_u16() {
                408 => on.timeout,
                429 => on.rate_limit,
                // Further statuses that the provider's own list calls failures.
                _ => on.server_error,
            },
        }
    }

    /// How much use it is to the client; it came at `now` from the target of this step.
    pub(crate) fn rank(&self, step: usize, now: Instant) -> Rank {
        let order = match self.kind {
            Kind::Status(StatusCode::TOO_MANY_REQUESTS) => 0,
            // What is wrong with the request may be right elsewhere.
            Kind::Status(status) if status.is_client_error() && status != 408 => 3,
            Kind::Status(_) => 1,
            Kind::Connect | Kind::Timeout => 2,
            Kind::Misconfigured(_) => 3,
        };
        let opens = self.asked.and_then(|asked| now.checked_add(asked.wait));
        Rank { order, step, opens }
    }
}

/// How much use a failure is to the client when nothing better can be had: a rate limit most, of
/// several the one that ends soonest; then any other answer of a provider, then that there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Less is better.
    order: u8,
    step: usize,
    /// When the provider wants to be asked again, if it said so.
    opens: Option<Instant>,
}

impl Rank {
    /// Whether it is better than a failure that came later. Of equals the later one is fresher, and
    /// a target's last word on its own limit holds.
    pub(crate) fn is_better(&self, later: &Self) -> bool {
        if (self.order, self.step) == (later.order, later.step) {
            return false;
        }
        let key = |rank: &Self| (rank.order, rank.opens.is_none(), rank.opens);
        key(self) < key(later)
    }
}

/// What a decision depends on beside the failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) policy: RetryPolicy,
    /// Sends to this target so far, the failed one included.
    pub(crate) tried: u8,
    /// Whether the request can be sent again.
    pub(crate) replayable: bool,
    /// What is left until the request's deadline.
    pub(crate) left: Option<Duration>,
    /// The conditions of the next target; `None`: there is none.
    pub(crate) fallback: Option<FallbackOn>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same target is asked again.
    Retry {
        /// How long after.
        wait: Duration,
        /// Whose wait it is, as the record shall say it.
        reason: &'static str,
    },
    /// The next target is asked at once.
    Fallback,
    /// Nothing is left; the most useful failure is the answer.
    Stop,
}

/// Whether the target that has just failed may be asked again, as far as others have a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Given,
    /// An equal of it can be asked at once instead.
    Equal,
    /// Why not, in words that follow "was not asked again:".
    Refused(&'static str),
}

/// What follows `failure` if `leave`, which is asked only where it matters, is given to ask the same
/// target again; and why it was refused.
pub(crate) fn follow(
    failure: &Failure,
    mut now: Situation,
    jitter: f64,
    leave: impl FnOnce() -> Leave,
) -> (Next, Option<&'static str>) {
    let wanted = next(failure, &now, jitter);
    if !matches!(wanted, Next::Retry { .. }) {
        return (wanted, None);
    }
    let why = match leave() {
        Leave::Given => return (wanted, None),
        Leave::Equal => None,
        Leave::Refused(why) => Some(why),
    };
    now.policy.max_attempts = now.tried;
    (next(failure, &now, jitter), why)
}

/// The reason of a wait that the policy asks for.
const BACKOFF: &str = "backoff";

/// Decides what follows `failure`. `jitter` is a random number from 0 up to 1: nobody waits less
/// than was asked, and who was refused together does not come back together.
pub(crate) fn next(failure: &Failure, now: &Situation, jitter: f64) -> Next {
    if !now.replayable {
        return Next::Stop;
    }
    let may_retry = failure.may_pass && now.tried < now.policy.max_attempts;
    if may_retry {
        let (wait, reason) = wait_before(failure, now, jitter);
        let is_bearable =
            wait <= MAX_RETRY_WAIT.mul_f64(1.0 + SPREAD) && now.left.is_none_or(|left| wait < left);
        if is_bearable {
            return Next::Retry { wait, reason };
        }
    }
    match now.fallback {
        Some(on) if failure.falls_back(on) => Next::Fallback,
        Some(_) | None => Next::Stop,
    }
}

/// How far beyond what was asked the wait goes, at most, where the shape does not say otherwise.
const SPREAD: f64 = 0.125;

/// The longer one of what the policy says and what the provider asks for.
fn wait_before(failure: &Failure, now: &Situation, jitter: f64) -> (Duration, &'static str) {
    let own = backoff(&now.policy, now.tried, jitter);
    match failure.asked {
        Some(asked) if asked.wait > MAX_RETRY_WAIT => (Duration::MAX, asked.by),
        Some(asked) if asked.wait > own => (asked.wait.mul_f64(1.0 + SPREAD * jitter), asked.by),
        Some(_) | None => (own, BACKOFF),
    }
}

/// The wait before the `n`-th retry, from 1: the shape's, and up to an eighth more; exponential
/// ones up to twice as much. The shape's never passes [`MAX_RETRY_WAIT`].
fn backoff(policy: &RetryPolicy, n: u8, jitter: f64) -> Duration {
    let n = u32::from(n.max(1));
    let (factor, spread) = match policy.backoff {
        Backoff::Constant => (1, SPREAD),
        Backoff::Linear => (n, SPREAD),
        Backoff::Exponential => (1 << (n - 1).min(16), 1.0),
    };
    let base = policy.delay.saturating_mul(factor).min(MAX_RETRY_WAIT);
    (base + base.mul_f64(spread * jitter)).min(MAX_RETRY_WAIT.max(base))
}

#[cfg(test)]
mod tests;
