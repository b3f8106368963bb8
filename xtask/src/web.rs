//! The dashboard in `web`: types, unit tests, the build with the limits of its size, and its pages in
//! a browser. Packages are those of its lock file, installed once for each change of it.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{clients, shell};

/// Runs every check of the dashboard; those in a browser where Chromium is installed.
///
/// # Errors
/// Packages cannot be installed, or a check fails.
pub(crate) fn run() -> Result<()> {
    let folder = shell::root().join("web");
    let (packages, pins) = (
        folder.join("node_modules"),
        folder.join("package-lock.json"),
    );
    clients::install(&packages, &pins, || {
        shell::run(&mut clients::npm_ci(&folder))
    })?;
    for script in ["check", "test", "build"] {
        npm(&folder, script)?;
    }
    if !shell::is_installed("chromium", "--version") {
        println!("skipped: the pages are not looked at, since chromium is not installed");
        return Ok(());
    }
    npm(&folder, "test:browser")
}

fn npm(folder: &Path, script: &str) -> Result<()> {
    let mut command = Command::new("npm");
    shell::run(
        command
            .args(["run", "--silent", script])
            .current_dir(folder),
    )
}
