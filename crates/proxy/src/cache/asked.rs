//! What a request asks of the cache, and whether it may have it (data-plane sections 10 and 15).

use std::time::Duration;

use http::{HeaderValue, Method};
use isango_types::policy::{
    CachePolicy, KEYED_CACHE_TTL, KeyMode, MAX_CACHE_TTL, MIN_CACHE_TTL, ScopeFrom,
};
use isango_types::record::MetadataValue;
use isango_types::{Operation, Token};

use crate::metadata;

/// The headers about caching.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// `cf-aig-cache-ttl`, within its bounds; zero: the cache is not wanted.
    pub(crate) ttl: Option<Duration>,
    /// `cf-aig-skip-cache`.
    pub(crate) skip: Option<bool>,
    /// `cf-aig-cache-key`.
    pub(crate) key: Option<HeaderValue>,
}

impl Asked {
    /// Whether no header says anything.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.ttl.is_none() && self.skip.is_none() && self.key.is_none()
    }

    /// What these say, and where they say nothing, what those do.
    pub(crate) fn or(self, below: &Self) -> Self {
        Self {
            ttl: self.ttl.or(below.ttl),
            skip: self.skip.or(below.skip),
            key: self.key.or_else(|| below.key.clone()),
        }
    }
}

/// A time to live within its bounds; the remark tells what was asked for if that is another.
pub(crate) fn ttl(seconds: u64) -> (Duration, Option<String>) {
    let asked = Duration::from_secs(seconds);
    if asked.is_zero() {
        return (asked, None);
    }
    let kept = asked.clamp(MIN_CACHE_TTL, MAX_CACHE_TTL);
    let remark = (kept != asked).then(|| {
        format!(
            "cf-aig-cache-ttl was taken for {} s instead of {seconds} s: it is 0 or {} to {} s",
            kept.as_secs(),
            MIN_CACHE_TTL.as_secs(),
            MAX_CACHE_TTL.as_secs()
        )
    });
    (kept, remark)
}

/// What a request may have of the cache.
#[derive(Debug, PartialEq)]
pub(crate) enum Wish {
    /// Nothing was asked for.
    Off,
    /// It was asked for, but may not be had; says why.
    Bypass(&'static str),
    /// It may be answered from the cache.
    On(Box<Terms>),
}

/// On which terms a request may be answered from the cache.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    /// How long its answer is kept.
    pub(crate) ttl: Duration,
    /// How old an answer may be; `None`: as old as it was kept for.
    pub(crate) max_age: Option<Duration>,
    /// Whether an answer may be one that is kept.
    pub(crate) reads: bool,
    /// What the client scopes it by.
    pub(crate) key: Option<HeaderValue>,
    /// The key takes the place of the question.
    pub(crate) replaces: bool,
    /// What the gateway scopes it by.
    pub(crate) tenant: Option<Box<str>>,
}

/// What is known of a request before its body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'r> {
    pub(crate) method: &'r Method,
    pub(crate) operation: Operation,
    pub(crate) asked: &'r Asked,
    /// `cf-aig-metadata`, unread.
    pub(crate) metadata: Option<&'r HeaderValue>,
    pub(crate) token: Option<&'r Token>,
}

/// Decides what a request may have.
pub(crate) fn wish(policy: &CachePolicy, request: Request<'_>) -> Wish {
    let asked = request.asked;
    let wants = Some(policy.ttl).filter(|ttl| !ttl.is_zero());
    let wants = wants.or_else(|| asked.key.as_ref().map(|_key| KEYED_CACHE_TTL));
    let ttl = match asked.ttl.or(wants) {
        None => return Wish::Off,
        Some(ttl) if ttl.is_zero() => return Wish::Off,
        Some(ttl) => ttl,
    };
    let is_own_wish = asked.ttl.is_some() || asked.key.is_some();
    if *request.method != Method::POST {
        return not_for_this(is_own_wish, "only answers to POST are kept");
    }
    if !is_own_wish && !request.operation.is_question() {
        return Wish::Bypass("calls of this kind are kept only where the request asks for it");
    }
    let tenant = match &policy.scope {
        None => None,
        Some(from) => match tenant(from, request) {
            None => return Wish::Bypass("the request does not name what cache_scope asks for"),
            named => named,
        },
    };
    Wish::On(Box::new(Terms {
        ttl,
        max_age: asked.ttl.or(Some(policy.ttl).filter(|ttl| !ttl.is_zero())),
        reads: asked.skip != Some(true),
        key: asked.key.clone(),
        replaces: policy.key_mode == KeyMode::Replace && asked.key.is_some(),
        tenant,
    }))
}

/// A request that could not be kept anyway is worth a word only if it asked for it.
const fn not_for_this(is_own_wish: bool, why: &'static str) -> Wish {
    match is_own_wish {
        true => Wish::Bypass(why),
        false => Wish::Off,
    }
}

/// What the gateway scopes a request by. A token's metadata wins over what the client claims.
fn tenant(from: &ScopeFrom, request: Request<'_>) -> Option<Box<str>> {
    let member = match from {
        ScopeFrom::Token => return request.token.map(|token| token.name.clone()),
        ScopeFrom::Metadata(member) => member,
    };
    let bound = request.token.and_then(|token| token.metadata.get(member));
    let named = match bound {
        Some(value) => named(value),
        None => {
            let claimed = metadata::read(request.metadata?).ok()?;
            named(claimed.entries.get(member)?)
        }
    };
    named.filter(|name| !name.is_empty())
}

fn named(value: &MetadataValue) -> Option<Box<str>> {
    match value {
        MetadataValue::Null => None,
        MetadataValue::Bool(_) | MetadataValue::Number(_) | MetadataValue::Text(_) => {
            Some((&*value.to_text()).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn policy(ttl: u64) -> CachePolicy {
        CachePolicy {
            ttl: Duration::from_secs(ttl),
            ..CachePolicy::default()
        }
    }

    fn asks(ttl: Option<u64>, skip: Option<bool>, key: Option<&'static str>) -> Asked {
        Asked {
            ttl: ttl.map(Duration::from_secs),
            skip,
            key: key.map(HeaderValue::from_static),
        }
    }

    fn decide(policy: &CachePolicy, asked: &Asked) -> Wish {
        let request = Request {
            method: &Method::POST,
            operation: Operation::Chat,
            asked,
            metadata: None,
            token: None,
        };
        wish(policy, request)
    }

    /// Which time to live, age and permission to read come of gateway and headers; `None`: off.
    #[track_caller]
    fn check(gateway: u64, asked: &Asked, expected: Option<(u64, Option<u64>, bool)>) {
        let decided = match decide(&policy(gateway), asked) {
            Wish::On(terms) => Some((
                terms.ttl.as_secs(),
                terms.max_age.map(|age| age.as_secs()),
                terms.reads,
            )),
            Wish::Off => None,
            Wish::Bypass(why) => panic!("{why}"),
        };
        assert_eq!(decided, expected, "{gateway} {asked:?}");
    }

    #[test]
    fn headers_and_gateway_opt_in_and_out() {
        check(0, &asks(None, None, None), None);
        check(
            0,
            &asks(Some(3_600), None, None),
            Some((3_600, Some(3_600), true)),
        );
        check(0, &asks(None, None, Some("k")), Some((300, None, true)));
        check(
            0,
            &asks(Some(90), None, Some("k")),
            Some((90, Some(90), true)),
        );
        check(600, &asks(None, None, None), Some((600, Some(600), true)));
        check(
            600,
            &asks(None, None, Some("k")),
            Some((600, Some(600), true)),
        );
        check(600, &asks(Some(60), None, None), Some((60, Some(60), true)));
        check(600, &asks(Some(0), None, None), None);
        check(600, &asks(Some(0), None, Some("k")), None);
        check(
            600,
            &asks(None, Some(true), None),
            Some((600, Some(600), false)),
        );
        check(0, &asks(None, Some(true), None), None);
        check(
            0,
            &asks(Some(60), Some(true), None),
            Some((60, Some(60), false)),
        );
        check(
            600,
            &asks(None, Some(false), None),
            Some((600, Some(600), true)),
        );
    }

    #[test]
    fn times_to_live_are_kept_within_their_bounds() {
        for (asked, taken, is_remarked) in [
            (0, 0, false),
            (1, 60, true),
            (60, 60, false),
            (2_592_000, 2_592_000, false),
            (2_592_001, 2_592_000, true),
            (u64::MAX, 2_592_000, true),
        ] {
            let (kept, remark) = ttl(asked);
            assert_eq!((kept.as_secs(), remark.is_some()), (taken, is_remarked));
        }
    }

    #[test]
    fn what_is_no_question_is_kept_only_where_the_request_asks_for_it() {
        let of = |operation, asked: &Asked, ttl| {
            let request = Request {
                method: &Method::POST,
                operation,
                asked,
                metadata: None,
                token: None,
            };
            matches!(wish(&policy(ttl), request), Wish::On(_))
        };
        for operation in [Operation::Video, Operation::Models, Operation::Other] {
            assert!(!of(operation, &Asked::default(), 600), "{operation:?}");
            assert!(
                of(operation, &asks(Some(60), None, None), 600),
                "{operation:?}"
            );
        }
        assert!(of(Operation::Embeddings, &Asked::default(), 600));
    }

    #[test]
    fn other_methods_than_post_are_not_kept() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let asked = asks(Some(3_600), None, None);
            let request = Request {
                method: &method,
                operation: Operation::Chat,
                asked: &asked,
                metadata: None,
                token: None,
            };
            assert!(matches!(wish(&policy(0), request), Wish::Bypass(_)));
            let asked = Asked::default();
            let silent = Request {
                asked: &asked,
                ..request
            };
            assert_eq!(wish(&policy(600), silent), Wish::Off);
        }
    }

    fn tenant_of(from: &ScopeFrom, metadata: &str, token: Option<&Token>) -> Option<Box<str>> {
        let asked = Asked::default();
        let metadata = HeaderValue::try_from(metadata).ok();
        let request = Request {
            method: &Method::POST,
            operation: Operation::Chat,
            asked: &asked,
            metadata: metadata.as_ref().filter(|value| !value.is_empty()),
            token,
        };
        let policy = CachePolicy {
            ttl: HOUR,
            scope: Some(from.clone()),
            ..CachePolicy::default()
        };
        match wish(&policy, request) {
            Wish::On(terms) => Some(terms.tenant.expect("it is scoped")),
            Wish::Bypass(_) => None,
            Wish::Off => panic!("the gateway keeps answers"),
        }
    }

    #[test]
    fn a_gateway_that_demands_a_scope_keeps_nothing_without_one() {
        let member = ScopeFrom::Metadata("tenantId".into());
        let claimed = |metadata: &str| tenant_of(&member, metadata, None);
        assert_eq!(claimed(r#"{"tenantId":"acme"}"#).as_deref(), Some("acme"));
        assert_eq!(claimed(r#"{"tenantId":7}"#).as_deref(), Some("7"));
        for none in [
            "",
            "{}",
            r#"{"tenantId":null}"#,
            r#"{"tenantId":""}"#,
            "nonsense",
        ] {
            assert_eq!(claimed(none), None, "{none}");
        }
        let token = Token {
            metadata: [("tenantId".into(), MetadataValue::Text("bound".into()))].into(),
            ..Token::new("local", "app")
        };
        let bound = tenant_of(&member, r#"{"tenantId":"claimed"}"#, Some(&token));
        assert_eq!(bound.as_deref(), Some("bound"));
        assert_eq!(
            tenant_of(&ScopeFrom::Token, "", Some(&token)).as_deref(),
            Some("app")
        );
        assert_eq!(tenant_of(&ScopeFrom::Token, "", None), None);
    }
}
