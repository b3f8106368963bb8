//! `isango token list`.

use std::io::Write;

use isango_store::config::{ConfigStore as _, Refused};
use isango_store::tokens::{self, StoredToken};
use isango_types::{Timestamp, Token};
use serde_json::{Value, json};

use crate::cli::write_json;
use crate::config::{Config, Sources};

/// What a list is told in columns of.
struct Row {
    name: String,
    state: String,
    opens: String,
    json: Value,
}

pub(super) fn run(
    sources: &Sources,
    now: Timestamp,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let of_file = Config::token_names(sources)?;
    let store = super::opened(sources)?;
    let contents = store.read()?;
    let mut rows: Vec<Row> = of_file
        .iter()
        .map(|(_, name)| of_configuration(name))
        .collect();
    for token in tokens::all(&contents) {
        rows.push(match token {
            Ok(token) => stored(&token, &of_file, now),
            Err(damaged) => Row {
                name: "?".into(),
                state: "damaged".into(),
                opens: damaged.to_string(),
                json: json!({ "state": "damaged", "error": damaged.to_string() }),
            },
        });
    }
    for Refused { entity, flaw } in store.refused()? {
        let (name, why) = (&entity.id, flaw.to_string());
        rows.push(Row {
            name: name.to_string(),
            state: "opens nothing".into(),
            json: json!({ "name": name, "state": "opens nothing", "error": why }),
            opens: why,
        });
    }
    if json {
        return rows.iter().try_for_each(|row| write_json(out, &row.json));
    }
    if rows.is_empty() {
        return Ok(writeln!(out, "no tokens; `isango token create` makes one")?);
    }
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).chars().count()).max();
    let name = width(|row| &row.name).unwrap_or_default();
    let state = width(|row| &row.state).unwrap_or_default();
    for row in &rows {
        let (of_name, of_state) = (&row.name, &row.state);
        let line = format!("{of_name:<name$}  {of_state:<state$}  {}", row.opens);
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn of_configuration(name: &str) -> Row {
    let state = "managed by file";
    Row {
        name: name.into(),
        state: state.into(),
        opens: String::new(),
        json: json!({ "name": name, "state": state }),
    }
}

fn stored(stored: &StoredToken, of_file: &[(Box<str>, Box<str>)], now: Timestamp) -> Row {
    let token = &stored.token;
    let old_until = token.digests.iter().filter_map(|digest| digest.until);
    let old_until = old_until.filter(|until| now < *until).max();
    let is_it =
        |(account, name): &(Box<str>, Box<str>)| *account == token.account && *name == token.name;
    let state = if of_file.iter().any(is_it) {
        "hidden by the file's".to_owned()
    } else if let Some(at) = stored.revoked_at {
        format!("revoked {at}")
    } else if !token.is_valid_at(now) {
        format!("expired {}", token.expires_at.unwrap_or_default())
    } else if let Some(until) = old_until {
        format!("valid, old one until {until}")
    } else if let Some(end) = token.expires_at {
        format!("valid until {end}")
    } else {
        "valid".to_owned()
    };
    let mut told = object(token);
    told["state"] = state.as_str().into();
    told["created_at"] = json!(stored.created_at);
    told["rotated_at"] = json!(stored.rotated_at);
    told["revoked_at"] = json!(stored.revoked_at);
    told["old_until"] = json!(old_until);
    Row {
        name: token.name.to_string(),
        state,
        opens: opens(token),
        json: told,
    }
}

/// What a token is for: `local/support; models gpt-4o; 50 USD per month`.
fn opens(token: &Token) -> String {
    let mut parts = vec![match token.gateways.as_slice() {
        [] => format!("{}/*", token.account),
        gateways => format!("{}/{}", token.account, gateways.join(",")),
    }];
    let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    if scopes != ["run"] {
        parts.push(format!("may {}", scopes.join(",")));
    }
    for (what, list) in [("providers", &token.providers), ("models", &token.models)] {
        if !list.is_empty() {
            parts.push(format!("{what} {}", list.join(",")));
        }
    }
    if !token.metadata.is_empty() {
        let entries = token.metadata.iter();
        let entries: Vec<_> = entries
            .map(|(key, value)| format!("{key}={}", value.to_text()))
            .collect();
        parts.push(entries.join(","));
    }
    if let Some(limit) = token.to_limit() {
        parts.push(limit.describe());
    }
    parts.join("; ")
}

/// A token as JSON tells it: without digests.
pub(super) fn object(token: &Token) -> Value {
    json!({
        "name": token.name,
        "account": token.account,
        "gateways": token.gateways,
        "providers": token.providers,
        "models": token.models,
        "scopes": token.scopes,
        "metadata": token.metadata,
        "expires_at": token.expires_at,
        "spend": token.spend,
    })
}
