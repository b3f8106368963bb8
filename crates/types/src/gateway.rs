//! A gateway: one configured front door and its policies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::provider::BaseUrl;
use crate::secret::Secret;

/// Id of the gateway that exists in every account without any configuration.
pub const DEFAULT_GATEWAY: &str = "default";

/// One gateway, compiled and checked.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its id, unique in the account.
    pub id: Box<str>,
    /// Whether a gateway token is needed.
    pub authentication: bool,
    /// Whether exchanges leave a record.
    pub collect_logs: bool,
    /// Whether records hold bodies.
    pub collect_log_payload: bool,
    /// Whether the raw frames of streams are stored beside the assembled answer.
    pub record_raw_streams: bool,
    /// Largest request body that is accepted, in bytes.
    pub max_request_bytes: u64,
    /// How much of each body a record stores, in bytes.
    pub max_record_body_bytes: usize,
    /// How long a provider may take to its first byte; `None`: as long as it needs.
    pub first_byte_timeout: Option<Duration>,
    /// Named targets, in the order of the configuration.
    pub targets: Vec<Arc<Target>>,
}

impl Gateway {
    /// The gateway `id` of `account` with every setting at its default.
    #[must_use]
    pub fn new(account: &str, id: &str) -> Self {
        Self {
            account: account.into(),
            id: id.into(),
            authentication: false,
            collect_logs: true,
            collect_log_payload: true,
            record_raw_streams: false,
            max_request_bytes: 100 << 20,
            max_record_body_bytes: 4 << 20,
            first_byte_timeout: None,
            targets: Vec::new(),
        }
    }
}

/// A provider as one gateway uses it: resource, region, credential, deployments.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in records and in `cf-aig-provider`.
    pub name: Box<str>,
    /// Slug of its provider.
    pub provider: Box<str>,
    /// Azure resource; a request for this resource is this target's.
    pub resource: Option<Box<str>>,
    /// Region, as the operator names it.
    pub region: Option<Box<str>>,
    /// Credential for requests that carry none.
    pub credential: Option<Secret>,
    /// Deployment to model, for prices.
    pub models: BTreeMap<Box<str>, Box<str>>,
    /// Address instead of the provider's: a private endpoint, or the simulator.
    pub base_url: Option<BaseUrl>,
}
