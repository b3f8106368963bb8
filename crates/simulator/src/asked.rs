//! What a provider's module is given and what it gives back.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use crate::body::Content;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::script::{Script, Spelling};

/// A request to a provider's surface, ready to be answered.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) route: Route<'a>,
    pub(crate) query: Option<&'a str>,
    pub(crate) body: &'a [u8],
    /// Bytes of the body, also where they were not kept.
    pub(crate) length: u64,
    pub(crate) seed: u64,
    /// Seconds since the Unix epoch.
    pub(crate) created: u64,
    pub(crate) tokens: Option<u64>,
    pub(crate) spelling: Spelling,
}

impl<'a> Asked<'a> {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none, or a field has the wrong type.
    pub(crate) fn parse<T: Deserialize<'a>>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(self.body)
            .map_err(|error| Refusal::bad(format!("the body is not the JSON expected: {error}")))
    }

    /// The value of a query key, as it stands.
    pub(crate) fn query(&self, key: &str) -> Option<&'a str> {
        query(self.query, key)
    }
}

/// The value of a query key, as it stands.
pub(crate) fn query<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    let pairs = query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// An answer before delivery.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) content: Content,
}

impl Answer {
    pub(crate) fn json(json: impl Into<Bytes>) -> Self {
        Self::whole("application/json", json)
    }

    pub(crate) fn whole(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            content: Content::Whole(bytes.into()),
        }
    }

    pub(crate) const fn events(script: Script) -> Self {
        let content_type = "text/event-stream; charset=utf-8";
        Self {
            status: StatusCode::OK,
            content_type,
            content: Content::Stream(script),
        }
    }

    pub(crate) const fn size(&self) -> usize {
        match &self.content {
            Content::Whole(bytes) => bytes.len(),
            Content::Stream(script) => script.bytes.len(),
            Content::Pattern(_) => 0,
        }
    }
}
