//! Takes up changes of the configuration file while the server runs.
//!
//! The folder is watched, not the file: editors and orchestrators replace files by renaming others
//! over them, or turn a link. What counts in the end is whether the text differs.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::config::{Config, ConfigError, Sources};

/// How long the folder must be quiet before the file is read.
const QUIET: Duration = Duration::from_millis(100);

/// How many events in a row put the reading off.
const MOST_PUT_OFF: usize = 50;

/// Events that wait; more of them tell nothing new.
const QUEUE: usize = 16;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Guard {
    signals: SyncSender<Signal>,
    reader: Option<JoinHandle<()>>,
    /// Sends signals until it is dropped; `None` where there is no file.
    _watcher: Option<RecommendedWatcher>,
}

#[derive(Debug)]
enum Signal {
    /// Something happened in the folder.
    Changed,
    /// Read it, whether it differs or not.
    Forced,
    /// No more.
    Stop,
}

/// Watches the file of `sources`, whose text was `text` when it was last read. Each other text
/// that it holds from now on is read, checked and handed to `on_change`, on a thread of its own.
///
/// Without a file only [`Guard::force`] has an effect.
///
/// # Errors
/// The folder cannot be watched, or no thread can be started.
pub fn watch(
    sources: Sources,
    text: String,
    on_change: impl Fn(Result<Config, ConfigError>) + Send + 'static,
) -> anyhow::Result<Guard> {
    let (signals, received) = sync_channel(QUEUE);
    let watcher = match &sources.file {
        Some(file) => Some(watch_folder(file, signals.clone())?),
        None => None,
    };
    let reader = std::thread::Builder::new()
        .name("isango-config".into())
        .spawn(move || read_changes(&sources, text, &received, &on_change))?;
    Ok(Guard {
        signals,
        reader: Some(reader),
        _watcher: watcher,
    })
}

fn watch_folder(file: &Path, signals: SyncSender<Signal>) -> anyhow::Result<RecommendedWatcher> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event too, and would wake us for ever.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // A full queue will make the file be read anyway.
            signals.try_send(Signal::Changed).ok();
        }
    })?;
    watcher
        .watch(&folder, RecursiveMode::NonRecursive)
        .with_context(|| format!("cannot watch {}", folder.display()))?;
    Ok(watcher)
}

impl Guard {
    /// Reads the configuration again even if its file has not changed: what it refers to may have.
    pub fn force(&self) {
        self.signals.send(Signal::Forced).ok();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.signals.send(Signal::Stop).ok();
        if let Some(reader) = self.reader.take() {
            // A panic of the reader has been told by the panic hook.
            reader.join().ok();
        }
    }
}

fn read_changes(
    sources: &Sources,
    text: String,
    received: &Receiver<Signal>,
    on_change: &dyn Fn(Result<Config, ConfigError>),
) {
    let mut last = Ok(text);
    while let Some(is_forced) = next_change(received) {
        let text = sources.read();
        if text == last && !is_forced {
            continue;
        }
        on_change(match &text {
            Ok(text) => Config::parse(text, sources),
            Err(error) => Err(error.clone()),
        });
        last = text;
    }
}

/// Waits for a change, and then until it is over. `None`: it is time to stop.
fn next_change(received: &Receiver<Signal>) -> Option<bool> {
    let mut is_forced = match received.recv() {
        Ok(Signal::Changed) => false,
        Ok(Signal::Forced) => true,
        Ok(Signal::Stop) | Err(_) => return None,
    };
    for _ in 0..MOST_PUT_OFF {
        match received.recv_timeout(QUIET) {
            Ok(Signal::Changed) => {}
            Ok(Signal::Forced) => is_forced = true,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    Some(is_forced)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    struct Watched {
        folder: tempfile::TempDir,
        guard: Guard,
        changes: Receiver<Result<Config, ConfigError>>,
    }

    fn watched(text: &str) -> Watched {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("isango.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources {
            file: Some(file),
            ..Sources::default()
        };
        let (changed, changes) = channel();
        let text = text.to_owned();
        let guard = watch(sources, text, move |config| changed.send(config).unwrap()).unwrap();
        Watched {
            folder,
            guard,
            changes,
        }
    }

    impl Watched {
        fn file(&self) -> PathBuf {
            self.folder.path().join("isango.toml")
        }

        fn gateway(&self) -> String {
            self.changes.recv_timeout(LONG).unwrap().unwrap().gateways[0]
                .id
                .to_string()
        }
    }

    #[test]
    fn a_changed_file_is_taken_up() {
        let watched = watched("");
        std::fs::write(watched.file(), "[[gateways]]\nid = \"a\"").unwrap();
        assert_eq!(watched.gateway(), "a");
        std::fs::write(watched.file(), "[[gateways]]\nid = \"b\"").unwrap();
        assert_eq!(watched.gateway(), "b");
    }

    #[test]
    fn a_file_that_is_renamed_over_the_old_one_is_taken_up() {
        let watched = watched("");
        for id in ["a", "b"] {
            let new = watched.folder.path().join(".isango.toml.swp");
            std::fs::write(&new, format!("[[gateways]]\nid = \"{id}\"")).unwrap();
            std::fs::rename(&new, watched.file()).unwrap();
            assert_eq!(watched.gateway(), id);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_turned_is_taken_up() {
        let watched = watched("");
        let turned = watched.folder.path().join("next");
        std::fs::create_dir(watched.folder.path().join("v2")).unwrap();
        let target = watched.folder.path().join("v2").join("isango.toml");
        std::fs::write(&target, "[[gateways]]\nid = \"a\"").unwrap();
        std::os::unix::fs::symlink(&target, &turned).unwrap();
        std::fs::rename(&turned, watched.file()).unwrap();
        assert_eq!(watched.gateway(), "a");
    }

    #[test]
    fn a_wrong_file_is_told_once_and_the_next_right_one_is_taken_up() {
        let watched = watched("");
        std::fs::write(watched.file(), "lisen = 1").unwrap();
        let error = watched.changes.recv_timeout(LONG).unwrap().unwrap_err();
        assert_eq!(error.problems[0].message, "unknown key `lisen`");
        // The same text again, and another file beside it, are no change.
        std::fs::write(watched.file(), "lisen = 1").unwrap();
        std::fs::write(watched.folder.path().join("other"), "x").unwrap();
        std::fs::write(watched.file(), "[[gateways]]\nid = \"a\"").unwrap();
        assert_eq!(watched.gateway(), "a");
    }

    #[test]
    fn an_unchanged_file_is_read_again_when_told_to() {
        let watched = watched("[[gateways]]\nid = \"a\"");
        watched.guard.force();
        assert_eq!(watched.gateway(), "a");
    }

    #[test]
    fn dropping_the_guard_ends_the_watch() {
        let Watched {
            folder,
            guard,
            changes,
        } = watched("");
        drop(guard);
        std::fs::write(folder.path().join("isango.toml"), "[log]").unwrap();
        assert!(
            changes.recv().is_err(),
            "the reader has ended and dropped its end"
        );
    }
}
