//! Secrets that a command prints: any secret manager's own. It runs without a shell, and is bounded
//! in time and output; what it says on standard error is dropped, for it may be the secret.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much it may print, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;
/// How often it is looked whether it has ended, once it has printed all.
const LOOKS: u32 = 100;

/// What `line` prints, without white space at the end.
///
/// # Errors
/// It cannot be started, fails, takes too long, or prints too much or no text. Never tells what it
/// printed.
pub(super) fn output(line: &str) -> Result<String, String> {
    output_within(line, PATIENCE)
}

fn output_within(line: &str, patience: Duration) -> Result<String, String> {
    let words = words(line)?;
    let (program, arguments) = words.split_first().ok_or("`command:` names no command")?;
    let mut command = Command::new(program);
    // With a group of its own, so that what it starts ends with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("command `{program}` cannot be started: {error}"))?;
    let read = read(&mut child, patience);
    let ended = read.and_then(|text| match end(&mut child) {
        Some(true) => Ok(text),
        Some(false) => Err("failed"),
        None => Err("printed, but did not end"),
    });
    if ended.is_err() {
        end_all(&mut child);
    }
    ended.map_err(|why| format!("command `{program}` {why}"))
}

/// Ends it and all that it started and that stayed in its group. They may have ended meanwhile.
fn end_all(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        kill_process_group(Pid::from_child(child), Signal::KILL).ok();
    }
    child.kill().ok();
    child.wait().ok();
}

/// All that it prints, in time.
fn read(child: &mut Child, patience: Duration) -> Result<String, &'static str> {
    let out = child.stdout.take().ok_or("has no output")?;
    let (sender, received) = sync_channel(1);
    let reader = std::thread::Builder::new().name("isango-command".into());
    let reading = move || {
        let mut bytes = Vec::new();
        let read = out.take(MAX_OUTPUT + 1).read_to_end(&mut bytes);
        // Nobody waits any more for a command that took too long.
        sender.send(read.map(|_length| bytes)).ok();
    };
    reader
        .spawn(reading)
        .map_err(|_no_thread| "cannot be read")?;
    let read = received
        .recv_timeout(patience)
        .map_err(|_late| "took longer than 10 s")?;
    let bytes = read.map_err(|_broken| "cannot be read")?;
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err("printed more than 64 KiB");
    }
    let text = String::from_utf8(bytes).map_err(|_no_text| "printed no text")?;
    Ok(text.trim_end().to_owned())
}

/// Whether it ended well; `None`: it did not end.
fn end(child: &mut Child) -> Option<bool> {
    for _ in 0..LOOKS {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) => std::thread::sleep(PATIENCE / LOOKS / 10),
            Err(_gone) => return None,
        }
    }
    None
}

/// Splits a line at white space, but for what stands in quotes.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("`command:` holds a quote without its end".into());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_white_space_outside_of_quotes() {
        let check = |line: &str, expected: &[&str]| assert_eq!(words(line).unwrap(), expected);
        check("", &[]);
        check("  vault kv  get ", &["vault", "kv", "get"]);
        check("a 'b c' \"d'e\" f''g", &["a", "b c", "d'e", "fg"]);
        check("a ''", &["a", ""]);
        assert!(words("a 'b").is_err());
    }

    /// Whether a process runs; one that has ended and that nobody asked about does not.
    fn runs(id: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let state = state.rsplit(')').next().unwrap_or_default().trim_start();
        !state.is_empty() && !state.starts_with(['Z', 'X'])
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_command_has_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let line = format!("sh -c 'sleep 300 & echo $! > {}; wait'", file.display());
        let error = output_within(&line, Duration::from_secs(2)).unwrap_err();
        assert!(error.contains("took longer"), "{error}");
        let id = std::fs::read_to_string(file).unwrap();
        // A signal takes a moment to arrive.
        let ended = (0..1_000).any(|_| {
            std::thread::yield_now();
            !runs(id.trim())
        });
        assert!(ended, "{id}");
    }

    #[test]
    fn a_command_prints_a_secret_and_nothing_of_it_is_told_when_it_fails() {
        assert_eq!(output("printf '%s\\n\\n' sk-one").unwrap(), "sk-one");
        let check = |line: &str, told: &str| {
            let error = output(line).unwrap_err();
            assert!(
                error.contains(told) && !error.contains("planted"),
                "{error}"
            );
        };
        check("", "names no command");
        check("/nowhere/vault planted", "cannot be started");
        check("sh -c 'echo planted; echo planted >&2; exit 1'", "failed");
        check("head -c 70000 /dev/zero", "printed more than 64 KiB");
        check("printf '\\377'", "printed no text");
    }
}
