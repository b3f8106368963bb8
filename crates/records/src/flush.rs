//! Brings what was written to the medium: a thread that sleeps until something was written, waits
//! for the flush window and syncs once for all that came meanwhile.
//!
//! A file that is complete comes first, then the name of the one after it, then what is in that: so
//! nothing is promised of a file before everything is there that came before it. At most one
//! complete file waits.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::disk::Disk;

/// Bytes of a file that are to be synced, or that are.
#[derive(Clone, Debug)]
struct Extent {
    number: u64,
    end: u64,
}

/// What is to be synced, in this order.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// A file that is complete.
    closed: Option<Arc<File>>,
    /// The names in the folder.
    names: bool,
    dirty: Option<(Arc<File>, Extent)>,
}

impl Due {
    fn is_empty(&self) -> bool {
        self.closed.is_none() && !self.names && self.dirty.is_none()
    }

    /// Syncs what comes before the newest file.
    ///
    /// # Errors
    /// The disk failed; nothing is known of what was left.
    pub(crate) fn sync_before(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        if let Some(closed) = &self.closed {
            disk.sync(closed)?;
        }
        if self.names {
            disk.sync_dir(folder)?;
        }
        Ok(())
    }

    fn sync(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        self.sync_before(disk, folder)?;
        match &self.dirty {
            Some((file, _)) => disk.sync(file),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    due: Due,
    synced: Option<Extent>,
    failed: Option<io::Error>,
    /// A sync is under way.
    syncing: bool,
    /// It is of a complete file, too.
    closing: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    synced: Condvar,
}

/// The thread and what it is told. Dropping it syncs what is left and waits for the thread.
#[derive(Debug)]
pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Starts the thread; with no window there is none, and nothing is ever synced here.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        window: Option<Duration>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = match window {
            None => None,
            Some(window) => {
                let shared = Arc::clone(&shared);
                let run = move || shared.run(&*disk, &folder, window);
                Some(Builder::new().name("isango-journal".into()).spawn(run)?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// The first `end` bytes of the newest file were written.
    pub(crate) fn mark(&self, file: &Arc<File>, number: u64, end: u64) {
        self.add(|due| due.dirty = Some((Arc::clone(file), Extent { number, end })));
    }

    /// A new file was begun, of which the first `end` bytes are written.
    pub(crate) fn begin(&self, file: &Arc<File>, number: u64, end: u64) {
        self.add(|due| {
            due.names = true;
            due.dirty = Some((Arc::clone(file), Extent { number, end }));
        });
    }

    /// The newest file is complete. False if another one still waits: then this one is the
    /// caller's, and so is what else is due.
    pub(crate) fn close(&self, file: &Arc<File>) -> bool {
        let mut state = self.shared.state.lock();
        if state.due.closed.is_some() || state.closing {
            return false;
        }
        let was_clean = state.due.is_empty();
        drop(state.due.dirty.take());
        state.due.closed = Some(Arc::clone(file));
        if was_clean {
            self.shared.wake.notify_one();
        }
        true
    }

    fn add(&self, change: impl FnOnce(&mut Due)) {
        if self.thread.is_none() {
            return;
        }
        let mut state = self.shared.state.lock();
        let was_clean = state.due.is_empty();
        change(&mut state.due);
        if was_clean {
            self.shared.wake.notify_one();
        }
    }

    /// How many bytes of a file are known to be on the medium.
    pub(crate) fn synced(&self, number: u64) -> u64 {
        let state = self.shared.state.lock();
        state
            .synced
            .as_ref()
            .filter(|extent| extent.number == number)
            .map_or(0, |extent| extent.end)
    }

    /// Leaves what is due to the caller, once what is under way has ended.
    ///
    /// # Errors
    /// Why that, or one before it, failed; what is due is forgotten.
    pub(crate) fn take_over(&self) -> io::Result<Due> {
        let mut state = self.shared.state.lock();
        let due = std::mem::take(&mut state.due);
        while state.syncing {
            self.shared.synced.wait(&mut state);
        }
        match state.failed.take() {
            Some(error) => Err(error),
            None => Ok(due),
        }
    }

    /// Why the last sync failed, told once.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.shared.state.lock().failed.take()
    }
}

impl Shared {
    fn run(&self, disk: &dyn Disk, folder: &Path, window: Duration) {
        let mut state = self.state.lock();
        loop {
            while state.due.is_empty() && !state.stop {
                self.wake.wait(&mut state);
            }
            if !state.stop {
                self.wake.wait_for(&mut state, window);
            }
            let due = std::mem::take(&mut state.due);
            if due.is_empty() {
                if state.stop {
                    return;
                }
                continue;
            }
            (state.syncing, state.closing) = (true, due.closed.is_some());
            drop(state);
            let result = due.sync(disk, folder);
            state = self.state.lock();
            (state.syncing, state.closing) = (false, false);
            self.synced.notify_all();
            match result {
                Ok(()) => {
                    if let Some((_, extent)) = due.dirty {
                        state.synced = Some(extent);
                    }
                }
                Err(error) => state.failed = Some(error),
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // Only a panic of the thread makes this fail, and the panic was reported.
            drop(thread.join());
        }
    }
}
