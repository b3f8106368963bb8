//! A gateway: one configured front door and its policies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::Alert;
use crate::credential::{Credential, StoredCredential};
use crate::health::{Breaker, Budget, Group, Hedge};
use crate::limit::Limit;
use crate::policy::{CachePolicy, Chain, Durability, LogManagement, RetryPolicy, Timeouts};
use crate::provider::BaseUrl;
use crate::redaction::Redaction;
use crate::secret::Secret;

/// Id of the gateway that exists in every account without any configuration.
pub const DEFAULT_GATEWAY: &str = "default";

/// Who configured a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: every setting has its default.
    Nobody,
    /// The configuration file, where alone it can be changed.
    File,
    /// The management API.
    Stored,
}

/// One gateway, compiled and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// The account it belongs to.
    pub account: Box<str>,
    /// Its id, unique in the account.
    pub id: Box<str>,
    /// Who configured it.
    pub origin: Origin,
    /// Whether a gateway token is needed.
    pub authentication: bool,
    /// Whether exchanges leave a record.
    pub collect_logs: bool,
    /// Whether records hold bodies.
    pub collect_log_payload: bool,
    /// When the last byte of an answer goes to its client.
    pub durability: Durability,
    /// How many of its records are kept; `None`: as many as the store keeps.
    pub log_management: Option<LogManagement>,
    /// Whether the raw frames of streams are stored beside the assembled answer.
    pub record_raw_streams: bool,
    /// Largest request body that is accepted, in bytes.
    pub max_request_bytes: u64,
    /// How much of each body a record stores, in bytes.
    pub max_record_body_bytes: usize,
    /// How long calls to providers may take that belong to no target.
    pub timeouts: Timeouts,
    /// From the head of a request to the last byte of its answer; `None`: as long as it needs.
    pub total_timeout: Option<Duration>,
    /// Whether the same target is asked again, unless the request says otherwise.
    pub retry: RetryPolicy,
    /// How much of a body is held so that it can be sent again, in bytes.
    pub max_replay_bytes: usize,
    /// When an answer is given to an equal question.
    pub cache: CachePolicy,
    /// Named targets, in the order of the configuration.
    pub targets: Vec<Arc<Target>>,
    /// Who is asked when a target fails, at most one chain for each.
    pub fallback: Vec<Chain>,
    /// Regions whose targets may be used; empty: any address.
    pub residency: Vec<Box<str>>,
    /// Targets that share traffic as equals; each is in one group at most.
    pub groups: Vec<Group>,
    /// When a target that fails is left alone; `None`: never.
    pub breaker: Option<Breaker>,
    /// How many of the requests to a target may be sent again.
    pub retry_budget: Budget,
    /// When a request is sent to a second target as well; `None`: never.
    pub hedge: Option<Hedge>,
    /// How much may pass, in the order in which they are judged; at most 32, and the spend caps of
    /// tokens.
    pub limits: Vec<Arc<Limit>>,
    /// Credentials that are stored for it.
    pub credentials: Vec<StoredCredential>,
    /// Of what somebody is to be told; at most 64. Requests know nothing of it.
    pub alerts: Vec<Arc<Alert>>,
    /// Whether jobs of the management API export its records.
    pub logpush: bool,
    /// What metadata and bodies of exported records are sealed with: an RSA key in PEM.
    pub logpush_public_key: Option<Box<str>>,
    /// Where its traces go; at most five. Requests know nothing of it.
    pub otel: Vec<Arc<Otel>>,
    /// What is taken out of records before they are stored.
    pub redaction: Option<Redaction>,
    /// What is taken out of records before they are exported.
    pub export_redaction: Option<Redaction>,
}

impl Gateway {
    /// The gateway `id` of `account` with every setting at its default.
    #[must_use]
    pub fn new(account: &str, id: &str) -> Self {
        Self {
            account: account.into(),
            id: id.into(),
            origin: Origin::Nobody,
            authentication: false,
            collect_logs: true,
            collect_log_payload: true,
            durability: Durability::Relaxed,
            log_management: None,
            record_raw_streams: false,
            max_request_bytes: 100 << 20,
            max_record_body_bytes: 4 << 20,
            timeouts: Timeouts::default(),
            total_timeout: None,
            retry: RetryPolicy::default(),
            max_replay_bytes: 4 << 20,
            cache: CachePolicy::default(),
            targets: Vec::new(),
            fallback: Vec::new(),
            residency: Vec::new(),
            groups: Vec::new(),
            breaker: Some(Breaker::default()),
            retry_budget: Budget::RETRIES,
            hedge: None,
            limits: Vec::new(),
            credentials: Vec::new(),
            alerts: Vec::new(),
            logpush: false,
            logpush_public_key: None,
            otel: Vec::new(),
            redaction: None,
            export_redaction: None,
        }
    }

    /// The group of the target `name`, by its place in the list.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<usize> {
        let is_member = |group: &Group| {
            let mut names = group.targets.iter().map(|at| &*self.targets[*at].name);
            names.any(|member| member == name)
        };
        self.groups.iter().position(is_member)
    }

    /// The chain of the target `name`.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.fallback.iter().find(|chain| *chain.from == *name)
    }

    /// Whether requests may go to a target of this region.
    #[must_use]
    pub fn admits_region(&self, region: Option<&str>) -> bool {
        let is_region = |allowed: &str| region.is_some_and(|one| one.eq_ignore_ascii_case(allowed));
        self.residency.is_empty() || self.residency.iter().any(|allowed| is_region(allowed))
    }
}

/// Where the traces of a gateway go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otel {
    /// The whole address.
    pub url: Secret,
    /// Headers that they are sent with.
    pub headers: BTreeMap<Box<str>, Secret>,
    /// Whether metrics go there; otherwise traces.
    pub metrics: bool,
    /// Whether they are written as protobuf; otherwise as JSON.
    pub protobuf: bool,
    /// Whether the address may be in a private network, and http.
    pub allow_private: bool,
}

/// A provider as one gateway uses it: resource, region, credential, deployments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name in records and in `cf-aig-provider`.
    pub name: Box<str>,
    /// Slug of its provider.
    pub provider: Box<str>,
    /// Azure resource; a request for this resource is this target's.
    pub resource: Option<Box<str>>,
    /// Region, as the operator names it; `residency` goes by it, and a request that falls back to
    /// this target goes there.
    pub region: Option<Box<str>>,
    /// Credential for requests that carry none.
    pub credential: Option<Arc<Credential>>,
    /// What this target calls a model (an Azure deployment) to the model: for prices, and to find
    /// the same model at another target.
    pub models: BTreeMap<Box<str>, Box<str>>,
    /// Azure API version of requests that fall back to this target.
    pub api_version: Option<Box<str>>,
    /// Address instead of the provider's: a private endpoint, or the simulator.
    pub base_url: Option<BaseUrl>,
    /// How long its calls may take; the gateway's where it does not say otherwise.
    pub timeouts: Timeouts,
    /// Its share of the traffic of its group, relative to the others'; 0: only when no other can be
    /// asked.
    pub weight: u32,
}

impl Target {
    /// The model behind what a deployment, or a model, is called here; `None`: it is not listed.
    /// Names of Azure resources are the same in any case (Microsoft, "Naming rules and restrictions
    /// for Azure resources", read 2026-11-23), and a name that is listed as it is written goes
    /// first.
    #[must_use]
    pub fn model_of(&self, named: &str) -> Option<&str> {
        let listed = self.models.get(named);
        let alike = || {
            let mut models = self.models.iter();
            let found = models.find(|(name, _)| name.eq_ignore_ascii_case(named));
            found.map(|(_, model)| model)
        };
        listed.or_else(alike).map(|model| &**model)
    }

    /// Whether requests to both end up at the same place with the same right, so that what is known
    /// of the one holds for the other.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.name == other.name
            && self.provider == other.provider
            && self.resource == other.resource
            && self.region == other.region
            && self.base_url == other.base_url
            && self.credential == other.credential
    }
}
