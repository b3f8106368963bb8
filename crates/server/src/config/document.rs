//! A gateway that is stored rather than in the file: read by the same descriptions and checks, and
//! what is wrong is told by the members that lead to it.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use isango_store::config::{Invalid, Wrong};
use isango_store::gateways::StoredGateway;
use isango_types::Gateway;
use isango_types::gateway::Origin;
use serde_json::Value;
use toml::de::DeTable;

use super::entities::{self, Around};
use super::problem::{Origins, Report};
use super::references::Environment;
use super::section::{self, Section};
use super::settings::Config;

/// Keys that only the file may set: they hold secrets, or lead to addresses that nobody else may
/// name.
const OF_THE_FILE: [(&str, &str, &str); 6] = [
    (
        "targets",
        "credential",
        "`credential` stands in the configuration file only; store the credential of a provider \
         with `provider_configs`",
    ),
    (
        "targets",
        "base_url",
        "`base_url` stands in the configuration file only",
    ),
    (
        "limits",
        "alerts",
        "`alerts` stand in the configuration file only, in this version",
    ),
    (
        "otel",
        "allow_private",
        "`allow_private` stands in the configuration file only",
    ),
    (
        "otel",
        "authorization",
        "there is no store of secrets that `authorization` could name: send the header itself, \
         `headers.Authorization`",
    ),
    (
        "redact",
        "hash_key",
        "`hash_key` stands in the configuration file only: `hash` is for gateways of the file, \
         others take `mask` or `drop`",
    ),
];

/// The gateway that is stored, by the rules of the file.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn gateway(config: &Config, stored: &StoredGateway) -> Result<Gateway, Invalid> {
    let mut source = Source::default();
    source.text.push_str("gateways = [");
    source.write(&Value::Object(stored.document()), &[]);
    source.text.push(']');
    let (origins, report) = (Origins::default(), Report::default());
    let text = std::mem::take(&mut source.text);
    let tree = match DeTable::parse(&text) {
        Ok(tree) => tree.into_inner(),
        Err(error) => {
            let message = format!("it cannot be read: {}", error.message());
            return Err(Invalid(vec![source.wrong(error.span(), message)]));
        }
    };
    section::check_names(&tree, "", &report);
    let around = Around {
        origins: &origins,
        folder: Path::new(""),
        environment: &Environment::default(),
    };
    let root = Section::root(&tree, &report);
    let gateways = root.tables("gateways[]");
    let Some(section) = gateways.first() else {
        return Err(Invalid::default());
    };
    refuse_what_is_of_the_file(section);
    let names = (Some(stored.account.clone()), Some(stored.id.clone()));
    let above = (&config.server, &config.records);
    let mut gateway = entities::gateway(section, names, above, &around, &config.providers);
    gateway.origin = Origin::Stored;
    let is_reachable = !config.listen.ip().is_loopback() && !config.allow_unauthenticated;
    if is_reachable && !gateway.authentication {
        let message = "a gateway that other machines can reach needs `authentication`".to_owned();
        section.problem("authentication", message, None);
    }
    drop(gateways);
    let wrong = report.into_texts().into_iter();
    let wrong: Vec<Wrong> = wrong.map(|(at, text)| source.wrong(at, text)).collect();
    match wrong.is_empty() {
        true => Ok(gateway),
        false => Err(Invalid(wrong)),
    }
}

fn refuse_what_is_of_the_file(gateway: &Section<'_>) {
    for (list, key, why) in OF_THE_FILE {
        let path = match list {
            "targets" => "gateways[].targets[]",
            "otel" => "gateways[].otel[]",
            "redact" => "gateways[].redact[]",
            _ => "gateways[].limits[]",
        };
        for section in gateway.tables(path) {
            if section.has(key) {
                section.problem(key, why.to_owned(), None);
            }
        }
    }
    if gateway.has("logpush") {
        let why = "`logpush` stands in the configuration file only; store jobs with `logpush/jobs`";
        gateway.problem("logpush", why.to_owned(), None);
    }
    if gateway.has("alerts") {
        let why = "`alerts` stand in the configuration file only, in this version";
        gateway.problem("alerts", why.to_owned(), None);
    }
}

/// JSON written as TOML, and which members lead to which part of it.
#[derive(Default)]
struct Source {
    text: String,
    /// Outer values behind the ones they hold.
    places: Vec<(Range<usize>, Vec<Box<str>>)>,
}

impl Source {
    fn write(&mut self, value: &Value, path: &[Box<str>]) {
        let start = self.text.len();
        match value {
            // Left out by whoever holds it.
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => {
                write!(self.text, "{value}").ok();
            }
            Value::String(text) => self.quote(text),
            Value::Array(items) => {
                self.text.push('[');
                for (n, item) in items.iter().enumerate() {
                    self.write(item, &below(path, &n.to_string()));
                    self.text.push(',');
                }
                self.text.push(']');
            }
            Value::Object(members) => {
                self.text.push('{');
                let set = members.iter().filter(|(_, value)| !value.is_null());
                for (n, (name, value)) in set.enumerate() {
                    if n > 0 {
                        self.text.push(',');
                    }
                    let path = below(path, name);
                    let start = self.text.len();
                    self.quote(name);
                    self.places.push((start..self.text.len(), path.clone()));
                    self.text.push('=');
                    self.write(value, &path);
                }
                self.text.push('}');
            }
        }
        self.places.push((start..self.text.len(), path.to_vec()));
    }

    /// A text of JSON is one of TOML, but for DEL, which TOML wants escaped.
    fn quote(&mut self, text: &str) {
        let quoted = Value::from(text).to_string().replace('\u{7f}', "\\u007f");
        self.text.push_str(&quoted);
    }

    fn wrong(&self, at: Option<Range<usize>>, message: String) -> Wrong {
        let holds = |place: &Range<usize>, at: &Range<usize>| {
            place.start <= at.start && at.end <= place.end && !place.is_empty()
        };
        let found = at.and_then(|at| self.places.iter().find(|(place, _)| holds(place, &at)));
        Wrong {
            path: found.map(|(_, path)| path.clone()).unwrap_or_default(),
            message,
        }
    }
}

fn below(path: &[Box<str>], name: &str) -> Vec<Box<str>> {
    path.iter().cloned().chain([name.into()]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Sources;
    use crate::config::keys::{self, Key};
    use crate::config::value::Kind;

    fn stored(fields: Value, settings: Value) -> StoredGateway {
        let object = |value: Value| value.as_object().unwrap().clone();
        StoredGateway {
            account: "local".into(),
            id: "support".into(),
            created_at: isango_types::Timestamp::default(),
            modified_at: isango_types::Timestamp::default(),
            fields: object(fields),
            settings: object(settings),
            sealed: Default::default(),
        }
    }

    /// What is secret of a gateway is either sealed, or not taken.
    #[test]
    fn no_key_that_may_hold_a_secret_is_stored_in_the_clear() {
        let secret = |key: &&Key| matches!(key.kind, Kind::Secret | Kind::SecretTable);
        let of_gateways = keys::all().filter_map(|key| {
            let path = key.path.strip_prefix("gateways[].")?;
            secret(&key).then_some(path)
        });
        for path in of_gateways {
            let (list, member) = path.split_once("[].").unwrap();
            let member = member.split("[]").next().unwrap();
            let is_refused = OF_THE_FILE
                .iter()
                .any(|(of, key, _)| (*of, *key) == (list, member));
            let is_sealed = list == "otel" && ["url", "headers"].contains(&member);
            // Neither of these is taken at all.
            let is_of_file = ["alerts", "logpush"].contains(&list);
            assert!(is_refused || is_sealed || is_of_file, "{path}");
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(text, &Sources::default()).unwrap()
    }

    #[test]
    fn a_stored_gateway_is_the_one_that_the_file_would_make() {
        let in_file = config(
            r#"
            [[gateways]]
            id = "support"
            authentication = true
            cache_ttl = 60
            rate_limiting_limit = 5
            rate_limiting_interval = 60
            rate_limiting_technique = "sliding"
            retry = { max_attempts = 3, backoff = "linear", budget_percent = 10 }
            fallback = { one = ["two"] }
            spend_limits = { enabled = true, rules = [{ limitType = "cost", limit = 2.5, window = 60 }] }
            targets = [
                { name = "one", provider = "openai" },
                { name = "two", provider = "openai", models = { "a\"\u007f" = "gpt-4o" } },
            ]
            limits = [{ id = "day", unit = "tokens", limit = 100, window = "day" }]
            "#,
        );
        let fields = json!({
            "authentication": true, "cache_ttl": 60, "collect_logs": null, "zdr": true,
            "rate_limiting_limit": 5, "rate_limiting_interval": 60,
            "rate_limiting_technique": "sliding", "retry_max_attempts": 3, "retry_delay": null,
            "retry_backoff": "linear",
            "spend_limits": {
                "enabled": true, "rules": [{"limitType": "cost", "limit": 2.5, "window": 60}],
            },
        });
        let settings = json!({
            "retry": {"budget_percent": 10},
            "fallback": {"one": ["two"]},
            "targets": [
                {"name": "one", "provider": "openai"},
                {"name": "two", "provider": "openai", "models": {"a\"\u{7f}": "gpt-4o"}},
            ],
            "limits": [{"id": "day", "unit": "tokens", "limit": 100, "window": "day"}],
        });
        let mut gateway = gateway(&config(""), &stored(fields, settings)).unwrap();
        gateway.origin = Origin::File;
        assert_eq!(gateway, in_file.gateways[0]);
    }

    fn check(settings: Value, path: &str, message: &str) {
        let invalid = gateway(&config(""), &stored(json!({}), settings)).unwrap_err();
        let told = invalid
            .0
            .iter()
            .map(|wrong| (wrong.path.join("/"), &wrong.message));
        let found = told
            .clone()
            .any(|(at, text)| at == path && text.contains(message));
        assert!(found, "{path}: {message} in {:?}", told.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wrong_is_told_by_the_members_that_lead_to_it() {
        let target = |more: Value| {
            let mut target = json!({"name": "a", "provider": "openai"});
            let more = more.as_object().unwrap().clone();
            target.as_object_mut().unwrap().extend(more);
            json!({"targets": [{"name": "b", "provider": "groq"}, target]})
        };
        check(
            json!({"colect_log_payload": 1}),
            "colect_log_payload",
            "did you mean",
        );
        check(
            json!({"collect_log_payload": 1}),
            "collect_log_payload",
            "must be",
        );
        check(
            target(json!({"provider": "opnai"})),
            "targets/1/provider",
            "no provider",
        );
        check(
            target(json!({"name": "b"})),
            "targets/1/name",
            "defined twice",
        );
        check(
            target(json!({"credential": "env:HOME"})),
            "targets/1/credential",
            "file only",
        );
        check(
            target(json!({"base_url": "http://10.0.0.1"})),
            "targets/1/base_url",
            "file only",
        );
        check(
            json!({"redact": [
                {"detect": ["card"]},
                {"pattern": "a", "action": "hash", "hash_key": "planted-0123456789"},
            ]}),
            "redact/1/hash_key",
            "file only",
        );
        check(json!({"targets": {}}), "targets", "list of tables");
        check(
            json!({"fallback": {"a": ["c"]}}),
            "fallback/a",
            "no target `a`",
        );
        check(
            json!({"guards": []}),
            "guards",
            "not available in this version",
        );
    }

    #[test]
    fn a_gateway_that_other_machines_reach_asks_for_a_token() {
        let open = stored(json!({"authentication": false}), json!({}));
        let invalid = gateway(&config("listen = \"0.0.0.0:1\""), &open).unwrap_err();
        assert_eq!(*invalid.0[0].path[0], *"authentication");
        let allowed = config("listen = \"0.0.0.0:1\"\nallow_unauthenticated = true");
        assert!(gateway(&allowed, &open).is_ok());
    }
}
