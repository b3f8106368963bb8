//! The fields of a gateway as clients of Cloudflare spell them (management-api section 3): their
//! kinds, their bounds, and which of them have no effect yet.

use std::collections::BTreeMap;

use isango_store::config::Wrong;
use isango_types::is_gateway_id;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::answer::Remark;
use crate::codes::Code;

/// What a new gateway must be told.
pub(super) const REQUIRED: [&str; 5] = [
    "cache_invalidate_on_update",
    "cache_ttl",
    "collect_logs",
    "rate_limiting_interval",
    "rate_limiting_limit",
];

/// What clients send back as they read it, and what nobody can change.
pub(super) const READ_ONLY: [&str; 9] = [
    "account_id",
    "account_tag",
    "created_at",
    "internal",
    "internal_id",
    "is_default",
    "managed_by",
    "modified_at",
    "wholesale",
];

/// Rules of `spend_limits` at most.
const MAX_RULES: usize = 20;
/// Entries of `otel` at most.
const MAX_OTEL: usize = 5;

/// A gateway's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Whether kept answers are dropped when the gateway changes.
    pub(super) cache_invalidate_on_update: bool,
    /// Seconds that answers are kept; 0 or null: only where a request asks for it.
    #[schema(minimum = 0, maximum = 2_592_000)]
    pub(super) cache_ttl: Option<u64>,
    /// Whether exchanges leave a record.
    #[serde(default = "yes")]
    pub(super) collect_logs: bool,
    /// Length of the interval of the rate limit in seconds; 0 or null: off.
    #[schema(minimum = 0, maximum = 31_622_400)]
    pub(super) rate_limiting_interval: Option<u64>,
    /// Requests in each interval; 0 or null: off.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub(super) rate_limiting_limit: Option<u64>,
    /// How the interval moves.
    pub(super) rate_limiting_technique: Option<Technique>,
    /// Whether a gateway token is needed.
    pub(super) authentication: Option<bool>,
    /// Whether every request needs a credential of its caller, or a stored one.
    pub(super) byok_only: Option<bool>,
    /// Data loss prevention.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) dlp: Option<Dlp>,
    /// Content rules.
    pub(super) guardrails: Option<Guardrails>,
    /// Whether records are classified.
    pub(super) log_classification: Option<bool>,
    /// Most records that are kept.
    #[schema(minimum = 10_000, maximum = 10_000_000)]
    pub(super) log_management: Option<u64>,
    /// What happens beyond.
    pub(super) log_management_strategy: Option<Strategy>,
    /// Whether records are exported.
    pub(super) logpush: Option<bool>,
    /// What exported records are sealed with: an RSA key, PEM.
    #[schema(min_length = 16, max_length = 1_024)]
    pub(super) logpush_public_key: Option<String>,
    /// Where traces or metrics go.
    #[schema(max_items = 5)]
    pub(super) otel: Option<Vec<Otel>>,
    /// How often a target is asked.
    #[schema(minimum = 1, maximum = 5)]
    pub(super) retry_max_attempts: Option<u64>,
    /// Milliseconds before the first retry.
    #[schema(minimum = 0, maximum = 60_000)]
    pub(super) retry_delay: Option<u64>,
    /// How the wait grows.
    pub(super) retry_backoff: Option<Backoff>,
    /// Budgets.
    pub(super) spend_limits: Option<SpendLimits>,
    /// The store of its provider keys.
    pub(super) store_id: Option<String>,
    /// Usage events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stripe: Option<Stripe>,
    /// How Workers AI is paid for.
    pub(super) workers_ai_billing_mode: Option<BillingMode>,
    /// Whether only providers are asked that retain nothing.
    pub(super) zdr: Option<bool>,
}

/// How a window moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Technique {
    /// One after another.
    Fixed,
    /// The last so many seconds.
    #[default]
    Sliding,
}

/// How the wait before a retry grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backoff {
    /// Not at all.
    Constant,
    /// By the delay each time.
    Linear,
    /// Doubled each time.
    Exponential,
}

/// What happens when the most records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Strategy {
    /// New ones are not.
    StopInserting,
    /// The oldest go.
    DeleteOldest,
}

/// How Workers AI is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BillingMode {
    /// By its own account.
    Postpaid,
    /// With all other providers.
    Unified,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Action {
    /// It is told.
    Flag,
    /// It is refused.
    Block,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Check {
    /// What was sent.
    Request,
    /// What was answered.
    Response,
}

/// Data loss prevention, in either of its two shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Dlp {
    /// With policies.
    Policies(DlpPolicies),
    /// One for all.
    Profiles(DlpProfiles),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DlpPolicies {
    enabled: bool,
    policies: Vec<DlpPolicy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DlpProfiles {
    enabled: bool,
    action: Action,
    profiles: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DlpPolicy {
    id: String,
    enabled: bool,
    action: Action,
    check: Vec<Check>,
    profiles: Vec<String>,
}

/// Content rules, by category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Guardrails {
    /// `P1`, `S1` to `S13`.
    prompt: BTreeMap<String, Action>,
    /// The same of answers.
    response: BTreeMap<String, Action>,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otel {
    /// Address; its query is stored sealed, and told as `*****`.
    #[schema(max_length = 2_048)]
    url: String,
    /// Headers. Their values are stored sealed, and told as `*****`; that sent back keeps the value,
    /// as long as the address is the same.
    headers: BTreeMap<String, String>,
    /// Reference to a stored secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    authorization: Option<String>,
    /// Encoding.
    #[serde(default)]
    content_type: OtelType,
    /// What goes there.
    #[serde(default, skip_serializing_if = "OtelSignal::is_traces")]
    signal: OtelSignal,
}

/// What an exporter sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtelSignal {
    /// A span for each request.
    #[default]
    Traces,
    /// What requests add to metrics, every ten seconds.
    Metrics,
}

impl OtelSignal {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands a reference over"
    )]
    fn is_traces(&self) -> bool {
        *self == Self::Traces
    }
}

/// Encoding of traces and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtelType {
    /// JSON.
    #[default]
    Json,
    /// Protocol buffers.
    Protobuf,
}

/// Usage events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stripe {
    /// Key; stored sealed, and told as `*****`.
    authorization: String,
    /// What is sent.
    usage_events: Vec<StripeEvent>,
}

/// A usage event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StripeEvent {
    /// Its body.
    payload: String,
}

/// Budgets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SpendLimits {
    /// Whether they hold.
    pub(super) enabled: bool,
    /// At most 20.
    #[schema(max_items = 20)]
    pub(super) rules: Vec<SpendRule>,
}

/// One budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpendRule {
    /// What is counted.
    #[serde(rename = "limitType")]
    pub(super) limit_type: LimitType,
    /// US dollars, above 0.
    #[schema(value_type = f64, exclusive_minimum = 0)]
    pub(super) limit: Number,
    /// Seconds, above 0.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub(super) window: u64,
    /// How the window moves.
    #[serde(default)]
    pub(super) technique: Technique,
    /// Its name.
    #[serde(default = "unnamed")]
    #[schema(pattern = "^[a-zA-Z0-9_-]+$", max_length = 64)]
    pub(super) id: String,
    /// Whether it holds.
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    /// Split or filtered by entries of metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, Split>,
    /// For these models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Split>,
    /// For these providers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<Split>,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LimitType {
    /// Money.
    Cost,
}

/// How a budget is split by a dimension, or filtered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Split {
    /// One budget for each value.
    Partition,
    /// Only for these values.
    Filter {
        /// At least one.
        values: Vec<String>,
    },
}

fn unnamed() -> String {
    "00000000".into()
}

const fn yes() -> bool {
    true
}

impl Settings {
    /// Fills what always has a value: settings that a client leaves out, and reads again.
    pub(super) fn complete(mut self, authentication: bool) -> Self {
        self.authentication.get_or_insert(authentication);
        for flag in [
            &mut self.byok_only,
            &mut self.log_classification,
            &mut self.logpush,
            &mut self.zdr,
        ] {
            flag.get_or_insert(false);
        }
        self.workers_ai_billing_mode
            .get_or_insert(BillingMode::Postpaid);
        self
    }

    /// What no kind tells.
    pub(super) fn wrong(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut within = |name: &str, value: Option<u64>, least: u64, most: u64| {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                let message = format!("`{name}` must be from {least} to {most}");
                wrong.push(told(&[name], message));
            }
        };
        within("cache_ttl", self.cache_ttl, 0, 2_592_000);
        within(
            "rate_limiting_interval",
            self.rate_limiting_interval,
            0,
            31_622_400,
        );
        within(
            "rate_limiting_limit",
            self.rate_limiting_limit,
            0,
            1_000_000_000,
        );
        within("log_management", self.log_management, 10_000, 10_000_000);
        within("retry_max_attempts", self.retry_max_attempts, 1, 5);
        within("retry_delay", self.retry_delay, 0, 60_000);
        if let Some(key) = &self.logpush_public_key
            && !(16..=1_024).contains(&key.chars().count())
        {
            let message = "`logpush_public_key` has 16 to 1024 characters";
            wrong.push(told(&["logpush_public_key"], message));
        }
        if self.log_classification == Some(true) && !self.collect_logs {
            let message = "`log_classification` needs `collect_logs`";
            wrong.push(told(&["log_classification"], message));
        }
        self.wrong_otel(&mut wrong);
        self.wrong_guardrails(&mut wrong);
        self.wrong_spend_limits(&mut wrong);
        wrong
    }

    fn wrong_otel(&self, wrong: &mut Vec<Wrong>) {
        let all = self.otel.iter().flatten();
        if all.clone().count() > MAX_OTEL {
            wrong.push(told(
                &["otel"],
                format!("`otel` has at most {MAX_OTEL} entries"),
            ));
        }
        for (place, otel) in all.enumerate() {
            let place = place.to_string();
            let is_url = otel.url.starts_with("https://") || otel.url.starts_with("http://");
            if !is_url || otel.url.len() > 2_048 {
                let message = "`url` is an address of at most 2048 characters";
                wrong.push(told(&["otel", &place, "url"], message));
            }
            if otel.headers.values().any(|value| value.len() > 4_096) {
                let message = "a header has at most 4096 characters";
                wrong.push(told(&["otel", &place, "headers"], message));
            }
            if otel
                .authorization
                .as_ref()
                .is_some_and(|text| text.len() > 256)
            {
                let message = "`authorization` has at most 256 characters";
                wrong.push(told(&["otel", &place, "authorization"], message));
            }
        }
    }

    fn wrong_guardrails(&self, wrong: &mut Vec<Wrong>) {
        let Some(rules) = &self.guardrails else {
            return;
        };
        let is_category = |name: &str| {
            let number = name
                .strip_prefix('S')
                .and_then(|digits| digits.parse().ok());
            name == "P1" || number.is_some_and(|number: u8| (1..=13).contains(&number))
        };
        for (side, rules) in [("prompt", &rules.prompt), ("response", &rules.response)] {
            for name in rules.keys().filter(|name| !is_category(name)) {
                let message = format!("`{name}` is no category; there are P1 and S1 to S13");
                wrong.push(told(&["guardrails", side, name], message));
            }
        }
    }

    fn wrong_spend_limits(&self, wrong: &mut Vec<Wrong>) {
        let Some(limits) = &self.spend_limits else {
            return;
        };
        if limits.rules.len() > MAX_RULES {
            let message = format!("`rules` has at most {MAX_RULES} entries");
            wrong.push(told(&["spend_limits", "rules"], message));
        }
        for (place, rule) in limits.rules.iter().enumerate() {
            let place = place.to_string();
            let mut at = |name: &str, message: &str| {
                wrong.push(told(&["spend_limits", "rules", &place, name], message));
            };
            if !rule.limit.as_f64().is_some_and(|limit| limit > 0.0) {
                at("limit", "`limit` must be above 0");
            }
            if !(1..=31_622_400).contains(&rule.window) {
                at("window", "`window` must be from 1 to 31622400");
            }
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            if !(1..=64).contains(&rule.id.len()) || !rule.id.bytes().all(is_name) {
                at("id", "`id` has 1 to 64 letters, digits, `_` or `-`");
            }
            for (name, split) in [("model", &rule.model), ("provider", &rule.provider)] {
                if matches!(split, Some(Split::Partition)) {
                    at(name, "it can only be a filter");
                }
            }
        }
    }

    /// A remark for each field that is set and has no effect.
    pub(super) fn remarks(&self) -> Vec<Remark> {
        let unbuilt = [
            ("dlp", self.dlp.is_some(), "content is not guarded yet"),
            (
                "guardrails",
                self.guardrails.is_some(),
                "content is not guarded yet",
            ),
            (
                "log_classification",
                self.log_classification == Some(true),
                "records are not classified yet",
            ),
            (
                "stripe",
                self.stripe.is_some(),
                "usage events are not sent yet",
            ),
            (
                "workers_ai_billing_mode",
                self.workers_ai_billing_mode == Some(BillingMode::Unified),
                "there is no unified billing: every provider is paid by its own account",
            ),
            (
                "zdr",
                self.zdr == Some(true),
                "what providers retain is agreed with them, not set here",
            ),
            (
                "store_id",
                self.store_id.is_some(),
                "provider keys are stored with the gateway itself",
            ),
            (
                "byok_only",
                self.byok_only == Some(true),
                "it holds of itself: there is no unified billing, so that every request is sent \
                 with a credential of the caller, the configuration or the store",
            ),
        ];
        let set = unbuilt.into_iter().filter(|(_, is_set, _)| *is_set);
        let remark = |(name, _, why): (&str, bool, &str)| Remark {
            code: Code::NotInForce,
            message: format!("`{name}` is kept, but not in force: {why}"),
        };
        set.map(remark).collect()
    }
}

fn told(path: &[&str], message: impl Into<String>) -> Wrong {
    Wrong {
        path: path.iter().map(|name| (*name).into()).collect(),
        message: message.into(),
    }
}

/// What a body must hold and does not, and an id that is none.
pub(super) fn missing(members: &Map<String, Value>) -> Vec<Wrong> {
    let absent = REQUIRED.iter().filter(|name| !members.contains_key(**name));
    let mut wrong: Vec<Wrong> = absent.map(|name| told(&[name], "Required")).collect();
    match members.get("id") {
        None => wrong.push(told(&["id"], "Required")),
        Some(Value::String(id)) if is_gateway_id(id) => {}
        Some(_other) => {
            let rule = "1 to 64 of a-z, 0-9 and `_`, with single `-` between them";
            wrong.push(told(&["id"], format!("`id` must be {rule}")));
        }
    }
    wrong
}
