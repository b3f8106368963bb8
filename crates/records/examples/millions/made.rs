//! Records as they come from production: 5 KB of prompt and answer, a month, forty tenants.

use isango_types::record::{
    Attempt, Body, CacheStatus, CacheUse, Message, MetadataValue, Outcome, Timing,
};
use isango_types::{Cost, CostStatus, Operation, Record, RecordId, Timestamp, Usage};
use serde_json::value::to_raw_value;

/// A word that one record in [`RARE_EVERY`] has.
pub(crate) const RARE: &str = "quokkaberry";
/// How rare that is.
pub(crate) const RARE_EVERY: u64 = 500_000;
/// Different users.
pub(crate) const USERS: u64 = 100_000;
/// Different tenants.
pub(crate) const TENANTS: u64 = 40;
const FEATURES: [&str; 6] = ["chat", "search", "summary", "triage", "draft", "translate"];
const MODELS: [(&str, &str, u64, u64); 4] = [
    ("gpt-4o", "gpt-4o-2024-08-06", 2_500, 10_000),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", 150, 600),
    ("gpt-4.1", "gpt-4.1-2025-04-14", 2_000, 8_000),
    ("o3-mini", "o3-mini-2025-01-31", 1_100, 4_400),
];
const SYLLABLES: [&str; 32] = [
    "an", "ber", "ca", "der", "el", "fo", "gra", "hi", "in", "jo", "ka", "lo", "mer", "no", "or",
    "pre", "qui", "re", "sta", "ti", "un", "ver", "wil", "xe", "ya", "zo", "che", "ble", "ing",
    "ment", "ous", "ly",
];
/// Different words; the n-th is as frequent as 1/n.
const WORDS: u64 = 40_000;

/// Makes records, always the same ones.
pub(crate) struct Maker {
    words: Vec<String>,
    prompts: Vec<String>,
    state: u64,
    first: u64,
    step: u64,
}

impl Maker {
    /// For `count` records that are spread over the 30 days before `now`.
    pub(crate) fn new(count: u64, now: Timestamp) -> Self {
        let month = 30 * 86_400_000_000;
        let mut maker = Self {
            words: (0..WORDS).map(word).collect(),
            prompts: Vec::new(),
            state: 0x9E37_79B9_7F4A_7C15,
            first: now.as_micros() - month,
            step: month / count.max(1),
        };
        maker.prompts = FEATURES.iter().map(|_| maker.text(220)).collect();
        maker
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.random() >> 11) % end
    }

    /// So many words; frequent ones most.
    fn text(&mut self, words: u64) -> String {
        let mut text = String::new();
        for n in 0..words {
            // As far into the words as a random number of bits reaches: about 1/n.
            let bits = self.below(16);
            let at = (1_u64 << bits) - 1 + self.below(1 << bits);
            let word = self.words.get(index(at % WORDS));
            text.push_str(word.map_or("", String::as_str));
            text.push_str(if n % 11 == 10 { ". " } else { " " });
        }
        text
    }

    /// The n-th record.
    pub(crate) fn record(&mut self, n: u64) -> Result<Record, serde_json::Error> {
        let created_at = Timestamp::from_micros(self.first + n * self.step);
        let id = RecordId::new(created_at);
        let tenant = self.below(TENANTS).min(self.below(TENANTS));
        let feature = index(self.below(FEATURES.len() as u64));
        let (model, version, price_in, price_out) = MODELS[index(self.below(MODELS.len() as u64))];
        let (asked, answered) = (80 + self.below(240), 60 + self.below(300));
        let mut question = self.text(asked);
        if n % RARE_EVERY == RARE_EVERY / 3 {
            question.push_str(RARE);
        }
        let request = serde_json::json!({"model": model, "stream": n.is_multiple_of(2), "messages": [
            {"role": "system", "content": self.prompts[feature]},
            {"role": "user", "content": question}]});
        let answer = serde_json::json!({"id": format!("chatcmpl-{:016x}", self.random()),
            "object": "chat.completion", "model": version, "choices": [{"index": 0,
            "message": {"role": "assistant", "content": self.text(answered)},
            "finish_reason": "stop"}]});
        let status = match self.below(100) {
            0..=1 => 429,
            2 => 500,
            _ => 200,
        };
        let usage = (status == 200).then(|| Usage {
            input: 300 + asked * 4 / 3,
            output: answered * 4 / 3,
            ..Usage::default()
        });
        let cost = usage
            .as_ref()
            .map(|usage| usage.input * price_in + usage.output * price_out);
        let duration = 300_000 + answered * 12_000 + self.below(2_000_000);
        let user = self.below(USERS);
        let text = |value: String| MetadataValue::Text(value.into());
        Ok(Record {
            id,
            event_id: id.to_string().into(),
            created_at,
            account: "local".into(),
            gateway: ["default", "support", "internal"][index(tenant % 3)].into(),
            provider: Some("azure-openai".into()),
            target: Some(format!("azure-{}", tenant % 4).into()),
            resource: Some("aoai-sa".into()),
            deployment: Some(model.into()),
            operation: Operation::Chat,
            model_requested: Some(model.into()),
            model: Some(version.into()),
            method: "POST".into(),
            path: format!("/aoai-sa/{model}/chat/completions").into(),
            status: Some(status),
            outcome: Outcome::Answered,
            attempts: attempts(status, duration),
            timing: timing(duration, self.below(100)),
            stream: n.is_multiple_of(2),
            usage,
            cost: Cost {
                status: CostStatus::Priced,
                nanousd: Some(cost.unwrap_or(0)),
                price: Some(format!("2026-11-20/openai/{model}").into()),
            },
            cache: Some(cache(n.is_multiple_of(9))),
            finish_reason: Some("stop".into()),
            metadata: [
                ("tenant", text(format!("tenant-{tenant}"))),
                ("user", text(format!("user-{user}"))),
                ("feature", text(FEATURES[feature].to_owned())),
                ("prompt_version", text(format!("v{}", n % 7))),
            ]
            .map(|(key, value)| (key.into(), value))
            .into(),
            token: Some(format!("app-{}", tenant % 5).into()),
            user_agent: Some("OpenAI/Python 1.99.0".into()),
            request: message(&request)?,
            response: message(&answer)?,
            ..isango_store::conformance::sample::record(0)
        })
    }
}

fn attempts(status: u16, duration: u64) -> Vec<Attempt> {
    vec![Attempt {
        target: "azure".into(),
        status: Some(status),
        started_us: 40,
        ttfb_us: Some(duration / 5),
        reused: true,
        ..Attempt::default()
    }]
}

fn timing(duration: u64, random: u64) -> Timing {
    Timing {
        ttfb_us: Some(duration / 5),
        ttft_us: Some(duration / 4),
        total_us: duration,
        overhead_us: 150 + random,
        ..Timing::default()
    }
}

fn cache(is_hit: bool) -> Box<CacheUse> {
    let status = if is_hit {
        CacheStatus::Hit
    } else {
        CacheStatus::Miss
    };
    Box::new(CacheUse {
        status,
        ..CacheUse::default()
    })
}

fn word(n: u64) -> String {
    let mut word = String::new();
    let mut rest = n;
    loop {
        word.push_str(SYLLABLES[index(rest % 32)]);
        rest /= 32;
        if rest == 0 {
            return word;
        }
    }
}

fn message(json: &serde_json::Value) -> Result<Message, serde_json::Error> {
    let body = to_raw_value(json)?;
    Ok(Message {
        content_type: Some("application/json".into()),
        bytes: body.get().len() as u64,
        body: Some(Body::Json(body)),
        ..Message::default()
    })
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
