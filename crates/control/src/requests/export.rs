//! All records of a scope as one file: page after page, each made when the client has taken the one
//! before. A file that cannot be made to its end is cut, never ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use isango_store::audit::Action;
use isango_store::csv;
use isango_store::logs::{Order, Query};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use super::scope::{SCOPE, Scope, ScopeParams};
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::params::Params;
use crate::{Control, ask, audit, blocking};

/// Records of a page without bodies; with them, the store ends a page before it grows large.
const PAGE: usize = 1_000;

/// How the file is to be.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct ExportParams {
    /// `jsonl`: records as `isango logs export` writes them; `csv`: a row for each.
    #[param(default = "jsonl")]
    format: Option<String>,
    /// Whether records carry their bodies; `jsonl` only.
    bodies: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jsonl,
    Csv,
}

/// Export requests
///
/// All records of the scope, the newest first. Cells of a spreadsheet that would be run as formulas
/// begin with an apostrophe.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/requests/export",
    tag = "requests",
    params(("account_id" = String, Path, description = "The account."), ScopeParams, ExportParams),
    responses((status = 200, description = "The file, without an envelope."),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn export(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let known = [&SCOPE[..], &["format", "bodies"]].concat();
    let text = query.unwrap_or_default();
    let params = Params::read(&text, &known)?;
    let scope = Scope::of_params(&control, &caller, &account, &params)?;
    let with_bodies = params.flag("bodies")?;
    if with_bodies && !caller.reads_bodies() {
        return Err(Failure::forbidden("you may not read bodies"));
    }
    let format = match params.get("format") {
        None | Some("jsonl") => Format::Jsonl,
        Some("csv") if with_bodies => {
            let message = "bodies are exported as `jsonl`: a cell would not hold them";
            return Err(Failure::bad_request(message));
        }
        Some("csv") => Format::Csv,
        Some(other) => {
            let message = format!("`format` is one of jsonl, csv; found `{other}`");
            return Err(Failure::bad_request(message));
        }
    };
    let permit = Arc::clone(&control.exports).try_acquire_owned();
    let permit = permit.map_err(|_taken| Failure::busy("other exports are running"))?;
    let done = json!({
        "format": if format == Format::Csv { "csv" } else { "jsonl" },
        "bodies": with_bodies,
        "query": text,
    });
    let who = caller;
    blocking(&control, move |control| {
        let of = (&who.author(control), &*account);
        audit::note(
            control,
            of,
            Action::Export,
            ("requests", ""),
            (None, Some(done)),
        )
    })
    .await?;
    let query = Query {
        filter: scope.filter,
        order: Order::NewestFirst,
        limit: PAGE,
        since: scope.since,
        until: scope.until,
        with_bodies,
        ..Query::default()
    };
    // The first page tells whether there is an answer at all.
    let mut first = Vec::new();
    if format == Format::Csv {
        csv::header(&mut first).map_err(|error| Failure::internal(&error))?;
    }
    let (page, next) = page(control.clone(), query, format).await?;
    first.extend_from_slice(&page);
    let (kind, name) = match format {
        Format::Jsonl => ("application/x-ndjson", "requests.jsonl"),
        Format::Csv => ("text/csv; charset=utf-8", "requests.csv"),
    };
    let headers = [
        (CONTENT_TYPE, kind.to_owned()),
        (
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    let pages = Pages {
        ready: Some(first.into()),
        making: next.map(|next| making(control.clone(), next, format)),
        control,
        format,
        _permit: permit,
    };
    Ok((headers, Body::new(pages)).into_response())
}

/// A page, and what asks for the next one.
type Made = (Bytes, Option<Query>);

type Making = Pin<Box<dyn Future<Output = Result<Made, Failure>> + Send>>;

fn making(control: Control, query: Query, format: Format) -> Making {
    Box::pin(page(control, query, format))
}

/// The body of an export.
struct Pages {
    ready: Option<Bytes>,
    /// `None` behind the last page.
    making: Option<Making>,
    control: Control,
    format: Format,
    _permit: OwnedSemaphorePermit,
}

impl HttpBody for Pages {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(page) = self.ready.take().filter(|page| !page.is_empty()) {
                return Poll::Ready(Some(Ok(Frame::data(page))));
            }
            let Some(next) = &mut self.making else {
                return Poll::Ready(None);
            };
            match ready!(next.as_mut().poll(context)) {
                Ok((page, next)) => {
                    self.making = next.map(|next| making(self.control.clone(), next, self.format));
                    self.ready = Some(page);
                }
                Err(_told_in_the_log) => {
                    self.making = None;
                    let broken = std::io::Error::other("the record store failed");
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
    }
}

/// One page, or as much of one as is found in time; what goes on from there is the next one.
async fn page(control: Control, mut query: Query, format: Format) -> Result<Made, Failure> {
    let (made, _fraction) = ask::ask(&control, ask::BUDGET, move |logs, progress| {
        let found = logs.search(&query, progress)?;
        let mut page = Vec::new();
        for record in &found.records {
            match format {
                Format::Csv => csv::row(record, &mut page)?,
                Format::Jsonl => {
                    serde_json::to_writer(&mut page, record)?;
                    page.push(b'\n');
                }
            }
        }
        query.after = found.next;
        Ok((page.into(), found.next.map(|_more| query)))
    })
    .await?;
    Ok(made)
}
