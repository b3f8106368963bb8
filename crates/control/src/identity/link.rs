//! Links that let somebody in once: the first owner, who was invited, and who needs another
//! password.

use axum::extract::State;
use axum::http::HeaderMap;
use isango_store::config::history::Author;
use isango_store::config::{Change, Contents, Error, Kind};
use isango_store::links::{self, Purpose, Standing};
use isango_store::users::{self, PasswordHash, StoredUser};
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::session::{Kept, SessionView, begin, by_password};
use super::{From, password};
use crate::answer::{Answer, Done, Envelope};
use crate::body::{self, Members};
use crate::error::{Failure, FailureBody};
use crate::{Control, blocking};

/// Who follows links is counted under this name, which is nobody's.
const NOBODY: &str = "";

/// Whether there is an owner yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SetupView {
    /// Nobody owns this server: the link that its first start printed makes somebody the owner.
    needed: bool,
    /// What the provider of identities is called by which people sign in (`GET oidc/login`); none:
    /// they have passwords alone.
    provider: Option<Box<str>>,
}

/// The first owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// The code of the link that the first start printed, or `isango setup-link`.
    #[schema(value_type = String, format = Password)]
    code: Secret,
    /// The name to sign in with: letters, digits and `.`, `_`, `@`, `+`, `-`.
    #[schema(max_length = 128)]
    name: String,
    /// The password: at least 12 characters.
    #[schema(value_type = String, format = Password, min_length = 12)]
    password: Secret,
}

/// What somebody brings who follows a link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Follow {
    /// The code of the link.
    #[schema(value_type = String, format = Password)]
    code: Secret,
    /// A new password of at least 12 characters; for an invitation of a user who is there already,
    /// the password they have.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// The code of a link.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    /// The code of the link.
    #[schema(value_type = String, format = Password)]
    code: Secret,
}

/// What a link is for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkView {
    /// `setup`, `invitation` or `password`.
    purpose: &'static str,
    /// Who it is for; none: whoever has it chooses a name.
    name: Option<Box<str>>,
    /// Where they are invited to.
    account: Option<Box<str>>,
    /// As what.
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Whether there is an owner
#[utoipa::path(get, path = "/client/v4/isango/setup", tag = "session", security(),
    responses((status = 200, body = Envelope<SetupView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn needed(State(control): State<Control>) -> Answer<SetupView> {
    blocking(&control, |control| {
        let users = control.people.users(control)?;
        let needed = !users.values().any(|user| user.owns_all());
        let door = control.people.oidc.as_ref();
        let provider = door.map(|door| door.settings.name.clone());
        Ok(Done::new(SetupView { needed, provider }))
    })
    .await
}

/// Become the first owner
///
/// With the code of the link that the first start printed. The answer sets the cookie of a session.
#[utoipa::path(post, path = "/client/v4/isango/setup", tag = "session", security(),
    request_body = Setup,
    responses((status = 200, body = Envelope<SessionView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn set_up(
    State(control): State<Control>,
    from: From,
    headers: HeaderMap,
    Members(members): Members,
) -> Kept<SessionView> {
    let asked: Setup = body::read(&members)?;
    let name = users::to_name(&asked.name);
    let purpose = found(&control, from, &asked.code).await?.purpose;
    if purpose != Purpose::Setup {
        return Err(Failure::no_link());
    }
    users::check_name(&name)?;
    password::check_new(&name, &asked.password)?;
    let hash = control.people.passwords.hash(asked.password).await?;
    let code = asked.code;
    let owner = blocking(&control, move |control| {
        commit(control, (&code, from), &name, |contents, now| {
            if users::has_owner(contents) {
                return Err(Failure::no_link());
            }
            if contents.find(Kind::User, &name).is_some() {
                return Err(users::Error::Taken(name.clone()).into());
            }
            let mut owner = StoredUser::new(&name, now);
            owner.roles = [(EVERY_ACCOUNT.into(), Role::Owner)].into();
            owner.password = Some(hash.clone());
            let change = owner.to_add()?;
            Ok((owner, change))
        })
    });
    begin(&control, owner.await?, from, &headers).await
}

/// What a link is for
#[utoipa::path(post, path = "/client/v4/isango/link/look", tag = "session", security(),
    request_body = Code,
    responses((status = 200, body = Envelope<LinkView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn look(
    State(control): State<Control>,
    from: From,
    Members(members): Members,
) -> Answer<LinkView> {
    let asked: Code = body::read(&members)?;
    let link = found(&control, from, &asked.code).await?;
    let (purpose, name, place) = match link.purpose {
        Purpose::Setup => ("setup", None, None),
        Purpose::Invitation {
            name,
            account,
            role,
        } => ("invitation", Some(name), Some((account, role))),
        Purpose::Password { name, .. } => ("password", Some(name), None),
    };
    let (account, role) = place.unzip();
    Ok(Done::new(LinkView {
        purpose,
        name,
        account,
        role,
        expires_at: link.expires_at,
    }))
}

/// Follow a link
///
/// An invitation, or one to choose another password. The answer sets the cookie of a session.
#[utoipa::path(post, path = "/client/v4/isango/link", tag = "session", security(),
    request_body = Follow,
    responses((status = 200, body = Envelope<SessionView>), (status = "4XX", body = FailureBody)))]
pub(crate) async fn follow(
    State(control): State<Control>,
    from: From,
    headers: HeaderMap,
    Members(members): Members,
) -> Kept<SessionView> {
    let Follow { code, password } = body::read(&members)?;
    let user = match found(&control, from, &code).await?.purpose {
        Purpose::Setup => return Err(Failure::no_link()),
        Purpose::Password { name, standing } => {
            choose(&control, from, (code, password), (name, standing)).await?
        }
        Purpose::Invitation {
            name,
            account,
            role,
        } => join(&control, from, (code, password), (name, account, role)).await?,
    };
    begin(&control, user, from, &headers).await
}

/// Another password; all sessions are over. Only of who they were when the link was made: whoever had
/// it made ruled over that one.
async fn choose(
    control: &Control,
    from: From,
    (code, password): (Secret, Secret),
    (name, standing): (Box<str>, Option<Standing>),
) -> Result<StoredUser, Failure> {
    password::check_new(&name, &password)?;
    let hash = control.people.passwords.hash(password).await?;
    blocking(control, move |control| {
        commit(control, (&code, from), &name, |contents, now| {
            let entity = contents.find(Kind::User, &name);
            let entity = entity.ok_or_else(Failure::no_link)?;
            let mut user = StoredUser::parse(entity)?;
            if standing != Some(Standing::of(&user)) {
                return Err(Failure::no_link());
            }
            user.password = Some(hash.clone());
            user.end_sessions(now);
            user.modified_at = now;
            let change = user.to_replace(entity)?;
            Ok((user, change))
        })
    })
    .await
}

/// A user becomes somebody in an account. One who is there already shows the password that they
/// have; another one chooses it.
async fn join(
    control: &Control,
    from: From,
    (code, password): (Secret, Secret),
    (name, account, role): (Box<str>, Box<str>, Role),
) -> Result<StoredUser, Failure> {
    let wanted = name.clone();
    let is_there = blocking(control, move |control| {
        Ok(control.people.users(control)?.contains_key(&wanted))
    });
    let hash: Option<PasswordHash> = if is_there.await? {
        let known = by_password(control, from, &name, password).await;
        known.map_err(|refused| refused.instead_of_unauthenticated(not_theirs))?;
        None
    } else {
        password::check_new(&name, &password)?;
        Some(control.people.passwords.hash(password).await?)
    };
    blocking(control, move |control| {
        commit(control, (&code, from), &name, |contents, now| {
            let entity = contents.find(Kind::User, &name);
            // What was found out before holds, or somebody was faster.
            let mut user = match (entity, &hash) {
                (Some(entity), None) => StoredUser::parse(entity)?,
                (None, Some(hash)) => {
                    users::check_room(contents)?;
                    StoredUser {
                        password: Some(hash.clone()),
                        ..StoredUser::new(&name, now)
                    }
                }
                (Some(_), Some(_)) | (None, None) => return Err(Failure::changed()),
            };
            user.roles.insert(account.clone(), role);
            user.modified_at = now;
            let change = match entity {
                Some(entity) => user.to_replace(entity)?,
                None => user.to_add()?,
            };
            Ok((user, change))
        })
    })
    .await
}

fn not_theirs() -> Failure {
    let message = "there is a user of this name already: show the password that they have";
    Failure::wrong(&["password"], message)
}

/// The link of a code, which few may guess at.
async fn found(
    control: &Control,
    From(address): From,
    code: &Secret,
) -> Result<links::StoredLink, Failure> {
    let made = control
        .people
        .throttle
        .take(NOBODY, address, control.clock.now());
    let made = made.map_err(Failure::too_many_tries)?;
    let code = code.clone();
    let link = blocking(control, move |control| {
        let contents = control.config.read()?;
        let found = links::find(&contents, &code, control.clock.now());
        Ok(found.map(|found| found.link))
    });
    let link = link.await?.ok_or_else(Failure::no_link)?;
    control.people.throttle.give_back(&made);
    Ok(link)
}

/// Makes what somebody becomes by a link, and ends the link, in one commit: it works once. Blocks.
fn commit(
    control: &Control,
    (code, From(from)): (&Secret, From),
    name: &str,
    make: impl Fn(&Contents, Timestamp) -> Result<(StoredUser, Change), Failure>,
) -> Result<StoredUser, Failure> {
    let author = Author {
        who: format!("user {name}").into(),
        at: control.clock.now(),
        address: Some(from),
    };
    let contents = control.config.read()?;
    let found = links::find(&contents, code, author.at).ok_or_else(Failure::no_link)?;
    let (user, change) = make(&contents, author.at)?;
    match control
        .config
        .commit_as(&author, &[Change::remove(found.entity), change])
    {
        Ok(_revision) => Ok(user),
        Err(Error::Conflict {
            kind: Kind::Link, ..
        }) => Err(Failure::no_link()),
        Err(error) => Err(error.into()),
    }
}
