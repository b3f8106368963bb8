//! The provider of identities of the configuration.

use isango_control::{Oidc, RoleOf};
use isango_types::role::EVERY_ACCOUNT;
use isango_types::{Role, is_account};

use super::section::Section;

/// The roles of `oidc.default_role` behind `none`, and those of `oidc.roles[].role`.
const ROLES: [Role; 4] = [Role::Viewer, Role::Analyst, Role::Admin, Role::Owner];

/// Reads `[oidc]`; `None`: people have passwords alone.
pub(super) fn read(root: &Section<'_>) -> Option<Oidc> {
    let section = root.table("oidc");
    let issuer = section.text("issuer");
    let client_id = section.text("client_id");
    let allow_private = section.flag("allow_private");
    let scopes = scopes(&section);
    let otherwise = section.choice("default_role").checked_sub(1);
    let default_account = account(&section, "default_account");
    let otherwise = otherwise.map(|at| (default_account, ROLES[at]));
    let roles: Vec<RoleOf> = (section.tables("oidc.roles[]").iter())
        .map(|role| RoleOf {
            value: role.text("value").unwrap_or_default(),
            account: account(role, "account"),
            role: ROLES[role.choice("role")],
        })
        .collect();
    let role_claim = section.text("role_claim");
    if role_claim.is_none() && !roles.is_empty() {
        let message = "`oidc.roles` is of use with `oidc.role_claim` alone";
        section.problem("roles", message.into(), None);
    }
    // All is read before anything is found missing: problems are told at once.
    let read = Oidc {
        name: section.text("name").unwrap_or_default(),
        issuer: Box::default(),
        client_id: client_id.clone().unwrap_or_default(),
        client_secret: section.secret("client_secret"),
        scopes,
        domains: (section.texts("allowed_domains").iter())
            .map(|one| domain(&section, one))
            .collect(),
        role_claim,
        roles,
        otherwise,
        trust_email: section.flag("trust_email"),
        link_existing: section.flag("link_existing"),
        allow_private,
    };
    if !root.has("oidc") {
        return None;
    }
    let Some(issuer) = issuer else {
        let help = Some(r#"write `issuer = "https://login.example.com"`"#.to_owned());
        section.problem("issuer", "`oidc.issuer` is missing".into(), help);
        return None;
    };
    check_issuer(&section, &issuer, allow_private);
    if client_id.is_none() {
        let message = "`oidc.client_id` is missing: who this gateway is at the provider";
        section.problem("client_id", message.into(), None);
    }
    if !root.has("dashboard_url") {
        let message = "`oidc` needs `dashboard_url`: the provider sends browsers back there";
        let help = r#"write `dashboard_url = "https://isango.example.com"` at the top"#;
        section.problem("issuer", message.into(), Some(help.into()));
    }
    if read.otherwise.is_none() && read.roles.is_empty() {
        let message = "nobody is let in: neither `oidc.default_role` nor `oidc.roles` gives a role";
        section.problem("default_role", message.into(), None);
    }
    Some(Oidc { issuer, ..read })
}

fn check_issuer(section: &Section<'_>, issuer: &str, allow_private: bool) {
    let uri = issuer.parse::<http::Uri>().ok();
    let is_whole = uri.as_ref().is_some_and(|uri| {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        authority.is_some_and(|one| !one.contains('@'))
            && uri.query().is_none()
            && !issuer.contains('#')
    });
    let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
    if !is_whole {
        let message = format!("`oidc.issuer` is an address without query; found `{issuer}`");
        section.problem("issuer", message, None);
    } else if scheme != Some("https") && !(allow_private && scheme == Some("http")) {
        let help = "`oidc.allow_private = true` admits http, for a provider in one's own network";
        let message = format!("`oidc.issuer` must begin with https; found `{issuer}`");
        section.problem("issuer", message, Some(help.into()));
    }
}

fn scopes(section: &Section<'_>) -> Vec<Box<str>> {
    if !section.has("scopes") {
        return ["openid", "email", "profile"].map(Box::from).into();
    }
    let scopes = section.texts("scopes");
    if !scopes.iter().any(|scope| **scope == *"openid") {
        let message = "`oidc.scopes` must hold `openid`: without it there is no ID token";
        section.problem("scopes", message.into(), None);
    }
    if scopes
        .iter()
        .any(|scope| scope.contains(char::is_whitespace))
    {
        let message = "a scope has no blanks: write each as a text of its own";
        section.problem("scopes", message.into(), None);
    }
    scopes
}

fn account(section: &Section<'_>, name: &str) -> Box<str> {
    let account = section.text(name).unwrap_or_default();
    if *account != *EVERY_ACCOUNT && !is_account(&account) {
        let message = format!("`{account}` is no account; `*` stands for every one");
        section.problem(name, message, None);
    }
    account
}

fn domain(section: &Section<'_>, text: &str) -> Box<str> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if text.is_empty() || !text.bytes().all(is_of_name) {
        let message = format!("`{text}` is no domain");
        let help = "write what stands behind the `@`: `example.com`";
        section.problem("allowed_domains", message, Some(help.into()));
    }
    text.to_ascii_lowercase().into()
}
