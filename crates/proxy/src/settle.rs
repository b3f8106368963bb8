//! Makes the record of a draft: reads the answer, counts, prices, decodes bodies. Runs on the
//! sink's thread, after the last byte.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Version};
use isango_types::limit::Decision;
use isango_types::price::{CostStatus, CustomCost, format_usd};
use isango_types::record::{
    Attempt, Blame, Body, Message, MetadataValue, Omitted, Outcome, Record, RecordError, Timing,
};
use isango_types::{Cost, Operation, Usage, Wire};
use isango_wire::body::{Kept, read_body};
use isango_wire::read::{Answer, Decoded, Reading};
use isango_wire::{form, read, tokens};

use crate::capture::Capture;
use crate::exchange::{Cut, Draft};
use crate::limit::Spent;
use crate::metadata;
use crate::readings::{Given, Readings};
use crate::resolve::{self, Route};
use crate::secrets::without_secret_keys;

const MAX_NOTES: usize = 16;
static FREE: Cost = Cost::free();
const MULTIPART: &str = "multipart/form-data";

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
    let limits = settle_limits(draft, &reading, paid);
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
        review: None,
        request,
        response: response(draft, reading, payload),
    };
    let secrets = std::mem::take(&mut draft.secrets);
    draft.secrets = secrets.and_known(&draft.path, draft.route.as_deref());
    draft.secrets.leave(&mut record);
    record
}

/// The attempts; of several, each with what it cost: the one whose answer was relayed as much as the
/// exchange, a refusal or what was never sent nothing, and all else nobody knows.
fn attempts(draft: &mut Draft, cost: &Cost) -> Vec<Attempt> {
    let mut attempts = std::mem::take(&mut draft.attempts);
    if attempts.len() < 2 {
        return attempts;
    }
    let relayed = draft.status.filter(|_| is_success(draft));
    let mut relayed = relayed.map(|status| (draft.step, Some(status.as_u16())));
    for attempt in attempts.iter_mut().rev() {
        let is_unknown = draft.operation.is_billed() && may_have_worked(attempt);
        attempt.cost = Some(if relayed == Some((attempt.step, attempt.status)) {
            relayed = None;
            cost.clone()
        } else if is_unknown {
            Cost::default()
        } else {
            Cost::free()
        });
    }
    attempts
}

/// Settles what the exchange held of its gateway's limits; `docs/limits.md` has the table. `paid`:
/// usage and cost, if the answer was not one that was paid for before.
fn settle_limits(
    draft: &mut Draft,
    reading: &Reading,
    paid: Option<(Option<&Usage>, &Cost)>,
) -> Vec<Decision> {
    let Some(mut permit) = draft.permit.take() else {
        return Vec::new();
    };
    let was_sent = !draft.attempts.is_empty();
    let succeeded = is_success(draft);
    // Nobody saw an answer begin: the provider may have worked on it all the same.
    let unseen = was_sent && draft.status.is_none();
    let (usage, cost) = paid.unwrap_or((None, &FREE));
    let told = usage.filter(|usage| usage.total() <= Usage::MAX_TOKENS);
    let (tokens, nanousd) = match (was_sent, succeeded, told) {
        _ if paid.is_none() => (Some(0), Some(0)),
        (true, true, Some(usage)) => (Some(usage.total()), drawn_cost(draft, reading, usage, cost)),
        (true, true, None) if draft.operation.is_billed() => (None, cost.nanousd),
        (true, _, _) if unseen => (None, None),
        (_, _, _) => (Some(0), Some(0)),
    };
    let spent = Spent {
        requests: u64::from(was_sent || succeeded),
        tokens,
        nanousd,
        answered: was_sent && succeeded,
        told: told.filter(|_| succeeded).and_then(|usage| {
            let (input, output) = (usage.total_input(), usage.total_output());
            let is = |outcome| draft.outcome == Some(outcome);
            // What was ended would have gone on.
            let longer = is(Outcome::Overrun).then(|| output.saturating_mul(2));
            let known = longer.or(is(Outcome::Answered).then_some(output));
            known.map(|output| (input, output))
        }),
        served: reading.model.as_deref(),
    };
    if let Some(route) = &draft.route {
        permit.note_spent(draft.id, &route.gateway, &spent);
    }
    draft.pledge = permit.take_pledge();
    permit.settle(&spent)
}

/// What an exchange draws from limits of cost. A client that sets the cost of its own request sets
/// it no lower there than the list does.
fn drawn_cost(draft: &Draft, reading: &Reading, usage: &Usage, cost: &Cost) -> Option<u64> {
    let listed = match (cost.status, &draft.route) {
        (CostStatus::Custom, Some(route)) => listed_cost(draft, route, reading, usage).nanousd,
        (_, _) => None,
    };
    Some(cost.nanousd.unwrap_or(0).max(listed.unwrap_or(0)))
}

/// Whether the record holds bodies.
fn keeps_payload(draft: &Draft) -> bool {
    let of_gateway = draft
        .route
        .as_ref()
        .is_none_or(|route| route.gateway.collect_log_payload);
    draft.options.collect_log_payload.unwrap_or(of_gateway)
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

/// The request's body, as it was kept.
#[derive(Default)]
struct Sent {
    chunks: Vec<Bytes>,
    total: u64,
    omitted: Option<Omitted>,
}

impl Sent {
    fn of(capture: Option<&mut Capture>) -> Self {
        capture.map_or_else(Self::default, |capture| Self {
            chunks: capture.take_chunks(),
            total: capture.total(),
            omitted: capture.omitted(),
        })
    }
}

/// The model that an upload names; nothing else of it is read.
fn model_of_form(draft: &Draft, asked: &Sent) -> Option<Box<str>> {
    let content_type = draft.request_type.as_ref().and_then(text)?;
    let kind = content_type.get(..MULTIPART.len())?;
    if !kind.eq_ignore_ascii_case(MULTIPART) {
        return None;
    }
    form::field(&asked.chunks.concat(), "model").map(Into::into)
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
    let reading = read::read(&Answer {
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
    if let Some(given) = given {
        readings.keep(given, &reading);
    }
    reading
}

fn is_success(draft: &Draft) -> bool {
    draft.status.is_some_and(|status| status.is_success()) && draft.error.is_none()
}

/// What the provider told, else what we count of what was delivered.
fn usage(draft: &Draft, asked: &Sent, reading: &Reading) -> Option<Usage> {
    let writes_text = matches!(
        draft.operation,
        Operation::Chat
            | Operation::TextCompletion
            | Operation::Responses
            | Operation::GenerateContent
    );
    // Speech is billed by what was asked; of an answer that broke off before its first word, the
    // question is billed.
    let is_counted = !reading.delivered_text.is_empty()
        || draft.operation == Operation::Speech
        || writes_text && draft.outcome != Some(Outcome::Answered);
    let countable = is_success(draft)
        && is_counted
        && draft
            .route
            .as_ref()
            .is_some_and(|route| route.wire != Wire::Opaque);
    match reading.usage {
        Some(usage) => Some(usage),
        None if countable => {
            let body = asked.chunks.concat();
            let model = reading
                .model
                .as_deref()
                .or(draft.model.as_deref())
                .unwrap_or("");
            let counted = tokens::estimate(&body, &reading.delivered_text, model);
            // Of speech, only what is billed by the characters that were asked for can be told.
            let is_told = draft.operation != Operation::Speech || counted.characters > 0;
            is_told.then_some(counted)
        }
        None => None,
    }
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

fn cost(
    draft: &Draft,
    reading: &Reading,
    usage: Option<&Usage>,
    notes: &mut Vec<Box<str>>,
) -> Cost {
    let Some(route) = &draft.route else {
        return Cost::free();
    };
    if draft.is_own_answer() || !is_success(draft) {
        let is_unknown = draft.operation.is_billed() && draft.attempts.iter().any(may_have_worked);
        return match is_unknown {
            true => Cost::default(),
            // An error of the provider that still tells a usage is not billed as output.
            false => Cost::free(),
        };
    }
    let told = usage.filter(|usage| usage.total() <= Usage::MAX_TOKENS);
    let is_absurd = told.is_none() && usage.is_some();
    if let (true, Some(usage)) = (is_absurd, usage) {
        let note = format!(
            "the provider told {} tokens, which cannot be",
            usage.total()
        );
        notes.push(note.into());
    }
    match custom_cost(draft, route.wire, told) {
        Some(Ok(cost)) if is_absurd && cost.nanousd.is_none() => return unpriced(),
        Some(Ok(cost)) => return cost,
        Some(Err(wrong)) => {
            notes.push(format!("cf-aig-custom-cost was ignored: {wrong}").into());
        }
        None => {}
    }
    let Some(usage) = told else {
        return match (is_absurd, draft.operation.is_billed()) {
            (true, _) => unpriced(),
            (false, true) => Cost::default(),
            (false, false) => Cost::free(),
        };
    };
    let cost = listed_cost(draft, route, reading, usage);
    if let Some(nanousd) = cost.nanousd.filter(|cost| *cost > Cost::MAX_NANOUSD) {
        let usd = format_usd(nanousd);
        notes.push(format!("the usage would cost {usd} USD, which cannot be").into());
        return unpriced();
    }
    cost
}

/// Whether the provider may have worked on a send whose answer nobody has seen: all but those that
/// came to no connection.
fn may_have_worked(attempt: &Attempt) -> bool {
    const UNSENT: [&str; 5] = [
        "connect_failed",
        "connect_timeout",
        "tls_failed",
        "private_address",
        "credential_failed",
    ];
    attempt.status.is_none()
        && !attempt
            .error
            .as_deref()
            .is_some_and(|word| UNSENT.contains(&word))
}

const fn unpriced() -> Cost {
    Cost {
        status: CostStatus::Unpriced,
        nanousd: None,
        price: None,
    }
}

/// The cost by the price list, of the model that the answer names or else of that which was asked
/// for.
fn listed_cost(draft: &Draft, route: &Route, reading: &Reading, usage: &Usage) -> Cost {
    let prices = &draft.config.prices;
    let slug = &route.provider.slug;
    let mut cost = unpriced();
    let mapped = served_model(draft, &Reading::default());
    for model in [reading.model.as_deref(), mapped.as_deref()]
        .into_iter()
        .flatten()
    {
        cost = prices.cost(slug, model, usage, draft.created_at);
        if cost.nanousd.is_some() {
            break;
        }
    }
    cost
}

/// The cost that the client set; `None`: it set none. The error tells why it does not hold.
fn custom_cost(draft: &Draft, wire: Wire, usage: Option<&Usage>) -> Option<Result<Cost, String>> {
    let value = draft.options.custom_cost.as_ref()?;
    let parsed = value
        .to_str()
        .map_err(|_not_ascii| "it must be a JSON object".to_owned())
        .and_then(|text| CustomCost::parse(text).map_err(|error| error.to_string()));
    Some(parsed.and_then(|custom| {
        let cost = match wire {
            // Their own input count has no cache tokens in it.
            Wire::Anthropic | Wire::Bedrock => custom.cost_with_separate_cache(usage),
            Wire::Openai | Wire::Gemini | Wire::Cohere | Wire::Opaque => custom.cost(usage),
        };
        match cost.nanousd {
            Some(nanousd) if nanousd > Cost::MAX_NANOUSD => Err(format!(
                "it comes to more than {} USD",
                format_usd(Cost::MAX_NANOUSD)
            )),
            Some(_) | None => Ok(cost),
        }
    }))
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

fn error(draft: &Draft, reading: &Reading) -> Option<RecordError> {
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

fn request(draft: &Draft, asked: Sent, payload: bool, notes: &mut Vec<Box<str>>) -> Message {
    let Sent {
        chunks,
        total,
        mut omitted,
    } = asked;
    let encoding = draft.request_encoding.as_ref().and_then(text);
    let body = match (total, payload) {
        (0, _) => None,
        (_, false) => {
            omitted = Some(Omitted::PayloadOff);
            None
        }
        (_, true) => {
            let kept = match omitted {
                Some(_) => Kept::Part,
                None if draft.is_json && encoding.is_none() => Kept::Json,
                None => Kept::Whole,
            };
            let (body, trouble) = read_body(&chunks, encoding, kept);
            notes.extend(trouble.map(|trouble| format!("request {trouble}").into()));
            Some(to_body(bounded(body, max_body_bytes(draft), &mut omitted)))
        }
    };
    Message {
        content_type: draft.request_type.as_ref().and_then(text).map(Into::into),
        content_encoding: encoding.map(Into::into),
        bytes: total,
        body,
        omitted,
        ..Message::default()
    }
}

fn response(draft: &Draft, reading: Reading, payload: bool) -> Message {
    let bytes = draft.response.total();
    let mut omitted = draft.response.omitted();
    let (mut body, mut raw) = (None, None);
    if bytes > 0 && payload {
        let limit = max_body_bytes(draft);
        body = reading
            .body
            .map(|body| to_body(bounded(body, limit, &mut omitted)));
        raw = reading.raw.map(|frames| {
            let frames = String::from_utf8(frames).map_or_else(
                |not_text| Decoded::Bytes(not_text.into_bytes()),
                Decoded::Text,
            );
            to_body(bounded(frames, limit, &mut omitted))
        });
    } else if bytes > 0 {
        omitted = Some(Omitted::PayloadOff);
    }
    Message {
        content_type: draft.response_type.as_ref().and_then(text).map(Into::into),
        content_encoding: draft
            .response_encoding
            .as_ref()
            .and_then(text)
            .map(Into::into),
        bytes,
        body,
        omitted,
        raw,
        chunk_times_us: match reading.is_stream {
            true => draft.response.times_us().to_vec(),
            false => Vec::new(),
        },
        events: reading.events,
    }
}

/// How much of a body the record of this exchange holds, in bytes.
fn max_body_bytes(draft: &Draft) -> usize {
    draft
        .route
        .as_ref()
        .map_or(usize::MAX, |route| route.gateway.max_record_body_bytes)
}

/// At most `limit` bytes of a body: what was kept of it may have been packed.
fn bounded(body: Decoded, limit: usize, omitted: &mut Option<Omitted>) -> Decoded {
    if body.as_bytes().len() <= limit {
        return body;
    }
    *omitted = Some(Omitted::TooLarge);
    match body {
        Decoded::Json(json) => Decoded::Text(beginning(json.get(), limit)),
        Decoded::Text(text) => Decoded::Text(beginning(&text, limit)),
        Decoded::Bytes(bytes) => Decoded::Bytes(bytes[..limit].to_vec()),
    }
}

fn beginning(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

fn to_body(decoded: Decoded) -> Body {
    match decoded {
        Decoded::Json(raw) => Body::Json(raw),
        Decoded::Text(text) => Body::Text(text.into()),
        Decoded::Bytes(bytes) => Body::Base64(STANDARD.encode(bytes).into()),
    }
}
