//! Traces: one span for each record and one below it for each attempt, by OTLP/HTTP (OpenTelemetry
//! protocol 1.9, JSON and protobuf; semantic conventions of generative AI; read 2026-11-23), with both
//! sets of attribute names of the contract (observability section 6).
//!
//! Ids are made of the record's: who gets a span twice knows it. Metrics are in `metrics`.

pub(crate) mod metrics;

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use isango_types::record::{Attempt, Body, Message, MetadataValue};
use isango_types::{Record, genai};

use crate::fields::write_text;

/// Kinds of spans.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// Codes of a span's status.
const FAILED: u8 = 2;
/// Who speaks.
const SCOPE: &str = "isango";
/// What the contract calls the gateway.
const SERVICE: &str = "ai-gateway";

/// The value of an attribute.
enum Value<'r> {
    Text(Cow<'r, str>),
    Number(u64),
    Decimal(f64),
    Flag(bool),
    Texts(Vec<&'r str>),
}

/// One span.
struct Span<'r> {
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: Cow<'r, str>,
    kind: u8,
    /// In nanoseconds since 1970.
    times: (u64, u64),
    attributes: Vec<(Cow<'r, str>, Value<'r>)>,
    /// Why it failed.
    failure: Option<Cow<'r, str>>,
}

/// Appends the spans of a record, as JSON with a comma behind each, or as a field of protobuf.
pub(crate) fn write(record: &Record, is_protobuf: bool, out: &mut Vec<u8>) {
    let root = root(record);
    let attempts = record.attempts.iter().enumerate();
    let attempts = attempts.map(|(n, one)| attempt(record, &root, n, one));
    let below: Vec<Span<'_>> = attempts.collect();
    for span in std::iter::once(&root).chain(&below) {
        if is_protobuf {
            field(out, 2, &span.protobuf());
        } else {
            span.json(out);
            out.push(b',');
        }
    }
}

/// What a request brings, and what its parts are called as JSON. As protobuf they have the same
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    const fn names(self) -> [&'static str; 3] {
        match self {
            Self::Traces => ["resourceSpans", "scopeSpans", "spans"],
            Self::Metrics => ["resourceMetrics", "scopeMetrics", "metrics"],
        }
    }
}

/// A whole request of these spans or metrics: as JSON with a comma behind each, or as fields of
/// protobuf.
pub(crate) fn request(signal: Signal, parts: &[u8], is_protobuf: bool) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", SERVICE), ("service.version", version)];
    let mut out = Vec::with_capacity(parts.len() + 256);
    if is_protobuf {
        let mut of_resource = Vec::new();
        for (name, value) in resource {
            let value = Value::Text(value.into());
            field(&mut of_resource, 1, &attribute(name, &value));
        }
        let mut scope = Vec::new();
        field(&mut scope, 1, SCOPE.as_bytes());
        field(&mut scope, 2, version.as_bytes());
        let mut of_scope = Vec::with_capacity(parts.len() + 64);
        field(&mut of_scope, 1, &scope);
        of_scope.extend_from_slice(parts);
        let mut all = Vec::with_capacity(parts.len() + 128);
        field(&mut all, 1, &of_resource);
        field(&mut all, 2, &of_scope);
        field(&mut out, 1, &all);
        return out;
    }
    let [of_resource, of_scope, list] = signal.names();
    let head = format!("{{\"{of_resource}\":[{{\"resource\":{{\"attributes\":[");
    out.extend_from_slice(head.as_bytes());
    for (n, (name, value)) in resource.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        json_attribute(name, &Value::Text(value.into()), &mut out);
    }
    let scope = format!(
        "]}},\"{of_scope}\":[{{\"scope\":{{\"name\":\"{SCOPE}\",\"version\":\"{version}\"}},\
         \"{list}\":["
    );
    out.extend_from_slice(scope.as_bytes());
    out.extend_from_slice(parts.strip_suffix(b",").unwrap_or(parts));
    out.extend_from_slice(b"]}]}]}");
    out
}

/// An id of eight bytes for a part of a record.
fn span_id(record: &Record, part: usize) -> [u8; 8] {
    let mut bytes = record.id.as_bytes().to_vec();
    bytes.extend_from_slice(&(part as u64).to_be_bytes());
    let sum = digest(&SHA256, &bytes);
    sum.as_ref().first_chunk().copied().unwrap_or_default()
}

fn root(record: &Record) -> Span<'_> {
    let trace = record.trace.as_deref();
    let start = record.created_at.as_micros() * 1_000;
    let failure = record.error.as_ref().filter(|_| record.is_error());
    Span {
        trace: trace.map_or(*record.id.as_bytes(), |trace| trace.id.0),
        id: span_id(record, 0),
        parent: trace.and_then(|trace| trace.parent).map(|parent| parent.0),
        name: "cf.aig.request".into(),
        kind: SERVER,
        times: (start, start + record.timing.total_us * 1_000),
        attributes: attributes(record),
        failure: failure.map(|error| Cow::Borrowed(&*error.message)),
    }
}

fn attributes(record: &Record) -> Vec<(Cow<'_, str>, Value<'_>)> {
    let mut all = common(record);
    let mut push = |name: &'static str, value: Option<Value<'static>>| {
        all.extend(value.map(|value| (Cow::Borrowed(name), value)));
    };
    let usage = record.usage.as_ref();
    let count = |count: Option<u64>| count.map(Value::Number);
    push(
        "gen_ai.usage.input_tokens",
        count(usage.map(|usage| usage.total_input())),
    );
    push(
        "gen_ai.usage.output_tokens",
        count(usage.map(|usage| usage.total_output())),
    );
    #[expect(clippy::cast_precision_loss, reason = "the conventions want a double")]
    let usd = |nanousd: u64| Value::Decimal(nanousd as f64 / 1e9);
    push("gen_ai.usage.cost", record.cost.nanousd.map(usd));
    push(
        "http.response.status_code",
        count(record.status.map(u64::from)),
    );
    let id = Value::Text(record.id.to_string().into());
    push("isango.log_id", Some(id));
    let texts = [
        ("isango.account", Some(&*record.account)),
        ("isango.gateway", Some(&*record.gateway)),
        ("isango.outcome", Some(record.outcome.as_str())),
        (
            "isango.cache_status",
            record.cache.as_ref().map(|cache| cache.status.as_str()),
        ),
        ("gen_ai.response.id", record.provider_id.as_deref()),
        ("gen_ai.prompt_json", text_of(&record.request)),
        ("gen_ai.input.messages", text_of(&record.request)),
        ("gen_ai.completion_json", text_of(&record.response)),
        ("gen_ai.output.messages", text_of(&record.response)),
        (
            "error.type",
            record.error.as_ref().map(|error| &*error.code),
        ),
    ];
    let set = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)));
    all.extend(set.map(|(name, text)| (name.into(), Value::Text(text.into()))));
    if let Some(reason) = record.finish_reason.as_deref() {
        let reasons = Value::Texts(vec![reason]);
        all.push(("gen_ai.response.finish_reasons".into(), reasons));
    }
    let own = record
        .metadata
        .iter()
        .filter(|(key, _)| !key.starts_with("gen_ai."));
    all.extend(own.filter_map(|(key, value)| Some((Cow::Borrowed(&**key), metadata(value)?))));
    all
}

/// What record and attempts have in common.
fn common(record: &Record) -> Vec<(Cow<'_, str>, Value<'_>)> {
    let slug = record.provider.as_deref();
    let asked = record.model_requested.as_deref();
    let texts = [
        (
            "gen_ai.operation.name",
            Some(genai::operation(record.operation)),
        ),
        ("gen_ai.request.model", asked.or(record.model.as_deref())),
        ("gen_ai.response.model", record.model.as_deref()),
        ("gen_ai.model.provider", slug),
        ("gen_ai.provider.name", slug.map(genai::provider)),
    ];
    let set = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)));
    set.map(|(name, text)| (name.into(), Value::Text(text.into())))
        .collect()
}

fn text_of(message: &Message) -> Option<&str> {
    message.body.as_ref().map(Body::as_str)
}

fn metadata(value: &MetadataValue) -> Option<Value<'_>> {
    Some(match value {
        MetadataValue::Null => return None,
        MetadataValue::Bool(flag) => Value::Flag(*flag),
        // The protocol's integers have a sign and 64 bits.
        MetadataValue::Number(number) => match number.as_u64() {
            Some(count) if i64::try_from(count).is_ok() => Value::Number(count),
            Some(_) | None => Value::Decimal(number.as_f64()?),
        },
        MetadataValue::Text(text) => Value::Text(Cow::Borrowed(text)),
    })
}

/// One send to a provider.
fn attempt<'r>(record: &'r Record, root: &Span<'r>, n: usize, of: &'r Attempt) -> Span<'r> {
    let start = root.times.0 + of.started_us * 1_000;
    // An attempt whose answer was relayed ends with it.
    let is_last = n + 1 == record.attempts.len();
    let end = match of.ttfb_us {
        Some(ttfb) if !is_last => start + ttfb * 1_000,
        Some(_) => root.times.1.max(start),
        None => start + of.connect_us * 1_000,
    };
    let mut attributes = common(record);
    let target = Value::Text(Cow::Borrowed(&*of.target));
    attributes.push(("isango.target".into(), target));
    let number = |name: &'static str, number: u64| (name.into(), Value::Number(number));
    attributes.push(number("isango.attempt", n as u64 + 1));
    if let Some(status) = of.status {
        attributes.push(number("http.response.status_code", status.into()));
    }
    let refused = of.status.filter(|status| *status >= 400);
    let failure: Option<Cow<'_, str>> = match (&of.error, refused) {
        (Some(error), _) => Some(Cow::Borrowed(&**error)),
        (None, Some(status)) => Some(status.to_string().into()),
        (None, None) => None,
    };
    if let Some(failure) = &failure {
        attributes.push(("error.type".into(), Value::Text(failure.clone())));
    }
    let model = record.model_requested.as_deref().unwrap_or_default();
    Span {
        trace: root.trace,
        id: span_id(record, n + 1),
        parent: Some(root.id),
        name: format!("{} {model}", genai::operation(record.operation))
            .trim_end()
            .to_owned()
            .into(),
        kind: CLIENT,
        times: (start, end),
        attributes,
        failure,
    }
}

impl Span<'_> {
    fn json(&self, out: &mut Vec<u8>) {
        let hex = |bytes: &[u8]| crate::manifest::hex(bytes);
        let head = format!(
            "{{\"traceId\":\"{}\",\"spanId\":\"{}\",",
            hex(&self.trace),
            hex(&self.id)
        );
        out.extend_from_slice(head.as_bytes());
        if let Some(parent) = &self.parent {
            out.extend_from_slice(format!("\"parentSpanId\":\"{}\",", hex(parent)).as_bytes());
        }
        out.extend_from_slice(b"\"name\":");
        write_text(&self.name, out);
        let (start, end) = self.times;
        let rest = format!(
            ",\"kind\":{},\"startTimeUnixNano\":\"{start}\",\"endTimeUnixNano\":\"{end}\",\
             \"attributes\":[",
            self.kind
        );
        out.extend_from_slice(rest.as_bytes());
        for (n, (name, value)) in self.attributes.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            json_attribute(name, value, out);
        }
        out.extend_from_slice(b"],\"status\":{");
        if let Some(failure) = &self.failure {
            out.extend_from_slice(format!("\"code\":{FAILED},\"message\":").as_bytes());
            write_text(failure, out);
        }
        out.extend_from_slice(b"}}");
    }

    fn protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        field(&mut out, 1, &self.trace);
        field(&mut out, 2, &self.id);
        if let Some(parent) = &self.parent {
            field(&mut out, 4, parent);
        }
        field(&mut out, 5, self.name.as_bytes());
        number(&mut out, 6, self.kind.into());
        fixed(&mut out, 7, self.times.0);
        fixed(&mut out, 8, self.times.1);
        for (name, value) in &self.attributes {
            field(&mut out, 9, &attribute(name, value));
        }
        let mut status = Vec::new();
        if let Some(failure) = &self.failure {
            field(&mut status, 2, failure.as_bytes());
            number(&mut status, 3, FAILED.into());
        }
        field(&mut out, 15, &status);
        out
    }
}

fn json_attribute(name: &str, value: &Value<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    write_text(name, out);
    out.extend_from_slice(b",\"value\":");
    json_value(value, out);
    out.push(b'}');
}

fn json_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            out.extend_from_slice(b"{\"stringValue\":");
            write_text(text, out);
            out.push(b'}');
        }
        Value::Number(number) => {
            out.extend_from_slice(format!("{{\"intValue\":\"{number}\"}}").as_bytes());
        }
        Value::Decimal(number) => {
            out.extend_from_slice(format!("{{\"doubleValue\":{number}}}").as_bytes());
        }
        Value::Flag(flag) => {
            out.extend_from_slice(format!("{{\"boolValue\":{flag}}}").as_bytes());
        }
        Value::Texts(texts) => {
            out.extend_from_slice(b"{\"arrayValue\":{\"values\":[");
            for (n, text) in texts.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                json_value(&Value::Text(Cow::Borrowed(text)), out);
            }
            out.extend_from_slice(b"]}}");
        }
    }
}

fn attribute(name: &str, value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, name.as_bytes());
    field(&mut out, 2, &any(value));
    out
}

fn any(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => field(&mut out, 1, text.as_bytes()),
        Value::Flag(flag) => number(&mut out, 2, u64::from(*flag)),
        Value::Number(count) => number(&mut out, 3, *count),
        Value::Decimal(decimal) => fixed(&mut out, 4, decimal.to_bits()),
        Value::Texts(texts) => {
            let mut list = Vec::new();
            for text in texts {
                field(&mut list, 1, &any(&Value::Text(Cow::Borrowed(text))));
            }
            field(&mut out, 5, &list);
        }
    }
    out
}

/// A number in groups of seven bits, the lowest first (protobuf, "Encoding").
fn varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let group = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(group);
            return;
        }
        out.push(group | 0x80);
    }
}

/// A field with a length: bytes, a text, a message.
fn field(out: &mut Vec<u8>, place: u64, value: &[u8]) {
    varint(out, place << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A field with a number.
fn number(out: &mut Vec<u8>, place: u64, value: u64) {
    varint(out, place << 3);
    varint(out, value);
}

/// A field of eight bytes.
fn fixed(out: &mut Vec<u8>, place: u64, value: u64) {
    varint(out, place << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests;
