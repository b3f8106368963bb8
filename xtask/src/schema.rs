//! The description of the management API against the API itself: what it generates is sent, and
//! every answer is as it says, and no failure of ours.
//!
//! The generator (schemathesis) is pinned in `tests/clients/schema` and installed below
//! `target/clients`, once for each change of the pins. It changes whatever it can: its gateway is its
//! own, and is thrown away.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::clients::install_python;
use crate::gateway;
use crate::shell::{self, Scratch};

/// The token that may change everything.
const TOKEN: &str = "isg_planted-schema-0123456789";

/// What the description has and the generator cannot end: a stream without an end, and requests that
/// are sent on.
const LEFT_OUT: &str = "/(tail|try)$";

/// Every failure is looked for that is one of the API.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance";

/// Requests for each operation, beside those that cover its description.
const EXAMPLES: &str = "25";

const CONFIGURATION: &str = r#"
[secrets]
key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
[[tokens]]
name = "schema"
scopes = ["read", "write"]
secret = "isg_planted-schema-0123456789"
[[gateways]]
id = "shop"
"#;

/// Runs the generator against a gateway of its own.
///
/// # Errors
/// It cannot be installed or started; or the API is not as it is described.
pub(crate) fn run(binary: &Path) -> Result<()> {
    let sources = shell::root().join("tests/clients/schema");
    let python = install_python("schema", &sources.join("requirements.txt"))?;
    let scratch = Scratch::new("schema")?;
    let isango = gateway::serve(binary, &[], scratch.path(), CONFIGURATION)?;
    let origin = format!("http://{}", isango.address("admin")?);
    let mut generator = Command::new(python.with_file_name("st"));
    generator
        .arg("--config-file")
        .arg(sources.join("schemathesis.toml"))
        .args(["run", &format!("{origin}/client/v4/openapi.json")])
        .args(["--url", &origin])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES])
        .args(["--exclude-path-regex", LEFT_OUT])
        .args(["--seed", "1", "--generation-deterministic", "--no-shrink"])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(scratch.path());
    let ended = shell::run(&mut generator);
    isango.stop()?;
    ended
}
