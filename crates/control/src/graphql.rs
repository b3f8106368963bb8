//! The analytics datasets of the contract by its query language (observability section 1.3),
//! answered from the same sums as every other question.

mod parse;
mod rows;
mod wanted;

use axum::Json;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use isango_store::filter::TextField;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use self::parse::Field;
use crate::Control;
use crate::ask::{self, BUDGET};
use crate::auth::{self, Caller};
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};

/// Datasets of a query at most.
const MAX_DATASETS: usize = 16;

/// A query.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// `{ viewer { accounts(filter: {accountTag: …}) { … } } }`.
    query: String,
    /// The values of its variables.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    variables: Option<Map<String, Value>>,
    /// Passed over: a text has one query.
    #[serde(default, rename = "operationName")]
    #[expect(dead_code, reason = "clients send it")]
    operation: Option<String>,
}

/// What was asked for, or what is wrong with the question.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Told {
    /// Null where there are errors.
    #[schema(value_type = Option<Object>)]
    data: Value,
    /// Null where there are none.
    errors: Option<Vec<WrongQuery>>,
}

/// What is wrong with a question.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WrongQuery {
    /// In words.
    message: String,
    /// Which fields lead to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    path: Vec<String>,
}

/// Why a query has no answer.
enum Refused {
    Wrong(WrongQuery),
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Refused {
    fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self::Wrong(WrongQuery {
            message: message.into(),
            path: path.iter().map(|name| (*name).to_owned()).collect(),
        })
    }
}

/// Ask for analytics by GraphQL
///
/// The datasets `aiGatewayRequestsAdaptiveGroups`, `aiGatewayErrorsAdaptiveGroups`,
/// `aiGatewayCacheAdaptiveGroups` and `aiGatewaySizeAdaptiveGroups`, with `filter`, `orderBy` and
/// `limit`. What is wrong with a query is told with status 200, as clients of GraphQL expect.
#[utoipa::path(post, path = "/client/v4/graphql", tag = "requests", request_body = Asked,
    responses((status = 200, body = Told), (status = "4XX", body = FailureBody)))]
pub(crate) async fn ask(
    State(control): State<Control>,
    head: Parts,
    members: Result<Members, Failure>,
) -> Result<Response, Failure> {
    auth::somebody(&control, &head).await?;
    let Members(members) = members?;
    let asked: Asked = body::read(&members)?;
    let told = match answer(&control, &head, &asked).await {
        Ok(data) => Told { data, errors: None },
        Err(Refused::Failed(failure)) => return Err(failure),
        Err(Refused::Wrong(wrong)) => Told {
            data: Value::Null,
            errors: Some(vec![wrong]),
        },
    };
    Ok(Json(told).into_response())
}

async fn answer(control: &Control, head: &Parts, asked: &Asked) -> Result<Value, Refused> {
    let none = Map::new();
    let variables = asked.variables.as_ref().unwrap_or(&none);
    let parsed = parse::query(&asked.query, variables);
    let fields = match parsed {
        Ok(fields) => fields,
        Err(wrong) => return Err(Refused::new(&[], wrong)),
    };
    let mut data = Map::new();
    let mut left = MAX_DATASETS;
    for viewer in &fields {
        only(&viewer.name, &["viewer"], &[])?;
        let mut shown = Map::new();
        for accounts in &viewer.fields {
            only(&accounts.name, &["accounts"], &["viewer"])?;
            let account = account(accounts)?;
            let caller = auth::of_account(control, head, account).await?;
            let mut groups = Map::new();
            for field in &accounts.fields {
                left = left.checked_sub(1).ok_or_else(|| {
                    let message = format!("at most {MAX_DATASETS} datasets");
                    Refused::new(&["viewer", "accounts"], message)
                })?;
                let rows = Box::pin(dataset(control, (account, &caller), field)).await?;
                groups.insert(field.alias.clone(), rows);
            }
            shown.insert(accounts.alias.clone(), json!([groups]));
        }
        data.insert(viewer.alias.clone(), shown.into());
    }
    Ok(data.into())
}

/// Fields that there are at a place.
fn only(name: &str, known: &[&str], path: &[&str]) -> Result<(), Refused> {
    if known.contains(&name) {
        return Ok(());
    }
    let names = known.join("`, `");
    let message = format!("there is no field `{name}`; there is `{names}`");
    Err(Refused::new(path, message))
}

fn account(accounts: &Field) -> Result<&str, Refused> {
    let tag = accounts.arguments.get("filter");
    let tag = tag
        .and_then(|filter| filter.get("accountTag"))
        .and_then(Value::as_str);
    tag.ok_or_else(|| {
        let message = "one account is named: `accounts(filter: {accountTag: …})`";
        Refused::new(&["viewer", "accounts"], message)
    })
}

/// The rows of one dataset.
async fn dataset(
    control: &Control,
    (account, caller): (&str, &Caller),
    field: &Field,
) -> Result<Value, Refused> {
    let path = ["viewer", "accounts", &*field.alias];
    let wrong = |message: String| Refused::new(&path, message);
    let wanted = wanted::Wanted::read(field, control.clock.now()).map_err(wrong)?;
    let mut question = wanted.question(account);
    if let Some(some) = caller.gateways() {
        let ids = some.iter().map(|id| &**id);
        question.filter = question.filter.one_of(TextField::Gateway, ids);
    }
    let asked = ask::ask(control, BUDGET, move |logs, progress| {
        logs.aggregate(&question, progress)
    });
    let (answer, _fraction) = asked.await?;
    if !answer.is_complete {
        return Err(wrong("it takes too long: ask for less time".into()));
    }
    match wanted.is_told_by(&answer) {
        true => Ok(rows::rows(&wanted, &answer)),
        false => Err(wrong(
            "there are too many groups for these rows: filter them, ask for fewer dimensions or less \
             time, or order them by one sum, the largest first"
                .into(),
        )),
    }
}
