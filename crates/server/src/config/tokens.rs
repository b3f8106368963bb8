//! The tokens of the configuration.

use std::collections::BTreeMap;

use isango_types::key::{Digest, Scope, Spend};
use isango_types::limit::Period;
use isango_types::{Gateway, Token, nearest};

use super::check;
use super::entities::Seen;
use super::problem::Origins;
use super::section::Section;

/// Every token that the configuration names.
pub(super) fn tokens(root: &Section<'_>, origins: &Origins, gateways: &[Gateway]) -> Vec<Token> {
    let mut seen = Seen::new(origins);
    let mut digests: BTreeMap<[u8; 32], Box<str>> = BTreeMap::new();
    let mut tokens = Vec::new();
    for section in root.tables("tokens[]") {
        let Some((token, digest)) = token(&section) else {
            continue;
        };
        let name = &token.name;
        seen.add(&section, "name", format!("token `{name}`"));
        if let Some(other) = digests.insert(digest, name.clone()) {
            let message = format!("tokens `{other}` and `{name}` are the same token");
            let is_digest = section.has("digest");
            section.problem(if is_digest { "digest" } else { "secret" }, message, None);
        }
        check::opened(&section, &token.account, &token.gateways, gateways);
        if let Err(wrong) = token.check() {
            let place = if token.spend.is_some() {
                "spend"
            } else {
                "name"
            };
            section.problem(place, wrong.to_string(), None);
        }
        tokens.push(token);
    }
    tokens
}

/// Everything is read before anything is missed, so that all that is wrong is told at once.
fn token(section: &Section<'_>) -> Option<(Token, [u8; 32])> {
    let (name, account) = (section.name("name"), section.name("account"));
    let digest = check::token_digest(section);
    let rest = Token {
        gateways: section.texts("gateways"),
        providers: section.texts("providers"),
        models: section.texts("models"),
        scopes: scopes(section),
        expires_at: section.moment("expires_at"),
        metadata: section.metadata("metadata"),
        spend: spend(section),
        allow_unpriced: section.flag("allow_unpriced"),
        ..Token::new("", "")
    };
    let digest = digest?;
    let token = Token {
        name: name?,
        account: account?,
        digests: vec![Digest::lasting(digest)],
        ..rest
    };
    Some((token, digest))
}

fn scopes(section: &Section<'_>) -> Vec<Scope> {
    if !section.has("scopes") {
        return vec![Scope::Run];
    }
    let texts = section.texts("scopes");
    let known = texts.iter().filter_map(|text| {
        let scope = Scope::parse(text);
        if scope.is_none() {
            let names = Scope::ALL.into_iter().map(Scope::as_str);
            let message = format!("`{text}` is no scope");
            section.problem("scopes", message, nearest(text, names));
        }
        scope
    });
    known.collect()
}

fn spend(section: &Section<'_>) -> Option<Spend> {
    if !section.has("spend") {
        return None;
    }
    let spend = section.table("tokens[].spend");
    let (limit, time_zone) = (spend.amount("limit"), spend.text("time_zone"));
    let period = Period::ALL[spend.choice("window")];
    Some(Spend {
        limit_nanousd: limit?,
        period,
        time_zone: time_zone?,
    })
}
