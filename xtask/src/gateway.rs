//! The product as a user runs it: its binary, built and started.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::shell;

/// Which build of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What tests use.
    Dev,
    /// What is measured.
    Release,
}

/// Builds the binary and returns where it is.
///
/// # Errors
/// It does not compile.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut command = shell::cargo(["build", "--locked", "--package", "isango-server"]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    shell::run(&mut command)?;
    // Cargo's own word for the folder: it may have been set elsewhere than `target`.
    let metadata = shell::output(&mut shell::cargo([
        "metadata",
        "--no-deps",
        "--format-version=1",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&metadata)?;
    Ok(metadata.target_directory.join(folder).join("isango"))
}

#[derive(Debug, Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// A command of the binary that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// What its `listening` line said.
    pub(crate) listening: serde_json::Value,
    errors: PathBuf,
    /// Keeps the pipe open: a program that prints again must not meet a closed one.
    _stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts `command` and waits for its line `{"event":"listening",…}`. What it writes to
    /// standard error goes to the file `errors`.
    ///
    /// # Errors
    /// It does not start, or ends without saying that it listens.
    pub(crate) fn start(command: &mut Command, errors: &Path) -> Result<Self> {
        let log = File::create(errors)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let Some(stdout) = child.stdout.take() else {
            bail!("it has no standard output")
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line)? > 0 {
            let value: Option<serde_json::Value> = serde_json::from_str(&line).ok();
            if let Some(listening) = value.filter(|value| value["event"] == "listening") {
                return Ok(Self {
                    child,
                    listening,
                    errors: errors.into(),
                    _stdout: stdout,
                });
            }
            line.clear();
        }
        let status = child.wait()?;
        let said = std::fs::read_to_string(errors).unwrap_or_default();
        bail!("{command:?} ended before it listened ({status}):\n{said}")
    }

    /// An address of the `listening` line, without `http://`.
    ///
    /// # Errors
    /// The line names none.
    pub(crate) fn address(&self, name: &str) -> Result<&str> {
        let url = self.listening[name].as_str();
        let address = url.and_then(|url| url.strip_prefix("http://"));
        address
            .map(|address| address.trim_end_matches('/'))
            .with_context(|| format!("no `{name}` in {}", self.listening))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits, at most half a minute.
    ///
    /// # Errors
    /// It does not end, or ends badly.
    pub(crate) fn stop(mut self) -> Result<()> {
        shell::output(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                let said = std::fs::read_to_string(&self.errors).unwrap_or_default();
                bail!("it ended with {status}:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it did not end within 30 s of SIGTERM")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After an orderly stop there is nothing left to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Configuration of a gateway with everything on whose provider `openai` is at `upstream` (host
/// and port).
pub(crate) fn in_front_of(upstream: SocketAddr) -> String {
    format!(
        "[providers.openai]\nbase_url = \"http://{upstream}/v1\"\n\
         [[gateways]]\nid = \"cached\"\ncache_ttl = 3600\n"
    )
}

/// Starts a gateway on free ports with this configuration. Its records, and the configuration as
/// `isango.toml`, are in `folder`. `wrapper` is the command that shall run the binary, if any.
///
/// # Errors
/// It does not start.
pub(crate) fn serve(
    binary: &Path,
    wrapper: &[&str],
    folder: &Path,
    config: &str,
) -> Result<Running> {
    let file = folder.join("isango.toml");
    std::fs::write(
        &file,
        format!("data_dir = {:?}\n\n{config}", folder.join("data")),
    )?;
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command.arg("serve").arg("--config").arg(&file);
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--json",
    ]);
    Running::start(&mut command, &folder.join("isango.log"))
}
