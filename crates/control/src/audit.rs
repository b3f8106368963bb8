//! The audit trail of an account: who did what, when, from where, before and after. Changes of
//! entities are written by the store, in their commit; what is none is noted here.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, RawQuery, State};
use isango_store::audit::{self, Action, Entry, Event, Scope, Wanted};
use isango_store::config::history::Author;
use isango_store::users::StoredUser;
use isango_types::key::Sha256;
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Timestamp, nearest};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope};
use crate::auth::Caller;
use crate::error::{Failure, FailureBody};
use crate::params::Params;
use crate::{Control, blocking};

/// Failures to sign in that are noted one by one within [`WINDOW`]; others are counted: nobody
/// fills the trail who is not let in.
const FAILURES: u64 = 100;
/// In microseconds.
const WINDOW: u64 = 3_600_000_000;
/// Who it was that nobody knows.
const NOBODY: &str = "nobody";

/// The parameters of the list.
const KNOWN: [&str; 9] = [
    "who",
    "action",
    "kind",
    "id",
    "since",
    "until",
    "ascending",
    "after",
    "limit",
];

/// Which entries, in which order, and which part of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "describes the parameters, which are read one by one"
)]
pub(crate) struct TrailParams {
    /// By whom: `token NAME`, `user NAME`, `command line`, `nobody`.
    who: Option<String>,
    /// `create`, `update`, `delete`, `purge`, `export`, `try`, `test`, `sign_in`, `sign_in_failed`,
    /// `sign_out`.
    action: Option<String>,
    /// To what kind of thing: `gateway`, `token`, `credential`, `user`, `link`, `view`, `export`,
    /// `record`, `cache`, `session`, …
    kind: Option<String>,
    /// To which one of its kind.
    id: Option<String>,
    /// At this moment or later (RFC 3339).
    since: Option<String>,
    /// Before this moment (RFC 3339).
    until: Option<String>,
    /// The oldest first.
    ascending: Option<bool>,
    /// The `next` of the page before.
    after: Option<u64>,
    /// Entries of a page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TrailEntry {
    /// Its number in the trail of the server.
    number: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The account that it concerns; `*` of every one.
    account: Box<str>,
    /// `token NAME`, `user NAME`, `command line`, `nobody`.
    who: Box<str>,
    /// From where; none: by a command on the machine itself.
    address: Option<Box<str>>,
    /// What was done.
    action: Box<str>,
    /// To what kind of thing.
    kind: Box<str>,
    /// To which one of its kind; empty where there is but one.
    id: Box<str>,
    /// The revision of the configuration that it made.
    revision: Option<u64>,
    /// How it was; null: there was nothing.
    #[schema(value_type = Option<Object>)]
    before: Value,
    /// How it is then, or what was done; null: it was removed.
    #[schema(value_type = Option<Object>)]
    after: Value,
    /// SHA-256 over the link before and this entry, in hex.
    #[schema(value_type = String)]
    link: Sha256,
}

/// Where the list goes on.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct TrailInfo {
    /// `after` of the next page; null on the last one.
    next: Option<u64>,
    /// Entries of this page.
    count: u64,
}

impl From<Entry> for TrailEntry {
    fn from(entry: Entry) -> Self {
        let event = entry.event;
        let json = |text: Option<Box<str>>| {
            text.map_or(Value::Null, |text| {
                serde_json::from_str(&text).unwrap_or_default()
            })
        };
        Self {
            number: entry.number,
            at: event.at,
            account: event.account,
            who: event.who,
            address: event.address,
            action: event.action,
            kind: event.kind,
            id: event.id,
            revision: event.revision,
            before: json(event.before),
            after: json(event.after),
            link: entry.link,
        }
    }
}

/// List the audit trail
///
/// The newest first. Who owns everything sees what concerns every account, too, and under the
/// account `*` the trail of all of them.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/audit", tag = "audit",
    params(("account_id" = String, Path, description = "The account."), TrailParams),
    responses((status = 200, body = Envelope<Vec<TrailEntry>, TrailInfo>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Vec<TrailEntry>, TrailInfo> {
    let params = Params::read(&query.unwrap_or_default(), &KNOWN)?;
    let scope = match (caller.owns_all(), &*account) {
        (true, EVERY_ACCOUNT) => Scope::All,
        (true, account) => Scope::OneAndShared(account.into()),
        (false, account) => Scope::One(account.into()),
    };
    let mut wanted = wanted(scope, &params)?;
    let limit = wanted.limit;
    blocking(&control, move |control| {
        // One more tells whether there are more.
        wanted.limit = limit + 1;
        let mut entries = control.config.trail(&wanted)?;
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        let info = TrailInfo {
            next: entries.last().map(|last| last.number).filter(|_| has_more),
            count: entries.len() as u64,
        };
        let entries = entries.into_iter().map(TrailEntry::from).collect();
        Ok(Done::new(entries).info(info))
    })
    .await
}

fn wanted(scope: Scope, params: &Params) -> Result<Wanted, Failure> {
    let action = params.get("action").map(|text| {
        let found = Action::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| {
            let names = Action::ALL.iter().map(|one| one.as_str());
            let help = nearest(text, names).unwrap_or_default();
            Failure::bad_request(format!("no action is called `{text}`; {help}"))
        })
    });
    let after = match params.get("after") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_no_number| {
            let message = format!("`after` is the `next` of the page before; found `{text}`");
            Failure::bad_request(message)
        })?),
    };
    let text = |name: &str| params.get(name).map(Box::from);
    Ok(Wanted {
        who: text("who"),
        action: action.transpose()?,
        kind: text("kind"),
        id: text("id"),
        since: params.moment("since")?,
        until: params.moment("until")?,
        after,
        ascending: params.flag("ascending")?,
        ..Wanted::newest(scope, params.number("limit", 1..=audit::MAX_PAGE - 1, 50)?)
    })
}

/// Notes what is no change of an entity, with what was done. Blocks.
///
/// # Errors
/// It is not noted.
pub(crate) fn note(
    control: &Control,
    (author, account): (&Author, &str),
    action: Action,
    what: (&str, &str),
    (before, after): (Option<Value>, Option<Value>),
) -> Result<(), Failure> {
    let text = |value: Option<Value>| value.map(|value| value.to_string().into());
    let event = Event::new(author, account, action, what).with(text(before), text(after));
    Ok(control.config.note(&[event])?)
}

/// Notes what a user did with their sessions, in each of their accounts. Blocks.
///
/// # Errors
/// It is not noted.
pub(crate) fn note_session(
    control: &Control,
    author: &Author,
    user: &StoredUser,
    action: Action,
) -> Result<(), Failure> {
    let accounts = user.roles.keys();
    let event = |account| Event::new(author, account, action, ("session", &user.name));
    let events: Vec<Event> = accounts.map(|account| event(account)).collect();
    Ok(control.config.note(&events)?)
}

/// Counts failures to sign in, of which so many are noted.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// When the window began, in microseconds since 1970, and how many failures were in it.
    window: Mutex<(u64, u64)>,
    /// Failures that were not noted since the last one that was.
    left_out: AtomicU64,
}

impl Failures {
    /// Whether one more is noted, and how many before it were not.
    fn take(&self, now: Timestamp) -> Option<u64> {
        let now = now.as_micros();
        let mut window = self.window.lock();
        if now.saturating_sub(window.0) >= WINDOW {
            *window = (now, 0);
        }
        window.1 += 1;
        match window.1 <= FAILURES {
            true => Some(self.left_out.swap(0, Ordering::Relaxed)),
            false => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Notes that somebody failed to sign in, as whom: `None` is nobody that there is, whose name may be
/// a password in the wrong place; and why, where a provider of identities was asked. Blocks; where it cannot be noted, the log tells.
pub(crate) fn note_failure(
    control: &Control,
    from: std::net::IpAddr,
    user: Option<&StoredUser>,
    why: Option<&str>,
) {
    let now = control.clock.now();
    let Some(left_out) = control.people.failures.take(now) else {
        return;
    };
    let author = Author {
        who: NOBODY.into(),
        at: now,
        address: Some(from),
    };
    let mut after = serde_json::Map::new();
    if left_out > 0 {
        after.insert("not_noted_before".into(), left_out.into());
    }
    after.extend(why.map(|why| ("oidc".into(), why.into())));
    let after = (!after.is_empty()).then(|| Value::Object(after).to_string().into());
    let event = |account: &str, id: &str| {
        let event = Event::new(&author, account, Action::SignInFailed, ("session", id));
        event.with(None, after.clone())
    };
    let events: Vec<Event> = match user {
        Some(user) => user.roles.keys().map(|of| event(of, &user.name)).collect(),
        None => vec![event(EVERY_ACCOUNT, "")],
    };
    if let Err(error) = control.config.note(&events) {
        tracing::error!(%error, "a failure to sign in is not in the audit trail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_beyond_the_bound_are_counted() {
        let failures = Failures::default();
        let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
        for _ in 0..FAILURES {
            assert_eq!(failures.take(at(10_000)), Some(0));
        }
        assert_eq!(failures.take(at(10_001)), None);
        assert_eq!(failures.take(at(13_599)), None);
        assert_eq!(failures.take(at(13_600)), Some(2));
        assert_eq!(failures.take(at(13_600)), Some(0));
    }
}
