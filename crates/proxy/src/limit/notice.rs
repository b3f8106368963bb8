//! What clients are told of limits.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use isango_types::limit::{Dialect, Unit};

use super::{Permit, Refusal, seconds};
use crate::error::Error;

/// What a client is told to wait for when only requests under way stand in its way.
const BUSY_RETRY_S: u64 = 1;

const SOURCE: HeaderName = HeaderName::from_static("cf-aig-source");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What the client of a refused request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    message: Box<str>,
    retry_after_s: u64,
    limit: Box<str>,
    remaining: Box<str>,
}

impl Notice {
    /// Of a credential that was used as often as it may be.
    pub(crate) fn new(message: &str, retry_after_s: u32, limit: u32) -> Self {
        Self {
            message: message.into(),
            retry_after_s: retry_after_s.into(),
            limit: limit.to_string().into(),
            remaining: "0".into(),
        }
    }

    #[cfg(test)]
    pub(crate) fn sample(message: &str) -> Self {
        Self {
            message: message.into(),
            retry_after_s: 7,
            limit: "10".into(),
            remaining: "0".into(),
        }
    }

    /// Puts it into the headers of the refusal.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(SOURCE, HeaderValue::from_static("rate-limit"));
        let seconds = HeaderValue::from(self.retry_after_s);
        headers.insert(RETRY_AFTER, seconds.clone());
        headers.insert(RESET, seconds);
        put(headers, LIMIT, &self.limit);
        put(headers, REMAINING, &self.remaining);
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Why a request is refused. `provider`: where it was to go, for `model`, if that is known.
pub(super) fn error(refusal: &Refusal, provider: &str, model: Option<&str>) -> Error {
    let limit = &refusal.limit;
    let rule = format!("rule '{}' ({})", limit.id, limit.describe());
    let of_cost = limit.unit == Unit::Cost;
    let mut message = match (limit.dialect, of_cost) {
        (Dialect::RateLimit, _) => "Rate limited".to_owned(),
        (Dialect::Limit | Dialect::SpendLimit, true) => {
            let model = model.map(|model| format!(" {model}")).unwrap_or_default();
            format!("Spend limit exceeded: {rule} for {provider}{model}")
        }
        (Dialect::Limit | Dialect::SpendLimit, false) => format!("Rate limited: {rule}"),
    };
    if refusal.busy {
        message.push_str("; requests under way hold what is left");
    } else if limit.dialect == Dialect::Limit && refusal.remaining > 0 {
        let (need, left) = (refusal.decision.reserved, refusal.remaining);
        let unit = limit.unit;
        let (need, left) = (unit.amount(need), unit.amount(left));
        message.push_str(&format!(
            "; this request may need {need}, and {left} is left"
        ));
    }
    let notice = Notice {
        message: message.into(),
        retry_after_s: match refusal.busy {
            true => BUSY_RETRY_S,
            false => seconds(refusal.now, refusal.opens_at).max(1),
        },
        limit: limit.unit.amount(limit.limit).into(),
        remaining: limit.unit.amount(refusal.remaining).into(),
    };
    match of_cost {
        true => Error::SpendLimited(Box::new(notice)),
        false => Error::RateLimited(Box::new(notice)),
    }
}

/// Tells the client of an admitted request how much is left of the tightest limit, where the
/// provider does not say anything of its own under these names.
pub(crate) fn tell(headers: &mut HeaderMap, permit: &Permit) {
    let Some(room) = &permit.headroom else {
        return;
    };
    if [LIMIT, REMAINING, RESET]
        .iter()
        .any(|name| headers.contains_key(name))
    {
        return;
    }
    let unit = room.limit.unit;
    put(headers, LIMIT, &unit.amount(room.limit.limit));
    put(headers, REMAINING, &unit.amount(room.remaining));
    headers.insert(RESET, HeaderValue::from(room.resets_in_s));
}
