//! What a field of the query asks of records: which, grouped by what, in which order.

use std::time::Duration;

use isango_store::Filter;
use isango_store::analytics::{Aggregate, Answer, Dimension, MAX_DIMENSIONS, Measure, Quantity};
use isango_store::filter::{Pattern, Span, StatusValue, Term, Test, TextField};
use isango_types::limit::Window;
use isango_types::record::CacheStatus;
use isango_types::{Timestamp, nearest};
use serde_json::{Map, Value};

use super::parse::Field;

/// Rows of an answer at most.
const MAX_ROWS: usize = 10_000;
/// Rows of an answer that names no `limit`.
const ROWS: usize = 1_000;
/// Points at most: groups times stretches of time.
const MAX_POINTS: u64 = 1_000_000;
/// Stretches of time at most.
const MAX_STRETCHES: u64 = 10_000;

/// What is measured, whatever is asked for.
pub(super) const MEASURES: [Measure; 8] = [
    Measure::Count,
    Measure::Errors,
    Measure::Cached,
    Measure::Sum(Quantity::Cost),
    Measure::Sum(Quantity::TokensIn),
    Measure::Sum(Quantity::TokensOut),
    Measure::Sum(Quantity::SavedTokensIn),
    Measure::Sum(Quantity::SavedTokensOut),
];

/// Names of sums, and which of [`MEASURES`] they add up. A kept answer costs no tokens: those that
/// it would have cost are what it saved.
pub(super) const SUMS: [(&str, &[usize]); 9] = [
    ("erroredRequests", &[1]),
    ("cachedRequests", &[2]),
    ("cost", &[3]),
    ("uncachedTokensIn", &[4]),
    ("uncachedTokensOut", &[5]),
    ("cachedTokensIn", &[6]),
    ("cachedTokensOut", &[7]),
    ("tokensIn", &[4, 6]),
    ("tokensOut", &[5, 7]),
];

/// What can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Model,
    Provider,
    Gateway,
    StatusCode,
    UserAgent,
    CacheStatus,
    Cached,
    Error,
    /// The beginning of a stretch of so many seconds.
    Time(u64),
}

pub(super) const DIMENSIONS: [(&str, By); 14] = [
    ("model", By::Model),
    ("provider", By::Provider),
    ("gateway", By::Gateway),
    ("statusCode", By::StatusCode),
    ("userAgent", By::UserAgent),
    ("cacheStatus", By::CacheStatus),
    ("cacheOp", By::CacheStatus),
    ("cached", By::Cached),
    ("error", By::Error),
    ("datetimeMinute", By::Time(60)),
    ("datetimeFiveMinutes", By::Time(300)),
    ("datetimeFifteenMinutes", By::Time(900)),
    ("datetimeHour", By::Time(3_600)),
    ("date", By::Time(86_400)),
];

/// The datasets, what of them can be asked for, and what they are about.
const DATASETS: [(&str, &[&str], Option<StatusValue>); 4] = [
    (
        "aiGatewayRequestsAdaptiveGroups",
        &["count", "sum", "dimensions"],
        None,
    ),
    (
        "aiGatewayErrorsAdaptiveGroups",
        &["count", "dimensions"],
        Some(StatusValue::Error),
    ),
    (
        "aiGatewayCacheAdaptiveGroups",
        &["count", "dimensions"],
        None,
    ),
    ("aiGatewaySizeAdaptiveGroups", &["max", "dimensions"], None),
];

const COMPARISONS: [&str; 9] = [
    "_geq", "_leq", "_gt", "_lt", "_neq", "_in", "_notin", "_like", "_notlike",
];

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Count,
    /// Place in [`SUMS`].
    Sum(usize),
    By(By),
}

/// A question.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) fields: Vec<Field>,
    pub(super) by: Vec<Dimension>,
    /// The shortest stretch of time that is asked for, in seconds.
    pub(super) every: Option<u64>,
    /// With whether the largest come first.
    pub(super) order: Vec<(Key, bool)>,
    pub(super) limit: usize,
    filter: Filter,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    groups: usize,
}

impl By {
    pub(super) fn named(name: &str) -> Option<Self> {
        let found = DIMENSIONS.iter().find(|(known, _)| *known == name);
        found.map(|(_, by)| *by)
    }

    /// What the store groups by for it; `None`: time.
    pub(super) const fn dimension(self) -> Option<Dimension> {
        Some(match self {
            Self::Model => Dimension::Model,
            Self::Provider => Dimension::Provider,
            Self::Gateway => Dimension::Gateway,
            Self::StatusCode => Dimension::Status,
            Self::UserAgent => Dimension::UserAgent,
            Self::CacheStatus | Self::Cached => Dimension::Cache,
            Self::Error => Dimension::Result,
            Self::Time(_) => return None,
        })
    }
}

impl Wanted {
    /// Reads a dataset's field.
    ///
    /// # Errors
    /// There is no such dataset, field, dimension, filter or order; in words.
    pub(super) fn read(field: &Field, now: Timestamp) -> Result<Self, String> {
        let known = DATASETS.iter().find(|(name, ..)| *name == field.name);
        let (_, members, about) = known.ok_or_else(|| {
            let names = DATASETS.iter().map(|(name, ..)| *name);
            unknown("dataset", &field.name, names)
        })?;
        let mut wanted = Self {
            fields: field.fields.clone(),
            by: Vec::new(),
            every: None,
            order: Vec::new(),
            limit: ROWS,
            filter: Filter::default(),
            since: None,
            until: None,
            groups: 0,
        };
        if let Some(status) = about {
            wanted.term(false, Test::Status(vec![*status]));
        }
        for member in &field.fields {
            wanted.member(member, members)?;
        }
        if wanted.fields.is_empty() {
            return Err(format!("ask for some of `{}`", members.join("`, `")));
        }
        for (name, value) in &field.arguments {
            match name.as_str() {
                "filter" => wanted.filter(value)?,
                "limit" => wanted.limit = limit(value)?,
                "orderBy" => wanted.order = order(value)?,
                other => {
                    let names = ["filter", "limit", "orderBy"];
                    return Err(unknown("argument", other, names.into_iter()));
                }
            }
        }
        wanted.bound(now)?;
        Ok(wanted)
    }

    /// What is asked of the store.
    pub(super) fn question(&self, account: &str) -> Aggregate {
        let length = self.every.map(Duration::from_secs);
        Aggregate {
            filter: self.filter.clone().only(TextField::Account, account),
            since: self.since,
            until: self.until,
            by: self.by.clone(),
            every: length.map(Window::Fixed),
            measures: MEASURES.to_vec(),
            top: self.groups,
            order: self.deciding().unwrap_or(0),
        }
    }

    /// Which of [`MEASURES`] the rows are ordered by, the largest first; `None`: another order.
    fn deciding(&self) -> Option<usize> {
        match self.order.as_slice() {
            [(Key::Count, true)] => Some(0),
            [(Key::Sum(sum), true)] => match SUMS[*sum].1 {
                [one] => Some(*one),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether no group that the store has summed up with others belongs to the rows that are wanted.
    pub(super) fn is_told_by(&self, answer: &Answer) -> bool {
        let is_first = self.order.is_empty() || self.deciding().is_some();
        // A row of these dimensions is one group.
        let is_row = self.every.is_none() && !self.dimensions().any(|by| by == By::Cached);
        let is_wanted = self.limit > answer.groups.len();
        answer.other.is_none() || (is_first && is_row && !is_wanted)
    }

    fn member(&mut self, member: &Field, members: &[&str]) -> Result<(), String> {
        let known: Vec<&str> = match member.name.as_str() {
            "count" if members.contains(&"count") => return Ok(()),
            "__typename" => return Ok(()),
            "sum" if members.contains(&"sum") => SUMS.map(|(name, _)| name).into(),
            "max" if members.contains(&"max") => vec!["rows"],
            "dimensions" => DIMENSIONS.map(|(name, _)| name).into(),
            other => return Err(unknown("field", other, members.iter().copied())),
        };
        for part in &member.fields {
            if !known.contains(&part.name.as_str()) {
                return Err(unknown("field", &part.name, known.into_iter()));
            }
            if let Some(by) = By::named(&part.name).filter(|_| member.name == "dimensions") {
                self.group(by);
            }
        }
        if member.fields.is_empty() {
            return Err(format!("`{}`: ask for some of its fields", member.name));
        }
        if self.by.len() > MAX_DIMENSIONS {
            return Err(format!("at most {MAX_DIMENSIONS} dimensions beside time"));
        }
        Ok(())
    }

    fn group(&mut self, by: By) {
        match (by, by.dimension()) {
            (By::Time(seconds), _) => {
                self.every = Some(self.every.map_or(seconds, |every| every.min(seconds)));
            }
            (_, Some(dimension)) if !self.by.contains(&dimension) => self.by.push(dimension),
            (_, _) => {}
        }
    }

    fn filter(&mut self, value: &Value) -> Result<(), String> {
        let Value::Object(members) = value else {
            return Err("`filter` is an object, as `{gateway: \"shop\"}`".into());
        };
        self.conditions(members)
    }

    fn conditions(&mut self, members: &Map<String, Value>) -> Result<(), String> {
        for (name, value) in members {
            if let ("AND", Value::Array(all)) = (name.as_str(), value) {
                for one in all {
                    self.filter(one)?;
                }
                continue;
            }
            let comparison = COMPARISONS.iter().find(|end| name.ends_with(**end));
            let comparison = comparison.map_or("", |end| *end);
            let field = &name[..name.len() - comparison.len()];
            let wrong = |what: &str| format!("`filter.{name}`: {what}");
            match By::named(field) {
                Some(By::Time(seconds)) => self.time(seconds, comparison, value).map_err(wrong)?,
                None if field == "datetime" => self.time(0, comparison, value).map_err(wrong)?,
                Some(by) => {
                    let (negated, test) = test(by, comparison, value).map_err(wrong)?;
                    self.term(negated, test);
                }
                None => {
                    let names = DIMENSIONS.map(|(name, _)| name).into_iter();
                    return Err(unknown("filter", field, names.chain(["datetime", "AND"])));
                }
            }
        }
        Ok(())
    }

    fn term(&mut self, negated: bool, test: Test) {
        self.filter = std::mem::take(&mut self.filter).and(Term { negated, test });
    }

    /// Compares the beginning of a stretch of so many seconds; of none, the moment itself.
    fn time(&mut self, seconds: u64, comparison: &str, value: &Value) -> Result<(), &'static str> {
        let text = value.as_str().unwrap_or_default();
        let moment = Timestamp::parse(text)
            .or_else(|_no_moment| Timestamp::parse(&format!("{text}T00:00:00Z")))
            .map_err(|_no_moment| "a moment such as 2026-11-22T16:00:00Z")?;
        let length = (seconds * 1_000_000).max(1);
        let moment = moment.as_micros();
        let floor = moment - moment % length;
        let ceiling = moment.div_ceil(length).saturating_mul(length);
        let behind = floor.saturating_add(length);
        let (since, until) = match comparison {
            "_geq" => (Some(ceiling), None),
            "_gt" => (Some(behind), None),
            "_leq" => (None, Some(behind)),
            "_lt" => (None, Some(ceiling)),
            "" => (Some(ceiling), Some(behind)),
            _ => return Err("a moment is compared by _geq, _gt, _leq, _lt"),
        };
        let at = Timestamp::from_micros;
        self.since = self.since.max(since.map(at));
        self.until = match (self.until, until.map(at)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Ok(())
    }

    /// How many groups there may be, so that the answer stays small.
    fn bound(&mut self, now: Timestamp) -> Result<(), String> {
        let mut stretches = 1;
        if let Some(seconds) = self.every {
            let since = self
                .since
                .ok_or("a stretch of time needs a filter of its beginning")?;
            let until = self.until.unwrap_or(now).as_micros();
            stretches = until.saturating_sub(since.as_micros()) / (seconds * 1_000_000) + 2;
            if stretches > MAX_STRETCHES {
                return Err(format!(
                    "{stretches} stretches of time, at most {MAX_STRETCHES}: ask for longer ones"
                ));
            }
        }
        self.groups = usize::try_from(MAX_POINTS / stretches).unwrap_or(usize::MAX);
        Ok(())
    }
}

fn test(by: By, comparison: &str, value: &Value) -> Result<(bool, Test), &'static str> {
    let negated = matches!(comparison, "_neq" | "_notin" | "_notlike");
    let texts = |field: TextField| {
        let texts = match (comparison, value) {
            ("_in" | "_notin", Value::Array(all)) => all.iter().collect(),
            ("_in" | "_notin", _) => return Err("a list"),
            ("" | "_neq" | "_like" | "_notlike", one) => vec![one],
            _ => return Err("a text is compared by _neq, _in, _notin, _like, _notlike"),
        };
        let pattern = |text: &Value| {
            let text = text.as_str().ok_or("a text")?;
            Ok(match comparison {
                "_like" | "_notlike" => Pattern::of(text.split('%')),
                _ => Pattern::exact(text),
            })
        };
        let patterns: Result<Vec<Pattern>, &'static str> = texts.into_iter().map(pattern).collect();
        patterns.map(|patterns| Test::Text(field, patterns))
    };
    let test = match by {
        By::Model => texts(TextField::Model)?,
        By::Provider => texts(TextField::Provider)?,
        By::Gateway => texts(TextField::Gateway)?,
        By::UserAgent => texts(TextField::UserAgent)?,
        By::CacheStatus => texts(TextField::Cache)?,
        By::StatusCode => Test::Status(statuses(comparison, value)?),
        By::Cached | By::Error => {
            let is = match (comparison, value.as_bool(), value.as_u64()) {
                ("" | "_neq", Some(is), _) => is,
                ("" | "_neq", None, Some(number @ (0 | 1))) => number == 1,
                _ => return Err("true or false"),
            };
            flag(by, is)
        }
        By::Time(_) => return Err("a moment"),
    };
    Ok((negated, test))
}

fn flag(by: By, is: bool) -> Test {
    if by == By::Error {
        let status = if is {
            StatusValue::Error
        } else {
            StatusValue::Ok
        };
        return Test::Status(vec![status]);
    }
    let such = CacheStatus::ALL
        .into_iter()
        .filter(|status| status.is_kept() == is);
    let such = such.map(|status| Pattern::exact(status.as_str()));
    Test::Text(TextField::Cache, such.collect())
}

fn statuses(comparison: &str, value: &Value) -> Result<Vec<StatusValue>, &'static str> {
    let one = |value: &Value| value.as_u64().ok_or("a number");
    let span = match comparison {
        "_in" | "_notin" => {
            let all = value.as_array().ok_or("a list")?;
            let spans = all.iter().map(|value| one(value).map(Span::Is));
            let spans: Result<Vec<_>, _> = spans.collect();
            return spans.map(|spans| spans.into_iter().map(StatusValue::Number).collect());
        }
        "" | "_neq" => Span::Is(one(value)?),
        "_geq" => Span::AtLeast(one(value)?),
        "_leq" => Span::AtMost(one(value)?),
        "_gt" => Span::Above(one(value)?),
        "_lt" => Span::Below(one(value)?),
        _ => return Err("a number is no text"),
    };
    Ok(vec![StatusValue::Number(span)])
}

fn limit(value: &Value) -> Result<usize, String> {
    let limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=MAX_ROWS).contains(limit));
    limit.ok_or_else(|| format!("`limit` is 1 to {MAX_ROWS}"))
}

fn order(value: &Value) -> Result<Vec<(Key, bool)>, String> {
    let one = std::slice::from_ref(value);
    let all = value.as_array().map_or(one, Vec::as_slice);
    all.iter()
        .map(|one| {
            let text = one.as_str().unwrap_or_default();
            let (name, is_descending) =
                match (text.strip_suffix("_ASC"), text.strip_suffix("_DESC")) {
                    (Some(name), _) => (name, false),
                    (_, Some(name)) => (name, true),
                    (None, None) => {
                        return Err(format!("`orderBy`: `{text}` ends with _ASC or _DESC"));
                    }
                };
            let sum = name.strip_prefix("sum_");
            let sum = sum.and_then(|name| SUMS.iter().position(|(known, _)| *known == name));
            let key = match (name, sum) {
                ("count", _) => Some(Key::Count),
                (_, Some(sum)) => Some(Key::Sum(sum)),
                (name, None) => By::named(name).map(Key::By),
            };
            let key = key.ok_or_else(|| {
                let names = DIMENSIONS.map(|(name, _)| name).into_iter();
                unknown("order", name, names.chain(["count", "sum_cost"]))
            })?;
            Ok((key, is_descending))
        })
        .collect()
}

fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(help) => format!("there is no {what} `{name}`; {help}"),
        None => format!(
            "there is no {what} `{name}`; there are {}",
            known.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use isango_store::analytics::Group;

    use super::super::parse;
    use super::*;

    fn wanted(field: &str) -> Wanted {
        let query = format!("{{ viewer {{ accounts {{ {field} }} }} }}");
        let viewer = parse::query(&query, &Map::new()).unwrap();
        let field = &viewer[0].fields[0].fields[0];
        Wanted::read(field, Timestamp::from_micros(1_795_363_200_000_000)).unwrap()
    }

    #[test]
    fn rows_are_those_of_all_groups_or_none() {
        let answer = Answer {
            groups: vec![Group::default(); 10],
            other: Some(Group::default()),
            ..Answer::default()
        };
        let whole = Answer {
            other: None,
            ..answer.clone()
        };
        let check = |arguments: &str, members: &str, is_told: bool| {
            let dataset = "aiGatewayRequestsAdaptiveGroups";
            let wanted = wanted(&format!("{dataset}({arguments}) {{ {members} }}"));
            assert_eq!(wanted.is_told_by(&answer), is_told, "{arguments} {members}");
            assert!(wanted.is_told_by(&whole));
        };
        let by_agent = "count dimensions { userAgent }";
        check("limit: 10", by_agent, true);
        check("limit: 11", by_agent, false);
        check("limit: 5, orderBy: [count_DESC]", by_agent, true);
        check("limit: 5, orderBy: [sum_cost_DESC]", by_agent, true);
        check("limit: 5, orderBy: [sum_cost_ASC]", by_agent, false);
        check("limit: 5, orderBy: [sum_tokensIn_DESC]", by_agent, false);
        check("limit: 5, orderBy: [userAgent_ASC]", by_agent, false);
        check(
            "limit: 5, orderBy: [count_DESC]",
            "count dimensions { cached, userAgent }",
            false,
        );
        let since = "filter: {date_geq: \"2026-11-22\"}, limit: 5, orderBy: [count_DESC]";
        check(since, "count dimensions { date, userAgent }", false);
        let question =
            wanted("aiGatewayRequestsAdaptiveGroups(orderBy: [sum_cost_DESC]) { count }")
                .question("local");
        assert_eq!(
            question.measures[question.order],
            Measure::Sum(Quantity::Cost)
        );
    }
}
