//! Records and questions of every kind, each told by a number: for comparing a store with the
//! model.

use std::fmt::Write as _;
use std::time::Duration;

use isango_types::limit::{Decision, Period, Unit, Verdict, Window};
use isango_types::price::CostStatus;
use isango_types::record::{
    Attempt, Blame, CacheStatus, CacheUse, MetadataValue, Omitted, Outcome, RecordError, Saved,
};
use isango_types::{Cost, Operation, Record, RecordId, Timestamp, Usage};

use super::sample;
use crate::analytics::{Aggregate, Dimension, List, Measure, Quantity, Sort};
use crate::filter::Filter;

/// Numbers that look random and are not (Steele, Lea and Flood's `SplitMix64`).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// True once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap_or(0)]
    }

    /// One of these, or none.
    fn maybe(&mut self, from: &[&str]) -> Option<Box<str>> {
        (!self.once_in(4)).then(|| self.pick(from).into())
    }
}

/// A record that may have anything, created within three days. A small one: bodies are short.
#[must_use]
pub fn record(seed: u64) -> Record {
    let mut dice = Dice::new(seed);
    let dice = &mut dice;
    let mut record = sample::record(dice.below(200));
    let created_at = sample::START.as_micros() + dice.below(3 * 86_400_000_000);
    record.created_at = Timestamp::from_micros(created_at);
    record.id = RecordId::new(record.created_at);
    record.event_id = match dice.below(3) {
        0 => format!("event-{}", dice.below(50)).into(),
        _ => record.id.to_string().into(),
    };
    record.gateway = dice.pick(&["default", "support", "a-b", ""]).into();
    record.provider = dice.maybe(&["openai", "anthropic", "azure-openai"]);
    record.target = dice.maybe(&["openai", "sa", "eu"]);
    record.resource = dice.maybe(&["aoai-sa"]);
    record.deployment = dice.maybe(&["chat", "embed"]);
    record.operation = dice.pick(&[Operation::Chat, Operation::Embeddings, Operation::Other]);
    record.model = dice.maybe(&["gpt-4o", "gpt-4o-mini", "claude-sonnet-4"]);
    record.model_requested = dice.maybe(&["gpt-4o", "claude"]);
    record.method = dice.pick(&["POST", "GET", ""]).into();
    record.token = dice.maybe(&["app", "ci"]);
    record.user_agent = dice.maybe(&["OpenAI/Python 1.99.0", "curl/8", "ünï \"quoted\""]);
    record.finish_reason = dice.maybe(&["stop", "length"]);
    record.stream = dice.once_in(2);
    answer(&mut record, dice);
    tokens(&mut record, dice);
    record.cache = cache(dice).map(Box::new);
    record.limits = (0..dice.below(3)).map(|_| decision(dice)).collect();
    record.metadata.clear();
    for _ in 0..dice.below(4) {
        let (key, value) = metadata(dice);
        record.metadata.insert(key, value);
    }
    record
}

fn answer(record: &mut Record, dice: &mut Dice) {
    record.status = match dice.below(8) {
        0 => None,
        1 => Some(429),
        2 => Some(503),
        3 => Some(201),
        _ => Some(200),
    };
    record.outcome = dice.pick(&[
        Outcome::Answered,
        Outcome::Answered,
        Outcome::Answered,
        Outcome::ClientLeft,
        Outcome::Failed,
        Outcome::UpstreamCut,
    ]);
    record.error = dice.once_in(4).then(|| RecordError {
        code: dice.pick(&["2001", "upstream_429"]).into(),
        blame: dice.pick(&[Blame::Client, Blame::Gateway, Blame::Upstream]),
        message: "no".into(),
    });
    let attempt = |step| Attempt {
        step,
        ..Attempt::default()
    };
    record.attempts = (0..)
        .take(usize::from(dice.once_in(3)) + 1)
        .map(attempt)
        .collect();
    if dice.once_in(5) {
        record.attempts.clear();
    }
    let timing = &mut record.timing;
    timing.total_us = dice.below(30_000_000);
    timing.ttfb_us = (!dice.once_in(4)).then(|| dice.below(2_000_000));
    timing.ttft_us = dice.once_in(2).then(|| dice.below(2_000_000));
    timing.queue_us = dice.below(50);
    timing.connect_us = dice.below(3) * 10_000;
    timing.overhead_us = dice.below(200);
    record.request.content_type = dice.maybe(&["application/json", "multipart/form-data"]);
    record.request.omitted = dice.once_in(9).then_some(Omitted::PayloadOff);
    record.response.omitted = dice.once_in(9).then_some(Omitted::TooLarge);
    record.response.bytes = dice.below(1 << 20);
    record.response.events = dice.below(2) * dice.below(100);
}

fn tokens(record: &mut Record, dice: &mut Dice) {
    record.usage = (!dice.once_in(4)).then(|| Usage {
        input: dice.below(5_000),
        cache_read: dice.below(2) * dice.below(1_000),
        cache_write: dice.below(2) * dice.below(100),
        cache_write_1h: dice.below(2) * dice.below(100),
        audio_input: dice.below(2) * 7,
        image_input: dice.below(2) * 9,
        output: dice.below(800),
        reasoning: dice.below(2) * dice.below(500),
        searches: dice.below(2),
        characters: dice.below(2) * 33,
        estimated: dice.once_in(5),
        ..Usage::default()
    });
    let status = dice.pick(&[
        CostStatus::Priced,
        CostStatus::Estimated,
        CostStatus::Custom,
        CostStatus::Free,
        CostStatus::Unpriced,
        CostStatus::NoUsage,
    ]);
    let nanousd = match status {
        CostStatus::Priced | CostStatus::Custom => Some(dice.below(50_000_000)),
        CostStatus::Estimated => Some(dice.below(Cost::MAX_NANOUSD)),
        CostStatus::Free => Some(0),
        CostStatus::Unpriced | CostStatus::NoUsage => None,
    };
    record.cost = Cost {
        status,
        nanousd,
        price: nanousd.map(|_| {
            dice.pick(&["2026-11-20/openai/gpt-4o", "configured/x"])
                .into()
        }),
    };
}

fn cache(dice: &mut Dice) -> Option<CacheUse> {
    let status = match dice.below(5) {
        0 => CacheStatus::Hit,
        1 => CacheStatus::Miss,
        2 => CacheStatus::Stale,
        3 => CacheStatus::Bypass,
        _ => return None,
    };
    let saved = status.is_kept().then(|| Saved {
        usage: dice.once_in(2).then(|| Usage {
            input: dice.below(100),
            output: dice.below(100),
            ..Usage::default()
        }),
        nanousd: dice.once_in(2).then(|| dice.below(1_000_000)),
        us: dice.below(1_000_000),
    });
    Some(CacheUse {
        status,
        saved,
        ..CacheUse::default()
    })
}

fn decision(dice: &mut Dice) -> Decision {
    Decision {
        rule: dice.pick(&["day", "burst"]).into(),
        bucket: Vec::new(),
        unit: Unit::Requests,
        verdict: dice.pick(&[Verdict::Admitted, Verdict::Warned, Verdict::Refused]),
        limit: 10,
        before: 1,
        reserved: 1,
        charged: 1,
        after: 2,
        at: sample::START,
    }
}

fn metadata(dice: &mut Dice) -> (Box<str>, MetadataValue) {
    match dice.below(6) {
        0 => (
            "tenantId".into(),
            MetadataValue::Text(dice.pick(&["acme", "globex", ""]).into()),
        ),
        1 => ("n".into(), MetadataValue::Number(dice.below(20).into())),
        2 => (
            "n".into(),
            MetadataValue::Text(dice.below(20).to_string().into()),
        ),
        3 => ("beta".into(), MetadataValue::Bool(dice.once_in(2))),
        4 => ("odd.key \"x\"".into(), MetadataValue::Null),
        // More keys than a store will have columns for.
        _ => {
            let key = format!("made-up-{}", dice.below(90));
            (key.into(), MetadataValue::Number(dice.below(3).into()))
        }
    }
}

const TERMS: [&str; 44] = [
    "status:error",
    "-status:error",
    "status:ok",
    "status:4xx,503",
    "status:>=400",
    "-status:200",
    "model:gpt-4o",
    "model:gpt-4o*",
    "-model:claude*",
    "gateway:support,a-b",
    "-gateway:default",
    "provider:*",
    "-provider:*",
    "target:sa",
    "operation:embeddings",
    "outcome:failed,client_left",
    "cache:hit",
    "cache:bypass",
    "-cache:bypass",
    "blame:upstream",
    "code:upstream*",
    "cost:>0.01",
    "cost:unpriced,no_usage",
    "cost:estimated,0..0.001",
    "-cost:*",
    "tokens:>2000",
    "-tokens:..3000",
    "tokens_in:1000..3000",
    "tokens_out:0",
    "attempts:0,2",
    "duration:>2s",
    "ttfb:100ms..1s",
    "-ttft:*",
    "stream:true",
    "meta.tenantId:acme",
    "-meta.tenantId:acme,globex",
    "meta.n:>5",
    "meta.n:7",
    "meta.beta:true",
    "meta.made-up-3:*",
    "event:event-1*",
    "user_agent:*Python*",
    "token:ci",
    "id:01*",
];

fn filter(dice: &mut Dice) -> Filter {
    let mut text = String::new();
    for _ in 0..dice.below(3) {
        let _written = write!(text, "{} ", dice.pick(&TERMS));
    }
    if dice.once_in(8) {
        text.push_str("\"answer 1\" ");
    }
    let parsed = Filter::parse(&text, sample::START);
    assert!(parsed.is_ok(), "{text}: {parsed:?}");
    parsed.unwrap_or_default()
}

fn times(dice: &mut Dice) -> [Option<Timestamp>; 2] {
    let mut moment = || {
        let micros = sample::START.as_micros() + dice.below(3 * 86_400_000_000);
        dice.once_in(3).then(|| Timestamp::from_micros(micros))
    };
    [moment(), moment()]
}

fn dimension(dice: &mut Dice) -> Dimension {
    match dice.below(3) {
        0 => Dimension::Metadata(dice.pick(&["tenantId", "n", "beta", "made-up-3"]).into()),
        _ => {
            let all: Vec<Dimension> = Dimension::all().collect();
            let at = usize::try_from(dice.below(all.len() as u64)).unwrap_or(0);
            all[at].clone()
        }
    }
}

/// A list of any kind.
#[must_use]
pub fn list(seed: u64) -> List {
    let mut dice = Dice::new(seed);
    let dice = &mut dice;
    let [since, until] = times(dice);
    List {
        filter: filter(dice),
        since,
        until,
        sort: match dice.below(4) {
            0 => Sort::Dimension(dimension(dice)),
            1 => Sort::Quantity(dice.pick(&Quantity::ALL)),
            _ => Sort::Time,
        },
        ascending: dice.once_in(2),
        after: None,
        offset: usize::try_from(dice.below(3) * dice.below(20)).unwrap_or(0),
        limit: dice.pick(&[1, 7, 50, 10_000]),
    }
}

/// An aggregate of any kind.
#[must_use]
pub fn aggregate(seed: u64) -> Aggregate {
    let mut dice = Dice::new(seed);
    let dice = &mut dice;
    let [since, until] = times(dice);
    let zone = dice.pick(&[
        "UTC",
        "Africa/Johannesburg",
        "America/New_York",
        "Asia/Kolkata",
    ]);
    let every = match dice.below(8) {
        0 => Some(Window::Fixed(Duration::from_secs(300))),
        1 => Window::calendar(Period::Hour, zone).ok(),
        2 => Window::calendar(Period::Day, zone).ok(),
        3 => Window::calendar(Period::Week, zone).ok(),
        4 => Window::calendar(Period::Minute, zone).ok(),
        _ => None,
    };
    let measures = (0..=dice.below(8)).map(|_| measure(dice)).collect();
    Aggregate {
        filter: filter(dice),
        since,
        until,
        by: (0..dice.below(4)).map(|_| dimension(dice)).collect(),
        every,
        measures,
        top: dice.pick(&[0, 1, 3, 100]),
        order: usize::try_from(dice.below(9)).unwrap_or(0),
    }
}

fn measure(dice: &mut Dice) -> Measure {
    let quantity = dice.pick(&Quantity::ALL);
    match dice.below(10) {
        0 => Measure::Count,
        1 => Measure::Errors,
        2 => Measure::Cached,
        3 => Measure::Unpriced,
        4 => Measure::Estimated,
        5 => Measure::Known(quantity),
        6 => Measure::Min(quantity),
        7 => Measure::Max(quantity),
        8 => Measure::Percentile(quantity, dice.pick(&[0, 500, 950, 1_000])),
        _ => Measure::Sum(quantity),
    }
}
