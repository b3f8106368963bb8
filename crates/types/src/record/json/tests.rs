use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::to_raw_value;

use super::*;
use crate::clock::Timestamp;
use crate::id::RecordId;
use crate::limit::{Unit, Verdict};
use crate::operation::Operation;
use crate::price::CostStatus;
use crate::record::{
    Blame, CacheStatus, CacheUse, Omitted, Outcome, Review, Saved, SpanId, Trace, TraceId,
};

fn text() -> BoxedStrategy<Box<str>> {
    prop_oneof![
        "[a-zA-Z0-9/_.-]{0,40}",
        "\\PC{0,20}",
        "[a\"\\\\\n\r\t\u{0}\u{1f}\u{20}\u{7f}é]{0,20}",
    ]
    .prop_map(Into::into)
    .boxed()
}

fn maybe() -> BoxedStrategy<Option<Box<str>>> {
    prop::option::of(text()).boxed()
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..10_000_u64, any::<u64>()]
}

fn maybe_number() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(number())
}

fn operation() -> impl Strategy<Value = Operation> {
    prop::sample::select(vec![
        Operation::Chat,
        Operation::TextCompletion,
        Operation::Responses,
        Operation::GenerateContent,
        Operation::Embeddings,
        Operation::Image,
        Operation::Speech,
        Operation::Transcription,
        Operation::Video,
        Operation::Moderation,
        Operation::Rerank,
        Operation::CountTokens,
        Operation::Models,
        Operation::Other,
    ])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![
        Outcome::Answered,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::ClientLeft,
        Outcome::UpstreamCut,
        Outcome::Panicked,
    ])
}

fn status() -> impl Strategy<Value = CostStatus> {
    prop::sample::select(vec![
        CostStatus::Priced,
        CostStatus::Estimated,
        CostStatus::Custom,
        CostStatus::Free,
        CostStatus::Unpriced,
        CostStatus::NoUsage,
    ])
}

fn error() -> impl Strategy<Value = Option<RecordError>> {
    let blame = prop::sample::select(vec![Blame::Client, Blame::Gateway, Blame::Upstream]);
    let error = (text(), blame, text()).prop_map(|(code, blame, message)| RecordError {
        code,
        blame,
        message,
    });
    prop::option::of(error)
}

fn attempt() -> BoxedStrategy<Attempt> {
    (
        text(),
        (any::<Option<u16>>(), prop_oneof![Just(0), any::<u16>()]),
        [maybe(), maybe(), maybe(), maybe()],
        [number(), number(), number()],
        maybe_number(),
        (any::<bool>(), prop::option::of(cost())),
    )
        .prop_map(
            |(target, (status, step), texts, us, ttfb_us, (reused, cost))| {
                let [error, cause, wait_reason, cancelled_by] = texts;
                Attempt {
                    target,
                    step,
                    wait_us: us[2],
                    wait_reason,
                    status,
                    error,
                    cause,
                    cancelled_by,
                    started_us: us[0],
                    connect_us: us[1],
                    ttfb_us,
                    reused,
                    cost,
                }
            },
        )
        .boxed()
}

fn timing() -> BoxedStrategy<Timing> {
    let numbers = [number(), number(), number(), number()];
    (numbers, [maybe_number(), maybe_number()])
        .prop_map(|(us, first)| Timing {
            queue_us: us[0],
            connect_us: us[1],
            ttfb_us: first[0],
            ttft_us: first[1],
            total_us: us[2],
            overhead_us: us[3],
        })
        .boxed()
}

fn usage() -> BoxedStrategy<Option<Usage>> {
    let numbers = prop::collection::vec(number(), 15);
    let usage = (numbers, any::<bool>()).prop_map(|(n, estimated)| Usage {
        input: n[0],
        cache_read: n[1],
        cache_write: n[2],
        cache_write_1h: n[3],
        audio_input: n[4],
        audio_cache_read: n[5],
        image_input: n[6],
        output: n[7],
        reasoning: n[8],
        audio_output: n[9],
        image_output: n[10],
        images: n[11],
        searches: n[12],
        audio_ms: n[13],
        characters: n[14],
        estimated,
    });
    prop::option::of(usage).boxed()
}

fn cost() -> BoxedStrategy<Cost> {
    (status(), maybe_number(), maybe())
        .prop_map(|(status, nanousd, price)| Cost {
            status,
            nanousd,
            price,
        })
        .boxed()
}

fn cache() -> BoxedStrategy<Option<Box<CacheUse>>> {
    let status = prop::sample::select(vec![
        CacheStatus::Hit,
        CacheStatus::Miss,
        CacheStatus::Bypass,
        CacheStatus::Stale,
    ]);
    let id = || prop::option::of(number().prop_map(|at| RecordId::new(Timestamp::from_micros(at))));
    let saved = (usage(), maybe_number(), number());
    let saved = saved.prop_map(|(usage, nanousd, us)| Saved { usage, nanousd, us });
    let cache = (
        (status, [maybe(), maybe(), maybe()], [id(), id()]),
        (maybe_number(), any::<bool>(), prop::option::of(saved)),
        prop::collection::vec(text(), 0..3),
    );
    let cache = cache.prop_map(|((status, texts, ids), (age_s, joined, saved), differs)| {
        let ([key, reason, fill], [filled_by, nearest]) = (texts, ids);
        Box::new(CacheUse {
            status,
            key,
            filled_by,
            age_s,
            joined,
            saved,
            reason,
            nearest,
            differs,
            fill,
        })
    });
    prop::option::of(cache).boxed()
}

fn decision() -> BoxedStrategy<Decision> {
    let unit = prop::sample::select(Unit::ALL.to_vec());
    let verdict = prop::sample::select(vec![
        Verdict::Admitted,
        Verdict::Refused,
        Verdict::Warned,
        Verdict::Shadow,
    ]);
    let numbers = prop::collection::vec(number(), 6);
    let bucket = prop::collection::vec(maybe(), 0..3);
    (text(), bucket, unit, verdict, numbers)
        .prop_map(|(rule, bucket, unit, verdict, n)| Decision {
            rule,
            bucket,
            unit,
            verdict,
            limit: n[0],
            before: n[1],
            reserved: n[2],
            charged: n[3],
            after: n[4],
            at: Timestamp::from_micros(n[5]),
        })
        .boxed()
}

fn metadata() -> impl Strategy<Value = BTreeMap<Box<str>, MetadataValue>> {
    let value = prop_oneof![
        Just(MetadataValue::Null),
        any::<bool>().prop_map(MetadataValue::Bool),
        any::<i64>().prop_map(|number| MetadataValue::Number(number.into())),
        // serde_json may read other floats back one step off.
        any::<i32>().prop_map(
            |quarters| serde_json::Number::from_f64(f64::from(quarters) / 4.0)
                .map_or(MetadataValue::Null, MetadataValue::Number)
        ),
        text().prop_map(MetadataValue::Text),
    ];
    prop::collection::btree_map(text(), value, 0..3)
}

fn body() -> impl Strategy<Value = Option<Body>> {
    let json = (text(), number())
        .prop_map(|(text, number)| serde_json::json!({ "a": [text, number, {}], "b": null }));
    let body = prop_oneof![
        json.prop_map(|json| Body::Json(to_raw_value(&json).unwrap())),
        text().prop_map(Body::Text),
        text().prop_map(Body::Base64),
    ];
    prop::option::of(body)
}

fn message() -> BoxedStrategy<Message> {
    let omitted = prop::sample::select(vec![
        Omitted::PayloadOff,
        Omitted::TooLarge,
        Omitted::MemoryLimit,
    ]);
    (
        [maybe(), maybe()],
        [number(), number()],
        [body(), body()],
        prop::option::of(omitted),
        prop::collection::vec(any::<u32>(), 0..4),
    )
        .prop_map(|(texts, numbers, bodies, omitted, chunk_times_us)| {
            let [content_type, content_encoding] = texts;
            let [body, raw] = bodies;
            let [bytes, events] = numbers;
            Message {
                content_type,
                content_encoding,
                bytes,
                body,
                omitted,
                raw,
                chunk_times_us,
                events,
            }
        })
        .boxed()
}

prop_compose! {
    /// Every member is named, so that a new one is written here and held by the property.
    fn record()(
        [created_at, moment] in [number(), number()],
        (own_event_id, stream) in any::<(bool, bool)>(),
        event_id in "[!-~]{1,40}",
        [account, gateway, method, path, http_version] in [text(), text(), text(), text(), text()],
        [provider, target, resource, deployment, model_requested, model]
            in [maybe(), maybe(), maybe(), maybe(), maybe(), maybe()],
        [finish_reason, provider_id, token, user_agent] in [maybe(), maybe(), maybe(), maybe()],
        (operation, outcome, status) in (operation(), outcome(), any::<Option<u16>>()),
        config_revision in prop_oneof![Just(0), any::<u64>()],
        (error, timing, usage, cost, cache) in (error(), timing(), usage(), cost(), cache()),
        attempts in prop::collection::vec(attempt(), 0..3),
        limits in prop::collection::vec(decision(), 0..3),
        metadata in metadata(),
        notes in prop::collection::vec(text(), 0..3),
        review in prop::option::of(any::<i8>().prop_map(|feedback| Review {
            feedback: Some(feedback),
            ..Review::default()
        })),
        trace in prop::option::of((1..=u128::MAX, prop::option::of(1..=u64::MAX))),
        [request, response] in [message(), message()],
    ) -> Record {
        let id = RecordId::new(Timestamp::from_micros(moment));
        Record {
            id,
            event_id: if own_event_id { event_id.into() } else { id.to_string().into() },
            created_at: Timestamp::from_micros(created_at),
            account, gateway, config_revision, provider, target, resource, deployment, operation, model_requested,
            model, method, path, http_version, status, outcome, error, attempts, timing, stream,
            usage, cost, cache, limits, finish_reason, provider_id, metadata, token, user_agent, notes,
            trace: trace.map(|(id, parent)| Box::new(Trace {
                id: TraceId(id.to_be_bytes()),
                parent: parent.map(|parent| SpanId(parent.to_be_bytes())),
            })),
            review: review.map(Box::new), request, response,
        }
    }
}

proptest! {
    #[test]
    fn the_json_of_a_record_is_what_serde_writes(record in record()) {
        let mut json = b"before".to_vec();
        record.write_json(&mut json).unwrap();
        let record = Record { review: None, ..record };
        let serde = serde_json::to_string(&record).unwrap();
        let json = String::from_utf8(json).unwrap();
        let event_id = format!("\"event_id\":\"{}\",", record.id);
        prop_assert_eq!(&json["before".len()..], serde.replacen(&event_id, "", 1));
        let read: Record = serde_json::from_str(&json["before".len()..]).unwrap();
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), serde);
    }

    #[test]
    fn a_text_is_plain_if_serde_only_puts_it_in_quotes(
        text in prop_oneof!["[ -~]{0,30}", "[\u{0}-\u{24}\\[-\u{ff}]{0,30}"],
    ) {
        let quoted = serde_json::to_string(&text).unwrap() == format!("\"{text}\"");
        prop_assert_eq!(is_plain(text.as_bytes()), quoted);
    }
}
