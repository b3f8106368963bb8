//! Makes the record of a draft: reads the answer, counts, prices, decodes bodies. Runs on the
//! sink's thread, after the last byte.

mod bodies;
mod error;
mod presumed;
mod spent;

use std::collections::BTreeMap;

use http::{HeaderValue, Method, Version};
use isango_types::record::{MetadataValue, Outcome, Record, Timing};
use isango_types::{Cost, Operation};
use isango_wire::body::{Kept, read_body};
use isango_wire::read::{self, Answer, Reading};

use self::bodies::{Sent, keeps_payload, model_of_form, request, response};
use self::error::error;
use self::spent::{attempts, cost, settle_limits, usage};
use crate::exchange::Draft;
use crate::metadata;
use crate::readings::{Given, Readings};
use crate::resolve;
use crate::secrets::without_secret_keys;

const MAX_NOTES: usize = 16;

/// Makes the record. Bodies are left out where the gateway or the request says so.
pub(crate) fn settle(draft: &mut Draft, readings: &mut Readings) -> Record {
    let asked = Sent::of(
        draft
            .request
            .as_ref()
            .map(|capture| capture.lock())
            .as_deref_mut(),
    );
    if draft.model.is_none() {
        draft.model = model_of_form(draft, &asked);
    }
    let reading = read_answer(draft, readings);
    assemble(draft, asked, reading)
}

/// The record of a draft whose bodies cannot be read: everything else.
pub(crate) fn settle_without_bodies(draft: &mut Draft) -> Record {
    draft
        .options
        .notes
        .push("the bodies could not be read: an error of the gateway".into());
    assemble(draft, Sent::default(), Reading::default())
}

fn assemble(draft: &mut Draft, asked: Sent, reading: Reading) -> Record {
    let mut notes: Vec<Box<str>> = std::mem::take(&mut draft.options.notes);
    notes.extend(reading.notes.iter().map(|note| note.as_str().into()));
    let mut usage = usage(draft, &asked, &reading);
    let mut cost = cost(draft, &reading, usage.as_ref(), &mut notes);
    let mut cache = draft
        .cache
        .as_ref()
        .map(|cache| Box::new(cache.to_record(draft.id, draft.timing.total_us)));
    if let Some(saved) = cache.as_mut().and_then(|cache| cache.saved.as_mut()) {
        // Nobody was paid again: what would have been is what was saved.
        saved.usage = usage.take();
        saved.nanousd = std::mem::replace(&mut cost, Cost::free()).nanousd;
    }
    let was_recalled = cache.as_ref().is_some_and(|cache| cache.saved.is_some());
    let paid = (!was_recalled).then_some((usage.as_ref(), &cost));
    let limits = settle_limits(draft, &asked, &reading, paid);
    let metadata = labels(draft, &mut notes);
    let payload = keeps_payload(draft);
    let request = request(draft, asked, payload, &mut notes);
    notes.truncate(MAX_NOTES);
    let route = draft.route.as_ref();
    let place = match draft.place {
        Some(spans) => spans.of(&draft.path),
        None => resolve::place(&draft.path),
    };
    let mut record = Record {
        id: draft.id,
        event_id: match draft.options.event_id.as_ref().and_then(text) {
            Some(event_id) => event_id.into(),
            None => draft.id.encode(&mut [0; 36]).into(),
        },
        created_at: draft.created_at,
        account: place.account.into(),
        gateway: route.map_or_else(|| place.gateway.into(), |route| route.gateway.id.clone()),
        config_revision: draft.config.revision,
        provider: provider(draft, &place),
        target: route.and_then(|route| Some(route.target.as_ref()?.name.clone())),
        resource: route.and_then(|route| route.resource.clone()),
        deployment: route.and_then(|route| route.deployment.clone()),
        operation: draft.operation,
        model_requested: draft.model.clone(),
        model: served_model(draft, &reading),
        method: draft.method.as_ref().map_or("", Method::as_str).into(),
        path: without_secret_keys(match place.rest {
            "" => draft.path.split('?').next().unwrap_or(""),
            rest => rest,
        }),
        http_version: draft.version.map_or("", version).into(),
        status: draft.status.map(|status| status.as_u16()),
        outcome: draft.outcome.unwrap_or(Outcome::ClientLeft),
        error: error(draft, &reading),
        attempts: attempts(draft, &cost),
        timing: timing(draft, &reading),
        stream: reading.is_stream,
        usage,
        cost,
        cache,
        limits,
        finish_reason: reading.finish_reason.clone(),
        provider_id: provider_id(draft, &reading),
        metadata,
        token: draft.caller.token.as_ref().map(|token| token.name.clone()),
        user_agent: draft.user_agent.as_ref().and_then(text).map(Into::into),
        notes,
        trace: draft
            .options
            .trace
            .take()
            .and_then(|asked| asked.to_trace()),
        review: None,
        request,
        response: response(draft, reading, payload),
    };
    let secrets = std::mem::take(&mut draft.secrets);
    draft.secrets = secrets.and_known(&draft.path, draft.route.as_deref());
    draft.secrets.leave(&mut record);
    let gateway = draft.route.as_ref().map(|route| &route.gateway);
    if let Some(redaction) = gateway.and_then(|gateway| gateway.redaction.as_ref()) {
        redaction.redact(&mut record);
    }
    record
}

fn provider(draft: &Draft, place: &resolve::Place<'_>) -> Option<Box<str>> {
    match &draft.route {
        Some(route) => Some(route.provider.slug.clone()),
        None => Some(place.provider)
            .filter(|slug| is_slug(slug))
            .map(Into::into),
    }
}

fn provider_id(draft: &Draft, reading: &Reading) -> Option<Box<str>> {
    let of_headers = || draft.provider_id.as_ref().and_then(text).map(Into::into);
    reading.id.clone().or_else(of_headers)
}

fn timing(draft: &Draft, reading: &Reading) -> Timing {
    let first_token = reading.first_token_chunk.filter(|_| reading.is_stream);
    let passed = first_token.and_then(|at| draft.response.times_us().get(at).copied());
    Timing {
        ttft_us: passed.map(u64::from),
        ..draft.timing
    }
}

fn is_slug(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

fn read_answer(draft: &mut Draft, readings: &mut Readings) -> Reading {
    let route = draft.route.as_ref();
    let given = route.and_then(|route| Given::to(draft, route));
    if let Some(known) = given.as_ref().and_then(|given| readings.get(given)) {
        return known;
    }
    let chunks = draft.response.take_chunks();
    let own = draft.is_own_answer();
    let Some(route) = draft.route.as_ref().filter(|_| !own) else {
        // An answer of our own says nothing about tokens.
        let body = (!chunks.is_empty()).then(|| read_body(&chunks, None, Kept::Whole).0);
        return Reading {
            body,
            ..Reading::default()
        };
    };
    let mut reading = read::read(&Answer {
        wire: route.wire,
        operation: draft.operation,
        status: draft.status.map_or(0, |status| status.as_u16()),
        content_type: draft.response_type.as_ref().and_then(text),
        content_encoding: draft.response_encoding.as_ref().and_then(text),
        chunks: &chunks,
        tail: draft.response.tail(),
        complete: draft.outcome == Some(Outcome::Answered),
        keep_raw: route.gateway.record_raw_streams,
    });
    if draft.operation == Operation::Other && was_paid_before(draft, &reading) {
        reading.usage = None;
        reading.delivered_text.clear();
    }
    if let Some(given) = given {
        readings.keep(given, &reading);
    }
    reading
}

/// Whether an answer of a kind that is not known tells of one that was made before, and was paid for
/// then: it is fetched, or the request names it in its path, to change or to cancel it.
fn was_paid_before(draft: &Draft, reading: &Reading) -> bool {
    let makes = |method: &Method| matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if !draft.method.as_ref().is_some_and(makes) || reading.usage.is_some_and(|one| one.is_empty())
    {
        return true;
    }
    let path = draft.path.split('?').next().unwrap_or("");
    let is_named = |id: &str| path.split('/').any(|segment| segment == id);
    !reading.is_stream && reading.id.as_deref().is_some_and(is_named)
}

/// The model that served: as the answer says, else by the deployment map, else as asked.
fn served_model(draft: &Draft, reading: &Reading) -> Option<Box<str>> {
    let mapped = || {
        let route = draft.route.as_ref()?;
        let rewritten = route.model.as_deref();
        let named = route.deployment.as_deref().or(rewritten);
        let target = route.target.as_ref()?;
        let model = target.model_of(named.or(draft.model.as_deref())?);
        model.or(rewritten).map(Into::into)
    };
    reading
        .model
        .clone()
        .or_else(mapped)
        .or_else(|| draft.model.clone())
}

fn labels(draft: &Draft, notes: &mut Vec<Box<str>>) -> BTreeMap<Box<str>, MetadataValue> {
    let mut labels = match draft.options.metadata.as_ref().map(metadata::read) {
        None => BTreeMap::new(),
        Some(Ok(read)) => {
            notes.extend(read.notes);
            read.entries
        }
        Some(Err(wrong)) => {
            notes.push(format!("cf-aig-metadata was ignored: {wrong}").into());
            BTreeMap::new()
        }
    };
    if let Some(token) = &draft.caller.token {
        // What the token is bound to wins over what the client claims.
        labels.extend(token.metadata.clone());
    }
    labels
}
