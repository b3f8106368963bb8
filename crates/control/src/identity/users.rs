//! Users of an account: listed, invited, changed, removed.
//!
//! Nobody is told of users of other accounts: whoever is invited shows by their password that they
//! are the user who is there already. Who has a role in every account is seen in each, and changed
//! by those alone who own everything, under the account `*`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Path, State};
use isango_store::config::history::As;
use isango_store::config::{Change, Contents, Kind};
use isango_store::links::{self, Purpose, Standing, StoredLink};
use isango_store::users::{self, StoredUser};
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::answer::{Answer, Done, Envelope, Listed, Page, PageParams};
use crate::auth::Caller;
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// How long an invitation is good for.
const INVITED: Duration = Duration::from_secs(7 * 86_400);
/// How long a link to choose another password is good for.
const CHOOSING: Duration = Duration::from_secs(86_400);

/// A user of an account.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct UserPath {
    /// The account; `*` stands for every account.
    account_id: String,
    /// The user, by name.
    user_name: String,
}

/// Somebody to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    /// The name to sign in with; an address of e-mail is one.
    #[schema(max_length = 128)]
    name: String,
    /// `owner`, `admin`, `analyst` or `viewer`.
    #[schema(value_type = String)]
    role: Role,
}

/// Another role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    /// `owner`, `admin`, `analyst` or `viewer`.
    #[schema(value_type = String)]
    role: Role,
}

/// A user, or somebody who is invited.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UserView {
    /// The name they sign in with.
    name: Box<str>,
    /// What they may do in the account.
    #[schema(value_type = String)]
    role: Role,
    /// Whether they have a role in every account.
    everywhere: bool,
    /// `active` or `invited`.
    state: &'static str,
    /// When they were made or invited.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When the invitation ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

impl Listed for UserView {
    fn place(&self) -> String {
        self.name.as_ref().to_owned()
    }
}

/// A link that was just made, told this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeLink {
    /// Who it is for.
    name: Box<str>,
    /// Where it leads; begins with `dashboard_url` where that is set, or with `/`.
    link: String,
    /// Its code.
    code: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl UserView {
    fn of_user(user: &StoredUser, account: &str) -> Option<Self> {
        Some(Self {
            name: user.name.clone(),
            role: user.role(account)?,
            everywhere: user.roles.contains_key(EVERY_ACCOUNT),
            state: "active",
            created_at: user.created_at,
            expires_at: None,
        })
    }

    fn of_link(link: StoredLink, account: &str) -> Option<Self> {
        match link.purpose {
            Purpose::Invitation {
                name,
                account: of,
                role,
            } if *of == *account => Some(Self {
                name,
                role,
                everywhere: account == EVERY_ACCOUNT,
                state: "invited",
                created_at: link.created_at,
                expires_at: Some(link.expires_at),
            }),
            Purpose::Invitation { .. } | Purpose::Setup | Purpose::Password { .. } => None,
        }
    }
}

/// Everybody in an account, by name; who is there hides an invitation of the same name.
fn everybody(contents: &Contents, account: &str, now: Timestamp) -> BTreeMap<Box<str>, UserView> {
    let invited = links::all(contents, now);
    let invited = invited.filter_map(|found| UserView::of_link(found.link, account));
    let there = users::all(contents).filter_map(Result::ok);
    let there = there.filter_map(|user| UserView::of_user(&user, account));
    let there: Vec<UserView> = there.collect();
    let named = |view: UserView| (view.name.clone(), view);
    invited
        .map(named)
        .chain(there.into_iter().map(named))
        .collect()
}

/// # Errors
/// Whoever asks may not give, take or change this role.
fn must_rule(caller: &Caller, role: Role) -> Result<(), Failure> {
    match caller.rules(role) {
        true => Ok(()),
        false => Err(Failure::forbidden(format!(
            "whoever asks may not decide on the role `{role}`"
        ))),
    }
}

/// List users
///
/// Those of the account, those of every account, and who is invited; by name.
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/users", tag = "users",
    params(("account_id" = String, Path, description = "The account."), PageParams),
    responses((status = 200, body = Envelope<Vec<UserView>>),
        (status = "4XX", body = FailureBody)))]
pub(crate) async fn list(
    State(control): State<Control>,
    Path(account): Path<String>,
    page: Page,
) -> Answer<Vec<UserView>> {
    blocking(&control, move |control| {
        let everybody = everybody(&control.config.read()?, &account, control.clock.now());
        Ok(Done::page(everybody.into_values().collect(), &page))
    })
    .await
}

/// Invite somebody
///
/// The link is told this once, good for a week. Who is invited chooses a password there; who has one
/// already shows it.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/users", tag = "users",
    params(("account_id" = String, Path, description = "The account.")), request_body = NewUser,
    responses((status = 200, body = Envelope<MadeLink>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Caller,
    Path(account): Path<String>,
    Members(members): Members,
) -> Answer<MadeLink> {
    let new: NewUser = body::read(&members)?;
    let name = users::to_name(&new.name);
    users::check_name(&name)?;
    must_rule(&caller, new.role)?;
    blocking(&control, move |control| {
        let now = control.clock.now();
        let everybody = everybody(&control.config.read()?, &account, now);
        match everybody.get(&name) {
            Some(view) if view.state == "active" => {
                return Err(users::Error::Taken(name).into());
            }
            // A newer invitation takes its place.
            Some(invited) => must_rule(&caller, invited.role)?,
            None => {}
        }
        let purpose = Purpose::Invitation {
            name: name.clone(),
            account: account.into(),
            role: new.role,
        };
        make(control, &caller, purpose, (name, INVITED))
    })
    .await
}

/// Stores a link, in the name of whoever asks. Blocks.
fn make(
    control: &Control,
    caller: &Caller,
    purpose: Purpose,
    (name, lasts): (Box<str>, Duration),
) -> Answer<MadeLink> {
    let author = caller.author(control);
    let (now, expires_at) = (author.at, author.at.plus(lasts));
    let authored = As::new(&*control.config, author);
    let code: Secret = links::create(&authored, purpose, (now, expires_at))?;
    let code = code.expose().to_owned();
    let place = control.people.dashboard.as_deref().unwrap_or_default();
    Ok(Done::new(MadeLink {
        name,
        link: format!("{place}/#code={code}"),
        code,
        expires_at,
    }))
}

/// Read a user
#[utoipa::path(get, path = "/client/v4/accounts/{account_id}/isango/users/{user_name}",
    tag = "users", params(UserPath),
    responses((status = 200, body = Envelope<UserView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn get(
    State(control): State<Control>,
    Path(path): Path<UserPath>,
) -> Answer<UserView> {
    blocking(&control, move |control| {
        let now = control.clock.now();
        let mut everybody = everybody(&control.config.read()?, &path.account_id, now);
        let view = everybody.remove(&users::to_name(&path.user_name));
        view.map(Done::new).ok_or_else(Failure::not_found)
    })
    .await
}

/// Give a user another role
#[utoipa::path(patch, path = "/client/v4/accounts/{account_id}/isango/users/{user_name}",
    tag = "users", params(UserPath), request_body = NewRole,
    responses((status = 200, body = Envelope<UserView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn update(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<UserPath>,
    Members(members): Members,
) -> Answer<UserView> {
    let NewRole { role } = body::read(&members)?;
    must_rule(&caller, role)?;
    blocking(&control, move |control| {
        let (account, name) = (&*path.account_id, users::to_name(&path.user_name));
        let author = caller.author(control);
        let now = author.at;
        let authored = As::new(&*control.config, author);
        let user = users::change(&authored, &name, now, |user| {
            let current = own_role(user, account)?;
            must_rule(&caller, current)?;
            user.roles.insert(account.into(), role);
            Ok::<_, Failure>(())
        })?;
        let view = user.and_then(|user| UserView::of_user(&user, account));
        view.map(Done::new).ok_or_else(Failure::not_found)
    })
    .await
}

/// Remove a user
///
/// Takes the role in this account; who has no other is gone, with all sessions. Of somebody who is
/// invited, the invitation.
#[utoipa::path(delete, path = "/client/v4/accounts/{account_id}/isango/users/{user_name}",
    tag = "users", params(UserPath),
    responses((status = 200, body = Envelope<UserView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<UserPath>,
) -> Answer<UserView> {
    blocking(&control, move |control| {
        let (account, name) = (&*path.account_id, users::to_name(&path.user_name));
        let author = caller.author(control);
        let now = author.at;
        let contents = control.config.read()?;
        let view = everybody(&contents, account, now).remove(&name);
        let view = view.ok_or_else(Failure::not_found)?;
        must_rule(&caller, view.role)?;
        if view.state == "active" {
            let authored = As::new(&*control.config, author);
            users::change(&authored, &name, now, |user| {
                must_rule(&caller, own_role(user, account)?)?;
                user.roles.remove(account);
                Ok::<_, Failure>(())
            })?;
        } else {
            let is_it = |link: &StoredLink| {
                let found = UserView::of_link(link.clone(), account);
                found.is_some_and(|found| found.name == name)
            };
            let found = contents
                .of(Kind::Link)
                .filter(|entity| links::parse(entity).is_some_and(|link| is_it(&link)));
            let changes: Vec<Change> = found.map(Change::remove).collect();
            control.config.commit_as(&author, &changes)?;
        }
        Ok(Done::new(view))
    })
    .await
}

/// The role that somebody has in this account and not in every one.
fn own_role(user: &StoredUser, account: &str) -> Result<Role, Failure> {
    let everywhere = user.roles.contains_key(EVERY_ACCOUNT);
    match user.roles.get(account) {
        Some(role) => Ok(*role),
        None if everywhere => Err(Failure::forbidden(
            "this user has a role in every account, which is changed under the account `*`",
        )),
        None => Err(Failure::not_found()),
    }
}

/// Let a user choose another password
///
/// The link is told this once, good for a day. For users of this account alone: nobody gets into
/// another one this way.
#[utoipa::path(post, path = "/client/v4/accounts/{account_id}/isango/users/{user_name}/link",
    tag = "users", params(UserPath),
    responses((status = 200, body = Envelope<MadeLink>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn link(
    State(control): State<Control>,
    caller: Caller,
    Path(path): Path<UserPath>,
) -> Answer<MadeLink> {
    blocking(&control, move |control| {
        let (account, name) = (&*path.account_id, users::to_name(&path.user_name));
        let users = control.people.users(control)?;
        let user = users.get(&name).ok_or_else(Failure::not_found)?;
        must_rule(&caller, own_role(user, account)?)?;
        if user.roles.len() > 1 && !caller.owns_all() {
            let message = "this user is in other accounts, too: who owns them all lets them choose \
                           another password";
            return Err(Failure::forbidden(message));
        }
        let purpose = Purpose::Password {
            name: name.clone(),
            standing: Some(Standing::of(user)),
        };
        make(control, &caller, purpose, (name, CHOOSING))
    })
    .await
}
