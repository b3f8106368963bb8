//! The thread that does what the columns have to do.

use std::sync::Arc;
use std::thread::{Builder as ThreadBuilder, JoinHandle};

use isango_store::logs::Error;
use parking_lot::{Condvar, Mutex};

use super::Columns;

/// The thread that seals. Dropping it waits for what it is doing.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    signal: Mutex<Signal>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Signal {
    work: bool,
    stop: bool,
}

impl Worker {
    /// Starts the thread, which first does what was left to do.
    pub(crate) fn start(columns: Arc<Columns>) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        shared.signal.lock().work = true;
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.run(&columns)
        };
        let thread = ThreadBuilder::new()
            .name("isango-columns".into())
            .spawn(run)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// There is something to do.
    pub(crate) fn wake(&self) {
        self.shared.signal.lock().work = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn run(&self, columns: &Columns) {
        loop {
            {
                let mut signal = self.signal.lock();
                while !signal.work && !signal.stop {
                    self.wake.wait(&mut signal);
                }
                if signal.stop {
                    return;
                }
                signal.work = false;
            }
            if let Err(error) = columns.work(&|| self.signal.lock().stop) {
                tracing::warn!(%error, "columns could not be sealed; it is tried again later");
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.signal.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // Only a panic of the thread makes this fail, and the panic was reported.
            drop(thread.join());
        }
    }
}
