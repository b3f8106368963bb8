//! What a request asks for: operation, model, stream; and `include_usage` for a stream that would
//! not tell its usage.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use isango_types::{Operation, Wire};
use isango_wire::edit;
use isango_wire::facts::{Facts, facts};
use isango_wire::scan::{Scan, scan};

use crate::Proxy;
use crate::ask::Call;
use crate::call::CallBody;
use crate::exchange::{Background, Exchange};
use crate::headers;
use crate::resolve::Route;

/// Whether something in the body matters before it is sent: the model, and whether it streams.
///
/// JSON is also looked for where the client says nothing, or what `curl -d` says of its own accord.
pub(crate) fn wants_inspection(route: &Route, method: &Method, headers: &HeaderMap) -> bool {
    const JSON: [&[u8]; 2] = [b"application/json", b"application/x-www-form-urlencoded"];
    let has_body = method == Method::POST || method == Method::PUT;
    let may_be_json = headers.get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes();
        JSON.iter().any(|json| {
            kind.get(..json.len())
                .is_some_and(|kind| kind.eq_ignore_ascii_case(json))
        })
    });
    has_body && may_be_json && route.wire != Wire::Opaque
}

/// Learns what the request asks for, and prepares it for its provider.
pub(crate) fn understand(proxy: &Proxy, exchange: &mut Exchange, call: &mut Call<'_>) {
    let route = &call.route;
    let facts = facts(route.wire, call.method.as_str(), route.path.path());
    let CallBody::Whole(whole) = &call.body else {
        exchange.understood(facts.operation, facts.model.as_deref(), false);
        if wants_inspection(route, &call.method, &call.headers) {
            exchange.remark("the body is too large to be looked at: its model is not known");
        }
        return;
    };
    let scan = if whole.is_empty() {
        Scan::default()
    } else {
        scan(whole)
    };
    // Of a format that is not known, a `model` in the body may say nothing.
    let named = scan.model.as_deref().filter(|_| route.wire != Wire::Opaque);
    let model = facts.model.as_deref().or(named);
    exchange.streams(facts.stream.or(scan.stream).unwrap_or(false));
    exchange.understood(facts.operation, model, scan.is_object);
    exchange.names_others(scan.names_others && facts.model.is_none());
    exchange.runs_in(Background {
        is_asked: scan.background && facts.operation == Operation::Responses,
        is_bounded: scan.has_max_output_tokens,
    });
    let edited = with_usage_option(proxy, route, &facts, (whole, &scan));
    put(edited, call);
}

/// Prepares a request that is understood for another provider than its first.
pub(crate) fn prepare(proxy: &Proxy, call: &mut Call<'_>) {
    let route = &call.route;
    if !wants_inspection(route, &call.method, &call.headers) {
        return;
    }
    let CallBody::Whole(whole) = &call.body else {
        return;
    };
    let facts = facts(route.wire, call.method.as_str(), route.path.path());
    let edited = with_usage_option(proxy, route, &facts, (whole, &scan(whole)));
    put(edited, call);
}

/// Puts an edited body into the place of the one that came.
fn put(edited: Option<Vec<u8>>, call: &mut Call<'_>) {
    if let (Some(edited), CallBody::Whole(whole)) = (edited, &mut call.body) {
        headers::for_edited_stream(&mut call.headers);
        let original: Bytes = std::mem::replace(whole, edited.into());
        call.original = Some(original);
    }
}

/// The body with `include_usage`, where a stream would not tell its usage without.
fn with_usage_option(
    proxy: &Proxy,
    route: &Route,
    facts: &Facts<'_>,
    (whole, scan): (&Bytes, &Scan<'_>),
) -> Option<Vec<u8>> {
    let stream = facts.stream.or(scan.stream).unwrap_or(false);
    let edits = stream
        && route.wire == Wire::Openai
        && matches!(facts.operation, Operation::Chat | Operation::TextCompletion)
        && route.provider.stream_usage_option
        && scan.include_usage != Some(true)
        && !scan.has_data_sources
        && takes_usage_option(route)
        && !proxy.refusals.contains(route);
    match (edits, scan.has_stream_options) {
        (false, _) => None,
        (true, true) if is_metered(route) => edit::with_include_usage_in_any_case(whole, scan),
        (true, _) => edit::with_include_usage_as_scanned(whole, scan),
    }
}

/// Whether a limit needs to know what an answer used: no client can keep that to itself.
fn is_metered(route: &Route) -> bool {
    let mut limits = route.gateway.limits.iter();
    limits.any(|limit| limit.unit.is_estimated())
}

/// Azure `OpenAI` knows `stream_options` from the API version 2024-09-01-preview on.
/// Source: Azure OpenAI API version lifecycle page; read 2026-11-20.
fn takes_usage_option(route: &Route) -> bool {
    let query = route.path.query().unwrap_or("");
    let version = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("api-version="));
    match version.and_then(|version| version.get(..10)) {
        Some(date) if date.as_bytes()[4] == b'-' => date >= "2024-09-01",
        Some(_) | None => true,
    }
}

/// Endpoints that refused `stream_options` once; they are not asked again while the process runs.
#[derive(Debug, Default)]
pub(crate) struct Refusals(parking_lot::RwLock<std::collections::HashSet<u64>>);

impl Refusals {
    /// Endpoints that are remembered at most.
    const LIMIT: usize = 1_024;

    fn key(route: &Route) -> u64 {
        let mut hasher =
            std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
        route.authority.as_str().hash(&mut hasher);
        route.path.as_str().hash(&mut hasher);
        hasher.finish()
    }

    fn contains(&self, route: &Route) -> bool {
        let refusals = self.0.read();
        !refusals.is_empty() && refusals.contains(&Self::key(route))
    }

    pub(crate) fn remember(&self, route: &Route) {
        let mut refusals = self.0.write();
        if refusals.len() < Self::LIMIT {
            refusals.insert(Self::key(route));
        }
    }
}
