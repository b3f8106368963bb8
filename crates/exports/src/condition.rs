//! The `filter` of the Logpush contract: JSON over the fields of a dataset (Cloudflare, "Logpush,
//! Filters"; read 2026-11-23). Beside it, the filter language of records is spoken.

use isango_store::Filter;
use isango_types::{Record, Timestamp, nearest};
use serde_json::Value;

use crate::fields::{Cell, Field};

/// Deepest nesting of a condition.
const MAX_DEPTH: usize = 8;
/// Most comparisons of one.
const MAX_TESTS: usize = 64;

/// Which records are exported.
#[derive(Clone, Debug, Default)]
pub enum Condition {
    /// Every one.
    #[default]
    Any,
    /// Those of a filter.
    Filter(Filter),
    /// Those of a condition over fields.
    Where(Where),
}

/// A condition over fields.
#[derive(Clone, Debug)]
pub enum Where {
    /// All of them hold.
    And(Vec<Where>),
    /// One of them holds.
    Or(Vec<Where>),
    /// A comparison.
    Test {
        /// What is compared.
        field: Field,
        /// Whether it must not hold.
        negated: bool,
        /// How.
        operator: Operator,
        /// With what; of several, one must do.
        values: Vec<Value>,
    },
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is the value.
    Eq,
    /// It is less.
    Lt,
    /// It is no more.
    Leq,
    /// It is more.
    Gt,
    /// It is no less.
    Geq,
    /// It holds the value.
    Contains,
    /// It begins with it.
    StartsWith,
    /// It ends with it.
    EndsWith,
}

const OPERATORS: [(&str, Operator); 9] = [
    ("eq", Operator::Eq),
    ("in", Operator::Eq),
    ("lt", Operator::Lt),
    ("leq", Operator::Leq),
    ("gt", Operator::Gt),
    ("geq", Operator::Geq),
    ("contains", Operator::Contains),
    ("startsWith", Operator::StartsWith),
    ("endsWith", Operator::EndsWith),
];

impl Condition {
    /// Reads a condition: JSON with `where`, or the filter language, whose relative times count from
    /// `now`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Any);
        }
        if !text.starts_with('{') {
            let filter = Filter::parse(text, now);
            return filter.map(Self::Filter).map_err(|error| error.to_string());
        }
        let read: Value =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        let inner = read
            .get("where")
            .ok_or("it is an object with `where`: {\"where\":{\"and\":[…]}}")?;
        let mut tests = 0;
        let read = Where::read(inner, 0, &mut tests)?;
        Ok(Self::Where(read))
    }

    /// Whether a record is exported.
    #[must_use]
    pub fn holds(&self, record: &Record) -> bool {
        match self {
            Self::Any => true,
            Self::Filter(filter) => filter.matches(record),
            Self::Where(condition) => condition.holds(record),
        }
    }
}

impl Where {
    fn read(value: &Value, depth: usize, tests: &mut usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}"));
        }
        let mut list = |name: &str| {
            let items = value.get(name)?.as_array();
            let read = |items: &Vec<Value>| {
                let items = items.iter().map(|one| Self::read(one, depth + 1, tests));
                items.collect::<Result<Vec<_>, _>>()
            };
            Some(items.ok_or(format!("`{name}` is a list")).and_then(read))
        };
        if let Some(all) = list("and") {
            return Ok(Self::And(all?));
        }
        if let Some(any) = list("or") {
            return Ok(Self::Or(any?));
        }
        *tests += 1;
        if *tests > MAX_TESTS {
            return Err(format!("it has more than {MAX_TESTS} comparisons"));
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let key = text("key").ok_or("a comparison has `key`, `operator` and `value`")?;
        let field = Field::parse(key).ok_or_else(|| {
            let help = nearest(key, Field::ALL.iter().map(|(name, _)| *name));
            format!("there is no field `{key}`; {}", help.unwrap_or_default())
        })?;
        let name = text("operator").ok_or("a comparison has an `operator`")?;
        let (negated, bare) = match name.strip_prefix('!') {
            Some(bare) => (true, bare),
            None => (false, name),
        };
        let known = OPERATORS.iter().find(|(known, _)| *known == bare);
        let (_, operator) = known.ok_or_else(|| {
            let names: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
            format!(
                "there is no operator `{name}`; there are {}",
                names.join(", ")
            )
        })?;
        let is_plain = |one: &Value| one.is_string() || one.is_number() || one.is_boolean();
        let given = value.get("value");
        let list = given.and_then(Value::as_array).filter(|_| bare == "in");
        let values = match (list, given) {
            (Some(values), _) => values.clone(),
            (None, Some(one)) if is_plain(one) => vec![one.clone()],
            (None, _) => {
                return Err("`value` is a text, a number, true or false; of `in`, a list".into());
            }
        };
        Ok(Self::Test {
            field,
            negated,
            operator: *operator,
            values,
        })
    }

    fn holds(&self, record: &Record) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.holds(record)),
            Self::Or(any) => any.iter().any(|one| one.holds(record)),
            Self::Test {
                field,
                negated,
                operator,
                values,
            } => {
                let cell = field.of(record);
                values.iter().any(|value| compare(&cell, *operator, value)) != *negated
            }
        }
    }
}

fn compare(cell: &Cell<'_>, operator: Operator, value: &Value) -> bool {
    if let (Some(found), Some(wanted)) = (cell.as_f64(), value.as_f64()) {
        return match operator {
            Operator::Eq => (found - wanted).abs() < f64::EPSILON * wanted.abs().max(1.0),
            Operator::Lt => found < wanted,
            Operator::Leq => found <= wanted,
            Operator::Gt => found > wanted,
            Operator::Geq => found >= wanted,
            Operator::Contains | Operator::StartsWith | Operator::EndsWith => false,
        };
    }
    let wanted = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let Some(found) = cell.as_text() else {
        return false;
    };
    match operator {
        Operator::Eq => *found == *wanted,
        Operator::Lt => *found < *wanted,
        Operator::Leq => *found <= *wanted,
        Operator::Gt => *found > *wanted,
        Operator::Geq => *found >= *wanted,
        Operator::Contains => found.contains(&*wanted),
        Operator::StartsWith => found.starts_with(&*wanted),
        Operator::EndsWith => found.ends_with(&*wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isango_store::conformance::sample;

    #[test]
    fn conditions_choose_records() {
        let mut record = sample::record(1);
        record.status = Some(429);
        record.provider = Some("openai".into());
        let check = |text: &str, holds: bool| {
            let condition = Condition::parse(text, Timestamp::default()).unwrap();
            assert_eq!(condition.holds(&record), holds, "{text}");
        };
        check("", true);
        check("status:429", true);
        check("status:ok", false);
        let test = |key: &str, operator: &str, value: &str| {
            format!(r#"{{"where":{{"key":"{key}","operator":"{operator}","value":{value}}}}}"#)
        };
        check(&test("StatusCode", "eq", "429"), true);
        check(&test("StatusCode", "!eq", "429"), false);
        check(&test("StatusCode", "geq", "500"), false);
        check(&test("StatusCode", "in", "[200, 429]"), true);
        check(&test("Provider", "startsWith", r#""open""#), true);
        check(&test("Provider", "!contains", r#""ai""#), false);
        check(&test("Cached", "eq", "false"), true);
        let both = r#"{"where":{"and":[{"key":"StatusCode","operator":"lt","value":500},
            {"or":[{"key":"Provider","operator":"eq","value":"x"},
                   {"key":"Provider","operator":"endsWith","value":"ai"}]}]}}"#;
        check(both, true);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            ("{", "no JSON"),
            ("{}", "`where`"),
            (
                r#"{"where":{"key":"Statuscode","operator":"eq","value":1}}"#,
                "StatusCode",
            ),
            (
                r#"{"where":{"key":"StatusCode","operator":"is","value":1}}"#,
                "startsWith",
            ),
            (
                r#"{"where":{"key":"StatusCode","operator":"eq"}}"#,
                "`value`",
            ),
            ("colour:red", "colour"),
        ] {
            let error = Condition::parse(text, Timestamp::default()).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
