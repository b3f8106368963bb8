//! What must hold before a change lands, in the order in which it fails soonest.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{arrows, clients, crash, instructions, shell, web};

/// A step: its name, and what it does.
type Step = (&'static str, fn() -> Result<()>);

/// Every step. Steps that need a program which is not installed say so and pass.
const STEPS: &[Step] = &[
    ("format", format),
    ("arrows", arrows::run),
    ("lints", lints),
    ("docs", docs),
    ("tests", tests),
    ("crash", || crash::run(&crash::Options::short())),
    ("clients", clients::run),
    ("web", web::run),
    ("instructions", instructions),
    ("dependencies", dependencies),
];

/// Runs every step but those named in `skip`.
///
/// # Errors
/// A name that is no step, or the first step that fails.
pub(crate) fn run(skip: &[String]) -> Result<()> {
    let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = skip.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("{unknown} is no step; there are: {}", names.join(", "));
    }
    let chosen = STEPS
        .iter()
        .filter(|(name, _)| !skip.iter().any(|skipped| skipped == name));
    run_steps(chosen)
}

/// All tests.
///
/// # Errors
/// A test fails.
pub(crate) fn test() -> Result<()> {
    run_steps(
        STEPS
            .iter()
            .filter(|(name, _)| ["tests", "clients", "web"].contains(name)),
    )
}

fn run_steps<'s>(steps: impl Iterator<Item = &'s Step>) -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let started = Instant::now();
        step().with_context(|| format!("step `{name}`"))?;
        times.push(format!("{name} {} s", started.elapsed().as_secs()));
    }
    println!("\nall passed: {}", times.join(", "));
    Ok(())
}

fn format() -> Result<()> {
    shell::run(&mut shell::cargo(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let mut command = shell::cargo(["clippy", "--workspace", "--all-targets", "--locked"]);
    shell::run(command.args(["--", "--deny", "warnings"]))
}

fn docs() -> Result<()> {
    let mut command = shell::cargo([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ]);
    shell::run(command.env("RUSTDOCFLAGS", "--deny warnings"))
}

/// Rust tests: with nextest where it is installed. Examples in docs are only `cargo test`'s.
fn tests() -> Result<()> {
    if !shell::is_installed("cargo-nextest", "--version") {
        println!("cargo-nextest is not installed: tests run one binary after the other");
        return shell::run(&mut shell::cargo(["test", "--workspace", "--locked"]));
    }
    shell::run(&mut shell::cargo([
        "nextest",
        "run",
        "--workspace",
        "--locked",
    ]))?;
    shell::run(&mut shell::cargo([
        "test",
        "--workspace",
        "--doc",
        "--locked",
    ]))
}

fn instructions() -> Result<()> {
    if !shell::is_installed("valgrind", "--version") {
        println!("skipped: valgrind is not installed");
        return Ok(());
    }
    instructions::run(None)
}

fn dependencies() -> Result<()> {
    if !shell::is_installed("cargo-deny", "--version") {
        println!("skipped: cargo-deny is not installed");
        return Ok(());
    }
    shell::run(&mut shell::cargo(["deny", "--all-features", "check"]))
}
