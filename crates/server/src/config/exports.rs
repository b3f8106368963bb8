//! Exports of the configuration file.

use std::sync::Arc;
use std::time::Duration;

use isango_exports::{
    Allowed, Bounds, Dataset, Destination, Field, Job, MAX_JOBS, Pack, Part, PublicKey, Spec, Times,
};
use isango_types::{Clock, nearest};

use super::check;
use super::entities::{Around, Seen};
use super::section::Section;

/// Fewest characters of what bodies are signed with.
const MIN_SECRET: usize = 16;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// Whose records a job exports.
#[derive(Clone, Copy)]
struct Whose<'w> {
    account: &'w str,
    gateway: Option<&'w str>,
}

/// All jobs of the file.
pub(super) fn jobs(root: &Section<'_>, around: &Around<'_>) -> Vec<Arc<Job>> {
    let mut seen = Seen::new(around.origins);
    let mut jobs = Vec::new();
    for section in root.tables("exports[]") {
        let account = section.name("account").unwrap_or_default();
        let whose = Whose {
            account: &account,
            gateway: None,
        };
        jobs.extend(job(&section, whose, around, &mut seen));
    }
    for gateway in root.tables("gateways[]") {
        let name = |name| gateway.plain(name).unwrap_or_default();
        let (account, id) = (name("account"), name("id"));
        for section in gateway.tables("gateways[].logpush[]") {
            let whose = Whose {
                account: if account.is_empty() { "local" } else { account },
                gateway: Some(id),
            };
            jobs.extend(job(&section, whose, around, &mut seen));
        }
    }
    if jobs.len() > MAX_JOBS {
        let message = format!("there are {} exports, and at most {MAX_JOBS}", jobs.len());
        root.problem("exports", message, None);
    }
    jobs.into_iter().map(Arc::new).collect()
}

/// The key that a gateway's exported records are sealed with.
pub(super) fn public_key(gateway: &Section<'_>) -> Option<Box<str>> {
    let key = gateway.text("logpush_public_key")?;
    if let Err(error) = PublicKey::parse(&key) {
        let message = format!("`logpush_public_key`: {error}");
        gateway.problem("logpush_public_key", message, None);
    }
    Some(key)
}

fn job(
    section: &Section<'_>,
    whose: Whose<'_>,
    around: &Around<'_>,
    seen: &mut Seen<'_>,
) -> Option<Job> {
    let name = section.name("name").unwrap_or_default();
    let Whose { account, gateway } = whose;
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = "a number is the name of a job of the management API: add a letter";
        section.problem("name", message.into(), None);
    }
    let id: Box<str> = match gateway {
        Some(gateway) => format!("{account}/{gateway}/{name}").into(),
        None => format!("{account}/{name}").into(),
    };
    seen.add(section, "name", format!("export `{id}`"));
    let allowed = Allowed {
        private: section.flag("allow_private"),
        folder: true,
    };
    let conf = section.secret("destination");
    let destination = conf.and_then(|conf| match Destination::parse(&conf, allowed) {
        Ok(destination) => Some(destination),
        Err(error) => {
            let message = format!("`destination` is none: {error}");
            section.problem("destination", message, None);
            None
        }
    });
    let bytes = |name| usize::try_from(section.size(name)).unwrap_or(usize::MAX);
    let days = section.count("retain_days") as u64;
    let spec = Spec {
        id,
        account: account.into(),
        gateway: gateway.map(Into::into),
        of_file: true,
        enabled: section.flag("enabled"),
        dataset: Dataset::ALL[section.choice("dataset")],
        filter: section.text("filter").unwrap_or_default(),
        fields: fields(section),
        times: Times::ALL[section.choice("timestamps")],
        pack: Pack::ALL[section.choice("compression")],
        bounds: Bounds {
            bytes: bytes("max_upload_bytes"),
            records: section.count("max_upload_records"),
            wait: section.wait("max_upload_interval"),
        },
        public_key: key_of(section, around),
        retain: (days > 0).then(|| Duration::from_secs(days * DAY_S)),
        from_start: section.choice("from") == 1,
        signing_key: signing_key(section),
        max_record_bytes: bytes("max_record_bytes"),
        // Everything else has been read, so that all that is wrong is told at once.
        destination: destination?,
    };
    match Job::new(spec, Clock::system().now()) {
        Ok(job) => Some(job),
        Err(error) => {
            let key = match error.part {
                Part::Filter => "filter",
                Part::PublicKey => "public_key",
                Part::Retain => "retain_days",
                Part::SigningKey => "signing_key",
            };
            section.problem(key, format!("`{key}`: {}", error.message), None);
            None
        }
    }
}

fn fields(section: &Section<'_>) -> Vec<Field> {
    if !section.has("fields") {
        return Field::ALL.iter().map(|(_, field)| *field).collect();
    }
    let names = section.texts("fields");
    let read = names.iter().filter_map(|name| {
        let field = Field::parse(name);
        if field.is_none() {
            let help = nearest(name, Field::ALL.iter().map(|(name, _)| *name));
            section.problem("fields", format!("there is no field `{name}`"), help);
        }
        field
    });
    read.collect()
}

fn signing_key(section: &Section<'_>) -> Option<isango_types::Secret> {
    let key = section.secret("signing_key")?;
    if key.expose().chars().count() < MIN_SECRET {
        let message = format!("`signing_key` has at least {MIN_SECRET} characters");
        section.problem("signing_key", message, None);
    }
    Some(key)
}

fn key_of(section: &Section<'_>, around: &Around<'_>) -> Option<Box<str>> {
    let of_file = check::file(section, "public_key_file", &|span| around.relative_to(span));
    let text = section.text("public_key");
    let Some(file) = of_file else { return text };
    if text.is_some() {
        let message = "`public_key` and `public_key_file` say the same: keep one";
        section.problem("public_key_file", message.into(), None);
    }
    match std::fs::read_to_string(&file) {
        Ok(text) => Some(text.into()),
        // That it cannot be opened was told.
        Err(_unreadable) => None,
    }
}
