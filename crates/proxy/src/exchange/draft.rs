//! What is known of an exchange, before it is a record.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, Version};
use isango_types::policy::Durability;
use isango_types::record::{Attempt, Outcome, RecordError, Timing};
use isango_types::{Operation, PriceTable, RecordId, Snapshot, Timestamp};
use tokio::time::Instant;

use super::micros;
use crate::auth::Caller;
use crate::cache::Caching;
use crate::call::SharedCapture;
use crate::capture::Capture;
use crate::health::Busy;
use crate::hold::Receipt;
use crate::limit::{Permit, Pledge};
use crate::options::Options;
use crate::resolve::{self, Route};
use crate::secrets::Secrets;

/// Attempts that one record tells.
const MAX_ATTEMPTS: usize = 32;

/// A bound that an answer under way was cut at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The provider was silent for so long.
    Idle(Duration),
    /// The request had taken so long in all.
    Total(Duration),
}

/// Whether an answer is to be made after the exchange has ended (Responses).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Background {
    pub(crate) is_asked: bool,
    /// The request says how long it may be.
    pub(crate) is_bounded: bool,
}

/// All that is known of an exchange, in the shape it was learned; [`crate::settle`] makes a record
/// of it, off the request's path.
pub(crate) struct Draft {
    pub(crate) id: RecordId,
    pub(crate) created_at: Timestamp,
    pub(crate) started: Instant,
    pub(crate) config: Arc<Snapshot>,
    /// `None`: the head could not be read.
    pub(crate) method: Option<Method>,
    /// Path and query, as they came.
    pub(crate) path: Box<str>,
    /// `None`: the head could not be read.
    pub(crate) version: Option<Version>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) request_type: Option<HeaderValue>,
    pub(crate) request_encoding: Option<HeaderValue>,
    pub(crate) options: Options,
    pub(crate) caller: Caller,
    /// It is one of many that nobody let in, and leaves no record.
    pub(crate) is_thinned: bool,
    /// What must not be seen in the record.
    pub(crate) secrets: Secrets,
    pub(crate) route: Option<Arc<Route>>,
    /// Where in `path` the account and the provider's own path stand, once it is routed.
    pub(crate) place: Option<resolve::Spans>,
    pub(crate) operation: Operation,
    pub(crate) model: Option<Box<str>>,
    /// Its body names other models, too, of which its provider may choose.
    pub(crate) names_others: bool,
    /// Whether its answer is to be made in the background.
    pub(crate) background: Background,
    /// The request's body was seen to be a JSON object.
    pub(crate) is_json: bool,
    /// `None` until it is known where the request goes.
    pub(crate) request: Option<SharedCapture>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) response_type: Option<HeaderValue>,
    pub(crate) response_encoding: Option<HeaderValue>,
    pub(crate) provider_id: Option<HeaderValue>,
    pub(crate) response: Capture,
    pub(crate) attempts: Vec<Attempt>,
    /// How long each send took that the request's own timeout ended before the operator's would
    /// have, in microseconds.
    pub(crate) given_up_us: Vec<u64>,
    /// Sends to providers, also those that the list is too short for.
    pub(crate) sends: u32,
    /// Which target of the plan, or which leg, is asked.
    pub(crate) step: u16,
    /// How long was waited since the last attempt, and why.
    pub(crate) wait: Option<(Duration, &'static str)>,
    /// Bound that the answer was cut at.
    pub(crate) cut: Option<Cut>,
    /// What the cache did; `None`: it was not asked for.
    pub(crate) cache: Option<Box<Caching>>,
    /// When the attempt under way began, in microseconds since the request.
    pub(crate) asking: Option<u64>,
    /// Whether the answer is to be streamed, as far as is known.
    pub(crate) streams: bool,
    /// A hash of the credential that the request brought itself to its target; 0: it did not.
    pub(crate) credential: u64,
    /// The target that answers is busy with it.
    pub(crate) busy: Option<Busy>,
    /// The second send under way beside it: when it began, its step and its target.
    pub(crate) hedging: Option<(u64, u16, Box<str>)>,
    pub(crate) timing: Timing,
    pub(crate) outcome: Option<Outcome>,
    /// Its client has left, and it stays until the answer that others read on has ended.
    pub(crate) outlives_its_client: bool,
    pub(crate) error: Option<RecordError>,
    /// What it holds of its gateway's limits; `None`: no limit is for it.
    pub(crate) permit: Option<Box<Permit>>,
    /// What is noted of that, which stands until the record is stored.
    pub(crate) pledge: Option<Pledge>,
    /// Who waits for the record to be on disk.
    pub(crate) receipt: Option<Receipt>,
}

impl Draft {
    /// What tokens cost in the account of the request.
    pub(crate) fn prices(&self) -> &PriceTable {
        self.config.prices_of(resolve::place(&self.path).account)
    }

    /// When the exchange ended, as far as its client is concerned.
    pub(crate) fn ended(&self) -> Instant {
        self.started + Duration::from_micros(self.timing.total_us)
    }

    /// Adds an attempt, with the step and the wait before it.
    pub(super) fn tell(&mut self, mut attempt: Attempt) {
        self.sends += 1;
        attempt.step = self.step;
        if let Some((wait, reason)) = self.wait.take() {
            attempt.wait_us = micros(wait);
            attempt.wait_reason = Some(reason.into());
        }
        if self.attempts.len() < MAX_ATTEMPTS {
            self.attempts.push(attempt);
        }
    }

    pub(super) fn commits(&mut self) {
        if let (Some(permit), Some(route)) = (&mut self.permit, &self.route) {
            permit.commit(self.id, &route.gateway);
        }
    }

    /// Whether no provider ever gave the answer.
    pub(crate) fn is_own_answer(&self) -> bool {
        let is_kept = self.cache.as_ref().is_some_and(|c| c.status().is_kept());
        self.error.is_some() || self.attempts.is_empty() && !is_kept
    }

    /// What `cf-aig-cache-status` says.
    pub(crate) fn cache_status(&self) -> &'static str {
        let known = self.cache.as_ref().map(|cache| cache.status());
        known.unwrap_or_default().as_header()
    }

    /// Every credential that the exchange knows.
    pub(crate) fn known_secrets(&self) -> Secrets {
        let carried = self.secrets.clone();
        carried.and_known(&self.path, self.route.as_deref())
    }

    /// Whether the last byte of the answer waits for the record.
    pub(crate) fn is_strict(&self) -> bool {
        let of_gateway = self.route.as_ref().map(|route| route.gateway.durability);
        of_gateway == Some(Durability::Strict) && self.is_collected()
    }

    /// Whether the exchange leaves a record that can be read.
    pub(crate) fn is_collected(&self) -> bool {
        let of_gateway = self
            .route
            .as_ref()
            .is_none_or(|route| route.gateway.collect_logs);
        !self.is_thinned && self.options.collect_log.unwrap_or(of_gateway)
    }
}
