//! What makes a question, and its digest.
//!
//! Everything that may change the answer is a part of it: where it goes, who pays, what it says.
//! Headers are left out only when they are known to be about the way and not about the matter; a
//! header that nobody knows keeps questions apart. Each part goes into the digest under its name
//! and with its length, so that no two questions can be spelled alike.

use http::header::VARY;
use http::{HeaderMap, HeaderName, HeaderValue};
use isango_store::cache::{Key, Scope, Tags};
use isango_types::{Credential, Token};
use xxhash_rust::xxh3::xxh3_64;

use super::Looking;
use super::asked::Terms;
use crate::secrets;

/// Names the way in which keys are made: another way, another name.
const CONTEXT: &[u8] = b"isango cache 2";
/// What the parts but the body take in most questions, in bytes.
const PARTS_BYTES: usize = 1_024;
/// Longer bodies are hashed on another thread, in bytes.
const LONG_BODY: usize = 1 << 20;

/// A question, as it will be sent.
pub(crate) struct Question<'q> {
    pub(crate) account: &'q str,
    pub(crate) model: Option<&'q str>,
    /// Who asks: what its token is bound to keeps it apart.
    pub(crate) token: Option<&'q Token>,
    pub(crate) looking: &'q Looking<'q>,
}

impl Question<'_> {
    /// Its digest. `None`: the process is ending.
    pub(crate) async fn key(&self) -> Option<Key> {
        // Put together first: the hash of many small pieces costs more than a copy of them.
        let mut parts = Vec::with_capacity(PARTS_BYTES);
        self.parts(&mut |name, value| {
            let (kind, name) = match name {
                Part::Own(name) => (0, name),
                Part::Header(name) => (1, name),
            };
            parts.push(kind);
            for text in [name.as_bytes(), value] {
                parts.extend_from_slice(&(text.len() as u64).to_le_bytes());
                parts.extend_from_slice(text);
            }
        });
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.update(&parts);
        if self.looking.terms.replaces {
            // The key stands for the body, too.
        } else if self.looking.body.len() <= LONG_BODY {
            hasher.update(self.looking.body);
        } else {
            let body = self.looking.body.clone();
            let hashing = tokio::task::spawn_blocking(move || {
                hasher.update(&body);
                hasher
            });
            hasher = hashing.await.ok()?;
        }
        Some(Key::new(hasher.finalize().into()))
    }

    /// What its answer can be purged by.
    pub(crate) fn tags(&self) -> Tags {
        Tags {
            account: self.account.into(),
            gateway: self.looking.route.gateway.id.clone(),
            model: self.model.map(Into::into),
            scope: self.scope().map(Scope::of),
            tenant: self
                .looking
                .terms
                .tenant
                .as_deref()
                .map(|t| Scope::of(t.as_bytes())),
        }
    }

    fn scope(&self) -> Option<&[u8]> {
        self.looking.terms.key.as_ref().map(HeaderValue::as_bytes)
    }

    /// Calls `each` with the name and the bytes of each part but the body, always in one order.
    fn parts(&self, each: &mut dyn FnMut(Part<'_>, &[u8])) {
        let mut own = |name, value: &[u8]| each(Part::Own(name), value);
        let Terms {
            tenant, replaces, ..
        } = &*self.looking.terms;
        own("context", CONTEXT);
        own("account", self.account.as_bytes());
        own("gateway", self.looking.route.gateway.id.as_bytes());
        if let Some(tenant) = tenant {
            own("cache_scope", tenant.as_bytes());
        }
        if *replaces {
            // As at Cloudflare: the key stands for everything.
            return own("replaced by", self.scope().unwrap_or_default());
        }
        if let Some(scope) = self.scope() {
            own("cf-aig-cache-key", scope);
        }
        let bound = self.token.map(|token| &token.metadata);
        for (name, value) in bound.into_iter().flatten() {
            own("token metadata name", name.as_bytes());
            own("token metadata", value.to_text().as_bytes());
        }
        let route = self.looking.route;
        own("provider", route.provider.slug.as_bytes());
        own("target", route.target_name().as_bytes());
        own("upstream", route.authority.as_str().as_bytes());
        own("scheme", if route.https { b"https" } else { b"http" });
        for part in self
            .looking
            .credential
            .into_iter()
            .flat_map(Credential::identity)
        {
            own("credential", part.as_bytes());
        }
        own("method", self.looking.method.as_str().as_bytes());
        own("path", route.path.path().as_bytes());
        if let Some(query) = route.path.query() {
            own("query", query.as_bytes());
        }
        if let Some(model) = self.model {
            own("model", model.as_bytes());
        }
        let mut headers: Vec<(&HeaderName, &HeaderValue)> = self
            .looking
            .headers
            .iter()
            .filter(|(name, _)| !self.leaves_out(name.as_str()))
            .collect();
        // Values of one name stay in their order.
        headers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        for (name, value) in headers {
            each(Part::Header(name.as_str()), value.as_bytes());
        }
        each(
            Part::Own("body"),
            &(self.looking.body.len() as u64).to_le_bytes(),
        );
    }

    /// Whether a header makes no part of the question: it is about the way, and carries no credential.
    fn leaves_out(&self, name: &str) -> bool {
        is_about_the_way(name) && !secrets::is_secret_name(name) && !self.is_slot(name)
    }

    /// Whether a credential of the provider travels in a header of this name, or the configuration
    /// puts something into it.
    fn is_slot(&self, name: &str) -> bool {
        let route = self.looking.route;
        let auth = &route.provider.auth;
        let mut configured = route.provider.headers.iter().map(|(name, _)| name);
        *auth.header == *name
            || auth.also.iter().any(|slot| **slot == *name)
            || route.credential_header.is_some_and(|slot| slot == name)
            || configured.any(|slot| **slot == *name)
    }

    /// A print of each part, to compare questions by: never of the part itself.
    pub(crate) fn prints(&self) -> Prints {
        let mut prints = Vec::with_capacity(24);
        self.parts(&mut |name, value| {
            let name = match name {
                Part::Own(name) => name.into(),
                Part::Header(name) => format!("header {name}").into(),
            };
            prints.push((name, xxh3_64(value)));
        });
        if !self.looking.terms.replaces {
            prints.retain(|(name, _): &(Box<str>, u64)| &**name != "body");
            prints.push(("body".into(), xxh3_64(self.looking.body)));
        }
        Prints(prints)
    }
}

/// What a part of a question is called.
#[derive(Clone, Copy)]
enum Part<'p> {
    Own(&'static str),
    Header(&'p str),
}

/// Prints of the parts of a question, with their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prints(Vec<(Box<str>, u64)>);

impl Prints {
    #[cfg(test)]
    pub(crate) fn of(list: &[(&str, u64)]) -> Self {
        let prints = list.iter().map(|(name, print)| (Box::from(*name), *print));
        Self(prints.collect())
    }

    /// The names of the parts, in their order.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// How many parts differ, roughly: without a look at names.
    pub(crate) fn distance(&self, other: &Self) -> usize {
        let has = |print: &&(Box<str>, u64)| other.0.iter().any(|(_, p)| *p == print.1);
        let common = self.0.iter().filter(has).count();
        self.0.len().max(other.0.len()) - common.min(self.0.len())
    }

    /// The parts in which two questions differ, once each.
    pub(crate) fn differ<'p>(&'p self, other: &'p Self) -> Vec<&'p str> {
        let mut names: Vec<&str> = Vec::new();
        for (mine, theirs) in [(self, other), (other, self)] {
            for (name, print) in &mine.0 {
                let has = theirs.0.iter().any(|(n, p)| n == name && p == print);
                if !has && !names.contains(&&**name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

/// Names of headers that change no answer, sorted.
const ABOUT_THE_WAY: [&str; 51] = [
    "accept-encoding",
    "b3",
    "baggage",
    "cache-control",
    "cdn-loop",
    "client-request-id",
    "connection",
    "content-length",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "grpc-trace-bin",
    "host",
    "http-referer",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "referer",
    "request-context",
    "sec-gpc",
    "sentry-trace",
    "te",
    "traceparent",
    "tracestate",
    "true-client-ip",
    "uber-trace-id",
    "user-agent",
    "via",
    "x-amz-date",
    "x-cloud-trace-context",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-goog-api-client",
    "x-ms-useragent",
    "x-real-ip",
    "x-request-start",
    "x-title",
    "x-vercel-forwarded-for",
    "x-vercel-id",
];

/// Whether a header is about the way of a message, its sender's software or its being followed, and
/// changes no answer. What remains are credentials, versions, organizations, languages and forms,
/// who asks (`x-forwarded-user` of a proxy that signs users in), and whatever nobody knows.
fn is_about_the_way(name: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "cf-",
        "sec-ch-",
        "sec-fetch-",
        "x-amzn-trace-",
        "x-b3-",
        "x-datadog-",
        "x-envoy-",
        "x-stainless-",
        "x-vercel-ip-",
    ];
    const ENDS: [&str; 5] = [
        "correlation-id",
        "idempotency-key",
        "request-id",
        "request-time",
        "trace-id",
    ];
    ABOUT_THE_WAY.binary_search(&name).is_ok()
        || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether an answer varies with something that makes no question, by what its `vary` names (RFC
/// 9110 section 12.5.5). Encodings are looked at on their own, and no header about origins is given
/// again.
pub(super) fn varies(headers: &HeaderMap) -> bool {
    let named = headers.get_all(VARY).into_iter();
    let mut named = named.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    named.any(|name| {
        let name = name.trim_ascii().to_ascii_lowercase();
        match std::str::from_utf8(&name) {
            Ok("" | "accept-encoding" | "origin") => false,
            Ok(name) => name == "*" || is_about_the_way(name),
            Err(_no_name) => true,
        }
    })
}

#[cfg(test)]
mod tests;
