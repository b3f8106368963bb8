//! Answers of the management API in their envelope, and which part of a list they are
//! (management-api sections 1.2 and 1.3).

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::header::ETAG;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::codes::Code;
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
    #[schema(value_type = u32)]
    pub(crate) code: Code,
    /// In words.
    pub(crate) message: String,
}

/// Which part of a list an answer is.
#[derive(Clone, Debug, Serialize, ToSchema)]
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
    /// `cursor` of the next page; null on the last one.
    pub(crate) cursor: Option<String>,
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

/// What a list is made of.
pub(crate) trait Listed {
    /// Its place: lists are in this order, and no two share one.
    fn place(&self) -> String;

    /// What is looked at by `search`.
    fn name(&self) -> String {
        self.place()
    }
}

impl<T: Listed> Done<Vec<T>> {
    /// One page of all that there is, which comes in its order.
    pub(crate) fn page(mut all: Vec<T>, page: &Page) -> Self {
        if let Some(search) = &page.search {
            all.retain(|one| one.name().contains(&**search));
        }
        if page.descending {
            all.reverse();
        }
        let total = all.len();
        let begin = page.begin(&all);
        let items: Vec<T> = all.into_iter().skip(begin).take(page.size()).collect();
        let is_last = begin.saturating_add(items.len()) >= total;
        let mut info = page.info(items.len(), total);
        let last = items.last().filter(|_| !is_last);
        info.cursor = last.map(|last| URL_SAFE_NO_PAD.encode(last.place()));
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    number: u64,
    size: u64,
    /// Place of the last entry of the page before.
    behind: Option<String>,
    search: Option<Box<str>>,
    descending: bool,
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
    /// The `cursor` of the page before, in the place of `page`: nothing is left out or told twice,
    /// whatever comes and goes meanwhile.
    cursor: Option<String>,
    /// Part of the name.
    search: Option<String>,
    /// `asc` or `desc`.
    #[param(default = "asc")]
    direction: Option<String>,
}

impl Page {
    /// Where the page begins.
    fn begin<T: Listed>(&self, all: &[T]) -> usize {
        let Some(behind) = &self.behind else {
            return self.skipped();
        };
        let is_it = |one: &T| one.place() == *behind;
        if let Some(at) = all.iter().position(is_it) {
            return at + 1;
        }
        // It is gone; what follows is not.
        let follows = |one: &T| (one.place() > *behind) != self.descending;
        all.iter().position(follows).unwrap_or(all.len())
    }

    pub(crate) fn skipped(&self) -> usize {
        let skipped = (self.number - 1).saturating_mul(self.size);
        usize::try_from(skipped).unwrap_or(usize::MAX)
    }

    pub(crate) fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    pub(crate) fn info(&self, count: usize, total: usize) -> ResultInfo {
        let total = total as u64;
        ResultInfo {
            page: self.number,
            per_page: self.size,
            count: count as u64,
            total_count: total,
            total_pages: total.div_ceil(self.size),
            cursor: None,
        }
    }

    /// Reads which page is wanted of a list whose pages have at most `most` entries, and `unset`
    /// where nobody says how many.
    ///
    /// # Errors
    /// One of the parameters is no number within its bounds.
    pub(crate) fn numbered(query: &str, (most, unset): (u64, u64)) -> Result<Self, Failure> {
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
            size: number("per_page", most, unset)?,
            behind: None,
            search: None,
            descending: false,
        })
    }

    /// Reads which page is wanted, by number or cursor, of which entries, in which direction.
    ///
    /// # Errors
    /// Those of [`Page::numbered`]; or what is no cursor, or no direction.
    pub(crate) fn read(query: &str, bounds: (u64, u64)) -> Result<Self, Failure> {
        let numbered = Self::numbered(query, bounds)?;
        let pairs = pairs(query)?;
        let text = |name: &str| last(&pairs, name).filter(|text| !text.is_empty());
        let behind = match text("cursor") {
            None => None,
            Some(_) if last(&pairs, "page").is_some() => {
                let message = "`page` and `cursor` exclude each other";
                return Err(Failure::bad_request(message));
            }
            Some(text) => Some(place(text)?),
        };
        let descending = match text("direction") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(text) => {
                let message = format!("`direction` is one of asc, desc; found `{text}`");
                return Err(Failure::bad_request(message));
            }
        };
        Ok(Self {
            behind,
            search: text("search").map(Box::from),
            descending,
            ..numbered
        })
    }
}

/// The place that a cursor stands for.
fn place(cursor: &str) -> Result<String, Failure> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    place.ok_or_else(|| {
        let message = "`cursor` is that of `result_info` of the page before, as it was told";
        Failure::bad_request(message)
    })
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
        Self::read(parts.uri.query().unwrap_or(""), (100, 20))
    }
}
