//! A gateway as it is told.

use isango_store::gateways::StoredGateway;
use isango_store::gateways::secrets::mask;
use isango_types::gateway::{DEFAULT_GATEWAY, Origin};
use isango_types::limit::{Dialect, Dimension, Limit, Window};
use isango_types::price::format_usd;
use isango_types::{Gateway, Timestamp, policy};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{Backoff, LimitType, Settings, SpendLimits, SpendRule, Split, Technique};
use crate::answer::{Listed, Remark};

/// A gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GatewayView {
    /// Its id, unique in the account.
    id: Box<str>,
    /// The account.
    account_id: Box<str>,
    /// When it was made; for one of the file, when the server started.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// Whether it is the one that every account has.
    is_default: bool,
    /// Who changes it: `api` here, `file` only the configuration file, `default` nobody has yet.
    managed_by: ManagedBy,
    /// Its settings.
    #[serde(flatten)]
    settings: Settings,
}

/// Who changes a gateway.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ManagedBy {
    /// This API.
    Api,
    /// The configuration file.
    File,
    /// Nobody has yet.
    Default,
}

impl Listed for GatewayView {
    fn place(&self) -> String {
        self.id.as_ref().to_owned()
    }
}

impl GatewayView {
    /// One that is stored. What it leaves out has the default of the configuration's key, which is in
    /// force.
    pub(super) fn of_stored(stored: &StoredGateway) -> Self {
        let mut fields = stored.fields.clone();
        mask(&mut fields);
        // It was checked before it was stored.
        let settings = serde_json::from_value(Value::Object(fields));
        let settings: Settings = settings.unwrap_or_default();
        Self {
            id: stored.id.clone(),
            account_id: stored.account.clone(),
            created_at: stored.created_at,
            modified_at: stored.modified_at,
            is_default: *stored.id == *DEFAULT_GATEWAY,
            managed_by: ManagedBy::Api,
            settings: settings.complete(false),
        }
    }

    /// One of the configuration file, in the spelling of this API.
    pub(super) fn of_file(gateway: &Gateway, since: Timestamp) -> Self {
        let rate = gateway
            .limits
            .iter()
            .find(|limit| limit.dialect == Dialect::RateLimit);
        let (interval, technique) = rate.map_or((0, None), |limit| {
            let (seconds, technique) = window(&limit.window);
            (seconds, Some(technique))
        });
        let rules = gateway
            .limits
            .iter()
            .filter(|limit| limit.dialect == Dialect::SpendLimit);
        let rules: Vec<SpendRule> = rules.map(|limit| rule(limit)).collect();
        let retry = &gateway.retry;
        let millis = u64::try_from(retry.delay.as_millis()).unwrap_or(u64::MAX);
        let settings = Settings {
            cache_invalidate_on_update: gateway.cache.invalidate_on_update,
            cache_ttl: Some(gateway.cache.ttl.as_secs()),
            collect_logs: gateway.collect_logs,
            rate_limiting_interval: Some(interval),
            rate_limiting_limit: Some(rate.map_or(0, |limit| limit.limit)),
            rate_limiting_technique: technique,
            retry_max_attempts: Some(u64::from(retry.max_attempts)),
            retry_delay: Some(millis),
            retry_backoff: Some(match retry.backoff {
                policy::Backoff::Constant => Backoff::Constant,
                policy::Backoff::Linear => Backoff::Linear,
                policy::Backoff::Exponential => Backoff::Exponential,
            }),
            spend_limits: (!rules.is_empty()).then_some(SpendLimits {
                enabled: true,
                rules,
            }),
            ..Settings::default()
        };
        Self {
            id: gateway.id.clone(),
            account_id: gateway.account.clone(),
            created_at: since,
            modified_at: since,
            is_default: *gateway.id == *DEFAULT_GATEWAY,
            managed_by: ManagedBy::File,
            settings: settings.complete(gateway.authentication),
        }
    }

    /// The same, by whom it is changed.
    pub(super) fn managed_by(mut self, origin: Origin) -> Self {
        self.managed_by = match origin {
            Origin::Nobody => ManagedBy::Default,
            Origin::File => ManagedBy::File,
            Origin::Stored => ManagedBy::Api,
        };
        self
    }

    /// What is set and has no effect.
    pub(super) fn remarks(&self) -> Vec<Remark> {
        self.settings.remarks()
    }
}

/// Seconds, and how it moves; a turn of the calendar is told by its length.
fn window(window: &Window) -> (u64, Technique) {
    match window {
        Window::Sliding(length) => (length.as_secs(), Technique::Sliding),
        Window::Fixed(length) => (length.as_secs(), Technique::Fixed),
        Window::Calendar { period, .. } => (period.length().as_secs(), Technique::Fixed),
    }
}

fn rule(limit: &Limit) -> SpendRule {
    let (seconds, technique) = window(&limit.window);
    let mut rule = SpendRule {
        limit_type: LimitType::Cost,
        // It is written as a number, and read again as one.
        limit: serde_json::from_str(&format_usd(limit.limit)).unwrap_or_else(|_no_number| 0.into()),
        window: seconds,
        technique,
        id: limit.id.to_string(),
        enabled: true,
        metadata: Default::default(),
        model: None,
        provider: None,
    };
    let partitions = limit
        .by
        .iter()
        .map(|dimension| (dimension, Split::Partition));
    let filters = limit.only.iter().map(|one| {
        let values = one.values.iter().map(ToString::to_string).collect();
        (&one.dimension, Split::Filter { values })
    });
    for (dimension, split) in partitions.chain(filters) {
        match dimension {
            Dimension::Metadata(key) => {
                rule.metadata.insert(key.to_string(), split);
            }
            Dimension::Model => rule.model = Some(split),
            Dimension::Provider => rule.provider = Some(split),
            // No spend limit is split by these.
            Dimension::Token | Dimension::Target => {}
        }
    }
    rule
}
