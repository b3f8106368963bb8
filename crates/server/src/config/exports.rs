//! Exports of the configuration file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isango_exports::{
    Allowed, Bounds, Dataset, Destination, Field, Job, MAX_JOBS, Pack, Part, PublicKey, Spec, Times,
};
use isango_store::config::{Invalid, Wrong};
use isango_store::logpush::StoredJob;
use isango_types::gateway::{Origin, Otel};
use isango_types::{Clock, Gateway, Secret, nearest};
use serde_json::Value;

use super::check;
use super::entities::{Around, Seen};
use super::section::Section;
use super::settings::Config;

/// Fewest characters of what bodies are signed with.
const MIN_SECRET: usize = 16;
/// How often metrics are sent while there are requests.
const METRICS_EVERY: Duration = Duration::from_secs(10);
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
        pack: pack(section),
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
                Part::Format => "format",
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

/// How batches are packed; Parquet has no say in it.
fn pack(section: &Section<'_>) -> Pack {
    let of_lines = Pack::ALL[section.choice("compression")];
    if section.choice("format") == 0 {
        return of_lines;
    }
    if section.has("compression") {
        let message = "`compression` is of lines; Parquet packs its columns by itself";
        section.problem("compression", message.into(), None);
    }
    Pack::Parquet
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
        Err(_unreadable) if std::fs::File::open(&file).is_err() => None,
        Err(error) => {
            let message = format!(
                "`{}` is no public key in PEM: {error}; `openssl rsa -pubin -inform DER -in …` \
                 writes one",
                file.display()
            );
            section.problem("public_key_file", message, None);
            None
        }
    }
}

/// Exporters of traces and metrics of one gateway at most.
const MAX_OTEL: usize = 5;

/// Where the traces and metrics of a gateway go.
pub(super) fn otel(gateway: &Section<'_>) -> Vec<Arc<Otel>> {
    let mut all = Vec::new();
    for section in gateway.tables("gateways[].otel[]") {
        let mut headers = section.secret_table("headers");
        if let Some(secret) = section.secret("authorization") {
            headers.insert("authorization".into(), secret);
        }
        let (url, protobuf) = (section.secret("url"), section.choice("content_type") == 1);
        let allow_private = section.flag("allow_private");
        let metrics = section.choice("signal") == 1;
        // Everything has been read, so that all that is wrong is told at once.
        let Some(url) = url else {
            continue;
        };
        let otel = Otel {
            url,
            headers,
            protobuf,
            metrics,
            allow_private,
        };
        if let Err(error) = to_destination(&otel) {
            section.problem(
                "url",
                format!("`url` takes neither traces nor metrics: {error}"),
                None,
            );
        }
        all.push(Arc::new(otel));
    }
    if all.len() > MAX_OTEL {
        let message = format!("a gateway has at most {MAX_OTEL} exporters of traces and metrics");
        gateway.problem("otel", message, None);
    }
    all
}

fn to_destination(otel: &Otel) -> Result<Destination, isango_exports::DestinationError> {
    let allowed = Allowed {
        private: otel.allow_private,
        folder: false,
    };
    Destination::traces(&otel.url, &otel.headers, otel.protobuf, allowed)
}

/// The jobs that export the traces and metrics of a gateway.
pub(crate) fn traces(gateway: &Gateway) -> Vec<Job> {
    let Gateway { account, id, .. } = gateway;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let jobs = gateway.otel.iter().filter_map(|otel| {
        let destination = to_destination(otel).ok()?;
        // Told by where they go, so that another order changes nothing.
        let digest = isango_exports::short_digest(otel.url.expose());
        let number = seen.entry(digest.clone()).or_default();
        *number += 1;
        let spec = Spec {
            id: format!("{account}/{id}/otel-{digest}-{number}").into(),
            account: account.clone(),
            gateway: Some(id.clone()),
            of_file: gateway.origin == Origin::File,
            enabled: true,
            dataset: match otel.metrics {
                true => Dataset::Metrics,
                false => Dataset::Traces,
            },
            destination,
            filter: "".into(),
            fields: Vec::new(),
            times: Times::default(),
            pack: Pack::Gzip,
            bounds: match otel.metrics {
                true => Bounds {
                    wait: METRICS_EVERY,
                    ..Bounds::default()
                },
                false => Bounds {
                    bytes: 4 << 20,
                    records: 512,
                    wait: Duration::from_secs(1),
                },
            },
            public_key: None,
            retain: None,
            from_start: false,
            signing_key: None,
            max_record_bytes: 0,
        };
        Job::new(spec, Clock::system().now()).ok()
    });
    jobs.collect()
}

/// A job that is stored, compiled.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn stored(config: &Config, stored: &StoredJob) -> Result<Job, Invalid> {
    let wrong = |path: &[&str], message: String| {
        let path = path.iter().map(|part| (*part).into()).collect();
        Invalid(vec![Wrong { path, message }])
    };
    let of_conf = |message: String| wrong(&["destination_conf"], message);
    let no_key = || of_conf("there is no `secrets.key` to open it with".into());
    let keyring = config.keyring.as_ref().ok_or_else(no_key)?;
    let conf: Secret = stored
        .open(keyring)
        .map_err(|why| of_conf(why.to_string()))?;
    let allowed = Allowed {
        private: config.logpush_allow_private,
        folder: false,
    };
    let destination = Destination::parse(&conf, allowed);
    let destination = destination.map_err(|error| of_conf(error.to_string()))?;
    let field = |name: &str| stored.fields.get(name);
    let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| {
        field(name)
            .and_then(Value::as_u64)
            .filter(|number| *number > 0)
    };
    let output = |name: &str| field("output_options").and_then(|all| all.get(name));
    let names = output("field_names").and_then(Value::as_array);
    let mut fields = Vec::new();
    for name in names.into_iter().flatten().filter_map(Value::as_str) {
        let Some(field) = Field::parse(name) else {
            let help = nearest(name, Field::ALL.iter().map(|(name, _)| *name));
            let message = format!("there is no field `{name}`; {}", help.unwrap_or_default());
            return Err(wrong(&["output_options", "field_names"], message));
        };
        fields.push(field);
    }
    if fields.is_empty() {
        fields.extend(Field::ALL.iter().map(|(_, field)| *field));
    }
    let times = output("timestamp_format").and_then(Value::as_str);
    let times = times.and_then(|name| Times::NAMES.iter().position(|known| *known == name));
    let usual = Bounds::default();
    let usual_wait = if text("frequency") == "low" {
        300
    } else {
        usual.wait.as_secs()
    };
    let size = |name: &str, usual: usize| {
        number(name).map_or(usual, |number| usize::try_from(number).unwrap_or(usual))
    };
    let spec = Spec {
        id: StoredJob::entity_id(&stored.account, stored.number).into(),
        account: stored.account.clone(),
        gateway: None,
        of_file: false,
        enabled: field("enabled")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        dataset: match text("dataset") {
            "audit_logs" => Dataset::Audit,
            _ => Dataset::Events,
        },
        destination,
        filter: text("filter").into(),
        fields,
        times: Times::ALL[times.unwrap_or_default()],
        pack: stored_pack(output("output_type")),
        bounds: Bounds {
            bytes: size("max_upload_bytes", usual.bytes),
            records: size("max_upload_records", usual.records),
            wait: Duration::from_secs(number("max_upload_interval_seconds").unwrap_or(usual_wait)),
        },
        public_key: None,
        retain: None,
        from_start: false,
        signing_key: None,
        max_record_bytes: 0,
    };
    let job = Job::new(spec, Clock::system().now());
    job.map_err(|error| wrong(stored_part(error.part), error.message))
}

/// How a stored job packs its batches.
fn stored_pack(output_type: Option<&Value>) -> Pack {
    match output_type.and_then(Value::as_str) {
        Some("parquet") => Pack::Parquet,
        Some(_) | None => Pack::Gzip,
    }
}

/// Where a part of a stored job stands.
const fn stored_part(part: Part) -> &'static [&'static str] {
    match part {
        Part::Format => &["output_options", "output_type"],
        Part::Filter | Part::PublicKey | Part::Retain | Part::SigningKey => &["filter"],
    }
}
