//! Brings what was written to the medium: a thread that sleeps until something was written, waits
//! for the flush window and syncs once for all that came meanwhile.

use std::fs::File;
use std::io;
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

#[derive(Debug, Default)]
struct State {
    dirty: Option<(Arc<File>, Extent)>,
    synced: Option<Extent>,
    failed: Option<io::Error>,
    /// A sync is under way.
    syncing: bool,
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
    pub(crate) fn start(disk: Arc<dyn Disk>, window: Option<Duration>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = match window {
            None => None,
            Some(window) => {
                let shared = Arc::clone(&shared);
                let run = move || shared.run(&*disk, window);
                Some(Builder::new().name("isango-journal".into()).spawn(run)?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// The first `end` bytes of a file were written.
    pub(crate) fn mark(&self, file: &Arc<File>, number: u64, end: u64) {
        if self.thread.is_none() {
            return;
        }
        let mut state = self.shared.state.lock();
        let was_clean = state.dirty.is_none();
        state.dirty = Some((Arc::clone(file), Extent { number, end }));
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

    /// Leaves the syncing of what is marked to the caller.
    pub(crate) fn forget(&self) {
        drop(self.shared.state.lock().dirty.take());
    }

    /// Leaves the syncing of what is marked to the caller, once what is under way has ended. Why
    /// that, or one before it, failed.
    pub(crate) fn take_over(&self) -> Option<io::Error> {
        let mut state = self.shared.state.lock();
        drop(state.dirty.take());
        while state.syncing {
            self.shared.synced.wait(&mut state);
        }
        state.failed.take()
    }

    /// Why the last sync failed, told once.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.shared.state.lock().failed.take()
    }
}

impl Shared {
    fn run(&self, disk: &dyn Disk, window: Duration) {
        let mut state = self.state.lock();
        loop {
            while state.dirty.is_none() && !state.stop {
                self.wake.wait(&mut state);
            }
            if !state.stop {
                self.wake.wait_for(&mut state, window);
            }
            let Some((file, extent)) = state.dirty.take() else {
                if state.stop {
                    return;
                }
                continue;
            };
            state.syncing = true;
            drop(state);
            let result = disk.sync(&file);
            state = self.state.lock();
            state.syncing = false;
            self.synced.notify_all();
            match result {
                Ok(()) => state.synced = Some(extent),
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
