//! Counts, sums and percentiles of an account's records, in all, by group and by time.

use std::time::Duration;

use axum::extract::{Path, State};
use isango_store::analytics::{
    self, Aggregate, Dimension, MAX_DIMENSIONS, MAX_GROUPS, MAX_MEASURES, Measure,
};
use isango_types::Timestamp;
use isango_types::limit::{Period, Window};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::requests::scope::Scope;
use crate::{Control, ask};

/// Points of an answer at most: groups times stretches of time.
const MAX_POINTS: u64 = 1_000_000;
/// Stretches of time at most.
const MAX_STRETCHES: u64 = 10_000;
/// Longest time that a question may ask for, in milliseconds.
const MAX_BUDGET_MS: u64 = 60_000;

/// A question about records.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// One gateway; null: all of the account.
    #[serde(default)]
    gateway: Option<String>,
    /// In the language of `isango logs`.
    #[serde(default)]
    filter: Option<String>,
    /// From this moment on.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// To this moment, which is not in it.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// What is grouped by: `model`, `provider`, `status_class`, `meta.tenant`, …; at most 4.
    #[serde(default)]
    by: Vec<String>,
    /// Length of a stretch of time in seconds; or `minute`, `hour`, `day`, `week`, `month` on the
    /// calendar of `time_zone`. Needs `since`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    every: Option<Value>,
    /// By whose clocks; UTC.
    #[serde(default)]
    time_zone: Option<String>,
    /// `count`, `errors`, `cached`, `unpriced`, `estimated`; of a quantity `sum:cost`, `known:cost`,
    /// `min:ttft`, `max:duration`, `p95:ttft`, `p99.9:duration`. `count` where none is named; at most
    /// 24.
    #[serde(default)]
    measures: Vec<String>,
    /// Groups that are answered, those with most of the deciding measure; all others are `other`. 0:
    /// as many as there may be.
    #[serde(default)]
    top: u64,
    /// Which measure decides that: its place, from 0.
    #[serde(default)]
    order: u64,
    /// How long it may take; what was counted until then is the answer.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 60000, default = 10000)]
    budget_ms: Option<u64>,
}

/// `groups`, `other`, `total`, `group_count`; whether percentiles are of histograms, and whether
/// every record was counted. Times are microseconds, money is nano-dollars.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AnswerView {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    answer: analytics::Answer,
    /// How much was counted: 0 to 1.
    fraction: f64,
}

/// Ask for counts, sums and percentiles
///
/// Sums of groups, `other` among them, are those of the total.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/analytics", tag = "requests",
    params(("account_id" = String, Path, description = "The account.")), request_body = Question,
    responses((status = 200, body = Envelope<AnswerView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn ask(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<AnswerView> {
    let question: Question = body::read(&members)?;
    let what = (question.gateway.as_deref(), question.filter.as_deref());
    let scope = Scope::new(&control, &caller, &account, what)?;
    let budget = question.budget()?;
    let aggregate = question.aggregate(scope, control.clock.now())?;
    let asked = ask::ask(&control, budget, move |logs, progress| {
        logs.aggregate(&aggregate, progress)
    });
    let (answer, fraction) = asked.await?;
    let fraction = if answer.is_complete { 1.0 } else { fraction };
    Ok(Done::new(AnswerView { answer, fraction }))
}

impl Question {
    fn budget(&self) -> Result<Duration, Failure> {
        match self.budget_ms {
            None => Ok(ask::BUDGET),
            Some(ms) if (1..=MAX_BUDGET_MS).contains(&ms) => Ok(Duration::from_millis(ms)),
            Some(_) => {
                let message = format!("a budget is 1 to {MAX_BUDGET_MS} milliseconds");
                Err(Failure::wrong(&["budget_ms"], message))
            }
        }
    }

    fn aggregate(self, scope: Scope, now: Timestamp) -> Result<Aggregate, Failure> {
        let by = names(&self.by, "by", MAX_DIMENSIONS, Dimension::parse)?;
        let mut measures = names(&self.measures, "measures", MAX_MEASURES, Measure::parse)?;
        if measures.is_empty() {
            measures.push(Measure::Count);
        }
        let order = usize::try_from(self.order).unwrap_or(usize::MAX);
        if order >= measures.len() {
            let message = format!("there are {} measures, from 0", measures.len());
            return Err(Failure::wrong(&["order"], message));
        }
        if self.top > MAX_GROUPS as u64 {
            let message = format!("at most {MAX_GROUPS} groups are answered");
            return Err(Failure::wrong(&["top"], message));
        }
        let every = self.window()?;
        let stretches = match &every {
            None => 1,
            Some(window) => self.stretches(window, now)?,
        };
        let most = MAX_POINTS / stretches.max(1);
        let groups = if by.is_empty() { 1 } else { self.top };
        if groups > most {
            let message = format!("{groups} groups in {stretches} stretches of time are too many");
            return Err(Failure::wrong(&["top"], message));
        }
        let top = if self.top == 0 { most } else { self.top };
        Ok(Aggregate {
            filter: scope.filter,
            since: self.since,
            until: self.until,
            by,
            every,
            measures,
            top: usize::try_from(top).unwrap_or(usize::MAX),
            order,
        })
    }

    fn window(&self) -> Result<Option<Window>, Failure> {
        let wrong = || {
            let message =
                "a number of seconds from 1 to 31622400, or minute, hour, day, week, month";
            Failure::wrong(&["every"], message)
        };
        match (&self.every, &self.time_zone) {
            (None | Some(Value::Null), None) => Ok(None),
            (Some(Value::String(name)), zone) => {
                let period = Period::ALL
                    .into_iter()
                    .find(|period| period.as_str() == name);
                let zone = zone.as_deref().unwrap_or("UTC");
                Window::calendar(period.ok_or_else(wrong)?, zone)
                    .map(Some)
                    .map_err(|_no_zone| Failure::wrong(&["time_zone"], "no such time zone"))
            }
            (_, Some(_)) => {
                let message = "it is for stretches on the calendar: `every` names one";
                Err(Failure::wrong(&["time_zone"], message))
            }
            (Some(seconds), None) => {
                let seconds = seconds.as_u64();
                let seconds = seconds.filter(|seconds| (1..=366 * 86_400).contains(seconds));
                let length = Duration::from_secs(seconds.ok_or_else(wrong)?);
                Ok(Some(Window::Fixed(length)))
            }
        }
    }

    /// How many stretches of time there are, about.
    fn stretches(&self, window: &Window, now: Timestamp) -> Result<u64, Failure> {
        let Some(since) = self.since else {
            return Err(Failure::wrong(&["every"], "it needs `since`"));
        };
        let until = self.until.unwrap_or(now).as_micros();
        let (start, end) = window.around(since);
        let length = end.as_micros().saturating_sub(start.as_micros()).max(1);
        let stretches = until.saturating_sub(since.as_micros()) / length + 2;
        if stretches > MAX_STRETCHES {
            let message = format!("{stretches} stretches of time; at most {MAX_STRETCHES}");
            return Err(Failure::wrong(&["every"], message));
        }
        Ok(stretches)
    }
}

/// What texts name, each of which is named in a failure by its place.
fn names<T, E: std::fmt::Display>(
    texts: &[String],
    member: &str,
    most: usize,
    parse: fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Failure> {
    if texts.len() > most {
        return Err(Failure::wrong(&[member], format!("at most {most}")));
    }
    let parsed = texts.iter().enumerate().map(|(at, text)| {
        parse(text).map_err(|error| Failure::wrong(&[member, &at.to_string()], error.to_string()))
    });
    parsed.collect()
}
