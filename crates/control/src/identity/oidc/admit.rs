//! Who somebody is here of whom the provider tells: the user that they were before, or a new one, with
//! the roles that follow from what it says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use isango_store::config::history::Author;
use isango_store::config::{Change, Contents, Error, Kind};
use isango_store::users::{self, StoredUser, Subject};
use isango_types::{Role, Timestamp};

use super::token::Claims;
use super::{Oidc, Refusal};
use crate::Control;

/// How often it is tried again where somebody else's change came before.
const TRIES: usize = 4;

type Roles = BTreeMap<Box<str>, Role>;

/// The user that claims are about; made or changed where that is due. Blocks.
pub(super) fn admit(
    control: &Control,
    settings: &Oidc,
    claims: &Claims,
    address: IpAddr,
) -> Result<StoredUser, Refusal> {
    let name = name(settings, claims)?;
    let roles = roles(settings, claims);
    let subject = Subject {
        issuer: settings.issuer.clone(),
        subject: claims.subject().into(),
        rules: true,
    };
    let mut tries = TRIES;
    loop {
        let now = control.clock.now();
        let contents = control.config.read().map_err(|error| internal(&error))?;
        let seen = Seen {
            contents: &contents,
            name: &name,
            subject: &subject,
            roles: &roles,
            now,
        };
        let (user, change) = seen.decide(settings)?;
        let Some(change) = change else {
            return Ok(user);
        };
        let author = Author {
            who: format!("user {}", user.name).into(),
            at: now,
            address: Some(address),
        };
        tries -= 1;
        match control.config.commit_as(&author, &[change]) {
            Ok(_revision) => return Ok(user),
            Err(Error::Conflict { .. }) if tries > 0 => {}
            Err(error) => return Err(internal(&error)),
        }
    }
}

fn internal(error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(error, "somebody could not be signed in");
    Refusal::Internal
}

/// What a new user would be called: their address, which the provider vouches for.
fn name(settings: &Oidc, claims: &Claims) -> Result<Box<str>, Refusal> {
    let email = claims.text("email").ok_or(Refusal::NoEmail)?;
    let name = users::to_name(email);
    let (_, domain) = name.rsplit_once('@').ok_or(Refusal::NoEmail)?;
    users::check_name(&name).map_err(|_no_name| Refusal::NoEmail)?;
    if !claims.is_verified().unwrap_or(settings.trust_email) {
        return Err(Refusal::Unverified);
    }
    match settings.domains.is_empty() || settings.domains.iter().any(|one| **one == *domain) {
        true => Ok(name),
        false => Err(Refusal::Domain),
    }
}

/// The roles that claims give: of several in one account the strongest.
fn roles(settings: &Oidc, claims: &Claims) -> Roles {
    let mut roles = Roles::new();
    let values = settings
        .role_claim
        .as_ref()
        .map(|claim| claims.texts(claim));
    let values = values.unwrap_or_default();
    for given in &settings.roles {
        if !values.contains(&&*given.value) {
            continue;
        }
        let role = roles.entry(given.account.clone()).or_insert(given.role);
        let is_it = |one: &Role| one == role || *one == given.role;
        // They are listed by strength.
        if let Some(stronger) = Role::ALL.into_iter().find(is_it) {
            *role = stronger;
        }
    }
    if roles.is_empty() {
        roles.extend(settings.otherwise.clone());
    }
    roles
}

/// What is there, and who comes.
struct Seen<'s> {
    contents: &'s Contents,
    name: &'s str,
    subject: &'s Subject,
    roles: &'s Roles,
    now: Timestamp,
}

impl Seen<'_> {
    /// Who it is, and what must be stored of them.
    fn decide(&self, settings: &Oidc) -> Result<(StoredUser, Option<Change>), Refusal> {
        let is_theirs = |user: &StoredUser| {
            user.subject
                .as_ref()
                .is_some_and(|known| known.is(self.subject))
        };
        let mut all = users::all(self.contents).filter_map(Result::ok);
        if let Some(user) = all.find(is_theirs) {
            return self.again(settings, user);
        }
        match self.contents.find(Kind::User, self.name) {
            Some(entity) => {
                let mut user = StoredUser::parse(entity).map_err(|error| internal(&error))?;
                if user.subject.is_some() || !settings.link_existing {
                    return Err(Refusal::Taken);
                }
                // What they may do was decided here.
                user.subject = Some(Subject {
                    rules: false,
                    ..self.subject.clone()
                });
                user.modified_at = self.now;
                let change = user.to_replace(entity).map_err(|error| internal(&error))?;
                Ok((user, Some(change)))
            }
            None => self.anew(),
        }
    }

    /// Somebody who was here before.
    fn again(
        &self,
        settings: &Oidc,
        mut user: StoredUser,
    ) -> Result<(StoredUser, Option<Change>), Refusal> {
        let rules = user.subject.as_ref().is_some_and(|subject| subject.rules);
        if !rules || settings.role_claim.is_none() {
            return Ok((user, None));
        }
        if self.roles.is_empty() {
            return Err(Refusal::NoRole);
        }
        if user.roles == *self.roles {
            return Ok((user, None));
        }
        user.roles = self.roles.clone();
        user.modified_at = self.now;
        let entity = self.contents.find(Kind::User, &user.name);
        let entity = entity.ok_or(Refusal::Internal)?;
        let change = user.to_replace(entity).map_err(|error| internal(&error))?;
        Ok((user, Some(change)))
    }

    /// Somebody new.
    fn anew(&self) -> Result<(StoredUser, Option<Change>), Refusal> {
        if self.roles.is_empty() {
            return Err(Refusal::NoRole);
        }
        users::check_room(self.contents).map_err(|error| internal(&error))?;
        let user = StoredUser {
            roles: self.roles.clone(),
            subject: Some(self.subject.clone()),
            ..StoredUser::new(self.name, self.now)
        };
        let change = user.to_add().map_err(|error| internal(&error))?;
        Ok((user, Some(change)))
    }
}
