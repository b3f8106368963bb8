//! Answers of the management API in their envelope, and which part of a list they are
//! (management-api sections 1.2 and 1.3).

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::header::ETAG;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::error::{Failure, Problem};

/// The envelope of what was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope<T, I = ResultInfo> {
    /// Always `true`.
    success: bool,
    /// Empty.
    errors: Vec<Problem>,
    /// Remarks: what was accepted and has no effect yet.
    messages: Vec<Remark>,
    /// What was asked for.
    result: T,
    /// Which part of a list it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_info: Option<I>,
}

/// A remark on what was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Remark {
    /// What kind of remark it is.
    pub(crate) code: u32,
    /// In words.
    pub(crate) message: String,
}

/// Which part of a list an answer is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ResultInfo {
    /// From 1.
    pub(crate) page: u64,
    /// Most entries of a page.
    pub(crate) per_page: u64,
    /// Entries of this page.
    pub(crate) count: u64,
    /// Entries of all pages.
    pub(crate) total_count: u64,
    /// Pages.
    pub(crate) total_pages: u64,
}

/// What was done, with what belongs into the answer's head.
#[derive(Debug)]
pub(crate) struct Done<T, I = ResultInfo> {
    envelope: Envelope<T, I>,
    version: Option<u64>,
}

/// What a handler answers.
pub(crate) type Answer<T, I = ResultInfo> = Result<Done<T, I>, Failure>;

impl<T, I> Done<T, I> {
    pub(crate) const fn new(result: T) -> Self {
        Self {
            envelope: Envelope {
                success: true,
                errors: Vec::new(),
                messages: Vec::new(),
                result,
                result_info: None,
            },
            version: None,
        }
    }

    /// With the version that `if-match` compares.
    pub(crate) const fn version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// With which part of a list it is.
    pub(crate) fn info(mut self, info: I) -> Self {
        self.envelope.result_info = Some(info);
        self
    }

    pub(crate) fn remarks(mut self, remarks: Vec<Remark>) -> Self {
        self.envelope.messages = remarks;
        self
    }
}

impl<T> Done<Vec<T>> {
    /// One page of all that there is.
    pub(crate) fn page(all: Vec<T>, page: Page) -> Self {
        let total = all.len();
        let items: Vec<T> = all
            .into_iter()
            .skip(page.skipped())
            .take(page.size())
            .collect();
        let info = page.info(items.len(), total);
        Self::new(items).info(info)
    }
}

impl<T: Serialize, I: Serialize> IntoResponse for Done<T, I> {
    fn into_response(self) -> Response {
        let mut response = Json(self.envelope).into_response();
        if let Some(version) = self.version
            && let Ok(value) = HeaderValue::from_str(&format!("\"{version}\""))
        {
            response.headers_mut().insert(ETAG, value);
        }
        response
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    number: u64,
    size: u64,
}

/// The parameters of a list that say so.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "read by `Page`; here for the description of the API"
)]
pub(crate) struct PageParams {
    /// From 1; one past the end is empty.
    #[param(minimum = 1, default = 1)]
    page: Option<u64>,
    /// Entries of a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    per_page: Option<u64>,
}

impl Page {
    pub(crate) fn skipped(self) -> usize {
        let skipped = (self.number - 1).saturating_mul(self.size);
        usize::try_from(skipped).unwrap_or(usize::MAX)
    }

    pub(crate) fn size(self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    pub(crate) fn info(self, count: usize, total: usize) -> ResultInfo {
        let total = total as u64;
        ResultInfo {
            page: self.number,
            per_page: self.size,
            count: count as u64,
            total_count: total,
            total_pages: total.div_ceil(self.size),
        }
    }

    /// Reads the parameters of a list whose pages have at most `most` entries.
    ///
    /// # Errors
    /// One of them is no number within its bounds.
    pub(crate) fn read(query: &str, most: u64) -> Result<Self, Failure> {
        let pairs = pairs(query)?;
        let number = |name: &str, most: u64, unset: u64| match last(&pairs, name) {
            None => Ok(unset),
            Some(text) => match text.parse() {
                Ok(number) if (1..=most).contains(&number) => Ok(number),
                _ => Err(Failure::bad_request(format!(
                    "`{name}` must be a whole number from 1 to {most}; found `{text}`"
                ))),
            },
        };
        Ok(Self {
            number: number("page", u64::from(u32::MAX), 1)?,
            size: number("per_page", most, 20)?,
        })
    }
}

/// The parameters of an address, in their order.
///
/// # Errors
/// It cannot be read.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, Failure> {
    let unread = || Failure::bad_request("the query of the address cannot be read");
    let uri = format!("/?{query}").parse().map_err(|_no_uri| unread())?;
    let Query(pairs) = Query::try_from_uri(&uri).map_err(|_unread| unread())?;
    Ok(pairs)
}

/// The value of a parameter; of several, the last.
pub(crate) fn last<'p>(pairs: &'p [(String, String)], wanted: &str) -> Option<&'p str> {
    let found = pairs.iter().rev().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.as_str())
}

/// Pages of at most 100 entries.
impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        Self::read(parts.uri.query().unwrap_or(""), 100)
    }
}
