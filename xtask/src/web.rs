//! The dashboard in `web`: types, unit tests, the build with the limits of its size, which must be
//! the one that is committed, and its pages in a browser. Packages are those of its lock file,
//! installed once for each change of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::gateway::{self, Profile};
use crate::{clients, shell};

/// Records of the store whose list must be there at once; a build for development makes them in half
/// a minute.
const RECORDS: u32 = 50_000;

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
    for script in ["check", "test"] {
        npm(&folder, script)?;
    }
    build(&folder)?;
    if !shell::is_installed("chromium", "--version") {
        println!("skipped: the pages are not looked at, since chromium is not installed");
        return Ok(());
    }
    npm(&folder, "test:browser")?;
    real(&folder)
}

/// Walks through the binary as people do, and measures the list of a store of many records. Each
/// test has a time within which it must end.
///
/// # Errors
/// Something cannot be built, or a test fails.
fn real(folder: &Path) -> Result<()> {
    let binary = gateway::build(Profile::Dev)?;
    let millions = ["--package", "isango-records", "--example", "millions"];
    let mut command = shell::cargo(["build", "--locked"]);
    shell::run(command.args(millions))?;
    let mut command = script(folder, "test:real");
    command.env(
        "ISANGO_MILLIONS",
        binary.with_file_name("examples").join("millions"),
    );
    command.env("ISANGO_RECORDS", RECORDS.to_string());
    shell::run(command.env("ISANGO", binary))
}

/// Builds what is committed and built into the binary.
///
/// # Errors
/// It was not what the sources make, and is now.
fn build(folder: &Path) -> Result<()> {
    let dist = folder.join("dist");
    let committed = files(&dist)?;
    npm(folder, "build")?;
    if files(&dist)? != committed {
        bail!("web/dist was not what web/src makes, and is now: look at it, and commit it");
    }
    Ok(())
}

/// Every file below a folder with its content; none where there is no folder.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.exists() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    found.insert(path.clone(), fs::read(&path)?);
                }
            }
        }
    }
    Ok(found)
}

fn npm(folder: &Path, name: &str) -> Result<()> {
    shell::run(&mut script(folder, name))
}

fn script(folder: &Path, name: &str) -> Command {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", name]).current_dir(folder);
    command
}
