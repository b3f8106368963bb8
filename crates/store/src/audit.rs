//! The audit trail: who changed what, who signed in, and who failed to; when, from where, before and
//! after. A [`ConfigStore`](crate::config::ConfigStore) keeps it beside the entities, and writes an
//! entry in the commit that it tells of.
//!
//! Entries are numbered from 1 and chained: each has a link, the SHA-256 of the link before and of
//! everything that it says. What is edited or taken out is found by [`Check`]; so is an end that was
//! cut off, as long as the head of the chain stands. Who may write the file and knows all of this can
//! make another chain: keep a head elsewhere, or export the entries (`audit_logs`).

use std::collections::BTreeSet;

use aws_lc_rs::digest::{Context, SHA256, digest};
use isango_types::key::Sha256;
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::history::{Author, Changed};
use crate::config::{Change, Kind};
use crate::links::{Purpose, StoredLink};
use crate::users::StoredUser;

/// Entries that are kept; the oldest tenth goes when there are more.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// Entries that go at once.
pub const REMOVED_AT_ONCE: u64 = MAX_ENTRIES / 10;
/// Entries that are told at once.
pub const MAX_PAGE: usize = 1_000;
/// Longest `before` and `after`, in bytes; of more, the length and the digest are kept.
const MAX_TEXT: usize = 64 << 10;
/// What the chain begins with.
pub const GENESIS: Sha256 = Sha256([0; 32]);

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something was made.
    Create,
    /// Something was changed.
    Update,
    /// Something was removed.
    Delete,
    /// Kept answers were removed.
    Purge,
    /// Records were downloaded as a file.
    Export,
    /// A request was sent through a gateway.
    Try,
    /// A test was written or sent to somebody else's system.
    Test,
    /// Somebody signed in.
    SignIn,
    /// Somebody tried to sign in, and failed.
    SignInFailed,
    /// Somebody signed out.
    SignOut,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Purge,
        Self::Export,
        Self::Try,
        Self::Test,
        Self::SignIn,
        Self::SignInFailed,
        Self::SignOut,
    ];

    /// The name in the trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Purge => "purge",
            Self::Export => "export",
            Self::Try => "try",
            Self::Test => "test",
            Self::SignIn => "sign_in",
            Self::SignInFailed => "sign_in_failed",
            Self::SignOut => "sign_out",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The account that it concerns; [`EVERY_ACCOUNT`]: all of them.
    pub account: Box<str>,
    /// Who did it: `token NAME`, `user NAME`, `command line`, or `nobody` where that is not known.
    pub who: Box<str>,
    /// When.
    pub at: Timestamp,
    /// From where; `None`: from this machine, by a command.
    pub address: Option<Box<str>>,
    /// Name of an [`Action`].
    pub action: Box<str>,
    /// To what kind of thing.
    pub kind: Box<str>,
    /// To which one of its kind; empty where there is but one.
    pub id: Box<str>,
    /// The revision of the configuration that it made.
    pub revision: Option<u64>,
    /// JSON of how it was; no secret is in it.
    pub before: Option<Box<str>>,
    /// JSON of how it is then, or of what was done; no secret is in it.
    pub after: Option<Box<str>>,
}

/// An event in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which one it is, from 1.
    pub number: u64,
    /// What happened.
    pub event: Event,
    /// The link of the chain.
    pub link: Sha256,
}

impl Event {
    /// Something that `author` did.
    #[must_use]
    pub fn new(author: &Author, account: &str, action: Action, (kind, id): (&str, &str)) -> Self {
        Self {
            account: account.into(),
            who: author.who.clone(),
            at: author.at,
            address: author.address.map(|address| address.to_string().into()),
            action: action.as_str().into(),
            kind: kind.into(),
            id: id.into(),
            revision: None,
            before: None,
            after: None,
        }
    }

    /// With how it was, and how it is.
    #[must_use]
    pub fn with(mut self, before: Option<Box<str>>, after: Option<Box<str>>) -> Self {
        self.before = before.map(bounded);
        self.after = after.map(bounded);
        self
    }

    /// The link of this event as entry `number` behind another link.
    #[must_use]
    pub fn link(&self, number: u64, previous: &Sha256) -> Sha256 {
        let Self {
            account,
            who,
            at,
            address,
            action,
            kind,
            id,
            revision,
            before,
            after,
        } = self;
        let said = json!([
            number,
            at.as_micros(),
            account,
            who,
            address,
            action,
            kind,
            id,
            revision,
            before,
            after
        ]);
        let mut context = Context::new(&SHA256);
        context.update(&previous.0);
        context.update(said.to_string().as_bytes());
        let mut link = GENESIS;
        link.0.copy_from_slice(context.finish().as_ref());
        link
    }
}

/// A text that is not too long, or what tells of it.
fn bounded(text: Box<str>) -> Box<str> {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let mut sha256 = GENESIS;
    sha256
        .0
        .copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    json!({"left_out_bytes": text.len(), "sha256": sha256})
        .to_string()
        .into()
}

/// What a commit did: the events of one of its changes. `before` is the body that there was, and
/// `user` reads the body of a user by name.
#[must_use]
pub fn of_commit(
    (author, revision): (&Author, u64),
    change: &Change,
    before: Option<&str>,
    user: &dyn Fn(&str) -> Option<Box<str>>,
) -> Vec<Event> {
    let action = match (before, &change.body) {
        (None, _) => Action::Create,
        (Some(_), Some(_)) => Action::Update,
        (Some(_), None) => Action::Delete,
    };
    let changed = Changed::of(change, before);
    let made = |account: &str, id: &str| Event {
        revision: Some(revision),
        ..Event::new(author, account, action, (change.kind.as_str(), id))
    };
    match change.kind {
        Kind::Gateway
        | Kind::Credential
        | Kind::View
        | Kind::Export
        | Kind::Provider
        | Kind::Price
        | Kind::Mute => {
            let (account, id) = change.id.split_once('/').unwrap_or(("", &change.id));
            vec![made(account, id).with(changed.before, changed.after)]
        }
        Kind::Token => {
            let bodies = [&changed.after, &changed.before];
            let account = bodies.into_iter().flatten().find_map(|body| {
                let value: Value = serde_json::from_str(body).ok()?;
                Some(value.pointer("/token/account")?.as_str()?.to_owned())
            });
            let account = account.unwrap_or_default();
            // Of a name that another account has, too, the account stands before it.
            let name = change.id.rsplit('/').next().unwrap_or(&change.id);
            vec![made(&account, name).with(changed.before, changed.after)]
        }
        Kind::User => of_user((author, revision), change, before),
        Kind::Link => of_link(&changed, user)
            .into_iter()
            .map(|(account, id)| {
                made(&account, &id).with(changed.before.clone(), changed.after.clone())
            })
            .collect(),
    }
}

/// A user is told of in each account that they have or had a role in, with that role alone.
fn of_user(
    (author, revision): (&Author, u64),
    change: &Change,
    before: Option<&str>,
) -> Vec<Event> {
    let parse = |body: &str| serde_json::from_str::<StoredUser>(body).ok();
    let (old, new) = (
        before.and_then(parse),
        change.body.as_deref().and_then(parse),
    );
    let has_new_password = match (&old, &new) {
        (Some(old), Some(new)) => old.password != new.password,
        _ => false,
    };
    let has_ended = match (&old, &new) {
        (Some(old), Some(new)) => old.epoch != new.epoch,
        _ => false,
    };
    let role = |user: &Option<StoredUser>, account: &str| -> Option<Role> {
        user.as_ref()?.roles.get(account).copied()
    };
    let accounts: BTreeSet<&str> = [&old, &new]
        .into_iter()
        .flatten()
        .flat_map(|user| user.roles.keys().map(|account| &**account))
        .collect();
    let told = |account: &str| {
        let (was, is) = (role(&old, account), role(&new, account));
        if was == is && !has_new_password && !has_ended {
            return None;
        }
        let action = match (was, is) {
            (None, _) => Action::Create,
            (Some(_), Some(_)) => Action::Update,
            (Some(_), None) => Action::Delete,
        };
        let mut after = is.map(|role| json!({"name": change.id, "role": role}));
        if let Some(after) = &mut after {
            for (has, member) in [(has_new_password, "password"), (has_ended, "sessions")] {
                if has {
                    after[member] = if member == "password" {
                        "changed"
                    } else {
                        "ended"
                    }
                    .into();
                }
            }
        }
        let before = was.map(|role| json!({"name": change.id, "role": role}));
        let text = |value: Option<Value>| value.map(|value| value.to_string().into());
        let event = Event {
            revision: Some(revision),
            ..Event::new(author, account, action, ("user", &change.id))
        };
        Some(event.with(text(before), text(after)))
    };
    accounts.into_iter().filter_map(told).collect()
}

/// The accounts that a link concerns, and what it is called there. Its digest is nobody's business.
fn of_link(
    changed: &Changed,
    user: &dyn Fn(&str) -> Option<Box<str>>,
) -> Vec<(Box<str>, Box<str>)> {
    let body = changed.after.as_deref().or(changed.before.as_deref());
    let link: Option<StoredLink> = body.and_then(|body| serde_json::from_str(body).ok());
    match link.map(|link| link.purpose) {
        Some(Purpose::Invitation { name, account, .. }) => vec![(account, name)],
        Some(Purpose::Password { name, .. }) => {
            let user = user(&name).and_then(|body| serde_json::from_str::<StoredUser>(&body).ok());
            let accounts = user.map(|user| user.roles.into_keys().collect());
            let accounts: Vec<Box<str>> = accounts.unwrap_or_default();
            accounts.into_iter().map(|of| (of, name.clone())).collect()
        }
        Some(Purpose::Setup) | None => vec![(EVERY_ACCOUNT.into(), "setup".into())],
    }
}

/// Of which accounts entries are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of this one.
    One(Box<str>),
    /// Of this one, and those of [`EVERY_ACCOUNT`].
    OneAndShared(Box<str>),
    /// Of all.
    All,
}

/// Which entries are wanted: those for which everything holds that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Of which accounts.
    pub scope: Scope,
    /// By whom.
    pub who: Option<Box<str>>,
    /// What was done.
    pub action: Option<Action>,
    /// To what kind of thing.
    pub kind: Option<Box<str>>,
    /// To which one.
    pub id: Option<Box<str>>,
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Behind this entry, in the order that is wanted.
    pub after: Option<u64>,
    /// The oldest first; otherwise the newest.
    pub ascending: bool,
    /// So many, at most [`MAX_PAGE`].
    pub limit: usize,
}

impl Wanted {
    /// The newest entries of these accounts.
    #[must_use]
    pub const fn newest(scope: Scope, limit: usize) -> Self {
        Self {
            scope,
            who: None,
            action: None,
            kind: None,
            id: None,
            since: None,
            until: None,
            after: None,
            ascending: false,
            limit,
        }
    }

    /// Whether an entry is one of them, wherever the page ends.
    #[must_use]
    pub fn admits(&self, entry: &Entry) -> bool {
        let event = &entry.event;
        let is_of = match &self.scope {
            Scope::One(account) => event.account == *account,
            Scope::OneAndShared(account) => {
                event.account == *account || *event.account == *EVERY_ACCOUNT
            }
            Scope::All => true,
        };
        let is = |wanted: &Option<Box<str>>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| **wanted == *found)
        };
        let is_behind = |after: u64| match self.ascending {
            true => entry.number > after,
            false => entry.number < after,
        };
        is_of
            && is(&self.who, &event.who)
            && self
                .action
                .is_none_or(|action| action.as_str() == &*event.action)
            && is(&self.kind, &event.kind)
            && is(&self.id, &event.id)
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.after.is_none_or(is_behind)
    }
}

/// What is wrong with a trail at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The entry at which it shows.
    pub entry: u64,
    /// What it is.
    pub what: &'static str,
}

/// What an examination of a trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Entries that there are.
    pub entries: u64,
    /// Older ones, which made room.
    pub removed: u64,
    /// Link of the newest entry, in hex; empty where there is none.
    pub head: String,
    /// What is wrong; the first 100.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Follows a chain, entry by entry.
#[derive(Debug)]
pub struct Check {
    report: Report,
    /// The entry before, and its link.
    at: (u64, Sha256),
}

impl Check {
    /// Begins behind the entries that made room.
    #[must_use]
    pub fn begin(removed: u64, link: Sha256) -> Self {
        Self {
            report: Report {
                removed,
                ..Report::default()
            },
            at: (removed, link),
        }
    }

    /// Looks at the next entry.
    pub fn next(&mut self, entry: &Entry) {
        let (before, previous) = self.at;
        if entry.number != before + 1 {
            self.find(entry.number, "entries before it are missing");
        } else if entry.event.link(entry.number, &previous) != entry.link {
            self.find(entry.number, "it, or the link before it, was changed");
        }
        self.report.entries += 1;
        self.at = (entry.number, entry.link);
    }

    /// Compares the end with the head that the store has noted.
    #[must_use]
    pub fn end(mut self, head: (u64, Sha256)) -> Report {
        let (last, link) = self.at;
        if head.0 != last {
            self.find(head.0.max(last), "entries at the end are missing");
        } else if head.1 != link {
            self.find(last, "it is not the head that was noted");
        }
        if last > 0 {
            self.report.head = link.to_string();
        }
        self.report
    }

    fn find(&mut self, entry: u64, what: &'static str) {
        if self.report.findings.len() < 100 {
            self.report.findings.push(Finding { entry, what });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Entry> {
        let author = Author {
            who: "token admin".into(),
            at: Timestamp::from_micros(1),
            address: None,
        };
        let mut previous = GENESIS;
        let number = |number: u64| {
            let event = Event::new(&author, "local", Action::Purge, ("cache", ""));
            let link = event.link(number, &previous);
            previous = link;
            Entry {
                number,
                event,
                link,
            }
        };
        (1..=count).map(number).collect()
    }

    fn check(change: impl FnOnce(&mut Vec<Entry>), found: &[(u64, &str)]) {
        let mut all = entries(5);
        let head = (5, all[4].link);
        change(&mut all);
        let mut check = Check::begin(0, GENESIS);
        all.iter().for_each(|entry| check.next(entry));
        let report = check.end(head);
        let shown = report.findings.iter().map(|one| (one.entry, one.what));
        assert_eq!(shown.collect::<Vec<_>>(), found);
        assert_eq!(report.is_intact(), found.is_empty());
    }

    #[test]
    fn what_was_changed_or_removed_is_found() {
        const CHANGED: &str = "it, or the link before it, was changed";
        check(|_| {}, &[]);
        check(
            |all| all[2].event.who = "token other".into(),
            &[(3, CHANGED)],
        );
        check(|all| all[2].event.after = Some("".into()), &[(3, CHANGED)]);
        check(
            |all| {
                all[2].event.id = "x".into();
                all[2].link = all[2].event.link(3, &all[1].link);
            },
            &[(4, CHANGED)],
        );
        check(
            |all| drop(all.remove(1)),
            &[(3, "entries before it are missing")],
        );
        check(
            |all| drop(all.remove(0)),
            &[(2, "entries before it are missing")],
        );
        check(
            |all| drop(all.pop()),
            &[(5, "entries at the end are missing")],
        );
        check(Vec::clear, &[(5, "entries at the end are missing")]);
    }

    #[test]
    fn a_long_text_is_told_by_its_digest() {
        let author = Author {
            who: "x".into(),
            at: Timestamp::from_micros(1),
            address: None,
        };
        let event = Event::new(&author, "a", Action::Create, ("gateway", "b"));
        let event = event.with(None, Some("x".repeat(MAX_TEXT + 1).into()));
        let after: Value = serde_json::from_str(&event.after.unwrap()).unwrap();
        assert_eq!(after["left_out_bytes"], MAX_TEXT + 1);
        assert_eq!(after["sha256"].as_str().unwrap().len(), 64);
    }
}
