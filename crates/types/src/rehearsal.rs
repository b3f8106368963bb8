//! What would become of a request: found out by the data plane without sending, drawing or recording
//! anything, and told by the control plane.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::RecordId;
use crate::limit::{Unit, Verdict};
use crate::operation::Operation;
use crate::record::CacheStatus;

/// What would become of a request, as far as it would come.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rehearsal {
    /// How it would end.
    pub fate: Fate,
    /// Why it would be refused.
    pub refusal: Option<Refused>,
    /// Slug of the provider; `None`: it would be refused before that is known, as all that follows.
    pub provider: Option<Box<str>>,
    /// The target that it goes to first: the configured one's name, else the provider's slug.
    pub target: Option<Box<str>>,
    /// Where it would be sent, without the query.
    pub upstream: Option<Box<str>>,
    /// What kind of call it is.
    pub operation: Operation,
    /// The model that it asks for, as limits and prices see it.
    pub model: Option<Box<str>>,
    /// Whether it asks for a stream.
    pub streams: bool,
    /// Name of the token that opens the gateway for it.
    pub token: Option<Box<str>>,
    /// Each limit that is for it, as it stands now and for this request alone.
    pub limits: Vec<LimitLook>,
    /// Who would be asked, in this order.
    pub targets: Vec<Stop>,
    /// What the cache has for it.
    pub cache: CacheLook,
    /// What it would draw; `None`: its body would not be read.
    pub estimate: Option<Guess>,
    /// What its record would remark.
    pub notes: Vec<Box<str>>,
}

/// How a request would end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The gateway would refuse it.
    #[default]
    Refused,
    /// It would be answered from the cache.
    Recalled,
    /// It would be sent to a provider.
    Sent,
}

/// The gateway's own answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Status.
    pub status: u16,
    /// Code.
    pub code: u16,
    /// In words.
    pub message: Box<str>,
}

/// What a limit says to a request. Amounts are in its unit; cost is in nano-dollars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitLook {
    /// Id of the limit.
    pub rule: Box<str>,
    /// What is counted.
    pub unit: Unit,
    /// The values of what splits it; `None`: the request has none.
    pub bucket: Vec<Option<Box<str>>>,
    /// What would become of the request there.
    pub verdict: Verdict,
    /// How much fits into the window.
    pub limit: u64,
    /// What is drawn or held already.
    pub before: u64,
    /// What is left.
    pub left: u64,
    /// What the request may draw; `None`: nobody can tell, and what is left would be for it alone.
    pub needs: Option<u64>,
    /// When there is more room.
    pub resets_at: Timestamp,
}

/// A target that may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// Its name.
    pub target: Box<str>,
    /// Slug of its provider.
    pub provider: Box<str>,
    /// Whether it is one of equals, which share the request; those behind are asked when these fail.
    pub is_equal: bool,
    /// Whether it can be asked now.
    pub is_open: bool,
    /// Why not, in words that follow its name.
    pub why: Option<Box<str>>,
}

/// What the cache has for a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CacheLook {
    /// What its answer would say of the cache.
    pub status: CacheStatus,
    /// Why it is not answered from there.
    pub reason: Option<Box<str>>,
    /// The digest of its question.
    pub key: Option<Box<str>>,
    /// Names of what makes the question, in order: no value is told.
    pub parts: Vec<Box<str>>,
    /// How long its answer would be kept, in seconds.
    pub ttl_s: Option<u64>,
    /// The answer that is kept under the key.
    pub kept: Option<KeptAnswer>,
    /// Whether the kept answer would stand in if the provider failed.
    pub stands_in: bool,
    /// Whether an equal request is on its way, whose answer it would share.
    pub is_under_way: bool,
    /// The kept question that is nearest, of those of late.
    pub nearest: Option<RecordId>,
    /// In which parts that differs.
    pub differs: Vec<Box<str>>,
}

impl CacheLook {
    /// What it has for a request that does not want it.
    #[must_use]
    pub fn unasked() -> Self {
        Self {
            reason: Some("nothing asks for the cache".into()),
            ..Self::default()
        }
    }
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptAnswer {
    /// The exchange that paid for it.
    pub filled_by: RecordId,
    /// When its question was asked.
    pub stored_at: Timestamp,
    /// How old it is, in seconds.
    pub age_s: u64,
    /// Until when it is fresh.
    pub fresh_until: Timestamp,
    /// For how much longer, in seconds; 0: it is not.
    pub left_s: u64,
    /// Its status.
    pub status: u16,
    /// Length of its body, in bytes.
    pub bytes: u64,
}

/// What a request would draw, as limits take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Guess {
    /// Tokens of input at most.
    pub input: u64,
    /// Tokens of output at most.
    pub output: u64,
    /// Tokens of input in all likelihood.
    pub likely_input: u64,
    /// Tokens of output in all likelihood.
    pub likely_output: u64,
    /// What it costs at most, in nano-dollars; `None`: that is not known.
    pub most_nanousd: Option<u64>,
    /// What it costs in all likelihood, in nano-dollars.
    pub likely_nanousd: Option<u64>,
}
