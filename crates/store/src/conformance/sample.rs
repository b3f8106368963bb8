//! Records to fill a store with: plausible, varied, and the same for the same number.

use isango_types::price::CostStatus;
use isango_types::record::{
    Attempt, Blame, Body, Message, MetadataValue, Outcome, RecordError, Timing,
};
use isango_types::{Cost, Operation, Record, RecordId, Timestamp, Usage};
use serde_json::value::RawValue;

/// 2026-11-22T16:00:00Z: when record 0 begins. Record `n` begins `n` seconds later.
pub const START: Timestamp = Timestamp::from_micros(1_795_363_200_000_000);

/// When record `n` begins.
#[must_use]
pub fn time(n: u64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + n * 1_000_000)
}

/// Record `n`, with a fresh id. Every fifth is an upstream error, every seventh refused; tenants,
/// models and gateways take turns.
#[must_use]
pub fn record(n: u64) -> Record {
    let tenant = ["acme", "globex", "initech"][index(n, 3)];
    let model = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4"][index(n, 3)];
    let (status, outcome, error) = match n {
        n if n % 5 == 4 => (
            429,
            Outcome::Answered,
            Some(("upstream_429", Blame::Upstream)),
        ),
        n if n % 7 == 6 => (400, Outcome::Refused, Some(("2001", Blame::Client))),
        _ => (200, Outcome::Answered, None),
    };
    let id = RecordId::new(time(n));
    Record {
        id,
        event_id: id.to_string().into(),
        created_at: time(n),
        account: "local".into(),
        gateway: ["default", "support"][index(n, 2)].into(),
        config_revision: 0,
        provider: Some("azure-openai".into()),
        target: n.is_multiple_of(2).then(|| "azure-openai-sa".into()),
        resource: Some("aoai-sa".into()),
        deployment: Some("chat".into()),
        operation: if n % 4 == 3 {
            Operation::Embeddings
        } else {
            Operation::Chat
        },
        model_requested: Some(model.into()),
        model: (status == 200).then(|| format!("{model}-2024-08-06").into()),
        method: "POST".into(),
        path: "/aoai-sa/chat/chat/completions?api-version=2024-10-21".into(),
        http_version: "1.1".into(),
        status: Some(status),
        outcome,
        error: error.map(|(code, blame)| RecordError {
            code: code.into(),
            blame,
            message: "refused".into(),
        }),
        attempts: vec![Attempt {
            target: "azure-openai-sa".into(),
            status: Some(status),
            started_us: 40,
            ttfb_us: Some(20_000),
            reused: true,
            ..Attempt::default()
        }],
        timing: Timing {
            ttfb_us: Some(20_000),
            total_us: 1_000_000 + n * 1_000,
            ..Timing::default()
        },
        stream: n % 2 == 1,
        usage: (status == 200).then(|| Usage {
            input: 10 + n,
            output: 2,
            ..Usage::default()
        }),
        cost: cost(n, status),
        cache: None,
        limits: Vec::new(),
        finish_reason: Some("stop".into()),
        provider_id: Some(format!("chatcmpl-{n}").into()),
        metadata: [("tenantId", tenant.into()), ("n", n.to_string())]
            .map(|(key, value): (&str, String)| (key.into(), MetadataValue::Text(value.into())))
            .into(),
        token: Some("support-app".into()),
        user_agent: Some("OpenAI/Python 1.99.0".into()),
        notes: Vec::new(),
        trace: None,
        review: None,
        request: message(&format!(
            r#"{{"messages":[{{"role":"user","content":"Question {n} from {tenant}"}}]}}"#
        )),
        response: message(&format!(
            r#"{{"choices":[{{"text":"Answer {n}, caf\u00e9"}}]}}"#
        )),
    }
}

fn index(n: u64, len: u64) -> usize {
    usize::try_from(n % len).unwrap_or(0)
}

fn cost(n: u64, status: u16) -> Cost {
    if status == 200 {
        let price = Some("2026-11-20/openai/gpt-4o".into());
        Cost {
            status: CostStatus::Priced,
            nanousd: Some(1_000_000 * n),
            price,
        }
    } else {
        Cost {
            status: CostStatus::Free,
            nanousd: Some(0),
            price: None,
        }
    }
}

fn message(json: &str) -> Message {
    let body = match RawValue::from_string(json.to_owned()) {
        Ok(raw) => Body::Json(raw),
        Err(_) => Body::Text(json.into()),
    };
    Message {
        content_type: Some("application/json".into()),
        bytes: json.len() as u64,
        body: Some(body),
        ..Message::default()
    }
}
