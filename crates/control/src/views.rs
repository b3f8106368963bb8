//! Saved views of an account: questions that people ask again, as the query of a page's address.

use axum::extract::{Path, RawQuery, State};
use isango_store::config::{Change, Contents, Entity, Kind};
use isango_store::views::{self, MAX_VIEWS, StoredView};
use isango_types::{RecordId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// Longest name, in bytes.
const MAX_NAME: usize = 128;
/// Longest query, in bytes.
const MAX_QUERY: usize = 8 << 10;

/// A view of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ViewPath {
    /// The account.
    account_id: String,
    /// The view.
    view_id: String,
}

/// A view to save.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewView {
    /// What people call it; 1 to 128 bytes.
    #[schema(min_length = 1, max_length = 128)]
    name: Box<str>,
    /// The query of the page's address that asks for it, without its `?`; at most 8 KiB.
    #[schema(max_length = 8192)]
    query: Box<str>,
}

/// A saved view.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SavedView {
    /// Its id.
    id: Box<str>,
    /// What people call it.
    name: Box<str>,
    /// The query of the page's address that asks for it.
    query: Box<str>,
    /// When it was saved first.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// By whom.
    created_by: Box<str>,
}

impl From<StoredView> for SavedView {
    fn from(stored: StoredView) -> Self {
        Self {
            id: stored.id,
            name: stored.name,
            query: stored.query,
            created_at: stored.created_at,
            created_by: stored.created_by,
        }
    }
}

impl Listed for SavedView {
    fn place(&self) -> String {
        self.id.as_ref().to_owned()
    }

    fn name(&self) -> String {
        self.name.as_ref().to_owned()
    }
}

impl NewView {
    fn check(&self) -> Result<(), Failure> {
        let is_told = |text: &str| !text.trim().is_empty() && !text.contains(char::is_control);
        if !is_told(&self.name) || self.name.len() > MAX_NAME {
            let message = format!("a name is 1 to {MAX_NAME} bytes of one line");
            return Err(Failure::wrong(&["name"], message));
        }
        if self.query.len() > MAX_QUERY || self.query.contains(char::is_control) {
            let message = format!("a query is at most {MAX_QUERY} bytes of one line");
            return Err(Failure::wrong(&["query"], message));
        }
        Ok(())
    }
}

/// List saved views
///
/// Those of the account, the oldest first; all of them where nobody says how many.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/views", tag = "views",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<SavedView>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<SavedView>> {
    let most = MAX_VIEWS as u64;
    let page = Page::read(&query.unwrap_or_default(), (most, most))?;
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let views: Vec<SavedView> = readable(&contents, &account).map(SavedView::from).collect();
        Ok(Done::page(views, &page))
    })
    .await
}

/// Save a view
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/views", tag = "views",
    params(("account_id" = String, Path, description = "The account.")), request_body = NewView,
    responses((status = 200, body = Envelope<SavedView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<SavedView> {
    let new: NewView = body::read(&members)?;
    new.check()?;
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        if views::views(&contents, &account).count() >= MAX_VIEWS {
            let message = format!("an account has at most {MAX_VIEWS} views");
            return Err(Failure::full(message));
        }
        let author = caller.author(control);
        let view = StoredView {
            id: RecordId::new(author.at).to_string().into(),
            account: account.into(),
            name: new.name,
            query: new.query,
            created_at: author.at,
            created_by: author.who.clone(),
        };
        let id = StoredView::entity_id(&view.account, &view.id);
        let change = Change::add(Kind::View, &id, text(&view)?);
        control.config.commit_as(&author, &[change])?;
        Ok(Done::new(view.into()))
    })
    .await
}

/// Change a saved view
#[utoipa::path(put, path = "/client/v4/accounts/{account_id}/isango/views/{view_id}", tag = "views",
    params(ViewPath), request_body = NewView,
    responses((status = 200, body = Envelope<SavedView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<ViewPath>,
    Members(members): Members,
) -> Answer<SavedView> {
    let new: NewView = body::read(&members)?;
    new.check()?;
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let entity = find(&contents, &path)?;
        let stored = StoredView::parse(entity).map_err(|error| Failure::internal(&error))?;
        let view = StoredView {
            name: new.name,
            query: new.query,
            ..stored
        };
        let change = Change::replace(entity, text(&view)?);
        control
            .config
            .commit_as(&caller.author(control), &[change])?;
        Ok(Done::new(view.into()))
    })
    .await
}

/// Remove a saved view
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/isango/views/{view_id}",
    tag = "views", params(ViewPath),
    responses((status = 200, body = Envelope<Removed>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<ViewPath>,
) -> Answer<Removed> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let change = Change::remove(find(&contents, &path)?);
        control
            .config
            .commit_as(&caller.author(control), &[change])?;
        Ok(Done::new(Removed {
            id: path.view_id.into(),
        }))
    })
    .await
}

/// What was removed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Removed {
    /// Its id.
    id: Box<str>,
}

fn find<'c>(contents: &'c Contents, path: &ViewPath) -> Result<&'c Entity, Failure> {
    let id = StoredView::entity_id(&path.account_id, &path.view_id);
    contents
        .find(Kind::View, &id)
        .ok_or_else(Failure::not_found)
}

/// The views of an account; of those that cannot be read, the log tells.
fn readable<'c>(contents: &'c Contents, account: &'c str) -> impl Iterator<Item = StoredView> + 'c {
    views::views(contents, account).filter_map(|view| {
        view.map_err(|error| tracing::warn!(%error, "a view is left out"))
            .ok()
    })
}

fn text(view: &StoredView) -> Result<String, Failure> {
    serde_json::to_string(view).map_err(|error| Failure::internal(&error))
}
