//! One leg of a request to the Universal endpoint: read from JSON, and made a request of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName,
    USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method};
use isango_types::{Snapshot, is_account};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ask::Call;
use crate::call::CallBody;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::options::{self, Options};
use crate::resolve::{self, Place};
use crate::secrets::{self, Secrets};
use crate::tokens::{self, Tokens};
use crate::{auth, headers};

/// Headers of the request itself that a provider may see, where a leg has none of its own.
const SHARED: [HeaderName; 3] = [USER_AGENT, ACCEPT, ACCEPT_ENCODING];
/// Members of `config`, and the headers that say the same.
const CONFIG: [(&str, HeaderName); 4] = [
    (
        "requestTimeout",
        HeaderName::from_static("cf-aig-request-timeout"),
    ),
    (
        "maxAttempts",
        HeaderName::from_static("cf-aig-max-attempts"),
    ),
    ("retryDelay", HeaderName::from_static("cf-aig-retry-delay")),
    ("backoff", HeaderName::from_static("cf-aig-backoff")),
];

/// A leg as it is written. Members that are not known are passed over.
#[derive(Deserialize)]
pub(super) struct LegText<'b> {
    provider: String,
    #[serde(borrow, default)]
    endpoint: Option<&'b RawValue>,
    #[serde(borrow, default)]
    headers: Option<BTreeMap<String, &'b RawValue>>,
    #[serde(borrow, default)]
    authorization: Option<&'b RawValue>,
    #[serde(default)]
    config: Option<BTreeMap<String, Value>>,
    #[serde(borrow, default)]
    query: Option<&'b RawValue>,
}

/// A leg that can be sent.
pub(super) struct Leg<'a> {
    pub(super) call: Call<'a>,
    /// A hash of the credential that it brings to its target; 0: it brings none.
    pub(super) credential: u64,
    /// Its own over those of the request.
    pub(super) options: Options,
    /// Credentials that its headers carry.
    pub(super) secrets: Secrets,
}

/// Reads the legs: a list of them, or a single one.
///
/// # Errors
/// [`Error::BadLegs`].
pub(super) fn parse(whole: &[u8], most: usize) -> Result<Vec<LegText<'_>>, Error> {
    let read = match whole.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(whole),
        Some(b'{') => serde_json::from_slice(whole).map(|leg| vec![leg]),
        Some(_) | None => return Err(bad(SHAPE.to_owned())),
    };
    // Not the parser's words: they repeat what stands there.
    let legs: Vec<LegText<'_>> = read.map_err(|wrong| {
        let (line, column) = (wrong.line(), wrong.column());
        bad(format!("{SHAPE}; look at line {line}, column {column}"))
    })?;
    match legs.len() {
        0 => Err(bad("there are no legs".to_owned())),
        count if count > most => Err(bad(format!("there are {count} legs; {most} are allowed"))),
        _ => Ok(legs),
    }
}

const SHAPE: &str = "the body is a JSON list of legs, each an object with `provider`, `endpoint`, \
                     `headers` and `query`";

impl LegText<'_> {
    /// Makes it a request of its own: `whole` is the body that it stands in, `from` what the request
    /// of `exchange` asks for all legs.
    pub(super) fn prepare<'a>(
        &self,
        config: &Snapshot,
        (place, shared): (&Place<'_>, &HeaderMap),
        whole: &Bytes,
        (exchange, from): (&Exchange, &Options),
    ) -> Result<Leg<'a>, Error> {
        if !is_account(&self.provider) {
            return Err(Error::InvalidProvider);
        }
        let endpoint = self.endpoint()?;
        let path = format!(
            "/v1/{}/{}/{}/{}",
            place.account,
            place.gateway,
            self.provider,
            endpoint.trim_start_matches('/')
        );
        let mut headers = self.headers()?;
        let options = options::read(&headers).over(from);
        let mut route = resolve::resolve(config, resolve::place(&path), &headers)?;
        // The legs are the chain: none is shared with the equals of its target.
        route.group = None;
        let route = Arc::new(route);
        auth::may_ask(exchange, &route.provider)?;
        let tokens = Tokens::take(&path, &mut headers);
        tokens.are_in_place()?;
        let slot = &route.provider.auth.header;
        let secrets = tokens
            .secrets
            .and_carried(&headers, slot)
            .and_of_path(&path);
        headers::to_upstream(&mut headers);
        for name in SHARED {
            if let (false, Some(value)) = (headers.contains_key(&name), shared.get(&name)) {
                headers.insert(name, value.clone());
            }
        }
        let alias = options.alias.as_deref();
        let presented = auth::credential(&route, alias, &mut headers)?;
        let credential = auth::fingerprint(&route, &headers, &presented);
        auth::configured_headers(&route, &mut headers);
        let body = self
            .query
            .map_or_else(Bytes::new, |query| whole.slice_ref(query.get().as_bytes()));
        let call = Call {
            route,
            method: Method::POST,
            headers,
            credential: presented.credential,
            allowance: presented.allowance,
            body: CallBody::Whole(body),
            original: None,
            interim: None,
        };
        Ok(Leg {
            call,
            credential,
            options,
            secrets,
        })
    }

    fn endpoint(&self) -> Result<String, Error> {
        let Some(endpoint) = self.endpoint else {
            return Ok(String::new());
        };
        serde_json::from_str(endpoint.get())
            .map_err(|_no_text| bad("`endpoint` is a text".to_owned()))
    }

    /// Its headers, with what `authorization` and `config` say beside them. Those that belong to a
    /// connection are left out.
    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.iter().flatten() {
            let wrong = || bad(format!("`{}` is no header", name.escape_debug()));
            let name = HeaderName::try_from(&**name).map_err(|_malformed| wrong())?;
            if let Some(value) = header_value(value.get()).map_err(|()| wrong())? {
                headers.insert(name, value);
            }
        }
        let authorization = self.authorization.map(|value| header_value(value.get()));
        let wrong = || bad("`authorization` is no header".to_owned());
        let authorization = authorization.transpose().map_err(|()| wrong())?.flatten();
        if let (false, Some(value)) = (headers.contains_key(AUTHORIZATION), authorization) {
            headers.insert(AUTHORIZATION, value);
        }
        for (member, name) in CONFIG {
            let value = self.config.as_ref().and_then(|config| config.get(member));
            let text = value.map(|value| match value {
                Value::String(text) => text.clone(),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => value.to_string(),
            });
            let value = text.and_then(|text| HeaderValue::try_from(text).ok());
            if let (false, Some(value)) = (headers.contains_key(&name), value) {
                headers.insert(name, value);
            }
        }
        headers.remove(HOST);
        headers.remove(CONTENT_LENGTH);
        if !headers.contains_key(CONTENT_TYPE) {
            let json = HeaderValue::from_static("application/json");
            headers.insert(CONTENT_TYPE, json);
        }
        Ok(headers)
    }

    /// The places of its credentials in `whole`, each with what shall stand there.
    fn secrets(&self, whole: &[u8], slot: &str, found: &mut Vec<(Range<usize>, String)>) {
        let mark = || format!("\"{}\"", secrets::MARK);
        let mut hide = |value: &RawValue, with: String| {
            let begin = value
                .get()
                .as_ptr()
                .addr()
                .checked_sub(whole.as_ptr().addr());
            if let Some(begin) = begin {
                found.push((begin..begin + value.get().len(), with));
            }
        };
        for (name, value) in self.headers.iter().flatten() {
            let name = name.to_ascii_lowercase();
            let is_known = [AUTHORIZATION.as_str(), COOKIE.as_str(), slot].contains(&&*name);
            let has_token = || {
                let value = header_value(value.get()).ok().flatten();
                value.is_some_and(|value| tokens::of_header(&value).is_some())
            };
            if is_known || secrets::is_secret_name(&name) || has_token() {
                hide(value, mark());
            }
        }
        if let Some(value) = self.authorization {
            hide(value, mark());
        }
        if let (Some(text), Ok(endpoint)) = (self.endpoint, self.endpoint()) {
            let clean = secrets::without_secret_keys(&endpoint);
            if *clean != *endpoint {
                hide(text, Value::from(&*clean).to_string());
            }
        }
    }
}

/// The body without the credentials of its legs.
pub(super) fn without_secrets(whole: &Bytes, texts: &[LegText<'_>], legs: &[Leg<'_>]) -> Vec<u8> {
    let mut found = Vec::new();
    for (text, leg) in texts.iter().zip(legs) {
        text.secrets(whole, &leg.call.route.provider.auth.header, &mut found);
    }
    found.sort_by_key(|(place, _)| place.start);
    let mut clean = Vec::with_capacity(whole.len());
    let mut at = 0;
    for (place, with) in found {
        clean.extend_from_slice(whole.get(at..place.start).unwrap_or_default());
        clean.extend_from_slice(with.as_bytes());
        at = place.end;
    }
    clean.extend_from_slice(whole.get(at..).unwrap_or_default());
    clean
}

/// A value as a header has it: texts as they are, everything else as compact JSON; `None` for
/// `null`.
fn header_value(json: &str) -> Result<Option<HeaderValue>, ()> {
    let text = match serde_json::from_str(json).map_err(|_no_json| ())? {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    HeaderValue::try_from(text)
        .map(Some)
        .map_err(|_malformed| ())
}

fn bad(wrong: String) -> Error {
    Error::BadLegs(wrong)
}
