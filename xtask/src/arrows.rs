//! Which crate may use which: the map of the repository, checked against `cargo metadata`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::shell;

/// Each crate of ours, and the crates of ours that it may use, in its tests too. `testkit` is
/// open to every crate's tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("wire", &["types"]),
    ("store", &["types"]),
    ("records", &["types", "store"]),
    ("backends", &["types", "store", "records"]),
    ("proxy", &["types", "wire", "store"]),
    ("control", &["types", "store"]),
    ("exports", &["types", "wire", "store"]),
    ("redact", &["types"]),
    ("simulator", &[]),
    ("testkit", &["types"]),
    (
        "server",
        &[
            "types",
            "wire",
            "store",
            "records",
            "backends",
            "proxy",
            "control",
            "exports",
            "redact",
            "simulator",
        ],
    ),
    ("xtask", &[]),
];

/// What of `cargo metadata` matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// Checks the workspace.
///
/// # Errors
/// An arrow that the map does not allow, or a crate that is not on it.
pub(crate) fn run() -> Result<()> {
    let metadata = shell::output(&mut shell::cargo([
        "metadata",
        "--no-deps",
        "--format-version=1",
        "--offline",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&metadata)?;
    let faults = faults(&metadata);
    if !faults.is_empty() {
        bail!(
            "crates point where they must not:\n  {}",
            faults.join("\n  ")
        );
    }
    println!("{} crates keep to the map", metadata.packages.len());
    Ok(())
}

fn faults(metadata: &Metadata) -> Vec<String> {
    let map: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let name = short(&package.name);
        let Some(allowed) = map.get(name) else {
            faults.push(format!("{name} is not on the map (xtask/src/arrows.rs)"));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|other| is_ours(&other.name))
        {
            let to = short(&dependency.name);
            let in_tests = dependency.kind.as_deref() == Some("dev") && to == "testkit";
            if !allowed.contains(&to) && !in_tests {
                faults.push(format!(
                    "{name} -> {to} (it may use: {})",
                    allowed.join(", ")
                ));
            }
        }
    }
    faults
}

fn is_ours(package: &str) -> bool {
    package.starts_with("isango-") || package == "xtask"
}

fn short(package: &str) -> &str {
    package.strip_prefix("isango-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(package: &str, dependency: &str, kind: Option<&str>, expected: &[&str]) {
        let dependency = Dependency {
            name: dependency.into(),
            kind: kind.map(Into::into),
        };
        let package = Package {
            name: package.into(),
            dependencies: vec![dependency],
        };
        assert_eq!(
            faults(&Metadata {
                packages: vec![package]
            }),
            expected
        );
    }

    #[test]
    fn an_arrow_against_the_map_is_a_fault() {
        check("isango-proxy", "isango-types", None, &[]);
        check("isango-proxy", "hyper", None, &[]);
        check("isango-proxy", "isango-testkit", Some("dev"), &[]);
        let fault = "proxy -> testkit (it may use: types, wire, store)";
        check("isango-proxy", "isango-testkit", None, &[fault]);
        let fault = "proxy -> control (it may use: types, wire, store)";
        check("isango-proxy", "isango-control", Some("dev"), &[fault]);
        let fault = "news is not on the map (xtask/src/arrows.rs)";
        check("isango-news", "isango-types", None, &[fault]);
    }
}
