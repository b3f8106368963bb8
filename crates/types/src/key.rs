//! Gateway tokens: who may come in, where, for what and how long; as digests only.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;
use crate::id::{is_account, is_gateway_id};
use crate::limit::{
    Condition, Dialect, Dimension, Limit, Mode, OnExceeded, OnOverrun, Period, Unit, Window,
};
use crate::provider::Provider;
use crate::record::MetadataValue;

/// What every token of ours begins with, so that people and scanners recognize it.
pub const TOKEN_PREFIX: &str = "isg_";

/// Entries of each list of a token at most.
const MAX_LIST: usize = 64;
/// Entries of metadata that a token may be bound to (data-plane section 21).
const MAX_METADATA: usize = 5;
/// How long a request waits for others, where a spend cap is only held by them.
const SPEND_WAIT: Duration = Duration::from_secs(5);
/// Digests that are valid side by side at most: the newest, and those of a grace period.
pub const MAX_DIGESTS: usize = 4;

/// A token that opens gateways. The token itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name in records and messages; unique in its account.
    pub name: Box<str>,
    /// The account whose gateways it opens.
    pub account: Box<str>,
    /// Ids of the gateways it opens; empty: all of the account.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<Box<str>>,
    /// Slugs of the providers that requests with it may go to; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<Box<str>>,
    /// Models that requests with it may ask for, where one that ends with `*` stands for all that
    /// begin so; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Box<str>>,
    /// What it may do, at least one.
    pub scopes: Vec<Scope>,
    /// What it is known by, the newest first; none: it was revoked.
    pub digests: Vec<Digest>,
    /// When it ends; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Metadata of every request that carries it; wins over what the client claims.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<Box<str>, MetadataValue>,
    /// How much requests with it may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<Spend>,
    /// With `spend`: also models whose price is not known, which cost it nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_unpriced: bool,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send requests through gateways.
    Run,
    /// Read configuration and records of its account.
    Read,
    /// Change them.
    Write,
    /// Read configuration and records of its account, but for what was asked and answered.
    MetadataRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Run, Self::Read, Self::Write, Self::MetadataRead];

    /// The name in configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Write => "write",
            Self::MetadataRead => "metadata_read",
        }
    }

    /// The scope of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// What a token is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// SHA-256 of the whole token, prefix included.
    pub sha256: Sha256,
    /// When it stops being one; `None`: with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Digest {
    /// One that is valid as long as its token.
    #[must_use]
    pub const fn lasting(sha256: [u8; 32]) -> Self {
        Self {
            sha256: Sha256(sha256),
            until: None,
        }
    }

    /// Whether it is still one at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// 32 bytes that are written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Whether it is `other`, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, other: &[u8; 32]) -> bool {
        let differing =
            |sum: u8, (one, other): (&u8, &u8)| std::hint::black_box(sum | (one ^ other));
        self.0.iter().zip(other).fold(0, differing) == 0
    }

    /// Reads 64 hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no SHA-256 in hex"))
    }
}

/// How much requests with a token may cost in a turn of the calendar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spend {
    /// In nano-dollars; above 0.
    pub limit_nanousd: u64,
    /// In which turn.
    pub period: Period,
    /// By the clocks of which zone of the IANA database.
    pub time_zone: Box<str>,
}

/// Why a token cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(String);

impl Token {
    /// A token of this name with every setting at its default, that is known by nothing yet.
    #[must_use]
    pub fn new(account: &str, name: &str) -> Self {
        Self {
            name: name.into(),
            account: account.into(),
            gateways: Vec::new(),
            providers: Vec::new(),
            models: Vec::new(),
            scopes: vec![Scope::Run],
            digests: Vec::new(),
            expires_at: None,
            metadata: BTreeMap::new(),
            spend: None,
            allow_unpriced: false,
        }
    }

    /// Whether it opens the gateway `id` of `account`.
    #[must_use]
    pub fn opens(&self, account: &str, id: &str) -> bool {
        *self.account == *account
            && (self.gateways.is_empty() || self.gateways.iter().any(|gateway| **gateway == *id))
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it has not ended at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether requests with it may go to this provider.
    #[must_use]
    pub fn admits_provider(&self, provider: &Provider) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|slug| provider.is_called(slug))
    }

    /// Whether requests with it may ask for this model; `None`: it cannot be told which.
    #[must_use]
    pub fn admits_model(&self, model: Option<&str>) -> bool {
        let is_of = |allowed: &str, model: &str| match allowed.strip_suffix('*') {
            Some(beginning) => model.starts_with(beginning),
            None => model == allowed,
        };
        let is_listed = |model: &str| self.models.iter().any(|allowed| is_of(allowed, model));
        self.models.is_empty() || model.is_some_and(is_listed)
    }

    /// Whether requests with it are for models only whose price is known.
    #[must_use]
    pub const fn needs_prices(&self) -> bool {
        self.spend.is_some() && !self.allow_unpriced
    }

    /// Its spend cap as a limit of the one gateway that it opens; `None`: it has none.
    #[must_use]
    pub fn to_limit(&self) -> Option<Limit> {
        let spend = self.spend.as_ref()?;
        Some(Limit {
            // No other limit has a dot in its name.
            id: format!("token.{}", self.name).into(),
            by: Vec::new(),
            only: vec![Condition {
                dimension: Dimension::Token,
                values: vec![self.name.clone()],
            }],
            unit: Unit::Cost,
            limit: spend.limit_nanousd,
            window: Window::calendar(spend.period, &spend.time_zone).ok()?,
            mode: Mode::Strict,
            on_exceeded: OnExceeded::Block,
            on_overrun: OnOverrun::Extend,
            shadow: false,
            max_wait: SPEND_WAIT,
            dialect: Dialect::Limit,
        })
    }

    /// Checks what no type tells.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), TokenError> {
        let name = "1 to 64 letters, digits, `_` or `-`, no `_` or `-` first";
        for (what, text) in [("name", &self.name), ("account", &self.account)] {
            ensure(is_account(text), || {
                format!("`{text}` is no {what}: {name}")
            })?;
        }
        for id in &self.gateways {
            let rule = "1 to 64 of a-z, 0-9 and `_`, with single `-` between them";
            ensure(is_gateway_id(id), || {
                format!("`{id}` is no gateway: {rule}")
            })?;
        }
        for slug in &self.providers {
            ensure(is_account(slug), || {
                format!("`{slug}` is no provider: {name}")
            })?;
        }
        let is_model = |model: &str| {
            let text = model.strip_suffix('*').unwrap_or(model);
            (1..=256).contains(&model.len()) && !text.contains('*')
        };
        for model in &self.models {
            let rule = "a name, or the beginning of one with a `*` behind it";
            ensure(is_model(model), || format!("`{model}` is no model: {rule}"))?;
        }
        let lists = [&self.gateways, &self.providers, &self.models];
        let is_long = lists.into_iter().any(|list| list.len() > MAX_LIST);
        ensure(!is_long, || {
            format!("a token names at most {MAX_LIST} of a kind")
        })?;
        ensure(!self.scopes.is_empty(), || {
            "a token needs a scope: `run`, `read`, `write` or `metadata_read`".into()
        })?;
        ensure(self.metadata.len() <= MAX_METADATA, || {
            format!("a token is bound to at most {MAX_METADATA} entries of metadata")
        })?;
        self.check_spend()
    }

    fn check_spend(&self) -> Result<(), TokenError> {
        let Some(spend) = &self.spend else {
            return Ok(());
        };
        ensure(spend.limit_nanousd > 0, || {
            "a spend limit is above 0; without one the token has none".into()
        })?;
        ensure(self.gateways.len() == 1, || {
            "a token with a spend limit names the one gateway that it opens: each gateway counts \
             by itself"
                .into()
        })?;
        let zone = &spend.time_zone;
        Window::calendar(spend.period, zone)
            .map(|_window| ())
            .map_err(|_unknown| TokenError(format!("there is no time zone `{zone}`")))
    }
}

fn ensure(is_right: bool, wrong: impl FnOnce() -> String) -> Result<(), TokenError> {
    match is_right {
        true => Ok(()),
        false => Err(TokenError(wrong())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(change: impl FnOnce(&mut Token)) -> Token {
        let mut token = Token::new("local", "app");
        change(&mut token);
        token
    }

    #[test]
    fn a_token_opens_its_gateways_and_no_others() {
        let mut token = token(|token| token.gateways.push("support".into()));
        assert!(token.opens("local", "support"));
        assert!(!token.opens("local", "default"));
        assert!(!token.opens("other", "support"));
        token.gateways.clear();
        assert!(token.opens("local", "default"));
        assert!(!token.opens("other", "default"));
    }

    #[test]
    fn models_are_listed_by_name_or_beginning() {
        let listed = token(|token| token.models = vec!["gpt-4o".into(), "claude-*".into()]);
        for (model, admitted) in [
            (Some("gpt-4o"), true),
            (Some("gpt-4o-mini"), false),
            (Some("claude-sonnet"), true),
            (Some("Claude-sonnet"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(listed.admits_model(model), admitted, "{model:?}");
        }
        assert!(token(|_| ()).admits_model(None));
    }

    #[test]
    fn providers_are_listed_by_slug_or_alias() {
        let providers = Provider::built_in().unwrap();
        let aliased = providers
            .iter()
            .find(|one| !one.aliases.is_empty())
            .unwrap();
        let other = providers
            .iter()
            .find(|one| one.slug != aliased.slug)
            .unwrap();
        for slug in [&aliased.slug, &aliased.aliases[0]] {
            let listed = token(|token| token.providers.push(slug.clone()));
            assert!(listed.admits_provider(aliased), "{slug}");
            assert!(!listed.admits_provider(other), "{slug}");
        }
    }

    #[test]
    fn digests_are_compared_whole_and_survive_their_text() {
        let sha256 = Sha256(std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        assert!(sha256.is(&sha256.0));
        for at in 0..32 {
            let mut other = sha256.0;
            other[at] ^= 1;
            assert!(!sha256.is(&other), "{at}");
        }
        assert_eq!(Sha256::parse(&sha256.to_string()), Some(sha256));
        for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(Sha256::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_survives_its_json() {
        let whole = token(|token| {
            token.gateways = vec!["support".into()];
            token.providers = vec!["openai".into()];
            token.models = vec!["gpt-*".into()];
            token.scopes = Scope::ALL.into();
            token.digests = vec![Digest {
                sha256: Sha256([7; 32]),
                until: Some(Timestamp::from_micros(5)),
            }];
            token.expires_at = Some(Timestamp::from_micros(9));
            token.metadata = [("n".into(), MetadataValue::Number(2.into()))].into();
            token.spend = Some(Spend {
                limit_nanousd: 1,
                period: Period::Month,
                time_zone: "UTC".into(),
            });
        });
        for token in [whole, token(|_| ())] {
            let json = serde_json::to_string(&token).unwrap();
            assert_eq!(
                serde_json::from_str::<Token>(&json).unwrap(),
                token,
                "{json}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_told() {
        let check = |change: fn(&mut Token), wrong: &str| {
            let told = token(change).check().unwrap_err().to_string();
            assert!(told.starts_with(wrong), "{told}");
        };
        assert_eq!(token(|_| ()).check(), Ok(()));
        check(|token| token.name = "a/b".into(), "`a/b` is no name");
        check(|token| token.account = "".into(), "`` is no account");
        check(
            |token| token.gateways = vec!["A".into()],
            "`A` is no gateway",
        );
        check(
            |token| token.providers = vec![".".into()],
            "`.` is no provider",
        );
        check(
            |token| token.models = vec!["a*b".into()],
            "`a*b` is no model",
        );
        check(
            |token| token.models = vec!["a".into(); 65],
            "a token names at most",
        );
        check(|token| token.scopes.clear(), "a token needs a scope");
        let many = |token: &mut Token| {
            let entries = (0..6).map(|n| (n.to_string().into(), MetadataValue::Null));
            token.metadata = entries.collect();
        };
        check(many, "a token is bound to at most 5");
        let spend = |limit_nanousd: u64, time_zone: &str| {
            Some(Spend {
                limit_nanousd,
                period: Period::Day,
                time_zone: time_zone.into(),
            })
        };
        let mut capped = token(|token| token.gateways = vec!["a".into()]);
        capped.spend = spend(1, "Africa/Johannesburg");
        assert_eq!(capped.check(), Ok(()));
        let limit = capped.to_limit().unwrap();
        assert_eq!((&*limit.id, limit.limit), ("token.app", 1));
        for (wrong, gateways) in [
            (spend(0, "UTC"), 1),
            (spend(1, "Nowhere/At-All"), 1),
            (spend(1, "UTC"), 0),
            (spend(1, "UTC"), 2),
        ] {
            capped.spend = wrong;
            capped.gateways = vec!["a".into(); gateways];
            assert!(capped.check().is_err(), "{capped:?}");
        }
    }
}
