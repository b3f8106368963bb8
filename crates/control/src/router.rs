//! Every route of the management API in one list, and the description that follows from it
//! (`OpenAPI` 3.1).

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use isango_types::RecordId;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Description, RefOr, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::alerts::api as alerts;
use crate::error::Failure;
use crate::identity::{link, oidc, session, users};
use crate::{
    Control, analytics, audit, auth, backtest, body, cache, gateways, graphql, idempotent, logpush,
    logs, plan, prices, provider_configs, requests, rerate, revisions, settings, simulate, storage,
    tail, targets, tokens, trial, urls, viewer, views,
};

/// Where the description is.
const DESCRIPTION: &str = "/client/v4/openapi.json";

/// Capabilities of the contract that later versions have, by what their paths hold.
const LATER: [(&str, &str); 7] = [
    ("/routes", "named routes"),
    ("/policies", "policies"),
    ("/datasets", "datasets"),
    ("/evaluations", "evaluations"),
    ("/evaluation-types", "evaluations"),
    ("/custom-domains", "domains for single gateways"),
    (
        "/billing/",
        "unified billing: every provider is paid by its own account",
    ),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Isango management API",
        description = "Cloudflare's v4 contract for AI Gateway, and Isango's own resources in the \
                       same style.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(crate::answer::ResultInfo)),
    security(("token" = []), ("session" = []))
)]
struct Frame;

/// Every route below the accounts.
fn routes() -> OpenApiRouter<Control> {
    let mut frame = Frame::openapi();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token with the scope `read` or `write` (`isango token create`).",
        ))
        .build();
    let components = frame.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let session = ApiKeyValue::with_description(
        "isango_session",
        "The cookie of a session; `__Host-isango_session` where the page came by TLS. Changes show \
         `x-csrf-token` beside.",
    );
    let session = SecurityScheme::ApiKey(ApiKey::Cookie(session));
    components.add_security_scheme("session", session);
    OpenApiRouter::with_openapi(frame)
        .merge(of_gateways())
        .merge(of_logs())
        .merge(of_keys())
        .merge(of_providers())
        .merge(own())
        .merge(of_alerts())
        .merge(of_revisions())
        .merge(of_users())
        .merge(of_requests())
        .merge(of_logpush())
}

fn of_gateways() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(gateways::list, gateways::create))
        .routes(routes!(gateways::get, gateways::update, gateways::delete))
        .routes(routes!(urls::get))
        .merge(of_trials())
}

fn of_trials() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(trial::send))
        .routes(routes!(simulate::simulate))
        .routes(routes!(simulate::explain))
        .layer(DefaultBodyLimit::max(body::MAX_LARGE_BYTES))
}

fn of_logs() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(logs::list, logs::later::delete))
        .routes(routes!(logs::get, logs::later::patch))
        .routes(routes!(logs::request))
        .routes(routes!(logs::response))
}

fn of_keys() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(provider_configs::list, provider_configs::create))
        .routes(routes!(
            provider_configs::get,
            provider_configs::update,
            provider_configs::delete
        ))
}

fn of_providers() -> OpenApiRouter<Control> {
    use crate::custom_providers::{self as own, costs};
    OpenApiRouter::new()
        .routes(routes!(own::list, own::create))
        .routes(routes!(own::get, own::update, own::delete))
        .routes(routes!(costs::list, costs::create))
        .routes(routes!(costs::get, costs::update, costs::delete))
}

fn own() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(settings::get, settings::update))
        .routes(routes!(backtest::ask_history))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::rotate))
        .routes(routes!(tokens::revoke))
        .routes(routes!(targets::list))
        .routes(routes!(prices::list, prices::create))
        .routes(routes!(prices::delete))
        .routes(routes!(prices::own))
        .routes(routes!(rerate::list, rerate::create))
        .routes(routes!(rerate::get, rerate::cancel))
        .routes(routes!(cache::purge))
        .routes(routes!(storage::get))
}

fn of_alerts() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::get))
        .routes(routes!(alerts::test))
        .routes(routes!(alerts::mute, alerts::unmute))
}

fn of_revisions() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(revisions::list))
        .routes(routes!(revisions::get))
        .routes(routes!(revisions::restore))
        .routes(routes!(revisions::diff))
        .routes(routes!(plan::export))
        .routes(routes!(plan::plan))
        .routes(routes!(plan::apply))
}

fn of_requests() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(requests::list))
        .routes(routes!(requests::export::export))
        .routes(routes!(requests::get))
        .routes(routes!(simulate::of_record))
        .routes(routes!(analytics::ask))
        .routes(routes!(tail::tail))
        .routes(routes!(views::list, views::create))
        .routes(routes!(views::update, views::delete))
}

fn of_users() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::update, users::delete))
        .routes(routes!(users::link))
        .routes(routes!(audit::list))
}

/// The routes of whoever signs in, which ask for no token.
fn of_people() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(session::get, session::create, session::delete))
        .routes(routes!(session::delete_all))
        .routes(routes!(session::password))
        .routes(routes!(link::needed, link::set_up))
        .routes(routes!(link::follow))
        .routes(routes!(link::look))
        .routes(routes!(oidc::login))
        .routes(routes!(oidc::callback))
}

/// The one question that names its account inside.
fn of_graphql() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(graphql::ask))
}

fn of_logpush() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(logpush::list, logpush::create))
        .routes(routes!(logpush::get, logpush::update, logpush::delete))
        .routes(routes!(logpush::of_dataset))
        .routes(routes!(logpush::fields))
        .routes(routes!(logpush::validate))
        .routes(routes!(logpush::exists))
        .routes(routes!(logpush::ownership))
        .routes(routes!(logpush::challenge))
        .routes(routes!(logpush::aside::list))
        .routes(routes!(logpush::aside::delete))
        .routes(routes!(logpush::aside::retry))
}

/// The description of every route.
#[must_use]
pub fn openapi() -> Description {
    let all = routes().merge(of_people()).merge(of_graphql());
    let mut description = all.into_openapi();
    idempotent::describe(&mut description);
    open_parts(&mut description);
    description
}

/// Lets what other schemas are put together of have members beside its own: what says that it has no
/// others would refuse those of the whole. The API refuses unknown members all the same.
fn open_parts(description: &mut Description) {
    let Some(components) = &mut description.components else {
        return;
    };
    let mut parts = Vec::new();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::AllOf(whole)) = schema else {
            continue;
        };
        for item in &mut whole.items {
            match item {
                RefOr::Ref(named) => {
                    parts.extend(named.ref_location.rsplit('/').next().map(String::from))
                }
                RefOr::T(Schema::Object(object)) => object.additional_properties = None,
                RefOr::T(_) => {}
            }
        }
    }
    for name in parts {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&name) {
            object.additional_properties = None;
        }
    }
}

/// The API, with everything that each request passes on its way in and out.
pub(crate) fn api(control: &Control) -> Router<Control> {
    let (accounts, _) = routes().split_for_parts();
    let (people, _) = of_people().split_for_parts();
    let (graphql, _) = of_graphql().split_for_parts();
    let description = openapi();
    let page = viewer::page(&description);
    // It is made of texts and numbers only.
    let json = description.to_json().unwrap_or_default();
    let accounts = accounts
        .route("/client/{*rest}", any(unknown))
        .method_not_allowed_fallback(async || Failure::no_method())
        .layer(from_fn_with_state(control.clone(), idempotent::once))
        .layer(from_fn_with_state(control.clone(), auth::admit))
        .layer(DefaultBodyLimit::max(body::MAX_BYTES));
    let people = people
        .method_not_allowed_fallback(async || Failure::no_method())
        .layer(DefaultBodyLimit::max(body::MAX_BYTES));
    Router::new()
        .merge(accounts)
        .merge(people)
        .merge(
            graphql
                .method_not_allowed_fallback(async || Failure::no_method())
                .layer(DefaultBodyLimit::max(body::MAX_BYTES)),
        )
        .merge(described_at(json, page))
        .layer(from_fn_with_state(control.clone(), noted))
        .layer(from_fn(like_head))
}

/// Where the description is, for programs and for people.
fn described_at(
    json: String,
    page: impl IntoResponse + Clone + Send + Sync + 'static,
) -> Router<Control> {
    let described = async move || ([(CONTENT_TYPE, "application/json")], json.clone());
    Router::new()
        .route(DESCRIPTION, get(described))
        .route("/client/v4/docs", get(async move || page.clone()))
        .method_not_allowed_fallback(async || Failure::no_method())
}

/// What is asked for at a path that nothing stands at.
async fn unknown(request: Request) -> Failure {
    let path = request.uri().path();
    let later = LATER.iter().find(|(part, _)| {
        let mut found = path
            .match_indices(part)
            .map(|(at, part)| &path[at + part.len()..]);
        found.any(|rest| part.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    });
    later.map_or_else(Failure::unroutable, |(_, what)| Failure::later(what))
}

/// Gives each request an id, and keeps its answer out of caches.
async fn noted(State(control): State<Control>, request: Request, next: Next) -> Response {
    let id = RecordId::new(control.clock.now()).to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::debug!(%method, path, status, id, "management API");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A `HEAD` has no body to read failures from, and is nothing that the contract has.
async fn like_head(request: Request, next: Next) -> Response {
    match *request.method() == Method::HEAD {
        true => Failure::no_method().into_response(),
        false => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_that_is_checked_in_is_the_one_of_the_routes() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let described = format!("{}\n", openapi().to_pretty_json().unwrap());
        let checked_in = std::fs::read_to_string(file).unwrap_or_default();
        if checked_in != described {
            std::fs::write(file, described).unwrap();
            panic!(
                "{file} was not that of the routes, and is now; look at it, then run this again"
            );
        }
    }
}
