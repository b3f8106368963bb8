//! Which records a list is about: filters in their three encodings, the older parameters, the free
//! text (management-api sections 5.1 and 5.2).

use std::borrow::Cow;

use isango_store::row::Row;
use isango_types::{Timestamp, nearest};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Failure;

mod term;

/// Filters of a request at most.
const MAX_FILTERS: usize = 32;
/// Values of a filter at most.
const MAX_VALUES: usize = 100;

/// What a record is compared by, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Id,
    CreatedAt,
    RequestContentType,
    ResponseContentType,
    Success,
    Cached,
    Provider,
    Model,
    ModelType,
    Cost,
    Tokens,
    TokensIn,
    TokensOut,
    Duration,
    EventId,
    EntryName,
    EntryValue,
    Authentication,
    UserAgent,
    StatusCode,
    Feedback,
}

const KEYS: [(&str, Key); 21] = [
    ("id", Key::Id),
    ("created_at", Key::CreatedAt),
    ("request_content_type", Key::RequestContentType),
    ("response_content_type", Key::ResponseContentType),
    ("success", Key::Success),
    ("cached", Key::Cached),
    ("provider", Key::Provider),
    ("model", Key::Model),
    ("model_type", Key::ModelType),
    ("cost", Key::Cost),
    ("tokens", Key::Tokens),
    ("tokens_in", Key::TokensIn),
    ("tokens_out", Key::TokensOut),
    ("duration", Key::Duration),
    ("event_id", Key::EventId),
    ("metadata.key", Key::EntryName),
    ("metadata.value", Key::EntryValue),
    ("authentication", Key::Authentication),
    ("user_agent", Key::UserAgent),
    ("status_code", Key::StatusCode),
    ("feedback", Key::Feedback),
];

/// How a record is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Eq,
    Neq,
    Contains,
    Lt,
    Gt,
    AtLeast,
    AtMost,
}

const OPERATORS: [(&str, Operator); 5] = [
    ("eq", Operator::Eq),
    ("neq", Operator::Neq),
    ("contains", Operator::Contains),
    ("lt", Operator::Lt),
    ("gt", Operator::Gt),
];

/// The older parameters, each a filter of its own.
const OLDER: [(&str, Key, Operator); 22] = [
    ("start_date", Key::CreatedAt, Operator::AtLeast),
    ("end_date", Key::CreatedAt, Operator::AtMost),
    ("min_cost", Key::Cost, Operator::AtLeast),
    ("max_cost", Key::Cost, Operator::AtMost),
    ("min_tokens_in", Key::TokensIn, Operator::AtLeast),
    ("max_tokens_in", Key::TokensIn, Operator::AtMost),
    ("min_tokens_out", Key::TokensOut, Operator::AtLeast),
    ("max_tokens_out", Key::TokensOut, Operator::AtMost),
    ("min_total_tokens", Key::Tokens, Operator::AtLeast),
    ("max_total_tokens", Key::Tokens, Operator::AtMost),
    ("min_duration", Key::Duration, Operator::AtLeast),
    ("max_duration", Key::Duration, Operator::AtMost),
    ("success", Key::Success, Operator::Eq),
    ("cached", Key::Cached, Operator::Eq),
    ("model", Key::Model, Operator::Eq),
    ("model_type", Key::ModelType, Operator::Eq),
    ("provider", Key::Provider, Operator::Eq),
    (
        "request_content_type",
        Key::RequestContentType,
        Operator::Eq,
    ),
    (
        "response_content_type",
        Key::ResponseContentType,
        Operator::Eq,
    ),
    ("event_id", Key::EventId, Operator::Eq),
    ("user_agent", Key::UserAgent, Operator::Eq),
    ("feedback", Key::Feedback, Operator::Eq),
];

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter {
    key: Key,
    operator: Operator,
    values: Vec<Wanted>,
}

/// A value as the key takes it.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Text(String),
    Number(f64),
    Flag(bool),
    Time(Timestamp),
    Null,
}

/// What a record has.
enum Found<'r> {
    Texts(Vec<Cow<'r, str>>),
    Number(Option<f64>),
    Flag(bool),
    Time(Timestamp),
}

impl Filter {
    /// Whether a record passes.
    pub(super) fn matches(&self, row: &Row) -> bool {
        let found = self.key.of(row);
        let any = |operator: Operator| {
            self.values
                .iter()
                .any(|wanted| holds(&found, operator, wanted))
        };
        if self.operator == Operator::Neq {
            !any(Operator::Eq)
        } else {
            any(self.operator)
        }
    }

    fn new(key: Key, operator: Operator, values: &[Value]) -> Result<Self, Failure> {
        if values.is_empty() || values.len() > MAX_VALUES {
            let message = format!("a filter has 1 to {MAX_VALUES} values");
            return Err(Failure::bad_request(message));
        }
        let values = values.iter().map(|value| key.wanted(operator, value));
        Ok(Self {
            key,
            operator,
            values: values.collect::<Result<_, _>>()?,
        })
    }
}

impl Key {
    /// Its name.
    fn name(self) -> &'static str {
        let found = KEYS.iter().find(|(_, key)| *key == self);
        found.map_or("", |(name, _)| name)
    }

    /// A value of it; texts stand for numbers and truth values where the key has those.
    fn wanted(self, operator: Operator, value: &Value) -> Result<Wanted, Failure> {
        let text = match value {
            Value::Null => return Ok(Wanted::Null),
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                value.to_string()
            }
        };
        let wrong = |kind: &str| {
            let message = format!("`{}` is compared with {kind}; found `{text}`", self.name());
            Failure::bad_request(message)
        };
        if operator == Operator::Contains {
            return Ok(Wanted::Text(text));
        }
        match self {
            Self::Success | Self::Cached | Self::Authentication => match text.as_str() {
                "true" | "1" => Ok(Wanted::Flag(true)),
                "false" | "0" => Ok(Wanted::Flag(false)),
                _ => Err(wrong("true or false")),
            },
            Self::Cost
            | Self::Tokens
            | Self::TokensIn
            | Self::TokensOut
            | Self::Duration
            | Self::StatusCode
            | Self::Feedback => {
                let number = text.parse().ok().filter(|number: &f64| number.is_finite());
                number.map(Wanted::Number).ok_or_else(|| wrong("a number"))
            }
            Self::CreatedAt => {
                let date = format!("{text}T00:00:00Z");
                let moment = Timestamp::parse(&text).or_else(|_none| Timestamp::parse(&date));
                moment
                    .map(Wanted::Time)
                    .map_err(|_none| wrong("a moment such as 2026-11-22T16:00:00Z"))
            }
            Self::Id
            | Self::RequestContentType
            | Self::ResponseContentType
            | Self::Provider
            | Self::Model
            | Self::ModelType
            | Self::EventId
            | Self::EntryName
            | Self::EntryValue
            | Self::UserAgent => Ok(Wanted::Text(text)),
        }
    }

    fn of(self, row: &Row) -> Found<'_> {
        let text = |text: Option<&'_ str>| -> Vec<Cow<'_, str>> {
            text.map(|text| Cow::Owned(text.to_owned()))
                .into_iter()
                .collect()
        };
        match self {
            Self::Id => Found::Texts(vec![row.id.to_string().into()]),
            Self::CreatedAt => Found::Time(row.created_at),
            Self::RequestContentType => Found::Texts(text(row.request.content_type.as_deref())),
            Self::ResponseContentType => Found::Texts(text(row.response.content_type.as_deref())),
            Self::Success => Found::Flag(!row.is_error()),
            Self::Cached => Found::Flag(super::view::is_cached(row)),
            Self::Provider => Found::Texts(text(row.provider.as_deref())),
            Self::Model => Found::Texts(text(super::view::model(row))),
            Self::ModelType => Found::Texts(vec![row.operation.as_str().into()]),
            Self::Cost => Found::Number(super::view::cost(row)),
            Self::Tokens | Self::TokensIn | Self::TokensOut => {
                let usage = row.usage.as_ref();
                Found::Number(usage.map(|usage| {
                    let count = if self == Self::TokensIn {
                        usage.total_input()
                    } else if self == Self::TokensOut {
                        usage.total_output()
                    } else {
                        usage.total()
                    };
                    super::view::number(count)
                }))
            }
            Self::Duration => Found::Number(Some(super::view::number(super::view::millis(row)))),
            Self::EventId => Found::Texts(vec![(&*row.event_id).into()]),
            Self::EntryName => {
                Found::Texts(row.metadata.keys().map(|key| (&**key).into()).collect())
            }
            Self::EntryValue => {
                let values = row.metadata.values();
                Found::Texts(values.map(|value| value.to_text()).collect())
            }
            Self::Authentication => Found::Flag(row.token.is_some()),
            Self::UserAgent => Found::Texts(text(row.user_agent.as_deref())),
            Self::StatusCode => Found::Number(row.status.map(f64::from)),
            Self::Feedback => Found::Number(row.feedback.map(f64::from)),
        }
    }
}

fn holds(found: &Found<'_>, operator: Operator, wanted: &Wanted) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let by = |ordering: Option<std::cmp::Ordering>| match operator {
        Operator::Eq | Operator::Neq => ordering == Some(Equal),
        Operator::Lt => ordering == Some(Less),
        Operator::Gt => ordering == Some(Greater),
        Operator::AtLeast => matches!(ordering, Some(Greater | Equal)),
        Operator::AtMost => matches!(ordering, Some(Less | Equal)),
        Operator::Contains => false,
    };
    match (found, wanted) {
        (Found::Texts(texts), Wanted::Null) => operator == Operator::Eq && texts.is_empty(),
        (Found::Number(number), Wanted::Null) => operator == Operator::Eq && number.is_none(),
        (Found::Texts(texts), Wanted::Text(wanted)) if operator == Operator::Contains => {
            let wanted = wanted.to_lowercase();
            texts
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        }
        (Found::Texts(texts), Wanted::Text(wanted)) => texts
            .iter()
            .any(|text| by(Some((**text).cmp(wanted.as_str())))),
        (Found::Number(Some(number)), Wanted::Number(wanted)) => by(number.partial_cmp(wanted)),
        (Found::Number(Some(number)), Wanted::Text(text)) => number.to_string().contains(text),
        (Found::Flag(flag), Wanted::Flag(wanted)) => by(Some(flag.cmp(wanted))),
        (Found::Time(time), Wanted::Time(wanted)) => by(Some(time.cmp(wanted))),
        _ => false,
    }
}

/// Every filter of a request.
///
/// `others`: the parameters that are no filters.
///
/// # Errors
/// A parameter, key, operator or value is none that there is.
pub(super) fn read(pairs: &[(String, String)], others: &[&str]) -> Result<Vec<Filter>, Failure> {
    let mut filters = spread(pairs)?;
    for (name, value) in pairs {
        let older = OLDER.iter().find(|(older, ..)| older == name);
        match (name.as_str(), older) {
            ("filters", _) => filters.extend(of_json(value)?),
            (_, Some((_, key, operator))) => {
                filters.push(Filter::new(*key, *operator, &[value.as_str().into()])?);
            }
            (name, None) if others.contains(&name) || name.starts_with("filters.") => {}
            (name, None) => {
                let known = others.iter().copied().chain(OLDER.map(|(name, ..)| name));
                let help = nearest(name, known.chain(["filters"])).unwrap_or_default();
                return Err(Failure::bad_request(format!(
                    "unknown parameter `{name}` {help}"
                )));
            }
        }
    }
    match filters.len() <= MAX_FILTERS {
        true => Ok(filters),
        false => Err(Failure::bad_request(format!(
            "at most {MAX_FILTERS} filters"
        ))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfJson {
    key: String,
    operator: String,
    value: Value,
}

fn of_json(text: &str) -> Result<Vec<Filter>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        let shape = r#"[{"key": …, "operator": …, "value": […]}]"#;
        Failure::bad_request(format!("`filters` is a list {shape}: {why}"))
    };
    let all: Vec<OfJson> = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let filter = |one: OfJson| {
        let bare = std::slice::from_ref(&one.value);
        let values = one.value.as_array().map_or(bare, Vec::as_slice);
        named(&one.key, &one.operator, values)
    };
    all.into_iter().map(filter).collect()
}

fn named(key: &str, operator: &str, values: &[Value]) -> Result<Filter, Failure> {
    let known = KEYS.iter().find(|(name, _)| *name == key);
    let (_, key) = known.ok_or_else(|| {
        let names = KEYS.map(|(name, _)| name).join(", ");
        Failure::bad_request(format!("there is no filter by `{key}`; there are {names}"))
    })?;
    let known = OPERATORS.iter().find(|(name, _)| *name == operator);
    let (_, operator) = known.ok_or_else(|| {
        let names = OPERATORS.map(|(name, _)| name).join(", ");
        Failure::bad_request(format!(
            "there is no operator `{operator}`; there are {names}"
        ))
    })?;
    Filter::new(*key, *operator, values)
}

/// One filter on its way.
#[derive(Default)]
struct Parts<'p> {
    key: Option<&'p str>,
    operator: Option<&'p str>,
    values: Vec<Value>,
}

/// Filters whose members are parameters of their own: grouped by filter as the JavaScript SDK sends
/// them, or by member as the Python SDK does.
fn spread(pairs: &[(String, String)]) -> Result<Vec<Filter>, Failure> {
    let members: Vec<(&str, &str)> = pairs
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("filters.")?, value.as_str())))
        .collect();
    let all = |name: &str| -> Vec<&str> {
        let of_name = members.iter().filter(|(member, _)| *member == name);
        of_name.map(|(_, value)| *value).collect()
    };
    let (keys, operators, values) = (all("key"), all("operator"), all("value"));
    if keys.len() != operators.len() || values.len() < keys.len() {
        let message = "every filter has a key, an operator and a value";
        return Err(Failure::bad_request(message));
    }
    let first_others = members.iter().position(|(name, _)| *name != "key");
    let is_by_member = keys.len() > 1 && first_others == Some(keys.len());
    let mut filters: Vec<Parts<'_>> = Vec::new();
    if is_by_member {
        for (key, operator) in keys.iter().zip(&operators) {
            filters.push(Parts {
                key: Some(key),
                operator: Some(operator),
                values: Vec::new(),
            });
        }
        // With more values than filters, nobody knows whose they are; the last takes them.
        let last = filters.len() - 1;
        for (place, value) in values.iter().enumerate() {
            filters[place.min(last)].values.push((*value).into());
        }
    } else {
        for (name, value) in members {
            let begins = match (name, filters.last()) {
                (_, None) => true,
                ("key", Some(last)) => last.key.is_some(),
                ("operator", Some(last)) => last.operator.is_some(),
                _ => false,
            };
            if begins {
                filters.push(Parts::default());
            }
            let Some(last) = filters.last_mut() else {
                continue;
            };
            match name {
                "key" => last.key = Some(value),
                "operator" => last.operator = Some(value),
                "value" => last.values.push(value.into()),
                other => {
                    let message = format!("a filter has no member `{other}`");
                    return Err(Failure::bad_request(message));
                }
            }
        }
    }
    let filter = |parts: Parts<'_>| {
        let (key, operator) = (parts.key.unwrap_or(""), parts.operator.unwrap_or(""));
        named(key, operator, &parts.values)
    };
    filters.into_iter().map(filter).collect()
}

#[cfg(test)]
mod tests {
    use isango_store::conformance::sample;
    use utoipa::IntoParams as _;
    use utoipa::openapi::path::ParameterIn;

    use super::*;
    use crate::answer::pairs;

    fn parsed(query: &str) -> Result<Vec<Filter>, Failure> {
        read(&pairs(query)?, &crate::logs::OF_LISTS)
    }

    #[test]
    fn every_older_parameter_is_described() {
        let described = crate::logs::OlderParams::into_params(|| Some(ParameterIn::Query));
        let described: Vec<String> = described.into_iter().map(|one| one.name).collect();
        assert_eq!(described, OLDER.map(|(name, ..)| name));
    }

    #[test]
    fn the_three_encodings_say_the_same() {
        let json = r#"[{"key":"cached","operator":"eq","value":[true]},
            {"key":"metadata.key","operator":"eq","value":["u","v"]}]"#;
        let encoded: String = json.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let of_json = parsed(&format!("filters={encoded}")).unwrap();
        let of_javascript = "filters.key=cached&filters.operator=eq&filters.value=true\
            &filters.key=metadata.key&filters.operator=eq&filters.value=u&filters.value=v";
        let of_python = "filters.key=cached&filters.key=metadata.key&filters.operator=eq\
            &filters.operator=eq&filters.value=true&filters.value=u&filters.value=v";
        assert_eq!(of_json.len(), 2);
        assert_eq!(parsed(of_javascript).unwrap(), of_json);
        assert_eq!(parsed(of_python).unwrap(), of_json);
        let one = parsed("filters.operator=gt&filters.value=5&filters.key=tokens").unwrap();
        assert_eq!(
            one,
            [Filter::new(Key::Tokens, Operator::Gt, &[5.into()]).unwrap()]
        );
        let bare = "filters=[{%22key%22:%22cost%22,%22operator%22:%22lt%22,%22value%22:1}]";
        assert_eq!(parsed(bare).unwrap()[0].values, [Wanted::Number(1.0)]);
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for wrong in [
            "filters=x",
            "filters={}",
            "filters.key=cost&filters.operator=eq",
            "filters.key=cots&filters.operator=eq&filters.value=1",
            "filters.key=cost&filters.operator=is&filters.value=1",
            "filters.key=cost&filters.operator=eq&filters.value=much",
            "filters.key=cached&filters.operator=eq&filters.value=maybe",
            "filters.kye=cost&filters.operator=eq&filters.value=1",
            "min_cots=1",
            "start_date=yesterday",
            "limit=5",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parsed("page=1&order_by=model&search=x").unwrap(), []);
    }

    #[test]
    fn a_record_passes_as_every_key_says() {
        let mut record = sample::record(0);
        record.request.content_type = Some("application/json".into());
        record.user_agent = Some("curl/8".into());
        let check = |key: &str, operator: &str, value: &str, passes: bool| {
            let filter = named(key, operator, &[value.into()]).unwrap();
            let row = Row::of(&record);
            assert_eq!(filter.matches(&row), passes, "{key} {operator} {value}");
            // What a store makes of it lets the same pass.
            if let Some(term) = filter.term() {
                let compiled = isango_store::Filter::default().and(term);
                assert_eq!(compiled.matches(&record), passes, "{compiled}");
            }
        };
        let id = record.id.to_string();
        for (key, value) in [
            ("id", &*id),
            ("event_id", &id),
            ("provider", "azure-openai"),
            ("model", "gpt-4o-2024-08-06"),
            ("model_type", "chat"),
            ("success", "true"),
            ("cached", "false"),
            ("tokens", "12"),
            ("tokens_in", "10"),
            ("tokens_out", "2"),
            ("duration", "1000"),
            ("status_code", "200"),
            ("request_content_type", "application/json"),
            ("user_agent", "curl/8"),
            (
                "authentication",
                if record.token.is_some() {
                    "true"
                } else {
                    "false"
                },
            ),
        ] {
            check(key, "eq", value, true);
            check(key, "neq", value, false);
        }
        for (key, below, above) in [("tokens", "11", "13"), ("duration", "999", "1001")] {
            check(key, "gt", below, true);
            check(key, "gt", above, false);
            check(key, "lt", above, true);
            check(key, "lt", below, false);
        }
        check("model", "contains", "GPT-4O", true);
        check("model", "contains", "claude", false);
        check("created_at", "gt", "2020-01-01", true);
        check("created_at", "lt", "2020-01-01", false);
        let (key, value) = record.metadata.iter().next().unwrap();
        check("metadata.key", "eq", key, true);
        check("metadata.value", "eq", &value.to_text(), true);
        check("metadata.key", "eq", "no such key", false);
        let null = Filter::new(Key::TokensIn, Operator::Eq, &[Value::Null]).unwrap();
        assert!(!null.matches(&Row::of(&record)));
        record.usage = None;
        assert!(null.matches(&Row::of(&record)));
    }
}
