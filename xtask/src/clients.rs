//! The official clients against a running gateway and simulator: only their base URL is changed.
//! And `examples/worker`, in the runtime of Cloudflare's Workers.
//!
//! Clients are pinned in `tests/clients`, the Worker's runtime in its folder; both are installed
//! below `target/clients`, once for each change of the pins. What a client says passed must also be
//! on record.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::gateway::{self, Profile, Running};
use crate::schema;
use crate::shell::{self, Scratch};

/// The token that may change everything.
const MANAGER: &str = "isg_planted-manager-0123456789";

/// How long a record may take to be found after its answer.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);

/// What every credential of the clients, and every token, begins with.
const SECRETS: [&str; 2] = ["planted-", "isg_"];

/// A request of a client that must be on record.
#[derive(Debug, Deserialize)]
struct Expected {
    id: String,
    case: String,
    /// Tenant that the record names; without one it names the case.
    tenant: Option<String>,
    provider: String,
    stream: bool,
    deployment: Option<String>,
    usage: bool,
}

/// Installs the clients and runs them.
///
/// # Errors
/// Something cannot be installed or started, a client fails, or a record is missing or wrong.
pub(crate) fn run() -> Result<()> {
    let pins = shell::root().join("tests/clients/python/requirements.txt");
    let python = install_python("venv", &pins)?;
    let node = install_node(
        "node",
        "tests/clients/node",
        &["clients.test.mjs", "manage.test.mjs"],
    )?;
    let worker = install_node("worker", "examples/worker", WORKER_FILES)?;
    let binary = gateway::build(Profile::Dev)?;
    schema::run(&binary)?;
    let scratch = Scratch::new("clients")?;
    let simulator = simulate(&binary, &scratch)?;
    let config = configuration(simulator.address("url")?);
    let isango = gateway::serve(&binary, &[], scratch.path(), &config)?;
    let url = format!("http://{}/v1/local", isango.address("data")?);
    let api = format!("http://{}/client/v4", isango.address("admin")?);
    let report = scratch.file("report.jsonl");

    let sources = shell::root().join("tests/clients/python");
    let mut failures = Vec::new();
    let on_python = |file: &str| with(&python, [sources.join(file)]);
    let on_node = |file: &str| with("node", ["--test".into(), node.join(file)]);
    let mut in_workerd = with("npm", ["run", "--silent", "test"]);
    in_workerd.current_dir(worker);
    for (name, gateway, mut command) in [
        ("python", "default", on_python("run.py")),
        ("node", "default", on_node("clients.test.mjs")),
        ("worker", "worker", in_workerd),
        ("python, managing", "default", on_python("manage.py")),
        ("node, managing", "default", on_node("manage.test.mjs")),
        ("python, tokens", "guarded", on_python("tokens.py")),
    ] {
        command
            .env("ISANGO_API", &api)
            .env("ISANGO_TOKEN", MANAGER)
            .env("ISANGO_GATEWAY", format!("{url}/{gateway}"))
            .env("ISANGO_REPORT", &report)
            .env("ISANGO_BINARY", &binary)
            .env("ISANGO_CONFIG", scratch.file("isango.toml"));
        // The clients' own settings must not point them elsewhere.
        for variable in [
            "OPENAI_BASE_URL",
            "OPENAI_API_KEY",
            "AZURE_API_KEY",
            "ANTHROPIC_API_KEY",
            "CLOUDFLARE_BASE_URL",
            "CLOUDFLARE_API_TOKEN",
            "CLOUDFLARE_API_KEY",
            "CLOUDFLARE_EMAIL",
        ] {
            command.env_remove(variable);
        }
        if let Err(error) = shell::run(&mut command) {
            failures.push(format!("{name}: {error}"));
        }
        failures.extend(unrecorded(&binary, &scratch, &report)?);
    }
    isango.stop()?;
    simulator.stop()?;
    if let Err(error) = read_columns(&binary, &scratch, &python) {
        failures.push(format!("polars: {error:#}"));
    }
    if let Err(error) = receive_exports(&binary) {
        failures.push(format!("exports: {error:#}"));
    }
    if !failures.is_empty() {
        bail!("{} failures:\n  {}", failures.len(), failures.join("\n  "));
    }
    Ok(())
}

/// Lets Polars read the columns of the store as they lie, once all of them are sealed, and an export.
///
/// # Errors
/// It cannot, or they are not what the product says.
fn read_columns(binary: &Path, scratch: &Scratch, python: &Path) -> Result<()> {
    let data = scratch.file("data");
    let of_store = |arguments: &[&str], file: &Path| -> Result<()> {
        let mut command = Command::new(binary);
        command.args(arguments).arg("--data-dir").arg(&data);
        shell::run(command.stdout(std::fs::File::create(file)?))
    };
    let (export, query) = (scratch.file("export.parquet"), scratch.file("query.jsonl"));
    of_store(&["logs", "rebuild"], &query)?;
    of_store(&["logs", "export", "--format", "parquet"], &export)?;
    of_store(&["logs", "query", "--json", "--limit", "1000000"], &query)?;
    let script = shell::root().join("tests/clients/python/columns.py");
    shell::run(
        Command::new(python)
            .arg(script)
            .arg(&data)
            .arg(export)
            .arg(query),
    )
}

/// Lets servers that know nothing of the gateway receive its exports, while the way there fails and
/// the gateway is killed a hundred times.
///
/// # Errors
/// Something cannot be installed, or what arrives is not what the journal has.
fn receive_exports(binary: &Path) -> Result<()> {
    let sources = shell::root().join("tests/clients/exports");
    let python = install_python("exports", &sources.join("requirements.txt"))?;
    let node = install_node("azurite", "tests/clients/exports", &[])?;
    let azurite = node.join("node_modules/azurite/dist/src/blob/main.js");
    let mut receivers = with(&python, [sources.join("run.py")]);
    receivers.env("ISANGO_BINARY", binary);
    receivers.env("AZURITE", format!("node {}", azurite.display()));
    shell::run(&mut receivers)
}

/// A program with its arguments.
fn with<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Starts a simulator that answers at once.
///
/// # Errors
/// It does not start.
pub(crate) fn simulate(binary: &Path, scratch: &Scratch) -> Result<Running> {
    let mut command = Command::new(binary);
    command.args([
        "simulate",
        "--listen",
        "127.0.0.1:0",
        "--json",
        "--pace",
        "0",
        "--ttft",
        "0s",
    ]);
    Running::start(&mut command, &scratch.file("simulator.log"))
}

/// What the clients that manage need.
const MANAGED: &str = r#"
[secrets]
key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
[[tokens]]
name = "manager"
scopes = ["read", "write"]
secret = "isg_planted-manager-0123456789"
"#;

/// Two resources of Azure, of which the second stands in for the first; the gateway of the Worker,
/// which has a tenant with a limit; and one that asks for tokens.
const TARGETS: &str = r#"
[[gateways]]
id = "default"
fallback = { first = ["second"] }
[[gateways.targets]]
name = "first"
provider = "azure-openai"
resource = "aoai-first"
models = { chat = "gpt-4o" }
[[gateways.targets]]
name = "second"
provider = "azure-openai"
resource = "aoai-second"
credential = "planted-key-second"
models = { chat-second = "gpt-4o" }

[[gateways]]
id = "worker"
[[gateways.targets]]
name = "first"
provider = "azure-openai"
resource = "aoai-first"
models = { chat = "gpt-4o" }
[[gateways.limits]]
id = "small"
only = { "metadata.tenantId" = ["small"] }
unit = "requests"
limit = 1
window = "day"

[[gateways]]
id = "guarded"
authentication = true
"#;

/// What the Worker is made of, and its test.
const WORKER_FILES: &[&str] = &["tsconfig.json", "src/index.ts", "test/worker.test.mjs"];

/// Every provider of the tests at the simulator (host and port).
fn configuration(simulator: &str) -> String {
    let places = [
        ("azure-openai", "/azure/{resource}"),
        ("azure", "/azure/{resource}"),
        ("openai", "/v1"),
        ("anthropic", ""),
    ];
    let tables = places.map(|(slug, path)| {
        format!("[providers.{slug}]\nbase_url = \"http://{simulator}{path}\"\n\n")
    });
    tables.concat() + MANAGED + TARGETS
}

/// What is not on record although a client was answered, or is recorded wrongly. Empties the
/// report.
fn unrecorded(binary: &Path, scratch: &Scratch, report: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(report).context("the clients wrote no report")?;
    let lines = text.lines().map(serde_json::from_str);
    let expected: Vec<Expected> = lines.collect::<Result<_, _>>()?;
    std::fs::write(report, "")?;
    let deadline = Instant::now() + RECORD_PATIENCE;
    loop {
        let records = records(binary, scratch)?;
        let faults: Vec<String> = expected
            .iter()
            .filter_map(|one| fault(one, &records))
            .collect();
        if faults.is_empty() {
            println!("{} requests are on record", expected.len());
        }
        if faults.is_empty() || Instant::now() > deadline {
            return Ok(faults);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Every record, by its id, as the command line shows it.
fn records(binary: &Path, scratch: &Scratch) -> Result<BTreeMap<String, Value>> {
    let mut command = Command::new(binary);
    command.args([
        "logs",
        "query",
        "--json",
        "--bodies",
        "--limit",
        "1000",
        "--data-dir",
    ]);
    let text = shell::output(command.arg(scratch.file("data")))?;
    for secret in SECRETS {
        if text.contains(secret) {
            bail!("a credential of a client, or a token, is on record");
        }
    }
    let values: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()?;
    let named = |record: Value| Some((record["id"].as_str()?.to_owned(), record));
    Ok(values.into_iter().filter_map(named).collect())
}

fn fault(expected: &Expected, records: &BTreeMap<String, Value>) -> Option<String> {
    let Some(record) = records.get(&expected.id) else {
        return Some(format!("{}: no record {}", expected.case, expected.id));
    };
    let metadata = &record["metadata"];
    let facts = [
        match &expected.tenant {
            Some(tenant) => ("metadata.tenantId", metadata["tenantId"] == tenant.as_str()),
            None => ("metadata.case", metadata["case"] == expected.case.as_str()),
        },
        ("provider", record["provider"] == expected.provider.as_str()),
        ("status", record["status"] == 200),
        ("outcome", record["outcome"] == "answered"),
        (
            "stream",
            record["stream"].as_bool().unwrap_or(false) == expected.stream,
        ),
        ("usage", !expected.usage || record["usage"].is_object()),
        (
            "deployment",
            expected
                .deployment
                .as_deref()
                .is_none_or(|name| record["deployment"] == name),
        ),
    ];
    let wrong: Vec<&str> = facts
        .iter()
        .filter(|(_, holds)| !holds)
        .map(|(name, _)| *name)
        .collect();
    (!wrong.is_empty()).then(|| {
        format!(
            "{}: the record's {} is wrong: {record}",
            expected.case,
            wrong.join(", ")
        )
    })
}

/// A virtual environment of this name with what `pins` says; returns its interpreter.
///
/// # Errors
/// Something cannot be installed.
pub(crate) fn install_python(name: &str, pins: &Path) -> Result<PathBuf> {
    let folder = shell::root().join("target/clients").join(name);
    let python = folder.join("bin/python");
    install(&folder, pins, || {
        shell::run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
        )?;
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        shell::run(pip.arg("--requirement").arg(pins))
    })?;
    Ok(python)
}

/// A folder with the pinned JavaScript packages of `sources`, and these files of it; returns it.
fn install_node(name: &str, sources: &str, files: &[&str]) -> Result<PathBuf> {
    let sources = shell::root().join(sources);
    let folder = shell::root().join("target/clients").join(name);
    for name in ["package.json", "package-lock.json", ".npmrc"]
        .iter()
        .chain(files)
    {
        let copy = folder.join(name);
        if let Some(folder) = copy.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(sources.join(name), copy).with_context(|| (*name).to_owned())?;
    }
    install(&folder, &sources.join("package-lock.json"), || {
        shell::run(&mut npm_ci(&folder))
    })?;
    Ok(folder)
}

/// Installs what the lock file of `folder` names, and runs none of its scripts.
pub(crate) fn npm_ci(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]);
    npm.current_dir(folder);
    npm
}

/// Calls `install` unless it has succeeded in `folder` with the same pins before.
///
/// # Errors
/// It fails, or the pins or the stamp of the last time cannot be read or written.
pub(crate) fn install(
    folder: &Path,
    pins: &Path,
    install: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = folder.join("installed");
    let wanted = std::fs::read_to_string(pins)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    Ok(std::fs::write(&stamp, wanted)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: &str, expected_fault: Option<&str>) {
        let record: Value = serde_json::from_str(record).unwrap();
        let expected = Expected {
            id: "r1".into(),
            case: "chat".into(),
            tenant: None,
            provider: "azure-openai".into(),
            stream: false,
            deployment: Some("d".into()),
            usage: true,
        };
        let records = [(record["id"].as_str().unwrap().to_owned(), record)].into();
        let fault = fault(&expected, &records);
        assert_eq!(
            fault.map(|fault| fault.split(':').take(2).collect()),
            expected_fault.map(String::from)
        );
    }

    #[test]
    fn a_record_must_be_there_and_tell_the_truth() {
        let good = r#"{"id":"r1","metadata":{"case":"chat"},"provider":"azure-openai","status":200,
            "outcome":"answered","usage":{},"deployment":"d"}"#;
        check(good, None);
        check(&good.replace("r1", "r2"), Some("chat no record r1"));
        check(
            &good.replace("200", "201"),
            Some("chat the record's status is wrong"),
        );
        let other = good.replace("\"d\"", "\"e\"").replace("answered", "failed");
        check(
            &other,
            Some("chat the record's outcome, deployment is wrong"),
        );
    }
}
