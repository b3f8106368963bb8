//! What models of an account's own providers cost (management-api section 7.1). The rules stand with
//! their provider.

use axum::extract::{Path, RawQuery, State};
use isango_store::config::{Change, Contents, Entity};
use isango_store::providers::{MAX_COSTS, StoredCost, StoredProvider};
use isango_types::{RecordId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::{IntoParams, ToSchema};

use super::{find as find_provider, no_provider, of_account, text, told};
use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams, Remark, last, pairs};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::codes::Code;
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// Members that are told and not set.
const READ_ONLY: [&str; 4] = ["id", "weight", "created_at", "modified_at"];
/// Parts of `token_pricing` that no usage tells of.
const NOT_IN_FORCE: [&str; 3] = ["input_image_count", "input_video_tokens", "total_tokens"];

/// A rule of what models cost.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct CostPath {
    /// The account.
    account_id: String,
    /// The rule.
    cost_id: String,
}

/// Which models a rule is for.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ModelRule {
    /// The one of this name.
    Equals,
    /// Those whose names begin so.
    StartsWith,
    /// Those whose names hold this.
    Contains,
}

/// What a rule says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "members are checked as they are read, and kept as they came"
)]
pub(crate) struct CostRule {
    /// Id of the provider; it cannot be changed.
    account_provider_id: Option<String>,
    /// The model, or a part of its name.
    #[schema(min_length = 1, max_length = 256)]
    model: Option<String>,
    /// How it is compared; `equals`.
    model_rule: Option<ModelRule>,
    /// `tokens`.
    cost_type: Option<String>,
    /// US dollars for a token of input.
    #[schema(value_type = Option<f64>, minimum = 0)]
    cost_in: Option<Number>,
    /// US dollars for a token of output.
    #[schema(value_type = Option<f64>, minimum = 0)]
    cost_out: Option<Number>,
    /// In detail, in US dollars for each: `input_tokens`, `input_text_tokens`,
    /// `input_cached_tokens`, `input_cache_creation_tokens`, `input_audio_tokens`,
    /// `input_image_tokens`, `input_image_count`, `input_video_tokens`, `output_tokens`,
    /// `output_reasoning_tokens`, `output_image_count`, `total_tokens`.
    token_pricing: Option<TokenPricing>,
    /// Whether it is in force; true.
    enable: Option<bool>,
    /// Who says so; `manual`.
    #[schema(max_length = 128)]
    changed_by: Option<String>,
}

/// Prices in detail.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "says which members there are; they are kept as they came"
)]
struct TokenPricing {
    #[schema(value_type = Option<f64>)]
    input_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_text_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_cached_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_cache_creation_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_audio_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_image_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_image_count: Option<Number>,
    #[schema(value_type = Option<f64>)]
    input_video_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    output_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    output_reasoning_tokens: Option<Number>,
    #[schema(value_type = Option<f64>)]
    output_image_count: Option<Number>,
    #[schema(value_type = Option<f64>)]
    total_tokens: Option<Number>,
}

/// A rule, as it is told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostView {
    /// Its id.
    id: Box<str>,
    /// Id of the provider.
    account_provider_id: Box<str>,
    /// The model, or a part of its name.
    model: String,
    /// `equals`, `starts-with` or `contains`.
    model_rule: String,
    /// `tokens`.
    cost_type: &'static str,
    /// US dollars for a token of input.
    #[schema(value_type = Option<f64>)]
    cost_in: Value,
    /// US dollars for a token of output.
    #[schema(value_type = Option<f64>)]
    cost_out: Value,
    /// In detail: a JSON object as a text.
    token_pricing: Option<String>,
    /// Whether it is in force.
    enable: bool,
    /// Its place among the rules of its provider; the first that fits a model holds.
    weight: u64,
    /// Who says so.
    changed_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
}

impl CostView {
    fn of(provider: &StoredProvider, cost: &StoredCost) -> Self {
        let fields = &cost.fields;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let number = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let weight = provider.costs.iter().position(|one| one.id == cost.id);
        Self {
            id: cost.id.clone(),
            account_provider_id: provider.id.clone(),
            model: text("model").unwrap_or_default().to_owned(),
            model_rule: text("model_rule").unwrap_or("equals").to_owned(),
            cost_type: "tokens",
            cost_in: number("cost_in"),
            cost_out: number("cost_out"),
            token_pricing: fields.get("token_pricing").map(Value::to_string),
            enable: fields.get("enable") != Some(&Value::Bool(false)),
            weight: weight.unwrap_or(0) as u64,
            changed_by: text("changed_by").unwrap_or("manual").to_owned(),
            created_at: cost.created_at,
            modified_at: cost.modified_at,
        }
    }

    /// What is kept and has no effect.
    fn remarks(&self) -> Vec<Remark> {
        let detailed = self.token_pricing.as_deref().unwrap_or_default();
        let set = NOT_IN_FORCE
            .iter()
            .filter(|name| detailed.contains(&format!("\"{name}\"")));
        set.map(|name| Remark {
            code: Code::KeptPrice,
            message: format!("`token_pricing.{name}` is kept, but not in force: no usage tells it"),
        })
        .collect()
    }
}

impl Listed for CostView {
    /// The newest first.
    fn place(&self) -> String {
        let age = u64::MAX - self.created_at.as_micros();
        format!("{age:020} {}", self.id)
    }

    fn name(&self) -> String {
        format!("{} {}", self.model, self.changed_by)
    }
}

/// List rules of costs
///
/// The newest first.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/costs",
    tag = "custom providers",
    params(("account_id" = String, Path, description = "The account."), PageParams,
        ("account_provider_id" = Option<String>, Query, description = "Those of this provider."),
        ("enable" = Option<bool>, Query, description = "Those in force, or not."),
        ("model_rule" = Option<String>, Query, description = "Those that compare so."),
        ("cost_type" = Option<String>, Query, description = "`tokens`: all of them.")),
    responses((status = 200, body = Envelope<Vec<CostView>>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<CostView>> {
    let query = query.unwrap_or_default();
    let page = Page::read(&query, (100, 20))?;
    let pairs = pairs(&query)?;
    let wanted = |name: &str| {
        let text = last(&pairs, name).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let provider = wanted("account_provider_id");
    let enable = wanted("enable").map(|text| text == "true");
    let (rule, kind) = (wanted("model_rule"), wanted("cost_type"));
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let all = of_account(&contents, &account);
        let mut views: Vec<CostView> = all
            .iter()
            .flat_map(|one| one.costs.iter().map(|cost| CostView::of(one, cost)))
            .collect();
        views.retain(|view| {
            let is = |wanted: &Option<String>, found: &str| {
                wanted.as_ref().is_none_or(|wanted| *wanted == *found)
            };
            is(&provider, &view.account_provider_id)
                && enable.is_none_or(|enable| enable == view.enable)
                && is(&rule, &view.model_rule)
                && is(&kind, view.cost_type)
        });
        views.sort_by_key(Listed::place);
        Ok(Done::page(views, &page))
    })
    .await
}

/// Make a rule of costs
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/costs",
    tag = "custom providers",
    params(("account_id" = String, Path, description = "The account.")), request_body = CostRule,
    responses((status = 200, body = Envelope<CostView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(mut members): Members,
) -> Answer<CostView> {
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    for name in ["account_provider_id", "model"] {
        if members.get(name).is_none_or(Value::is_null) {
            return Err(Failure::wrong(&[name], "Required"));
        }
    }
    check(&members)?;
    let provider = members.remove("account_provider_id");
    let provider = provider
        .as_ref()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        let (mut stored, entity) = find_provider(&contents, &account, &provider)?;
        if stored.costs.len() >= MAX_COSTS {
            let message = format!("a provider has at most {MAX_COSTS} rules");
            return Err(Failure::full(message));
        }
        let id: Box<str> = RecordId::new(author.at).to_string().into();
        stored.costs.push(StoredCost {
            id: id.clone(),
            created_at: author.at,
            modified_at: author.at,
            fields: without_null(members),
        });
        let change = Change::replace(entity, text(&stored)?);
        control.config.commit_as(&author, &[change]).map_err(told)?;
        shown(&stored, &id)
    })
    .await
}

/// Read a rule of costs
#[utoipa::path(get,
    path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/costs/{cost_id}",
    tag = "custom providers", params(CostPath),
    responses((status = 200, body = Envelope<CostView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<CostPath>,
) -> Answer<CostView> {
    blocking(&control, move |control| {
        let contents = control.config.read()?;
        let (stored, _) = find(&contents, &path)?;
        shown(&stored, &path.cost_id)
    })
    .await
}

/// Change a rule of costs
///
/// What is left out stays as it is.
#[utoipa::path(patch,
    path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/costs/{cost_id}",
    tag = "custom providers", params(CostPath), request_body = CostRule,
    responses((status = 200, body = Envelope<CostView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<CostPath>,
    Members(mut members): Members,
) -> Answer<CostView> {
    members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    check(&members)?;
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        let (mut stored, entity) = find(&contents, &path)?;
        if let Some(provider) = members.remove("account_provider_id")
            && provider.as_str() != Some(&*stored.id)
        {
            let message = "a rule stays with its provider";
            return Err(Failure::wrong(&["account_provider_id"], message));
        }
        let found = stored.costs.iter_mut().find(|one| *one.id == *path.cost_id);
        let cost = found.ok_or_else(no_provider)?;
        cost.fields.extend(members);
        cost.fields = without_null(std::mem::take(&mut cost.fields));
        cost.modified_at = author.at;
        let change = Change::replace(entity, text(&stored)?);
        control.config.commit_as(&author, &[change]).map_err(told)?;
        shown(&stored, &path.cost_id)
    })
    .await
}

/// Remove a rule of costs
#[utoipa::path(delete,
    path = "/client/v4/accounts/{account_id}/ai-gateway/custom-providers/costs/{cost_id}",
    tag = "custom providers", params(CostPath),
    responses((status = 200, body = Envelope<CostView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<CostPath>,
) -> Answer<CostView> {
    blocking(&control, move |control| {
        let author = caller.author(control);
        let contents = control.config.read()?;
        let (mut stored, entity) = find(&contents, &path)?;
        let told = shown(&stored, &path.cost_id)?;
        stored.costs.retain(|one| *one.id != *path.cost_id);
        let change = Change::replace(entity, text(&stored)?);
        control.config.commit_as(&author, &[change])?;
        Ok(told)
    })
    .await
}

fn check(members: &Map<String, Value>) -> Result<(), Failure> {
    let rule: CostRule = body::read(members)?;
    let is_model = |model: &String| (1..=256).contains(&model.len());
    if rule.model.as_ref().is_some_and(|model| !is_model(model)) {
        return Err(Failure::wrong(&["model"], "a name of 1 to 256 bytes"));
    }
    if rule
        .cost_type
        .as_deref()
        .is_some_and(|kind| kind != "tokens")
    {
        let message = "only `tokens` is known";
        return Err(Failure::wrong(&["cost_type"], message));
    }
    if rule.changed_by.as_ref().is_some_and(|who| who.len() > 128) {
        return Err(Failure::wrong(&["changed_by"], "at most 128 bytes"));
    }
    Ok(())
}

fn without_null(mut members: Map<String, Value>) -> Map<String, Value> {
    members.retain(|_, value| !value.is_null());
    members
}

fn shown(stored: &StoredProvider, id: &str) -> Answer<CostView> {
    let cost = stored.costs.iter().find(|cost| *cost.id == *id);
    let view = CostView::of(stored, cost.ok_or_else(no_provider)?);
    let remarks = view.remarks();
    Ok(Done::new(view).remarks(remarks))
}

/// The provider that has a rule.
fn find<'c>(
    contents: &'c Contents,
    path: &CostPath,
) -> Result<(StoredProvider, &'c Entity), Failure> {
    let has = |one: &StoredProvider| one.costs.iter().any(|cost| *cost.id == *path.cost_id);
    let all = of_account(contents, &path.account_id);
    let provider = all.into_iter().find(has).ok_or_else(no_provider)?;
    find_provider(contents, &path.account_id, &provider.id)
}
