//! Providers that an account has for itself (management-api section 7): requests use them as
//! `custom-{slug}`.

pub(crate) mod costs;

use axum::extract::{Path, RawQuery, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use isango_store::config::{self, Change, Contents, Entity, Kind};
use isango_store::providers::{self, MAX_PROVIDERS, StoredProvider};
use isango_types::{RecordId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams, last, pairs};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// Members that are told and not set.
const READ_ONLY: [&str; 5] = [
    "id",
    "account_id",
    "account_tag",
    "created_at",
    "modified_at",
];
/// What stands in the place of a header's value.
const STARS: &str = "*****";
/// Longest headers, in bytes.
const MAX_HEADERS: usize = 8_192;
/// Longest other text, in bytes.
const MAX_TEXT: usize = 16 << 10;

/// A provider of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ProviderPath {
    /// The account.
    account_id: String,
    /// The provider.
    provider_id: String,
}

/// What is set of a provider.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "members are checked as they are read, and kept as they came"
)]
pub(crate) struct ProviderSettings {
    /// Its name for people.
    name: Option<String>,
    /// What stands behind `custom-` in a path; unique in the account.
    #[schema(pattern = "^[a-z0-9_]+(?:-[a-z0-9_]+)*$", max_length = 57)]
    slug: Option<String>,
    /// Where it is: an https URL.
    base_url: Option<String>,
    /// Whether requests may use it; false.
    enable: Option<bool>,
    /// For people.
    beta: Option<bool>,
    /// For people.
    description: Option<String>,
    /// A page about it.
    link: Option<String>,
    /// An SVG, in base64; one is made of its name where none is given.
    logo: Option<String>,
    /// For people.
    curl_example: Option<String>,
    /// For people.
    js_example: Option<String>,
    /// Its place in lists.
    position: Option<i64>,
    /// Headers of every request to it: a JSON object as a text. Told with stars; sent back so, they
    /// stay.
    #[schema(max_length = 8192)]
    headers: Option<String>,
}

/// A provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProviderView {
    /// Its id.
    id: Box<str>,
    /// The account.
    account_id: Box<str>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// What is set of it.
    #[serde(flatten)]
    settings: ProviderShown,
}

/// What is set of a provider, as it is told.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderShown {
    /// Its name for people.
    name: String,
    /// What stands behind `custom-` in a path.
    slug: Box<str>,
    /// Where it is.
    base_url: String,
    /// Whether requests may use it.
    enable: bool,
    /// For people.
    beta: bool,
    /// For people.
    description: Option<String>,
    /// A page about it.
    link: Option<String>,
    /// An SVG, in base64.
    logo: String,
    /// For people.
    curl_example: Option<String>,
    /// For people.
    js_example: Option<String>,
    /// Its place in lists.
    position: i64,
    /// Its headers with stars for their values: a JSON object as a text.
    headers: Option<String>,
}

impl ProviderView {
    fn of(stored: &StoredProvider) -> Self {
        let text = |name: &str| stored.fields.get(name).and_then(Value::as_str);
        let flag = |name: &str| stored.fields.get(name) == Some(&Value::Bool(true));
        let owned = |name: &str| text(name).map(str::to_owned);
        Self {
            id: stored.id.clone(),
            account_id: stored.account.clone(),
            created_at: stored.created_at,
            modified_at: stored.modified_at,
            settings: ProviderShown {
                name: owned("name").unwrap_or_default(),
                slug: stored.slug.clone(),
                base_url: owned("base_url").unwrap_or_default(),
                enable: flag("enable"),
                beta: flag("beta"),
                description: owned("description"),
                link: owned("link"),
                logo: owned("logo").unwrap_or_else(|| logo(&stored.slug)),
                curl_example: owned("curl_example"),
                js_example: owned("js_example"),
                position: stored
                    .fields
                    .get("position")
                    .and_then(Value::as_i64)
                    .unwrap_or(0),
                headers: starred(stored),
            },
        }
    }
}

impl Listed for ProviderView {
    /// By position, then name.
    fn place(&self) -> String {
        let ProviderShown { position, name, .. } = &self.settings;
        let position = position.wrapping_sub(i64::MIN).cast_unsigned();
        format!("{position:020} {name} {}", self.id)
    }

    fn name(&self) -> String {
        let ProviderShown { name, slug, .. } = &self.settings;
        format!("{} {name} {slug}", self.id)
    }
}

/// Headers with stars for their values; `None`: there are none.
fn starred(stored: &StoredProvider) -> Option<String> {
    let names = stored.header_names.iter();
    let starred: Map<String, Value> = names.map(|name| (name.to_string(), STARS.into())).collect();
    (!starred.is_empty()).then(|| Value::Object(starred).to_string())
}

/// A picture of a provider that has none: the first letter of its slug, which is a letter, a digit or
/// `_`.
fn logo(slug: &str) -> String {
    let letter = slug.chars().next().unwrap_or('_').to_ascii_uppercase();
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\"><rect width=\"32\" \
         height=\"32\" rx=\"6\" fill=\"#475569\"/><text x=\"16\" y=\"22\" font-size=\"18\" \
         text-anchor=\"middle\" fill=\"#fff\">{letter}</text></svg>"
    );
    STANDARD.encode(svg)
}

/// Codes of failures in the contract of this resource.
fn no_url(message: &str) -> Failure {
    Failure::wrong(&["base_url"], message).code(Code::BaseUrl)
}

fn no_provider() -> Failure {
    Failure::not_found().code(Code::NoProvider)
}

/// A failure of a commit, in the codes of this resource.
fn told(error: config::Error) -> Failure {
    let config::Error::Invalid(invalid) = &error else {
        return error.into();
    };
    let first = invalid.0.first();
    let member = first.and_then(|one| one.path.first()).map(|name| &**name);
    let message = first.map_or("", |one| &*one.message);
    match member {
        Some("base_url") => no_url(message),
        Some("slug") if message.contains("there is") || message.contains("has a provider") => {
            Failure::taken_at(&["slug"], message).code(Code::Slug)
        }
        _ => error.into(),
    }
}

/// List providers of one's own
///
/// By position, then name.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers",
    tag = "custom providers",
    params(("account_id" = String, Path, description = "The account."), PageParams,
        ("enable" = Option<bool>, Query, description = "Those that requests may use, or may not."),
        ("beta" = Option<bool>, Query, description = "Those that are marked so, or are not.")),
    responses((status = 200, body = Envelope<Vec<ProviderView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<ProviderView>> {
    let query = query.unwrap_or_default();
    let page = Page::read(&query, (100, 20))?;
    let pairs = pairs(&query)?;
    let flag = |name: &str| match last(&pairs, name) {
        None | Some("") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(text) => Err(Failure::bad_request(format!(
            "`{name}` must be true or false; found `{text}`"
        ))),
    };
    let (enable, beta) = (flag("enable")?, flag("beta")?);
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let all = of_account(&contents, &account);
        let mut views: Vec<ProviderView> = all.iter().map(ProviderView::of).collect();
        views.retain(|view| {
            enable.is_none_or(|enable| enable == view.settings.enable)
                && beta.is_none_or(|beta| beta == view.settings.beta)
        });
        views.sort_by_key(Listed::place);
        Ok(Done::page(views, &page))
    })
    .await
}

/// Make a provider of one's own
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers",
    tag = "custom providers",
    params(("account_id" = String, Path, description = "The account.")), request_body = ProviderSettings,
    responses((status = 200, body = Envelope<ProviderView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(mut members): Members,
) -> Answer<ProviderView> {
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    for name in ["name", "slug", "base_url"] {
        if members.get(name).is_none_or(Value::is_null) {
            return Err(Failure::wrong(&[name], "Required"));
        }
    }
    check(&members)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        if of_account(&contents, &account).len() >= MAX_PROVIDERS {
            let message = format!("an account has at most {MAX_PROVIDERS} providers of its own");
            return Err(Failure::full(message));
        }
        let mut stored = StoredProvider {
            account: account.as_str().into(),
            id: RecordId::new(author.at).to_string().into(),
            slug: "".into(),
            created_at: author.at,
            modified_at: author.at,
            fields: Map::new(),
            header_names: Vec::new(),
            sealed: "".into(),
            costs: Vec::new(),
        };
        apply(control, &mut stored, members)?;
        let id = StoredProvider::entity_id(&stored.account, &stored.id);
        let change = Change::add(Kind::Provider, &id, text(&stored)?);
        control.config.commit_as(&author, &[change]).map_err(told)?;
        Ok(Done::new(ProviderView::of(&stored)))
    })
    .await
}

/// Read a provider of one's own
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/{provider_id}",
    tag = "custom providers", params(ProviderPath),
    responses((status = 200, body = Envelope<ProviderView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<ProviderPath>,
) -> Answer<ProviderView> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let (stored, _) = find(&contents, &path.account_id, &path.provider_id)?;
        Ok(Done::new(ProviderView::of(&stored)))
    })
    .await
}

/// Change a provider of one's own
///
/// What is left out stays as it is. With another `base_url` its headers are sent again: they are
/// bound to the address that they were given for.
#[utoipa::path(patch,
    path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/{provider_id}",
    tag = "custom providers", params(ProviderPath), request_body = ProviderSettings,
    responses((status = 200, body = Envelope<ProviderView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<ProviderPath>,
    Members(mut members): Members,
) -> Answer<ProviderView> {
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    check(&members)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        let (mut stored, entity) = find(&contents, &path.account_id, &path.provider_id)?;
        apply(control, &mut stored, members)?;
        stored.modified_at = author.at;
        let change = Change::replace(entity, text(&stored)?);
        control.config.commit_as(&author, &[change]).map_err(told)?;
        Ok(Done::new(ProviderView::of(&stored)))
    })
    .await
}

/// Remove a provider of one's own
///
/// With it go the rules of what it costs.
#[utoipa::path(delete,
    path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/{provider_id}",
    tag = "custom providers", params(ProviderPath),
    responses((status = 200, body = Envelope<ProviderView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<ProviderPath>,
) -> Answer<ProviderView> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let (stored, entity) = find(&contents, &path.account_id, &path.provider_id)?;
        let author = caller.author(control);
        control
            .config
            .commit_as(&author, &[Change::remove(entity)])?;
        Ok(Done::new(ProviderView::of(&stored)))
    })
    .await
}

/// Checks what members say for themselves.
fn check(members: &Map<String, Value>) -> Result<(), Failure> {
    let settings: ProviderSettings = body::read(members)?;
    let is_told = |text: &Option<String>| {
        text.as_ref()
            .is_none_or(|text| !text.trim().is_empty() && text.len() <= 128)
    };
    if !is_told(&settings.name) {
        return Err(Failure::wrong(&["name"], "a name has 1 to 128 bytes"));
    }
    for (name, text) in [
        ("description", &settings.description),
        ("link", &settings.link),
        ("logo", &settings.logo),
        ("curl_example", &settings.curl_example),
        ("js_example", &settings.js_example),
    ] {
        if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
            let message = format!("a text of at most {MAX_TEXT} bytes");
            return Err(Failure::wrong(&[name], message));
        }
    }
    let is_long = |text: &String| text.len() > MAX_HEADERS;
    if settings.headers.as_ref().is_some_and(is_long) {
        let message = format!("a text of at most {MAX_HEADERS} bytes");
        return Err(Failure::wrong(&["headers"], message));
    }
    Ok(())
}

/// Puts what is set in the place of what was.
fn apply(
    control: &Control,
    stored: &mut StoredProvider,
    mut members: Map<String, Value>,
) -> Result<(), Failure> {
    let headers = members.remove("headers");
    if let Some(slug) = members.remove("slug") {
        stored.slug = slug.as_str().unwrap_or_default().into();
    }
    let before = stored.fields.get("base_url").cloned();
    stored.fields.extend(members);
    stored.fields.retain(|_, value| !value.is_null());
    let has_moved = before.is_some() && before.as_ref() != stored.fields.get("base_url");
    let text = headers.as_ref().and_then(Value::as_str);
    let is_kept = match (&headers, text) {
        (None, _) => true,
        (Some(_), Some(text)) => starred(stored).as_deref() == Some(text),
        (Some(_), None) => false,
    };
    if is_kept {
        let are_bound = has_moved && !stored.sealed.is_empty();
        return match are_bound {
            true => {
                let message = "send them again: they are bound to the `base_url` that they were \
                               given for";
                Err(Failure::wrong(&["headers"], message))
            }
            false => Ok(()),
        };
    }
    let text = text.unwrap_or_default();
    stored.header_names = header_names(text)?;
    stored.sealed = "".into();
    if stored.header_names.is_empty() {
        return Ok(());
    }
    let keyring = (control.keyring)().ok_or_else(|| {
        let message = "there is no key to seal them with: the operator sets `secrets.key`";
        Failure::wrong(&["headers"], message)
    })?;
    let sealed = stored.seal(&keyring, &Secret::new(text));
    sealed.map_err(|error| Failure::internal(&error))
}

/// The names of headers that are a JSON object of texts.
fn header_names(text: &str) -> Result<Vec<Box<str>>, Failure> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || Failure::wrong(&["headers"], "a JSON object of texts, as a text");
    let read: Map<String, Value> = serde_json::from_str(text).map_err(|_no_object| wrong())?;
    match read.values().all(Value::is_string) {
        true => Ok(read.into_iter().map(|(name, _)| name.into()).collect()),
        false => Err(wrong()),
    }
}

fn text(stored: &StoredProvider) -> Result<String, Failure> {
    stored.body().map_err(|error| Failure::internal(&error))
}

/// The providers of an account. What cannot be read is told to the operator.
fn of_account(contents: &Contents, account: &str) -> Vec<StoredProvider> {
    let mut found = Vec::new();
    for provider in providers::all(contents) {
        match provider {
            Ok(provider) if *provider.account == *account => found.push(provider),
            Ok(_of_another) => {}
            Err(error) => tracing::error!(%error, "a stored provider is not listed"),
        }
    }
    found
}

fn find<'c>(
    contents: &'c Contents,
    account: &str,
    id: &str,
) -> Result<(StoredProvider, &'c Entity), Failure> {
    let id = StoredProvider::entity_id(account, id);
    let entity = contents.find(Kind::Provider, &id);
    let entity = entity.ok_or_else(no_provider)?;
    let stored = StoredProvider::parse(entity).map_err(|error| Failure::internal(&error))?;
    Ok((stored, entity))
}
